//! Which files and snapshots a damaged blob hits.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Found, Object};
use crate::monitor::Monitor;
use crate::vault::index::Index;
use crate::vault::snapshot::SnapshotFile;
use crate::vault::tree::NodeKind;
use crate::vault::{BlobKey, Id, Vault};

/// Files listed by name for one damaged object; the rest are counted.
pub const LISTED: usize = 100;

/// Walks every snapshot and notes the files that need a damaged blob.
///
/// A tree that is shared by several snapshots is read once; only whether and where it leads to damage is remembered.
pub(super) async fn locate(
    vault: &Vault,
    index: &Index,
    snapshots: &[&SnapshotFile],
    found: &mut Found,
    monitor: &Arc<dyn Monitor>,
) {
    let mut walk = Walk { vault, index, bad: &found.blobs, below: HashMap::new() };
    let mut hits: HashMap<(Object, Id), Hit> = HashMap::new();
    for snapshot in snapshots {
        let (id, tree) = super::root(snapshot);
        for (object, paths) in walk.tree(tree).await.iter() {
            let hit = hits.entry(*object).or_default();
            hit.snapshots.push(id);
            hit.count += paths.count;
            let room = LISTED.saturating_sub(hit.files.len());
            hit.files.extend(paths.listed.iter().take(room).map(|path| format!("{}:{path}", id.short())));
        }
        monitor.advance(1, 0);
    }
    for (object, hit) in hits {
        if let Some(damage) = found.damage.get_mut(&object) {
            damage.files = hit.files;
            damage.files_count = hit.count;
            damage.snapshots = hit.snapshots;
        }
    }
}

/// What one damaged object hits, over all snapshots.
#[derive(Debug, Default)]
struct Hit {
    files: Vec<String>,
    count: u64,
    snapshots: Vec<Id>,
}

/// Paths below one tree that need a damaged object.
#[derive(Debug, Default, Clone)]
struct Paths {
    listed: Vec<String>,
    count: u64,
}

type Below = Arc<HashMap<(Object, Id), Paths>>;

struct Walk<'w> {
    vault: &'w Vault,
    index: &'w Index,
    bad: &'w HashMap<BlobKey, Vec<(Object, Id)>>,
    below: HashMap<Id, Below>,
}

/// A tree whose children are still to be looked at.
struct Open {
    tree: Id,
    hits: HashMap<(Object, Id), Paths>,
    children: Vec<(String, Id)>,
}

impl Walk<'_> {
    /// What the tree hits, worked out without recursion: depth is the snapshot's, which may be hostile.
    async fn tree(&mut self, root: Id) -> Below {
        let mut path: HashSet<Id> = HashSet::from([root]);
        let mut stack = vec![self.open(root).await];
        loop {
            let Some(top) = stack.last_mut() else { return Below::default() };
            let Some((name, child)) = top.children.last().cloned() else {
                let Some(done) = stack.pop() else { return Below::default() };
                path.remove(&done.tree);
                let below = Below::new(done.hits);
                self.below.insert(done.tree, below.clone());
                if stack.is_empty() {
                    return below;
                }
                continue;
            };
            if let Some(below) = self.below.get(&child).cloned() {
                top.children.pop();
                for (object, paths) in below.iter() {
                    let mine = top.hits.entry(*object).or_default();
                    mine.count += paths.count;
                    let room = LISTED.saturating_sub(mine.listed.len());
                    mine.listed.extend(paths.listed.iter().take(room).map(|path| format!("/{name}{path}")));
                }
            } else if path.insert(child) {
                let opened = self.open(child).await;
                stack.push(opened);
            } else {
                // A tree cannot hold itself: its name is the hash of its content.
                top.children.pop();
            }
        }
    }

    async fn open(&self, tree: Id) -> Open {
        let mut open = Open { tree, hits: HashMap::new(), children: Vec::new() };
        let mut hit = |keys: &mut dyn Iterator<Item = BlobKey>, path: &str| {
            // A file that needs several blobs of one damaged pack is one file.
            let objects: HashSet<_> = keys.filter_map(|key| self.bad.get(&key)).flatten().collect();
            for object in objects {
                let paths = open.hits.entry(*object).or_default();
                paths.count += 1;
                if paths.listed.len() < LISTED {
                    paths.listed.push(path.to_owned());
                }
            }
        };
        hit(&mut std::iter::once(BlobKey::tree(tree)), "/ (the folder and all in it)");
        let Ok(nodes) = self.vault.open_tree(self.index, &tree).await else { return open };
        for node in nodes.map_while(Result::ok) {
            let name = String::from_utf8_lossy(&node.name).into_owned();
            hit(&mut node.content.runs().iter().map(|run| BlobKey::data(run.id)), &format!("/{name}"));
            if let (NodeKind::Dir, Some(below)) = (node.kind, node.subtree) {
                open.children.push((name, below));
            }
        }
        open
    }
}
