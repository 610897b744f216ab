//! The disk before it is full: below a reserve the log says so, and callers stop writing more.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};

use super::log::Wal;

/// A disk that was low has this much more than the reserve before it is no longer, or a quarter
/// more.
const MARGIN_BYTES: u64 = 256 * 1024 * 1024;

/// How much of the disk is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Space {
    /// Less than half of the reserve: not even what other nodes wrote should be taken.
    Exhausted,
    /// Less than the reserve: nothing new should be written.
    Low,
    /// The reserve and more.
    Enough,
}

/// The last known space, readable at no cost.
#[derive(Debug)]
pub(super) struct Gauge(AtomicU8);

impl Default for Gauge {
    fn default() -> Self {
        Self(AtomicU8::new(Space::Enough as u8))
    }
}

impl Space {
    /// What `free` bytes are; a disk that was low needs somewhat more than the reserve, so that it
    /// does not turn back and forth.
    fn of(free: u64, reserve: u64, before: Self) -> Self {
        let enough = match before {
            Self::Enough => reserve,
            Self::Low | Self::Exhausted => reserve.saturating_add(MARGIN_BYTES.min(reserve / 4)),
        };
        match free {
            free if free >= enough => Self::Enough,
            free if free >= reserve / 2 => Self::Low,
            _ => Self::Exhausted,
        }
    }

    fn from_byte(byte: u8) -> Self {
        let all = [Self::Exhausted, Self::Low, Self::Enough];
        all.into_iter()
            .find(|space| *space as u8 == byte)
            .unwrap_or(Self::Enough)
    }
}

impl Wal {
    /// The space as of the last look.
    pub(crate) fn space(&self) -> Space {
        Space::from_byte(self.shared.space.0.load(Ordering::Acquire))
    }

    /// Looks how much of the disk is left. Blocks.
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn look_at_space(&self) -> io::Result<Space> {
        let free = self.shared.disk.free_bytes()?;
        let before = self.space();
        let now = Space::of(free, self.shared.options.reserve_bytes, before);
        if now != before {
            self.shared.space.0.store(now as u8, Ordering::Release);
            tracing::warn!(free, ?before, ?now, "space on the log's disk");
        }
        Ok(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_turns_low_at_the_reserve_and_back_somewhat_above() {
        use Space::{Enough, Exhausted, Low};
        for (free, before, now) in [
            (100, Enough, Enough),
            (99, Enough, Low),
            (110, Low, Low),
            (125, Low, Enough),
            (49, Low, Exhausted),
            (50, Exhausted, Low),
            (125, Exhausted, Enough),
        ] {
            assert_eq!(Space::of(free, 100, before), now, "{free} after {before:?}");
        }
        for space in [Exhausted, Low, Enough] {
            assert_eq!(Space::from_byte(space as u8), space);
        }
    }
}
