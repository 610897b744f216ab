//! A JavaScript `Date` as `JSON.stringify` writes it. Knows the calendar, not the time.

/// What a `Date` can hold on both sides of 1970, in milliseconds. (ECMAScript, "Time Values".)
const MILLISECONDS_MAX: u64 = 8_640_000_000_000_000;
const DAY: i64 = 86_400_000;

/// `2026-01-31T23:59:59.000Z`; years outside of 0 to 9999 have a sign and six digits. `None` where
/// a `Date` would be invalid.
pub(super) fn iso_8601(milliseconds: i64) -> Option<String> {
    if milliseconds.unsigned_abs() > MILLISECONDS_MAX {
        return None;
    }
    let (year, month, day) = civil(milliseconds.div_euclid(DAY));
    let time = milliseconds.rem_euclid(DAY);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{year:+07}"),
    };
    let (seconds, thousandths) = (time / 1000, time % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    Some(format!(
        "{year}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{thousandths:03}Z"
    ))
}

/// Year, month and day of a day counted from 1970-01-01: eras of 400 years that begin on a first of
/// March, so that the leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let leaps = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leaps) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each written by `new Date(ms).toJSON()`.
    #[test]
    fn dates_read_as_javascript_writes_them() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (1_582_934_400_000, "2020-02-29T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (-62_167_219_200_001, "-000001-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "+010000-01-01T00:00:00.000Z"),
            (8_640_000_000_000_000, "+275760-09-13T00:00:00.000Z"),
            (-8_640_000_000_000_000, "-271821-04-20T00:00:00.000Z"),
        ] {
            assert_eq!(iso_8601(ms).as_deref(), Some(text), "{ms}");
        }
        for ms in [8_640_000_000_000_001, i64::MAX, i64::MIN] {
            assert_eq!(iso_8601(ms), None);
        }
    }
}
