//! The instants at which a plan is due, and the tiers each of them serves.
//!
//! Pure calendar arithmetic. The daylight-saving rule: a local time that a clock change skips is due at the change, a
//! local time that comes twice is due the first time only. Spans (`every`) are elapsed time counted from the Unix epoch,
//! so that a restart or another host does not shift them.

use jiff::civil::{Date, Time};
use jiff::tz::AmbiguousOffset;
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::config::{Days, Rhythm, Schedule, Tier, TierDays};
use crate::units::Span;

/// No rule skips more days than this in a row: the longest wait is for one day of the month.
const DAYS_AHEAD: usize = 40;

/// The instants of one schedule.
#[derive(Debug, Clone, Copy)]
pub struct Timetable<'a>(pub &'a Schedule);

impl Timetable<'_> {
    /// The first due instant strictly after `after`; `None` when there is none before the end of time.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.0.rhythm {
            Rhythm::At(at) => {
                let local = self.date(after);
                let start = local.yesterday().unwrap_or(local);
                start
                    .series(1.day())
                    .take(DAYS_AHEAD)
                    .filter(|&date| self.0.tiers.iter().any(|tier| include(tier.days, date)))
                    .filter_map(|date| self.instant(date, *at))
                    .find(|&due| due > after)
            }
            Rhythm::Cron(line) => {
                let local = after.to_zoned(self.0.zone.rules().clone());
                Some(line.cron().find_next_occurrence(&local, false).ok()?.timestamp())
            }
            Rhythm::Every(span) => {
                let step = seconds(*span);
                let next = after.as_second().div_euclid(step).checked_add(1)?.checked_mul(step)?;
                Timestamp::from_second(next).ok()
            }
        }
    }

    /// The tiers that the run due at `due` serves, ascending.
    pub fn tiers_of(&self, due: Timestamp) -> Vec<Tier> {
        let date = self.date(due);
        let before = match &self.0.rhythm {
            Rhythm::At(_) => None,
            Rhythm::Cron(line) => {
                let local = due.to_zoned(self.0.zone.rules().clone());
                let previous = line.cron().find_previous_occurrence(&local, false);
                Some(previous.map_or(Date::MIN, |previous| previous.date()))
            }
            Rhythm::Every(span) => {
                let previous = due.checked_sub(SignedDuration::from_secs(seconds(*span)));
                Some(previous.map_or(Date::MIN, |previous| self.date(previous)))
            }
        };
        let serves = |tier: &&TierDays| match before {
            None => include(tier.days, date),
            Some(before) => began_between(tier.days, before, date),
        };
        let mut tiers: Vec<Tier> = self.0.tiers.iter().filter(serves).map(|tier| tier.tier).collect();
        tiers.sort_unstable();
        tiers.dedup();
        tiers
    }

    fn date(&self, at: Timestamp) -> Date {
        self.0.zone.rules().to_datetime(at).date()
    }

    /// The instant of a local time by the daylight-saving rule.
    fn instant(&self, date: Date, at: Time) -> Option<Timestamp> {
        let local = date.to_datetime(at);
        match self.0.zone.rules().to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
            AmbiguousOffset::Gap { before, .. } => {
                // Read by the old offset, a skipped time lies at or after the change, before the next one.
                let shifted = before.to_timestamp(local).ok()?;
                let past = shifted.checked_add(SignedDuration::from_nanos(1)).ok()?;
                self.0.zone.rules().preceding(past).next().map(|change| change.timestamp())
            }
        }
    }
}

/// An interval in whole seconds.
fn seconds(span: Span) -> i64 {
    span.signed().as_secs().max(1)
}

/// Whether `date` is one of the days.
fn include(days: Days, date: Date) -> bool {
    match days {
        Days::Every => true,
        Days::Weekly(day) => date.weekday() == day,
        Days::Monthly(day) => date.day() == day.clamp(1, date.days_in_month()),
    }
}

/// Whether one of the days lies after `before` and not after `date`: the run on `date` is the first one since.
fn began_between(days: Days, before: Date, date: Date) -> bool {
    match days {
        Days::Every => true,
        Days::Weekly(_) | Days::Monthly(_) => {
            let back = std::iter::successors(Some(date), |date| date.yesterday().ok());
            back.take(DAYS_AHEAD).take_while(|&day| day > before).any(|day| include(days, day))
        }
    }
}

#[cfg(test)]
#[path = "timetable_tests.rs"]
mod tests;
