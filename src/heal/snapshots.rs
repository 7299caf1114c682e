//! Damaged snapshots, by what another vault has of them.
//!
//! Where the other vault is a copy byte for byte, its object is taken as it is, under the same id. Where it was replicated
//! under a key of its own, the snapshot that came of the lost one (`original`) is sealed anew: an id is the hash of what was
//! sealed, so it gets a new one, and `original` names the lost one, as restic does when it rewrites a snapshot. A snapshot
//! whose object is gone is no damage: it may have been forgotten. `replicate` brings it back from a copy.

use std::collections::HashSet;

use serde::Serialize;

use super::HealError;
use super::run::Healed;
use crate::check::{Examined, Object};
use crate::vault::lock::LockGuard;
use crate::vault::snapshot::{Snapshot, SnapshotFile};
use crate::vault::{FileType, Id, Vault, layout};

/// A snapshot that can be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HealedSnapshot {
    /// The id under which it was damaged.
    pub lost: Id,
    /// Its id now.
    pub now: Id,
}

/// What may stand in for each damaged snapshot: that of the other vault, under the damaged one's id.
pub(super) async fn stand_ins(vault: &Vault, copy: Option<&Vault>) -> Result<Vec<SnapshotFile>, HealError> {
    let Some(copy) = copy else { return Ok(Vec::new()) };
    let lost: HashSet<Id> = vault.snapshots().await?.damaged.into_iter().map(|(id, _)| id).collect();
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let there = copy.snapshots().await.map_err(HealError::Copy)?.whole;
    let mut found: Vec<SnapshotFile> = Vec::new();
    for file in there {
        let of = [Some(file.id), file.snapshot.original].into_iter().flatten().find(|id| lost.contains(id));
        if let Some(id) = of
            && found.iter().all(|it| it.id != id)
        {
            found.push(SnapshotFile { id, snapshot: file.snapshot });
        }
    }
    Ok(found)
}

/// Replaces damaged snapshots of which all is there. Whether there were any.
pub(super) async fn heal(
    vault: &Vault,
    copy: Option<&Vault>,
    seen: &Examined,
    stand_ins: &[SnapshotFile],
    lock: &LockGuard,
    healed: &mut Healed,
) -> Result<bool, HealError> {
    let Some(copy) = copy else { return Ok(false) };
    let mut any = false;
    for lost in &seen.lost_snapshots {
        let Some(stand_in) = stand_ins.iter().find(|file| file.id == *lost) else { continue };
        lock.check()?;
        let now = match same_object(vault, copy, lost).await? {
            Some(id) => id,
            None if is_whole(seen, lost) => {
                let now = anew(vault, seen, stand_in).await?;
                lock.check()?;
                vault.remove(FileType::Snapshot, lost).await?;
                now
            }
            None => continue,
        };
        healed.snapshots.push(HealedSnapshot { lost: *lost, now });
        any = true;
    }
    Ok(any)
}

/// Whether nothing that stands in for the snapshot is damaged itself.
fn is_whole(seen: &Examined, lost: &Id) -> bool {
    let hits = |damage: &crate::check::Damage| damage.object != Object::Snapshot && damage.snapshots.contains(lost);
    !seen.report.damage.iter().any(hits)
}

/// Takes over the other vault's object when it is the very one that was lost.
async fn same_object(vault: &Vault, copy: &Vault, lost: &Id) -> Result<Option<Id>, HealError> {
    let object = layout::snapshot(lost);
    let bytes = match copy.store().get(&object).await {
        Ok(bytes) if Id::of(&bytes) == *lost => bytes,
        Ok(_) => return Ok(None),
        Err(error) => {
            let error = crate::vault::VaultError::from(error);
            return if error.is_damage() { Ok(None) } else { Err(HealError::Copy(error)) };
        }
    };
    vault.store().put(&object, bytes).await.map_err(crate::vault::VaultError::from)?;
    vault.snapshot(lost).await?;
    Ok(Some(*lost))
}

/// Seals the snapshot anew, unless a run that was cut off has done so.
async fn anew(vault: &Vault, seen: &Examined, stand_in: &SnapshotFile) -> Result<Id, HealError> {
    let written = Snapshot { parent: None, original: Some(stand_in.id), ..stand_in.snapshot.clone() };
    if let Some(there) = seen.snapshots.iter().find(|file| file.snapshot == written) {
        return Ok(there.id);
    }
    let id = vault.save_snapshot(&written).await?;
    vault.snapshot(&id).await?;
    Ok(id)
}
