//! Vaults made in this process, and a look into vaults that the program under test made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use drctl::clock::{Clock, Env, Random};
use drctl::monitor::Silent;
use drctl::store::{OpenOptions as StoreOptions, Store};
use drctl::vault::key::{KdfCost, Secret};
use drctl::vault::settings::Sharing;
use drctl::vault::{BlobType, FileType, Id, InitOptions, OpenOptions, Vault};

use super::Numbers;
use super::house::House;

/// The machine's clock and numbers that nobody guesses twice: a vault's IVs must not repeat, not even in a test.
#[derive(Debug)]
struct Machine(std::sync::Mutex<Numbers>);

impl Clock for Machine {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }

    fn boot(&self) -> std::time::Duration {
        let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        std::time::Duration::new(at.tv_sec.unsigned_abs(), at.tv_nsec.try_into().unwrap())
    }

    fn sleep(&self, span: std::time::Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(span))
    }
}

impl Random for Machine {
    fn fill(&self, out: &mut [u8]) {
        out.copy_from_slice(&self.0.lock().unwrap().bytes(out.len()));
    }
}

/// The machine's clock.
pub(crate) fn machine_clock() -> Arc<dyn Clock> {
    Arc::new(Machine(std::sync::Mutex::new(Numbers::seeded(1))))
}

/// The machine.
pub(crate) fn env() -> Env {
    let machine = || Arc::new(Machine(std::sync::Mutex::new(Numbers::seeded(Numbers::fresh_seed()))));
    Env { clock: machine(), random: machine() }
}

/// Runs what the library does asynchronously.
pub(crate) fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(work)
}

/// Makes a vault that the house's key opens within a millisecond: tests that call the program a hundred times have no
/// minute for scrypt.
pub(crate) fn cheap_vault(folder: &Path) -> PathBuf {
    cheap(folder, Sharing::Shared)
}

/// The same that nobody but drctl writes to.
pub(crate) fn cheap_native_vault(folder: &Path) -> PathBuf {
    cheap(folder, Sharing::Native)
}

fn cheap(folder: &Path, sharing: Sharing) -> PathBuf {
    let options = InitOptions { cost: KdfCost::Cheap, sharing, ..InitOptions::default() };
    wait(async { Vault::init(store(folder).await, &Secret::new(House::PASSWORD), &options, &env()).await.unwrap() });
    folder.to_owned()
}

async fn store(folder: &Path) -> Store {
    Store::open(folder.to_str().unwrap(), &StoreOptions::default()).await.unwrap()
}

/// Opens a vault with the house's key.
pub(crate) async fn open(folder: &Path) -> Vault {
    open_with(folder, House::PASSWORD).await
}

/// Opens a vault with another key.
pub(crate) async fn open_with(folder: &Path, password: &str) -> Vault {
    Vault::open(store(folder).await, &Secret::new(password), &OpenOptions::default(), &env()).await.unwrap()
}

/// Every file below a folder with its size, by path within it; unfinished ones too.
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    let mut stack = vec![folder.to_owned()];
    while let Some(at) = stack.pop() {
        let Ok(entries) = std::fs::read_dir(&at) else { continue };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => stack.push(entry.path()),
                Ok(meta) => {
                    found.insert(entry.path().strip_prefix(folder).unwrap().to_owned(), meta.len());
                }
                Err(_) => {} // gone since the listing
            }
        }
    }
    found
}

/// Finished packs with their sizes.
pub(crate) fn packs(vault: &Path) -> BTreeMap<PathBuf, u64> {
    let is_id = |path: &Path| path.file_name().is_some_and(|name| name.len() == 64);
    files(&vault.join("data")).into_iter().filter(|(path, _)| is_id(path)).collect()
}

/// The packs that hold blobs of this kind.
pub(crate) fn packs_of(folder: &Path, kind: BlobType) -> BTreeSet<Id> {
    wait(async {
        let vault = open(folder).await;
        let mut found = BTreeSet::new();
        for (id, size) in vault.list(FileType::Pack).await.unwrap() {
            let contents = vault.read_pack_header(&id, size).await.unwrap();
            if contents.blobs.iter().any(|(key, _)| key.kind == kind) {
                found.insert(id);
            }
        }
        found
    })
}

/// How many blobs the index names, and how many of them more than once.
pub(crate) fn indexed(folder: &Path) -> (usize, usize) {
    wait(async {
        let index = open(folder).await.load_index(&Silent).await.unwrap();
        let keys: BTreeSet<_> = index.iter().map(|(key, _)| (key.kind == BlobType::Tree, key.id)).collect();
        let twice = index.iter().filter(|(key, _)| index.get_all(*key).len() > 1).count();
        (keys.len(), twice)
    })
}
