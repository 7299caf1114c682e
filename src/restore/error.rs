//! Why a restore could not be done. What is lost of single files is a [`Problem`](crate::monitor::Problem).

use std::path::PathBuf;

use crate::vault::VaultError;

/// Why a restore failed as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The vault could not be read.
    #[error("read the vault")]
    Vault(#[from] VaultError),
    /// The target has something in it.
    #[error("restore into {}: the folder is not empty", target.display())]
    NotEmpty {
        /// The target.
        target: PathBuf,
    },
    /// The target cannot be made, or is not a folder.
    #[error("restore into {}: the folder cannot be opened or made", target.display())]
    Target {
        /// The target.
        target: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The snapshot has no such path.
    #[error("restore {}: the snapshot has no such path", path.display())]
    NoSuchPath {
        /// The subpath that was asked for.
        path: PathBuf,
    },
    /// A pattern cannot be parsed.
    #[error("use the pattern {pattern:?}: {why}")]
    Pattern {
        /// As given.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// Deleting and selecting were both asked for.
    #[error("restore: deleting what the snapshot does not have cannot be combined with include or exclude")]
    MirrorOfSelection,
    /// The operator asked to stop.
    #[error("restore: interrupted; restore again with --overwrite to go on")]
    Cancelled,
}
