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
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let plain: Vec<u8> = parts.clone().flat_map(|part| [b"/", part].concat()).collect();
    let mut found = Found::Top(root);
    for part in parts {
        if part == b".." {
            return Err(LookError::Upwards { path: shown(&plain) });
        }
        found = step(vault, index, &found, part, &plain).await?;
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

#[cfg(test)]
mod tests {
    use super::super::testing::Bed;
    use super::*;

    #[tokio::test]
    async fn paths_are_found_however_they_are_written() {
        let bed = Bed::new().await;
        let home = bed.dir("home", vec![bed.file("a", &[b"1"]).await]).await;
        let root = bed.tree(vec![home]).await;
        let at = async |path: &str| locate(&bed.vault, &bed.index, root, path.as_bytes()).await;
        for path in ["", "/", "//", "/./"] {
            assert_eq!(at(path).await.expect(path), Found::Top(root));
        }
        for path in ["/home/a", "home//a/", "./home/a"] {
            let Ok(Found::Entry { path: found, node }) = at(path).await else { panic!("{path}") };
            assert_eq!((found.as_slice(), node.name.as_slice()), (&b"/home/a"[..], &b"a"[..]));
        }
    }

    #[tokio::test]
    async fn what_is_not_there_is_named() {
        let bed = Bed::new().await;
        let home = bed.dir("home", vec![bed.file("a", &[b"1"]).await]).await;
        let root = bed.tree(vec![home]).await;
        for (path, text) in [
            ("//hom/a/", "find /hom/a in the snapshot: / has no \"hom\""),
            ("/home/b/c", "find /home/b/c in the snapshot: /home has no \"b\""),
            ("/home/a/x", "find /home/a/x in the snapshot: /home/a is no folder but a file"),
            ("/home/../home", "find /home/../home in the snapshot: a path may not contain \"..\""),
        ] {
            let error = locate(&bed.vault, &bed.index, root, path.as_bytes()).await.expect_err(path);
            assert_eq!(error.to_string(), text);
        }
    }
}
