//! Packs and the blobs in them: stored, fetched, opened, removed.
//!
//! Packs of trees are kept in the local cache, if there is one and the store is not local itself. Nothing in the cache is
//! trusted: a blob that does not open from there is fetched from the vault.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::blob::{BlobKey, BlobType, Located};
use super::cache::Cache;
use super::error::{Damage, VaultError};
use super::handle::Vault;
use super::id::Id;
use super::index::{Index, PackContents};
use super::layout;
use super::lock::LockGuard;
use super::opening::off_thread;
use super::pack::{self, Body, FinishedPack, PackBuilder, PackError, open_blob};
use crate::store::{StoreError, StoreErrorKind};

/// Bytes at a pack's end that are fetched first: most headers are shorter.
const HEADER_GUESS: u64 = 64 << 10;

/// Removals of packs that go on side by side in a store that answers at once.
const REMOVERS: usize = 4;

impl Vault {
    /// An empty pack, for a thread that may wait. Where the vault is a folder of this machine, little of it is ever in memory.
    pub fn pack_to_fill(&self, kind: BlobType) -> PackBuilder {
        if self.store().has_drafts() {
            PackBuilder::to_write(kind, self.store().clone(), layout::UNNAMED_PACKS)
        } else {
            PackBuilder::to_fill(kind, self.pack_size())
        }
    }

    /// Stores a pack and says what is in it. Durable when it returns; nobody finds its blobs before an index file names it.
    pub async fn put_pack(&self, pack: FinishedPack) -> Result<PackContents, VaultError> {
        self.writable()?;
        let (contents, key) = (PackContents::from(&pack), layout::pack(&pack.id));
        match pack.body {
            Body::Draft(draft) => draft.publish(&key).await?,
            Body::Memory(bytes) => {
                self.store().put(&key, bytes.clone()).await?;
                if let Some(cache) = self.tree_cache(pack.kind) {
                    keep(cache, pack.id, bytes).await;
                }
            }
        }
        Ok(contents)
    }

    /// Removes packs; goes on past failures and returns the first.
    pub async fn remove_packs(&self, ids: &[Id]) -> Result<(), VaultError> {
        self.remove_packs_while(ids, || true).await
    }

    /// The same, but removes none that is left once the lock is lost: whoever comes then may rely on them.
    pub async fn remove_packs_under(&self, lock: &LockGuard, ids: &[Id]) -> Result<(), VaultError> {
        self.remove_packs_while(ids, lock.watch()).await?;
        lock.check()
    }

    async fn remove_packs_while(
        &self,
        ids: &[Id],
        may: impl Fn() -> bool + Clone + Send + 'static,
    ) -> Result<(), VaultError> {
        self.writable()?;
        if let Some(cache) = self.cache() {
            ids.iter().for_each(|id| cache.forget_pack(id));
        }
        // A file system takes its time for each, and does several at once; servers take many in one request.
        let at_once = if self.store().is_near() { ids.len().div_ceil(REMOVERS) } else { ids.len() };
        let parts = ids.chunks(at_once.max(1));
        let removals =
            parts.map(|part| self.store().delete_while(part.iter().map(layout::pack).collect(), may.clone()));
        let removed = futures::future::join_all(removals).await;
        Ok(removed.into_iter().collect::<Result<(), _>>()?)
    }

    /// Bytes of a pack, as stored. A pack that ends earlier is damaged.
    pub async fn load_pack_range(&self, pack: &Id, range: Range<u64>) -> Result<Bytes, VaultError> {
        let object = layout::pack(pack);
        self.store().get_range(&object, range).await.map_err(|error| in_pack(object, error))
    }

    /// The same for a thread that may wait, with a buffer that serves again and again
    /// ([`Store::read_range`](crate::store::Store::read_range)).
    pub fn read_pack_range<'b>(
        &self,
        on: &Handle,
        pack: &Id,
        range: Range<u64>,
        buffer: &'b mut Vec<u8>,
    ) -> Result<&'b [u8], VaultError> {
        let object = layout::pack(pack);
        self.store().read_range(on, &object, range, buffer).map_err(|error| in_pack(object, error))
    }

    /// Reads a pack whole from the store and compares it with its name.
    pub async fn prove_pack(&self, id: &Id) -> Result<(), VaultError> {
        let object = layout::pack(id);
        let bytes = self.store().get(&object).await.map_err(|error| match error.kind {
            StoreErrorKind::Truncated | StoreErrorKind::NotFound => VaultError::damaged(object.as_str(), error),
            _ => error.into(),
        })?;
        match off_thread(move || Id::of(&bytes)).await {
            found if found == *id => Ok(()),
            found => Err(VaultError::damaged(object, Damage::NotItsName(found))),
        }
    }

    /// What a pack of `size` bytes says that it holds, without reading all of it.
    pub async fn read_pack_header(&self, id: &Id, size: u64) -> Result<PackContents, VaultError> {
        let damaged = |error: PackError| VaultError::damaged(layout::pack(id), error);
        let guess = size.min(HEADER_GUESS);
        let mut tail = self.load_pack_range(id, size - guess..size).await?;
        let Some(trailer) = tail.last_chunk::<4>() else {
            return Err(damaged(PackError::Header("the pack is too short")));
        };
        let len = u64::from(pack::header_len(*trailer, size).map_err(damaged)?);
        if len + 4 > guess {
            tail = self.load_pack_range(id, size - len - 4..size).await?;
        }
        let header_end = tail.len() - 4;
        let header = usize::try_from(len).ok().and_then(|len| tail.get(header_end.checked_sub(len)?..header_end));
        let header = header.ok_or_else(|| damaged(PackError::Header("the pack is too short")))?;
        pack::parse_header(self.key(), *id, header, size).map_err(damaged)
    }

    /// A blob's plaintext, verified. Every place where it lies is tried before this fails.
    pub async fn load_blob(&self, index: &Index, key: BlobKey) -> Result<Vec<u8>, VaultError> {
        match self.load_blob_from(&index.get_all(key), key).await {
            Err(error) if error.is_not_found() => match self.look_again(key).await? {
                places if places.is_empty() => Err(error),
                places => self.load_blob_from(&places, key).await,
            },
            loaded => loaded,
        }
    }

    async fn load_blob_from(&self, places: &[Located], key: BlobKey) -> Result<Vec<u8>, VaultError> {
        let mut failed = VaultError::NoBlob { kind: key.kind, id: key.id };
        for at in places {
            if let Some(plain) = self.cached_blob(key, at) {
                return Ok(plain);
            }
            match self.fetch_blob(key, at).await {
                Ok(plain) => return Ok(plain),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn cached_blob(&self, key: BlobKey, at: &Located) -> Option<Vec<u8>> {
        let cache = self.tree_cache(key.kind)?;
        let sealed = cache.pack_range(&at.pack, range(at))?;
        let opened = open_blob(self.key(), &key.id, &sealed, at.uncompressed);
        opened.inspect_err(|_| cache.forget_pack(&at.pack)).ok()
    }

    async fn fetch_blob(&self, key: BlobKey, at: &Located) -> Result<Vec<u8>, VaultError> {
        let cache = self.tree_cache(key.kind);
        let sealed = match cache.and_then(|cache| Some((cache, cache.begin_fetch(&at.pack)?))) {
            Some((cache, _fetching)) => self.fetch_and_keep(cache, at).await?,
            None => self.load_pack_range(&at.pack, range(at)).await?,
        };
        open_blob(self.key(), &key.id, &sealed, at.uncompressed)
            .map_err(|error| VaultError::damaged(layout::pack(&at.pack), error))
    }

    /// Fetches the whole pack: its other trees will be wanted next. One that does not match its name is not kept.
    async fn fetch_and_keep(&self, cache: &Arc<Cache>, at: &Located) -> Result<Bytes, VaultError> {
        let whole = self.store().get(&layout::pack(&at.pack)).await?;
        let (start, end) = (at.offset as usize, at.offset as usize + at.length as usize);
        if whole.len() < end {
            return Err(VaultError::damaged(layout::pack(&at.pack), PackError::Header("the pack is too short")));
        }
        let sealed = whole.slice(start..end);
        if Id::of(&whole) == at.pack {
            keep(cache, at.pack, whole).await;
        }
        Ok(sealed)
    }

    /// The cache for packs of this type. A local store is as near as a cache would be.
    fn tree_cache(&self, kind: BlobType) -> Option<&Arc<Cache>> {
        match kind {
            BlobType::Data => None,
            BlobType::Tree => self.cache().filter(|_| !self.store().url().starts_with("file:")),
        }
    }
}

async fn keep(cache: &Arc<Cache>, id: Id, bytes: Bytes) {
    let cache = cache.clone();
    off_thread(move || cache.store_pack(&id, &bytes)).await;
}

fn in_pack(object: String, error: StoreError) -> VaultError {
    match error.kind {
        StoreErrorKind::Truncated => VaultError::damaged(object, error),
        _ => error.into(),
    }
}

fn range(at: &Located) -> Range<u64> {
    let start = u64::from(at.offset);
    start..start + u64::from(at.length)
}
