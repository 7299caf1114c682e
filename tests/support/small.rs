//! A small vault in memory, and what its snapshots must give back.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drctl::backup::{self, BackupError, Caches, Mounts, ParentChoice, Source, Threads};
use drctl::check::{self, ReadData};
use drctl::clock::{Env, Seeded, SetClock};
use drctl::look;
use drctl::monitor::{Cancel, Monitor, Silent};
use drctl::prune::decision::{Limits, MaxUnused};
use drctl::prune::{self, PruneError};
use drctl::source::files::Excludes;
use drctl::store::Store;
use drctl::vault::key::{KdfCost, Secret};
use drctl::vault::settings::Sharing;
use drctl::vault::{FileType, Id, InitOptions, OpenOptions, Vault, VaultError};
use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::Numbers;

/// Opens every small vault.
pub(crate) const PASSWORD: &str = "small";

/// A clock that is turned by hand, and random bytes that nobody else was given.
pub(crate) fn env(clock: &Arc<SetClock>) -> Env {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let seed = NEXT.fetch_add(1, Ordering::SeqCst).wrapping_mul(0xd134_2543_de82_ef95);
    Env { clock: clock.clone(), random: Arc::new(Seeded::new(seed)) }
}

/// A clock that stands at the beginning of 2026.
pub(crate) fn clock() -> Arc<SetClock> {
    Arc::new(SetClock::at("2026-01-01T00:00:00Z".parse().unwrap()))
}

/// Opens the vault that lies in `objects`, without any cache.
pub(crate) async fn open(objects: Arc<dyn ObjectStore>, password: &str, env: Env) -> Result<Vault, VaultError> {
    let store = Store::from_object_store(objects, "", "memory://small");
    Vault::open(store, &Secret::new(password), &OpenOptions::default(), &env).await
}

/// A snapshot that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) id: Id,
    /// Digest of all that was backed up: names, metadata, content.
    pub(crate) content: Id,
}

/// Versions of a folder, and a vault that has a snapshot of some of them.
pub(crate) struct Small {
    _folder: tempfile::TempDir,
    pub(crate) source: PathBuf,
    pub(crate) objects: Arc<InMemory>,
    pub(crate) clock: Arc<SetClock>,
    pub(crate) kept: Vec<Kept>,
    numbers: Numbers,
}

impl Small {
    /// A vault with nothing in it, and who writes to it; and a folder with a few files.
    pub(crate) async fn new(seed: u64, sharing: Sharing) -> Self {
        let folder = folder();
        let (objects, clock) = (Arc::new(InMemory::new()), clock());
        let options = InitOptions { cost: KdfCost::Cheap, pack_size: 64 << 10, sharing, ..InitOptions::default() };
        let store = Store::from_object_store(objects.clone(), "", "memory://small");
        Vault::init(store, &Secret::new(PASSWORD), &options, &env(&clock)).await.unwrap();
        let source = folder.path().join("source");
        let small = Self { _folder: folder, source, objects, clock, kept: Vec::new(), numbers: Numbers::seeded(seed) };
        fs::create_dir_all(small.source.join("stays/deep/er")).unwrap();
        fs::create_dir_all(small.source.join("changes")).unwrap();
        small
    }

    /// Changes some of the files, adds one, removes one.
    pub(crate) fn change(&mut self) {
        let write = |name: String, bytes: Vec<u8>| fs::write(self.source.join(name), bytes).unwrap();
        let numbers = &mut self.numbers;
        let round = self.kept.len();
        for n in 0..3 {
            write(format!("changes/file{n}"), numbers.bytes(20_000));
        }
        write(format!("changes/of round {round}"), numbers.bytes(40_000));
        if round == 0 {
            write("stays/large".to_owned(), numbers.bytes(150_000));
            write("stays/deep/er/small".to_owned(), b"small".to_vec());
            write("stays/empty".to_owned(), Vec::new());
        } else {
            fs::remove_file(self.source.join(format!("changes/of round {}", round - 1))).unwrap();
        }
    }

    /// Backs the folder up and counts the snapshot among those that must come back.
    pub(crate) async fn keep(&mut self) -> Id {
        let vault = self.open().await;
        let id = back_up(&vault, &self.source).await.unwrap().snapshot.unwrap();
        let content = content(&vault, &id, &self.source).await.unwrap();
        self.kept.push(Kept { id, content });
        self.clock.advance(Duration::from_secs(3600));
        id
    }

    /// What a backup of the folder as it is now must give back.
    pub(crate) async fn expected(&self) -> Id {
        let aside = self.objects.fork();
        let vault = open(Arc::new(aside), PASSWORD, env(&self.clock)).await.unwrap();
        let id = back_up(&vault, &self.source).await.unwrap().snapshot.unwrap();
        content(&vault, &id, &self.source).await.unwrap()
    }

    /// Opens the vault as a process would that has just been started.
    pub(crate) async fn open(&self) -> Vault {
        open(self.objects.clone(), PASSWORD, env(&self.clock)).await.unwrap()
    }
}

/// A folder in memory, where there is one: syncing it costs nothing.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Backs up, one step after the other.
pub(crate) async fn back_up(vault: &Vault, source: &Path) -> Result<backup::Outcome, BackupError> {
    back_up_watched(vault, source, Arc::new(Silent)).await
}

/// The same while something else happens in the vault once the backup has loaded the index.
pub(crate) async fn back_up_beside(
    vault: &Vault,
    source: &Path,
    meanwhile: impl AsyncFnOnce() + Send + 'static,
) -> Result<backup::Outcome, BackupError> {
    back_up_watched(vault, source, Arc::new(Meanwhile(Mutex::new(Some(meanwhile))))).await
}

/// Does a thing when the backup itself begins.
struct Meanwhile<F>(Mutex<Option<F>>);

impl<F: AsyncFnOnce() + Send + 'static> Monitor for Meanwhile<F> {
    fn stage(&self, name: &str) {
        if name == "backup"
            && let Some(what) = self.0.lock().unwrap().take()
        {
            // On a thread of its own: this one is busy with the backup.
            let aside = std::thread::spawn(move || {
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(what());
            });
            aside.join().unwrap();
        }
    }
}

async fn back_up_watched(
    vault: &Vault,
    source: &Path,
    monitor: Arc<dyn Monitor>,
) -> Result<backup::Outcome, BackupError> {
    let options = backup::Options {
        excludes: Excludes::none(),
        caches: Caches::Keep,
        mounts: Mounts::Cross,
        tags: Vec::new(),
        host: "host".to_owned(),
        username: "user".to_owned(),
        time: None,
        parent: ParentChoice::Latest,
        mode: backup::Mode::Write,
        level: 3,
        threads: Threads::Inline,
        retry_lock: Duration::ZERO,
        patience: backup::PATIENCE,
    };
    backup::run(vault, Source::Files(vec![source.to_owned()]), options, monitor, Cancel::default()).await
}

/// Checks everything, packs too.
pub(crate) async fn check(vault: &Vault, lock: check::Lock) -> Result<check::Report, check::CheckError> {
    let options = check::Options { read_data: ReadData::All, lock };
    check::run(vault, options, Arc::new(Silent), Cancel::default()).await
}

/// Prunes all that is unused.
pub(crate) async fn prune(vault: &Vault) -> Result<prune::Outcome, PruneError> {
    prune_after(vault, Duration::ZERO).await
}

/// The same where others work beside it, with this grace.
pub(crate) async fn prune_after(vault: &Vault, grace: Duration) -> Result<prune::Outcome, PruneError> {
    let max_unused = MaxUnused::percent(0).unwrap();
    let options = prune::Options {
        limits: Limits { max_unused, max_repack: None },
        mode: prune::Mode::Write,
        grace,
        retry_lock: Duration::ZERO,
    };
    prune::run(vault, options, Arc::new(Silent), Cancel::default()).await
}

/// Digest of all that a snapshot gives back of `path`; an error when any of it is missing or damaged.
pub(crate) async fn content(vault: &Vault, snapshot: &Id, path: &Path) -> Result<Id, String> {
    let failed = |error: &dyn std::fmt::Debug| format!("snapshot {snapshot}: {error:?}");
    let snapshot = vault.snapshot(snapshot).await.map_err(|error| failed(&error))?;
    let index = vault.load_index(&Silent).await.map_err(|error| failed(&error))?;
    let mut tree = snapshot.tree;
    for name in path.iter().skip(1) {
        let nodes = vault.open_tree(&index, &tree).await.map_err(|error| failed(&error))?;
        let node = nodes.filter_map(Result::ok).find(|node| node.name == name.as_encoded_bytes());
        tree = node.and_then(|node| node.subtree).ok_or_else(|| failed(&path))?;
    }
    let mut archive = Vec::new();
    let summary = look::dump_folder(vault, &index, tree, b"/", &mut archive, &Silent).await;
    match summary.map_err(|error| failed(&error))? {
        summary if summary.problems == 0 => Ok(Id::of(&archive)),
        summary => Err(failed(&summary)),
    }
}

/// The objects of a vault but for locks, by key.
pub(crate) async fn inventory(vault: &Vault) -> Vec<(String, u64)> {
    let all = vault.store().list("").await.unwrap();
    let locks = format!("{}/", FileType::Lock.folder());
    all.into_iter().filter(|object| !object.key.starts_with(&locks)).map(|object| (object.key, object.size)).collect()
}
