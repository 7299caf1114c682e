//! Moving needed blobs into new packs, each seal verified on the way.
//!
//! Several packs are fetched and verified at the same time; their blobs are put together by one task, in order. New packs
//! are named by index files as soon as there are enough blobs for one: a crash leaves blobs that lie twice. Memory is
//! bounded by what is in flight.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::PruneError;
use super::decision::{PrunePlan, Repacked};
use super::plan::{Entries, Needed};
use crate::monitor::{Cancel, Monitor, Silent};
use crate::store::StoreErrorKind;
use crate::vault::index::PackContents;
use crate::vault::index_file::BLOBS_PER_FILE;
use crate::vault::pack::{PackBuilder, Sealer};
use crate::vault::{Ahead, BlobKey, BlobType, Id, Located, Vault, VaultError, chain, off_thread};

/// Packs fetched and verified while blobs of another are added.
const CONCURRENT: usize = 3;
/// Bytes of finished packs on their way to the store. With larger ones than usual, one at a time goes on.
const IN_FLIGHT: u32 = 64 << 20;
/// Blobs of which it is known at the same time that they move.
const KNOWN: u64 = 250_000;
/// zstd is not used when blobs move: they are copied as they are.
const LEVEL: i32 = 3;

/// A pack, its size for the monitor, and the blobs that are wanted of it, ascending by offset.
type Wanted = (Id, u64, Vec<(BlobKey, Located)>);

/// Bytes of a pack, and the blobs that are taken out of them.
struct Run {
    start: u64,
    bytes: Bytes,
    blobs: Vec<(BlobKey, Located)>,
}

/// What came of moving.
pub(super) struct Moved {
    pub(super) packs_written: u64,
    /// The index files that name them.
    pub(super) indexes: HashSet<Id>,
    /// The store is full: not all was moved, and nothing of what should have moved may go.
    pub(super) no_room: bool,
}

/// Who may rely on packs that no index names yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    /// Nobody: nobody else is at work.
    None,
    /// Writers, who adopt such packs.
    AtWork,
}

/// Copies what moves: of packs that are rewritten, and of condemned ones. When there is no room for all of it, the packs
/// that were written for nothing are removed if nobody can rely on them, since what is done next needs some room.
pub(super) async fn repack<M: Needed + Entries>(
    vault: &Vault,
    plan: &PrunePlan,
    marks: &M,
    others: Others,
    monitor: &Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<Moved, PruneError> {
    let mut packer = Packer::new(vault.clone());
    let error = match fill(&mut packer, plan, marks, monitor, cancel).await {
        Ok(()) => return Ok(Moved { packs_written: packer.written, indexes: packer.indexes, no_room: false }),
        Err(error) => error,
    };
    let full = matches!(&error, PruneError::Vault(VaultError::Store(error)) if error.kind == StoreErrorKind::NoSpace);
    if !full {
        return Err(error);
    }
    tracing::warn!(error = chain(&error), "the store is too full to rewrite packs");
    packer.give_up(others).await?;
    Ok(Moved { packs_written: 0, indexes: packer.indexes, no_room: true })
}

async fn fill<M: Needed + Entries>(
    packer: &mut Packer,
    plan: &PrunePlan,
    marks: &M,
    monitor: &Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<(), PruneError> {
    monitor.stage("repack");
    let packs = || plan.repack.iter().chain(&plan.rescue);
    monitor.total(packs().count() as u64, packs().map(|pack| pack.size.0).sum());
    for batch in batches(&plan.repack).chain(batches(&plan.rescue)) {
        let mut moving = plan.moving(marks, marks, batch);
        let blobs_of = |pack: &Repacked| (pack.pack, pack.size.0, moving.remove(&pack.pack).unwrap_or_default());
        packer.take(batch.iter().map(blobs_of).collect(), monitor, cancel).await?;
    }
    packer.finish().await
}

/// Copies blobs, by the pack that they lie in, into packs that an index names before this returns. For a writer that
/// found only condemned packs to have them.
pub(super) async fn copy(
    vault: &Vault,
    blobs: HashMap<Id, Vec<(BlobKey, Located)>>,
    cancel: &Cancel,
) -> Result<(), PruneError> {
    let silent: Arc<dyn Monitor> = Arc::new(Silent);
    let mut packer = Packer::new(vault.clone());
    let mut wanted: Vec<Wanted> = blobs.into_iter().map(|(pack, blobs)| (pack, 0, blobs)).collect();
    wanted.sort_unstable_by_key(|(pack, _, _)| *pack);
    wanted.iter_mut().for_each(|(_, _, blobs)| blobs.sort_unstable_by_key(|(_, at)| at.offset));
    packer.take(wanted, &silent, cancel).await?;
    packer.finish().await
}

/// As many packs at a time as move about so many blobs.
fn batches(packs: &[Repacked]) -> impl Iterator<Item = &[Repacked]> {
    let mut rest = packs;
    std::iter::from_fn(move || {
        let mut known = 0;
        let fits = |pack: &&Repacked| {
            known += pack.blobs;
            known <= KNOWN
        };
        let count = rest.iter().take_while(fits).count().max(1).min(rest.len());
        let (batch, after) = rest.split_at(count);
        rest = after;
        (!batch.is_empty()).then_some(batch)
    })
}

/// Fetches these blobs, sorted by offset, and verifies each.
async fn fetch(vault: Vault, pack: Id, blobs: Vec<(BlobKey, Located)>) -> Result<Vec<Run>, PruneError> {
    /// Bytes between two wanted blobs that are fetched along rather than asked for apart.
    const GAP: u32 = 256 << 10;
    let near = |(_, a): &(BlobKey, Located), (_, b): &(BlobKey, Located)| {
        b.offset <= a.offset.saturating_add(a.length).saturating_add(GAP)
    };
    let mut runs = Vec::new();
    for blobs in blobs.chunk_by(near) {
        let (first, last) = (blobs[0].1, blobs[blobs.len() - 1].1);
        let (start, end) = (u64::from(first.offset), u64::from(last.offset) + u64::from(last.length));
        let bytes = vault.load_pack_range(&pack, start..end).await?;
        runs.push(Run { start, bytes, blobs: blobs.to_vec() });
    }
    let key = vault.key().clone();
    // The seal proves that a blob is what was once stored, whatever that is; to open it would take several times as long.
    let verify = move || {
        for run in &runs {
            for (blob, at) in &run.blobs {
                let damaged = |why: String| PruneError::DamagedBlob { blob: blob.id, pack, why };
                let sealed = run.sealed(at).ok_or_else(|| damaged("it lies beyond the pack's end".to_owned()))?;
                key.prove(sealed).map_err(|error| damaged(chain(&error)))?;
            }
        }
        Ok(runs)
    };
    off_thread(verify).await
}

impl Run {
    fn sealed(&self, at: &Located) -> Option<&[u8]> {
        let from = usize::try_from(u64::from(at.offset).checked_sub(self.start)?).ok()?;
        self.bytes.get(from..from.checked_add(at.length as usize)?)
    }
}

/// The packs that are being filled, and those on their way.
struct Packer {
    vault: Vault,
    sealer: Option<Sealer>,
    open: HashMap<BlobType, PackBuilder>,
    budget: Arc<Semaphore>,
    uploads: JoinSet<Result<PackContents, VaultError>>,
    unnamed: Vec<PackContents>,
    indexes: HashSet<Id>,
    written: u64,
}

impl Packer {
    fn new(vault: Vault) -> Self {
        Self {
            sealer: Some(vault.sealer(LEVEL)),
            vault,
            open: HashMap::new(),
            budget: Arc::new(Semaphore::new(IN_FLIGHT as usize)),
            uploads: JoinSet::new(),
            unnamed: Vec::new(),
            indexes: HashSet::new(),
            written: 0,
        }
    }

    /// Fetches blobs of packs, and adds them in this order.
    async fn take(
        &mut self,
        wanted: Vec<Wanted>,
        monitor: &Arc<dyn Monitor>,
        cancel: &Cancel,
    ) -> Result<(), PruneError> {
        let vault = self.vault.clone();
        let fetched = stream::iter(wanted).map(|(pack, size, blobs)| {
            let (vault, cancel) = (vault.clone(), cancel.clone());
            // Goes on while blobs of an earlier pack are added.
            Ahead::begin(async move {
                if cancel.is_cancelled() {
                    return Err(PruneError::Cancelled);
                }
                Ok((size, fetch(vault, pack, blobs).await?))
            })
        });
        let mut fetched = std::pin::pin!(fetched.buffered(CONCURRENT));
        while let Some((size, runs)) = fetched.try_next().await? {
            self.add(runs).await?;
            monitor.advance(1, size);
        }
        Ok(())
    }

    async fn add(&mut self, runs: Vec<Run>) -> Result<(), PruneError> {
        let (mut open, size) = (std::mem::take(&mut self.open), self.vault.pack_size());
        let fill = move || {
            let mut full = Vec::new();
            for run in &runs {
                for (key, at) in &run.blobs {
                    let Some(sealed) = run.sealed(at) else { continue };
                    let builder = open.entry(key.kind).or_insert_with(|| PackBuilder::to_fill(key.kind, size));
                    builder.add_sealed(key.id, sealed, at.uncompressed).map_err(VaultError::seal)?;
                    if builder.is_full(size) {
                        full.extend(open.remove(&key.kind));
                    }
                }
            }
            Ok::<_, VaultError>((open, full))
        };
        let (open, full) = off_thread(fill).await?;
        self.open = open;
        for pack in full {
            self.upload(pack).await?;
        }
        Ok(())
    }

    async fn upload(&mut self, pack: PackBuilder) -> Result<(), PruneError> {
        let Some(sealer) = &self.sealer else { return Ok(()) };
        let finished = pack.finish(sealer).map_err(VaultError::seal)?;
        let weight = u32::try_from(finished.bytes.len()).unwrap_or(u32::MAX).min(IN_FLIGHT);
        let permit = self.budget.clone().acquire_many_owned(weight).await.expect("the semaphore is never closed");
        while let Some(stored) = self.uploads.try_join_next() {
            self.stored(stored)?;
        }
        if self.unnamed.iter().map(|pack| pack.blobs.len()).sum::<usize>() >= BLOBS_PER_FILE {
            self.name().await?;
        }
        let vault = self.vault.clone();
        self.uploads.spawn(async move {
            let _permit = permit;
            vault.put_pack(&finished).await?;
            Ok(PackContents::from(&finished))
        });
        Ok(())
    }

    fn stored(
        &mut self,
        stored: Result<Result<PackContents, VaultError>, tokio::task::JoinError>,
    ) -> Result<(), PruneError> {
        let pack = stored.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))?;
        self.unnamed.push(pack);
        self.written += 1;
        Ok(())
    }

    /// Removes the packs that no index file names, unless somebody may rely on them.
    async fn give_up(&mut self, others: Others) -> Result<(), PruneError> {
        while let Some(stored) = self.uploads.join_next().await {
            // Others may have found no room either, or have found some.
            if let Ok(Ok(pack)) = stored {
                self.unnamed.push(pack);
            }
        }
        let unnamed: Vec<Id> = std::mem::take(&mut self.unnamed).into_iter().map(|pack| pack.id).collect();
        match others {
            Others::None => self.vault.remove_packs(&unnamed).await?,
            Others::AtWork => {}
        }
        Ok(())
    }

    /// Stores what is left, and names all of it.
    async fn finish(&mut self) -> Result<(), PruneError> {
        for (_, pack) in std::mem::take(&mut self.open) {
            self.upload(pack).await?;
        }
        while let Some(stored) = self.uploads.join_next().await {
            self.stored(stored)?;
        }
        self.name().await
    }

    /// Has index files name the packs that are stored.
    async fn name(&mut self) -> Result<(), PruneError> {
        self.indexes.extend(self.vault.save_indexes(&mut self.unnamed).await?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ByteSize;

    #[test]
    fn packs_come_in_batches_of_so_many_blobs_each_once() {
        let pack = |blobs| Repacked { pack: Id::default(), size: ByteSize(0), unused: ByteSize(0), blobs };
        let shape = |sizes: &[u64]| {
            let packs: Vec<Repacked> = sizes.iter().copied().map(pack).collect();
            batches(&packs).map(|batch| batch.iter().map(|pack| pack.blobs).collect()).collect::<Vec<Vec<u64>>>()
        };
        assert_eq!(shape(&[]), Vec::<Vec<u64>>::new());
        assert_eq!(shape(&[KNOWN - 1, 1, 1]), [vec![KNOWN - 1, 1], vec![1]]);
        assert_eq!(shape(&[KNOWN + 1, KNOWN + 1, 5]), [vec![KNOWN + 1], vec![KNOWN + 1], vec![5]]);
    }
}
