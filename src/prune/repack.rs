//! Moving needed blobs into new packs, each seal verified on the way.
//!
//! Several ranges of packs are fetched and verified at the same time; their blobs are put together by one task, in order.
//! New packs are named by index files as soon as there are enough blobs for one: a crash leaves blobs that lie twice.
//! Memory is bounded by what is in flight.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Handle;
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
use crate::vault::ranges::{Group, coalesce, coalesce_near};
use crate::vault::{
    Ahead, BlobKey, BlobType, Id, IndexFiles, Located, Spare, Vault, VaultError, chain, has_threads, off_thread,
};

/// Ranges of packs fetched and verified while blobs of another are added.
const CONCURRENT: usize = 3;
/// The same from a store that answers at once, where ranges are short.
const NEAR_CONCURRENT: usize = 6;
/// Bytes of finished packs on their way to the store. With larger ones than usual, one at a time goes on.
const IN_FLIGHT: u32 = 64 << 20;
/// Blobs of which it is known at the same time that they move.
const KNOWN: u64 = 250_000;
/// zstd is not used when blobs move: they are copied as they are.
const LEVEL: i32 = 3;

/// A blob that moves, and where it lies.
type Blob = (BlobKey, Located);
/// A pack, its size for the monitor, and the blobs that are wanted of it, ascending by offset.
type Wanted = (Id, u64, Vec<Blob>);

/// Bytes of a pack, and the blobs that are taken out of them.
struct Run {
    group: Group<Blob>,
    /// As many as the range has, or more.
    bytes: Vec<u8>,
}

/// What came of moving.
pub(super) struct Moved {
    pub(super) packs_written: u64,
    /// The index files that name them.
    pub(super) indexes: HashSet<Id>,
    /// The store is full: not all was moved, and nothing of what should have moved may go.
    pub(super) no_room: bool,
    /// The index files that there were before, if nobody else was at work: they are read while the last new one is written.
    pub(super) old: Option<IndexFiles>,
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
    let error = match fill(&mut packer, plan, marks, others, monitor, cancel).await {
        Ok(old) => return Ok(Moved { packs_written: packer.written, indexes: packer.indexes, no_room: false, old }),
        Err(error) => error,
    };
    let full = matches!(&error, PruneError::Vault(VaultError::Store(error)) if error.kind == StoreErrorKind::NoSpace);
    if !full {
        return Err(error);
    }
    tracing::warn!(error = chain(&error), "the store is too full to rewrite packs");
    packer.give_up(others).await?;
    Ok(Moved { packs_written: 0, indexes: packer.indexes, no_room: true, old: None })
}

async fn fill<M: Needed + Entries>(
    packer: &mut Packer,
    plan: &PrunePlan,
    marks: &M,
    others: Others,
    monitor: &Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<Option<IndexFiles>, PruneError> {
    monitor.stage("repack");
    let packs = || plan.repack.iter().chain(&plan.rescue);
    monitor.total(packs().count() as u64, packs().map(|pack| pack.size.0).sum());
    for batch in batches(&plan.repack).chain(batches(&plan.rescue)) {
        let mut moving = plan.moving(marks, marks, batch);
        let blobs_of = |pack: &Repacked| (pack.pack, pack.size.0, moving.remove(&pack.pack).unwrap_or_default());
        packer.take(batch.iter().map(blobs_of).collect(), monitor, cancel).await?;
    }
    let old = match others {
        Others::None => Some(packer.vault.index_files(&packer.indexes).await?),
        Others::AtWork => None,
    };
    packer.finish().await?;
    Ok(old)
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

/// The ranges in which the wanted blobs of a pack lie, and with the last of them its size. There is one at least.
fn ranges((pack, size, blobs): Wanted, near: bool) -> impl Iterator<Item = (Group<Blob>, Option<u64>)> {
    let place = |(_, at): &Blob| *at;
    let mut groups = if near { coalesce_near(blobs, place) } else { coalesce(blobs, place) };
    if groups.is_empty() {
        groups.push(Group { pack, start: 0, end: 0, items: Vec::new() });
    }
    let last = groups.len() - 1;
    groups.into_iter().enumerate().map(move |(n, group)| (group, (n == last).then_some(size)))
}

/// Fetches blobs and verifies each. `near` is for a store that the thread that verifies reads itself: into buffers that were
/// read into before.
async fn fetch(vault: Vault, group: Group<Blob>, near: Option<Arc<Spare<Vec<u8>>>>) -> Result<Run, PruneError> {
    if group.items.is_empty() {
        return Ok(Run { group, bytes: Vec::new() });
    }
    let (pack, range) = (group.pack, group.start..group.end);
    if let Some(near) = near {
        let on = Handle::current();
        let read = move || {
            let mut bytes = near.take().unwrap_or_default();
            vault.read_pack_range(&on, &pack, range, &mut bytes)?;
            verified(&vault, Run { group, bytes })
        };
        return off_thread(read).await;
    }
    let bytes = vault.load_pack_range(&pack, range).await?.into();
    off_thread(move || verified(&vault, Run { group, bytes })).await
}

/// The seal proves that a blob is what was once stored, whatever that is; to open it would take several times as long.
fn verified(vault: &Vault, run: Run) -> Result<Run, PruneError> {
    for (blob, at) in &run.group.items {
        let damaged = |why: String| PruneError::DamagedBlob { blob: blob.id, pack: run.group.pack, why };
        let sealed =
            run.group.sealed(&run.bytes, at).ok_or_else(|| damaged("it lies beyond the pack's end".to_owned()))?;
        vault.key().prove(sealed).map_err(|error| damaged(chain(&error)))?;
    }
    Ok(run)
}

/// The packs that are being filled, and those on their way.
struct Packer {
    vault: Vault,
    sealer: Option<Sealer>,
    /// Buffers that serve again, where the store is near and threads may wait for it.
    near: Option<Arc<Spare<Vec<u8>>>>,
    open: BTreeMap<BlobType, PackBuilder>,
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
            near: (vault.store().is_near() && has_threads()).then(Arc::default),
            vault,
            open: BTreeMap::new(),
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
        let (vault, spare) = (self.vault.clone(), self.near.clone());
        let near = vault.store().is_near();
        let ranges = wanted.into_iter().flat_map(move |wanted| ranges(wanted, near));
        let fetched = stream::iter(ranges).map(|(group, done)| {
            let (vault, spare, cancel) = (vault.clone(), spare.clone(), cancel.clone());
            // Goes on while blobs of an earlier range are added.
            Ahead::begin(async move {
                if cancel.is_cancelled() {
                    return Err(PruneError::Cancelled);
                }
                Ok((done, fetch(vault, group, spare).await?))
            })
        });
        let concurrent = if near { NEAR_CONCURRENT } else { CONCURRENT };
        let mut fetched = std::pin::pin!(fetched.buffered(concurrent));
        while let Some((done, run)) = fetched.try_next().await? {
            self.add(run).await?;
            if let Some(size) = done {
                monitor.advance(1, size);
            }
        }
        Ok(())
    }

    async fn add(&mut self, run: Run) -> Result<(), PruneError> {
        let (mut open, size) = (std::mem::take(&mut self.open), self.vault.pack_size());
        let near = self.near.clone();
        let fill = move || {
            let mut full = Vec::new();
            for (key, at) in &run.group.items {
                let Some(sealed) = run.group.sealed(&run.bytes, at) else { continue };
                let builder = open.entry(key.kind).or_insert_with(|| PackBuilder::to_fill(key.kind, size));
                builder.add_sealed(key.id, sealed, at.uncompressed).map_err(VaultError::seal)?;
                if builder.is_full(size) {
                    full.extend(open.remove(&key.kind));
                }
            }
            if let Some(near) = near.filter(|_| !run.group.items.is_empty()) {
                near.give(run.bytes);
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
        let weight = u32::try_from(finished.in_memory()).unwrap_or(u32::MAX).min(IN_FLIGHT);
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
            vault.put_pack(finished).await
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

    #[test]
    fn a_pack_is_done_with_its_last_range_and_has_one_if_nothing_of_it_moves() {
        let shape = |offsets: &[u32], near| {
            let at = |&offset: &u32| Located { pack: Id([7; 32]), offset, length: 1 << 20, uncompressed: None };
            let blobs = offsets.iter().map(|offset| (BlobKey::data(Id([1; 32])), at(offset))).collect();
            ranges((Id([7; 32]), 99, blobs), near)
                .map(|(group, done)| (group.pack.0[0], group.items.len(), done))
                .collect::<Vec<_>>()
        };
        assert_eq!(shape(&[], true), [(7, 0, Some(99))]);
        assert_eq!(shape(&[0, 1 << 20, 5 << 20], true), [(7, 1, None), (7, 1, None), (7, 1, Some(99))]);
        assert_eq!(shape(&[0, 1 << 20, 5 << 20], false), [(7, 2, None), (7, 1, Some(99))]);
    }
}
