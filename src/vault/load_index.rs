//! From index files to an index.

use std::collections::HashSet;

use futures::{StreamExt, stream};
use tokio::sync::Semaphore;

use super::error::VaultError;
use super::handle::Vault;
use super::id::Id;
use super::index::{self, Index, PackContents, Segment};
use super::index_file::{self, IndexFile};
use super::layout::{self, FileType};
use super::opening::off_thread;
use crate::monitor::Monitor;

/// Index files fetched at the same time.
const CONCURRENT: usize = 16;
/// Bytes of index files, as they are stored, in memory at the same time. With larger ones than usual, one at a time goes
/// on.
const IN_FLIGHT: u32 = 32 << 20;
/// The same for those that are decoded: their JSON and what comes of it take ten times as much.
pub(super) const DECODING: u32 = 6 << 20;

/// How often the listing is read again when files in it were gone: a prune replaces them.
const LISTINGS: usize = 4;

/// What loading may take at a time.
struct Room {
    bytes: Semaphore,
    decoding: Semaphore,
}

/// An index, and the index files that could not be read.
#[derive(Debug)]
pub struct LoadedIndex {
    /// What the other index files say.
    pub index: Index,
    /// The index files that are missing in it, and why, by id.
    pub damaged: Vec<(Id, VaultError)>,
}

impl Vault {
    /// Reads the index. Fails when an index file is damaged: a backup would store again what it does not see, a prune
    /// would delete what it takes for unused.
    pub async fn load_index(&self, monitor: &dyn Monitor) -> Result<Index, VaultError> {
        let loaded = self.load_index_past_damage(monitor).await?;
        match loaded.damaged.into_iter().next() {
            None => Ok(loaded.index),
            Some((_, error)) => Err(error),
        }
    }

    /// Reads the index as far as it can be read.
    ///
    /// An index file that is replaced meanwhile (by a prune) sends us back to the listing, so that the result is what some
    /// listing said, and no mixture.
    pub async fn load_index_past_damage(&self, monitor: &dyn Monitor) -> Result<LoadedIndex, VaultError> {
        let mut listings = 0;
        loop {
            listings += 1;
            let listed = self.list(FileType::Index).await?;
            monitor.total(listed.len() as u64, bytes(&listed));
            let (mut segments, wanted) = self.cached_segments(&listed).await;
            monitor.advance((listed.len() - wanted.len()) as u64, bytes(&listed) - bytes(&wanted));
            let (mut damaged, mut gone) = (Vec::new(), false);
            let room = Room { bytes: Semaphore::new(IN_FLIGHT as usize), decoding: Semaphore::new(DECODING as usize) };
            let room = &room;
            let loads = stream::iter(wanted)
                .map(|(id, size)| async move { (id, size, self.load_segment(id, size, room).await) });
            let mut loads = std::pin::pin!(loads.buffer_unordered(CONCURRENT));
            while let Some((id, size, loaded)) = loads.next().await {
                monitor.advance(1, size);
                match loaded {
                    Ok(segment) => segments.push(segment),
                    Err(error) if error.is_not_found() => {
                        gone = true;
                        damaged.push((id, error));
                    }
                    Err(error @ VaultError::Damaged { .. }) => damaged.push((id, error)),
                    Err(error) => return Err(error),
                }
            }
            if !gone || listings == LISTINGS {
                damaged.sort_by_key(|(id, _)| *id);
                return Ok(LoadedIndex { index: self.assemble(segments).await, damaged });
            }
        }
    }

    /// What one index file says.
    pub async fn load_index_file(&self, id: &Id) -> Result<IndexFile, VaultError> {
        let json = self.load(FileType::Index, id).await?;
        Ok(IndexFile { packs: decode(id, &json)?, marked: index_file::marked(&json) })
    }

    /// Stores an index file that names these packs, which must be in the vault already.
    pub async fn save_index(&self, packs: &[PackContents]) -> Result<Id, VaultError> {
        let json = index_file::encode(packs).map_err(VaultError::seal)?;
        self.save(FileType::Index, &json).await
    }

    /// The same for packs that this run added: `index` then finds their blobs outside of memory, and so does the next run
    /// in the cache.
    pub async fn save_index_of(&self, packs: Vec<PackContents>, index: &Index) -> Result<Id, VaultError> {
        let id = self.save_index(&packs).await?;
        self.settle(vec![id], packs, index).await;
        Ok(id)
    }

    /// Moves packs out of an index's memory; `covers` are the index files that name them, none when nothing is written.
    pub(crate) async fn settle(&self, covers: Vec<Id>, packs: Vec<PackContents>, index: &Index) {
        let (cache, index) = (self.cache().cloned(), index.clone());
        let settle = move || {
            let segment = Segment::build(&covers, &packs)?;
            match cache {
                Some(cache) => index.settle(&packs, cache.store_segment(segment), |small| cache.merge(small)),
                None => index.settle(&packs, segment.aside(), Segment::merge_aside),
            }
        };
        if let Err(error) = off_thread(settle).await {
            // They stay where they are, which costs memory.
            tracing::warn!(%error, "added packs are not settled");
        }
    }

    /// What the cache has of these index files, and those that it does not have.
    async fn cached_segments(&self, listed: &[(Id, u64)]) -> (Vec<Segment>, Vec<(Id, u64)>) {
        let Some(cache) = self.cache().cloned() else { return (Vec::new(), listed.to_vec()) };
        let ids: Vec<Id> = listed.iter().map(|(id, _)| *id).collect();
        let (segments, missing) = off_thread(move || cache.index_segments(&ids)).await;
        let missing: HashSet<Id> = missing.into_iter().collect();
        (segments, listed.iter().filter(|(id, _)| missing.contains(id)).copied().collect())
    }

    /// Fetches an index file and makes a segment of it, which the cache keeps.
    async fn load_segment(&self, id: Id, size: u64, room: &Room) -> Result<Segment, VaultError> {
        let weight = |most| u32::try_from(size).unwrap_or(u32::MAX).clamp(1, most);
        let _bytes = room.bytes.acquire_many(weight(IN_FLIGHT)).await.expect("the semaphore is never closed");
        let stored = self.store().get(&layout::index(&id)).await?;
        let _decoding = room.decoding.acquire_many(weight(DECODING)).await.expect("the semaphore is never closed");
        let vault = self.clone();
        let build = move || {
            let json = vault.unseal(FileType::Index, &id, stored)?;
            let packs = decode(&id, &json)?;
            drop(json);
            let segment = Segment::build(&[id], &packs)?;
            Ok(match vault.cache() {
                Some(cache) => cache.store_segment(segment),
                None => segment.aside(),
            })
        };
        off_thread(build).await
    }

    /// One index of many segments: few, so that a look-up is quick.
    async fn assemble(&self, segments: Vec<Segment>) -> Index {
        let cache = self.cache().cloned();
        let merge = move || match cache {
            Some(cache) => cache.compact(segments),
            None => {
                let (segments, merged) = index::compact(segments, Segment::merge_aside);
                if let Err(error) = merged {
                    tracing::warn!(%error, "index segments stay unmerged");
                }
                segments
            }
        };
        Index::new(off_thread(merge).await)
    }
}

fn decode(id: &Id, json: &[u8]) -> Result<Vec<PackContents>, VaultError> {
    index_file::decode(json).map_err(|error| VaultError::damaged(layout::index(id), error))
}

fn bytes(listed: &[(Id, u64)]) -> u64 {
    listed.iter().map(|(_, size)| size).sum()
}
