//! Copying what a copy lacks, newest first.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::ReplicateError;
use super::job::{Job, Judgement};
use super::plan::{Arrived, Lag, Origin, ReplicationPlan, replication};
use crate::config::Keep;
use crate::monitor::{Cancel, Monitor, Problem};
use crate::vault::lock::{LockGuard, LockKind};
use crate::vault::{Id, Vault, VaultError, chain};

/// Which snapshots are to be in the copy.
#[derive(Debug, Clone)]
pub enum Select {
    /// All of the vault.
    All,
    /// These.
    Snapshots(Vec<Id>),
    /// Those of one plan that the copy's own retention would keep.
    Plan {
        /// The plan's snapshots in the vault.
        origins: Vec<Origin>,
        /// The plan's snapshots in the copy.
        arrived: Vec<Arrived>,
        /// The copy's retention.
        tiers: Vec<Keep>,
    },
}

/// Whether the run writes to the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only say what is owed.
    Rehearse,
    /// Copy.
    Write,
}

/// What proves that a pack has arrived, before anything names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// It is read back whole and hashes to its name.
    ReadBack,
    /// The store has an object of that name and size.
    Structure,
}

/// How to copy.
#[derive(Debug, Clone)]
pub struct Options {
    /// What.
    pub select: Select,
    /// Write, or only say what would be copied.
    pub mode: Mode,
    /// What counts as arrived.
    pub verify: Verify,
    /// How long to wait for others' locks.
    pub retry_lock: Duration,
}

/// A snapshot that arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// Its id in the vault that it comes from.
    pub origin: Id,
    /// Its id in the copy.
    pub copy: Id,
    /// Its time.
    pub time: Timestamp,
}

/// A snapshot that could not be copied whole, and so was not copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotCopied {
    /// Its id in the vault that it comes from.
    pub origin: Id,
    /// Its time.
    pub time: Timestamp,
    /// Why, in one line.
    pub why: String,
    /// Blobs that are lost.
    pub blobs_lost: u64,
    /// Paths that are hit, the first few.
    pub paths: Vec<String>,
}

/// What was moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Blobs copied.
    pub blobs: u64,
    /// Bytes fetched from the vault that is copied from, trees that were only looked at left out.
    pub bytes_fetched: u64,
    /// Packs uploaded.
    pub packs_uploaded: u64,
    /// Their bytes.
    pub bytes_uploaded: u64,
    /// Packs of an interrupted run that were taken over.
    pub packs_adopted: u64,
    /// Their bytes.
    pub bytes_adopted: u64,
    /// How long it took, by the boot clock, in milliseconds.
    pub millis: u64,
}

impl Figures {
    /// What was moved altogether.
    pub(super) fn and(&self, more: &Self) -> Self {
        Self {
            blobs: self.blobs + more.blobs,
            bytes_fetched: self.bytes_fetched + more.bytes_fetched,
            packs_uploaded: self.packs_uploaded + more.packs_uploaded,
            bytes_uploaded: self.bytes_uploaded + more.bytes_uploaded,
            packs_adopted: self.packs_adopted + more.packs_adopted,
            bytes_adopted: self.bytes_adopted + more.bytes_adopted,
            millis: self.millis + more.millis,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The copy has all that it should have.
    Complete,
    /// Some snapshots were not copied: see the problems.
    Partial,
}

/// What a run did.
#[derive(Debug)]
pub struct Outcome {
    /// What was decided at the start, and how things stood then.
    pub plan: ReplicationPlan,
    /// What arrived, in order.
    pub copied: Vec<Copied>,
    /// What was owed and could not be copied whole.
    pub not_copied: Vec<NotCopied>,
    /// Sums.
    pub figures: Figures,
    /// Everything that went wrong while the rest went on.
    pub problems: Vec<Problem>,
    /// How far the copy is behind now.
    pub lag: Lag,
    /// Complete or partial.
    pub status: Status,
}

/// Copies into `copy` what it lacks of `source`, under shared locks in both.
///
/// A snapshot that is damaged at its source is listed and the others go on. Fails when either vault cannot be reached or
/// read, when a pack does not come back as it was written, and with [`ReplicateError::Cancelled`] when asked to stop.
pub async fn run(
    source: &Vault,
    copy: &Vault,
    options: Options,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
) -> Result<Outcome, ReplicateError> {
    if source.id() == copy.id() {
        return Err(ReplicateError::SameVault { id: source.id().to_owned() });
    }
    let (reading, writing) = match options.mode {
        Mode::Rehearse => (None, None),
        Mode::Write => {
            let writing = match copy.lock_unless(LockKind::Shared, options.retry_lock, &cancel).await {
                Err(VaultError::Locked { .. }) if cancel.is_cancelled() => return Err(ReplicateError::Cancelled),
                taken => taken.map_err(ReplicateError::Copy)?,
            };
            (lock_source(source, options.retry_lock, &*monitor, &cancel).await?, Some(writing))
        }
    };
    let outcome = Box::pin(run_locked(source, copy, options, monitor, cancel, writing.as_ref())).await;
    for lock in [reading, writing].into_iter().flatten() {
        lock.release().await;
    }
    outcome
}

/// The lock keeps a prune from taking away what is being read. Who may only read goes on without it: a blob that is gone
/// then is found to be lost, and the next run sees the vault as it is.
async fn lock_source(
    source: &Vault,
    retry: Duration,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<Option<LockGuard>, ReplicateError> {
    match source.lock_unless(LockKind::Shared, retry, cancel).await {
        Ok(lock) => Ok(Some(lock)),
        Err(VaultError::Locked { .. }) if cancel.is_cancelled() => Err(ReplicateError::Cancelled),
        Err(error @ VaultError::Locked { .. }) => Err(ReplicateError::Source(error)),
        Err(error) => {
            let why = chain(&error);
            monitor.note(&format!("the vault that is copied from is not locked: failed to {why}; no prune should run"));
            Ok(None)
        }
    }
}

async fn run_locked(
    source: &Vault,
    copy: &Vault,
    options: Options,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
    lock: Option<&LockGuard>,
) -> Result<Outcome, ReplicateError> {
    let clock = copy.env().clock.clone();
    let begun = clock.boot();
    let mut problems = Problems { monitor: monitor.clone(), found: Vec::new() };
    if source.chunker() != copy.chunker() {
        monitor.note("the two vaults cut files differently: copies are whole, and share nothing with direct backups");
    }
    let (origins, mut arrived, tiers) = facts(source, copy, options.select, &mut problems).await?;
    let plan = replication(clock.now(), &origins, &arrived, &tiers);
    let (mut copied, mut not_copied, mut figures) = (Vec::new(), Vec::new(), Figures::default());
    if options.mode == Mode::Write {
        monitor.stage("index");
        let loaded = source.load_index_past_damage(&*monitor).await.map_err(ReplicateError::Source)?;
        for (id, error) in &loaded.damaged {
            problems.add(format!("index {}", id.short()), chain(error));
        }
        let mut job = Job::new((source, loaded.index), copy, options.verify, &monitor, cancel).await?;
        monitor.stage("copy");
        for origin in plan.owed.iter().filter_map(|id| origins.iter().find(|origin| origin.id == *id)) {
            match job.copy(origin, lock).await? {
                Judgement::Arrived(id) => {
                    arrived.push(origin.arrived_as(id));
                    copied.push(Copied { origin: origin.id, copy: id, time: origin.time });
                }
                Judgement::Damaged(lost) => {
                    problems.add(format!("snapshot {} of {}", origin.id.short(), origin.time), lost.why.clone());
                    not_copied.push(lost);
                }
            }
        }
        figures = job.figures();
    }
    figures.millis = u64::try_from((clock.boot() - begun).as_millis()).unwrap_or(u64::MAX);
    let lag = replication(clock.now(), &origins, &arrived, &tiers).lag;
    let problems = problems.found;
    let status = if problems.is_empty() { Status::Complete } else { Status::Partial };
    Ok(Outcome { plan, copied, not_copied, figures, problems, lag, status })
}

type Facts = (Vec<Origin>, Vec<Arrived>, Vec<Keep>);

async fn facts(source: &Vault, copy: &Vault, select: Select, problems: &mut Problems) -> Result<Facts, ReplicateError> {
    let mut origins: Vec<Origin> = Vec::new();
    match select {
        Select::Plan { origins, arrived, tiers } => return Ok((origins, arrived, tiers)),
        Select::Snapshots(ids) => {
            for id in ids {
                match source.snapshot(&id).await {
                    Ok(snapshot) => origins.push((&crate::vault::snapshot::SnapshotFile { id, snapshot }).into()),
                    Err(error @ VaultError::Damaged { .. }) => problems.add(unread(&id), chain(&error)),
                    Err(error) => return Err(ReplicateError::Source(error)),
                }
            }
        }
        Select::All => {
            let all = source.snapshots().await.map_err(ReplicateError::Source)?;
            all.damaged.iter().for_each(|(id, error)| problems.add(unread(id), chain(error)));
            origins.extend(all.whole.iter().map(Origin::from));
        }
    }
    let there = copy.snapshots().await.map_err(ReplicateError::Copy)?;
    for (id, error) in &there.damaged {
        problems.add(format!("snapshot {} in the copy", id.short()), chain(error));
    }
    // No tiers: what is asked for by name is owed, however old it is.
    Ok((origins, there.whole.iter().map(Arrived::from).collect(), Vec::new()))
}

fn unread(id: &Id) -> String {
    format!("snapshot {}", id.short())
}

struct Problems {
    monitor: Arc<dyn Monitor>,
    found: Vec<Problem>,
}

impl Problems {
    fn add(&mut self, what: String, why: String) {
        let problem = Problem { what, why };
        self.monitor.problem(&problem);
        self.found.push(problem);
    }
}
