//! A compact, deterministic encoding for snapshots: variable-length integers and length-prefixed
//! bytes. Decoding never panics and never allocates more than the input can fill.

use std::sync::Arc;

use bytes::Bytes;

use super::snapshot::SnapshotError;
use crate::ids::Position;

/// Writes values one after another.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }

    /// Seven bits a byte, least first.
    pub(super) fn int(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(super) fn count(&mut self, value: usize) {
        self.int(value as u64);
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.count(value.len());
        self.raw(value);
    }

    pub(super) fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    pub(super) fn position(&mut self, value: Position) {
        self.int(value.index);
        self.int(u64::from(value.op));
    }

    /// A flag, then the value if there is one.
    pub(super) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(super) fn finish(self) -> Bytes {
        self.0.into()
    }
}

/// Reads values one after another.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn raw(&mut self, count: usize) -> Result<&'a [u8], SnapshotError> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(SnapshotError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        self.raw(N)?
            .try_into()
            .map_err(|_| SnapshotError::Truncated)
    }

    pub(super) fn byte(&mut self) -> Result<u8, SnapshotError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(super) fn flag(&mut self) -> Result<bool, SnapshotError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(SnapshotError::Invalid("flag")),
        }
    }

    pub(super) fn int(&mut self) -> Result<u64, SnapshotError> {
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(SnapshotError::Invalid("integer"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(SnapshotError::Invalid("integer"))
    }

    pub(super) fn int32(&mut self) -> Result<u32, SnapshotError> {
        u32::try_from(self.int()?).map_err(|_| SnapshotError::Invalid("integer"))
    }

    pub(super) fn count(&mut self) -> Result<usize, SnapshotError> {
        usize::try_from(self.int()?).map_err(|_| SnapshotError::Invalid("count"))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], SnapshotError> {
        let count = self.count()?;
        self.raw(count)
    }

    pub(super) fn text(&mut self) -> Result<Arc<str>, SnapshotError> {
        let text = std::str::from_utf8(self.bytes()?);
        text.map(Arc::from)
            .map_err(|_| SnapshotError::Invalid("text"))
    }

    pub(super) fn position(&mut self) -> Result<Position, SnapshotError> {
        Ok(Position::new(self.int()?, self.int32()?))
    }

    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, SnapshotError>,
    ) -> Result<Option<T>, SnapshotError> {
        if self.flag()? {
            read(self).map(Some)
        } else {
            Ok(None)
        }
    }

    /// A count, then so many values.
    pub(super) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, SnapshotError>,
    ) -> Result<Vec<T>, SnapshotError> {
        let count = self.count()?;
        // Every value takes a byte at least: a damaged count reserves nothing absurd.
        let mut values = Vec::with_capacity(count.min(self.0.len()).min(1024));
        for _ in 0..count {
            values.push(read(self)?);
        }
        Ok(values)
    }

    pub(super) fn finish(self) -> Result<(), SnapshotError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(SnapshotError::Invalid("trailing bytes"))
        }
    }
}
