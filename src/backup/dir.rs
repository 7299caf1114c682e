//! A folder under construction.
//!
//! Entries are reserved in order of name and completed in any order by any thread. What is complete from the front on
//! goes into the tree at once, so that a folder of a million entries never stands in memory as nodes. The thread that
//! completes the last entry of a closed folder finishes the tree and completes the entry in the folder above.
//!
//! A folder in which everything is as the parent snapshot has it has the parent's tree, which need not be written down to be
//! named: its first nodes wait to see whether one differs.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::summary::add;
use super::worker::Worker;
use super::{BackupError, Run};
use crate::vault::tree::{BuildError, Node, TreeBuilder};
use crate::vault::{BlobKey, Id};

/// The walker waits when this many entries of one folder wait for an earlier one that takes long.
const WAITING: usize = if cfg!(test) { 32 } else { 8192 };

/// Nodes that wait so; a larger folder is written down as it comes.
const KEPT: usize = if cfg!(test) { 8 } else { 256 };

/// What became of an entry.
#[derive(Debug)]
pub(super) enum Done {
    /// It could not be read: it is not in the tree.
    Left,
    /// It is what the parent snapshot has, in every field.
    Same(Node),
    /// It is not.
    Changed(Node),
}

/// A folder whose entries are all known.
#[derive(Debug)]
pub(super) struct Closed {
    /// The folder's own node.
    pub(super) node: Node,
    /// Whether the parent snapshot has this node, whatever its subtree.
    pub(super) same: bool,
    /// How many entries the parent snapshot has in it; none when it has no such folder or not all of it could be read.
    pub(super) entries_before: Option<u64>,
}

/// What the parent snapshot had in a folder's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing, or something that was no folder.
    New,
    /// A folder with this tree.
    Tree(Id),
}

/// A folder under construction. Shared by the walker and the workers that read its files.
#[derive(Debug)]
pub(super) struct Dir {
    above: Option<(Arc<Dir>, usize)>,
    path: Vec<u8>,
    before: Before,
    state: Mutex<State>,
    room: Condvar,
    temp: Arc<Path>,
    /// The finished tree; what the run waits for at the root.
    tree: OnceLock<Id>,
}

#[derive(Debug)]
struct State {
    tree: Tree,
    /// Index of the first waiting entry.
    first: usize,
    waiting: VecDeque<Entry>,
    /// Set once no further entry comes.
    closed: Option<Closed>,
}

#[derive(Debug)]
enum Tree {
    /// The entries so far: all are the parent's.
    Same(Vec<Node>),
    Changed(TreeBuilder),
}

#[derive(Debug)]
enum Entry {
    Pending,
    Ready(Box<Done>),
}

impl Tree {
    /// Takes the next entry in.
    fn push(&mut self, done: Done, temp: &Arc<Path>) -> Result<(), BuildError> {
        match (&mut *self, done) {
            (_, Done::Left) => Ok(()),
            (Self::Same(kept), Done::Same(node)) if kept.len() < KEPT => {
                kept.push(node);
                Ok(())
            }
            (Self::Same(_), Done::Same(node) | Done::Changed(node)) => {
                let mut builder = std::mem::replace(self, Self::Same(Vec::new())).into_builder(temp)?;
                let pushed = builder.push(&node);
                *self = Self::Changed(builder);
                pushed
            }
            (Self::Changed(builder), Done::Same(node) | Done::Changed(node)) => builder.push(&node),
        }
    }

    fn into_builder(self, temp: &Arc<Path>) -> Result<TreeBuilder, BuildError> {
        match self {
            Self::Changed(builder) => Ok(builder),
            Self::Same(kept) => {
                let mut builder = TreeBuilder::new(temp.clone());
                kept.iter().try_for_each(|node| builder.push(node))?;
                Ok(builder)
            }
        }
    }
}

impl Dir {
    pub(super) fn new(above: Option<(Arc<Dir>, usize)>, path: &[u8], before: Before, temp: &Arc<Path>) -> Arc<Self> {
        let state = State { tree: Tree::Same(Vec::new()), first: 0, waiting: VecDeque::new(), closed: None };
        Arc::new(Self {
            above,
            path: path.to_vec(),
            before,
            state: Mutex::new(state),
            room: Condvar::new(),
            temp: temp.clone(),
            tree: OnceLock::new(),
        })
    }

    /// The finished tree, if it is finished.
    pub(super) fn tree(&self) -> Option<Id> {
        self.tree.get().copied()
    }

    /// Takes the next place.
    pub(super) fn reserve(&self) -> usize {
        let mut state = self.lock();
        state.waiting.push_back(Entry::Pending);
        state.first + state.waiting.len() - 1
    }

    /// Whether so many entries wait for an earlier one that no place should be taken.
    pub(super) fn is_crowded(&self) -> bool {
        self.lock().waiting.len() >= WAITING
    }

    /// Waits a moment for that to change.
    pub(super) fn wait_for_room(&self) {
        let state = self.lock();
        if state.waiting.len() >= WAITING {
            drop(self.room.wait_timeout(state, Duration::from_millis(20)));
        }
    }

    /// Whether this folder lies in that one, at whatever depth.
    pub(super) fn is_below(&self, other: &Arc<Self>) -> bool {
        let mut above = self.above.as_ref();
        while let Some((dir, _)) = above {
            if Arc::ptr_eq(dir, other) {
                return true;
            }
            above = dir.above.as_ref();
        }
        false
    }

    /// Fills a reserved place.
    pub(super) fn complete(
        self: &Arc<Self>,
        worker: &mut Worker<'_>,
        place: usize,
        done: Done,
    ) -> Result<(), BackupError> {
        let mut state = self.lock();
        let at = place - state.first;
        state.waiting[at] = Entry::Ready(Box::new(done));
        let finished = self.drain(worker.run, &mut state)?;
        drop(state);
        self.rise(worker, finished)
    }

    /// No further entry comes.
    pub(super) fn close(self: &Arc<Self>, worker: &mut Worker<'_>, closed: Closed) -> Result<(), BackupError> {
        let mut state = self.lock();
        state.closed = Some(closed);
        let finished = self.drain(worker.run, &mut state)?;
        drop(state);
        self.rise(worker, finished)
    }

    /// Moves complete entries from the front into the tree; returns it when that was all.
    fn drain(&self, run: &Run, state: &mut State) -> Result<Option<(Tree, Closed)>, BackupError> {
        while let Some(front) = state.waiting.pop_front() {
            match front {
                Entry::Pending => {
                    state.waiting.push_front(Entry::Pending);
                    break;
                }
                Entry::Ready(done) => match state.tree.push(*done, &self.temp) {
                    Ok(()) => {}
                    // Without it the folder can be restored.
                    Err(BuildError::Full { name, most }) => {
                        let path = [&self.path, b"/".as_slice(), name.as_bytes()].concat();
                        let why = format!("left out: the list of its folder would have more than {most} bytes");
                        run.problems.push(&*run.monitor, &path, why);
                    }
                    Err(error) => return Err(self.failed(error)),
                },
            }
            state.first += 1;
        }
        if state.waiting.len() < WAITING / 2 {
            self.room.notify_one();
        }
        if !state.waiting.is_empty() {
            return Ok(None);
        }
        let tree = |state: &mut State| std::mem::replace(&mut state.tree, Tree::Same(Vec::new()));
        Ok(state.closed.take().map(|closed| (tree(state), closed)))
    }

    /// Finishes this folder and, as long as each was the last entry of the one above, those above.
    fn rise(self: &Arc<Self>, worker: &mut Worker<'_>, finished: Option<(Tree, Closed)>) -> Result<(), BackupError> {
        let (mut dir, mut finished) = (self.clone(), finished);
        while let Some((tree, closed)) = finished {
            let Closed { mut node, same, entries_before } = closed;
            let id = dir.finish(worker, tree, entries_before)?;
            let _ = dir.tree.set(id);
            let counts = &worker.run.counts;
            let Some((above, place)) = dir.above.clone() else { break };
            match dir.before {
                Before::New => add(&counts.dirs_new, 1),
                Before::Tree(tree) if tree == id => add(&counts.dirs_unmodified, 1),
                Before::Tree(_) => add(&counts.dirs_changed, 1),
            }
            node.subtree = Some(id);
            let done = if same && dir.before == Before::Tree(id) { Done::Same(node) } else { Done::Changed(node) };
            let mut state = above.lock();
            let at = place - state.first;
            state.waiting[at] = Entry::Ready(Box::new(done));
            finished = above.drain(worker.run, &mut state)?;
            drop(state);
            dir = above;
        }
        Ok(())
    }

    /// The id of the tree, which is in the vault or on its way by then.
    fn finish(&self, worker: &mut Worker<'_>, tree: Tree, entries_before: Option<u64>) -> Result<Id, BackupError> {
        if let (Tree::Same(kept), Before::Tree(before)) = (&tree, self.before)
            && entries_before == Some(kept.len() as u64)
            && worker.run.index.contains(BlobKey::tree(before))
        {
            return Ok(before);
        }
        let finished = tree.into_builder(&self.temp).and_then(TreeBuilder::finish);
        worker.store_tree(finished.map_err(|error| self.failed(error))?)
    }

    fn failed(&self, source: BuildError) -> BackupError {
        BackupError::Tree { path: String::from_utf8_lossy(&self.path).into_owned(), source }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
