//! A folder under construction.
//!
//! Entries are reserved in order of name and completed in any order by any thread. What is complete from the front on
//! goes into the tree at once, so that a folder of a million entries never stands in memory as nodes. The thread that
//! completes the last entry of a closed folder finishes the tree and completes the entry in the folder above.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::BackupError;
use super::summary::add;
use super::worker::Worker;
use crate::vault::Id;
use crate::vault::tree::{Node, TreeBuilder};

/// The walker waits when this many entries of one folder wait for an earlier one that takes long.
const WAITING: usize = if cfg!(test) { 32 } else { 8192 };

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
    /// The finished tree; what the run waits for at the root.
    tree: OnceLock<Id>,
}

#[derive(Debug)]
struct State {
    builder: Option<TreeBuilder>,
    /// Index of the first waiting entry.
    first: usize,
    waiting: VecDeque<Entry>,
    /// The folder's own node once no further entry comes.
    closed: Option<Node>,
}

#[derive(Debug)]
enum Entry {
    Pending,
    Ready(Box<Node>),
    /// Could not be read: not in the tree.
    Left,
}

impl Dir {
    pub(super) fn new(above: Option<(Arc<Dir>, usize)>, path: &[u8], before: Before, temp: &Arc<Path>) -> Arc<Self> {
        let builder = Some(TreeBuilder::new(temp.clone()));
        let state = State { builder, first: 0, waiting: VecDeque::new(), closed: None };
        Arc::new(Self {
            above,
            path: path.to_vec(),
            before,
            state: Mutex::new(state),
            room: Condvar::new(),
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

    /// Fills a reserved place; `None` leaves the entry out.
    pub(super) fn complete(
        self: &Arc<Self>,
        worker: &mut Worker<'_>,
        place: usize,
        node: Option<Node>,
    ) -> Result<(), BackupError> {
        let mut state = self.lock();
        let at = place - state.first;
        state.waiting[at] = node.map_or(Entry::Left, |node| Entry::Ready(Box::new(node)));
        let finished = self.drain(&mut state)?;
        drop(state);
        self.rise(worker, finished)
    }

    /// No further entry comes; `node` is the folder's own.
    pub(super) fn close(self: &Arc<Self>, worker: &mut Worker<'_>, node: Node) -> Result<(), BackupError> {
        let mut state = self.lock();
        state.closed = Some(node);
        let finished = self.drain(&mut state)?;
        drop(state);
        self.rise(worker, finished)
    }

    /// Moves complete entries from the front into the tree; returns the builder and node when that was all.
    fn drain(&self, state: &mut State) -> Result<Option<(TreeBuilder, Node)>, BackupError> {
        let failed = |source| BackupError::Tree { path: String::from_utf8_lossy(&self.path).into_owned(), source };
        while let Some(front) = state.waiting.pop_front() {
            match front {
                Entry::Pending => {
                    state.waiting.push_front(Entry::Pending);
                    break;
                }
                Entry::Left => {}
                Entry::Ready(node) => {
                    if let Some(builder) = &mut state.builder {
                        builder.push(&node).map_err(failed)?;
                    }
                }
            }
            state.first += 1;
        }
        if state.waiting.len() < WAITING / 2 {
            self.room.notify_one();
        }
        if !state.waiting.is_empty() {
            return Ok(None);
        }
        match (state.closed.take(), state.builder.take()) {
            (Some(node), Some(builder)) => Ok(Some((builder, node))),
            (None, builder) => {
                state.builder = builder;
                Ok(None)
            }
            (Some(_), None) => Ok(None),
        }
    }

    /// Finishes this folder and, as long as each was the last entry of the one above, those above.
    fn rise(
        self: &Arc<Self>,
        worker: &mut Worker<'_>,
        finished: Option<(TreeBuilder, Node)>,
    ) -> Result<(), BackupError> {
        let (mut dir, mut finished) = (self.clone(), finished);
        while let Some((builder, mut node)) = finished {
            let path = || String::from_utf8_lossy(&dir.path).into_owned();
            let tree = builder.finish().map_err(|source| BackupError::Tree { path: path(), source })?;
            let id = worker.store_tree(tree)?;
            let _ = dir.tree.set(id);
            let counts = &worker.run.counts;
            let Some((above, place)) = dir.above.clone() else { break };
            match dir.before {
                Before::New => add(&counts.dirs_new, 1),
                Before::Tree(tree) if tree == id => add(&counts.dirs_unmodified, 1),
                Before::Tree(_) => add(&counts.dirs_changed, 1),
            }
            node.subtree = Some(id);
            let mut state = above.lock();
            let at = place - state.first;
            state.waiting[at] = Entry::Ready(Box::new(node));
            finished = above.drain(&mut state)?;
            drop(state);
            dir = above;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
