//! Folders that one walker found and another may walk.
//!
//! Only a few wait at a time: a walker that finds more of them goes into them itself, so that memory and descriptors stay
//! bounded. What waits is taken from the end, where the last one looked.
//!
//! A walker that has to wait for what is below a folder first takes back what waits here and lies below it. So the folders
//! on a walker's stack always lie one below the other, and it only ever waits for walkers that are further down: no
//! circle of waiting can arise.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::dir::Dir;
use super::parent::FolderBefore;
use crate::source::files::Folder;
use crate::vault::tree::Node;

/// Folders that wait, at most. Each holds the folder above it open.
const WAITING: usize = if cfg!(test) { 5 } else { 64 };

/// A folder that has its place in the tree and is still to be listed.
pub(super) struct Job {
    /// The folder above, open.
    pub(super) above: Arc<Folder>,
    pub(super) name: Vec<u8>,
    pub(super) path: Vec<u8>,
    pub(super) node: Node,
    /// What the parent snapshot has for it.
    pub(super) before: Option<FolderBefore>,
    pub(super) dir: Arc<Dir>,
    /// Length of the path of the target that it belongs to.
    pub(super) anchor: usize,
}

/// What the walkers of a run share.
pub(super) struct Share {
    state: Mutex<State>,
    changed: Condvar,
    walkers: usize,
}

struct State {
    jobs: Vec<Job>,
    /// Walkers that have something to do, and may find more for others.
    busy: usize,
    closed: bool,
}

impl Share {
    /// For this many walkers, the first of which begins with something to do.
    pub(super) fn new(walkers: usize) -> Self {
        let state = State { jobs: Vec::new(), busy: 1, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), walkers }
    }

    /// Leaves a folder to whoever is free; hands it back when enough are waiting.
    pub(super) fn offer(&self, job: Job) -> Option<Job> {
        if self.walkers < 2 {
            return Some(job);
        }
        let mut state = self.lock();
        if state.closed || state.jobs.len() >= WAITING {
            return Some(job);
        }
        state.jobs.push(job);
        let idle = state.busy < self.walkers;
        drop(state);
        if idle {
            self.changed.notify_one();
        }
        None
    }

    /// A folder below this one, which nobody has taken yet.
    pub(super) fn take_back(&self, above: &Arc<Dir>) -> Option<Job> {
        let mut state = self.lock();
        let at = state.jobs.iter().rposition(|job| job.dir.is_below(above))?;
        Some(state.jobs.remove(at))
    }

    /// The next folder for a walker that has finished what it had; waits for one as long as others may find some. `begun`
    /// says that the caller counted as busy until now.
    pub(super) fn next(&self, begun: bool) -> Option<Job> {
        let mut state = self.lock();
        state.busy -= usize::from(begun);
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.jobs.pop() {
                state.busy += 1;
                return Some(job);
            }
            if state.busy == 0 {
                drop(state);
                self.close();
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nobody gets another folder: all are walked, or the run has failed.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
