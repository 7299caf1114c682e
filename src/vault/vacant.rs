//! Whether a vault may be made in a place.
//!
//! Never over another one, nor over what is left of one: then its objects, which may be all that is left of backups, would
//! count as ours and be pruned. Nor among files of the user's: whoever tidies up one would hit the other.

use super::error::VaultError;
use super::handle::Vault;
use super::layout::{CONFIG, FileType, SETTINGS};
use crate::store::{Store, StoreError};

/// What file systems have in their root.
const LOST_AND_FOUND: &str = "lost+found";

impl Vault {
    /// Refuses a place that holds a vault, snapshots, index files or packs of one, or, where it is a folder, anything else.
    /// What a making that was cut short left is let through.
    pub async fn may_be_made(store: &Store) -> Result<(), VaultError> {
        let url = || store.url().to_owned();
        if store.size(CONFIG).await?.is_some() {
            return Err(VaultError::VaultExists { url: url() });
        }
        if let Some(found) = remains(store).await? {
            return Err(VaultError::NotEmpty { url: url(), found });
        }
        let foreign: Vec<String> = store.names().await?.into_iter().filter(|name| !is_ours(name)).collect();
        match foreign.as_slice() {
            [] => Ok(()),
            [only] => Err(VaultError::Occupied { url: url(), found: format!("{only:?}") }),
            [first, rest @ ..] => {
                Err(VaultError::Occupied { url: url(), found: format!("{first:?} and {} more", rest.len()) })
            }
        }
    }
}

/// Whether a making that was cut short, or the file system, may have put it there.
fn is_ours(name: &str) -> bool {
    let settings = SETTINGS.split('/').next();
    FileType::ALL.iter().map(|kind| kind.folder()).chain(settings).chain([LOST_AND_FOUND]).any(|ours| ours == name)
}

/// The first folder that holds what only a finished vault has.
pub(super) async fn remains(store: &Store) -> Result<Option<&'static str>, StoreError> {
    for kind in [FileType::Snapshot, FileType::Index, FileType::Pack] {
        if !store.list(kind.folder()).await?.is_empty() {
            return Ok(Some(kind.folder()));
        }
    }
    Ok(None)
}
