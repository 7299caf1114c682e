//! From a source to a snapshot.
//!
//! Walkers go through the source and compare each entry with the parent snapshot; worker
//! threads read, cut, hash, compress, seal and pack what changed; an async task uploads finished packs and writes index
//! files. Every queue is bounded, so memory does not grow with the source or the vault.
//!
//! Order of writes: packs, then the index files that name them, then the snapshot. A crash leaves packs without an
//! index, which the next run finds by listing `data/` and adopts ([`adopt`]), and never a snapshot that lacks a blob. Where
//! a prune may go on meanwhile, the snapshot is confirmed before anybody is told of it ([`crate::prune::confirm`]).

pub mod adopt;
pub mod chunk;
mod dir;
mod error;
mod input;
mod pace;
mod parent;
mod read;
mod share;
mod summary;
mod target;
mod upload;
mod walk;
mod worker;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use crate::monitor::{Cancel, Monitor, Problem};
use crate::prune::confirm::{self, Confirmed};
use crate::source::files::{Excludes, Names};
use crate::vault::index::Index;
use crate::vault::lock::{LockGuard, LockKind};
use crate::vault::pack::PackBuilder;
use crate::vault::settings::Chunker;
use crate::vault::snapshot::Snapshot;
use crate::vault::{BlobType, Id, Vault, VaultError};

pub use error::BackupError;
pub use summary::Summary;
pub use target::Stream;

/// What one run reads.
#[derive(Debug)]
pub enum Source {
    /// Files and folders, by absolute path.
    Files(Vec<PathBuf>),
    /// One stream of bytes, stored as a file.
    Stream(Stream),
}

/// Which snapshot unchanged files are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParentChoice {
    /// The newest one of the same host and paths.
    Latest,
    /// This one.
    Given(Id),
    /// None: every file is read again.
    None,
}

/// Whether the run writes to the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Read, seal and count, but write nothing.
    Rehearse,
    /// Back up.
    Write,
}

/// Whether folders on other file systems are entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounts {
    /// Mount points are entered.
    Cross,
    /// A mount point is stored as an empty folder.
    Stay,
}

/// Whether folders that say they are caches (`CACHEDIR.TAG`) are stored with their content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caches {
    /// They are.
    Keep,
    /// Only the folder and its tag.
    Exclude,
}

/// How the work is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// Everything happens in one thread, one step after the other, so that a test's seed replays.
    Inline,
    /// This many workers beside the walker.
    Workers(NonZeroUsize),
}

impl Threads {
    /// One worker for each processor.
    pub fn per_processor() -> Self {
        Self::Workers(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }
}

/// How to back up.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to leave out.
    pub excludes: Excludes,
    /// Folders with a cache tag.
    pub caches: Caches,
    /// Mount points.
    pub mounts: Mounts,
    /// Stored in the snapshot.
    pub tags: Vec<String>,
    /// Stored in the snapshot; the parent must have the same.
    pub host: String,
    /// Stored in the snapshot.
    pub username: String,
    /// The snapshot's time; the run's start when not given.
    pub time: Option<Timestamp>,
    /// Where unchanged files come from.
    pub parent: ParentChoice,
    /// Write, or only say what would be written.
    pub mode: Mode,
    /// zstd level, 1 to 22.
    pub level: i32,
    /// Parallelism.
    pub threads: Threads,
    /// How long to wait for another's lock.
    pub retry_lock: Duration,
    /// How long to wait for a file whose file system other machines or programs serve, before it is given up.
    pub patience: Duration,
}

/// How often a run begins that prunes overtake: each of them would have to last longer than the grace period.
const ATTEMPTS: usize = 3;

/// What is waited for such a file unless something else is said.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything in the source is in the snapshot.
    Complete,
    /// Something could not be read, or changed while it was read: see the problems.
    Partial,
}

/// What a run did.
#[derive(Debug)]
pub struct Outcome {
    /// The new snapshot; none when rehearsing.
    pub snapshot: Option<Id>,
    /// The snapshot as written.
    pub written: Snapshot,
    /// Figures.
    pub summary: Summary,
    /// What could not be read whole.
    pub problems: Vec<Problem>,
    /// Complete or partial.
    pub status: Status,
}

/// Everything the threads of one run share.
struct Run {
    vault: Vault,
    index: Index,
    handle: tokio::runtime::Handle,
    cutter: chunk::Cutter,
    mode: Mode,
    names: Arc<Names>,
    excludes: Excludes,
    caches: Caches,
    mounts: Mounts,
    level: i32,
    threads: Threads,
    counts: summary::Counts,
    problems: summary::Problems,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
    /// Set when any thread fails: the others stop at their next step.
    failed: AtomicBool,
    uploads: upload::Sender,
    trees: worker::SharedPack,
}

impl Run {
    fn stopping(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.cancel.is_cancelled()
    }

    /// A pack for a thread to fill.
    fn data_pack(&self) -> PackBuilder {
        match self.mode {
            Mode::Write => self.vault.pack_to_fill(BlobType::Data),
            Mode::Rehearse => PackBuilder::to_fill(BlobType::Data, self.vault.pack_size()),
        }
    }
}

/// Backs up `source` into `vault` under a shared lock, which is released on every way out.
///
/// Files that cannot be read are listed in the outcome and the rest goes on. Fails when nothing at all could be read,
/// when the vault cannot be written, and with [`BackupError::Cancelled`] when asked to stop: packs that were finished
/// are then indexed, so that the next run does not upload them again.
pub async fn run(
    vault: &Vault,
    source: Source,
    options: Options,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
) -> Result<Outcome, BackupError> {
    let asked = vault.store().requests();
    let lock = match options.mode {
        Mode::Write => match vault.lock_unless(LockKind::Shared, options.retry_lock, &cancel).await {
            Err(VaultError::Locked { .. }) if cancel.is_cancelled() => return Err(BackupError::Cancelled),
            taken => Some(taken?),
        },
        Mode::Rehearse => None,
    };
    let outcome = run_again(vault, source, options, monitor, cancel, lock.as_ref()).await;
    if let Some(lock) = lock {
        lock.release().await;
    }
    outcome.map(|mut done| {
        done.summary.asked(vault.store().requests().since(&asked));
        done
    })
}

/// Files are read again when a prune took away what the run relied on; a stream cannot be.
async fn run_again(
    vault: &Vault,
    source: Source,
    options: Options,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
    lock: Option<&LockGuard>,
) -> Result<Outcome, BackupError> {
    if let Source::Files(paths) = &source {
        for _ in 1..ATTEMPTS {
            let source = Source::Files(paths.clone());
            match Box::pin(run_locked(vault, source, options.clone(), monitor.clone(), cancel.clone(), lock)).await {
                Err(BackupError::Overtaken) => {
                    monitor.note("a prune took away what this run relied on: it begins again");
                }
                ended => return ended,
            }
        }
    }
    Box::pin(run_locked(vault, source, options, monitor, cancel, lock)).await
}

async fn run_locked(
    vault: &Vault,
    source: Source,
    options: Options,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
    lock: Option<&LockGuard>,
) -> Result<Outcome, BackupError> {
    let env = vault.env().clone();
    let begun = (env.clock.now(), env.clock.boot());
    let names = Arc::new(Names::patient(options.patience));
    let is_stream = matches!(source, Source::Stream(_));
    let targets = target::Targets::new(source, &names)?;

    monitor.stage("index");
    let (condemned, index) = vault.load_view(&*monitor).await?;
    let adopted = match options.mode {
        Mode::Write => adopt::adopt(vault, &index, &condemned, adopt::Proof::Header, &*monitor).await?,
        Mode::Rehearse => adopt::Adopted::default(),
    };
    let parent = parent::choose(vault, options.parent, &options.host, &targets.paths()).await?;

    monitor.stage("backup");
    if let Some(summary) = parent.as_ref().and_then(|p| p.snapshot.summary.as_ref()) {
        // The parent's size is the best estimate there is before the source has been walked.
        monitor.total(summary.total_files_processed, summary.total_bytes_processed);
    }
    let (uploads, uploader) = upload::start(vault.clone(), index.clone(), options.mode, options.threads);
    let run = Arc::new(Run {
        vault: vault.clone(),
        index,
        handle: tokio::runtime::Handle::current(),
        cutter: cutter(vault)?,
        mode: options.mode,
        names,
        excludes: options.excludes,
        caches: options.caches,
        mounts: options.mounts,
        level: options.level,
        threads: options.threads,
        counts: summary::Counts::default(),
        problems: summary::Problems::default(),
        monitor: monitor.clone(),
        cancel: cancel.clone(),
        failed: AtomicBool::new(false),
        uploads,
        trees: worker::SharedPack::default(),
    });
    let parent_tree = parent.as_ref().map(|p| p.snapshot.tree);
    let patterns = run.excludes.patterns().to_vec();
    let (paths, working) = (targets.paths(), run.clone());
    let walked = tokio::task::spawn_blocking(move || walk::run(&working, targets, parent_tree)).await;
    let run = Arc::into_inner(run).expect("every thread of the run has been joined");
    let (counts, mut problems) = (run.counts, run.problems.take());
    drop(run.uploads);
    let uploaded = uploader.finish().await;
    let root = match walked {
        Ok(root) => root,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    };
    // What stopped the upload comes first: the walker only saw that the queue was closed.
    let uploaded = uploaded?;
    let root = root?;
    if let Some(lock) = lock {
        lock.check()?;
    }

    let summary = Summary::new(&counts, &uploaded, &adopted, begun.0, env.clock.now(), env.clock.boot() - begun.1);
    let before = parent.as_ref().and_then(|parent| parent.snapshot.summary.as_ref());
    if let Some(problem) = summary.suspicion(&paths, is_stream, before) {
        monitor.problem(&problem);
        problems.push(problem);
    }
    let written = Snapshot {
        time: options.time.unwrap_or(begun.0),
        parent: parent.map(|p| p.id),
        tree: root,
        paths,
        hostname: options.host,
        username: options.username,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        excludes: patterns,
        tags: options.tags,
        program_version: Some(concat!("drctl ", env!("CARGO_PKG_VERSION")).to_owned()),
        summary: Some(summary.for_snapshot()),
        problems: problems.len() as u64,
        ..Snapshot::default()
    };
    let snapshot = match options.mode {
        Mode::Write => {
            let id = vault.save_snapshot(&written).await?;
            match confirm::confirm(vault, id, root, condemned, &cancel).await? {
                Confirmed::Whole => Some(id),
                Confirmed::Withdrawn if cancel.is_cancelled() => return Err(BackupError::Cancelled),
                Confirmed::Withdrawn => return Err(BackupError::Overtaken),
            }
        }
        Mode::Rehearse => None,
    };
    let status = if problems.is_empty() { Status::Complete } else { Status::Partial };
    Ok(Outcome { snapshot, written, summary, problems, status })
}

/// The chunker of the vault, set up once: its tables are shared by all threads.
fn cutter(vault: &Vault) -> Result<chunk::Cutter, BackupError> {
    match vault.chunker() {
        Chunker::Gear { secret } => Ok(chunk::Cutter::gear(secret)),
        Chunker::Rabin { polynomial } => chunk::Cutter::rabin(*polynomial).map_err(BackupError::Chunker),
    }
}

#[cfg(test)]
mod tests;
