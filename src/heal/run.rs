//! Healing: look, find, store, and only then remove; again as long as that brings something.
//!
//! The exclusive lock is held from before anything is looked at to the end. In each round: what is wanted is fetched,
//! verified against its id, sealed into new packs, which are read back and named; what is whole in packs that can be done
//! without then is moved the same way; then index files without those packs replace the old ones; the damaged packs go last.
//! A crash leaves blobs that lie twice, or a damaged pack that no index names; the next run ends whole.
//!
//! All data is read once. After that only the structure is looked at again: a tree that was healed may refer to more that is
//! missing.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::HealError;
use super::found::{Lost, Places};
use super::plan::{self, Contents, Known};
use super::rebuild::plan::Trust;
use super::rebuild::{self, RebuildError, Scope};
use super::snapshots::{self, HealedSnapshot};
use super::store::Writer;
use crate::check::{self, Certainty, Examined, Look, Object, ReadData, Report};
use crate::monitor::{Cancel, Monitor};
use crate::vault::lock::{LockGuard, LockKind};
use crate::vault::{BlobKey, BlobType, FileType, Id, Vault, VaultError, chain};

/// Where what is damaged is looked for, beside the vault itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sources<'a> {
    /// Another vault that holds some of the same.
    pub copy: Option<&'a Vault>,
    /// The files themselves, where they are as they were when they were backed up: those of this host.
    pub files: Option<&'a str>,
}

/// What was done.
#[derive(Debug, Default, Serialize)]
pub struct Healed {
    /// Blobs that were fetched from the other vault.
    pub blobs_from_copy: u64,
    /// Blobs that were read from files.
    pub blobs_from_source: u64,
    /// Blobs that were whole in damaged packs and moved.
    pub blobs_moved: u64,
    /// Damaged packs that are gone, replaced by others.
    pub packs: Vec<Id>,
    /// Packs that were written.
    pub packs_written: u64,
    /// Their bytes.
    pub bytes_written: u64,
    /// Damaged index files that were replaced.
    pub indexes: Vec<Id>,
    /// Packs that were in no index and are named now.
    pub packs_named: u64,
    /// Damaged snapshots that were replaced.
    pub snapshots: Vec<HealedSnapshot>,
    /// Blobs that nobody has whole.
    pub not_found: Vec<Lost>,
}

/// What was done, and how the vault is now.
#[derive(Debug)]
pub struct Outcome {
    /// What was done.
    pub healed: Healed,
    /// What a check says now. All data was read, new packs when they were written.
    pub report: Report,
    /// Snapshots that can be read now, oldest first.
    pub snapshots: Vec<Id>,
}

/// Checks all of a vault, and heals what it can.
pub async fn run(
    vault: &Vault,
    sources: Sources<'_>,
    retry_lock: Duration,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
) -> Result<Outcome, HealError> {
    if let Some(copy) = sources.copy
        && copy.store().url().trim_end_matches('/') == vault.store().url().trim_end_matches('/')
    {
        return Err(HealError::SameVault { url: vault.store().url().to_owned() });
    }
    let lock = match vault.lock_unless(LockKind::Exclusive, retry_lock, &cancel).await {
        Err(VaultError::Locked { .. }) if cancel.is_cancelled() => return Err(HealError::Cancelled),
        taken => taken?,
    };
    let outcome = match lock_copy(sources.copy, retry_lock, &*monitor, &cancel).await {
        Ok(reading) => {
            let outcome = Box::pin(run_locked(vault, sources, &lock, monitor, cancel)).await;
            if let Some(reading) = reading {
                reading.release().await;
            }
            outcome
        }
        Err(error) => Err(error),
    };
    lock.release().await;
    outcome
}

/// Keeps a prune from taking away what is being read. Who may only read goes on without.
async fn lock_copy(
    copy: Option<&Vault>,
    retry: Duration,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<Option<LockGuard>, HealError> {
    let Some(copy) = copy else { return Ok(None) };
    match copy.lock_unless(LockKind::Shared, retry, cancel).await {
        Ok(lock) => Ok(Some(lock)),
        Err(VaultError::Locked { .. }) if cancel.is_cancelled() => Err(HealError::Cancelled),
        Err(error @ VaultError::Locked { .. }) => Err(HealError::Copy(error)),
        Err(error) => {
            let why = chain(&error);
            monitor.note(&format!("the vault to heal from is not locked: failed to {why}; no prune should run there"));
            Ok(None)
        }
    }
}

async fn run_locked(
    vault: &Vault,
    sources: Sources<'_>,
    lock: &LockGuard,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
) -> Result<Outcome, HealError> {
    let clock = vault.env().clock.clone();
    let begun = clock.boot();
    let mut round = Round { vault, lock, monitor: &monitor, cancel: &cancel, healed: Healed::default() };
    round.index().await?;
    let places = Places::open(vault, sources, &*monitor).await?;
    let (mut read_data, mut known) = (ReadData::All, check::BadPacks::new());
    let (mut packs_read, mut bytes_read) = (0, 0);
    loop {
        let stand_ins = snapshots::stand_ins(vault, sources.copy).await?;
        let look = Look { read_data, known: &known, also: &stand_ins };
        let mut seen = check::examine(vault, look, monitor.clone(), cancel.clone()).await?;
        packs_read += seen.report.packs_read;
        bytes_read += seen.report.bytes_read;
        let mut brought = snapshots::heal(vault, sources.copy, &seen, &stand_ins, lock, &mut round.healed).await?;
        brought |= round.packs(&seen, &places).await?;
        if !brought {
            seen.report.packs_read = packs_read;
            seen.report.bytes_read = bytes_read;
            seen.report.millis = u64::try_from((clock.boot() - begun).as_millis()).unwrap_or(u64::MAX);
            let snapshots = seen.snapshots.iter().map(|file| file.id).collect();
            return Ok(Outcome { healed: round.healed, report: seen.report, snapshots });
        }
        (read_data, known) = (ReadData::None, seen.packs);
    }
}

/// What every round needs, and what all of them did.
struct Round<'a> {
    vault: &'a Vault,
    lock: &'a LockGuard,
    monitor: &'a Arc<dyn Monitor>,
    cancel: &'a Cancel,
    healed: Healed,
}

impl Round<'_> {
    /// Before anything else: what packs say of themselves needs no other vault. Entries of missing packs stay, as they say
    /// what has to be found.
    async fn index(&mut self) -> Result<(), HealError> {
        let (monitor, cancel) = (&**self.monitor, self.cancel);
        let rebuilt =
            rebuild::rebuild_locked(self.vault, Trust::Valid, Scope::Unnamed, monitor, cancel, self.lock).await;
        let rebuilt = rebuilt.map_err(|error| match error {
            RebuildError::Vault(error) => HealError::Vault(error),
            RebuildError::Cancelled => HealError::Cancelled,
        })?;
        self.healed.indexes = rebuilt.damaged_files;
        self.healed.packs_named = rebuilt.packs_added;
        Ok(())
    }

    /// Finds, stores and moves blobs, and drops packs that can be done without. Whether that brought anything.
    async fn packs(&mut self, seen: &Examined, places: &Places<'_>) -> Result<bool, HealError> {
        let packs = contents(seen);
        let known = Facts::of(seen);
        let wanted = plan::wanted(&packs, seen.reached.missing.keys().copied(), &known);
        self.healed.not_found.clear();
        if packs.is_empty() && wanted.is_empty() {
            return Ok(false);
        }
        self.lock.check()?;
        self.monitor.stage("heal");
        self.monitor.total(wanted.len() as u64, 0);
        let mut writer = Writer::new(self.vault);
        let lost = places.find(seen, wanted, &mut writer, &mut self.healed, self.monitor, self.cancel).await?;
        self.healed.not_found = lost;
        let mut stored = self.written(writer).await?;

        let moves = plan::moves(&packs, &stored, &known);
        let moving: Vec<BlobKey> = moves.iter().flat_map(|it| it.blobs.iter().copied()).collect();
        if !moving.is_empty() {
            let mut writer = Writer::new(self.vault);
            self.healed.blobs_moved += places.own(seen, moving, &mut writer, self.monitor, self.cancel).await?.0;
            stored.extend(self.written(writer).await?);
        }
        let gone = plan::emptied(&packs, &moves, &stored, &known);
        self.drop_packs(seen, &gone.iter().copied().collect()).await?;
        let brought = !stored.is_empty() || !gone.is_empty();
        self.healed.packs.extend(gone);
        Ok(brought)
    }

    async fn written(&mut self, writer: Writer) -> Result<HashSet<BlobKey>, HealError> {
        let written = writer.finish().await?;
        self.healed.packs_written += written.packs;
        self.healed.bytes_written += written.bytes;
        Ok(written.blobs)
    }

    /// Takes packs out of the index, and then away.
    async fn drop_packs(&self, seen: &Examined, gone: &HashSet<Id>) -> Result<(), HealError> {
        if gone.is_empty() {
            return Ok(());
        }
        self.lock.check()?;
        let unreadable = seen.report.damage.iter().filter(|damage| damage.object == Object::Index);
        let unreadable: HashSet<Id> = unreadable.map(|damage| damage.id).collect();
        self.vault.rewrite_index(gone, &unreadable, self.lock, &**self.monitor).await?;
        self.lock.check()?;
        let there = self.vault.list(FileType::Pack).await?;
        let there: Vec<Id> = there.into_iter().map(|(id, _)| id).filter(|id| gone.contains(id)).collect();
        Ok(self.vault.remove_packs_under(self.lock, &there).await?)
    }
}

/// What the index says is in the damaged packs. One that only could not be read is left alone.
fn contents(seen: &Examined) -> BTreeMap<Id, Contents> {
    let damaged = seen.packs.iter().filter(|(_, bad)| bad.certainty == Certainty::Damaged);
    let mut packs: BTreeMap<Id, Contents> = damaged.map(|(id, _)| (*id, Contents::default())).collect();
    if packs.is_empty() {
        return packs;
    }
    for (key, at) in seen.index.iter() {
        if let (Some(contents), Some(bad)) = (packs.get_mut(&at.pack), seen.packs.get(&at.pack)) {
            let half = if bad.broken.contains(&key) { &mut contents.broken } else { &mut contents.whole };
            half.insert(key);
        }
    }
    packs
}

/// What a check saw, as the plan asks for it.
struct Facts<'a> {
    seen: &'a Examined,
    /// All that snapshots need is known.
    complete: bool,
}

impl<'a> Facts<'a> {
    fn of(seen: &'a Examined) -> Self {
        let unread = seen.reached.missing.keys().any(|key| key.kind == BlobType::Tree);
        let hidden = |damage: &check::Damage| matches!(damage.object, Object::Snapshot | Object::Index | Object::Tree);
        Self { seen, complete: !unread && !seen.report.damage.iter().any(hidden) }
    }
}

impl Known for Facts<'_> {
    fn is_sound(&self, key: &BlobKey) -> bool {
        self.seen.index.get_all(*key).iter().any(|at| !self.seen.packs.contains_key(&at.pack))
    }

    fn may_be_needed(&self, key: &BlobKey) -> bool {
        !self.complete || self.seen.index.position(*key).is_some_and(|position| self.seen.reached.has(position))
    }
}
