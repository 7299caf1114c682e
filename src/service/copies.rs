//! Copies: what a plan's copies lack is brought to them, and what arrived is recorded in the copy's own vault.
//!
//! The record is what makes a copy count: the copy is judged by its own vault alone, when the other one is gone. A run that
//! is cut off leaves snapshots that arrived without a record; the next run finds them there and records them.

use jiff::Timestamp;

use super::error::ServiceError;
use super::host::Service;
use super::steps::{Done, Step};
use crate::config::{CopyTo, Plan, PlanName, VaultName};
use crate::monitor::Problem;
use crate::record::entry::CopiedSnapshot;
use crate::record::{Completeness, Status, Work};
use crate::replication::plan::{Arrived, Lag, Origin, ReplicationPlan, replication};
use crate::replication::{self, Mode, Options, Outcome, ReplicateError, Select, Verify};
use crate::units::{ByteSize, Span};
use crate::vault::chain;

/// How long a prune of either vault is waited for.
const LOCK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// How a copy of a plan stands.
#[derive(Debug, Clone)]
pub struct CopyState {
    /// The plan.
    pub plan: PlanName,
    /// The vault that is copied from.
    pub from: VaultName,
    /// The vault that is copied to.
    pub to: VaultName,
    /// The longest that a snapshot may be owed.
    pub max_lag: Span,
    /// Snapshots that are owed.
    pub owed: usize,
    /// Snapshots that have arrived.
    pub present: usize,
    /// How far it is behind.
    pub lag: Lag,
}

impl CopyState {
    /// Whether something has been owed for longer than the plan allows.
    pub fn is_late(&self) -> bool {
        self.lag.exceeds(self.max_lag.signed())
    }
}

/// What is known about one copy.
struct Facts {
    origins: Vec<Origin>,
    arrived: Vec<Arrived>,
    decided: ReplicationPlan,
}

impl Facts {
    /// What is in the copy and no record says so.
    fn unrecorded(&self) -> Vec<CopiedSnapshot> {
        let unknown = |copy| {
            let held = self.arrived.iter().map(|arrived| &arrived.held).find(|held| held.id == copy);
            held.is_some_and(|held| held.completeness == Completeness::Unknown)
        };
        let pairs = self.decided.present.iter().filter(|(_, copy)| unknown(*copy));
        pairs.filter_map(|(origin, copy)| self.record(*origin, *copy)).collect()
    }

    /// Nothing is said of a snapshot whose own run is not on record: the copy cannot know more than the original.
    fn record(&self, origin: crate::vault::Id, copy: crate::vault::Id) -> Option<CopiedSnapshot> {
        let known = self.origins.iter().find(|known| known.id == origin)?;
        let completeness = known.completeness;
        (completeness != Completeness::Unknown).then_some(CopiedSnapshot { origin, copy, completeness })
    }
}

impl Service {
    /// Brings each copy of each of these plans (none: all) up to date.
    pub async fn replicate(&self, plans: &[PlanName]) -> Vec<Step> {
        let mut steps = Vec::new();
        for (name, plan) in self.config.plans.iter().filter(|(name, _)| plans.is_empty() || plans.contains(name)) {
            for copy in &plan.copies {
                if self.cancel.is_cancelled() {
                    return steps;
                }
                self.step("replicate", Some(name), &copy.vault, &mut steps, self.copy(name, plan, copy)).await;
            }
        }
        steps
    }

    /// How the copies of these plans (none: all) stand, by the catalog.
    pub fn copies(&self, plans: &[PlanName]) -> Result<Vec<CopyState>, ServiceError> {
        let now = self.env.clock.now();
        let mut states = Vec::new();
        for (name, plan) in self.config.plans.iter().filter(|(name, _)| plans.is_empty() || plans.contains(name)) {
            for copy in &plan.copies {
                let ReplicationPlan { owed, present, lag, .. } = self.copy_facts(now, name, plan, copy)?.decided;
                states.push(CopyState {
                    plan: name.clone(),
                    from: plan.vault.clone(),
                    to: copy.vault.clone(),
                    max_lag: copy.max_lag,
                    owed: owed.len(),
                    present: present.len(),
                    lag,
                });
            }
        }
        Ok(states)
    }

    fn copy_facts(&self, now: Timestamp, name: &PlanName, plan: &Plan, copy: &CopyTo) -> Result<Facts, ServiceError> {
        let rows = |vault: &VaultName| self.catalog.snapshots(vault.as_str(), self.host(), name.as_str());
        let origins: Vec<Origin> = rows(&plan.vault)?.iter().map(Origin::from).collect();
        let arrived: Vec<Arrived> = rows(&copy.vault)?.iter().map(Arrived::from).collect();
        let decided = replication(now, &origins, &arrived, self.tiers_of(copy));
        Ok(Facts { origins, arrived, decided })
    }

    fn tiers_of(&self, copy: &CopyTo) -> &[crate::config::Keep] {
        self.config.retention.get(&copy.retention).map_or(&[], |tiers| tiers.as_slice())
    }

    /// Makes one copy. `None`: nothing is owed.
    async fn copy(&self, name: &PlanName, plan: &Plan, copy: &CopyTo) -> Result<Option<Done>, ServiceError> {
        let facts = self.copy_facts(self.env.clock.now(), name, plan, copy)?;
        let found = facts.unrecorded();
        if facts.decided.owed.is_empty() && found.is_empty() {
            return Ok(None);
        }
        let ended = self.ship(plan, copy, &facts).await;
        if !matches!(ended, Ok(None)) {
            self.refresh(&copy.vault).await?;
        }
        match ended {
            Ok(None) if found.is_empty() => Ok(None),
            Ok(None) => Ok(Some(Done::of_copies(plan, copy, found, None))),
            Ok(Some(done)) => {
                let new = done.copied.iter().filter_map(|copied| facts.record(copied.origin, copied.copy));
                Ok(Some(Done::of_copies(plan, copy, found.into_iter().chain(new).collect(), Some(done))))
            }
            Err(error) => {
                let work = Work::Replicate { from: plan.vault.to_string(), copied: found };
                Ok(Some(Done::failed(work, format!("copy of plan {name} in vault {}", copy.vault), chain(&error))))
            }
        }
    }

    /// `None`: nothing is owed, or it was stopped; what has arrived is found by the next run.
    async fn ship(&self, plan: &Plan, copy: &CopyTo, facts: &Facts) -> Result<Option<Outcome>, CopyError> {
        if facts.decided.owed.is_empty() {
            return Ok(None);
        }
        let (from, into) = (self.vaults.open(&plan.vault).await?, self.vaults.open(&copy.vault).await?);
        let options = Options {
            select: Select::Plan {
                origins: facts.origins.clone(),
                arrived: facts.arrived.clone(),
                tiers: self.tiers_of(copy).to_vec(),
            },
            mode: Mode::Write,
            verify: Verify::ReadBack,
            retry_lock: LOCK_PATIENCE,
        };
        match Box::pin(replication::run(&from, &into, options, self.monitor.clone(), self.cancel.clone())).await {
            Ok(done) => Ok(Some(done)),
            Err(ReplicateError::Cancelled) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Why a copy cannot be made.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error(transparent)]
    Open(#[from] super::vaults::OpenError),
    #[error(transparent)]
    Replicate(#[from] ReplicateError),
}

impl Done {
    fn of_copies(plan: &Plan, copy: &CopyTo, copied: Vec<CopiedSnapshot>, done: Option<Outcome>) -> Self {
        let arrived = copied.len();
        let work = Work::Replicate { from: plan.vault.to_string(), copied };
        let mut said = format!("{arrived} snapshots of vault {} arrived", plan.vault);
        let Some(done) = done else {
            return Self { status: Status::Ok, work, figures: Vec::new(), problems: Vec::new(), what: said };
        };
        if done.lag.exceeds(copy.max_lag.signed()) {
            said += &format!("; the copy is later than the {} that the plan allows", copy.max_lag);
        }
        said += &format!(", {} uploaded", ByteSize(done.figures.bytes_uploaded));
        let status = match done.status {
            replication::Status::Complete => Status::Ok,
            replication::Status::Partial if arrived > 0 => Status::Partial,
            replication::Status::Partial => Status::Failed,
        };
        let problems: Vec<Problem> = done.problems;
        if let Some(first) = problems.first() {
            said += &format!("; {}: {}", first.what, first.why);
        }
        Self {
            status,
            work,
            figures: vec![
                ("copied_count", done.copied.len() as u64),
                ("uploaded_bytes", done.figures.bytes_uploaded),
                ("fetched_bytes", done.figures.bytes_fetched),
                ("adopted_bytes", done.figures.bytes_adopted),
                ("took_ms", done.figures.millis),
            ],
            problems,
            what: said,
        }
    }
}
