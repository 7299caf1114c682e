//! Why a backup failed as a whole. What fails for one file is a [`Problem`](crate::monitor::Problem).

use std::path::PathBuf;

use crate::source::files::FileError;
use crate::vault::VaultError;
use crate::vault::pack::PackError;
use crate::vault::tree::BuildError;

/// Why a backup failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The vault could not be read or written.
    #[error("use the vault")]
    Vault(#[from] VaultError),
    /// A path that was asked for does not exist or cannot be looked at.
    #[error("back up {}: it cannot be looked at", path.display())]
    Path {
        /// As given, made absolute.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The root folder cannot be looked at.
    #[error("back up {}", path.display())]
    Look {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: FileError,
    },
    /// No path was given.
    #[error("back up: no path was given")]
    NoPaths,
    /// A path is not absolute, or is not one that can be stored.
    #[error("back up {}: {why}", path.display())]
    BadPath {
        /// As given.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A folder's entries could not be put into a tree.
    #[error("build the tree of {path}")]
    Tree {
        /// The folder.
        path: String,
        /// Why.
        #[source]
        source: BuildError,
    },
    /// The vault's polynomial cannot be used to cut files.
    #[error("cut files as the vault's configuration says")]
    Chunker(#[source] super::chunk::WrongDegree),
    /// A blob could not be sealed.
    #[error("seal a blob")]
    Seal(#[source] PackError),
    /// The stream that was to be stored failed: nothing of it counts.
    #[error("read {name}: {why}")]
    Stream {
        /// The name that it was to be stored under.
        name: String,
        /// Why, with the exit status of the program where there is one.
        why: String,
    },
    /// Nothing could be read, so there is nothing to keep.
    #[error("back up: nothing could be read ({problems} problems)")]
    NothingRead {
        /// How many problems were listed.
        problems: usize,
    },
    /// A prune deleted what the run relied on, and that is not to be had again.
    #[error("back up: a prune that went on meanwhile deleted what this run relied on; the snapshot was withdrawn")]
    Overtaken,
    /// The operator asked to stop.
    #[error("back up: interrupted; finished packs are kept, and the next run goes on from them")]
    Cancelled,
    /// An upload failed; the cause is reported by the uploader.
    #[error("back up: the upload stopped")]
    UploadStopped,
}

impl From<PackError> for BackupError {
    fn from(error: PackError) -> Self {
        match error {
            // It was sealed well, and the store failed.
            PackError::Write(error) => Self::Vault(error.into()),
            error => Self::Seal(error),
        }
    }
}
