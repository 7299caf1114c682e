//! Carrying out a prune, in its exclusive form, and which form it takes: the exclusive one wherever stock tools write, and
//! the one beside running backups ([`super::concurrent`]) in vaults of drctl's own.
//!
//! The exclusive lock is held from before anything is listed to the end: no writer, ours or restic's, works meanwhile.
//! Order: packs with the blobs that move, index files without the packs that go, removal of the index files that they
//! replace, removal of packs. When the store is too full for the first, the others are done without it: they need room for
//! one index file. What died writers left half-written goes first. A crash at any point leaves a whole vault: blobs that lie in two packs, or packs that no
//! index names. The next prune removes either.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::concurrent;
use super::decision::{Figures, Limits, Refusal};
use super::plan::{self, Entries, Needed};
use super::repack::{self, Others};
use crate::check::reach::{self, Reached};
use crate::monitor::{Cancel, Monitor};
use crate::units::ByteSize;
use crate::vault::index::Index;
use crate::vault::lock::{LockGuard, LockKind};
use crate::vault::settings::Sharing;
use crate::vault::snapshot::SnapshotFile;
use crate::vault::{BlobKey, Condemned, FileType, Id, Located, Vault, VaultError};

/// Whether the prune changes the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only say what would be done.
    Rehearse,
    /// Prune.
    Write,
}

/// How to prune.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What may stay unused, and what may be rewritten.
    pub limits: Limits,
    /// Write, or only say what would be done.
    pub mode: Mode,
    /// How long what is condemned stays before it is deleted, and how old a pack must be to be condemned: saves running
    /// backups from storing anew what goes under their hands. Only where others may work beside the prune.
    pub grace: Duration,
    /// How long to wait for others' locks, and for what others are about to store.
    pub retry_lock: Duration,
}

/// The grace period that is used unless another is asked for: few backups take longer than a day.
pub const GRACE: Duration = Duration::from_secs(24 * 3600);

/// How long to wait at first for others that are at work, and at most from one try to the next.
const RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Whether others may work while a vault is pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Nobody may.
    Exclusive,
    /// drctl's own backups may: what goes is condemned first.
    Concurrent,
}

/// Why a prune was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// The vault could not be read or written.
    #[error("use the vault")]
    Vault(#[from] VaultError),
    /// The vault is damaged: deleting around damage could take away what a repair needs.
    #[error("prune a vault that is whole")]
    Refused(#[from] Refusal),
    /// Trees that snapshots need cannot be read.
    #[error("prune: {count} trees that snapshots need cannot be read (first: {first}: {why}); nothing was deleted")]
    DamagedTrees {
        /// How many.
        count: usize,
        /// One of them.
        first: Id,
        /// What is wrong with it.
        why: String,
    },
    /// The store did not let trees be read that snapshots need. They may be whole.
    #[error("prune: {count} trees that snapshots need were not read (first: {first}: {why}); nothing was deleted")]
    UnreadTrees {
        /// How many.
        count: usize,
        /// One of them.
        first: Id,
        /// What the store said.
        why: String,
    },
    /// A blob that was to move is damaged.
    #[error("move blob {blob} out of pack {pack}: {why}; nothing was deleted")]
    DamagedBlob {
        /// The blob.
        blob: Id,
        /// The pack that it lies in.
        pack: Id,
        /// What is wrong with it.
        why: String,
    },
    /// Snapshots lack what nobody has any more.
    #[error(
        "prune: {} snapshots lack {blobs} blobs that no pack has any more (first: {}); nothing was deleted",
        .snapshots.len(),
        .snapshots.first().map(Id::short).unwrap_or_default()
    )]
    Lacking {
        /// The snapshots.
        snapshots: Vec<Id>,
        /// How many blobs are named that they lack.
        blobs: usize,
    },
    /// Something that snapshots need is in no pack, and somebody is at work who may be storing it again.
    #[error("prune: snapshots lack something that may be on its way, {holder} is there; nothing was deleted")]
    AtWork {
        /// The lock of whoever it is.
        holder: String,
    },
    /// Others changed meanwhile what this prune counted on.
    #[error("prune: others have changed the vault meanwhile; nothing was lost")]
    Overtaken,
    /// The operator asked to stop.
    #[error("prune: interrupted; the vault is whole, and the next prune goes on")]
    Cancelled,
}

/// What a prune did, or would do.
#[derive(Debug, serde::Serialize)]
pub struct Outcome {
    /// Whether others could work meanwhile.
    pub form: Form,
    /// Sums.
    pub figures: Figures,
    /// Packs that were written with the blobs that moved.
    pub packs_written: u64,
    /// Packs that were to be rewritten and stay as they are, because the store is full.
    pub no_room_for: u64,
    /// How long it took, by the boot clock, in milliseconds.
    pub millis: u64,
}

/// Frees what no snapshot needs; beside running backups, condemns it and frees what was condemned long enough ago.
pub async fn run(
    vault: &Vault,
    options: Options,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
) -> Result<Outcome, PruneError> {
    let (form, kind) = match vault.sharing() {
        Sharing::Shared => (Form::Exclusive, LockKind::Exclusive),
        Sharing::Native => (Form::Concurrent, LockKind::Shared),
    };
    if form == Form::Concurrent && options.mode == Mode::Write {
        concurrent::clear_unfinished_if_alone(vault, &*monitor).await?;
    }
    let clock = vault.env().clock.clone();
    let (begun, mut pause) = (clock.boot(), RETRY);
    loop {
        if cancel.is_cancelled() {
            return Err(PruneError::Cancelled);
        }
        let left = options.retry_lock.saturating_sub(clock.boot() - begun);
        let pruned = once(vault, (form, kind), Options { retry_lock: left, ..options }, &monitor, &cancel).await;
        let left = options.retry_lock.saturating_sub(clock.boot() - begun);
        match pruned {
            // Each try reads the index and the trees again: the pauses grow.
            Err(PruneError::AtWork { holder }) if !left.is_zero() => {
                tracing::info!(holder, "waiting for others that are at work");
                let until = clock.boot() + pause.min(left);
                while clock.boot() < until && !cancel.is_cancelled() {
                    clock.sleep(RETRY.min(until - clock.boot())).await;
                }
                pause = (pause * 2).min(LONGEST_RETRY);
            }
            pruned => return pruned,
        }
    }
}

async fn once(
    vault: &Vault,
    (form, kind): (Form, LockKind),
    options: Options,
    monitor: &Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<Outcome, PruneError> {
    let lock = match vault.lock_unless(kind, options.retry_lock, cancel).await {
        Err(VaultError::Locked { .. }) if cancel.is_cancelled() => return Err(PruneError::Cancelled),
        taken => taken?,
    };
    let outcome = match form {
        Form::Exclusive => run_locked(vault, options, monitor, cancel, &lock).await,
        Form::Concurrent => concurrent::run(vault, options, monitor, cancel, &lock).await,
    };
    let lost = lock.check();
    lock.release().await;
    match (outcome, lost) {
        // Others may have worked since: what looked like damage may only be what they did.
        (Err(_), Err(lost)) => Err(lost.into()),
        (outcome, _) => outcome,
    }
}

async fn run_locked(
    vault: &Vault,
    options: Options,
    monitor: &Arc<dyn Monitor>,
    cancel: &Cancel,
    lock: &LockGuard,
) -> Result<Outcome, PruneError> {
    let clock = vault.env().clock.clone();
    let begun = clock.boot();
    if options.mode == Mode::Write {
        // At once: the lock has just been taken, and a vault that is not whole is cleared of them, too.
        clear_unfinished(vault, &**monitor, lock).await?;
    }
    let snapshots = snapshots(vault).await?;
    monitor.stage("index");
    let index = vault.load_index(&**monitor).await?;
    let marks = mark(vault, &index, &snapshots, monitor, cancel).await?;
    let listed = vault.list(FileType::Pack).await?;
    let listed: Vec<(Id, ByteSize)> = listed.into_iter().map(|(id, size)| (id, ByteSize(size))).collect();
    let plan = plan::prune(&marks, &listed, &marks, options.limits, None)?;
    let (mut packs_written, mut no_room_for) = (0, 0);
    if options.mode == Mode::Write && !plan.is_empty() {
        let moved = repack::repack(vault, &plan, &marks, Others::None, monitor, cancel).await?;
        packs_written = moved.packs_written;
        // What could not be moved for want of room stays; what needs none is freed all the same.
        let rewritten = if moved.no_room { &[][..] } else { &plan.repack[..] };
        no_room_for = (plan.repack.len() - rewritten.len()) as u64;
        lock.check()?;
        if cancel.is_cancelled() {
            return Err(PruneError::Cancelled);
        }
        let deleted = plan.delete.iter().map(|gone| gone.pack).chain(rewritten.iter().map(|repacked| repacked.pack));
        let there: Vec<Id> = deleted.collect();
        let gone: HashSet<Id> = there.iter().copied().chain(plan.forget.iter().copied()).collect();
        monitor.stage("index");
        match moved.old {
            Some(files) => vault.rewrite_index_files(files, &gone, &moved.indexes, lock, &**monitor).await?,
            None => vault.rewrite_index(&gone, &moved.indexes, lock, &**monitor).await?,
        };
        monitor.stage("delete packs");
        monitor.total(there.len() as u64, 0);
        vault.remove_packs_under(lock, &there).await?;
        monitor.advance(there.len() as u64, 0);
    }
    let millis = u64::try_from((clock.boot() - begun).as_millis()).unwrap_or(u64::MAX);
    let figures = if no_room_for > 0 { plan.figures.without_rewriting() } else { plan.figures };
    Ok(Outcome { form: Form::Exclusive, figures, packs_written, no_room_for, millis })
}

/// What writers that died left half-written: the exclusive lock says that no writer is at work.
pub(super) async fn clear_unfinished(vault: &Vault, monitor: &dyn Monitor, lock: &LockGuard) -> Result<(), PruneError> {
    let mut bytes = 0;
    for kind in [FileType::Pack, FileType::Index, FileType::Snapshot] {
        lock.check()?;
        bytes += vault.store().remove_unfinished(kind.folder()).await.map_err(VaultError::from)?;
    }
    if bytes > 0 {
        monitor.note(&format!("{} that interrupted runs had not finished writing were removed", ByteSize(bytes)));
    }
    Ok(())
}

/// The index, and which of its blobs snapshots reach.
pub(super) struct Marks {
    pub(super) index: Index,
    reached: Reached,
}

impl Marks {
    /// Whether a blob is needed, be it in the index or not.
    pub(super) fn reaches(&self, key: &BlobKey) -> bool {
        self.needs(key, self.index.position(*key)) || self.reached.missing.contains_key(key)
    }

    /// Where the blobs lie that are needed and that only condemned packs have, by pack. Nothing when one is in no index.
    pub(super) fn only_condemned(&self, condemned: &Condemned) -> Option<HashMap<Id, Vec<(BlobKey, Located)>>> {
        if !self.reached.missing.is_empty() {
            return None;
        }
        let mut blobs: HashMap<Id, Vec<(BlobKey, Located)>> = HashMap::new();
        plan::for_each_needed(self, self, |key, places| {
            if places.iter().all(|at| condemned.of(&at.pack).is_some())
                && let Some(at) = places.first()
            {
                blobs.entry(at.pack).or_default().push((key, *at));
            }
        });
        Some(blobs)
    }
}

impl Entries for Marks {
    fn for_each_blob(&self, see: impl FnMut(BlobKey, &[Located], Option<u64>)) {
        self.index.for_each_blob(see);
    }
}

impl Needed for Marks {
    fn needs(&self, _: &BlobKey, position: Option<u64>) -> bool {
        position.is_some_and(|position| self.reached.has(position))
    }

    fn unindexed(&self) -> Vec<BlobKey> {
        self.reached.missing.keys().copied().collect()
    }
}

/// All snapshots; none of them may be damaged.
pub(super) async fn snapshots(vault: &Vault) -> Result<Vec<SnapshotFile>, PruneError> {
    let snapshots = vault.snapshots().await?;
    match snapshots.damaged.into_iter().next() {
        Some((_, damaged)) => Err(damaged.into()),
        None => Ok(snapshots.whole),
    }
}

/// Goes through all that snapshots reach.
pub(super) async fn mark(
    vault: &Vault,
    index: &Index,
    snapshots: &[SnapshotFile],
    monitor: &Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<Marks, PruneError> {
    monitor.stage("trees");
    mark_roots(vault, index, snapshots.iter().map(|file| file.snapshot.tree).collect(), monitor, cancel).await
}

/// The same for trees.
pub(super) async fn mark_roots(
    vault: &Vault,
    index: &Index,
    roots: Vec<Id>,
    monitor: &Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<Marks, PruneError> {
    let reached = {
        let (vault, index, monitor, cancel) = (vault.clone(), index.clone(), monitor.clone(), cancel.clone());
        let handle = tokio::runtime::Handle::current();
        let work = move || reach::reach(&vault, &index, &roots, &handle, &*monitor, &cancel);
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    };
    if cancel.is_cancelled() {
        return Err(PruneError::Cancelled);
    }
    let damaged = || reached.damaged.iter().filter(|(tree, _)| !reached.unread.contains(*tree));
    if let Some((first, why)) = damaged().min() {
        return Err(PruneError::DamagedTrees { count: damaged().count(), first: *first, why: why.clone() });
    }
    if let Some((first, why)) = reached.damaged.iter().min() {
        return Err(PruneError::UnreadTrees { count: reached.damaged.len(), first: *first, why: why.clone() });
    }
    Ok(Marks { index: index.clone(), reached })
}
