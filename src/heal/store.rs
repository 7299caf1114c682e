//! Storing what was found: sealed into new packs, uploaded, read back whole, and then named by index files.
//!
//! A crash leaves packs, with or without an index file, that hold what other packs hold, too. Memory is bounded by a budget
//! of bytes between sealing and proof.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::HealError;
use crate::vault::index_file::BLOBS_PER_FILE;
use crate::vault::pack::{FinishedPack, PackBuilder, PackError, Sealer};
use crate::vault::{BlobKey, BlobType, PackContents, Payload, Vault, off_thread};

/// Bytes of packs between sealing and proof; each counts twice, as it is read back.
const IN_FLIGHT: u32 = 96 << 20;
/// zstd's, for what comes from files; all else stays compressed as it was.
const LEVEL: i32 = 3;

/// A blob that was verified against its id.
pub(super) enum Found {
    /// As it came out of a seal.
    Payload(Payload),
    /// The plaintext of a data blob.
    Plain(BlobKey, Vec<u8>),
}

impl Found {
    fn key(&self) -> BlobKey {
        match self {
            Self::Payload(payload) => payload.key,
            Self::Plain(key, _) => *key,
        }
    }
}

struct Packer {
    sealer: Sealer,
    open: BTreeMap<BlobType, PackBuilder>,
    pack_size: u32,
}

impl Packer {
    fn add(&mut self, blobs: &[Found]) -> Result<Vec<FinishedPack>, PackError> {
        let mut full = Vec::new();
        for blob in blobs {
            let kind = blob.key().kind;
            let pack = self.open.entry(kind).or_insert_with(|| PackBuilder::new(kind));
            match blob {
                Found::Payload(it) => pack.add_payload(&mut self.sealer, it.key.id, &it.bytes, it.uncompressed)?,
                Found::Plain(key, plain) => pack.add(&mut self.sealer, key.id, plain)?,
            };
            if pack.is_full(self.pack_size)
                && let Some(pack) = self.open.remove(&kind)
            {
                full.push(pack.finish(&self.sealer)?);
            }
        }
        Ok(full)
    }

    fn rest(&mut self) -> Result<Vec<FinishedPack>, PackError> {
        std::mem::take(&mut self.open).into_values().map(|pack| pack.finish(&self.sealer)).collect()
    }
}

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Blobs that lie in new packs now, which index files name.
    pub(super) blobs: HashSet<BlobKey>,
    pub(super) packs: u64,
    pub(super) bytes: u64,
}

/// Blobs on their way into the vault.
pub(super) struct Writer {
    vault: Vault,
    packer: Arc<Mutex<Packer>>,
    budget: Arc<Semaphore>,
    uploads: JoinSet<Result<(PackContents, u64), HealError>>,
    unnamed: Vec<PackContents>,
    taken: HashSet<BlobKey>,
    written: Written,
}

impl Writer {
    pub(super) fn new(vault: &Vault) -> Self {
        let packer = Packer { sealer: vault.sealer(LEVEL), open: BTreeMap::new(), pack_size: vault.pack_size() };
        Self {
            vault: vault.clone(),
            packer: Arc::new(Mutex::new(packer)),
            budget: Arc::new(Semaphore::new(IN_FLIGHT as usize)),
            uploads: JoinSet::new(),
            unnamed: Vec::new(),
            taken: HashSet::new(),
            written: Written::default(),
        }
    }

    /// Takes verified blobs, each once. They are there for certain only after [`Writer::finish`].
    pub(super) async fn add(&mut self, mut blobs: Vec<Found>) -> Result<u64, HealError> {
        blobs.retain(|blob| self.taken.insert(blob.key()));
        let (count, packer) = (blobs.len() as u64, self.packer.clone());
        let seal = move || packer.lock().unwrap_or_else(PoisonError::into_inner).add(&blobs);
        for pack in off_thread(seal).await.map_err(HealError::Seal)? {
            self.upload(pack).await?;
        }
        Ok(count)
    }

    /// Waits until all of it has arrived, was read back, and is named.
    pub(super) async fn finish(mut self) -> Result<Written, HealError> {
        let packer = self.packer.clone();
        let rest = move || packer.lock().unwrap_or_else(PoisonError::into_inner).rest();
        for pack in off_thread(rest).await.map_err(HealError::Seal)? {
            self.upload(pack).await?;
        }
        while let Some(stored) = self.uploads.join_next().await {
            self.stored(stored)?;
        }
        self.name().await?;
        Ok(self.written)
    }

    async fn upload(&mut self, pack: FinishedPack) -> Result<(), HealError> {
        while let Some(stored) = self.uploads.try_join_next() {
            self.stored(stored)?;
        }
        if self.unnamed.iter().map(|pack| pack.blobs.len()).sum::<usize>() >= BLOBS_PER_FILE {
            self.name().await?;
        }
        let weight = u32::try_from(pack.in_memory() * 2).unwrap_or(u32::MAX).min(IN_FLIGHT);
        let permit = self.budget.clone().acquire_many_owned(weight).await.expect("the semaphore is never closed");
        let vault = self.vault.clone();
        self.uploads.spawn(async move {
            let _permit = permit;
            let size = pack.size();
            let contents = vault.put_pack(pack).await?;
            let proven = vault.prove_pack(&contents.id).await;
            proven.map_err(|source| HealError::ReadBack { pack: contents.id, source: Box::new(source) })?;
            Ok((contents, size))
        });
        Ok(())
    }

    fn stored(
        &mut self,
        stored: Result<Result<(PackContents, u64), HealError>, tokio::task::JoinError>,
    ) -> Result<(), HealError> {
        let (pack, size) = stored.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))?;
        self.written.packs += 1;
        self.written.bytes += size;
        self.unnamed.push(pack);
        Ok(())
    }

    async fn name(&mut self) -> Result<(), HealError> {
        let keys: Vec<BlobKey> = self.unnamed.iter().flat_map(|pack| &pack.blobs).map(|(key, _)| *key).collect();
        self.vault.save_indexes(&mut self.unnamed).await?;
        self.written.blobs.extend(keys);
        Ok(())
    }
}
