//! Moving blobs: fetched in ranges, verified, sealed anew, packed, uploaded, proven to have arrived, indexed.
//!
//! Memory is bounded by a few ranges on this side and a budget of bytes on the other, whatever is shipped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

use super::ReplicateError;
use super::gather::Asked;
use super::lost::Lost;
use super::run::{Figures, Verify};
use crate::monitor::{Cancel, Monitor};
use crate::vault::index::PackContents;
use crate::vault::pack::{FinishedPack, PackBuilder, PackError, Sealer};
use crate::vault::ranges::{self, Group};
use crate::vault::{BlobKey, BlobType, FileType, Located, Payload, Vault, VaultError, layout, off_thread};

/// Ranges fetched at the same time.
const FETCHES: usize = 4;
/// Bytes of packs between sealing and proof. A pack that is read back counts twice.
const IN_FLIGHT: u32 = 96 << 20;
/// Blobs that one index file names at most (restic's limit).
const INDEX_BLOBS: usize = 50_000;
/// zstd is not used: blobs are copied as they were compressed.
const LEVEL: i32 = 3;

/// A blob that the copy lacks, and where the source has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Want {
    pub(super) key: BlobKey,
    pub(super) at: Located,
}

/// Fills packs of both types.
struct Packer {
    sealer: Sealer,
    open: BTreeMap<BlobType, PackBuilder>,
    pack_size: u32,
}

impl Packer {
    /// Seals blobs and returns the packs that they filled.
    fn add(&mut self, blobs: &[Payload]) -> Result<Vec<FinishedPack>, PackError> {
        let mut full = Vec::new();
        for blob in blobs {
            let kind = blob.key.kind;
            let pack = self.open.entry(kind).or_insert_with(|| PackBuilder::new(kind));
            pack.add_payload(&mut self.sealer, blob.key.id, &blob.bytes, blob.uncompressed)?;
            if pack.is_full(self.pack_size)
                && let Some(pack) = self.open.remove(&kind)
            {
                full.push(pack.finish(&self.sealer)?);
            }
        }
        Ok(full)
    }

    fn rest(&mut self) -> Result<Vec<FinishedPack>, PackError> {
        let open = std::mem::take(&mut self.open);
        open.into_values().map(|pack| pack.finish(&self.sealer)).collect()
    }
}

/// What is on its way from one vault to the other.
pub(super) struct Shipping {
    source: Vault,
    copy: Vault,
    asked: Arc<Asked>,
    verify: Verify,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
    packer: Arc<Mutex<Packer>>,
    budget: Arc<Semaphore>,
    uploads: JoinSet<Result<(PackContents, u64), ReplicateError>>,
    /// Proven to be in the store, and not yet named by an index file.
    unnamed: Vec<PackContents>,
    figures: Figures,
    /// Blobs and bytes that were asked for, for the monitor.
    asked_for: (u64, u64),
}

impl Shipping {
    pub(super) fn new(
        source: &Vault,
        copy: &Vault,
        asked: Arc<Asked>,
        verify: Verify,
        monitor: Arc<dyn Monitor>,
        cancel: Cancel,
    ) -> Self {
        let packer = Packer { sealer: copy.sealer(LEVEL), open: BTreeMap::new(), pack_size: copy.pack_size() };
        Self {
            source: source.clone(),
            copy: copy.clone(),
            asked,
            verify,
            monitor,
            cancel,
            packer: Arc::new(Mutex::new(packer)),
            budget: Arc::new(Semaphore::new(IN_FLIGHT as usize)),
            uploads: JoinSet::new(),
            unnamed: Vec::new(),
            figures: Figures::default(),
            asked_for: (0, 0),
        }
    }

    pub(super) fn figures(&self) -> Figures {
        self.figures
    }

    /// Ships blobs that were claimed. What cannot be read is added to `lost`, its claim given back; the rest has arrived
    /// for certain only after [`Shipping::settle`].
    pub(super) async fn ship(&mut self, wanted: Vec<Want>, lost: &mut Lost) -> Result<(), ReplicateError> {
        self.asked_for.0 += wanted.len() as u64;
        self.asked_for.1 += wanted.iter().map(|want| u64::from(want.at.length)).sum::<u64>();
        self.monitor.total(self.asked_for.0, self.asked_for.1);
        let (source, asked) = (self.source.clone(), self.asked.clone());
        let fetches = groups(wanted).into_iter().map(|group| {
            let (source, asked) = (source.clone(), asked.clone());
            async move { source.payloads(&asked.from, group, |(_, want)| (want.key, want.at)).await }
        });
        let mut fetches = std::pin::pin!(stream::iter(fetches).buffered(FETCHES));
        while let Some(fetched) = fetches.try_next().await.map_err(ReplicateError::Source)? {
            if self.cancel.is_cancelled() {
                self.settle().await?;
                return Err(ReplicateError::Cancelled);
            }
            for (key, why) in fetched.lost {
                self.asked.to.release(key);
                lost.insert(key, why);
            }
            let (count, packer) = (fetched.opened.len() as u64, self.packer.clone());
            self.figures.blobs += count;
            self.figures.bytes_fetched += fetched.bytes;
            let seal = move || packer.lock().unwrap_or_else(PoisonError::into_inner).add(&fetched.opened);
            for pack in off_thread(seal).await.map_err(ReplicateError::Seal)? {
                self.upload(pack).await?;
            }
            self.monitor.advance(count, fetched.bytes);
        }
        Ok(())
    }

    /// Waits until all that was shipped has arrived and is named by an index file.
    pub(super) async fn settle(&mut self) -> Result<(), ReplicateError> {
        let packer = self.packer.clone();
        let rest = move || packer.lock().unwrap_or_else(PoisonError::into_inner).rest();
        for pack in off_thread(rest).await.map_err(ReplicateError::Seal)? {
            self.upload(pack).await?;
        }
        while let Some(stored) = self.uploads.join_next().await {
            self.stored(stored)?;
        }
        self.name().await
    }

    /// Starts an upload once there is room for it.
    async fn upload(&mut self, pack: FinishedPack) -> Result<(), ReplicateError> {
        while let Some(stored) = self.uploads.try_join_next() {
            self.stored(stored)?;
        }
        if self.unnamed.iter().map(|pack| pack.blobs.len()).sum::<usize>() >= INDEX_BLOBS {
            self.name().await?;
        }
        let times = match self.verify {
            Verify::ReadBack => 2,
            Verify::Structure => 1,
        };
        let weight = u32::try_from(pack.in_memory() * times).unwrap_or(u32::MAX).min(IN_FLIGHT);
        let permit = self.budget.clone().acquire_many_owned(weight).await.expect("the semaphore is never closed");
        let (copy, verify) = (self.copy.clone(), self.verify);
        self.uploads.spawn(async move {
            let _permit = permit;
            let size = pack.size();
            let contents = copy.put_pack(pack).await.map_err(ReplicateError::Copy)?;
            prove(&copy, &contents, size, verify).await?;
            Ok((contents, size))
        });
        Ok(())
    }

    fn stored(
        &mut self,
        stored: Result<Result<(PackContents, u64), ReplicateError>, JoinError>,
    ) -> Result<(), ReplicateError> {
        let (pack, size) = match stored {
            Ok(stored) => stored?,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        };
        self.asked.to.insert(&pack);
        self.figures.packs_uploaded += 1;
        self.figures.bytes_uploaded += size;
        self.unnamed.push(pack);
        Ok(())
    }

    /// Writes an index file over the packs that arrived, and reads it back, which compares it with its name.
    async fn name(&mut self) -> Result<(), ReplicateError> {
        if self.unnamed.is_empty() {
            return Ok(());
        }
        let packs = std::mem::take(&mut self.unnamed);
        let id = self.copy.save_index_of(packs, &self.asked.to).await.map_err(ReplicateError::Copy)?;
        self.copy.load(FileType::Index, &id).await.map_err(ReplicateError::Copy)?;
        Ok(())
    }
}

/// Proves that a pack has arrived, before anything names it.
async fn prove(copy: &Vault, pack: &PackContents, size: u64, verify: Verify) -> Result<(), ReplicateError> {
    let failed = |source| ReplicateError::ReadBack { pack: pack.id, source: Box::new(source) };
    match verify {
        Verify::ReadBack => copy.prove_pack(&pack.id).await.map_err(failed),
        Verify::Structure => {
            let found = copy.store().size(&layout::pack(&pack.id)).await;
            match found.map_err(|error| ReplicateError::Copy(error.into()))? {
                Some(found) if found == size => Ok(()),
                Some(_) | None => Err(failed(VaultError::wrong_size(layout::pack(&pack.id)))),
            }
        }
    }
}

/// Ranges to fetch, in the order in which the walk first wanted something of them.
fn groups(wanted: Vec<Want>) -> Vec<Group<(usize, Want)>> {
    let mut sorted: Vec<(usize, Want)> = wanted.into_iter().enumerate().collect();
    sorted.sort_unstable_by_key(|(turn, want)| (want.at.pack, want.at.offset, *turn));
    let mut groups = ranges::coalesce(sorted, |(_, want)| want.at);
    groups.sort_by_key(|group| group.items.iter().map(|(turn, _)| *turn).min());
    groups
}
