//! The instants at which a plan is due, and the tiers each of them serves.
//!
//! Pure calendar arithmetic. The daylight-saving rule: a local time that a clock change skips is due at the change, a
//! local time that comes twice is due the first time only. Spans (`every`) are elapsed time counted from the Unix epoch,
//! so that a restart or another host does not shift them.

use croner::Cron;
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::retention::Tier;

/// No rule skips more days than this in a row: the longest wait is for one day of the month.
const DAYS_AHEAD: usize = 40;

/// When runs are due.
#[derive(Debug, Clone)]
pub enum Pace {
    /// At this local time on each day that a tier names.
    At(Time),
    /// As the pattern says, in local time.
    Cron(Box<Cron>),
    /// Whenever this much time has passed. At least a second.
    Every(SignedDuration),
}

/// The days that belong to a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Days {
    /// Each of them.
    Every,
    /// One a week.
    Weekly(Weekday),
    /// One a month: 1 to 31, and the month's last day where the month is shorter.
    Monthly(i8),
}

/// The runs that serve a tier. With `at` a run serves it on the days named; with `cron` and `every` each first run of a
/// week or month (counted from the day named) does, since the day itself may have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierRule {
    /// The tier.
    pub tier: Tier,
    /// Its days.
    pub days: Days,
}

/// A plan's schedule. One run serves several tiers: Sunday's daily run is also the weekly one.
#[derive(Debug, Clone)]
pub struct Timetable {
    /// When runs are due.
    pub pace: Pace,
    /// Whose local time counts.
    pub zone: TimeZone,
    /// What each run is for.
    pub rules: Vec<TierRule>,
}

impl Timetable {
    /// The first due instant strictly after `after`; `None` when there is none before the end of time.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.pace {
            Pace::At(at) => {
                let local = self.zone.to_datetime(after).date();
                let start = local.yesterday().unwrap_or(local);
                start
                    .series(1.day())
                    .take(DAYS_AHEAD)
                    .filter(|&date| self.rules.iter().any(|rule| rule.days.include(date)))
                    .filter_map(|date| self.instant(date, *at))
                    .find(|&due| due > after)
            }
            Pace::Cron(cron) => {
                let next = cron.find_next_occurrence(&after.to_zoned(self.zone.clone()), false).ok()?;
                Some(next.timestamp())
            }
            Pace::Every(span) => {
                let step = span.as_secs().max(1);
                let next = after.as_second().div_euclid(step).checked_add(1)?.checked_mul(step)?;
                Timestamp::from_second(next).ok()
            }
        }
    }

    /// The tiers that the run due at `due` serves, ascending.
    pub fn tiers_of(&self, due: Timestamp) -> Vec<Tier> {
        let date = self.zone.to_datetime(due).date();
        let before = match &self.pace {
            Pace::At(_) => None,
            Pace::Cron(cron) => {
                let previous = cron.find_previous_occurrence(&due.to_zoned(self.zone.clone()), false);
                Some(previous.map_or(Date::MIN, |previous| previous.date()))
            }
            Pace::Every(span) => {
                let previous = due.checked_sub(*span).unwrap_or(Timestamp::MIN);
                Some(self.zone.to_datetime(previous).date())
            }
        };
        let serves = |rule: &&TierRule| match before {
            None => rule.days.include(date),
            Some(before) => rule.days.starts_between(before, date),
        };
        let mut tiers: Vec<Tier> = self.rules.iter().filter(serves).map(|rule| rule.tier).collect();
        tiers.sort_unstable();
        tiers.dedup();
        tiers
    }

    /// The instant of a local time by the daylight-saving rule.
    fn instant(&self, date: Date, at: Time) -> Option<Timestamp> {
        let local = date.to_datetime(at);
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
            AmbiguousOffset::Gap { before, .. } => {
                // Read by the old offset, a skipped time lies at or after the change, before the next one.
                let shifted = before.to_timestamp(local).ok()?;
                let past = shifted.checked_add(SignedDuration::from_nanos(1)).ok()?;
                self.zone.preceding(past).next().map(|change| change.timestamp())
            }
        }
    }
}

impl Days {
    /// Whether `date` is one of them.
    fn include(self, date: Date) -> bool {
        match self {
            Days::Every => true,
            Days::Weekly(day) => date.weekday() == day,
            Days::Monthly(day) => date.day() == day.clamp(1, date.days_in_month()),
        }
    }

    /// Whether one of them lies after `before` and not after `date`: `date` is in another week or month than `before`.
    fn starts_between(self, before: Date, date: Date) -> bool {
        match self {
            Days::Every => true,
            Days::Weekly(_) | Days::Monthly(_) => {
                let mut candidates = std::iter::successors(Some(date), |date| date.yesterday().ok());
                candidates.by_ref().take(DAYS_AHEAD).take_while(|&day| day > before).any(|day| self.include(day))
            }
        }
    }
}

#[cfg(test)]
#[path = "timetable_tests.rs"]
mod tests;
