//! Making vaults and opening them.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{self, Poll};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;

use super::cache::Cache;
use super::condemned;
use super::config::Config;
use super::crypto::{CryptoError, MasterKey};
use super::error::{Damage, VaultError};
use super::handle::{Inner, Vault};
use super::id::Id;
use super::key::{KdfCost, KeyError, KeyFile, Secret};
use super::keys::put_key;
use super::layout::{self, CONFIG, FileType, SETTINGS};
use super::pack::DEFAULT_PACK_SIZE;
use super::settings::{Chunker, ChunkerSetting, Settings, Sharing};
use super::vacant::remains;
use crate::clock::Env;
use crate::store::{ObjectInfo, PutNew, Store, StoreError, StoreErrorKind};

/// Key files have some 450 bytes; what has more than this many is none.
const MAX_KEY_FILE: u64 = 64 << 10;

/// What files of a new vault are cut with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewChunker {
    /// drctl's own, which is faster, under a secret of the vault.
    #[default]
    Gear,
    /// restic's, so that what both tools back up is stored once.
    Rabin,
}

/// How a vault is made.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// What files are cut with.
    pub chunker: NewChunker,
    /// Another vault's chunker to take over instead, so that copies between the two share blobs.
    pub same_chunks_as: Option<Chunker>,
    /// What trying a password costs.
    pub cost: KdfCost,
    /// Bytes that packs are filled up to. Stock tools take 4 to 128 MiB.
    pub pack_size: u32,
    /// Who will write to it.
    pub sharing: Sharing,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self {
            chunker: NewChunker::default(),
            same_chunks_as: None,
            cost: KdfCost::default(),
            pack_size: DEFAULT_PACK_SIZE,
            sharing: Sharing::default(),
        }
    }
}

/// Where index and trees may be kept between runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// Nowhere.
    #[default]
    Off,
    /// In this folder, by vault.
    At(PathBuf),
}

/// How a vault is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The local cache. Whoever means to prove that the vault itself is whole takes [`CacheMode::Off`].
    pub cache: CacheMode,
}

impl Vault {
    /// Makes a vault.
    ///
    /// Refuses a place that holds one, or something else ([`Vault::may_be_made`]). Writes a key file, the settings, what only
    /// vaults of our own have, and last
    /// the configuration, if there is none: that is the moment from which there is a vault. A crash before it leaves a
    /// key file and perhaps settings; opening then says [`VaultError::Unfinished`], and a second try with the same password
    /// goes on with them. Of two who race, one gets the vault; the other takes its key file back.
    pub async fn init(store: Store, password: &Secret, options: &InitOptions, env: &Env) -> Result<Self, VaultError> {
        Self::may_be_made(&store).await?;
        let left = store.list(FileType::Key.folder()).await?;
        let (key, key_id, made) = if left.is_empty() {
            let key = Arc::new(MasterKey::generate(&*env.random).map_err(VaultError::seal)?);
            let id = put_key(&store, key.clone(), password, options.cost, env).await?;
            (key, id, true)
        } else {
            match try_keys(&store, left, password, |_| Ok(())).await? {
                Ok((id, key, ())) => (Arc::new(key), id, false),
                Err(_) => return Err(unfinished(&store)),
            }
        };
        match commit(&store, &key, options, env).await {
            Ok((config, settings)) => Ok(Self::new(Inner {
                chunker: chunker(&config, Some(&settings)),
                store,
                env: env.clone(),
                key,
                key_id: Mutex::new(key_id),
                config,
                settings: Some(settings),
                cache: None,
                read: Mutex::default(),
                renewed: tokio::sync::Mutex::default(),
                given_up: Mutex::default(),
            })),
            Err(error) => {
                let lost = matches!(error, VaultError::VaultExists { .. } | VaultError::Unfinished { .. });
                if made && lost {
                    store.delete(&layout::key(&key_id)).await?;
                }
                Err(error)
            }
        }
    }

    /// Opens a vault with a password.
    ///
    /// Every key file is tried. One that cannot be read, or whose master key is not this vault's, does not stop the search;
    /// it is logged.
    pub async fn open(store: Store, password: &Secret, options: &OpenOptions, env: &Env) -> Result<Self, VaultError> {
        let keys = store.list(FileType::Key.folder());
        let (config, settings, keys) = futures::join!(store.get(CONFIG), store.get(SETTINGS), keys);
        let Some(config) = present(config)? else {
            return Err(explain_absence(&store, &keys?).await?);
        };
        let opened = try_keys(&store, keys?, password, |key| key.open(&config)).await?;
        let (key_id, key, json) = opened.map_err(|tried| tried.into_error(&store))?;
        let config = Config::parse(&json)?;
        let settings = present(settings)?.map(|sealed| Settings::open(&key, &sealed)).transpose()?;
        Ok(Self::new(Inner {
            chunker: chunker(&config, settings.as_ref()),
            cache: open_cache(&options.cache, &config.id),
            store,
            env: env.clone(),
            key: Arc::new(key),
            key_id: Mutex::new(key_id),
            config,
            settings,
            read: Mutex::default(),
            renewed: tokio::sync::Mutex::default(),
            given_up: Mutex::default(),
        }))
    }
}

/// Runs what takes long without waiting for anything on a thread of its own.
///
/// Where the runtime has one thread it is run there: nothing else is served in time anyway, and the order of what a test
/// does then follows from its seed alone.
pub(crate) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if !has_threads() {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being shut down, and whoever waits here with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Whether [`off_thread`] has other threads, which may wait for the runtime.
pub(crate) fn has_threads() -> bool {
    Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread
}

/// Work that goes on by itself, whether it is waited for or not, and is given up with this.
pub(crate) struct Ahead<T>(JoinHandle<T>);

impl<T: Send + 'static> Ahead<T> {
    /// Begins it.
    pub(crate) fn begin(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl<T> Future for Ahead<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<T> {
        match std::task::ready!(Pin::new(&mut self.0).poll(context)) {
            Ok(done) => Poll::Ready(done),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down, and whoever waits here with it.
                Err(_) => Poll::Pending,
            },
        }
    }
}

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A cache that cannot be opened costs time, not the run.
fn open_cache(mode: &CacheMode, vault_id: &str) -> Option<Arc<Cache>> {
    match mode {
        CacheMode::Off => None,
        CacheMode::At(folder) => match Cache::open(folder, vault_id) {
            Ok(cache) => Some(Arc::new(cache)),
            Err(error) => {
                tracing::warn!(%error, ?folder, "the cache cannot be used: this run goes on without");
                None
            }
        },
    }
}

/// Stores settings and configuration of a new vault.
async fn commit(
    store: &Store,
    key: &MasterKey,
    options: &InitOptions,
    env: &Env,
) -> Result<(Config, Settings), VaultError> {
    let wanted = match (&options.same_chunks_as, options.chunker) {
        (Some(Chunker::Gear { secret }), _) => ChunkerSetting::Gear { secret: *secret },
        (None, NewChunker::Gear) => ChunkerSetting::Gear { secret: env.random_bytes() },
        (Some(Chunker::Rabin { .. }), _) | (None, NewChunker::Rabin) => ChunkerSetting::Rabin,
    };
    let mut settings = Settings::new(env.clock.now(), wanted, options.pack_size, options.sharing);
    if store.put_new(SETTINGS, settings.seal(key, env)?.into()).await? == PutNew::Exists {
        settings = left_settings(store, key, &settings, options.same_chunks_as.is_some()).await?;
    }
    if options.sharing == Sharing::Native {
        condemned::begin(store, key, env).await?;
    }
    let polynomial = match options.same_chunks_as {
        Some(Chunker::Rabin { polynomial }) => Some(polynomial),
        Some(Chunker::Gear { .. }) | None => None,
    };
    let config = Config::generate(env, polynomial);
    match store.put_new(CONFIG, config.seal(key, env)?.into()).await? {
        PutNew::Created => Ok((config, settings)),
        PutNew::Exists => Err(VaultError::VaultExists { url: store.url().to_owned() }),
    }
}

/// The settings that an earlier try left, if they are ours and say what is wanted now.
async fn left_settings(
    store: &Store,
    key: &MasterKey,
    wanted: &Settings,
    exactly: bool,
) -> Result<Settings, VaultError> {
    let left = Settings::open(key, &store.get(SETTINGS).await?).map_err(|_| unfinished(store))?;
    let same_chunker = match (&left.chunker, &wanted.chunker) {
        (ChunkerSetting::Gear { .. }, ChunkerSetting::Gear { .. }) if !exactly => true,
        (left, wanted) => left == wanted,
    };
    if same_chunker && left.pack_size == wanted.pack_size && left.sharing == wanted.sharing {
        Ok(left)
    } else {
        Err(unfinished(store))
    }
}

/// Why there is no configuration.
async fn explain_absence(store: &Store, keys: &[ObjectInfo]) -> Result<VaultError, VaultError> {
    if let Some(found) = remains(store).await? {
        return Ok(VaultError::damaged(CONFIG, Damage::Absent { beside: found }));
    }
    if keys.is_empty() { Ok(VaultError::NoVault { url: store.url().to_owned() }) } else { Ok(unfinished(store)) }
}

fn unfinished(store: &Store) -> VaultError {
    VaultError::Unfinished { url: store.url().to_owned() }
}

fn present<T>(got: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match got {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn chunker(config: &Config, settings: Option<&Settings>) -> Chunker {
    match settings.map(|settings| &settings.chunker) {
        Some(ChunkerSetting::Gear { secret }) => Chunker::Gear { secret: *secret },
        Some(ChunkerSetting::Rabin) | None => Chunker::Rabin { polynomial: config.chunker_polynomial },
    }
}

/// What came of trying the key files when none would do.
#[derive(Debug, Default)]
struct Tried {
    /// Files that the password does not open.
    wrong: usize,
    /// A file that it may or may not have opened before it was damaged.
    damaged: Option<VaultError>,
    /// Why a master key that it did open was not accepted.
    foreign: Option<CryptoError>,
}

impl Tried {
    fn into_error(self, store: &Store) -> VaultError {
        match self {
            Self { foreign: Some(why), .. } => VaultError::damaged(CONFIG, why),
            Self { wrong: 0, damaged: Some(error), .. } => error,
            Self { wrong: 0, damaged: None, .. } => {
                VaultError::damaged(FileType::Key.folder(), Damage::Content("there is no key file in it"))
            }
            Self { wrong, .. } => VaultError::WrongKey { url: store.url().to_owned(), keys: wrong },
        }
    }
}

/// The first key file that the password opens to a master key that is accepted.
async fn try_keys<T>(
    store: &Store,
    listed: Vec<ObjectInfo>,
    password: &Secret,
    accept: impl Fn(&MasterKey) -> Result<T, CryptoError>,
) -> Result<Result<(Id, MasterKey, T), Tried>, VaultError> {
    let mut tried = Tried::default();
    for object in listed {
        let Some(id) = layout::parse(FileType::Key, &object.key).filter(|_| object.size <= MAX_KEY_FILE) else {
            tracing::warn!(object = ?object.key, "passed over: no key file");
            continue;
        };
        // Removed since the listing.
        let Some(json) = present(store.get(&object.key).await)? else { continue };
        // The master key has a MAC of its own: a file that does not match its name may still open the vault.
        let found = Id::of(&json);
        let password = password.clone();
        match off_thread(move || KeyFile::parse(&json)?.open(&password)).await {
            Ok(key) => match accept(&key) {
                Ok(accepted) => return Ok(Ok((id, key, accepted))),
                Err(why) => {
                    tracing::warn!(key = %id, "passed over: it holds another vault's master key");
                    tried.foreign = Some(why);
                }
            },
            Err(KeyError::WrongPassword) if found == id => tried.wrong += 1,
            Err(error) => {
                tracing::warn!(key = %id, %error, "passed over: the key file is damaged, or none");
                let why = if found == id { error.into() } else { Damage::NotItsName(found) };
                tried.damaged = Some(VaultError::damaged(object.key, why));
            }
        }
    }
    Ok(Err(tried))
}
