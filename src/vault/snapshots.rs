//! The snapshots of a vault.

use futures::{StreamExt, stream};

use super::error::VaultError;
use super::handle::Vault;
use super::id::Id;
use super::layout::{self, FileType};
use super::snapshot::{Snapshot, SnapshotFile};

/// Snapshots fetched at the same time.
const CONCURRENT: usize = 16;

/// All snapshots of a vault.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// Those that can be read, oldest first.
    pub whole: Vec<SnapshotFile>,
    /// Those that cannot, and why, by id.
    pub damaged: Vec<(Id, VaultError)>,
}

impl Vault {
    /// All snapshots. One that is forgotten meanwhile is passed over.
    pub async fn snapshots(&self) -> Result<Snapshots, VaultError> {
        let ids = self.list(FileType::Snapshot).await?;
        let mut snapshots = Snapshots::default();
        self.forget_others(&ids.iter().map(|(id, _)| *id).collect());
        let loads = stream::iter(ids).map(|(id, _)| async move {
            match self.recall(&id) {
                Some(snapshot) => (id, Ok(snapshot)),
                None => (id, self.snapshot(&id).await),
            }
        });
        let mut loads = std::pin::pin!(loads.buffer_unordered(CONCURRENT));
        while let Some((id, loaded)) = loads.next().await {
            match loaded {
                Ok(snapshot) => {
                    self.remember(id, &snapshot);
                    snapshots.whole.push(SnapshotFile { id, snapshot });
                }
                Err(error) if error.is_not_found() => {}
                Err(error @ VaultError::Damaged { .. }) => snapshots.damaged.push((id, error)),
                Err(error) => return Err(error),
            }
        }
        snapshots.whole.sort_by_key(|file| (file.snapshot.time, file.id));
        snapshots.damaged.sort_by_key(|(id, _)| *id);
        Ok(snapshots)
    }

    /// One snapshot.
    pub async fn snapshot(&self, id: &Id) -> Result<Snapshot, VaultError> {
        let json = self.load(FileType::Snapshot, id).await?;
        serde_json::from_slice(&json).map_err(|error| VaultError::damaged(layout::snapshot(id), error))
    }

    /// The one snapshot whose id starts with `prefix`. Nothing starts with nothing.
    pub async fn find_snapshot(&self, prefix: &str) -> Result<SnapshotFile, VaultError> {
        let prefix = prefix.to_ascii_lowercase();
        let mut ids: Vec<Id> = self.list(FileType::Snapshot).await?.into_iter().map(|(id, _)| id).collect();
        ids.retain(|id| !prefix.is_empty() && id.to_string().starts_with(&prefix));
        match ids[..] {
            [] => Err(VaultError::NoSuchSnapshot { prefix }),
            [id] => Ok(SnapshotFile { id, snapshot: self.snapshot(&id).await? }),
            _ => Err(VaultError::AmbiguousSnapshot { prefix, count: ids.len() }),
        }
    }

    /// Stores a snapshot: the last step of a backup. Its trees and all that they refer to must be indexed already.
    pub async fn save_snapshot(&self, snapshot: &Snapshot) -> Result<Id, VaultError> {
        let json = serde_json::to_vec(snapshot).map_err(VaultError::seal)?;
        self.save(FileType::Snapshot, &json).await
    }
}
