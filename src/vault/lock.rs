//! restic's locks: sealed files under `locks/`, so that stock tools may share the vault.
//!
//! A writer holds a shared lock, whoever deletes or rewrites an exclusive one. To take one: list, write, wait (where listings
//! may be behind), list again, and give way when another's conflicts. A holder writes a new lock file every five minutes and removes the old;
//! one that could not for 22.5 minutes must stop, because others may take its lock for dead after 30. A crash leaves a
//! lock file: the next run on the same host removes it once its process is gone, `unlock` removes it on any host. What a
//! process that lives on could not remove, it removes before it takes its next lock.
//!
//! Readers need none of this, and between drctl's own writers nothing rests on it alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::error::VaultError;
use super::handle::Vault;
use super::id::Id;
use super::layout::{self, FileType};
use super::whoami;

/// How long to wait between writing a lock and looking whether another came first, where a listing may be behind what was
/// written. Where it never is, of two that write and then look one sees the other.
const SETTLE: Duration = Duration::from_millis(200);
/// How often a held lock is written anew.
const REFRESH: Duration = Duration::from_secs(5 * 60);
/// How soon that is tried again when it failed.
const REFRESH_AGAIN: Duration = Duration::from_secs(30);
/// After this long without a refresh the holder stops.
const LOST_AFTER: Duration = Duration::from_secs(22 * 60 + 30);
/// After this long without a refresh others may take the holder for dead.
const STALE_AFTER: SignedDuration = SignedDuration::from_mins(30);
/// How often locks are listed anew when some were gone: holders write each of theirs every few minutes.
const LISTINGS: u32 = 50;
/// How often a lock that another holds is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Who may work beside the holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Other holders of shared locks: backups and copies.
    Shared,
    /// Nobody: prune.
    Exclusive,
}

/// Which locks `unlock` removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlock {
    /// Those whose holder is gone, or has not refreshed them for 30 minutes.
    Stale,
    /// All, those that cannot be read too.
    All,
}

/// A lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// When it was last refreshed, by the holder's clock.
    pub time: Timestamp,
    /// Whether nobody else may work.
    pub exclusive: bool,
    /// The holder's host.
    #[serde(default)]
    pub hostname: String,
    /// The holder's user.
    #[serde(default)]
    pub username: String,
    /// The holder's process.
    #[serde(default)]
    pub pid: u32,
    /// The holder's user number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// The holder's group number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
    /// Set by drctl; restic ignores it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drctl: bool,
}

impl Lock {
    /// A lock of this process.
    fn ours(kind: LockKind, now: Timestamp) -> Self {
        let (uid, gid) = whoami::ids();
        Self {
            time: now,
            exclusive: kind == LockKind::Exclusive,
            hostname: whoami::hostname(),
            username: whoami::username(),
            pid: std::process::id(),
            uid,
            gid,
            drctl: true,
        }
    }

    /// Whether its holder is gone: a process of this host that has ended, or one that has not refreshed it in time.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.is_old(now) || (self.hostname == whoami::hostname() && !whoami::is_running(self.pid))
    }

    fn is_old(&self, now: Timestamp) -> bool {
        now.duration_since(self.time) > STALE_AFTER
    }

    fn conflicts(&self, kind: LockKind) -> bool {
        self.exclusive || kind == LockKind::Exclusive
    }
}

impl std::fmt::Display for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.exclusive { "an exclusive" } else { "a shared" };
        let Self { username, hostname, pid, time, .. } = self;
        write!(f, "{kind} lock of {username}@{hostname} (pid {pid}), last refreshed {time:.0}")
    }
}

/// A held lock.
///
/// Give it back with [`LockGuard::release`]. One that is only dropped is removed in the background while the runtime lives;
/// if it no longer does, the lock file stays until the next run on this host.
#[derive(Debug)]
pub struct LockGuard {
    held: Arc<Held>,
    refresher: tokio::task::JoinHandle<()>,
    runtime: Handle,
}

#[derive(Debug)]
struct Held {
    vault: Vault,
    kind: LockKind,
    /// The lock file; none once it was given back. Held while the file is replaced, so that none is left behind.
    file: Mutex<Option<Id>>,
    /// Boot time of the last refresh, in milliseconds.
    refreshed: AtomicU64,
    /// Somebody removed our file: they do not count on us any more.
    removed: AtomicBool,
}

impl LockGuard {
    /// Fails once others may not heed the lock any more: nothing may be written or deleted then.
    pub fn check(&self) -> Result<(), VaultError> {
        self.held.check()
    }

    /// Whether nobody else may be at work.
    pub fn is_exclusive(&self) -> bool {
        self.held.kind == LockKind::Exclusive
    }

    /// Says whether [`LockGuard::check`] would pass, for as long as anyone wants to know.
    pub fn watch(&self) -> impl Fn() -> bool + Send + 'static {
        let held = self.held.clone();
        move || held.check().is_ok()
    }

    /// Removes the lock. What cannot be removed now is removed before the next lock is taken, by this process or, once it
    /// is gone, by another on this host.
    pub async fn release(self) {
        self.held.release().await;
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        let (held, refresher) = (self.held.clone(), self.refresher.abort_handle());
        self.runtime.spawn(async move {
            held.release().await;
            refresher.abort();
        });
    }
}

impl Held {
    fn since_refresh(&self) -> Duration {
        let now = millis(self.vault.env().clock.boot());
        Duration::from_millis(now.saturating_sub(self.refreshed.load(Ordering::SeqCst)))
    }

    fn check(&self) -> Result<(), VaultError> {
        let since = self.since_refresh();
        if self.removed.load(Ordering::SeqCst) || since >= LOST_AFTER {
            return Err(VaultError::LockLost { minutes: since.as_secs() / 60 });
        }
        Ok(())
    }

    /// Writes the lock anew, then removes the old file: there is always at least one.
    ///
    /// A lock that was lost is not taken up again: somebody may have worked alone since.
    async fn refresh(&self) -> Result<(), VaultError> {
        let mut file = self.file.lock().await;
        let Some(old) = *file else { return Ok(()) };
        self.check()?;
        if self.vault.store().size(&layout::lock(&old)).await?.is_none() {
            self.removed.store(true, Ordering::SeqCst);
            return self.check();
        }
        // From before it is written: others go by the time that is in it, however long the writing takes.
        let begun = millis(self.vault.env().clock.boot());
        let new = write(&self.vault, self.kind).await?;
        *file = Some(new);
        self.refreshed.store(begun, Ordering::SeqCst);
        self.vault.give_up_lock(old).await;
        Ok(())
    }

    async fn release(&self) {
        let mut file = self.file.lock().await;
        if let Some(id) = file.take() {
            self.vault.give_up_lock(id).await;
        }
    }

    /// Refreshes the lock until it is given back or lost.
    async fn keep(&self, every: Duration) {
        let mut wait = every;
        loop {
            match self.vault.env().clock.pause(wait) {
                Some(pause) => pause.await,
                None => tokio::time::sleep(wait).await,
            }
            wait = match self.refresh().await {
                Ok(()) => every,
                Err(error @ VaultError::LockLost { .. }) => {
                    tracing::error!(%error, "the vault's lock is lost");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "the vault's lock could not be refreshed yet");
                    REFRESH_AGAIN
                }
            };
        }
    }
}

impl Vault {
    /// Takes a lock, waiting up to `retry` for others that conflict.
    ///
    /// Locks that dead processes of this host left are removed first. Fails with [`VaultError::Locked`], which names the
    /// holder, or with [`VaultError::Damaged`] when a lock cannot be read: nobody knows whose it is, so it blocks.
    pub async fn lock(&self, kind: LockKind, retry: Duration) -> Result<LockGuard, VaultError> {
        self.writable()?;
        let clock = self.env().clock.clone();
        let begun = clock.boot();
        loop {
            let taken = self.try_lock(kind).await;
            let left = retry.saturating_sub(clock.boot() - begun);
            match taken {
                Err(VaultError::Locked { .. }) if !left.is_zero() => clock.sleep(RETRY.min(left)).await,
                taken => return taken,
            }
        }
    }

    async fn try_lock(&self, kind: LockKind) -> Result<LockGuard, VaultError> {
        self.remove_dead_locks().await?;
        self.refuse_conflict(kind, None).await?;
        let begun = millis(self.env().clock.boot());
        let id = write(self, kind).await?;
        if !self.store().lists_at_once() {
            self.env().clock.sleep(SETTLE).await;
        }
        if let Err(conflict) = self.refuse_conflict(kind, Some(id)).await {
            self.give_up_lock(id).await;
            return Err(conflict);
        }
        let held = Arc::new(Held {
            vault: self.clone(),
            kind,
            file: Mutex::new(Some(id)),
            refreshed: AtomicU64::new(begun),
            removed: AtomicBool::new(false),
        });
        let keep = held.clone();
        let refresher = tokio::spawn(async move { keep.keep(REFRESH).await });
        Ok(LockGuard { held, refresher, runtime: Handle::current() })
    }

    /// Removes a lock of ours. One that cannot be removed must not be in our own way later: it is remembered.
    async fn give_up_lock(&self, id: Id) {
        self.given_up_locks().insert(id);
        if let Err(error) = self.remove_given_up_locks().await {
            tracing::warn!(lock = %id, %error, "the lock could not be removed yet");
        }
    }

    async fn remove_given_up_locks(&self) -> Result<(), VaultError> {
        let given_up: Vec<Id> = self.given_up_locks().iter().copied().collect();
        for id in given_up {
            self.remove(FileType::Lock, &id).await?;
            self.given_up_locks().remove(&id);
        }
        Ok(())
    }

    /// Every lock, by id, but for empty files: restic leaves those when a disk is full, and ignores them.
    ///
    /// A lock that is gone since the listing was given back, or its holder has just written another: only a new listing
    /// tells. It has the other, which is written before the first is removed.
    pub async fn locks(&self) -> Result<Vec<(Id, Result<Lock, VaultError>)>, VaultError> {
        let mut loaded = BTreeMap::new();
        for listing in 1.. {
            let listed = self.list(FileType::Lock).await?;
            loaded.retain(|id, _| listed.iter().any(|(there, _)| there == id));
            let mut gone = None;
            for (id, size) in listed {
                if size == 0 || loaded.contains_key(&id) {
                    continue;
                }
                match self.load_lock(&id).await {
                    Err(error) if error.is_not_found() => gone = Some(error),
                    Err(error @ VaultError::Damaged { .. }) => drop(loaded.insert(id, Err(error))),
                    Err(error) => return Err(error),
                    Ok(lock) => drop(loaded.insert(id, Ok(lock))),
                }
            }
            match gone {
                None => break,
                Some(error) if listing == LISTINGS => return Err(error),
                Some(_) => {}
            }
        }
        Ok(loaded.into_iter().collect())
    }

    async fn load_lock(&self, id: &Id) -> Result<Lock, VaultError> {
        let json = self.load(FileType::Lock, id).await?;
        serde_json::from_slice(&json).map_err(|error| VaultError::damaged(layout::lock(id), error))
    }

    /// Removes locks and returns them, by id; those that could not be read come without their content.
    pub async fn unlock(&self, which: Unlock) -> Result<Vec<(Id, Option<Lock>)>, VaultError> {
        let now = self.env().clock.now();
        let mut removed = Vec::new();
        for (id, lock) in self.locks().await? {
            let lock = lock.ok();
            let goes = match which {
                Unlock::All => true,
                Unlock::Stale => lock.as_ref().is_some_and(|lock| lock.is_stale(now)),
            };
            if goes {
                self.remove(FileType::Lock, &id).await?;
                removed.push((id, lock));
            }
        }
        Ok(removed)
    }

    /// A stale lock of another host stays: its process may be alive, and only its clock be wrong.
    async fn remove_dead_locks(&self) -> Result<(), VaultError> {
        self.remove_given_up_locks().await?;
        let (now, here) = (self.env().clock.now(), whoami::hostname());
        for (id, lock) in self.locks().await? {
            if lock.is_ok_and(|lock| lock.hostname == here && lock.is_stale(now)) {
                tracing::info!(lock = %id, "removing the lock of a process of this host that is gone");
                self.remove(FileType::Lock, &id).await?;
            }
        }
        Ok(())
    }

    async fn refuse_conflict(&self, kind: LockKind, own: Option<Id>) -> Result<(), VaultError> {
        let now = self.env().clock.now();
        for (id, lock) in self.locks().await? {
            if Some(id) == own {
                continue;
            }
            let lock = lock?;
            if lock.conflicts(kind) {
                let (holder, stale) = (lock.to_string(), lock.is_stale(now));
                return Err(VaultError::Locked { url: self.store().url().to_owned(), holder, stale });
            }
        }
        Ok(())
    }
}

async fn write(vault: &Vault, kind: LockKind) -> Result<Id, VaultError> {
    let lock = Lock::ours(kind, vault.env().clock.now());
    let json = serde_json::to_vec(&lock).map_err(VaultError::seal)?;
    let (id, sealed) = vault.seal(FileType::Lock, &json)?;
    if let Err(error) = vault.store().put(&layout::lock(&id), sealed).await {
        // It may have been written and only the answer be lost.
        vault.give_up_lock(id).await;
        return Err(error.into());
    }
    Ok(id)
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
