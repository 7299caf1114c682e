//! Lock files: what they say of their holder, which there are, and their removal on request.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::LockKind;
use crate::vault::error::VaultError;
use crate::vault::handle::Vault;
use crate::vault::id::Id;
use crate::vault::layout::{self, FileType};
use crate::vault::whoami;

/// After this long without a refresh others may take the holder for dead.
const STALE_AFTER: SignedDuration = SignedDuration::from_mins(30);
/// How often locks are listed anew when some were gone: holders write each of theirs every few minutes.
const LISTINGS: u32 = 50;

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
    pub(super) fn ours(kind: LockKind, now: Timestamp) -> Self {
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

    pub(super) fn conflicts(&self, kind: LockKind) -> bool {
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

impl Vault {
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
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}
