//! Moments as people type them: `--at "2026-11-20 13:00"`, `--at "2h ago"`.
//!
//! A moment without an offset is read in the local zone. One that a clock change skips or repeats is refused rather
//! than guessed, for a restore would silently pick the wrong side of an hour.

use jiff::civil::{DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, Timestamp, ToSpan, Zoned};

/// The text is no moment that we understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadTime {
    /// Nothing fits.
    #[error(
        "{0:?} is not a time; write for example \"2026-11-20T13:00:00Z\", \"2026-11-20 13:00\" (local time), \
         \"2026-11-20\" (its first moment), \"yesterday 13:00\" or \"2h ago\""
    )]
    Unreadable(String),
    /// The local clock skipped it.
    #[error("{0:?} does not exist in {1}: the clock was put forward over it; add an offset, as in \"{2}\"")]
    Skipped(String, String, String),
    /// The local clock showed it twice.
    #[error("{0:?} happened twice in {1}: the clock was put back; add an offset: \"{2}\" or \"{3}\"")]
    Twice(String, String, String, String),
    /// Farther away than time is counted.
    #[error("{0:?} is out of range")]
    OutOfRange(String),
}

/// Reads a moment; `now` is the present in the user's zone.
///
/// A bare date is its first moment, a bare time is today's.
pub(crate) fn parse(text: &str, now: &Zoned) -> Result<Timestamp, BadTime> {
    let trimmed = text.trim();
    let lower = trimmed.to_ascii_lowercase();
    if lower == "now" {
        return Ok(now.timestamp());
    }
    if let Some(span) = lower.strip_suffix("ago") {
        return ago(text, span, now);
    }
    if let Some(moment) = relative_day(text, &lower, now)? {
        return Ok(moment);
    }
    if let Some(moment) = with_offset(trimmed) {
        return Ok(moment);
    }
    if has_offset(trimmed) {
        return Err(BadTime::Unreadable(text.to_owned()));
    }
    let civil = match (trimmed.parse::<DateTime>(), clock_time(trimmed)) {
        (Ok(civil), _) => civil,
        (Err(_), Some(time)) => now.date().to_datetime(time),
        (Err(_), None) => return Err(BadTime::Unreadable(text.to_owned())),
    };
    resolve(text, civil, now.time_zone())
}

/// "2026-11-20T13:00:00Z", "2026-11-20 13:00+01:00".
fn with_offset(text: &str) -> Option<Timestamp> {
    text.parse::<Timestamp>().ok().or_else(|| text.parse::<Zoned>().ok().map(|zoned| zoned.timestamp()))
}

/// Whether an offset or a zone stands behind the time of day: such a text must never be read as local time.
fn has_offset(text: &str) -> bool {
    text.contains('[') || text.get(10..).is_some_and(|rest| rest.contains(['Z', 'z', '+', '-']))
}

fn clock_time(text: &str) -> Option<Time> {
    text.contains(':').then(|| text.parse::<Time>().ok()).flatten()
}

fn ago(text: &str, span: &str, now: &Zoned) -> Result<Timestamp, BadTime> {
    let unreadable = || BadTime::Unreadable(text.to_owned());
    let span: Span = span.trim().parse().map_err(|_| unreadable())?;
    if span.is_negative() || span.is_zero() {
        return Err(unreadable());
    }
    let then = now.checked_sub(span).map_err(|_| BadTime::OutOfRange(text.to_owned()))?;
    Ok(then.timestamp())
}

/// "today", "yesterday 13:00".
fn relative_day(text: &str, lower: &str, now: &Zoned) -> Result<Option<Timestamp>, BadTime> {
    let (rest, back) = match (lower.strip_prefix("today"), lower.strip_prefix("yesterday")) {
        (Some(rest), _) => (rest, 0.days()),
        (_, Some(rest)) => (rest, 1.day()),
        (None, None) => return Ok(None),
    };
    let time = match rest.trim() {
        "" => Time::midnight(),
        rest => clock_time(rest).ok_or_else(|| BadTime::Unreadable(text.to_owned()))?,
    };
    let date = now.date().checked_sub(back).map_err(|_| BadTime::OutOfRange(text.to_owned()))?;
    resolve(text, date.to_datetime(time), now.time_zone()).map(Some)
}

fn resolve(text: &str, civil: DateTime, zone: &TimeZone) -> Result<Timestamp, BadTime> {
    let name = || zone.iana_name().unwrap_or("the local time zone").to_owned();
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } => {
            ambiguous.unambiguous().map_err(|_| BadTime::OutOfRange(text.to_owned()))
        }
        AmbiguousOffset::Gap { before, .. } => {
            Err(BadTime::Skipped(text.to_owned(), name(), format!("{civil}{before}")))
        }
        AmbiguousOffset::Fold { before, after } => {
            Err(BadTime::Twice(text.to_owned(), name(), format!("{civil}{before}"), format!("{civil}{after}")))
        }
    }
}

/// A moment for people: local, to the second, with its offset, so that it can be pasted behind `--at`.
pub(crate) fn show(moment: Timestamp, zone: &TimeZone) -> String {
    moment.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> Zoned {
        "2026-11-21T10:30:00+01:00[Europe/Berlin]".parse().expect("a zoned time")
    }

    #[test]
    fn moments_that_people_type() {
        let table = [
            ("2026-11-20T13:00:00Z", "2026-11-20T13:00:00Z"),
            ("2026-11-20 13:00:00+01:00", "2026-11-20T12:00:00Z"),
            ("2026-11-20T13:00:00.5-05:00", "2026-11-20T18:00:00.5Z"),
            ("2026-11-20T13:00[America/New_York]", "2026-11-20T18:00:00Z"),
            ("2026-11-20 13:00", "2026-11-20T12:00:00Z"),
            ("2026-07-20 13:00", "2026-07-20T11:00:00Z"),
            (" 2026-11-20T13:00:05 ", "2026-11-20T12:00:05Z"),
            ("2026-11-20", "2026-11-19T23:00:00Z"),
            ("yesterday", "2026-11-19T23:00:00Z"),
            ("Yesterday 13:00", "2026-11-20T12:00:00Z"),
            ("today 09:15", "2026-11-21T08:15:00Z"),
            ("09:15", "2026-11-21T08:15:00Z"),
            ("now", "2026-11-21T09:30:00Z"),
            ("2h ago", "2026-11-21T07:30:00Z"),
            ("3 days ago", "2026-11-18T09:30:00Z"),
            ("1w 1d ago", "2026-11-13T09:30:00Z"),
            ("1 month ago", "2026-10-21T08:30:00Z"),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text, &berlin()).map(|moment| moment.to_string()), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused_with_examples() {
        for text in
            ["", "last tuesday", "2026-13-01", "2026-11-20 25:00", "ago", "-2h ago", "5", "yesterday noon", "13:0Z+"]
        {
            let error = parse(text, &berlin()).expect_err(text);
            assert!(error.to_string().contains("2h ago"), "{text}: {error}");
        }
    }

    #[test]
    fn an_hour_that_the_clock_repeats_or_skips_is_not_guessed() {
        let twice = parse("2026-10-25 02:30", &berlin()).expect_err("a fold").to_string();
        assert!(twice.contains("2026-10-25T02:30:00+02") && twice.contains("2026-10-25T02:30:00+01"), "{twice}");
        let skipped = parse("2026-03-29 02:30", &berlin()).expect_err("a gap").to_string();
        assert!(skipped.contains("Europe/Berlin") && skipped.contains("2026-03-29T02:30:00+01"), "{skipped}");
    }

    #[test]
    fn what_is_shown_can_be_typed_again() {
        let moment: Timestamp = "2026-11-20T12:00:05Z".parse().expect("a timestamp");
        let shown = show(moment, berlin().time_zone());
        assert_eq!(shown, "2026-11-20 13:00:05+01:00");
        assert_eq!(parse(&shown, &berlin()), Ok(moment));
    }
}
