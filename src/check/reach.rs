//! What snapshots reach: every tree is read once, however many snapshots share it.
//!
//! Marks are bits over the index's positions, so memory grows by one bit for each blob of the vault.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::RuntimeFlavor;

use crate::monitor::{Cancel, Monitor};
use crate::vault::index::Index;
use crate::vault::tree::NodeKind;
use crate::vault::{BlobKey, Id, Vault, chain};

/// Trees read at the same time from a store that answers at once; a distant one is asked for more at a time.
const THREADS: usize = 8;

/// Blobs that snapshots reach.
#[derive(Debug)]
pub struct Reached {
    bits: Vec<AtomicU64>,
    /// Blobs that are referred to but in no index, and one tree that refers to each.
    pub missing: HashMap<BlobKey, Id>,
    /// Trees that cannot be read, and why.
    pub damaged: HashMap<Id, String>,
    /// Those of them that the store did not let be read: they may be whole.
    pub unread: HashSet<Id>,
    /// Trees that were read.
    pub trees: u64,
}

impl Reached {
    /// Whether the blob at this position of the index is reached.
    pub fn has(&self, position: u64) -> bool {
        let word = usize::try_from(position / 64).ok().and_then(|word| self.bits.get(word));
        word.is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (position % 64)) != 0)
    }

    /// Marks; true when it was not marked before.
    fn mark(&self, position: u64) -> bool {
        let word = usize::try_from(position / 64).ok().and_then(|word| self.bits.get(word));
        word.is_some_and(|word| word.fetch_or(1 << (position % 64), Ordering::Relaxed) & (1 << (position % 64)) == 0)
    }
}

/// Trees that wait to be read.
struct Queue {
    waiting: Mutex<Vec<Id>>,
    more: Condvar,
    /// Trees that wait or are being read.
    open: AtomicUsize,
}

/// What was found beside the marks.
#[derive(Default)]
struct Found {
    missing: HashMap<BlobKey, Id>,
    damaged: HashMap<Id, String>,
    unread: HashSet<Id>,
    trees: u64,
}

/// Marks everything that these root trees reach. Blocks: call it where blocking is allowed. Stops early, with marks that
/// mean nothing, when asked to.
pub fn reach(
    vault: &Vault,
    index: &Index,
    roots: &[Id],
    handle: &tokio::runtime::Handle,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Reached {
    let words = usize::try_from(index.positions().div_ceil(64)).expect("an index fits into memory");
    let bits = std::iter::repeat_with(AtomicU64::default).take(words).collect();
    let reached = Reached { bits, missing: HashMap::new(), damaged: HashMap::new(), unread: HashSet::new(), trees: 0 };
    let queue = Queue { waiting: Mutex::new(Vec::new()), more: Condvar::new(), open: AtomicUsize::new(0) };
    let found = Mutex::new(Found::default());
    let walk = Walk {
        vault,
        index,
        handle,
        monitor,
        cancel,
        reached: &reached,
        queue: &queue,
        found: &found,
        large: Mutex::new(()),
    };
    // A root has no tree that refers to it: it is given as its own.
    roots.iter().for_each(|root| walk.meet(*root, *root));
    // A runtime of one thread is asked for where one thing is to happen after another.
    let threads = if handle.runtime_flavor() == RuntimeFlavor::CurrentThread { 1 } else { THREADS };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| walk.work());
        }
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Found { missing, damaged, unread, trees } = found;
    Reached { missing, damaged, unread, trees, ..reached }
}

struct Walk<'r> {
    vault: &'r Vault,
    index: &'r Index,
    handle: &'r tokio::runtime::Handle,
    monitor: &'r dyn Monitor,
    cancel: &'r Cancel,
    reached: &'r Reached,
    queue: &'r Queue,
    found: &'r Mutex<Found>,
    large: Mutex<()>,
}

impl Walk<'_> {
    fn work(&self) {
        while let Some(tree) = self.next() {
            if !self.cancel.is_cancelled() {
                self.tree(tree);
            }
            if self.queue.open.fetch_sub(1, Ordering::SeqCst) == 1 {
                self.queue.more.notify_all();
            }
        }
    }

    fn next(&self) -> Option<Id> {
        let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(tree) = waiting.pop() {
                return Some(tree);
            }
            if self.queue.open.load(Ordering::SeqCst) == 0 {
                return None;
            }
            let woken = self.queue.more.wait_timeout(waiting, Duration::from_millis(50));
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Marks a tree; the first to meet it has it read.
    fn meet(&self, tree: Id, referrer: Id) {
        let key = BlobKey::tree(tree);
        match self.index.position(key) {
            Some(position) if self.reached.mark(position) => {
                self.queue.open.fetch_add(1, Ordering::SeqCst);
                self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(tree);
                self.queue.more.notify_one();
            }
            Some(_) => {}
            None => {
                self.found().missing.entry(key).or_insert(referrer);
            }
        }
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tree(&self, tree: Id) {
        // Large ones one after another: each is in memory while it is fetched.
        let large = self.vault.is_large(self.index, &tree);
        let _turn = large.then(|| self.large.lock().unwrap_or_else(PoisonError::into_inner));
        let nodes = match self.handle.block_on(self.vault.open_tree(self.index, &tree)) {
            Ok(nodes) => nodes,
            Err(error) => {
                let mut found = self.found();
                found.damaged.insert(tree, chain(&error));
                if !error.is_damage() {
                    found.unread.insert(tree);
                }
                return;
            }
        };
        for node in nodes {
            let node = match node {
                Ok(node) => node,
                Err(error) => {
                    self.found().damaged.insert(tree, chain(&error));
                    return;
                }
            };
            for run in node.content.runs() {
                let key = BlobKey::data(run.id);
                match self.index.position(key) {
                    Some(position) => {
                        self.reached.mark(position);
                    }
                    None => {
                        self.found().missing.entry(key).or_insert(tree);
                    }
                }
            }
            match (node.kind, node.subtree) {
                (NodeKind::Dir, Some(below)) => self.meet(below, tree),
                (NodeKind::Dir, None) => {
                    let why = format!("the folder {:?} in it has no tree", String::from_utf8_lossy(&node.name));
                    self.found().damaged.insert(tree, why);
                }
                (_, _) => {}
            }
        }
        self.found().trees += 1;
        self.monitor.advance(1, 0);
    }
}
