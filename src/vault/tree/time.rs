//! Times: RFC 3339 in UTC with up to nine digits after the point, and only years that it can spell.

use jiff::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::Offset;

/// Seconds of the Gregorian calendar's period of 400 years: dates repeat after it.
const PERIOD: i64 = 146_097 * 86_400;
/// Midnight at the start of the year 0.
const YEAR_0: i64 = -62_167_219_200;

/// The instant `seconds` and `nanoseconds` after 1970, as the format can store it.
///
/// A file system may know years before 0 and after 9999. As restic does, these keep month, day and time and move into
/// the year 0 or 9999. The last 26 hours of the year 9999 are all [`Timestamp::MAX`].
pub fn from_unix(seconds: i64, nanoseconds: u32) -> Timestamp {
    let nanoseconds = i32::try_from(nanoseconds).unwrap_or(i32::MAX).min(999_999_999);
    match Timestamp::new(seconds, nanoseconds) {
        Ok(instant) if seconds >= YEAR_0 => instant,
        Ok(_) | Err(_) => {
            let year = if seconds < 0 { 0 } else { 9999 };
            let alike = Timestamp::new(seconds.rem_euclid(PERIOD), nanoseconds).expect("lies in 1970 to 2369");
            let alike = Offset::UTC.to_datetime(alike);
            let moved = moved_to(year, alike.date()).to_datetime(alike.time());
            Offset::UTC.to_timestamp(moved).unwrap_or(Timestamp::MAX)
        }
    }
}

/// `day` in another year; the 29th of February is the 1st of March where there is none.
fn moved_to(year: i16, day: Date) -> Date {
    Date::new(year, day.month(), day.day()).unwrap_or(date(year, 3, 1))
}

/// Appends `instant`, without quotes.
pub(super) fn write(out: &mut Vec<u8>, instant: Timestamp) {
    let mut at = Offset::UTC.to_datetime(instant);
    if at.year() < 0 {
        at = moved_to(0, at.date()).to_datetime(at.time());
    }
    let year = at.year().unsigned_abs();
    digits::<4>(out, b' ', u32::from(year));
    digits::<2>(out, b'-', u32::from(at.month().unsigned_abs()));
    digits::<2>(out, b'-', u32::from(at.day().unsigned_abs()));
    digits::<2>(out, b'T', u32::from(at.hour().unsigned_abs()));
    digits::<2>(out, b':', u32::from(at.minute().unsigned_abs()));
    digits::<2>(out, b':', u32::from(at.second().unsigned_abs()));
    let fraction = at.subsec_nanosecond().unsigned_abs();
    if fraction != 0 {
        digits::<9>(out, b'.', fraction);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    out.push(b'Z');
}

/// Appends `before`, unless it is a space, and exactly `N` digits.
fn digits<const N: usize>(out: &mut Vec<u8>, before: u8, mut value: u32) {
    if before != b' ' {
        out.push(before);
    }
    let mut text = [b'0'; N];
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&text);
}

/// Reads what [`write`] and other tools write: RFC 3339 with any offset. The last hours of the year 9999 are
/// [`Timestamp::MAX`].
pub(super) fn parse(text: &str) -> Result<Timestamp, jiff::Error> {
    match text.parse() {
        Ok(instant) => Ok(instant),
        Err(_) if text.starts_with("9999-12-3") && text.ends_with('Z') => Ok(Timestamp::MAX),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(instant: Timestamp) -> String {
        let mut out = Vec::new();
        write(&mut out, instant);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_written_as_go_does() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (1_700_000_000, 123_456_789, "2023-11-14T22:13:20.123456789Z"),
            (1_700_000_000, 120_000_000, "2023-11-14T22:13:20.12Z"),
            (1_700_000_000, 1, "2023-11-14T22:13:20.000000001Z"),
            (-1, 500_000_000, "1969-12-31T23:59:59.5Z"),
            (-62_135_596_800, 0, "0001-01-01T00:00:00Z"),
            (YEAR_0, 0, "0000-01-01T00:00:00Z"),
        ] {
            assert_eq!(written(from_unix(seconds, nanoseconds)), text);
            assert_eq!(parse(text).unwrap(), from_unix(seconds, nanoseconds));
        }
    }

    #[test]
    fn years_that_cannot_be_spelled_move_to_the_nearest_that_can() {
        assert_eq!(written(from_unix(253_402_300_800 + 86_400, 5)), "9999-01-02T00:00:00.000000005Z");
        // 29 February 12000
        assert_eq!(written(from_unix(316_521_302_400, 0)), "9999-03-01T00:00:00Z");
        assert_eq!(written(from_unix(YEAR_0 - 1, 0)), "0000-12-31T23:59:59Z");
        assert_eq!(from_unix(253_402_300_799, 0), Timestamp::MAX);
        assert!(written(from_unix(i64::MAX, u32::MAX)).starts_with("9999-"));
        assert!(written(from_unix(i64::MIN, 0)).starts_with("0000-"));
        assert!(written(Timestamp::MIN).starts_with("0000-"));
        assert_eq!(parse("9999-12-31T23:59:59.999Z").unwrap(), Timestamp::MAX);
    }

    #[test]
    fn other_zones_are_read_and_nonsense_is_not() {
        assert_eq!(parse("2023-11-14T23:13:20+01:00").unwrap(), from_unix(1_700_000_000, 0));
        for text in ["", "2023-11-14", "2023-13-14T00:00:00Z", "9999-12-3x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
