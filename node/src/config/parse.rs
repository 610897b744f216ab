//! Durations and sizes as people write them: one whole number and one unit.

use std::time::Duration;

/// What a duration may look like; part of refusals.
pub(crate) const DURATION_FORM: &str = "a whole number and ms, s, m, h or d, for example 10m";
/// What a size may look like; part of refusals.
pub(crate) const BYTES_FORM: &str =
    "a whole number with B, kB, MB, GB (thousands) or KiB, MiB, GiB (1024s), for example 256MiB";

const DURATION_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];
const BYTES_UNITS: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
    ("", 1),
];

/// Reads `10m`, `500ms`; `None` when it is no duration or too large to count in milliseconds.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    scaled(text, &DURATION_UNITS).map(Duration::from_millis)
}

/// Reads `256MiB`, `1MB`, `1 MB`, `4096`; `None` when it is no size or does not fit.
#[must_use]
pub fn bytes(text: &str) -> Option<u64> {
    scaled(text, &BYTES_UNITS)
}

/// Writes a duration so that [`duration`] reads it back, in the largest unit that is exact.
#[must_use]
pub fn show_duration(value: Duration) -> String {
    let ms = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    show(ms, &DURATION_UNITS)
}

/// Writes a size so that [`bytes`] reads it back, in the largest unit that is exact.
#[must_use]
pub fn show_bytes(value: u64) -> String {
    show(value, &BYTES_UNITS)
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn show(value: u64, units: &[(&str, u64)]) -> String {
    let exact = units
        .iter()
        .find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
    match exact.or(units.last()) {
        Some((name, factor)) => format!("{}{name}", value / factor),
        None => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_whole_number_and_a_unit() {
        for (text, ms) in [
            ("10m", 600_000),
            ("2 m", 120_000),
            ("500ms", 500),
            ("0s", 0),
            ("3d", 259_200_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "10",
            "m",
            "-1s",
            "1.5s",
            "1h30m",
            " 5s",
            "5S",
            "99999999999999999d",
        ] {
            assert_eq!(duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn sizes_tell_thousands_from_1024s() {
        for (text, count) in [
            ("4096", 4096),
            ("1MB", 1_000_000),
            ("1 MiB", 1_048_576),
            ("2GiB", 2 << 30),
            ("7B", 7),
            ("1kB", 1_000),
        ] {
            assert_eq!(bytes(text), Some(count), "{text}");
        }
        for text in [
            "",
            "MB",
            "1M",
            "1mb",
            "-1",
            "0x10",
            "1.5MB",
            "99999999999999GiB",
        ] {
            assert_eq!(bytes(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for ms in [0, 1, 999, 1_000, 60_000, 90_000, 3_600_000, 86_400_000] {
            let value = Duration::from_millis(ms);
            assert_eq!(duration(&show_duration(value)), Some(value));
        }
        for count in [0, 1, 1_000, 1_024, 1_000_000, 1 << 20, 1_000_001, 5 << 30] {
            assert_eq!(bytes(&show_bytes(count)), Some(count));
        }
        assert_eq!(show_duration(Duration::from_secs(600)), "10m");
        assert_eq!(show_bytes(256 << 20), "256MiB");
    }
}
