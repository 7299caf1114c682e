//! Decides which due instants run now and which are recorded as missed.
//!
//! Every due instant of a plan after [`PlanFacts::since`] gets exactly one fate: it runs, or it is recorded as missed.
//! That holds because the search starts from the newest instant that has a fate, never from the clock, and because the
//! catalog keeps (plan, due) unique: a clock that steps back, or two schedulers, cannot run one instant twice.
//!
//! After downtime there is one catch-up: the newest due instant runs, the others are missed. It serves every tier that
//! the missed ones carried, so that a weekly or monthly snapshot is late rather than never made. Where the schedule wants
//! no catch-up, the next instant serves them.
//!
//! It does not know about concurrency between plans, retries of failed runs, or drills.

use jiff::{SignedDuration, Timestamp};

use super::timetable::Timetable;
use crate::config::{CatchUp, Schedule, Tier};
use crate::record::MissReason;

/// How many due instants of a plan one decision gives a fate. After a longer downtime the decision is asked for again
/// ([`Decision::unfinished`]), so that its size is bounded.
pub const BATCH: usize = 1000;

/// Where a schedule asks for no catch-up, an instant later than this is not run.
pub const PROMPT: SignedDuration = SignedDuration::from_mins(10);

/// What is known of one plan.
#[derive(Debug, Clone, Copy)]
pub struct PlanFacts<'a> {
    /// Its name.
    pub plan: &'a str,
    /// When it is due.
    pub schedule: &'a Schedule,
    /// When it was first seen: nothing before that is owed.
    pub since: Timestamp,
    /// The newest due instant that ran, is running, or is recorded as missed.
    pub last: Option<Timestamp>,
    /// Its run that is still going, started by the schedule or by hand.
    pub running: Option<Running>,
    /// Tiers of instants that were missed, or whose run failed, and that no run has served since.
    pub carried: &'a [Tier],
}

/// A run of the plan that is still going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// When it started.
    pub started: Timestamp,
}

/// A run to start now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueRun {
    /// The plan.
    pub plan: String,
    /// The instant it was due: its identity together with the plan.
    pub due: Timestamp,
    /// The tiers its snapshot serves, ascending: its own and those of the instants missed before it.
    pub tiers: Vec<Tier>,
    /// How many of the instants that this decision records as missed it makes up for.
    pub catches_up: usize,
}

/// An instant that will never run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// The plan.
    pub plan: String,
    /// The instant.
    pub due: Timestamp,
    /// The tiers it would have served; the plan's next run serves them.
    pub tiers: Vec<Tier>,
    /// Why.
    pub reason: MissReason,
}

/// A plan's next instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upcoming {
    /// The plan.
    pub plan: String,
    /// `None`: never again.
    pub due: Option<Timestamp>,
}

/// A plan whose newest recorded instant lies ahead of the clock: the clock stepped back. Nothing of it is due until the
/// clock has passed that instant again, which an operator has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AheadOfClock {
    /// The plan.
    pub plan: String,
    /// Its newest recorded instant.
    pub last: Timestamp,
    /// By how much the clock is behind it.
    pub by: SignedDuration,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// Runs to start, longest overdue first.
    pub due: Vec<DueRun>,
    /// Instants to record as missed, in order of time within a plan. Recorded before the runs start: a crash in between
    /// leaves the run due and its carried tiers recorded.
    pub missed: Vec<Missed>,
    /// The next instant of each plan, in the order given.
    pub next: Vec<Upcoming>,
    /// Plans that the clock fell behind.
    pub ahead: Vec<AheadOfClock>,
    /// Plans with more instants than one decision takes: record these, then ask again.
    pub unfinished: Vec<String>,
}

impl Decision {
    /// The earliest next instant: when to ask again.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.next.iter().filter_map(|upcoming| upcoming.due).min()
    }
}

/// Decides for all plans.
pub fn schedule(now: Timestamp, plans: &[PlanFacts<'_>]) -> Decision {
    let mut decision = Decision::default();
    for facts in plans {
        decide(now, facts, &mut decision);
    }
    decision.due.sort_by(|a, b| a.due.cmp(&b.due).then_with(|| a.plan.cmp(&b.plan)));
    decision
}

fn decide(now: Timestamp, facts: &PlanFacts<'_>, decision: &mut Decision) {
    let plan = || facts.plan.to_owned();
    let from = facts.last.unwrap_or(facts.since);
    if let Some(last) = facts.last.filter(|&last| last > now) {
        decision.ahead.push(AheadOfClock { plan: plan(), last, by: last.duration_since(now) });
    }
    let mut open: Vec<Timestamp> = Vec::new();
    let timetable = Timetable(facts.schedule);
    let mut next = timetable.next_after(from);
    while let Some(due) = next.filter(|&due| due <= now && open.len() < BATCH) {
        open.push(due);
        next = timetable.next_after(due);
    }
    let unfinished = next.is_some_and(|due| due <= now);
    if unfinished {
        decision.unfinished.push(plan());
    }
    decision.next.push(Upcoming { plan: plan(), due: next });

    let prompt = |due: Timestamp| now.duration_since(due) <= PROMPT;
    let run = match facts.schedule.catch_up {
        _ if facts.running.is_some() || unfinished => None,
        CatchUp::Once => open.pop(),
        CatchUp::Skip => open.pop_if(|due| prompt(*due)),
    };
    let mut tiers = facts.carried.to_vec();
    let missed_before = decision.missed.len();
    for due in open {
        let own = timetable.tiers_of(due);
        tiers.extend(&own);
        let reason = match facts.running {
            Some(running) if due >= running.started => MissReason::Overlap,
            Some(_) | None => MissReason::Downtime,
        };
        decision.missed.push(Missed { plan: plan(), due, tiers: own, reason });
    }
    if let Some(due) = run {
        tiers.extend(timetable.tiers_of(due));
        tiers.sort_unstable();
        tiers.dedup();
        let catches_up = decision.missed.len() - missed_before;
        decision.due.push(DueRun { plan: plan(), due, tiers, catches_up });
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
