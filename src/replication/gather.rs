//! What a tree refers to, and what of it the copy lacks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::ReplicateError;
use super::lost::Lost;
use super::ship::Want;
use crate::vault::index::Index;
use crate::vault::tree::NodeKind;
use crate::vault::{BlobKey, Id, Vault, chain, off_thread};

/// Both indexes, and what is wrong with the copy.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) from: Index,
    pub(super) to: Index,
    /// Packs that the copy's index names and its store does not have, or not in that size.
    broken: HashSet<Id>,
}

impl Asked {
    /// `stored` is every pack in the copy's store with its size.
    pub(super) fn new(from: Index, to: Index, stored: &[(Id, u64)]) -> Self {
        let sizes: HashMap<Id, u64> = stored.iter().copied().collect();
        let is_broken = |pack: &crate::vault::PackInfo| sizes.get(&pack.id) != Some(&pack.size);
        let broken = to.packs().filter(is_broken).map(|pack| pack.id).collect();
        Self { from, to, broken }
    }

    /// Adds the blob to what is wanted when nobody has it yet, or to what is lost when it cannot be had.
    pub(super) fn ask(&self, key: BlobKey, wanted: &mut Vec<Want>, lost: &mut Lost) {
        if self.to.contains(key) {
            if !self.broken.is_empty() && self.to.get_all(key).iter().all(|at| self.broken.contains(&at.pack)) {
                lost.insert(key, "the copy lists it in a pack that is gone or cut off: check the copy".to_owned());
            }
        } else if self.to.claim(key) {
            match self.from.get(key) {
                Some(at) => wanted.push(Want { key, at }),
                None => {
                    self.to.release(key);
                    lost.insert(key, "no index names it".to_owned());
                }
            }
        }
    }
}

/// What a tree refers to.
#[derive(Debug, Default)]
pub(super) struct Trees {
    /// Its folders.
    pub(super) below: Vec<Id>,
    /// Blobs that the copy lacks, claimed for this run.
    pub(super) wanted: Vec<Want>,
    /// Blobs that cannot be had; the tree itself when it cannot be read.
    pub(super) lost: Lost,
}

/// Reads a tree of the source. Damage is part of the answer.
pub(super) async fn read(source: Vault, asked: Arc<Asked>, tree: Id) -> Result<Trees, ReplicateError> {
    let nodes = match source.open_tree(&asked.from, &tree).await {
        Ok(nodes) => nodes,
        Err(error) if error.is_damage() => {
            return Ok(Trees { lost: Lost::from([(BlobKey::tree(tree), chain(&error))]), ..Trees::default() });
        }
        Err(error) => return Err(ReplicateError::Source(error)),
    };
    Ok(off_thread(move || {
        let mut found = Trees::default();
        let key = BlobKey::tree(tree);
        for node in nodes {
            let node = match node {
                Ok(node) => node,
                Err(error) => {
                    found.lost.insert(key, chain(&error));
                    break;
                }
            };
            for run in node.content.runs() {
                asked.ask(BlobKey::data(run.id), &mut found.wanted, &mut found.lost);
            }
            match (node.kind, node.subtree) {
                (NodeKind::Dir, Some(below)) => {
                    asked.ask(BlobKey::tree(below), &mut found.wanted, &mut found.lost);
                    found.below.push(below);
                }
                (NodeKind::Dir, None) => {
                    let name = String::from_utf8_lossy(&node.name);
                    found.lost.insert(key, format!("the folder {name:?} in it has no tree"));
                }
                (_, _) => {}
            }
        }
        found
    })
    .await)
}
