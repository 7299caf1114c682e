//! Puts nodes together into a tree, in bounded memory.
//!
//! Up to [`MEMORY_LIMIT`] bytes of JSON stay in memory; a larger tree is hashed as it grows and written to a temporary
//! file that has no name: a crash leaves nothing behind. The builder does not store the tree.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::content::Run;
use super::name::{NameFault, check_name, quote};
use super::node::Node;
use super::writer::{self, Place};
use crate::vault::Id;
use crate::vault::pack::MAX_TREE_BLOB;

/// Bytes of JSON that a tree may take in memory: about 20,000 entries.
pub const MEMORY_LIMIT: usize = 8 << 20;
/// Bytes gathered before they go to the temporary file.
const SPILL_STEP: usize = 256 << 10;
/// Ids of a run written between two looks at the buffer's size.
const IDS_AT_ONCE: u32 = 1024;

/// Why a node was not added, or a tree not finished.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The name cannot stand in a tree.
    #[error("add \"{name}\" to its folder's tree: {fault}")]
    Name {
        /// The quoted name.
        name: String,
        /// What is wrong with it.
        fault: NameFault,
    },
    /// Names must come in ascending order of their bytes, each once.
    #[error("add \"{name}\" to its folder's tree: it does not come after \"{after}\"")]
    Order {
        /// The quoted name.
        name: String,
        /// The quoted name of the node before.
        after: String,
    },
    /// The tree would be larger than one that is read.
    #[error("add \"{name}\" to its folder's tree: the tree would have more than {most} bytes")]
    Full {
        /// The quoted name.
        name: String,
        /// The most that a tree may have.
        most: u64,
    },
    /// The temporary file could not be made, written or read.
    #[error("keep a large folder's tree in a temporary file in {dir:?}")]
    Spill {
        /// Where the file is.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// A tree's JSON.
#[derive(Debug)]
pub enum TreeBody {
    /// All of it.
    Memory(Vec<u8>),
    /// A file without a name, standing at its first byte.
    Spilled(File),
}

/// A tree, ready to be stored.
#[derive(Debug)]
pub struct FinishedTree {
    /// SHA-256 of the JSON.
    pub id: Id,
    /// Bytes of JSON.
    pub len: u64,
    /// How many entries it has.
    pub nodes: u64,
    /// The JSON.
    pub body: TreeBody,
}

/// Gathers the nodes of one folder.
#[derive(Debug)]
pub struct TreeBuilder {
    spill_dir: Arc<Path>,
    memory_limit: usize,
    most: u64,
    pending: Vec<u8>,
    spilled: Option<Spilled>,
    last: Vec<u8>,
    nodes: u64,
}

#[derive(Debug)]
struct Spilled {
    file: File,
    hasher: Sha256,
    len: u64,
}

impl TreeBuilder {
    /// A tree without entries, which spills to `spill_dir` when it grows large.
    pub fn new(spill_dir: Arc<Path>) -> Self {
        Self::with_limits(spill_dir, MEMORY_LIMIT, MAX_TREE_BLOB.into())
    }

    /// As [`TreeBuilder::new`], with `memory_limit` bytes in place of [`MEMORY_LIMIT`] and `most` bytes in all in place of
    /// [`MAX_TREE_BLOB`].
    pub fn with_limits(spill_dir: Arc<Path>, memory_limit: usize, most: u64) -> Self {
        let pending = writer::OPENING.to_vec();
        Self { spill_dir, memory_limit, most, pending, spilled: None, last: Vec::new(), nodes: 0 }
    }

    /// Adds an entry. Its raw name must be valid and above that of the one before.
    ///
    /// After an error about the node the tree is as it was; after [`BuildError::Spill`] it is of no use any more.
    pub fn push(&mut self, node: &Node) -> Result<(), BuildError> {
        check_name(&node.name).map_err(|fault| BuildError::Name { name: quote(&node.name), fault })?;
        if self.nodes > 0 && node.name <= self.last {
            return Err(BuildError::Order { name: quote(&node.name), after: quote(&self.last) });
        }
        let start = self.pending.len();
        if self.nodes > 0 {
            self.pending.push(b',');
        }
        writer::head(&mut self.pending, node);
        if self.len() + writer::rest(node) > self.most {
            self.pending.truncate(start);
            return Err(BuildError::Full { name: quote(&node.name), most: self.most });
        }
        let mut place = Place::First;
        for Run { id, count } in node.content.runs() {
            let mut left = *count;
            while left > 0 {
                let now = left.min(IDS_AT_ONCE);
                writer::ids(&mut self.pending, id, now, place);
                (place, left) = (Place::Later, left - now);
                self.relieve()?;
            }
        }
        writer::tail(&mut self.pending, node);
        self.last.clear();
        self.last.extend_from_slice(&node.name);
        self.nodes += 1;
        self.relieve()
    }

    /// Bytes so far.
    fn len(&self) -> u64 {
        self.spilled.as_ref().map_or(0, |spilled| spilled.len) + self.pending.len() as u64
    }

    /// How many entries there are so far.
    pub fn nodes(&self) -> u64 {
        self.nodes
    }

    /// Closes the tree and names it.
    pub fn finish(mut self) -> Result<FinishedTree, BuildError> {
        self.pending.extend_from_slice(writer::CLOSING);
        let nodes = self.nodes;
        if self.spilled.is_some() {
            self.spill()?;
        }
        let Some(Spilled { mut file, hasher, len }) = self.spilled else {
            let id = Id::of(&self.pending);
            return Ok(FinishedTree {
                id,
                len: self.pending.len() as u64,
                nodes,
                body: TreeBody::Memory(self.pending),
            });
        };
        file.rewind().map_err(|source| BuildError::Spill { dir: self.spill_dir.to_path_buf(), source })?;
        Ok(FinishedTree { id: Id(hasher.finalize().into()), len, nodes, body: TreeBody::Spilled(file) })
    }

    fn relieve(&mut self) -> Result<(), BuildError> {
        let limit = if self.spilled.is_some() { SPILL_STEP } else { self.memory_limit };
        if self.pending.len() > limit { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<(), BuildError> {
        let failed = |source| BuildError::Spill { dir: self.spill_dir.to_path_buf(), source };
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => {
                let file = tempfile::tempfile_in(&self.spill_dir).map_err(failed)?;
                none.insert(Spilled { file, hasher: Sha256::new(), len: 0 })
            }
        };
        spilled.file.write_all(&self.pending).map_err(failed)?;
        spilled.hasher.update(&self.pending);
        spilled.len += self.pending.len() as u64;
        self.pending.clear();
        self.pending.shrink_to(2 * SPILL_STEP);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::vault::tree::NodeKind;

    fn builder(memory_limit: usize) -> TreeBuilder {
        TreeBuilder::with_limits(Arc::from(std::env::temp_dir()), memory_limit, u64::MAX)
    }

    #[test]
    fn a_tree_without_entries_is_the_one_that_restic_knows() {
        let tree = builder(MEMORY_LIMIT).finish().unwrap();
        // the id of the empty folder in every restic repository
        assert_eq!(tree.id.to_string(), "ac08ce34ba4f8123618661bef2425f7028ffb9ac740578a3ee88684d2523fee8");
        assert!(
            matches!(tree.body, TreeBody::Memory(json) if json == b"{\"nodes\":[]}\n" && json.len() as u64 == tree.len)
        );
    }

    #[test]
    fn names_must_ascend_strictly_by_their_bytes() {
        let mut tree = builder(MEMORY_LIMIT);
        // the escaped form of the second sorts before the first
        for name in [&b"a"[..], b"\x7f", b"\xc3\xa9", b"\xff"] {
            tree.push(&Node::new(name, NodeKind::File)).unwrap();
        }
        for name in [&b"\xff"[..], b"a", b"b"] {
            assert!(matches!(tree.push(&Node::new(name, NodeKind::File)), Err(BuildError::Order { .. })));
        }
        assert!(matches!(
            tree.push(&Node::new("\u{fffff}/", NodeKind::File)),
            Err(BuildError::Name { fault: NameFault::Slash, .. })
        ));
        assert_eq!(tree.nodes(), 4);
        assert_eq!(tree.finish().unwrap().nodes, 4);
    }

    #[test]
    fn a_spilled_tree_is_the_same_tree() {
        let build = |memory_limit| {
            let mut tree = builder(memory_limit);
            for count in [0, 1, 5000] {
                let mut node = Node::new(format!("file with {count:05}"), NodeKind::File);
                node.content = (0..count).map(|at: u32| Id::of(&at.to_le_bytes())).collect();
                tree.push(&node).unwrap();
            }
            tree.finish().unwrap()
        };
        let (whole, spilled) = (build(MEMORY_LIMIT), build(1000));
        assert_eq!((whole.id, whole.len, whole.nodes), (spilled.id, spilled.len, spilled.nodes));
        let (TreeBody::Memory(json), TreeBody::Spilled(mut file)) = (whole.body, spilled.body) else {
            panic!("the wrong tree was spilled");
        };
        let mut read = Vec::new();
        file.read_to_end(&mut read).unwrap();
        assert!(json == read);
    }

    #[test]
    fn an_entry_that_would_make_the_tree_too_large_leaves_it_as_it_was() {
        let node = |name: &str, chunks: u32| {
            let mut node = Node::new(name, NodeKind::File);
            node.content = (0..chunks).map(|at| Id::of(&at.to_le_bytes())).collect();
            node.error = Some("<".repeat(100));
            node
        };
        let small = ["a", "c", "e"].map(|name| node(name, 3));
        let build = |with: &[&Node], most| {
            let mut tree = TreeBuilder::with_limits(Arc::from(std::env::temp_dir()), 1000, most);
            let refused: Vec<BuildError> = with.iter().filter_map(|node| tree.push(node).err()).collect();
            (tree.finish().unwrap(), refused)
        };
        let (alone, none) = build(&small.each_ref(), u64::MAX);
        assert!(none.is_empty());
        let large = ["b", "d"].map(|name| node(name, 100));
        let [a, c, e] = &small;
        let (kept, refused) = build(&[a, &large[0], c, &large[1], e], alone.len + 200);
        assert_eq!((kept.id, kept.len, kept.nodes), (alone.id, alone.len, 3));
        assert!(matches!(&refused[..], [BuildError::Full { name, .. }, BuildError::Full { .. }] if name == "b"));
        // It never has more than it may, whatever comes last.
        for most in alone.len - 500..alone.len + 500 {
            assert!(build(&[a, c, e], most).0.len <= most);
        }
    }

    #[test]
    fn a_folder_that_cannot_take_the_spill_is_named() {
        let mut tree = TreeBuilder::with_limits(Arc::from(Path::new("/nonexistent/spill")), 10, 1000);
        let error = tree.push(&Node::new("a", NodeKind::File)).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/spill"), "{error}");
    }
}
