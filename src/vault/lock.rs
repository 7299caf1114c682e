//! restic's locks: sealed files under `locks/`, so that stock tools may share the vault.
//!
//! A writer holds a shared lock, whoever deletes or rewrites an exclusive one. To take one: list, write, wait (where listings
//! may be behind), list again, and give way when another's conflicts. A holder writes a new lock file every five minutes and removes the old;
//! one that could not for 22.5 minutes must stop, because others may take its lock for dead after 30. A crash leaves a
//! lock file: the next run on the same host removes it once its process is gone, `unlock` removes it on any host. What a
//! process that lives on could not remove, it removes before it takes its next lock.
//!
//! Readers need none of this, and between drctl's own writers nothing rests on it alone.

use std::time::Duration;

use super::error::VaultError;
use super::handle::Vault;
use super::id::Id;
use super::layout::{self, FileType};
use super::whoami;
use crate::monitor::Cancel;

mod file;
mod held;

pub use file::{Lock, Unlock};
pub use held::LockGuard;

/// How long to wait between writing a lock and looking whether another came first, where a listing may be behind what was
/// written. Where it never is, of two that write and then look one sees the other.
const SETTLE: Duration = Duration::from_millis(200);
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

impl Vault {
    /// Takes a lock, waiting up to `retry` for others that conflict.
    ///
    /// Locks that dead processes of this host left are removed first. Fails with [`VaultError::Locked`], which names the
    /// holder, or with [`VaultError::Damaged`] when a lock cannot be read: nobody knows whose it is, so it blocks.
    pub async fn lock(&self, kind: LockKind, retry: Duration) -> Result<LockGuard, VaultError> {
        self.lock_unless(kind, retry, &Cancel::default()).await
    }

    /// The same, but waits no longer once it is asked to stop.
    pub async fn lock_unless(&self, kind: LockKind, retry: Duration, cancel: &Cancel) -> Result<LockGuard, VaultError> {
        self.writable()?;
        let clock = self.env().clock.clone();
        let begun = clock.boot();
        loop {
            let taken = self.try_lock(kind).await;
            let left = retry.saturating_sub(clock.boot() - begun);
            match taken {
                Err(VaultError::Locked { .. }) if !left.is_zero() && !cancel.is_cancelled() => {
                    clock.sleep(RETRY.min(left)).await;
                }
                taken => return taken,
            }
        }
    }

    async fn try_lock(&self, kind: LockKind) -> Result<LockGuard, VaultError> {
        self.remove_dead_locks().await?;
        self.refuse_conflict(kind, None).await?;
        let begun = self.env().clock.boot();
        let id = write(self, kind).await?;
        if !self.store().lists_at_once() {
            self.env().clock.sleep(SETTLE).await;
        }
        if let Err(conflict) = self.refuse_conflict(kind, Some(id)).await {
            self.give_up_lock(id).await;
            return Err(conflict);
        }
        Ok(LockGuard::keep(self, kind, id, begun))
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

#[cfg(test)]
mod tests;
