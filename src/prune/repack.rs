//! Moving needed blobs into new packs, each seal verified on the way.
//!
//! From a distant store several ranges of packs are fetched and verified at the same time; their blobs are put together by
//! one task, in order. In a folder of this machine each processor has a thread that moves blobs into packs of its own. New
//! packs are named by index files as soon as there are enough blobs for one: a crash leaves blobs that lie twice. Memory is
//! bounded by what is in flight.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::PruneError;
use super::decision::{PrunePlan, Repacked};
use super::mover::{self, Blob, Open, Wanted, add, verify};
use super::plan::{Entries, Needed};
use crate::monitor::{Cancel, Monitor, Silent};
use crate::store::StoreErrorKind;
use crate::vault::index::PackContents;
use crate::vault::index_file::BLOBS_PER_FILE;
use crate::vault::pack::{FinishedPack, PackBuilder, Sealer};
use crate::vault::ranges::{Group, coalesce};
use crate::vault::{Ahead, BlobKey, Id, IndexFiles, Located, Vault, VaultError, chain, has_threads, off_thread};

/// Ranges of packs fetched and verified while blobs of another are added.
const CONCURRENT: usize = 3;
/// Bytes of finished packs that are not stored yet. With larger ones than usual, one at a time goes on.
const IN_FLIGHT: u32 = 64 << 20;
/// Blobs of which it is known at the same time that they move.
const KNOWN: u64 = 250_000;

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
fn ranges((pack, size, blobs): Wanted) -> impl Iterator<Item = (Group<Blob>, Option<u64>)> {
    let mut groups = coalesce(blobs, |(_, at)| *at);
    if groups.is_empty() {
        groups.push(Group { pack, start: 0, end: 0, items: Vec::new() });
    }
    let last = groups.len() - 1;
    groups.into_iter().enumerate().map(move |(n, group)| (group, (n == last).then_some(size)))
}

/// Fetches blobs and verifies each.
async fn fetch(vault: Vault, group: Group<Blob>) -> Result<(Group<Blob>, Bytes), PruneError> {
    if group.items.is_empty() {
        return Ok((group, Bytes::new()));
    }
    let bytes = vault.load_pack_range(&group.pack, group.start..group.end).await?;
    off_thread(move || verify(&vault, &group, &bytes).map(|()| (group, bytes))).await
}

/// The packs that are being filled, and those on their way.
struct Packer {
    vault: Vault,
    sealer: Sealer,
    /// Of each thread that moves blobs.
    open: Vec<Open>,
    budget: Arc<Semaphore>,
    uploads: JoinSet<Result<PackContents, VaultError>>,
    unnamed: Vec<PackContents>,
    indexes: HashSet<Id>,
    written: u64,
}

impl Packer {
    fn new(vault: Vault) -> Self {
        Self {
            sealer: vault.sealer(mover::LEVEL),
            vault,
            open: Vec::new(),
            budget: Arc::new(Semaphore::new(IN_FLIGHT as usize)),
            uploads: JoinSet::new(),
            unnamed: Vec::new(),
            indexes: HashSet::new(),
            written: 0,
        }
    }

    /// Moves these blobs into packs.
    async fn take(
        &mut self,
        wanted: Vec<Wanted>,
        monitor: &Arc<dyn Monitor>,
        cancel: &Cancel,
    ) -> Result<(), PruneError> {
        // Where packs are not written while they are filled, those of several threads take too much memory.
        if self.vault.store().is_near() && self.vault.store().has_drafts() && has_threads() {
            self.take_near(wanted, monitor, cancel).await
        } else {
            self.take_in_order(wanted, monitor, cancel).await
        }
    }

    async fn take_near(
        &mut self,
        wanted: Vec<Wanted>,
        monitor: &Arc<dyn Monitor>,
        cancel: &Cancel,
    ) -> Result<(), PruneError> {
        let (movers, mut full) = mover::begin(&self.vault, std::mem::take(&mut self.open), wanted, monitor, cancel);
        let mut done = Ok(());
        while let Some(pack) = full.recv().await {
            done = self.upload(pack).await;
            if done.is_err() {
                movers.stop();
                break;
            }
        }
        drop(full);
        match (movers.end().await, done) {
            (Ok(open), done) => {
                self.open = open;
                done
            }
            // What stopped them is what matters, not that they stopped.
            (Err(error), Ok(())) => Err(error),
            (Err(_), done) => done,
        }
    }

    /// Fetches blobs of packs, and adds them in this order.
    async fn take_in_order(
        &mut self,
        wanted: Vec<Wanted>,
        monitor: &Arc<dyn Monitor>,
        cancel: &Cancel,
    ) -> Result<(), PruneError> {
        let vault = self.vault.clone();
        let fetched = stream::iter(wanted.into_iter().flat_map(ranges)).map(|(group, done)| {
            let (vault, cancel) = (vault.clone(), cancel.clone());
            // Goes on while blobs of an earlier range are added.
            Ahead::begin(async move {
                if cancel.is_cancelled() {
                    return Err(PruneError::Cancelled);
                }
                Ok((done, fetch(vault, group).await?))
            })
        });
        let mut fetched = std::pin::pin!(fetched.buffered(CONCURRENT));
        while let Some((done, (group, bytes))) = fetched.try_next().await? {
            let (vault, mut open) = (self.vault.clone(), self.open.pop().unwrap_or_default());
            let added = move || add(&vault, &mut open, &group, &bytes).map(|full| (open, full));
            let (open, full) = off_thread(added).await?;
            self.open.push(open);
            for pack in full {
                self.finish_one(pack).await?;
            }
            if let Some(size) = done {
                monitor.advance(1, size);
            }
        }
        Ok(())
    }

    async fn finish_one(&mut self, pack: PackBuilder) -> Result<(), PruneError> {
        let finished = pack.finish(&self.sealer).map_err(VaultError::pack)?;
        self.upload(finished).await
    }

    async fn upload(&mut self, pack: FinishedPack) -> Result<(), PruneError> {
        let weight = u32::try_from(pack.size()).unwrap_or(u32::MAX).min(IN_FLIGHT);
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
            vault.put_pack(pack).await
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
        let (open, target) = (std::mem::take(&mut self.open), self.vault.pack_size());
        let joined = off_thread(move || {
            let (mut last, mut packs) = (Open::new(), Vec::new());
            for (kind, pack) in open.into_iter().flatten() {
                let (rest, done) = match last.remove(&kind) {
                    None => (pack, None),
                    Some(other) => pack.join(other, target).map_err(VaultError::pack)?,
                };
                last.insert(kind, rest);
                packs.extend(done);
            }
            packs.extend(last.into_values());
            Ok::<_, VaultError>(packs)
        });
        for pack in joined.await? {
            self.finish_one(pack).await?;
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
        let shape = |offsets: &[u32]| {
            let at = |&offset: &u32| Located { pack: Id([7; 32]), offset, length: 1 << 20, uncompressed: None };
            let blobs = offsets.iter().map(|offset| (BlobKey::data(Id([1; 32])), at(offset))).collect();
            ranges((Id([7; 32]), 99, blobs))
                .map(|(group, done)| (group.pack.0[0], group.items.len(), done))
                .collect::<Vec<_>>()
        };
        assert_eq!(shape(&[]), [(7, 0, Some(99))]);
        assert_eq!(shape(&[0, 1 << 20, 5 << 20]), [(7, 2, None), (7, 1, Some(99))]);
    }
}
