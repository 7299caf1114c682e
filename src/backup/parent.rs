//! The parent snapshot: which one it is, and looking up what it had, folder by folder.

use super::{BackupError, ParentChoice, Run};
use crate::vault::TreeSource;
use crate::vault::snapshot::SnapshotFile;
use crate::vault::tree::Node;
use crate::vault::{Id, Vault, chain};

/// The snapshot whose unchanged files are not read again.
pub(super) async fn choose(
    vault: &Vault,
    choice: ParentChoice,
    host: &str,
    paths: &[String],
) -> Result<Option<SnapshotFile>, BackupError> {
    match choice {
        ParentChoice::None => Ok(None),
        ParentChoice::Given(id) => Ok(Some(vault.find_snapshot(&id.to_string()).await?)),
        ParentChoice::Latest => {
            let snapshots = vault.snapshots().await?.whole;
            let mut own =
                snapshots.into_iter().filter(|s| s.snapshot.hostname == host && same(&s.snapshot.paths, paths));
            Ok(own.next_back())
        }
    }
}

fn same(a: &[String], b: &[String]) -> bool {
    let sorted = |paths: &[String]| {
        let mut paths = paths.to_vec();
        paths.sort();
        paths
    };
    a.len() == b.len() && sorted(a) == sorted(b)
}

/// What the parent snapshot has in a folder's place.
#[derive(Debug, Clone, Copy)]
pub(super) struct FolderBefore {
    /// Its tree.
    pub(super) tree: Id,
    /// Whether the folder's own node is the same, whatever its subtree.
    pub(super) same: bool,
}

/// One folder of the parent, read in step with the walk: both are sorted by name.
pub(super) struct Known {
    nodes: Option<TreeSource>,
    next: Option<Node>,
    /// Entries read so far.
    read: u64,
    /// Whether these are all that there were, and each could be read.
    whole: bool,
}

impl Known {
    /// A folder that the parent did not have.
    pub(super) fn nothing() -> Self {
        Self { nodes: None, next: None, read: 0, whole: false }
    }

    /// The parent's folder with this tree. A tree that cannot be read costs only time: its files are read again.
    pub(super) fn open(run: &Run, tree: Id, path: &[u8]) -> Self {
        match run.handle.block_on(run.vault.open_tree(&run.index, &tree)) {
            Ok(nodes) => Self { nodes: Some(nodes), next: None, read: 0, whole: true },
            Err(error) => {
                note(run, path, &error);
                Self::nothing()
            }
        }
    }

    /// The parent's node of this name. Names must be asked for in ascending order.
    pub(super) fn find(&mut self, run: &Run, name: &[u8]) -> Option<Node> {
        loop {
            if self.next.is_none() {
                self.next = match self.nodes.as_mut()?.next() {
                    None => None,
                    Some(Ok(node)) => {
                        self.read += 1;
                        Some(node)
                    }
                    Some(Err(error)) => {
                        self.whole = false;
                        note(run, name, &error);
                        if !error.is_final() {
                            continue;
                        }
                        None
                    }
                };
            }
            let Some(next) = &self.next else {
                self.nodes = None;
                return None;
            };
            match next.name.as_slice().cmp(name) {
                std::cmp::Ordering::Less => self.next = None,
                std::cmp::Ordering::Equal => return self.next.take(),
                std::cmp::Ordering::Greater => return None,
            }
        }
    }
}

impl Known {
    /// How many entries the parent's folder has, once all names have been asked for. None when some were not asked for,
    /// or could not be read.
    pub(super) fn entries(&mut self) -> Option<u64> {
        let ended = self.nodes.as_mut().is_none_or(|nodes| nodes.next().is_none());
        (self.whole && self.next.is_none() && ended).then_some(self.read)
    }
}

fn note(run: &Run, path: &[u8], error: &dyn std::error::Error) {
    let path = String::from_utf8_lossy(path);
    run.monitor
        .note(&format!("the parent's tree at {path} cannot be read ({}); its files are read again", chain(error)));
}
