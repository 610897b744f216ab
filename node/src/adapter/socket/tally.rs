//! Counts what is held in memory for one socket against a bound.

use crate::engine::Frames;

/// How much may be held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub(super) frames_max: usize,
    pub(super) bytes_max: usize,
}

/// How much is.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    frames: usize,
    bytes: usize,
}

impl Tally {
    /// Counts one more; false at the bound. One that is larger by itself is taken when nothing else
    /// is held, as by an outbox.
    pub(super) fn take_in(&mut self, frames: &Frames, bound: Bound) -> bool {
        let bytes = self.bytes + frames.len();
        let fits = self.frames < bound.frames_max && bytes <= bound.bytes_max;
        if !fits && self.frames > 0 {
            return false;
        }
        self.frames += 1;
        self.bytes = bytes;
        true
    }

    /// Counts one less.
    pub(super) fn let_go(&mut self, frames: &Frames) {
        self.frames -= 1;
        self.bytes -= frames.len();
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.frames == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::testing::text;

    #[test]
    fn frames_and_bytes_are_bounded_and_a_lone_giant_is_taken() {
        let bound = Bound {
            frames_max: 3,
            bytes_max: 20,
        };
        let (small, giant) = (text("123"), text("x".repeat(100)));
        let mut tally = Tally::default();
        assert!(tally.take_in(&giant, bound));
        assert!(!tally.take_in(&small, bound), "bytes");
        tally.let_go(&giant);
        assert!(tally.is_empty());
        for _ in 0..3 {
            assert!(tally.take_in(&small, bound));
        }
        assert!(!tally.take_in(&small, bound), "frames");
        tally.let_go(&small);
        assert!(!tally.take_in(&giant, bound) && tally.take_in(&small, bound));
    }
}
