//! A lock that is held: it is refreshed until it is given back or lost, and once it is lost it says so for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::{Lock, LockKind, write};
use crate::vault::error::VaultError;
use crate::vault::handle::Vault;
use crate::vault::id::Id;
use crate::vault::layout;

/// How often a held lock is written anew.
const REFRESH: Duration = Duration::from_secs(5 * 60);
/// How soon that is tried again when it failed.
const REFRESH_AGAIN: Duration = Duration::from_secs(30);
/// After this long without a refresh the holder stops.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(22 * 60 + 30);

/// A held lock.
///
/// Give it back with [`LockGuard::release`]. One that is only dropped is removed in the background while the runtime lives;
/// if it no longer does, the lock file stays until the next run on this host.
#[derive(Debug)]
pub struct LockGuard {
    pub(super) held: Arc<Held>,
    refresher: tokio::task::JoinHandle<()>,
    runtime: Handle,
}

#[derive(Debug)]
pub(super) struct Held {
    vault: Vault,
    kind: LockKind,
    /// The lock file; none once it was given back. Held while the file is replaced, so that none is left behind.
    pub(super) file: Mutex<Option<Id>>,
    /// Boot time of the last refresh, in milliseconds.
    pub(super) refreshed: AtomicU64,
    /// Somebody removed our file: they do not count on us any more.
    removed: AtomicBool,
}

impl LockGuard {
    /// Takes charge of a lock that was begun to be written at this boot time: refreshes it from now on.
    pub(super) fn keep(vault: &Vault, kind: LockKind, file: Id, begun: Duration) -> Self {
        let held = Arc::new(Held {
            vault: vault.clone(),
            kind,
            file: Mutex::new(Some(file)),
            refreshed: AtomicU64::new(millis(begun)),
            removed: AtomicBool::new(false),
        });
        let keep = held.clone();
        let refresher = tokio::spawn(async move { keep.keep(REFRESH).await });
        Self { held, refresher, runtime: Handle::current() }
    }

    /// Fails once others may not heed the lock any more: nothing may be written or deleted then.
    pub fn check(&self) -> Result<(), VaultError> {
        self.held.check()
    }

    /// Whether nobody else may be at work.
    pub fn is_exclusive(&self) -> bool {
        self.held.kind == LockKind::Exclusive
    }

    /// Says whether [`LockGuard::check`] would pass, for as long as anyone wants to know.
    pub fn watch(&self) -> impl Fn() -> bool + Clone + Send + 'static {
        let held = self.held.clone();
        move || held.check().is_ok()
    }

    /// A lock of somebody else who is at work. Whoever is not seen here had ended before: what they wrote is there.
    ///
    /// A lock that cannot be read may be anybody's: [`VaultError::Damaged`].
    pub async fn other(&self) -> Result<Option<Lock>, VaultError> {
        // Kept, so that our own file is not replaced meanwhile and then taken for another's.
        let own = self.held.file.lock().await;
        let now = self.held.vault.env().clock.now();
        for (id, lock) in self.held.vault.locks().await? {
            if Some(id) != *own {
                let lock = lock?;
                if !lock.is_stale(now) {
                    return Ok(Some(lock));
                }
            }
        }
        Ok(None)
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
    pub(super) async fn refresh(&self) -> Result<(), VaultError> {
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
    pub(super) async fn keep(&self, every: Duration) {
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

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
