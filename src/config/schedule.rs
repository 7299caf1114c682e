//! When a plan runs, and which tiers its runs serve.
//!
//! Times of day are civil times in the schedule's zone. The daylight-saving rule is one for all: a time that a day skips
//! is due at the change, a time that it has twice is due the first time only. Whoever picks such a time says that this
//! is meant ([`Daylight::Once`]); `config check` asks for it.
//!
//! This describes; which instants that makes, and which of them were missed, is decided where schedules are planned.

use std::fmt;
use std::str::FromStr;

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::retention::Tier;
use crate::units::Span;

/// Agreement to the daylight-saving rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Daylight {
    /// Each day has one run: at the change when the time is skipped, the first time when it comes twice.
    Once,
}

/// What happens after downtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// One run makes up for all that were missed.
    #[default]
    Once,
    /// The next one is the next one.
    Skip,
}

/// An IANA time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

impl Zone {
    /// The zone's rules.
    pub fn rules(&self) -> &TimeZone {
        &self.rules
    }
}

impl FromStr for Zone {
    type Err = jiff::Error;

    fn from_str(name: &str) -> Result<Self, jiff::Error> {
        TimeZone::get(name).map(|rules| Self { name: name.to_owned(), rules })
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

/// A cron expression of five fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronLine {
    text: String,
    cron: Box<Cron>,
}

impl CronLine {
    /// The parsed expression.
    pub fn cron(&self) -> &Cron {
        &self.cron
    }

    /// The next match after a civil time. `None` when there is none within reach.
    fn after(&self, time: DateTime) -> Option<DateTime> {
        self.cron.find_next_occurrence(&time, false).ok()
    }
}

impl FromStr for CronLine {
    type Err = croner::errors::CronError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let cron = CronParser::builder().seconds(Seconds::Disallowed).build().parse(text)?;
        Ok(Self { text: text.to_owned(), cron: Box::new(cron) })
    }
}

impl Serialize for CronLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// What sets the instants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rhythm {
    /// A time of day, on each day that a tier names.
    At(Time),
    /// A cron expression in civil time.
    Cron(CronLine),
    /// A fixed interval, at least a second, counted from the Unix epoch.
    Every(Span),
}

/// The days that belong to a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Days {
    /// Each of them.
    Every,
    /// One a week.
    #[serde(serialize_with = "weekday")]
    Weekly(Weekday),
    /// One a month, 1 to 31; the month's last day where the month is shorter.
    Monthly(i8),
}

impl Days {
    fn include(self, date: Date) -> bool {
        match self {
            Self::Every => true,
            Self::Weekly(day) => date.weekday() == day,
            Self::Monthly(day) => date.day() == day.clamp(1, date.days_in_month()),
        }
    }
}

/// The runs that serve a tier: with `at` those on its days, with `cron` and `every` each first one since such a day
/// began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TierDays {
    /// The tier.
    pub tier: Tier,
    /// Its days.
    pub days: Days,
}

/// When a plan runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Schedule {
    /// What sets the instants.
    pub rhythm: Rhythm,
    /// Whose days and times those are.
    pub zone: Zone,
    /// Whether somebody agreed to the daylight-saving rule.
    pub daylight: Option<Daylight>,
    /// The tiers that runs serve, each once, the finest first; at least one.
    pub tiers: Vec<TierDays>,
    /// What happens after downtime.
    pub catch_up: CatchUp,
}

/// Matches of a cron expression looked at to find its longest gap.
const CRON_SAMPLES: usize = 1000;

impl Schedule {
    /// The longest time from one run to the next, as far as the coming year (for `cron`: or 1000 matches) shows. Counts
    /// the hour by which a day grows when daylight saving ends. `None` when there is no next run.
    pub fn longest_gap(&self, since: Timestamp) -> Option<Span> {
        let days = |days: u32| Span::from_hours(24 * days);
        let civil = match &self.rhythm {
            Rhythm::Every(span) => return Some(*span),
            Rhythm::At(_) => {
                let has = |wanted: fn(Days) -> bool| self.tiers.iter().any(|tier| wanted(tier.days));
                match (has(|days| days == Days::Every), has(|days| matches!(days, Days::Weekly(_)))) {
                    (true, _) => days(1),
                    (false, true) => days(7),
                    (false, false) => days(31),
                }
            }
            Rhythm::Cron(cron) => {
                let start = self.civil(since);
                let end = start.checked_add(1.year()).ok()?;
                let mut longest = SignedDuration::ZERO;
                let mut last = cron.after(start)?;
                for _ in 0..CRON_SAMPLES {
                    let next = cron.after(last)?;
                    longest = longest.max(next.duration_since(last));
                    last = next;
                    if last > end {
                        break;
                    }
                }
                Span::round_up(longest.unsigned_abs())
            }
        };
        let grown = self
            .changes(since)
            .filter(|(before, after)| after < before)
            .map(|(before, after)| before.duration_since(after));
        Some(civil.saturating_add(Span::round_up(grown.max().unwrap_or_default().unsigned_abs())))
    }

    /// The first civil interval, within the coming ten years, that daylight saving skips or repeats and that a run's
    /// time lies in. `None` when there is none.
    pub fn moved_by_daylight(&self, since: Timestamp) -> Option<(DateTime, DateTime)> {
        self.changes(since)
            .map(|(before, after)| (before.min(after), before.max(after)))
            .find(|(from, to)| self.names_a_time_in(*from, *to))
    }

    /// Clock changes within the coming ten years: the civil time that a change would have come at, and what it was set to.
    fn changes(&self, since: Timestamp) -> impl Iterator<Item = (DateTime, DateTime)> + '_ {
        let until = since.checked_add(SignedDuration::from_hours(10 * 366 * 24)).unwrap_or(Timestamp::MAX);
        let changes = self.zone.rules.following(since).take_while(move |change| change.timestamp() <= until);
        changes.filter_map(|change| {
            let before = change.timestamp().checked_sub(1.nanosecond()).ok()?;
            Some((self.civil(before).checked_add(1.nanosecond()).ok()?, self.civil(change.timestamp())))
        })
    }

    fn names_a_time_in(&self, from: DateTime, to: DateTime) -> bool {
        match &self.rhythm {
            Rhythm::Every(_) => false,
            Rhythm::At(time) => [from.date(), to.date()].into_iter().any(|date| {
                let run = date.to_datetime(*time);
                from <= run && run < to && self.tiers.iter().any(|tier| tier.days.include(date))
            }),
            Rhythm::Cron(cron) => {
                let next = from.checked_sub(1.second()).ok().and_then(|before| cron.after(before));
                next.is_some_and(|next| next < to)
            }
        }
    }

    fn civil(&self, at: Timestamp) -> DateTime {
        self.zone.rules.to_datetime(at)
    }
}

fn weekday<S: Serializer>(day: &Weekday, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match day {
        Weekday::Monday => "mon",
        Weekday::Tuesday => "tue",
        Weekday::Wednesday => "wed",
        Weekday::Thursday => "thu",
        Weekday::Friday => "fri",
        Weekday::Saturday => "sat",
        Weekday::Sunday => "sun",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAILY: TierDays = TierDays { tier: Tier::Daily, days: Days::Every };
    const SATURDAY: TierDays = TierDays { tier: Tier::Weekly, days: Days::Weekly(Weekday::Saturday) };
    const MONTHLY: TierDays = TierDays { tier: Tier::Monthly, days: Days::Monthly(31) };

    fn schedule(rhythm: Rhythm, zone: &str, tiers: &[TierDays]) -> Schedule {
        let zone = zone.parse().unwrap();
        Schedule { rhythm, zone, daylight: None, tiers: tiers.to_vec(), catch_up: CatchUp::Once }
    }

    fn at(time: &str, zone: &str, tiers: &[TierDays]) -> Schedule {
        schedule(Rhythm::At(time.parse().unwrap()), zone, tiers)
    }

    fn cron(line: &str, zone: &str) -> Schedule {
        schedule(Rhythm::Cron(line.parse().unwrap()), zone, &[DAILY])
    }

    #[test]
    fn moved_times_are_noticed() {
        let since = "2026-01-01T00:00:00Z".parse().unwrap();
        let moved = |schedule: Schedule| schedule.moved_by_daylight(since).map(|(from, to)| format!("{from} {to}"));
        // Berlin 2026: 02:00 to 03:00 is skipped on 29 March and comes twice on 25 October.
        let gap = Some("2026-03-29T02:00:00 2026-03-29T03:00:00");
        for (schedule, expected) in [
            (at("02:30", "Europe/Berlin", &[DAILY]), gap),
            (at("02:00", "Europe/Berlin", &[DAILY]), gap),
            (at("03:00", "Europe/Berlin", &[DAILY]), None),
            (at("02:30", "UTC", &[DAILY]), None),
            (at("02:30", "Europe/Berlin", &[SATURDAY]), None),
            (at("02:30", "Europe/Berlin", &[MONTHLY]), Some("2027-10-31T02:00:00 2027-10-31T03:00:00")),
            (cron("15 2 * * *", "Europe/Berlin"), gap),
            (cron("*/15 * * * *", "Europe/Berlin"), gap),
            (cron("15 4 * * *", "Europe/Berlin"), None),
            (schedule(Rhythm::Every(Span::from_mins(15)), "Europe/Berlin", &[DAILY]), None),
        ] {
            assert_eq!(moved(schedule.clone()).as_deref(), expected, "{schedule:?}");
        }
    }

    #[test]
    fn the_longest_gap_counts_grown_days() {
        let since = "2026-01-01T00:00:00Z".parse().unwrap();
        for (schedule, gap) in [
            (at("02:30", "UTC", &[DAILY, SATURDAY]), Some("24h")),
            (at("02:30", "Europe/Berlin", &[DAILY]), Some("25h")),
            (at("02:30", "UTC", &[SATURDAY, MONTHLY]), Some("7d")),
            (at("02:30", "UTC", &[MONTHLY]), Some("31d")),
            (schedule(Rhythm::Every(Span::from_mins(15)), "Europe/Berlin", &[DAILY]), Some("15m")),
            (cron("0 8-18 * * mon-fri", "UTC"), Some("2d14h")),
            (cron("0 0 1 * *", "UTC"), Some("31d")),
            (cron("0 0 30 2 *", "UTC"), None),
        ] {
            assert_eq!(schedule.longest_gap(since).map(|gap| gap.to_string()).as_deref(), gap, "{schedule:?}");
        }
    }
}
