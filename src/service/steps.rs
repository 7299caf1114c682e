//! What follows the backups, in this order: copies, retention (never what a copy still owes), prune, verification, drills.
//!
//! A step that fails is recorded, told to the hook, and not tried again for a while; it never stops the others. A step
//! that had nothing to do leaves no record: a year of empty records would hide the ones that say something.

use jiff::{SignedDuration, Timestamp};

use super::error::ServiceError;
use super::host::Service;
use crate::catalog::RunState;
use crate::config::{PlanName, PrunedBy, VaultName};
use crate::monitor::Problem;
use crate::prune::decision::{Limits, MaxUnused};
use crate::prune::{self, PruneError};
use crate::record::{Draft, RunId, Status, Work};
use crate::retention::plan::Consent;
use crate::retention::run::{self as retention, Scope};
use crate::units::ByteSize;
use crate::vault::{VaultError, chain};

/// The figure of a prune's record that says how much it condemned and left there.
const CONDEMNED: &str = "condemned_bytes";
/// After a failure the same step waits this long.
const BACKOFF: SignedDuration = SignedDuration::from_hours(1);

/// A step that was taken.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    /// As records name it: "retention", "prune", "replicate", "verify", "drill".
    pub kind: &'static str,
    /// The plan, for steps of one plan.
    pub plan: Option<PlanName>,
    /// The vault concerned.
    pub vault: VaultName,
    /// How it ended; `None` when it could not be tried, which is not recorded and only kept until the next round.
    pub status: Option<Status>,
    /// What was done, or what went wrong, in one line.
    pub what: String,
}

/// What came out of a step before it is recorded.
pub(super) struct Done {
    pub(super) status: Status,
    pub(super) work: Work,
    pub(super) figures: Vec<(&'static str, u64)>,
    pub(super) problems: Vec<Problem>,
    pub(super) what: String,
}

impl Service {
    /// Takes every step that is due, one after the other.
    pub async fn after(&self) -> Vec<Step> {
        let (mut steps, mut unlisted) = (Vec::new(), Vec::new());
        for name in self.config.vaults.keys() {
            if let Err(error) = self.refresh(name).await {
                let error = chain(&error);
                tracing::warn!(vault = %name, error, "the vault's snapshots cannot be listed");
                unlisted.push((name.clone(), error));
            }
        }
        steps.extend(self.replicate(&[]).await);
        self.retain_all(&mut steps).await;
        self.prune_all(&mut steps).await;
        self.verify_all(&mut steps).await;
        self.drill_all(&mut steps).await;
        for name in self.config.vaults.keys() {
            if self.cancel.is_cancelled() {
                break;
            }
            self.deliver_soon(name).await;
        }
        // A round that was stopped knows less than the one before it.
        if !self.cancel.is_cancelled() {
            self.keep_round(unlisted, &steps);
        }
        steps
    }

    async fn retain_all(&self, steps: &mut Vec<Step>) {
        for name in self.config.plans.keys() {
            for scope in retention::scopes(&self.config, name) {
                if self.cancel.is_cancelled() {
                    return;
                }
                self.step("retention", Some(name), scope.vault, steps, self.retain_scope(&scope)).await;
            }
        }
    }

    async fn retain_scope(&self, scope: &Scope<'_>) -> Result<Option<Done>, ServiceError> {
        // Freshly listed: a decision over an old list would count on snapshots that are gone.
        let vault = self.refresh(scope.vault).await?;
        let decided = retention::decide(self.env.clock.now(), &self.catalog, self.host(), scope)?;
        if decided.outcome.drop.is_empty() {
            return Ok(None);
        }
        let applied = retention::apply(&vault, &decided, Consent::None).await;
        self.refresh(scope.vault).await?;
        Ok(Some(Done::of_retention(scope.plan, scope.vault, applied)))
    }

    async fn prune_all(&self, steps: &mut Vec<Step>) {
        let by_service = |(_, vault): &(_, &crate::config::VaultConfig)| vault.prune.by == PrunedBy::Service;
        for (name, _) in self.config.vaults.iter().filter(by_service) {
            if self.cancel.is_cancelled() {
                return;
            }
            match self.prune_is_due(name) {
                Ok(true) => self.step("prune", None, name, steps, self.prune(name)).await,
                Ok(false) => {}
                Err(error) => tracing::error!(vault = %name, error = chain(&error), "prune cannot be decided"),
            }
        }
    }

    /// Whether something was dropped since the last prune, or the grace of what that one condemned is over.
    fn prune_is_due(&self, vault: &VaultName) -> Result<bool, ServiceError> {
        let newest = |kind| self.catalog.last_in_vault(vault.as_str(), None, kind, &[Status::Ok, Status::Partial]);
        let pruned = newest("prune")?;
        let dropped = newest("retention")?.is_some_and(|run| pruned.as_ref().is_none_or(|pruned| pruned.id < run.id));
        let grace = self.config.vaults.get(vault).map_or(SignedDuration::ZERO, |vault| vault.prune.grace.signed());
        let condemned = pruned.is_some_and(|run| {
            let waits = run.figures.get(CONDEMNED).is_some_and(|bytes| *bytes > 0);
            let over = |finished| self.env.clock.now().duration_since(finished) >= grace;
            waits && matches!(run.state, RunState::Ended { finished, .. } if over(finished))
        });
        Ok(dropped || condemned)
    }

    async fn prune(&self, name: &VaultName) -> Result<Option<Done>, ServiceError> {
        let vault = self.vaults.open(name).await?;
        let wanted = self.config.vaults.get(name).map(|vault| vault.prune);
        let percent = wanted.map(|wanted| wanted.max_unused.get());
        let max_unused = percent.and_then(MaxUnused::percent).unwrap_or_default();
        let options = prune::Options {
            limits: Limits { max_unused, max_repack: wanted.and_then(|wanted| wanted.max_repack) },
            mode: prune::Mode::Write,
            grace: wanted.map_or(prune::GRACE, |wanted| wanted.grace.duration()),
            // A backup that is going on comes first: the next round tries again.
            retry_lock: std::time::Duration::ZERO,
        };
        match Box::pin(prune::run(&vault, options, self.monitor.clone(), self.cancel.clone())).await {
            Ok(done) => Ok(Some(Done::of_prune(&done))),
            Err(PruneError::Vault(VaultError::Locked { .. })) => {
                tracing::info!(vault = %name, "the vault is in use; it is pruned another time");
                Ok(None)
            }
            Err(error @ (PruneError::Overtaken | PruneError::AtWork { .. })) => {
                tracing::info!(vault = %name, %error, "others were at work; the vault is pruned another time");
                Ok(None)
            }
            Err(PruneError::Cancelled) => Ok(None),
            Err(error) => Ok(Some(Done::failed(Work::Prune, format!("vault {name}"), chain(&error)))),
        }
    }

    /// Takes a step unless it failed a short while ago; records and tells what came out of it.
    pub(super) async fn step(
        &self,
        kind: &'static str,
        plan: Option<&PlanName>,
        vault: &VaultName,
        steps: &mut Vec<Step>,
        work: impl Future<Output = Result<Option<Done>, ServiceError>>,
    ) {
        let taken = |status, what| Step { kind, plan: plan.cloned(), vault: vault.clone(), status, what };
        let started = self.env.clock.now();
        let id = self.recorder.run_id();
        let ended = match self.failed_lately(kind, plan, vault, started) {
            Ok(true) => return,
            Ok(false) => work.await,
            Err(error) => Err(error),
        };
        let recorded = match ended {
            Ok(None) => return,
            Ok(Some(done)) => self.record_step(id, plan, vault, started, done).await,
            Err(error) => Err(error),
        };
        steps.push(match recorded {
            Ok((status, what)) => taken(Some(status), what),
            Err(error) => {
                let error = chain(&error);
                tracing::error!(kind, vault = %vault, error, "a step cannot be taken");
                taken(None, error)
            }
        });
    }

    async fn record_step(
        &self,
        id: RunId,
        plan: Option<&PlanName>,
        vault: &VaultName,
        started: Timestamp,
        done: Done,
    ) -> Result<(Status, String), ServiceError> {
        let Done { status, work, figures, problems, what } = done;
        let figure = |(name, count): (&str, u64)| (name.to_owned(), i64::try_from(count).unwrap_or(i64::MAX));
        let draft = Draft {
            id,
            plan: plan.map(ToString::to_string),
            due: None,
            tiers: Vec::new(),
            started,
            finished: self.env.clock.now().max(started),
            status,
            work,
            figures: figures.into_iter().map(figure).collect(),
            problems,
        };
        let entry = self.record(vault.as_str(), draft)?;
        tracing::info!(kind = entry.record.work.kind(), vault = %vault, ?status, what, "step ended");
        self.tell(vault.as_str(), &entry.record).await;
        Ok((status, what))
    }

    fn failed_lately(
        &self,
        kind: &str,
        plan: Option<&PlanName>,
        vault: &VaultName,
        now: Timestamp,
    ) -> Result<bool, ServiceError> {
        let ended = [Status::Ok, Status::Partial, Status::Failed];
        let last = self.catalog.last_in_vault(vault.as_str(), plan.map(PlanName::as_str), kind, &ended)?;
        Ok(last.is_some_and(|run| match run.state {
            RunState::Ended { status: Status::Failed, finished } => now.duration_since(finished) < BACKOFF,
            RunState::Ended { status: Status::Ok | Status::Partial, .. } | RunState::Running => false,
        }))
    }
}

impl Done {
    pub(super) fn failed(work: Work, what: String, why: String) -> Self {
        let said = format!("{what}: {why}");
        Self { status: Status::Failed, work, figures: Vec::new(), problems: vec![Problem { what, why }], what: said }
    }

    pub(super) fn of_retention(plan: &PlanName, vault: &VaultName, applied: retention::Applied) -> Self {
        let retention::Applied { dropped, error } = applied;
        let what = format!("dropped {} of plan {plan}", dropped.len());
        let figures = vec![("dropped_count", dropped.len() as u64)];
        let (status, problems) = match error {
            None => (Status::Ok, Vec::new()),
            Some(error) => {
                let problem = Problem { what: format!("plan {plan} in vault {vault}"), why: error };
                (if dropped.is_empty() { Status::Failed } else { Status::Partial }, vec![problem])
            }
        };
        let what = problems.first().map_or(what, |problem| format!("{}: {}", problem.what, problem.why));
        Self { status, work: Work::Retention { dropped }, figures, problems, what }
    }

    fn of_prune(done: &prune::Outcome) -> Self {
        let figures = &done.figures;
        Self {
            status: Status::Ok,
            work: Work::Prune,
            figures: vec![
                ("deleted_packs_count", figures.delete_packs),
                ("rewritten_packs_count", figures.repack_packs),
                ("freed_bytes", figures.freed),
                (CONDEMNED, figures.condemned),
                ("took_ms", done.millis),
            ],
            problems: Vec::new(),
            what: match figures.condemned {
                0 => format!("freed {}", ByteSize(figures.freed)),
                condemned => format!("freed {}; {} are condemned", ByteSize(figures.freed), ByteSize(condemned)),
            },
        }
    }

    pub(super) fn of_verify(found: super::verify::Found, vault: &VaultName) -> Self {
        let what = match found.damaged {
            0 => format!("read back {} snapshots", found.whole.len()),
            count => format!("{count} damaged objects; {} snapshots are whole", found.whole.len()),
        };
        let status = if found.damaged == 0 { Status::Ok } else { Status::Failed };
        let damaged = |problem: Problem| Problem { what: format!("vault {vault}: {}", problem.what), ..problem };
        Self {
            // Snapshots that no damage hits are proven all the same.
            status: if found.whole.is_empty() { status } else { status.min(Status::Partial) },
            figures: vec![("read_bytes", found.bytes_read), ("took_ms", found.millis)],
            problems: found.problems.into_iter().map(damaged).collect(),
            work: Work::Verify { snapshots: found.whole },
            what,
        }
    }
}
