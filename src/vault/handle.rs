//! An open vault: its objects, one by one.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::config::Config;
use super::crypto::MasterKey;
use super::error::{Damage, VaultError};
use super::id::Id;
use super::index::{Index, PackContents};
use super::layout::{self, FileType};
use super::opening::CacheMode;
use super::pack::{self, FinishedPack, PackError, Sealer, open_blob};
use super::settings::{Chunker, Settings, Sharing};
use super::{BlobKey, unpacked};
use crate::clock::Env;
use crate::store::{Store, StoreErrorKind};

/// Bytes at a pack's end that are fetched first: most headers are shorter.
const HEADER_GUESS: u64 = 64 << 10;

/// An open vault. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Vault(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) env: Env,
    pub(super) key: Arc<MasterKey>,
    /// The key file that opens it; another after its password was changed.
    pub(super) key_id: Mutex<Id>,
    pub(super) config: Config,
    pub(super) settings: Option<Settings>,
    pub(super) chunker: Chunker,
    pub(super) cache: CacheMode,
}

impl Vault {
    pub(super) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The vault's own id, 64 hex digits.
    pub fn id(&self) -> &str {
        &self.0.config.id
    }

    /// The store that it lies in.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The key that everything in it is sealed with.
    pub fn key(&self) -> &Arc<MasterKey> {
        &self.0.key
    }

    /// The key file that opens it for us.
    pub fn key_id(&self) -> Id {
        *self.0.key_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_key_id(&self, id: Id) {
        *self.0.key_id.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    /// Clock and randomness.
    pub fn env(&self) -> &Env {
        &self.0.env
    }

    /// What its files are cut with.
    pub fn chunker(&self) -> &Chunker {
        &self.0.chunker
    }

    /// The version of restic's format.
    pub fn version(&self) -> u32 {
        self.0.config.version
    }

    /// Whether drctl made it, rather than restic or rustic.
    pub fn is_native(&self) -> bool {
        self.0.settings.is_some()
    }

    /// Who else may write to it. One that another tool made is shared.
    pub fn sharing(&self) -> Sharing {
        self.0.settings.as_ref().map_or(Sharing::Shared, |settings| settings.sharing)
    }

    /// Bytes that packs are filled up to.
    pub fn pack_size(&self) -> u32 {
        self.0.settings.as_ref().map_or(pack::DEFAULT_PACK_SIZE, |settings| settings.pack_size)
    }

    /// Where its index and trees may be kept between runs.
    pub fn cache(&self) -> &CacheMode {
        &self.0.cache
    }

    /// Means to seal blobs, for one thread. `level` is zstd's.
    pub fn sealer(&self, level: i32) -> Sealer {
        Sealer::new(self.0.key.clone(), self.0.env.random.clone(), level)
    }

    /// Refuses to write where only reading is supported.
    pub fn writable(&self) -> Result<(), VaultError> {
        if self.version() < super::config::VERSION {
            return Err(VaultError::OldVersion { url: self.store().url().to_owned() });
        }
        Ok(())
    }

    /// An object's content, verified against its name: the JSON of an index file, a snapshot or a lock; a key file or a
    /// pack as it is stored.
    pub async fn load(&self, kind: FileType, id: &Id) -> Result<Vec<u8>, VaultError> {
        let object = layout::object(kind, id);
        let stored = self.0.store.get(&object).await?;
        let found = Id::of(&stored);
        if found != *id {
            return Err(VaultError::damaged(object, Damage::NotItsName(found)));
        }
        match kind {
            FileType::Key | FileType::Pack => Ok(stored.into()),
            FileType::Index | FileType::Snapshot | FileType::Lock => {
                unpacked::open(&self.0.key, &stored).map_err(|error| VaultError::damaged(object, error))
            }
        }
    }

    /// Stores an object and returns its id: JSON, sealed, or a key file or a pack as it is. Durable when it returns.
    pub async fn save(&self, kind: FileType, content: &[u8]) -> Result<Id, VaultError> {
        self.writable()?;
        let bytes = match kind {
            FileType::Key | FileType::Pack => content.to_vec(),
            FileType::Index | FileType::Snapshot | FileType::Lock => {
                unpacked::seal(&self.0.key, &*self.0.env.random, content).map_err(VaultError::seal)?
            }
        };
        let id = Id::of(&bytes);
        self.0.store.put(&layout::object(kind, &id), bytes.into()).await?;
        Ok(id)
    }

    /// Removes an object. One that is gone already is fine.
    pub async fn remove(&self, kind: FileType, id: &Id) -> Result<(), VaultError> {
        self.writable()?;
        Ok(self.0.store.delete(&layout::object(kind, id)).await?)
    }

    /// Removes packs; goes on past failures and returns the first.
    pub async fn remove_packs(&self, ids: &[Id]) -> Result<(), VaultError> {
        self.writable()?;
        Ok(self.0.store.delete_many(ids.iter().map(layout::pack).collect()).await?)
    }

    /// Every object of a type with its size in bytes, by id. What is named otherwise is passed over.
    pub async fn list(&self, kind: FileType) -> Result<Vec<(Id, u64)>, VaultError> {
        let listed = self.0.store.list(kind.folder()).await?;
        Ok(listed.into_iter().filter_map(|object| Some((layout::parse(kind, &object.key)?, object.size))).collect())
    }

    /// Stores a pack. Durable when it returns; nobody finds its blobs before an index file names it.
    pub async fn put_pack(&self, pack: &FinishedPack) -> Result<(), VaultError> {
        self.writable()?;
        Ok(self.0.store.put(&layout::pack(&pack.id), pack.bytes.clone()).await?)
    }

    /// Bytes of a pack, as stored. A pack that ends earlier is damaged.
    pub async fn load_pack_range(&self, pack: &Id, range: Range<u64>) -> Result<Bytes, VaultError> {
        let object = layout::pack(pack);
        self.0.store.get_range(&object, range).await.map_err(|error| match error.kind {
            StoreErrorKind::Truncated => VaultError::damaged(object, error),
            _ => error.into(),
        })
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
        pack::parse_header(&self.0.key, *id, header, size).map_err(damaged)
    }

    /// A blob's plaintext, verified. Every place where it lies is tried before this fails.
    pub async fn load_blob(&self, index: &Index, key: BlobKey) -> Result<Vec<u8>, VaultError> {
        let mut failed = VaultError::NoBlob { kind: key.kind, id: key.id };
        for at in index.get_all(key) {
            let start = u64::from(at.offset);
            let opened = match self.load_pack_range(&at.pack, start..start + u64::from(at.length)).await {
                Ok(sealed) => open_blob(&self.0.key, &key.id, &sealed, at.uncompressed)
                    .map_err(|error| VaultError::damaged(layout::pack(&at.pack), error)),
                Err(error) => Err(error),
            };
            match opened {
                Ok(plain) => return Ok(plain),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}
