//! Snapshot files of one group: written to a temporary name, synced, renamed, directory synced; a
//! checksum over everything. The newest one is kept. Never decides when.
//!
//! Format: `RCSNAP01`, u32 length of the meta data, meta data (`SnapshotMeta`, protobuf), u64
//! length of the state, state, XXH3-64 of all before it. Numbers are big endian.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use roomcast_proto::peer as pb;
use xxhash_rust::xxh3::Xxh3;

use super::convert::{snapshot_meta_from_wire, snapshot_meta_to_wire};
use super::types::SnapshotMeta;

const MAGIC: &[u8; 8] = b"RCSNAP01";
const CHECKSUM_BYTES: u64 = 8;
/// Meta data is a membership of some nodes.
const META_BYTES_MAX: usize = 1024 * 1024;
/// How the file is read for its checksum.
const READ_BYTES: usize = 1024 * 1024;

/// The snapshots of one group.
#[derive(Debug)]
pub(crate) struct SnapshotStore {
    /// Their directory.
    dir: PathBuf,
    /// The newest one.
    current: Mutex<Option<SnapshotFile>>,
    /// Numbers temporary files.
    sequence: AtomicU64,
}

/// A complete snapshot file; clones share it. It stays readable when a newer one replaces it.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFile {
    /// What it contains.
    pub(crate) meta: SnapshotMeta,
    /// Where it is.
    place: Arc<Place>,
    /// Where the state begins.
    state_offset: u64,
    /// Length of the state.
    pub(crate) state_len: u64,
    /// XXH3-64 of the state.
    pub(crate) state_checksum: u64,
}

/// A file that is removed with its last handle unless it was given its final name.
#[derive(Debug)]
struct Place {
    /// The open file.
    file: File,
    /// Its name; changes once, when it is adopted.
    path: Mutex<PathBuf>,
    /// True until it has its final name.
    temporary: Mutex<bool>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if *self.temporary.lock() {
            let path = self.path.lock();
            if let Err(e) = fs::remove_file(&*path) {
                tracing::warn!(path = %path.display(), error = %e, "temporary file not removed");
            }
        }
    }
}

impl SnapshotStore {
    /// Opens the directory, removes what a crash left, and finds the newest snapshot. Blocks.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        let mut newest: Option<(u64, PathBuf)> = None;
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let Some(index) = name.strip_prefix("snap-") else {
                continue;
            };
            match index.parse() {
                Ok(index) if newest.as_ref().is_none_or(|(other, _)| index > *other) => {
                    newest = Some((index, path));
                }
                // Older ones go when the next one is kept.
                Ok(_) => {}
                Err(_) => fs::remove_file(&path)?,
            }
        }
        let current = newest
            .map(|(_, path)| SnapshotFile::open(path))
            .transpose()?;
        Ok(Self {
            dir,
            current: Mutex::new(current),
            sequence: AtomicU64::new(0),
        })
    }

    /// The newest one.
    pub(crate) fn current(&self) -> Option<SnapshotFile> {
        self.current.lock().clone()
    }

    /// Begins a file; it is gone unless it is finished and kept.
    pub(crate) fn begin(&self, meta: SnapshotMeta) -> io::Result<SnapshotWriter> {
        let number = self.sequence.fetch_add(1, Ordering::Relaxed);
        SnapshotWriter::begin(self.dir.join(format!("snap-{number}.tmp")), meta)
    }

    /// Gives a finished file its final name, durably, and drops older ones. Blocks.
    pub(crate) fn keep(&self, file: &SnapshotFile) -> io::Result<()> {
        let index = file.meta.last_log_id.as_ref().map_or(0, |id| id.index);
        let path = self.dir.join(format!("snap-{index:020}"));
        if *file.place.path.lock() != path {
            self.rename_or_copy(file, &path)?;
        }
        let mut current = self.current.lock();
        let known = current
            .as_ref()
            .and_then(|current| current.meta.last_log_id);
        if known > file.meta.last_log_id {
            return Ok(());
        }
        *current = Some(file.clone());
        drop(current);
        self.remove_before(index)
    }

    fn rename_or_copy(&self, file: &SnapshotFile, path: &Path) -> io::Result<()> {
        let mut from = file.place.path.lock();
        let mut temporary = file.place.temporary.lock();
        if *temporary && from.parent() == Some(&self.dir) {
            fs::rename(&*from, path)?;
            *temporary = false;
            path.clone_into(&mut from);
        } else {
            let number = self.sequence.fetch_add(1, Ordering::Relaxed);
            let copy = self.dir.join(format!("snap-{number}.tmp"));
            fs::copy(&*from, &copy)?;
            File::open(&copy)?.sync_all()?;
            fs::rename(&copy, path)?;
        }
        File::open(&self.dir)?.sync_all()
    }

    fn remove_before(&self, index: u64) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let number = name
                .strip_prefix("snap-")
                .and_then(|rest| rest.parse::<u64>().ok());
            if number.is_some_and(|number| number < index) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

impl SnapshotFile {
    /// Opens a file under its final name and checks all of it.
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = File::open(&path)?;
        let damaged = |what: &str| {
            let message = format!("snapshot {} is damaged: {what}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, message)
        };
        let mut head = [0; 12];
        file.read_exact_at(&mut head, 0)?;
        if &head[..8] != MAGIC {
            return Err(damaged("it is not one"));
        }
        let meta_len = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
        if meta_len > META_BYTES_MAX {
            return Err(damaged("meta data"));
        }
        let mut meta = vec![0; meta_len];
        file.read_exact_at(&mut meta, 12)?;
        let meta = pb::SnapshotMeta::decode(meta.as_slice()).map_err(|_| damaged("meta data"))?;
        let meta = snapshot_meta_from_wire(meta).map_err(|_| damaged("meta data"))?;
        let mut len = [0; 8];
        let len_offset = 12 + meta_len as u64;
        file.read_exact_at(&mut len, len_offset)?;
        let state_offset = len_offset + 8;
        let state_len = u64::from_be_bytes(len);
        if file.metadata()?.len() != state_offset + state_len + CHECKSUM_BYTES {
            return Err(damaged("length"));
        }
        let mut stored = [0; 8];
        file.read_exact_at(&mut stored, state_offset + state_len)?;
        let (whole, state_checksum) = checksums(&file, state_offset, state_len)?;
        if u64::from_be_bytes(stored) != whole {
            return Err(damaged("checksum"));
        }
        let place = Place {
            file,
            path: Mutex::new(path),
            temporary: Mutex::new(false),
        };
        Ok(Self {
            meta,
            place: Arc::new(place),
            state_offset,
            state_len,
            state_checksum,
        })
    }

    /// A piece of the state. Blocks.
    pub(crate) fn read(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.state_len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut piece = vec![0; len.min(left)];
        self.place
            .file
            .read_exact_at(&mut piece, self.state_offset + offset)?;
        Ok(Bytes::from(piece))
    }

    /// The whole state. Blocks.
    pub(crate) fn state(&self) -> io::Result<Bytes> {
        self.read(
            0,
            usize::try_from(self.state_len).map_err(io::Error::other)?,
        )
    }
}

/// XXH3-64 of the file up to the end of its state, and of its state.
fn checksums(file: &File, state_offset: u64, state_len: u64) -> io::Result<(u64, u64)> {
    let (mut whole, mut state) = (Xxh3::new(), Xxh3::new());
    let mut buffer = vec![0; READ_BYTES];
    let mut at = 0;
    while at < state_offset + state_len {
        // A piece is of the head or of the state.
        let (hash_state, end) = match at < state_offset {
            true => (false, state_offset),
            false => (true, state_offset + state_len),
        };
        let left = usize::try_from(end - at).unwrap_or(READ_BYTES);
        let piece = &mut buffer[..left.min(READ_BYTES)];
        file.read_exact_at(piece, at)?;
        whole.update(piece);
        if hash_state {
            state.update(piece);
        }
        at += piece.len() as u64;
    }
    Ok((whole.digest(), state.digest()))
}

/// A snapshot being written.
pub(crate) struct SnapshotWriter {
    /// Removed when dropped unfinished.
    place: Place,
    /// What it will contain.
    meta: SnapshotMeta,
    /// Where the state begins.
    state_offset: u64,
    /// Bytes of state so far.
    pub(crate) state_len: u64,
}

impl SnapshotWriter {
    fn begin(path: PathBuf, meta: SnapshotMeta) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        let place = Place {
            file,
            path: Mutex::new(path),
            temporary: Mutex::new(true),
        };
        let wire = snapshot_meta_to_wire(&meta).encode_to_vec();
        let mut head = Vec::with_capacity(20 + wire.len());
        head.extend_from_slice(MAGIC);
        let meta_len = u32::try_from(wire.len()).map_err(io::Error::other)?;
        head.extend_from_slice(&meta_len.to_be_bytes());
        head.extend_from_slice(&wire);
        // The length of the state is not known yet: `finish` writes it.
        head.extend_from_slice(&[0; 8]);
        (&place.file).write_all(&head)?;
        let state_offset = head.len() as u64;
        Ok(Self {
            place,
            meta,
            state_offset,
            state_len: 0,
        })
    }

    /// Adds a piece of the state. Blocks.
    pub(crate) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        (&self.place.file).write_all(piece)?;
        self.state_len += piece.len() as u64;
        Ok(())
    }

    /// Completes and syncs it; [`SnapshotStore::keep`] gives it its name. Blocks.
    pub(crate) fn finish(self) -> io::Result<SnapshotFile> {
        let file = &self.place.file;
        file.write_all_at(&self.state_len.to_be_bytes(), self.state_offset - 8)?;
        // Read back rather than hashed on the way: the length stands before the state.
        let (whole, state_checksum) = checksums(file, self.state_offset, self.state_len)?;
        let end = self.state_offset + self.state_len;
        file.write_all_at(&whole.to_be_bytes(), end)?;
        file.sync_all()?;
        Ok(SnapshotFile {
            meta: self.meta,
            place: Arc::new(self.place),
            state_offset: self.state_offset,
            state_len: self.state_len,
            state_checksum,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::{StoredMembership, log_id};

    fn meta(index: u64) -> SnapshotMeta {
        let last_membership = StoredMembership::default();
        SnapshotMeta {
            last_log_id: Some(log_id(1, index)),
            last_membership,
        }
    }

    fn kept(store: &SnapshotStore, index: u64, state: &[u8]) -> SnapshotFile {
        let mut writer = store.begin(meta(index)).unwrap();
        writer.write(state).unwrap();
        let file = writer.finish().unwrap();
        store.keep(&file).unwrap();
        file
    }

    #[test]
    fn the_newest_snapshot_survives_and_older_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(dir.path().to_owned()).unwrap();
        let old = kept(&store, 5, b"old");
        kept(&store, 9, b"new state");
        drop(store.begin(meta(11)).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(
            old.state().unwrap(),
            "old",
            "a sender may still be reading it"
        );

        let store = SnapshotStore::open(dir.path().to_owned()).unwrap();
        let current = store.current().unwrap();
        assert_eq!(current.meta, meta(9));
        assert_eq!(current.state().unwrap(), "new state");
        assert_eq!(current.read(4, 100).unwrap(), "state");
    }

    #[test]
    fn one_flipped_bit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(dir.path().to_owned()).unwrap();
        kept(&store, 5, b"some state");
        let path = dir.path().join("snap-00000000000000000005");
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() - 12;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        let refused = SnapshotStore::open(dir.path().to_owned()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    }
}
