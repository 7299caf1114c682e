//! Is all of it there, and is it what it was.
//!
//! *Structure*: every snapshot, tree and index file is read and verified; every blob that a snapshot needs is in an
//! index; every pack that an index names is there, with the size that its blobs add up to. *Data*: packs are read whole;
//! their SHA-256, header and every blob are verified. What is damaged is located: the object, then the files and
//! snapshots that it hits. Check changes nothing.

mod found;
pub mod hits;
mod packs;
pub mod reach;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use self::found::Found;
use self::reach::Reached;
use crate::monitor::{Cancel, Monitor};
use crate::vault::index::Index;
use crate::vault::lock::LockKind;
use crate::vault::settings::Sharing;
use crate::vault::snapshot::SnapshotFile;
use crate::vault::{BlobKey, FileType, Id, Vault, VaultError, chain};

/// Which packs are read whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadData {
    /// None: only the structure is checked.
    None,
    /// All.
    All,
    /// About this many of a thousand, drawn at random.
    Share {
        /// Of 1000.
        per_mille: u16,
    },
    /// The packs whose id falls into part `part` (from 1) of `of`.
    Part {
        /// From 1 to `of`.
        part: u32,
        /// How many parts there are.
        of: u32,
    },
    /// About so many bytes, drawn at random.
    Bytes(u64),
}

/// How to check.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Which packs are read.
    pub read_data: ReadData,
    /// Whether a lock is held, so that no prune changes the vault meanwhile.
    pub lock: Lock,
}

/// Whether a check takes a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// A shared one; waits this long for another's.
    Shared {
        /// How long to wait.
        retry: Duration,
    },
    /// None: read-only credentials will do. A prune at the same time looks like damage.
    None,
}

/// What kind of stored object is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Object {
    /// A snapshot.
    Snapshot,
    /// An index file.
    Index,
    /// A pack.
    Pack,
    /// A tree: one folder's entries.
    Tree,
    /// A blob that something refers to and no index names.
    Blob,
    /// A file under `keys/`.
    Key,
    /// What says which packs a prune may delete: its id is that of its name.
    Condemned,
}

/// One damaged object and what it hits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// What kind of object.
    pub object: Object,
    /// Its id.
    pub id: Id,
    /// What is wrong with it.
    pub why: String,
    /// Files that cannot be restored whole, as `snapshot:path`: the first [`hits::LISTED`] of them.
    pub files: Vec<String>,
    /// How many files there are.
    pub files_count: u64,
    /// Snapshots that are hit.
    pub snapshots: Vec<Id>,
}

/// What a check found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Damaged objects, the worst kind first.
    pub damage: Vec<Damage>,
    /// Packs that no index names: left by interrupted runs, harmless.
    pub orphan_packs: u64,
    /// Snapshots looked at.
    pub snapshots: u64,
    /// Trees read.
    pub trees: u64,
    /// Packs that are named by an index.
    pub packs: u64,
    /// Packs read whole.
    pub packs_read: u64,
    /// Bytes read of them.
    pub bytes_read: u64,
    /// How long it took, by the boot clock, in milliseconds.
    pub millis: u64,
}

/// Why a check could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The vault could not be read at all.
    #[error("read the vault")]
    Vault(#[from] VaultError),
    /// The operator asked to stop.
    #[error("check: interrupted; what was read so far was not judged")]
    Cancelled,
}

/// How often a vault is looked at in which prunes go on meanwhile and something seems to be damaged.
const LOOKS: usize = 3;

/// Checks the vault. Damage is not an error: it is in the report.
pub async fn run(
    vault: &Vault,
    options: Options,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
) -> Result<Report, CheckError> {
    let lock = match options.lock {
        Lock::Shared { retry } if vault.writable().is_ok() => Some(vault.lock(LockKind::Shared, retry).await?),
        // A vault that can only be read cannot be locked either.
        Lock::Shared { .. } | Lock::None => None,
    };
    let report = run_locked(vault, options.read_data, monitor, cancel).await;
    if let Some(lock) = lock {
        lock.release().await;
    }
    report
}

async fn run_locked(
    vault: &Vault,
    read_data: ReadData,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
) -> Result<Report, CheckError> {
    for _ in 1..LOOKS {
        let indexed = prunable(vault).await?;
        let look = Look { read_data, known: &BadPacks::new(), also: &[] };
        let report = examine(vault, look, monitor.clone(), cancel.clone()).await?.report;
        let now = prunable(vault).await?;
        // Only a prune removes index files.
        if report.damage.is_empty() || indexed.is_subset(&now) {
            return Ok(report);
        }
        monitor.note("a prune went on meanwhile: what looks damaged is looked at again");
    }
    let look = Look { read_data, known: &BadPacks::new(), also: &[] };
    Ok(examine(vault, look, monitor, cancel).await?.report)
}

/// The index files that a prune beside the check may replace; none where no prune runs under a shared lock.
async fn prunable(vault: &Vault) -> Result<HashSet<Id>, VaultError> {
    match vault.sharing() {
        Sharing::Shared => Ok(HashSet::new()),
        Sharing::Native => Ok(vault.list(FileType::Index).await?.into_iter().map(|(id, _)| id).collect()),
    }
}

/// Packs that are damaged or missing, by id.
pub type BadPacks = BTreeMap<Id, BadPack>;

/// A damaged pack that an index names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPack {
    /// What is wrong with it.
    pub why: String,
    /// The blobs that cannot be read from it: all of them when it is missing, or was not read.
    pub broken: HashSet<BlobKey>,
    /// Whether it is damaged for certain.
    pub certainty: Certainty,
}

/// What is known of a pack that could not be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// It is gone, or not what it was.
    Damaged,
    /// The store did not let it be read: it may be whole.
    Unread,
}

/// How closely to look, for who looks again after mending something.
#[derive(Debug)]
pub(crate) struct Look<'a> {
    /// Which packs are read.
    pub(crate) read_data: ReadData,
    /// What earlier reading found of packs that are still named. They are not read again.
    pub(crate) known: &'a BadPacks,
    /// Snapshots in the place of damaged ones: what they need is looked at as well.
    pub(crate) also: &'a [SnapshotFile],
}

/// What a check saw, for who mends it.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) report: Report,
    pub(crate) index: Index,
    pub(crate) packs: BadPacks,
    /// Snapshots that can be read.
    pub(crate) snapshots: Vec<SnapshotFile>,
    /// Snapshots that cannot.
    pub(crate) lost_snapshots: Vec<Id>,
    pub(crate) reached: Reached,
}

/// Checks under the caller's lock, if there is one.
pub(crate) async fn examine(
    vault: &Vault,
    look: Look<'_>,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
) -> Result<Examined, CheckError> {
    let clock = vault.env().clock.clone();
    let begun = clock.boot();
    let mut found = Found::default();

    monitor.stage("keys");
    for (id, error) in vault.damaged_keys().await? {
        found.object(Object::Key, id, chain(&error));
    }
    let condemned = match vault.condemned().await {
        Err(VaultError::Damaged { object, why }) => {
            found.object(Object::Condemned, Id::of(object.as_bytes()), format!("{object}: {}", chain(&why)));
            None
        }
        read => Some(read?),
    };
    // Before the index: whatever backups end meanwhile, the index that is read after them names all that these need.
    monitor.stage("snapshots");
    let snapshots = vault.snapshots().await?;
    for (id, error) in &snapshots.damaged {
        found.object(Object::Snapshot, *id, chain(error));
        // It is lost itself, whatever becomes of its data.
        if let Some(damage) = found.damage.get_mut(&(Object::Snapshot, *id)) {
            damage.snapshots.push(*id);
        }
    }
    let walked: Vec<&SnapshotFile> = snapshots.whole.iter().chain(look.also).collect();

    monitor.stage("index");
    let loaded = vault.load_index_past_damage(&*monitor).await?;
    for (id, error) in &loaded.damaged {
        found.object(Object::Index, *id, chain(error));
    }
    let index = loaded.index;

    monitor.stage("packs");
    let stored = vault.list(FileType::Pack).await?;
    let mut compared = packs::compare(&index, &stored);
    found.take_known(look.known, &mut compared);
    // A late index file may name a pack again that was deleted in its turn: no matter, unless something needs it.
    let was_condemned = |id: &&Id| condemned.as_ref().is_some_and(|condemned| condemned.of(id).is_some());
    let (swept, missing): (HashSet<Id>, HashSet<Id>) = compared.missing.iter().partition(was_condemned);
    for id in &missing {
        found.pack(*id, "it is missing".to_owned(), None, Certainty::Damaged);
    }
    for (id, _, why) in &compared.resized {
        // Which of its blobs are still there is only known once they are read.
        match look.read_data {
            ReadData::None => found.pack(*id, why.clone(), None, Certainty::Damaged),
            ReadData::All | ReadData::Share { .. } | ReadData::Part { .. } | ReadData::Bytes(_) => {
                found.object(Object::Pack, *id, why.clone());
            }
        }
    }

    monitor.stage("trees");
    let roots: Vec<Id> = walked.iter().map(|file| file.snapshot.tree).collect();
    let reached = {
        let (vault, index, monitor, cancel) = (vault.clone(), index.clone(), monitor.clone(), cancel.clone());
        let handle = tokio::runtime::Handle::current();
        let work = move || reach::reach(&vault, &index, &roots, &handle, &*monitor, &cancel);
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    };
    for id in needed_of(&index, &reached, &swept, &missing) {
        found.pack(id, "it is missing".to_owned(), None, Certainty::Damaged);
    }
    for (tree, why) in &reached.damaged {
        found.blob(Object::Tree, BlobKey::tree(*tree), why.clone());
    }
    for (key, referrer) in &reached.missing {
        let why = format!("no index names it; the tree {} refers to it", referrer.short());
        found.blob(Object::Blob, *key, why);
    }

    let mut read = packs::Read::default();
    if look.read_data != ReadData::None {
        monitor.stage("data");
        let sound: Vec<(Id, u64)> = stored.iter().filter(|(id, _)| compared.sound.contains(id)).copied().collect();
        let mut chosen = packs::choose(sound, look.read_data, &*vault.env().random);
        chosen.extend(compared.resized.iter().map(|(id, size, _)| (*id, *size)));
        read = packs::read(vault, &index, chosen, &monitor, &cancel).await?;
        for (id, damaged) in std::mem::take(&mut read.damaged) {
            found.pack(id, damaged.why, damaged.blobs, damaged.certainty);
        }
    }
    if cancel.is_cancelled() {
        return Err(CheckError::Cancelled);
    }

    found.judge_packs(&index);
    if !found.blobs.is_empty() {
        monitor.stage("files hit");
        hits::locate(vault, &index, &walked, &mut found, &monitor).await;
    }
    let bad = std::mem::take(&mut found.packs);
    let report = Report {
        damage: found.into_damage(),
        orphan_packs: compared.orphans,
        snapshots: (snapshots.whole.len() + snapshots.damaged.len()) as u64,
        trees: reached.trees,
        packs: compared.packs,
        packs_read: read.packs,
        bytes_read: read.bytes,
        millis: u64::try_from((clock.boot() - begun).as_millis()).unwrap_or(u64::MAX),
    };
    let lost_snapshots = snapshots.damaged.iter().map(|(id, _)| *id).collect();
    Ok(Examined { report, index, packs: bad, snapshots: snapshots.whole, lost_snapshots, reached })
}

/// Those of the swept packs that something needs: no pack that is there has it.
fn needed_of(index: &Index, reached: &Reached, swept: &HashSet<Id>, missing: &HashSet<Id>) -> HashSet<Id> {
    let mut needed = HashSet::new();
    if swept.is_empty() {
        return needed;
    }
    for (key, at) in index.iter().filter(|(_, at)| swept.contains(&at.pack)) {
        let is_gone = |pack: &Id| swept.contains(pack) || missing.contains(pack);
        if index.position(key).is_some_and(|position| reached.has(position))
            && index.get_all(key).iter().all(|at| is_gone(&at.pack))
        {
            needed.insert(at.pack);
        }
    }
    needed
}

/// A snapshot's root, for the walk that locates files.
fn root(file: &SnapshotFile) -> (Id, Id) {
    (file.id, file.snapshot.tree)
}
