//! Carrying out a rebuild.

use std::collections::HashSet;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::plan::{self, Reason, ToRead, Trust};
use crate::monitor::{Cancel, Monitor};
use crate::vault::index_file::BLOBS_PER_FILE;
use crate::vault::lock::{LockGuard, LockKind};
use crate::vault::{FileType, Id, PackContents, Vault, VaultError, chain};

/// Headers fetched at the same time.
const CONCURRENT: usize = 16;

/// Whether anything is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only read, and say what would be done.
    Rehearse,
    /// Rebuild.
    Write,
}

/// What is set right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::heal) enum Scope {
    /// All, or nothing in a rehearsal.
    All(Mode),
    /// Packs that no index names are named, and damaged index files replaced. What index files say of damaged packs stays.
    Unnamed,
}

/// How to rebuild.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Which index files are believed.
    pub trust: Trust,
    /// Write, or only say what would be done.
    pub mode: Mode,
    /// How long to wait for others' locks.
    pub retry_lock: Duration,
}

/// Why an index was not rebuilt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// The vault could not be read or written.
    #[error("use the vault")]
    Vault(#[from] VaultError),
    /// The operator asked to stop.
    #[error("rebuild the index: interrupted; no index file was removed, and the next rebuild starts again")]
    Cancelled,
}

/// A pack whose header cannot be read. What index files say about it stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// The pack.
    pub pack: Id,
    /// What is wrong with it.
    pub why: String,
}

/// What a rebuild did, or would do.
#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    /// Packs in the store.
    pub packs: u64,
    /// Packs whose header was read.
    pub headers_read: u64,
    /// Packs that are named anew, and were in no index before.
    pub packs_added: u64,
    /// Blobs in all packs that are named anew.
    pub blobs: u64,
    /// Index files that cannot be read and are replaced.
    pub damaged_files: Vec<Id>,
    /// Index files written.
    pub files_written: u64,
    /// Index files removed, damaged ones among them.
    pub files_removed: u64,
    /// Packs that were named and are not in the store: what only they held is lost until it is backed up or healed again.
    pub lost_packs: Vec<Id>,
    /// Packs whose header cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// How long it took, by the boot clock, in milliseconds.
    pub millis: u64,
}

impl Outcome {
    /// Whether the index now names every pack, and nothing else.
    pub fn is_whole(&self) -> bool {
        self.lost_packs.is_empty() && self.unreadable.is_empty()
    }
}

/// Rebuilds the index. Under the exclusive lock; a rehearsal only keeps a prune away.
pub async fn run(
    vault: &Vault,
    options: Options,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<Outcome, RebuildError> {
    let kind = match options.mode {
        Mode::Rehearse => LockKind::Shared,
        Mode::Write => LockKind::Exclusive,
    };
    let lock = match vault.lock_unless(kind, options.retry_lock, cancel).await {
        Err(VaultError::Locked { .. }) if cancel.is_cancelled() => return Err(RebuildError::Cancelled),
        taken => taken?,
    };
    let outcome = async {
        if options.mode == Mode::Write && vault.mend_condemned(&lock).await? {
            monitor.note("what was condemned could not be read, and was put together again from all lists that can be");
        }
        rebuild_locked(vault, options.trust, Scope::All(options.mode), monitor, cancel, &lock).await
    }
    .await;
    lock.release().await;
    outcome
}

/// The same for who holds the lock already.
pub(in crate::heal) async fn rebuild_locked(
    vault: &Vault,
    trust: Trust,
    scope: Scope,
    monitor: &dyn Monitor,
    cancel: &Cancel,
    lock: &LockGuard,
) -> Result<Outcome, RebuildError> {
    let clock = vault.env().clock.clone();
    let begun = clock.boot();
    monitor.stage("index");
    let loaded = vault.load_index_past_damage(monitor).await?;
    let damaged = still_damaged(vault, loaded.damaged).await?;
    let listed = vault.list(FileType::Pack).await?;
    let named = loaded.index.packs().map(|pack| (pack.id, pack.size));
    let mut plan = plan::rebuild(named, &listed, trust);
    let mode = match scope {
        Scope::All(mode) => mode,
        Scope::Unnamed => {
            plan.read.retain(|it| it.reason == Reason::Unnamed);
            plan.gone.clear();
            Mode::Write
        }
    };

    let mut outcome = Outcome { packs: listed.len() as u64, lost_packs: plan.gone.clone(), ..Outcome::default() };
    outcome.damaged_files = damaged;
    let mut names = Names { vault, mode, waiting: Vec::new(), files: Vec::new(), packs: Vec::new() };
    read_headers(vault, plan.read, &mut names, &mut outcome, monitor, cancel).await?;
    if mode == Mode::Write {
        lock.check()?;
        outcome.files_written = names.files.len() as u64;
        let outdated: HashSet<Id> = names.packs.into_iter().chain(plan.gone).collect();
        if !outdated.is_empty() {
            monitor.stage("index files");
            let except: HashSet<Id> = outcome.damaged_files.iter().copied().chain(names.files).collect();
            let rewritten = vault.rewrite_index(&outdated, &except, lock, monitor).await?;
            outcome.files_written += rewritten.written.len() as u64;
            outcome.files_removed += rewritten.removed.len() as u64;
        }
        lock.check()?;
        for id in &outcome.damaged_files {
            vault.remove(FileType::Index, id).await?;
        }
        outcome.files_removed += outcome.damaged_files.len() as u64;
    }
    outcome.millis = u64::try_from((clock.boot() - begun).as_millis()).unwrap_or(u64::MAX);
    Ok(outcome)
}

/// Those that are still damaged when they are read again: a connection that broke them once is no reason to remove them.
async fn still_damaged(vault: &Vault, found: Vec<(Id, VaultError)>) -> Result<Vec<Id>, VaultError> {
    let mut damaged = Vec::new();
    for (id, _) in found {
        match vault.load_index_file(&id).await {
            Ok(_) => {}
            Err(error) if error.is_damage() => damaged.push(id),
            Err(error) => return Err(error),
        }
    }
    Ok(damaged)
}

/// Packs on their way into new index files.
struct Names<'v> {
    vault: &'v Vault,
    mode: Mode,
    waiting: Vec<PackContents>,
    files: Vec<Id>,
    /// Packs that other index files name, too.
    packs: Vec<Id>,
}

impl Names<'_> {
    async fn add(&mut self, contents: PackContents, reason: Reason) -> Result<(), VaultError> {
        match reason {
            Reason::Unnamed => {}
            Reason::OtherSize | Reason::Distrusted => self.packs.push(contents.id),
        }
        self.waiting.push(contents);
        let blobs: usize = self.waiting.iter().map(|pack| pack.blobs.len()).sum();
        if blobs >= BLOBS_PER_FILE { self.write().await } else { Ok(()) }
    }

    async fn write(&mut self) -> Result<(), VaultError> {
        match self.mode {
            Mode::Rehearse => self.waiting.clear(),
            Mode::Write => self.files.extend(self.vault.save_indexes(&mut self.waiting).await?),
        }
        Ok(())
    }
}

async fn read_headers(
    vault: &Vault,
    packs: Vec<ToRead>,
    names: &mut Names<'_>,
    outcome: &mut Outcome,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<(), RebuildError> {
    monitor.stage("headers");
    monitor.total(packs.len() as u64, 0);
    let reads = stream::iter(packs).map(|ToRead { pack, size, reason }| async move {
        let contents = match vault.read_pack_header(&pack, size).await {
            Ok(contents) => Ok((contents, reason)),
            Err(error) if error.is_damage() => Err(Unreadable { pack, why: chain(&error) }),
            Err(error) => return Err(RebuildError::Vault(error)),
        };
        monitor.advance(1, 0);
        Ok(contents)
    });
    let mut reads = std::pin::pin!(reads.buffer_unordered(CONCURRENT));
    while let Some(read) = reads.try_next().await? {
        if cancel.is_cancelled() {
            return Err(RebuildError::Cancelled);
        }
        outcome.headers_read += 1;
        match read {
            Ok((contents, reason)) => {
                outcome.packs_added += u64::from(reason == Reason::Unnamed);
                outcome.blobs += contents.blobs.len() as u64;
                names.add(contents, reason).await?;
            }
            Err(unreadable) => outcome.unreadable.push(unreadable),
        }
    }
    names.write().await?;
    outcome.unreadable.sort_unstable_by_key(|it| it.pack);
    Ok(())
}
