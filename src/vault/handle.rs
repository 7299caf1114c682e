//! An open vault: its objects, one by one.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::blob::{BlobKey, Located};
use super::cache::Cache;
use super::config::Config;
use super::crypto::MasterKey;
use super::error::{Damage, VaultError};
use super::id::Id;
use super::index::Index;
use super::layout::{self, FileType};
use super::pack::{self, Sealer};
use super::settings::{Chunker, Settings, Sharing};
use super::snapshot::Snapshot;
use super::unpacked;
use crate::clock::Env;
use crate::monitor::Silent;
use crate::store::{ObjectInfo, Store};

/// Snapshots that are remembered: some 10 MiB.
const MOST_REMEMBERED: usize = 10_000;

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
    pub(super) cache: Option<Arc<Cache>>,
    /// Snapshots that this process has read: none ever changes under its id. Only used where there is a cache, so that what
    /// is to be read from the store is.
    pub(super) read: Mutex<HashMap<Id, Snapshot>>,
    /// The index as it was when something that an older one names turned out to be gone.
    pub(super) renewed: tokio::sync::Mutex<Option<Renewed>>,
    /// Locks of ours that nobody holds any more and that could not be removed yet.
    pub(super) given_up: Mutex<BTreeSet<Id>>,
}

/// An index, and the index files that it was loaded from.
#[derive(Debug)]
pub(super) struct Renewed {
    files: Vec<(Id, u64)>,
    index: Index,
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

    /// Whether drctl made or adopted it. Without settings it is as the tool that made it wants it.
    pub fn has_settings(&self) -> bool {
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

    /// The local copy of its index and trees, if there is one.
    pub(super) fn cache(&self) -> Option<&Arc<Cache>> {
        self.0.cache.as_ref()
    }

    pub(super) fn given_up_locks(&self) -> MutexGuard<'_, BTreeSet<Id>> {
        self.0.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A snapshot that was read before.
    pub(super) fn recall(&self, id: &Id) -> Option<Snapshot> {
        self.cache()?;
        self.0.read.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Remembers a snapshot that was read and verified, as long as there are not too many.
    pub(super) fn remember(&self, id: Id, snapshot: &Snapshot) {
        if self.cache().is_some() {
            let mut read = self.0.read.lock().unwrap_or_else(PoisonError::into_inner);
            if read.len() < MOST_REMEMBERED {
                read.insert(id, snapshot.clone());
            }
        }
    }

    /// Forgets what was read of snapshots that are not in the list any more.
    pub(super) fn forget_others(&self, listed: &HashSet<Id>) {
        self.0.read.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| listed.contains(id));
    }

    /// Where a blob lies by now, for a reader who found it in none of its places: a prune beside it may have moved it, which
    /// only those of our own vaults do. The index is loaded anew when its files changed since that was last done.
    pub(super) async fn look_again(&self, key: BlobKey) -> Result<Vec<Located>, VaultError> {
        if self.sharing() == Sharing::Shared {
            return Ok(Vec::new());
        }
        let mut renewed = self.0.renewed.lock().await;
        let files = self.list(FileType::Index).await?;
        if let Some(known) = renewed.as_ref().filter(|known| known.files == files) {
            return Ok(known.index.get_all(key));
        }
        tracing::info!(blob = %key.id, "not where the index said: the index is read again");
        let index = self.load_index_past_damage(&Silent).await?.index;
        let places = index.get_all(key);
        *renewed = Some(Renewed { files, index });
        Ok(places)
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
        self.unseal(kind, id, self.0.store.get(&layout::object(kind, id)).await?)
    }

    /// What [`Vault::load`] makes of an object as it is stored.
    pub(super) fn unseal(&self, kind: FileType, id: &Id, stored: Bytes) -> Result<Vec<u8>, VaultError> {
        let object = || layout::object(kind, id);
        let found = Id::of(&stored);
        if found != *id {
            return Err(VaultError::damaged(object(), Damage::NotItsName(found)));
        }
        match kind {
            FileType::Key | FileType::Pack => Ok(stored.into()),
            FileType::Index | FileType::Snapshot | FileType::Lock => {
                unpacked::open(&self.0.key, &stored).map_err(|error| VaultError::damaged(object(), error))
            }
        }
    }

    /// Stores an object and returns its id: JSON, sealed, or a key file or a pack as it is. Durable when it returns.
    pub async fn save(&self, kind: FileType, content: &[u8]) -> Result<Id, VaultError> {
        self.writable()?;
        let (id, bytes) = self.seal(kind, content)?;
        self.0.store.put(&layout::object(kind, &id), bytes).await?;
        Ok(id)
    }

    /// An object as it will be stored, and the id that it will have.
    pub(super) fn seal(&self, kind: FileType, content: &[u8]) -> Result<(Id, Bytes), VaultError> {
        let bytes = match kind {
            FileType::Key | FileType::Pack => content.to_vec(),
            FileType::Index | FileType::Snapshot | FileType::Lock => {
                unpacked::seal(&self.0.key, &*self.0.env.random, content).map_err(VaultError::seal)?
            }
        };
        Ok((Id::of(&bytes), bytes.into()))
    }

    /// Removes an object. One that is gone already is fine.
    pub async fn remove(&self, kind: FileType, id: &Id) -> Result<(), VaultError> {
        self.writable()?;
        Ok(self.0.store.delete(&layout::object(kind, id)).await?)
    }

    /// Every object of a type with its size in bytes, by id. What is named otherwise is passed over.
    pub async fn list(&self, kind: FileType) -> Result<Vec<(Id, u64)>, VaultError> {
        Ok(self.list_objects(kind).await?.into_iter().map(|(id, object)| (id, object.size)).collect())
    }

    /// The same with all that the listing says of each object.
    pub async fn list_objects(&self, kind: FileType) -> Result<Vec<(Id, ObjectInfo)>, VaultError> {
        let listed = self.0.store.list(kind.folder()).await?;
        Ok(listed.into_iter().filter_map(|object| Some((layout::parse(kind, &object.key)?, object))).collect())
    }
}
