//! From index files to an index.

use std::collections::HashMap;

use futures::{StreamExt, stream};

use super::error::VaultError;
use super::handle::Vault;
use super::id::Id;
use super::index::{Index, PackContents, Segment, SegmentError};
use super::index_file;
use super::layout::{self, FileType};
use super::opening::off_thread;
use crate::monitor::Monitor;

/// Index files fetched and decoded at the same time.
const CONCURRENT: usize = 16;

/// How often the listing is read again when files in it were gone: a prune replaces them.
const LISTINGS: usize = 4;

/// Segments that are looked through one by one; more of them are merged.
const FEW_SEGMENTS: usize = 8;

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
        let mut segments: HashMap<Id, Segment> = HashMap::new();
        let mut damaged = Vec::new();
        for attempt in 1..=LISTINGS {
            damaged.clear();
            let listed = self.list(FileType::Index).await?;
            monitor.total(listed.len() as u64, listed.iter().map(|(_, size)| size).sum());
            let mut kept: HashMap<Id, Segment> = HashMap::with_capacity(listed.len());
            let mut wanted = Vec::new();
            for (id, size) in listed {
                match segments.remove(&id) {
                    Some(segment) => _ = kept.insert(id, segment),
                    None => wanted.push((id, size)),
                }
            }
            segments = kept;
            let mut gone = false;
            let loads = stream::iter(wanted).map(|(id, size)| async move { (id, size, self.load_segment(id).await) });
            let mut loads = std::pin::pin!(loads.buffer_unordered(CONCURRENT));
            while let Some((id, size, loaded)) = loads.next().await {
                monitor.advance(1, size);
                match loaded {
                    Ok(segment) => _ = segments.insert(id, segment),
                    Err(error) if error.is_not_found() && attempt < LISTINGS => gone = true,
                    Err(error) if error.is_not_found() || matches!(error, VaultError::Damaged { .. }) => {
                        damaged.push((id, error));
                    }
                    Err(error) => return Err(error),
                }
            }
            if !gone {
                break;
            }
        }
        damaged.sort_by_key(|(id, _)| *id);
        let index = off_thread(move || assemble(segments)).await?;
        Ok(LoadedIndex { index, damaged })
    }

    /// What one index file says.
    pub async fn load_index_file(&self, id: &Id) -> Result<Vec<PackContents>, VaultError> {
        let json = self.load(FileType::Index, id).await?;
        decode(id, &json)
    }

    /// Stores an index file that names these packs, which must be in the vault already.
    pub async fn save_index(&self, packs: &[PackContents]) -> Result<Id, VaultError> {
        let json = index_file::encode(packs).map_err(VaultError::seal)?;
        self.save(FileType::Index, &json).await
    }

    async fn load_segment(&self, id: Id) -> Result<Segment, VaultError> {
        let json = self.load(FileType::Index, &id).await?;
        off_thread(move || Ok(Segment::build(&[id], &decode(&id, &json)?)?)).await
    }
}

fn decode(id: &Id, json: &[u8]) -> Result<Vec<PackContents>, VaultError> {
    index_file::decode(json).map_err(|error| VaultError::damaged(layout::index(id), error))
}

fn assemble(segments: HashMap<Id, Segment>) -> Result<Index, SegmentError> {
    if segments.len() <= FEW_SEGMENTS {
        return Ok(Index::new(segments.into_values().collect()));
    }
    Ok(Index::new(vec![Segment::merge_in_memory(&segments.values().collect::<Vec<_>>())?]))
}
