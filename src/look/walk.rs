//! Goes through a tree from the top, folders before what they hold, names in the order of their bytes.

use super::error::{LookError, shown};
use crate::vault::index::Index;
use crate::vault::tree::{Node, NodeKind};
use crate::vault::{Id, TreeSource, Vault};

/// Folders within folders that are followed. File systems reach some thousands; a hostile vault must not reach the end
/// of the memory.
pub(super) const MAX_DEPTH: usize = 16_384;

/// The entries of a folder's tree.
pub(super) struct Folder {
    id: Id,
    entries: TreeSource,
    ended: bool,
}

impl Folder {
    pub(super) async fn open(vault: &Vault, index: &Index, id: Id, path: &[u8]) -> Result<Self, LookError> {
        let failed = |source| LookError::Load { path: shown(path), id, source: Box::new(source) };
        let entries = vault.open_tree(index, &id).await.map_err(failed)?;
        Ok(Self { id, entries, ended: false })
    }

    /// The next entry. After an error the rest still comes, as far as it can be read.
    pub(super) fn next(&mut self, path: &[u8]) -> Option<Result<Node, LookError>> {
        if self.ended {
            return None;
        }
        match self.entries.next() {
            None => {
                self.ended = true;
                None
            }
            Some(Ok(node)) => Some(Ok(node)),
            Some(Err(source)) => {
                self.ended = source.is_final();
                Some(Err(LookError::Tree { path: shown(path), id: self.id, source }))
            }
        }
    }
}

/// A walk through a tree. Ask for the next entry until there is none; an error concerns one entry or folder, and the
/// walk goes on behind it.
pub struct Walk<'a> {
    vault: &'a Vault,
    index: &'a Index,
    levels: Vec<Level>,
    path: Vec<u8>,
    pending: Option<Id>,
}

struct Level {
    folder: Folder,
    /// Length of the folder's own path.
    path_len: usize,
}

impl<'a> Walk<'a> {
    /// A walk through the folder whose tree is `root` and whose path is `base` ("" or "/home": without a slash at the
    /// end).
    pub fn new(vault: &'a Vault, index: &'a Index, root: Id, base: &[u8]) -> Self {
        Self { vault, index, levels: Vec::new(), path: base.to_vec(), pending: Some(root) }
    }

    /// The next entry; [`Walk::path`] is then its path.
    pub async fn next(&mut self) -> Option<Result<Node, LookError>> {
        if let Some(id) = self.pending.take()
            && let Err(error) = self.enter(id).await
        {
            return Some(Err(error));
        }
        loop {
            let level = self.levels.last_mut()?;
            self.path.truncate(level.path_len);
            match level.folder.next(&self.path) {
                None => {
                    self.levels.pop();
                }
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(node)) => {
                    self.path.push(b'/');
                    self.path.extend_from_slice(&node.name);
                    match (node.kind, node.subtree) {
                        (NodeKind::Dir, Some(id)) => self.pending = Some(id),
                        (NodeKind::Dir, None) => return Some(Err(LookError::NoTree { path: shown(&self.path) })),
                        (_, _) => self.pending = None,
                    }
                    return Some(Ok(node));
                }
            }
        }
    }

    /// Does not go into the folder that was the last entry.
    pub fn skip(&mut self) {
        self.pending = None;
    }

    /// The path of the last entry; after an error, of the folder that it concerns.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// How many folders lie around the last entry, within the one that the walk started from.
    pub fn depth(&self) -> usize {
        self.levels.len().saturating_sub(1)
    }

    async fn enter(&mut self, id: Id) -> Result<(), LookError> {
        if self.levels.len() >= MAX_DEPTH {
            return Err(LookError::TooDeep { path: shown(&self.path), limit: MAX_DEPTH });
        }
        let folder = Folder::open(self.vault, self.index, id, &self.path).await?;
        self.levels.push(Level { folder, path_len: self.path.len() });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bed;
    use super::*;

    async fn paths(bed: &Bed, root: Id, skip: &[&str]) -> Vec<String> {
        let mut walk = Walk::new(&bed.vault, &bed.index, root, b"");
        let mut seen = Vec::new();
        while let Some(entry) = walk.next().await {
            let path = String::from_utf8_lossy(walk.path()).into_owned();
            match entry {
                Ok(_) if skip.contains(&path.as_str()) => {
                    walk.skip();
                    seen.push(path);
                }
                Ok(_) => seen.push(path),
                Err(error) => seen.push(format!("error at {path:?}: {error}")),
            }
        }
        seen
    }

    #[tokio::test]
    async fn folders_come_before_what_they_hold() {
        let bed = Bed::new().await;
        let inner = bed.dir("inner", vec![bed.file("z", &[]).await]).await;
        let home = bed.dir("home", vec![inner, bed.file("a", &[b"1"]).await]).await;
        let root = bed.tree(vec![home, bed.dir("empty", Vec::new()).await, bed.file("top", &[]).await]).await;
        let all = ["/empty", "/home", "/home/a", "/home/inner", "/home/inner/z", "/top"];
        assert_eq!(paths(&bed, root, &[]).await, all);
        assert_eq!(paths(&bed, root, &["/home/inner"]).await, ["/empty", "/home", "/home/a", "/home/inner", "/top"]);
        assert_eq!(paths(&bed, root, &["/home"]).await, ["/empty", "/home", "/top"]);
    }

    #[tokio::test]
    async fn a_missing_tree_does_not_end_the_walk() {
        let bed = Bed::new().await;
        let mut lost = bed.dir("lost", Vec::new()).await;
        lost.subtree = Some(Id([7; 32]));
        let mut none = bed.dir("none", Vec::new()).await;
        none.subtree = None;
        let root = bed.tree(vec![lost, none, bed.file("top", &[]).await]).await;
        let seen = paths(&bed, root, &[]).await;
        assert_eq!(seen.len(), 4, "{seen:?}");
        assert_eq!(seen[0], "/lost");
        assert!(seen[1].contains("load the folder /lost (tree 07070707)"), "{seen:?}");
        assert!(seen[2].contains("/none: the snapshot names no tree"), "{seen:?}");
        assert_eq!(seen[3], "/top");
    }
}
