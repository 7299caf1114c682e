//! What differs between two trees.
//!
//! Both are walked side by side, and folders with the same tree are not opened: two snapshots of a million files that
//! differ in one cost a few reads. What only one side has is listed to its last entry.

use std::cmp::Ordering;

use super::error::{LookError, shown};
use super::walk::{Folder, MAX_DEPTH};
use crate::vault::index::Index;
use crate::vault::tree::{Node, NodeKind};
use crate::vault::{Id, Vault};

/// In what way an entry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only the newer side has it.
    Added,
    /// Only the older side has it.
    Removed,
    /// Other content: bytes of a file, target of a link, number of a device.
    Content,
    /// Another kind of entry under the same name.
    Kind,
    /// The same content with other mode, owner, modification time or extended attributes.
    Metadata,
}

/// One entry that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its path.
    pub path: Vec<u8>,
    /// In what way.
    pub change: Change,
    /// The older side's entry.
    pub before: Option<Box<Node>>,
    /// The newer side's entry.
    pub after: Option<Box<Node>>,
}

/// A walk over the differences. Ask for the next until there is none; an error concerns one entry or folder of one
/// side, and the walk goes on behind it.
pub struct Diff<'a> {
    vault: &'a Vault,
    index: &'a Index,
    levels: Vec<Level>,
    pending: Option<(Option<Id>, Option<Id>)>,
    path: Vec<u8>,
    errors: Vec<LookError>,
}

struct Level {
    before: Side,
    after: Side,
    path_len: usize,
}

/// One side of a folder, with its next entry in hand.
#[derive(Default)]
struct Side {
    folder: Option<Folder>,
    next: Option<Box<Node>>,
}

impl Side {
    fn fill(&mut self, path: &[u8]) -> Result<(), LookError> {
        while self.next.is_none()
            && let Some(folder) = &mut self.folder
        {
            match folder.next(path) {
                None => self.folder = None,
                Some(Ok(node)) => self.next = Some(Box::new(node)),
                Some(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<'a> Diff<'a> {
    /// Compares the folders whose trees are `before` and `after`.
    pub fn new(vault: &'a Vault, index: &'a Index, before: Id, after: Id) -> Self {
        let pending = (before != after).then_some((Some(before), Some(after)));
        Self { vault, index, levels: Vec::new(), pending, path: Vec::new(), errors: Vec::new() }
    }

    /// The next difference.
    pub async fn next(&mut self) -> Option<Result<Difference, LookError>> {
        loop {
            if let Some((before, after)) = self.pending.take() {
                self.enter(before, after).await;
            }
            if let Some(error) = self.errors.pop() {
                return Some(Err(error));
            }
            let level = self.levels.last_mut()?;
            self.path.truncate(level.path_len);
            if let Err(error) = level.before.fill(&self.path).and_then(|()| level.after.fill(&self.path)) {
                return Some(Err(error));
            }
            let (before, after) = take_lesser(level);
            let Some(name) = before.as_ref().or(after.as_ref()).map(|node| &node.name) else {
                self.levels.pop();
                continue;
            };
            self.path.push(b'/');
            self.path.extend_from_slice(name);
            let trees = (subtree(before.as_deref()), subtree(after.as_deref()));
            if trees.0 != trees.1 {
                self.pending = Some(trees);
            }
            if let Some(change) = judge(before.as_deref(), after.as_deref()) {
                return Some(Ok(Difference { path: self.path.clone(), change, before, after }));
            }
        }
    }

    /// Opens both sides; a side that cannot be read is reported and counts as empty only after that report.
    async fn enter(&mut self, before: Option<Id>, after: Option<Id>) {
        if self.levels.len() >= MAX_DEPTH {
            self.errors.push(LookError::TooDeep { path: shown(&self.path), limit: MAX_DEPTH });
            return;
        }
        let opened = (self.open(before).await, self.open(after).await);
        match opened {
            (Ok(before), Ok(after)) => {
                let before = Side { folder: before, next: None };
                let after = Side { folder: after, next: None };
                self.levels.push(Level { before, after, path_len: self.path.len() });
            }
            // With one side unknown every entry of the other would look new: nothing is said but that.
            (before, after) => self.errors.extend(before.err().into_iter().chain(after.err())),
        }
    }

    async fn open(&self, id: Option<Id>) -> Result<Option<Folder>, LookError> {
        match id {
            Some(id) => Folder::open(self.vault, self.index, id, &self.path).await.map(Some),
            None => Ok(None),
        }
    }
}

/// The entries of the lesser name: of both sides, when they have the same.
fn take_lesser(level: &mut Level) -> (Option<Box<Node>>, Option<Box<Node>>) {
    let order = match (&level.before.next, &level.after.next) {
        (Some(before), Some(after)) => before.name.cmp(&after.name),
        (Some(_), None) => Ordering::Less,
        (None, _) => Ordering::Greater,
    };
    match order {
        Ordering::Less => (level.before.next.take(), None),
        Ordering::Equal => (level.before.next.take(), level.after.next.take()),
        Ordering::Greater => (None, level.after.next.take()),
    }
}

fn subtree(node: Option<&Node>) -> Option<Id> {
    node.filter(|node| node.kind == NodeKind::Dir).and_then(|node| node.subtree)
}

/// In what way two entries of one name differ.
pub(super) fn judge(before: Option<&Node>, after: Option<&Node>) -> Option<Change> {
    let (before, after) = match (before, after) {
        (Some(before), Some(after)) => (before, after),
        (None, Some(_)) => return Some(Change::Added),
        (Some(_), None) => return Some(Change::Removed),
        (None, None) => return None,
    };
    if before.kind != after.kind {
        return Some(Change::Kind);
    }
    let content = |node: &Node| (node.size, node.device);
    if content(before) != content(after) || before.content != after.content || before.linktarget != after.linktarget {
        return Some(Change::Content);
    }
    let metadata = |node: &Node| (node.mode, node.uid, node.gid, node.mtime);
    let names = |node: &Node| (node.user.clone(), node.group.clone());
    let same = metadata(before) == metadata(after) && names(before) == names(after) && before.xattrs == after.xattrs;
    (!same).then_some(Change::Metadata)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bed;
    use super::*;

    async fn changes(bed: &Bed, before: Id, after: Id) -> Vec<String> {
        let mut diff = Diff::new(&bed.vault, &bed.index, before, after);
        let mut seen = Vec::new();
        while let Some(next) = diff.next().await {
            seen.push(match next {
                Ok(found) => format!("{:?} {}", found.change, String::from_utf8_lossy(&found.path)),
                Err(error) => error.to_string(),
            });
        }
        seen
    }

    #[tokio::test]
    async fn every_kind_of_difference_is_told_apart() {
        let bed = Bed::new().await;
        let file = async |name, content: &[u8]| bed.file(name, &[content]).await;
        let mut touched = file("touched", b"same").await;
        let before = bed
            .tree(vec![
                bed.dir("gone", vec![file("old", b"1").await]).await,
                bed.dir("same", vec![file("x", b"2").await]).await,
                file("edited", b"3").await,
                touched.clone(),
                file("turned", b"4").await,
            ])
            .await;
        touched.mode = 0o600;
        let after = bed
            .tree(vec![
                bed.dir("fresh", vec![file("new", b"5").await]).await,
                bed.dir("same", vec![file("x", b"2").await]).await,
                file("edited", b"6").await,
                touched,
                bed.dir("turned", vec![file("y", b"7").await]).await,
            ])
            .await;
        let expected = [
            "Content /edited",
            "Added /fresh",
            "Added /fresh/new",
            "Removed /gone",
            "Removed /gone/old",
            "Metadata /touched",
            "Kind /turned",
            "Added /turned/y",
        ];
        assert_eq!(changes(&bed, before, after).await, expected);
        assert!(changes(&bed, before, before).await.is_empty());
    }

    #[tokio::test]
    async fn a_folder_that_one_side_cannot_read_is_not_taken_for_empty() {
        let bed = Bed::new().await;
        let whole = bed.dir("d", vec![bed.file("a", &[b"1"]).await]).await;
        let mut lost = whole.clone();
        lost.subtree = Some(Id([9; 32]));
        let before = bed.tree(vec![whole]).await;
        let after = bed.tree(vec![lost, bed.file("e", &[]).await]).await;
        let seen = changes(&bed, before, after).await;
        assert_eq!(seen, ["load the folder /d (tree 09090909)", "Added /e"]);
    }

    #[test]
    fn times_that_reading_changes_are_no_difference() {
        let mut before = Node::new(*b"f", NodeKind::File);
        let mut after = before.clone();
        after.atime = jiff::Timestamp::MAX;
        after.inode = 77;
        assert_eq!(judge(Some(&before), Some(&after)), None);
        before.kind = NodeKind::Symlink;
        after.kind = NodeKind::Symlink;
        after.linktarget = b"elsewhere".to_vec();
        assert_eq!(judge(Some(&before), Some(&after)), Some(Change::Content));
    }
}
