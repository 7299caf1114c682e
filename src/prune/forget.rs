//! Removing snapshots by name or by number. What they held is freed by the next prune.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::vault::lock::LockKind;
use crate::vault::snapshot::SnapshotFile;
use crate::vault::{FileType, Id, Vault, VaultError};

/// Which snapshots go and which stay.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Stay, oldest first.
    pub keep: Vec<Id>,
    /// Go, oldest first.
    pub remove: Vec<Id>,
}

/// Keeps the newest `count` of each group of host and paths, and of a group in which these all lack something the newest
/// complete one: what could not be read must not push out what could.
pub fn keep_last(snapshots: &[SnapshotFile], count: usize) -> Choice {
    let mut groups: BTreeMap<(String, Vec<String>), Vec<&SnapshotFile>> = BTreeMap::new();
    for file in snapshots {
        let mut paths = file.snapshot.paths.clone();
        paths.sort_unstable();
        groups.entry((file.snapshot.hostname.clone(), paths)).or_default().push(file);
    }
    let mut choice = Choice::default();
    for mut group in groups.into_values() {
        group.sort_by_key(|file| (file.snapshot.time, file.id));
        let first_kept = group.len().saturating_sub(count);
        let complete = group.iter().rposition(|file| file.snapshot.is_complete());
        for (at, file) in group.iter().enumerate() {
            let stays = at >= first_kept || Some(at) == complete;
            if stays { &mut choice.keep } else { &mut choice.remove }.push(file.id);
        }
    }
    choice
}

/// Removes snapshots under a shared lock: a backup may go on beside it, a prune may not.
///
/// A crash leaves some of them; removing them again finds the rest.
pub async fn remove(vault: &Vault, snapshots: &[Id], retry_lock: Duration) -> Result<(), VaultError> {
    let lock = vault.lock(LockKind::Shared, retry_lock).await?;
    let removed = async {
        for id in snapshots {
            vault.remove(FileType::Snapshot, id).await?;
        }
        Ok(())
    }
    .await;
    lock.release().await;
    removed
}
