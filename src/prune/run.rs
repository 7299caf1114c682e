//! Carrying out a prune, in its exclusive form.
//!
//! The exclusive lock is held from before anything is listed to the end: no writer, ours or restic's, works meanwhile.
//! Order: packs with the blobs that move, index files without the packs that go, removal of the index files that they
//! replace, removal of packs. What died writers left half-written goes first. A crash at any point leaves a whole vault: blobs that lie in two packs, or packs that no
//! index names. The next prune removes either.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::decision::{Figures, MaxUnused, NAMED, PrunePlan, Refusal, Repacked};
use super::plan;
use crate::check::reach;
use crate::monitor::{Cancel, Monitor};
use crate::units::ByteSize;
use crate::vault::index::{Index, PackContents};
use crate::vault::index_file::IndexFile;
use crate::vault::lock::{LockGuard, LockKind};
use crate::vault::pack::{FinishedPack, PackBuilder, Sealer, open_blob};
use crate::vault::{BlobKey, BlobType, FileType, Id, Located, Vault, VaultError, chain};

/// Blobs that one index file names at most (restic's limit).
const INDEX_BLOBS: usize = 50_000;
/// zstd is not used when blobs move: they are copied as they are.
const LEVEL: i32 = 3;

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
    /// How much may stay unused.
    pub max_unused: MaxUnused,
    /// Write, or only say what would be done.
    pub mode: Mode,
    /// How long to wait for others' locks.
    pub retry_lock: Duration,
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
    /// The operator asked to stop.
    #[error("prune: interrupted; the vault is whole, and the next prune goes on")]
    Cancelled,
}

/// What a prune did, or would do.
#[derive(Debug, serde::Serialize)]
pub struct Outcome {
    /// Sums.
    pub figures: Figures,
    /// Packs that were written with the blobs that moved.
    pub packs_written: u64,
    /// How long it took, by the boot clock, in milliseconds.
    pub millis: u64,
}

/// Frees what no snapshot needs.
pub async fn run(
    vault: &Vault,
    options: Options,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
) -> Result<Outcome, PruneError> {
    let lock = vault.lock(LockKind::Exclusive, options.retry_lock).await?;
    let outcome = run_locked(vault, options, &monitor, &cancel, &lock).await;
    lock.release().await;
    outcome
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
    monitor.stage("index");
    let index = vault.load_index(&**monitor).await?;
    let plan = decide(vault, &index, options.max_unused, monitor, cancel).await?;
    let mut packs_written = 0;
    if options.mode == Mode::Write {
        clear_unfinished(vault, &**monitor).await?;
    }
    if options.mode == Mode::Write && !plan.is_empty() {
        let moved = repack(vault, &plan.repack, monitor, cancel).await?;
        packs_written = moved.len() as u64;
        lock.check()?;
        if cancel.is_cancelled() {
            return Err(PruneError::Cancelled);
        }
        let gone: HashSet<Id> = plan
            .delete
            .iter()
            .map(|gone| gone.pack)
            .chain(plan.repack.iter().map(|repacked| repacked.pack))
            .chain(plan.forget.iter().copied())
            .collect();
        rewrite_index(vault, &gone, moved, monitor).await?;
        lock.check()?;
        monitor.stage("delete packs");
        let there: Vec<Id> =
            plan.delete.iter().map(|gone| gone.pack).chain(plan.repack.iter().map(|repacked| repacked.pack)).collect();
        monitor.total(there.len() as u64, 0);
        vault.remove_packs(&there).await?;
        monitor.advance(there.len() as u64, 0);
    }
    let millis = u64::try_from((clock.boot() - begun).as_millis()).unwrap_or(u64::MAX);
    Ok(Outcome { figures: plan.figures, packs_written, millis })
}

/// What writers that died left half-written: the exclusive lock says that no writer is at work.
async fn clear_unfinished(vault: &Vault, monitor: &dyn Monitor) -> Result<(), PruneError> {
    let mut bytes = 0;
    for kind in [FileType::Pack, FileType::Index, FileType::Snapshot] {
        bytes += vault.store().remove_unfinished(kind.folder()).await.map_err(VaultError::from)?;
    }
    if bytes > 0 {
        monitor.note(&format!("{} that interrupted runs had not finished writing were removed", ByteSize(bytes)));
    }
    Ok(())
}

async fn decide(
    vault: &Vault,
    index: &Index,
    max_unused: MaxUnused,
    monitor: &Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<PrunePlan, PruneError> {
    let snapshots = vault.snapshots().await?;
    if let Some((_, damaged)) = snapshots.damaged.into_iter().next() {
        return Err(damaged.into());
    }
    monitor.stage("trees");
    let roots: Vec<Id> = snapshots.whole.iter().map(|file| file.snapshot.tree).collect();
    let reached = {
        let (vault, index, monitor, cancel) = (vault.clone(), index.clone(), monitor.clone(), cancel.clone());
        let handle = tokio::runtime::Handle::current();
        let work = move || reach::reach(&vault, &index, &roots, &handle, &*monitor, &cancel);
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    };
    if cancel.is_cancelled() {
        return Err(PruneError::Cancelled);
    }
    if let Some((first, why)) = reached.damaged.iter().min() {
        return Err(PruneError::DamagedTrees { count: reached.damaged.len(), first: *first, why: why.clone() });
    }
    if !reached.missing.is_empty() {
        let mut blobs: Vec<BlobKey> = reached.missing.keys().copied().collect();
        blobs.sort_unstable();
        let count = blobs.len();
        blobs.truncate(NAMED);
        return Err(Refusal::NotIndexed { blobs, count }.into());
    }
    let listed: Vec<(Id, ByteSize)> =
        vault.list(FileType::Pack).await?.into_iter().map(|(id, size)| (id, ByteSize(size))).collect();
    let is_used = |key: &BlobKey| index.position(*key).is_some_and(|position| reached.has(position));
    let used: HashSet<BlobKey> = index.iter().map(|(key, _)| key).filter(is_used).collect();
    Ok(plan::prune(index, &listed, &used, max_unused)?)
}

/// Copies the blobs that move into new packs, each verified on the way.
async fn repack(
    vault: &Vault,
    packs: &[Repacked],
    monitor: &Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<Vec<PackContents>, PruneError> {
    monitor.stage("repack");
    monitor.total(packs.len() as u64, packs.iter().map(|pack| pack.size.0).sum());
    let sealer = vault.sealer(LEVEL);
    let mut open: HashMap<BlobType, PackBuilder> = HashMap::new();
    let mut written = Vec::new();
    for pack in packs {
        if cancel.is_cancelled() {
            return Err(PruneError::Cancelled);
        }
        for run in runs(&pack.blobs) {
            let (first, last) = (run[0].1, run[run.len() - 1].1);
            let (start, end) = (u64::from(first.offset), u64::from(last.offset) + u64::from(last.length));
            let bytes = vault.load_pack_range(&pack.pack, start..end).await?;
            for (key, located) in run {
                let from = (u64::from(located.offset) - start) as usize;
                let damaged = |why: String| PruneError::DamagedBlob { blob: key.id, pack: pack.pack, why };
                let sealed = bytes
                    .get(from..from + located.length as usize)
                    .ok_or_else(|| damaged("it lies beyond the pack's end".to_owned()))?;
                open_blob(vault.key(), &key.id, sealed, located.uncompressed)
                    .map_err(|error| damaged(chain(&error)))?;
                let builder = open.entry(key.kind).or_insert_with(|| PackBuilder::new(key.kind));
                builder.add_sealed(key.id, sealed, located.uncompressed).map_err(|error| damaged(chain(&error)))?;
                if builder.is_full(vault.pack_size())
                    && let Some(full) = open.remove(&key.kind)
                {
                    written.push(put(vault, full, &sealer).await?);
                }
            }
        }
        monitor.advance(1, pack.size.0);
    }
    for (_, rest) in open {
        written.push(put(vault, rest, &sealer).await?);
    }
    Ok(written)
}

/// Blobs, sorted by offset, in runs that are worth one request each.
fn runs(blobs: &[(BlobKey, Located)]) -> impl Iterator<Item = &[(BlobKey, Located)]> {
    const GAP: u32 = 256 << 10;
    blobs.chunk_by(|(_, a), (_, b)| b.offset <= a.offset.saturating_add(a.length).saturating_add(GAP))
}

async fn put(vault: &Vault, pack: PackBuilder, sealer: &Sealer) -> Result<PackContents, PruneError> {
    let finished: FinishedPack = pack.finish(sealer).map_err(VaultError::seal)?;
    vault.put_pack(&finished).await?;
    Ok(PackContents::from(&finished))
}

/// Replaces the index files that name packs which go. One old file is in memory at a time.
///
/// So are those in which rustic keeps account of such a pack: its check takes the pack for lost otherwise. Its other
/// marks in that file are dropped with it; what was marked is in no index, and goes now, or was taken into use again.
async fn rewrite_index(
    vault: &Vault,
    gone: &HashSet<Id>,
    moved: Vec<PackContents>,
    monitor: &Arc<dyn Monitor>,
) -> Result<(), PruneError> {
    monitor.stage("index");
    let files = vault.list(FileType::Index).await?;
    monitor.total(files.len() as u64, 0);
    let (mut waiting, mut replaced) = (moved, Vec::new());
    for (id, _) in files {
        let IndexFile { packs, marked } = vault.load_index_file(&id).await?;
        let before = packs.len();
        let kept: Vec<PackContents> = packs.into_iter().filter(|pack| !gone.contains(&pack.id)).collect();
        if kept.len() < before || marked.iter().any(|pack| gone.contains(pack)) {
            waiting.extend(kept);
            replaced.push(id);
            if waiting.iter().map(|pack| pack.blobs.len()).sum::<usize>() >= INDEX_BLOBS {
                write_index(vault, &mut waiting).await?;
            }
        }
        monitor.advance(1, 0);
    }
    write_index(vault, &mut waiting).await?;
    // Only now: until all new files are there, the old ones name everything that is needed.
    for id in replaced {
        vault.remove(FileType::Index, &id).await?;
    }
    Ok(())
}

async fn write_index(vault: &Vault, waiting: &mut Vec<PackContents>) -> Result<(), PruneError> {
    let mut rest = waiting.as_slice();
    while !rest.is_empty() {
        let (mut blobs, mut count) = (0, 0);
        while count < rest.len() && (count == 0 || blobs + rest[count].blobs.len() <= INDEX_BLOBS) {
            blobs += rest[count].blobs.len();
            count += 1;
        }
        let (file, after) = rest.split_at(count);
        vault.save_index(file).await?;
        rest = after;
    }
    waiting.clear();
    Ok(())
}
