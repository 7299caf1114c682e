//! What was promised beside what is known: exposure, last success, next run, last proof.
//!
//! *Exposure* is the age of the newest complete point in a vault that survives the kind of disaster: what would be lost if
//! it happened now. It is read from the catalog alone, so that it can be said without reaching any vault; what could not be
//! tried at the last round is said beside it. It judges no drill; it repeats what drills found.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::error::ServiceError;
use super::host::Service;
use super::round::Round;
use crate::catalog::{DrillRow, RunState, SnapshotRow};
use crate::config::{Plan, PlanName, VaultName};
use crate::objective::{Disaster, Objective, Rpa, Rto};
use crate::record::{Completeness, RunId, Status as Ended};
use crate::units::Span;

/// Misses are counted over this time.
pub const MISSES_OVER: SignedDuration = SignedDuration::from_hours(24 * 30);
/// Drills that are looked at for the newest of each scenario.
const DRILLS: u32 = 1000;

/// The state of all plans.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// This host.
    pub host: String,
    /// When it was asked.
    pub now: Timestamp,
    /// By name.
    pub plans: Vec<PlanStatus>,
    /// Records that wait for each vault.
    pub spooled: Vec<(String, usize)>,
    /// The last round of steps, where there was one.
    pub round: Option<Round>,
}

impl Status {
    /// Whether every promise holds, as far as it can be told now, and nothing is left that could not be tried.
    pub fn is_well(&self) -> bool {
        self.holds() && self.round.as_ref().is_none_or(|round| round.untried.is_empty())
    }

    /// Whether every promise holds, as far as it can be told now.
    pub fn holds(&self) -> bool {
        self.plans.iter().all(PlanStatus::holds)
    }
}

/// The state of one plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlanStatus {
    /// The plan.
    pub plan: PlanName,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Its vault.
    pub vault: VaultName,
    /// Its newest run that ended.
    pub last: Option<LastRun>,
    /// The start of the newest run that was complete.
    pub last_success: Option<Timestamp>,
    /// The start of the run that goes on.
    pub running_since: Option<Timestamp>,
    /// When it is due next; in the past when it is due now.
    pub next: Option<Timestamp>,
    /// Instants missed in the last 30 days.
    pub missed_count: u64,
    /// When it was last read back.
    pub read: Proven,
    /// When it was last brought back.
    pub drilled: Proven,
    /// What is promised, each beside what would be.
    pub promises: Vec<Promise>,
}

impl PlanStatus {
    /// Whether every promise of the plan holds.
    pub fn holds(&self) -> bool {
        let promised = self.promises.iter().all(|promise| promise.point.holds() && promise.time.holds());
        promised && !self.read.overdue && !self.drilled.overdue
    }
}

/// A run that ended.
#[derive(Debug, Clone, Serialize)]
pub struct LastRun {
    /// The run.
    pub id: RunId,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// How it ended.
    pub status: Ended,
    /// The first thing that went wrong.
    pub problem: Option<String>,
}

/// A kind of proof.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Proven {
    /// The newest, in any vault of the plan.
    pub newest: Option<Timestamp>,
    /// How old it may get.
    pub allowed: Option<Span>,
    /// It is older, or there is none and the plan's first snapshot is older.
    pub overdue: bool,
}

/// What is promised for one kind of disaster.
#[derive(Debug, Clone, Serialize)]
pub struct Promise {
    /// What is lost.
    pub disaster: Disaster,
    /// The promise.
    pub objective: Objective,
    /// The recovery point.
    pub point: Point,
    /// The recovery time.
    pub time: Time,
}

/// What would be lost now, beside the RPO.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Point {
    /// Less than is promised.
    Within {
        /// The age of the newest point that would be left.
        exposure: Rpa,
        /// The vault that has it.
        vault: VaultName,
    },
    /// More than is promised.
    Exceeded {
        /// The age of the newest point that would be left.
        exposure: Rpa,
        /// The vault that has it.
        vault: VaultName,
    },
    /// Everything: no vault that would be left has a complete snapshot.
    Nothing,
}

/// What recovery takes by the newest drill of this kind, beside the RTO.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Time {
    /// Less than is promised.
    Within {
        /// Execution with the plan's allowances.
        took: Span,
    },
    /// More than is promised.
    Exceeded {
        /// Execution with the plan's allowances.
        took: Span,
    },
    /// The drill did not measure it.
    NotMeasured,
    /// No drill of this kind was done.
    NotDrilled,
}

impl Point {
    fn holds(&self) -> bool {
        match self {
            Self::Within { .. } => true,
            Self::Exceeded { .. } | Self::Nothing => false,
        }
    }
}

impl Time {
    /// What was never drilled is not known to be broken; that a drill is overdue is said by the proof.
    fn holds(&self) -> bool {
        match self {
            Self::Within { .. } | Self::NotDrilled => true,
            Self::Exceeded { .. } | Self::NotMeasured => false,
        }
    }
}

impl Service {
    /// The state of all plans, by the catalog.
    pub fn status(&self) -> Result<Status, ServiceError> {
        let now = self.env.clock.now();
        let decision = self.decide()?;
        let mut plans = Vec::new();
        for (name, plan) in &self.config.plans {
            let due = decision.due.iter().find(|due| due.plan == name.as_str()).map(|due| due.due);
            let upcoming = decision.next.iter().find(|next| next.plan == name.as_str()).and_then(|next| next.due);
            plans.push(self.plan_status(now, name, plan, due.or(upcoming))?);
        }
        let (spooled, round) = (self.recorder.waiting()?, self.last_round());
        Ok(Status { host: self.host().to_owned(), now, plans, spooled, round })
    }

    fn plan_status(
        &self,
        now: Timestamp,
        name: &PlanName,
        plan: &Plan,
        next: Option<Timestamp>,
    ) -> Result<PlanStatus, ServiceError> {
        let (catalog, text) = (&self.catalog, name.as_str());
        let last = catalog.last_run(text, "backup", &[Ended::Ok, Ended::Partial, Ended::Failed])?;
        let success = catalog.last_run(text, "backup", &[Ended::Ok])?;
        let mut places: Vec<(&VaultName, Vec<SnapshotRow>)> = Vec::new();
        for vault in std::iter::once(&plan.vault).chain(plan.copies.iter().map(|copy| &copy.vault)) {
            places.push((vault, catalog.snapshots(vault.as_str(), self.host(), text)?));
        }
        let rows = || places.iter().flat_map(|(_, rows)| rows);
        let first = rows().filter(|row| row.completeness == Completeness::Complete).map(|row| row.listed.time).min();
        let proven = |newest, allowed| Proven::judge(now, newest, allowed, first);
        let drills = catalog.drills(Some(text), DRILLS)?;
        let promises = plan.objective.iter().map(|(disaster, objective)| Promise {
            disaster,
            objective,
            point: self.point(now, plan, disaster, objective, &places),
            time: time(plan, disaster, objective.rto, &drills),
        });
        Ok(PlanStatus {
            plan: name.clone(),
            owner: plan.owner.clone(),
            vault: plan.vault.clone(),
            last: last.and_then(|run| match run.state {
                RunState::Ended { status, finished } => Some(LastRun {
                    id: run.id,
                    started: run.started,
                    finished,
                    status,
                    problem: run.problems.first().map(|problem| format!("{}: {}", problem.what, problem.why)),
                }),
                RunState::Running => None,
            }),
            last_success: success.map(|run| run.started),
            running_since: catalog.history(self.host(), text)?.running_since,
            next,
            missed_count: catalog.missed_since(self.host(), text, now - MISSES_OVER)?,
            read: proven(rows().filter_map(|row| row.read).max(), plan.verify.read),
            drilled: proven(rows().filter_map(|row| row.drilled).max(), plan.verify.boot),
            promises: promises.collect(),
        })
    }

    fn point(
        &self,
        now: Timestamp,
        plan: &Plan,
        disaster: Disaster,
        objective: Objective,
        places: &[(&VaultName, Vec<SnapshotRow>)],
    ) -> Point {
        let Some(own) = self.config.vaults.get(&plan.vault) else { return Point::Nothing };
        let left = places
            .iter()
            .filter(|(name, _)| self.config.vaults.get(*name).is_some_and(|vault| vault.survives(disaster, own)));
        let newest = left.filter_map(|(name, rows)| {
            let usable = |row: &&SnapshotRow| row.completeness == Completeness::Complete && row.listed.time <= now;
            Some((rows.iter().filter(usable).map(|row| row.listed.time).max()?, *name))
        });
        let Some((point, vault)) = newest.max() else { return Point::Nothing };
        let Some(exposure) = Rpa::between(point, now) else { return Point::Nothing };
        let vault = vault.clone();
        match objective.rpo.judge(Some(exposure)) {
            Ok(()) => Point::Within { exposure, vault },
            Err(_) => Point::Exceeded { exposure, vault },
        }
    }
}

impl Proven {
    fn judge(now: Timestamp, newest: Option<Timestamp>, allowed: Option<Span>, first: Option<Timestamp>) -> Self {
        let older = |since: Timestamp, allowed: Span| now.duration_since(since) > allowed.signed();
        let overdue = allowed.zip(newest.or(first)).is_some_and(|(allowed, since)| older(since, allowed));
        Self { newest, allowed, overdue }
    }
}

/// `drills` newest first.
fn time(plan: &Plan, disaster: Disaster, rto: Rto, drills: &[DrillRow]) -> Time {
    let scenario = disaster.to_string();
    let Some(drill) = drills.iter().find(|drill| drill.scenario == scenario) else { return Time::NotDrilled };
    let Some(millis) = drill.rta_exec_ms else { return Time::NotMeasured };
    let executed = Span::round_up(std::time::Duration::from_millis(millis));
    let took = executed.saturating_add(plan.objective.allow.sum());
    if took > rto.0 { Time::Exceeded { took } } else { Time::Within { took } }
}
