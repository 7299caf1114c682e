//! A vault in memory with trees to look at.

use std::sync::Arc;

use jiff::Timestamp;

use crate::clock::{Env, Seeded, SetClock};
use crate::store::Store;
use crate::vault::index::Index;
use crate::vault::key::{KdfCost, Secret};
use crate::vault::pack::PackBuilder;
use crate::vault::tree::{Node, NodeKind, TreeBody, TreeBuilder};
use crate::vault::{BlobType, Id, InitOptions, Vault};

/// A vault that folders and files are put into, one pack each.
pub(super) struct Bed {
    pub(super) vault: Vault,
    pub(super) index: Index,
}

impl Bed {
    pub(super) async fn new() -> Self {
        let env = Env { clock: Arc::new(SetClock::at(Timestamp::UNIX_EPOCH)), random: Arc::new(Seeded::new(1)) };
        let inner = Arc::new(object_store::memory::InMemory::new());
        let store = Store::from_object_store(inner, "", "memory://look");
        let options = InitOptions { cost: KdfCost::Cheap, ..InitOptions::default() };
        let vault = Vault::init(store, &Secret::new(*b"x"), &options, &env).await.expect("a vault in memory");
        Self { vault, index: Index::new(Vec::new()) }
    }

    async fn put(&self, kind: BlobType, id: Id, plain: &[u8]) {
        let mut sealer = self.vault.sealer(3);
        let mut pack = PackBuilder::new(kind);
        pack.add(&mut sealer, id, plain).expect("a small blob");
        let pack = pack.finish(&sealer).expect("one blob");
        let pack = self.vault.put_pack(pack).await.expect("room in memory");
        self.index.insert(&pack);
    }

    /// A file of these pieces.
    pub(super) async fn file(&self, name: &str, pieces: &[&[u8]]) -> Node {
        let mut node = Node::new(name, NodeKind::File);
        node.mode = 0o644;
        for piece in pieces {
            let id = Id::of(piece);
            self.put(BlobType::Data, id, piece).await;
            node.content.push(id);
            node.size += piece.len() as u64;
        }
        node
    }

    /// The tree of a folder with these entries, which need not be in order.
    pub(super) async fn tree(&self, mut nodes: Vec<Node>) -> Id {
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        let mut builder = TreeBuilder::new(std::env::temp_dir().into());
        for node in &nodes {
            builder.push(node).expect("sorted above");
        }
        let tree = builder.finish().expect("small");
        let TreeBody::Memory(body) = tree.body else { panic!("a test's tree spilled to disk") };
        self.put(BlobType::Tree, tree.id, &body).await;
        tree.id
    }

    /// A folder with these entries.
    pub(super) async fn dir(&self, name: &str, nodes: Vec<Node>) -> Node {
        let mut node = Node::new(name, NodeKind::Dir);
        node.mode = 0o755;
        node.subtree = Some(self.tree(nodes).await);
        node
    }
}
