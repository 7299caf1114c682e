//! Finds one path in a snapshot.

use super::error::{LookError, shown};
use super::walk::Folder;
use crate::vault::index::Index;
use crate::vault::tree::{Node, NodeKind};
use crate::vault::{Id, Vault};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The top of the snapshot, which is no entry of anything.
    Top(Id),
    /// An entry, and its path without repeated or trailing slashes.
    Entry {
        /// The path.
        path: Vec<u8>,
        /// The entry.
        node: Box<Node>,
    },
}

impl Found {
    /// The tree and the path of a folder; `None` for what is no folder.
    pub fn folder(&self) -> Option<(Id, &[u8])> {
        match self {
            Self::Top(id) => Some((*id, b"")),
            Self::Entry { path, node } => node.subtree.map(|id| (id, path.as_slice())),
        }
    }
}

/// Finds `path` in the tree `root`. Slashes at both ends and empty parts are ignored.
pub async fn locate(vault: &Vault, index: &Index, root: Id, path: &[u8]) -> Result<Found, LookError> {
    let mut found = Found::Top(root);
    for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
        if part == b".." {
            return Err(LookError::Upwards { path: shown(path) });
        }
        found = step(vault, index, &found, part, path).await?;
    }
    Ok(found)
}

async fn step(vault: &Vault, index: &Index, from: &Found, name: &[u8], wanted: &[u8]) -> Result<Found, LookError> {
    let (id, parent) = match from {
        Found::Top(id) => (*id, &b""[..]),
        Found::Entry { path, node } => match (node.kind, node.subtree) {
            (NodeKind::Dir, Some(id)) => (id, path.as_slice()),
            (NodeKind::Dir, None) => return Err(LookError::NoTree { path: shown(path) }),
            (kind, _) => {
                return Err(LookError::NotAFolder { path: shown(wanted), parent: shown(path), kind });
            }
        },
    };
    let mut folder = Folder::open(vault, index, id, parent).await?;
    let mut damage = None;
    while let Some(entry) = folder.next(parent) {
        match entry {
            Ok(node) if node.name == name => {
                let path = [parent, b"/", name].concat();
                return Ok(Found::Entry { path, node: Box::new(node) });
            }
            Ok(_) => (),
            Err(error) => damage = damage.or(Some(error)),
        }
    }
    // What is missing may be what could not be read.
    Err(damage.unwrap_or_else(|| LookError::NoSuchPath {
        path: shown(wanted),
        parent: shown(parent),
        name: shown(name),
    }))
}
