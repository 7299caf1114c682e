//! The last step of every writer, before it tells anybody that a snapshot is there.
//!
//! While it worked, a prune may have moved the boundary over packs that it did not know to be condemned when it loaded the
//! index. It wrote its snapshot first, and looks at the boundary then: either the prune's listing of snapshots, which comes
//! after it moved the boundary, has the snapshot, and the prune keeps what it needs; or the writer finds the boundary moved,
//! and stores again what it relied on. A HEAD of a condemned pack would prove nothing, as its deletion may be on its way.

use std::sync::Arc;

use super::repack;
use super::run::{PruneError, mark_roots};
use crate::monitor::{Cancel, Monitor, Silent};
use crate::vault::{Condemned, FileType, Id, Vault, VaultError};

/// Whether a snapshot can be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// All that it needs stays.
    Whole,
    /// Some of what it needs is gone or damaged, or the operator asked to stop: the snapshot was withdrawn.
    Withdrawn,
}

/// Sees to it that a snapshot which was just written stays whole, whatever a prune did since the writer loaded `seen` and
/// its index. On an error the snapshot is not acknowledged, and may be there.
pub async fn confirm(
    vault: &Vault,
    snapshot: Id,
    tree: Id,
    mut seen: Condemned,
    cancel: &Cancel,
) -> Result<Confirmed, VaultError> {
    while vault.is_overtaken(&seen).await? {
        tracing::info!(snapshot = %snapshot, "a prune went on meanwhile: what the snapshot needs is looked at again");
        seen = match keep(vault, tree, cancel).await {
            Ok(Some(now)) => now,
            Err(PruneError::Vault(error)) if !error.is_damage() => return Err(error),
            Ok(None) | Err(_) => {
                vault.remove(FileType::Snapshot, &snapshot).await?;
                return Ok(Confirmed::Withdrawn);
            }
        };
    }
    Ok(Confirmed::Whole)
}

/// Stores again what a tree needs and only condemned packs have, as far as is known now. Nothing when some of it is in no
/// index any more.
async fn keep(vault: &Vault, tree: Id, cancel: &Cancel) -> Result<Option<Condemned>, PruneError> {
    let (now, index) = vault.load_view(&Silent).await?;
    let silent: Arc<dyn Monitor> = Arc::new(Silent);
    let marks = mark_roots(vault, &index, vec![tree], &silent, cancel).await?;
    let Some(blobs) = marks.only_condemned(&now) else { return Ok(None) };
    repack::copy(vault, blobs, cancel).await?;
    Ok(Some(now))
}
