//! Runs one plan once: claims the instant, backs up, tries again, records.
//!
//! Invariant: a run that was claimed ends with a record, whatever happens, unless the process is killed; then the next
//! process writes it ([`Service::recover`]). A claim is durable before the source is touched, so that two services, or a
//! service and a person, cannot run one instant twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::error::ServiceError;
use super::host::Service;
use super::lasting;
use super::marks::Mark;
use super::source::{self, SourceError};
use super::vaults::OpenError;
use crate::backup::{self, BackupError, Mode, ParentChoice, Summary};
use crate::catalog::{Claim, NewRun};
use crate::config::{Plan, PlanName, Tier};
use crate::monitor::{Cancel, Problem};
use crate::record::{Draft, RunId, Status, Work};
use crate::schedule::plan::DueRun;
use crate::units::Span;
use crate::vault::{Id, chain};

/// The pause before a second try; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// How long a run waits for a prune to end.
const LOCK_PATIENCE: Duration = Duration::from_secs(30 * 60);
/// How often a run looks whether it should stop.
const WATCH: Duration = Duration::from_millis(200);
/// Set to 1 among the figures of a run that was stopped or cut off rather than failed: it is run again.
pub(super) const INTERRUPTED: &str = "interrupted_count";

/// A run to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The plan.
    pub plan: PlanName,
    /// The instant that it is due; `None` by hand.
    pub due: Option<Timestamp>,
    /// The tiers that its snapshot serves, ascending.
    pub tiers: Vec<Tier>,
}

/// A run that was claimed. Dropped without [`Service::execute`] it looks cut off.
#[derive(Debug)]
pub struct Claimed {
    job: Job,
    id: RunId,
    started: Timestamp,
    mark: Mark,
}

impl Claimed {
    /// The run.
    pub fn id(&self) -> RunId {
        self.id
    }
}

/// Why a run failed.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// A run that ended and was recorded.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Ran {
    /// Its id.
    pub id: RunId,
    /// The plan.
    pub plan: PlanName,
    /// The instant that was due.
    pub due: Option<Timestamp>,
    /// The tiers that it served.
    pub tiers: Vec<Tier>,
    /// How it ended.
    pub status: Status,
    /// The snapshot.
    pub snapshot: Option<Id>,
    /// Tries that it took.
    pub tries: u32,
    /// What the backup did; none when it failed.
    pub summary: Option<Summary>,
    /// What went wrong.
    pub problems: Vec<Problem>,
    /// The error of the last try, when it failed; its text is among the problems.
    #[serde(skip)]
    pub cause: Option<Cause>,
}

/// Why one try failed.
#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("back up: it took longer than the {0} that the plan allows")]
    TimedOut(Span),
    #[error("back up: stopped; finished packs are kept, and the next run goes on from them")]
    Stopped,
}

impl TryError {
    /// Whether another try can end better.
    fn is_final(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::Stopped => true,
            Self::Open(error) => lasting::opening(error),
            Self::Source(error) => lasting::preparing(error),
            Self::Backup(error) => lasting::backing_up(error),
        }
    }

    /// The error beneath, by whose type advice is given.
    fn into_cause(self) -> Cause {
        match self {
            Self::Open(error) => Arc::new(error),
            Self::Source(SourceError::Excludes(error)) => Arc::new(error),
            Self::Source(error) => Arc::new(error),
            Self::Backup(error) => Arc::new(error),
            other @ (Self::TimedOut(_) | Self::Stopped) => Arc::new(other),
        }
    }
}

impl From<(&PlanName, DueRun)> for Job {
    fn from((plan, due): (&PlanName, DueRun)) -> Self {
        Self { plan: plan.clone(), due: Some(due.due), tiers: due.tiers }
    }
}

impl Service {
    /// Notes a run as going on. `None`: the instant has its fate already.
    pub fn claim(&self, job: Job) -> Result<Option<Claimed>, ServiceError> {
        let (_, plan) = self.plan(job.plan.as_str())?;
        let (id, started) = (self.recorder.run_id(), self.env.clock.now());
        let mark = Mark::of_run(&self.state, id)?;
        let claim = self.catalog.begin(&NewRun {
            id,
            kind: "backup",
            host: self.host().to_owned(),
            vault: plan.vault.to_string(),
            plan: Some(job.plan.to_string()),
            due: job.due,
            tiers: job.tiers.clone(),
            started,
        })?;
        Ok(match claim {
            Claim::Started => Some(Claimed { job, id, started, mark }),
            Claim::Taken => None,
        })
    }

    /// Runs what was claimed, records it, tells the hook. An error means that the record itself could not be written.
    pub async fn execute(&self, claimed: Claimed) -> Result<Ran, ServiceError> {
        let Claimed { job, id, started, mark } = claimed;
        let (_, plan) = self.plan(job.plan.as_str())?;
        tracing::info!(plan = %job.plan, run = %id, due = ?job.due.map(|due| due.to_string()), "run starts");
        let (tries, outcome) = self.tries(&job, plan).await;

        let mut figures = BTreeMap::from([("tries_count".to_owned(), i64::from(tries))]);
        let (status, snapshot, summary, problems, cause) = match outcome {
            Ok(done) => {
                figures.extend(figures_of(&done.summary));
                let status = match done.status {
                    backup::Status::Complete => Status::Ok,
                    backup::Status::Partial => Status::Partial,
                };
                (status, done.snapshot, Some(done.summary), done.problems, None)
            }
            Err(error) => {
                if matches!(error, TryError::Stopped) {
                    figures.insert(INTERRUPTED.to_owned(), 1);
                }
                let problem = Problem { what: format!("plan {}", job.plan), why: chain(&error) };
                (Status::Failed, None, None, vec![problem], Some(error.into_cause()))
            }
        };
        let entry = self.record(
            plan.vault.as_str(),
            Draft {
                id,
                plan: Some(job.plan.to_string()),
                due: job.due,
                tiers: job.tiers.clone(),
                started,
                finished: self.env.clock.now(),
                status,
                work: Work::Backup { snapshot },
                figures,
                problems: problems.clone(),
            },
        )?;
        drop(mark);
        tracing::info!(plan = %job.plan, run = %id, ?status, problems = problems.len(), "run ended");
        self.deliver_soon(&plan.vault).await;
        if snapshot.is_some()
            && let Err(error) = self.refresh(&plan.vault).await
        {
            tracing::warn!(vault = %plan.vault, error = chain(&error), "the vault's snapshots cannot be listed");
        }
        self.tell(plan.vault.as_str(), &entry.record).await;
        let Job { plan, due, tiers } = job;
        Ok(Ran { id, plan, due, tiers, status, snapshot, tries, summary, problems, cause })
    }

    /// Claims and executes. `None`: the instant has its fate already.
    pub async fn run(&self, job: Job) -> Result<Option<Ran>, ServiceError> {
        match self.claim(job)? {
            Some(claimed) => self.execute(claimed).await.map(Some),
            None => Ok(None),
        }
    }

    async fn tries(&self, job: &Job, plan: &Plan) -> (u32, Result<backup::Outcome, TryError>) {
        let deadline = self.env.clock.boot() + plan.timeout.duration();
        let mut pause = FIRST_PAUSE;
        let mut tries = 1;
        loop {
            let left = deadline.saturating_sub(self.env.clock.boot());
            let error = match self.try_once(job, plan, left).await {
                Ok(done) => return (tries, Ok(done)),
                Err(error) => error,
            };
            let late = self.env.clock.boot() + pause >= deadline;
            if error.is_final() || late || tries > plan.retries {
                return (tries, Err(error));
            }
            let (why, after) = (chain(&error), Span::round_up(pause));
            tracing::warn!(plan = %job.plan, error = why, pause = ?pause, "the run failed and is tried again");
            self.monitor.note(&format!("plan {} failed and is tried again in {after}: failed to {why}", job.plan));
            if self.pause(pause).await.is_err() {
                return (tries, Err(TryError::Stopped));
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
            tries += 1;
        }
    }

    async fn try_once(&self, job: &Job, plan: &Plan, left: Duration) -> Result<backup::Outcome, TryError> {
        if self.cancel.is_cancelled() {
            return Err(TryError::Stopped);
        }
        let vault = self.vaults.open(&plan.vault).await?;
        // A program has started and a database is copied before the backup begins: what is consistent is so as of now.
        let begun = self.env.clock.now();
        let ready = {
            let (source, scratch) = (plan.source.clone(), self.state.clone());
            let prepared = tokio::task::spawn_blocking(move || source::prepare(&source, &scratch, left)).await;
            prepared.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?
        };
        for note in &ready.notes {
            tracing::warn!(plan = %job.plan, "{note}");
        }
        let tier = |tier: &Tier| format!("tier={tier}");
        let tags = std::iter::once(format!("plan={}", job.plan)).chain(job.tiers.iter().map(tier));
        let options = backup::Options {
            excludes: ready.excludes,
            caches: ready.caches,
            mounts: ready.mounts,
            tags: tags.chain(plan.tags.iter().cloned()).collect(),
            host: self.host().to_owned(),
            username: self.username.clone(),
            time: Some(begun),
            parent: ParentChoice::Latest,
            mode: Mode::Write,
            level: plan.level,
            threads: self.threads,
            retry_lock: LOCK_PATIENCE.min(left),
            patience: backup::PATIENCE,
        };
        let cancel = Cancel::default();
        let work = Box::pin(backup::run(&vault, ready.source, options, self.monitor.clone(), cancel.clone()));
        let stop = async {
            let why = self.stopped_or_late(left, plan).await;
            cancel.cancel();
            if let Some(stopper) = &ready.stopper {
                stopper.stop();
            }
            why
        };
        tokio::pin!(stop);
        let mut work = work;
        tokio::select! {
            done = &mut work => Ok(done?),
            why = &mut stop => match work.await {
                // It was through already when it was asked to stop.
                Ok(done) => Ok(done),
                Err(_) => Err(why),
            },
        }
    }

    /// Resolves when the run should stop. Work takes real time, also under a clock that is turned by hand, so this timer is
    /// the runtime's.
    async fn stopped_or_late(&self, left: Duration, plan: &Plan) -> TryError {
        let late = tokio::time::sleep(left);
        tokio::pin!(late);
        loop {
            tokio::select! {
                () = &mut late => return TryError::TimedOut(plan.timeout),
                () = tokio::time::sleep(WATCH) => {
                    if self.cancel.is_cancelled() {
                        return TryError::Stopped;
                    }
                }
            }
        }
    }

    /// Waits; an error when everything is to stop.
    async fn pause(&self, span: Duration) -> Result<(), ()> {
        let end = self.env.clock.boot() + span;
        while !self.cancel.is_cancelled() {
            let left = end.saturating_sub(self.env.clock.boot());
            if left.is_zero() {
                return Ok(());
            }
            self.env.clock.sleep(left.min(Duration::from_secs(1))).await;
        }
        Err(())
    }

    /// Records backups and drills of this host that a crash cut off.
    pub fn recover(&self) -> Result<Vec<RunId>, ServiceError> {
        let mut recovered = self.recover_drills()?;
        for run in self.catalog.unfinished_runs(self.host())? {
            if run.kind != "backup" || Mark::is_held(&self.state, run.id) {
                continue;
            }
            let why = "cut off: its process ended without a word".to_owned();
            let problem = Problem { what: run.plan.as_ref().map_or(run.kind, |plan| format!("plan {plan}")), why };
            self.record(
                &run.vault,
                Draft {
                    id: run.id,
                    plan: run.plan,
                    due: run.due,
                    tiers: self.catalog.tiers_of_run(run.id)?,
                    started: run.started,
                    finished: self.env.clock.now().max(run.started),
                    status: Status::Failed,
                    work: Work::Backup { snapshot: None },
                    figures: BTreeMap::from([(INTERRUPTED.to_owned(), 1)]),
                    problems: vec![problem],
                },
            )?;
            tracing::error!(run = %run.id, "a run was cut off; it is recorded as failed");
            recovered.push(run.id);
        }
        Ok(recovered)
    }
}

/// A summary as a record has it.
pub fn figures_of(summary: &Summary) -> BTreeMap<String, i64> {
    let named = [
        ("files_new_count", summary.files_new),
        ("files_changed_count", summary.files_changed),
        ("files_unmodified_count", summary.files_unmodified),
        ("total_bytes", summary.bytes_total),
        ("read_bytes", summary.bytes_read),
        ("added_bytes", summary.bytes_added),
        ("uploaded_bytes", summary.bytes_uploaded),
        ("packs_uploaded_count", summary.packs_uploaded),
        ("packs_adopted_count", summary.packs_adopted),
        ("took_ms", summary.millis),
    ];
    named.into_iter().map(|(name, count)| (name.to_owned(), i64::try_from(count).unwrap_or(i64::MAX))).collect()
}
