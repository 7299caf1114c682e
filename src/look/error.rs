//! What can go wrong while looking.

use std::io;

use crate::vault::tree::TreeError;
use crate::vault::{Id, VaultError};

/// What can go wrong while looking. Paths are rendered lossily; whoever prints them escapes them.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// A folder's tree could not be loaded.
    #[error("load the folder {path} (tree {})", id.short())]
    Load {
        /// The folder.
        path: String,
        /// Its tree.
        id: Id,
        /// Why.
        #[source]
        source: Box<VaultError>,
    },
    /// A folder's tree, or one entry of it, makes no sense.
    #[error("read the folder {path} (tree {})", id.short())]
    Tree {
        /// The folder.
        path: String,
        /// Its tree.
        id: Id,
        /// Why.
        #[source]
        source: TreeError,
    },
    /// A folder without a tree.
    #[error("read the folder {path}: the snapshot names no tree for it")]
    NoTree {
        /// The folder.
        path: String,
    },
    /// Folders within folders beyond what is followed.
    #[error("go into {path}: more than {limit} folders deep")]
    TooDeep {
        /// The folder.
        path: String,
        /// How deep we go.
        limit: usize,
    },
    /// The snapshot does not have it.
    #[error("find {path} in the snapshot: {parent} has no \"{name}\"")]
    NoSuchPath {
        /// What was asked for.
        path: String,
        /// The last folder on the way that is there.
        parent: String,
        /// What it does not have.
        name: String,
    },
    /// Something on the way is no folder.
    #[error("find {path} in the snapshot: {parent} is no folder but a {kind}")]
    NotAFolder {
        /// What was asked for.
        path: String,
        /// What is no folder.
        parent: String,
        /// What it is.
        kind: crate::vault::tree::NodeKind,
    },
    /// The path steps upwards.
    #[error("find {path} in the snapshot: a path may not contain \"..\"")]
    Upwards {
        /// What was asked for.
        path: String,
    },
    /// Only files have content.
    #[error("dump {path}: a {kind} has no content")]
    NoContent {
        /// What was asked for.
        path: String,
        /// What it is.
        kind: crate::vault::tree::NodeKind,
    },
    /// A piece of a file could not be loaded.
    #[error("read {path} at byte {at} (blob {})", id.short())]
    Blob {
        /// The file.
        path: String,
        /// Where the piece begins.
        at: u64,
        /// The piece.
        id: Id,
        /// Why.
        #[source]
        source: Box<VaultError>,
    },
    /// The file's pieces are not as long together as it was.
    #[error("read {path}: its pieces hold {found} bytes, the file had {size}")]
    Length {
        /// The file.
        path: String,
        /// What the pieces hold together.
        found: u64,
        /// What the snapshot says.
        size: u64,
    },
    /// Where it goes to does not take it.
    #[error("write the output")]
    Write(#[source] io::Error),
}

/// A path for a message.
pub(super) fn shown(path: &[u8]) -> String {
    if path.is_empty() { "/".to_owned() } else { String::from_utf8_lossy(path).into_owned() }
}
