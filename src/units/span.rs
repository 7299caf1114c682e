//! Lengths of time: elapsed ones, and calendar ones.
//!
//! A [`Span`] is so many seconds. An [`Age`] counts calendar months and days, which have no fixed length. The two do not
//! convert into each other. Neither can be negative, and neither knows what time it is.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::{NotAUnit, as_text, split_number};

const SPANS: &str = "500ms, 5s, 15m, 1h30m or 7d";
const AGES: &str = "12h, 7d, 12w, 12mo or 1y";
/// The longest span and age accepted: 1000 years. Far below where any arithmetic could overflow.
const MAX_YEARS: u64 = 1000;
const MAX_SECONDS: u64 = MAX_YEARS * 366 * 86_400;

/// An elapsed time: timeouts, objectives, lags. A day is 24 hours and a week 7 of those. Exact to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(Duration);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// So many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// So many minutes.
    pub const fn from_mins(minutes: u32) -> Self {
        Self(Duration::from_secs(60 * minutes as u64))
    }

    /// So many hours.
    pub const fn from_hours(hours: u32) -> Self {
        Self(Duration::from_secs(3600 * hours as u64))
    }

    /// A measured time, rounded up to a whole millisecond.
    pub fn round_up(measured: Duration) -> Self {
        let millis = measured.as_nanos().div_ceil(1_000_000);
        Self(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
    }

    /// For timers.
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// For arithmetic with timestamps.
    pub fn signed(self) -> SignedDuration {
        SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX)
    }

    /// The two one after the other.
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Span {
    /// Without loss, in days only from two days up: "24h", "2d", "1h30m", "1s250ms".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut seconds = self.0.as_secs();
        let mut text = String::new();
        if seconds >= 2 * 86_400 {
            text += &format!("{}d", seconds / 86_400);
            seconds %= 86_400;
        }
        for (unit, name) in [(3600, "h"), (60, "m"), (1, "s")] {
            if seconds >= unit {
                text += &format!("{}{name}", seconds / unit);
                seconds %= unit;
            }
        }
        match self.0.subsec_millis() {
            0 if text.is_empty() => text.push_str("0s"),
            0 => {}
            millis => text += &format!("{millis}ms"),
        }
        f.pad(&text)
    }
}

impl FromStr for Span {
    type Err = NotAUnit;

    fn from_str(text: &str) -> Result<Self, NotAUnit> {
        let parse = || {
            let mut millis = 0_u64;
            for (number, unit) in parts(text)? {
                let unit = match unit {
                    "ms" => 1,
                    "s" => 1000,
                    "m" => 60_000,
                    "h" => 3_600_000,
                    "d" => 86_400_000,
                    "w" => 7 * 86_400_000,
                    "mo" | "y" => return Err(format!("{unit:?} has no fixed length")),
                    _ => return Err(format!("there is no unit {unit:?}")),
                };
                millis = number.checked_mul(unit).and_then(|part| millis.checked_add(part)).ok_or_else(too_long)?;
            }
            if millis > MAX_SECONDS * 1000 { Err(too_long()) } else { Ok(Self(Duration::from_millis(millis))) }
        };
        parse().map_err(|why| NotAUnit { text: text.chars().take(40).collect(), noun: "a span", why, example: SPANS })
    }
}

as_text!(
    Span,
    "Span",
    r"^\s*([0-9]+\s*(ms|s|m|h|d|w)\s*)+$",
    "An elapsed time, like \"5s\", \"15m\", \"1h30m\", \"24h\" or \"7d\". A day is 24 hours.",
    "15m"
);

/// A calendar age: how long to keep something. Months, days and seconds are kept apart: a month is as long as the
/// calendar says, counted back from the moment that is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Age {
    /// Calendar months; a year is twelve.
    pub months: u32,
    /// Calendar days; a week is seven.
    pub days: u32,
    /// Seconds; an hour is 3600.
    pub seconds: u64,
}

impl Age {
    /// So many calendar months.
    pub const fn months(months: u32) -> Self {
        Self { months, days: 0, seconds: 0 }
    }

    /// So many days.
    pub const fn days(days: u32) -> Self {
        Self { months: 0, days, seconds: 0 }
    }

    /// So many weeks of seven days.
    pub const fn weeks(weeks: u32) -> Self {
        Self::days(weeks * 7)
    }

    /// The instant this long before `now`, by the calendar of UTC. Where the month is too short for the day, its last
    /// one. The earliest timestamp when the age reaches back further than time does.
    pub fn before(self, now: Timestamp) -> Timestamp {
        let back = || {
            let months = now.to_zoned(TimeZone::UTC).checked_sub(i32::try_from(self.months).ok()?.months()).ok()?;
            let days = months.checked_sub(i32::try_from(self.days).ok()?.days()).ok()?;
            days.timestamp().checked_sub(SignedDuration::from_secs(i64::try_from(self.seconds).ok()?)).ok()
        };
        back().unwrap_or(Timestamp::MIN)
    }

    /// The instant this long after `then`, by the calendar of UTC. Where the month is too short for the day, its last one.
    /// The latest timestamp when the age reaches further than time does.
    pub fn after(self, then: Timestamp) -> Timestamp {
        let ahead = || {
            let months = then.to_zoned(TimeZone::UTC).checked_add(i32::try_from(self.months).ok()?.months()).ok()?;
            let days = months.checked_add(i32::try_from(self.days).ok()?.days()).ok()?;
            days.timestamp().checked_add(SignedDuration::from_secs(i64::try_from(self.seconds).ok()?)).ok()
        };
        ahead().unwrap_or(Timestamp::MAX)
    }

    /// The shortest elapsed time that this can be: months count 28 days.
    pub fn at_least(self) -> Span {
        let days = u64::from(self.months) * 28 + u64::from(self.days);
        Span::from_secs((days * 86_400).saturating_add(self.seconds))
    }
}

impl fmt::Display for Age {
    /// Without loss; in years and weeks only from two of them up: "12mo", "2y", "7d", "12w".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = match self.months {
            0 => String::new(),
            months if months >= 24 && months % 12 == 0 => format!("{}y", months / 12),
            months => format!("{months}mo"),
        };
        match self.days {
            0 => {}
            days if days >= 14 && days % 7 == 0 => text += &format!("{}w", days / 7),
            days => text += &format!("{days}d"),
        }
        let mut seconds = self.seconds;
        for (unit, name) in [(3600, "h"), (60, "m"), (1, "s")] {
            if seconds >= unit {
                text += &format!("{}{name}", seconds / unit);
                seconds %= unit;
            }
        }
        f.pad(if text.is_empty() { "0d" } else { &text })
    }
}

impl FromStr for Age {
    type Err = NotAUnit;

    fn from_str(text: &str) -> Result<Self, NotAUnit> {
        let parse = || {
            let (mut months, mut days, mut seconds) = (0_u64, 0_u64, 0_u64);
            for (number, unit) in parts(text)? {
                let (sum, unit) = match unit {
                    "y" => (&mut months, 12),
                    "mo" => (&mut months, 1),
                    "w" => (&mut days, 7),
                    "d" => (&mut days, 1),
                    "h" => (&mut seconds, 3600),
                    "m" => (&mut seconds, 60),
                    "s" => (&mut seconds, 1),
                    _ => return Err(format!("there is no unit {unit:?}")),
                };
                *sum = number.checked_mul(unit).and_then(|part| sum.checked_add(part)).ok_or_else(too_long)?;
            }
            if months > MAX_YEARS * 12 || days > MAX_YEARS * 366 || seconds > MAX_SECONDS {
                return Err(too_long());
            }
            let narrow = |number: u64| u32::try_from(number).map_err(|_| too_long());
            Ok(Self { months: narrow(months)?, days: narrow(days)?, seconds })
        };
        parse().map_err(|why| NotAUnit { text: text.chars().take(40).collect(), noun: "an age", why, example: AGES })
    }
}

as_text!(
    Age,
    "Age",
    r"^\s*([0-9]+\s*(y|mo|w|d|h|m|s)\s*)+$",
    "A calendar age, like \"7d\", \"12w\", \"12mo\" or \"1y\". Months are calendar months.",
    "12mo"
);

fn too_long() -> String {
    format!("that is more than {MAX_YEARS} years")
}

/// Numbers with their units: `"1h30m"` is `[(1, "h"), (30, "m")]`.
fn parts(text: &str) -> Result<Vec<(u64, &str)>, String> {
    let mut rest = text.trim();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (number, fraction, tail) =
            split_number(rest).ok_or_else(|| format!("a number should stand where {rest:?} starts"))?;
        if !fraction.is_empty() {
            return Err("it has a fraction".to_owned());
        }
        let tail = tail.trim_start();
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        if unit.is_empty() {
            return Err(format!("{number} has no unit"));
        }
        found.push((number, unit));
        rest = tail.trim_start();
    }
    if found.is_empty() { Err("it is empty".to_owned()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_are_read_and_printed() {
        for (text, seconds, printed) in [
            ("5s", 5, "5s"),
            ("15m", 900, "15m"),
            ("1h", 3600, "1h"),
            ("24h", 86_400, "24h"),
            ("1d", 86_400, "24h"),
            ("36h", 129_600, "36h"),
            ("7d", 604_800, "7d"),
            ("1w", 604_800, "7d"),
            ("2d 3h", 183_600, "2d3h"),
            ("1h30m", 5400, "1h30m"),
            ("90s", 90, "1m30s"),
            ("0s", 0, "0s"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span, Span::from_secs(seconds), "{text}");
            assert_eq!(span.to_string(), printed);
        }
        assert_eq!("1s250ms".parse(), Ok(Span(Duration::from_millis(1250))));
        assert_eq!(Span::round_up(Duration::from_nanos(1_000_001)).to_string(), "2ms");
    }

    #[test]
    fn ages_are_read_and_printed() {
        for (text, age, printed) in [
            ("30d", Age::days(30), "30d"),
            ("7d", Age::days(7), "7d"),
            ("2w", Age::days(14), "2w"),
            ("12w", Age::weeks(12), "12w"),
            ("12mo", Age::months(12), "12mo"),
            ("1y", Age::months(12), "12mo"),
            ("7y", Age::months(84), "7y"),
            ("1y 6mo", Age::months(18), "18mo"),
            ("36h", Age { months: 0, days: 0, seconds: 129_600 }, "36h"),
            ("0d", Age::default(), "0d"),
        ] {
            assert_eq!(text.parse(), Ok(age), "{text}");
            assert_eq!(age.to_string(), printed);
        }
    }

    #[test]
    fn a_bad_span_or_age_says_why_and_shows_a_good_one() {
        for (text, message) in [
            ("", r#""" is not a span: it is empty (write it like 500ms, 5s, 15m, 1h30m or 7d)"#),
            ("5", r#""5" is not a span: 5 has no unit (write it like 500ms, 5s, 15m, 1h30m or 7d)"#),
            ("1mo", r#""1mo" is not a span: "mo" has no fixed length (write it like 500ms, 5s, 15m, 1h30m or 7d)"#),
            ("1.5h", r#""1.5h" is not a span: it has a fraction (write it like 500ms, 5s, 15m, 1h30m or 7d)"#),
            ("5 min", r#""5 min" is not a span: there is no unit "min" (write it like 500ms, 5s, 15m, 1h30m or 7d)"#),
            (
                "-5s",
                r#""-5s" is not a span: a number should stand where "-5s" starts (write it like 500ms, 5s, 15m, 1h30m or 7d)"#,
            ),
            ("9999y", r#""9999y" is not a span: "y" has no fixed length (write it like 500ms, 5s, 15m, 1h30m or 7d)"#),
            (
                "99999999999w",
                r#""99999999999w" is not a span: that is more than 1000 years (write it like 500ms, 5s, 15m, 1h30m or 7d)"#,
            ),
        ] {
            assert_eq!(text.parse::<Span>().unwrap_err().to_string(), message);
        }
        for (text, message) in [
            ("7", r#""7" is not an age: 7 has no unit (write it like 12h, 7d, 12w, 12mo or 1y)"#),
            (
                "1001y",
                r#""1001y" is not an age: that is more than 1000 years (write it like 12h, 7d, 12w, 12mo or 1y)"#,
            ),
            ("7days", r#""7days" is not an age: there is no unit "days" (write it like 12h, 7d, 12w, 12mo or 1y)"#),
        ] {
            assert_eq!(text.parse::<Age>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn an_age_counts_back_by_the_calendar() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        for (age, now, then) in [
            ("1mo", "2026-03-31T12:00:00Z", "2026-02-28T12:00:00Z"),
            ("12mo", "2028-02-29T00:00:00Z", "2027-02-28T00:00:00Z"),
            ("30d", "2026-03-31T12:00:00Z", "2026-03-01T12:00:00Z"),
            ("1d12h", "2026-01-02T00:00:00Z", "2025-12-31T12:00:00Z"),
        ] {
            assert_eq!(age.parse::<Age>().unwrap().before(at(now)), at(then), "{age}");
        }
        assert_eq!(Age::months(12_000).before(Timestamp::MIN), Timestamp::MIN);
    }

    #[test]
    fn an_age_counts_ahead_by_the_calendar() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        for (age, then, later) in [
            ("1mo", "2026-01-31T12:00:00Z", "2026-02-28T12:00:00Z"),
            ("12mo", "2027-02-28T00:00:00Z", "2028-02-28T00:00:00Z"),
            ("1d12h", "2025-12-31T12:00:00Z", "2026-01-02T00:00:00Z"),
        ] {
            assert_eq!(age.parse::<Age>().unwrap().after(at(then)), at(later), "{age}");
        }
        assert_eq!(Age::months(12_000).after(Timestamp::MAX), Timestamp::MAX);
    }

    proptest! {
        #[test]
        fn spans_come_back(millis in 0..MAX_SECONDS * 1000) {
            let span = Span(Duration::from_millis(millis));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
            prop_assert_eq!(serde_json::from_str::<Span>(&serde_json::to_string(&span).unwrap()).unwrap(), span);
        }

        #[test]
        fn ages_come_back(months in 0..12_000_u32, days in 0..366_000_u32, seconds in 0..MAX_SECONDS) {
            let age = Age { months, days, seconds };
            prop_assert_eq!(age.to_string().parse(), Ok(age));
            prop_assert_eq!(serde_json::from_str::<Age>(&serde_json::to_string(&age).unwrap()).unwrap(), age);
        }

        #[test]
        fn an_age_never_reaches_into_the_future(age in "[0-9]{1,3}(y|mo|w|d|h)", second in -10_000_000_000_i64..10_000_000_000) {
            let now = Timestamp::from_second(second).unwrap();
            prop_assert!(age.parse::<Age>().unwrap().before(now) <= now);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            let _: (Result<Span, _>, Result<Age, _>) = (text.parse(), text.parse());
        }
    }
}
