//! Offsets as the wire shows them, read without the server's own code.

use std::fmt;

/// A position in a namespace's log: `<epoch>.<index>.<op>`, base 36. Positions of one epoch compare
/// as they stand in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset {
    /// Which log.
    pub epoch: u64,
    /// Entry in that log.
    pub index: u64,
    /// Operation within the entry.
    pub op: u32,
}

impl Offset {
    /// Reads an offset; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let mut number = || u64::from_str_radix(parts.next()?, 36).ok();
        let (epoch, index, op) = (number()?, number()?, number()?);
        let op = u32::try_from(op).ok()?;
        let parsed = Self { epoch, index, op };
        // Canonical only: the text of the value is the text that was read.
        (parsed.to_string() == text).then_some(parsed)
    }

    /// The first position after this one: turns an inclusive bound into an exclusive one.
    #[must_use]
    pub fn next(self) -> Self {
        match self.op.checked_add(1) {
            Some(op) => Self { op, ..self },
            None => Self {
                index: self.index + 1,
                op: 0,
                ..self
            },
        }
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [epoch, index, op] = [self.epoch, self.index, u64::from(self.op)].map(base36);
        write!(f, "{epoch}.{index}.{op}")
    }
}

fn base36(mut value: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(value % 36).unwrap_or(0);
        digits.extend(char::from_digit(digit, 36));
        value /= 36;
        if value == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_canonically_and_compare_as_they_stand() {
        let offset = Offset::parse("1z.10.a").unwrap();
        assert_eq!(
            offset,
            Offset {
                epoch: 71,
                index: 36,
                op: 10
            }
        );
        assert_eq!(offset.to_string(), "1z.10.a");
        assert!(offset < Offset::parse("1z.11.0").unwrap());
        assert!(offset < offset.next());
        for bad in [
            "", "a", "a.b", "a.b.c.d", "01.1.1", "A.1.1", "a.-1.1", "a.1.1 ", "a..1",
        ] {
            assert_eq!(Offset::parse(bad), None, "{bad:?}");
        }
    }
}
