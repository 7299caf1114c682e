//! The threads that do a restore's work.
//!
//! A window goes through three steps: its entries are looked at, what is there already is compared, what is missing is
//! fetched. A step's work is shared by all threads, and whoever ends the last of it begins the next step. Meanwhile there
//! is work of another window: nobody waits for the slowest at a window's end. Windows end in the order in which they were
//! gathered, so that what waits for a window's files finds those of the windows before as well.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::holes::{self, Hole};
use super::job::Restore;
use super::window::{Entry, Last, Piece, Want, Window};
use super::{RestoreError, entry, fetch, finish};
use crate::vault::pack::Opener;
use crate::vault::ranges::Group;

/// Windows that are worked on; with the one that is gathered, three are in memory.
const UNDER_WAY: usize = 2;
/// Entries, or pieces to compare, that are one thread's at a time.
const SHARE: usize = 128;
/// A buffer that has grown beyond this is given back.
const KEPT: usize = 16 << 20;

/// What is to be written of a window.
#[derive(Debug, Default)]
struct Found {
    pieces: Vec<Piece>,
    holes: Vec<Hole>,
}

impl Found {
    fn add(&mut self, want: Want) {
        match want {
            Want::Piece(piece) => self.pieces.push(piece),
            Want::Hole(hole) => self.holes.push(hole),
        }
    }
}

/// A window that is worked on.
#[derive(Debug)]
struct Flight {
    found: Mutex<Found>,
    /// Shares of the step that have not ended.
    open: AtomicUsize,
    /// Never sent to: that it is gone shows that the window has ended.
    _ended: Sender<()>,
}

#[derive(Debug)]
enum Work {
    Look(Vec<Arc<Entry>>),
    Compare(Vec<Piece>),
    Fetch(Group<Piece>),
}

#[derive(Debug)]
enum Job {
    Do(Arc<Flight>, Work),
    Stop,
}

/// What all threads share.
struct Shared<'r> {
    restore: &'r Restore,
    jobs: Sender<Job>,
    /// What is left is not done any more.
    stopped: AtomicBool,
    panicked: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A window whose end is waited for.
struct UnderWay {
    ended: Receiver<()>,
    /// Given back by the thread that made them: memory that one thread takes and another gives back costs both several times
    /// as much.
    _entries: Vec<Arc<Entry>>,
    last: Last,
}

/// Hands windows to the threads, and ends those that are done.
pub(super) struct Pool<'r> {
    shared: &'r Shared<'r>,
    /// When one thing is to happen after another, in the thread that gathers.
    alone: Option<(Worker<'r>, Receiver<Job>)>,
    under_way: VecDeque<UnderWay>,
}

/// Gathers windows with threads that work on them, as many as the options say; with less than two of them, nothing
/// happens at the same time.
pub(super) fn with<T>(
    restore: &Restore,
    gather: impl FnOnce(&mut Pool<'_>) -> Result<T, RestoreError>,
) -> Result<T, RestoreError> {
    let (jobs, receive) = unbounded();
    let shared = Shared { restore, jobs, stopped: AtomicBool::new(false), panicked: Mutex::new(None) };
    let threads = if restore.options.workers < 2 { 0 } else { restore.options.workers };
    let gathered = std::thread::scope(|scope| {
        let shared = &shared;
        for _ in 0..threads {
            let receive = receive.clone();
            scope.spawn(move || {
                let mut worker = Worker::new(shared);
                receive.iter().map_while(|job| worker.run(job)).for_each(drop);
            });
        }
        let _stop = Stop { shared, threads };
        let alone = (threads == 0).then(|| (Worker::new(shared), receive));
        let mut pool = Pool { shared, alone, under_way: VecDeque::new() };
        let gathered = gather(&mut pool)?;
        while !pool.under_way.is_empty() {
            pool.end_first()?;
        }
        Ok(gathered)
    });
    match shared.panicked.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(panic) => resume_unwind(panic),
        None => gathered,
    }
}

/// Ends the threads, however the gathering ended.
struct Stop<'s> {
    shared: &'s Shared<'s>,
    threads: usize,
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        for _ in 0..self.threads {
            let _ = self.shared.jobs.send(Job::Stop);
        }
    }
}

impl Pool<'_> {
    /// Has a window worked on. Waits while there are too many.
    pub(super) fn hand_over(&mut self, window: Window) -> Result<(), RestoreError> {
        let (sender, ended) = bounded(0);
        let mut found = Found::default();
        window.wants.into_iter().for_each(|want| found.add(want));
        let flight = Arc::new(Flight { found: Mutex::new(found), open: AtomicUsize::new(0), _ended: sender });
        self.under_way.push_back(UnderWay { ended, _entries: window.entries.clone(), last: window.last });
        let shares = shares(window.entries);
        if shares.is_empty() {
            self.shared.compare(&flight);
        } else {
            self.shared.begin(&flight, shares.into_iter().map(Work::Look).collect());
        }
        // From here on only the jobs keep it.
        drop(flight);
        let most = if self.alone.is_some() { 0 } else { UNDER_WAY };
        while self.under_way.len() > most {
            self.end_first()?;
        }
        self.shared.go_on()
    }

    /// Waits for the first window, and does what waited for it.
    fn end_first(&mut self) -> Result<(), RestoreError> {
        let Some(UnderWay { ended, last, _entries }) = self.under_way.pop_front() else { return Ok(()) };
        if let Some((worker, jobs)) = &mut self.alone {
            jobs.try_iter().map_while(|job| worker.run(job)).for_each(drop);
        }
        // Nothing is ever sent.
        let _ = ended.recv();
        self.shared.go_on()?;
        finish::last(self.shared.restore, last);
        Ok(())
    }
}

/// Splits what one thread at a time takes.
fn shares<T>(all: Vec<T>) -> Vec<Vec<T>> {
    let mut all = all.into_iter();
    std::iter::from_fn(|| Some(all.by_ref().take(SHARE).collect()))
        .take_while(|share: &Vec<T>| !share.is_empty())
        .collect()
}

impl Shared<'_> {
    fn go_on(&self) -> Result<(), RestoreError> {
        let stopped = self.restore.cancel.is_cancelled() || self.stopped.load(Ordering::Relaxed);
        if stopped { Err(RestoreError::Cancelled) } else { Ok(()) }
    }

    /// Begins a step of a window.
    fn begin(&self, flight: &Arc<Flight>, step: Vec<Work>) {
        flight.open.store(step.len(), Ordering::Release);
        for work in step {
            self.jobs.send(Job::Do(flight.clone(), work)).expect("the receiver lives as long as the pool");
        }
    }

    /// All entries have been looked at.
    fn compare(&self, flight: &Arc<Flight>) {
        let mut found = lock(flight);
        let (compared, new): (Vec<_>, Vec<_>) = found.pieces.drain(..).partition(|piece| piece.target.exists);
        found.pieces = new;
        drop(found);
        match shares(compared) {
            shares if shares.is_empty() => self.fetch(flight),
            shares => self.begin(flight, shares.into_iter().map(Work::Compare).collect()),
        }
    }

    /// All that was there has been compared.
    fn fetch(&self, flight: &Arc<Flight>) {
        let restore = self.restore;
        let Found { pieces, holes } = std::mem::take(&mut *lock(flight));
        let holes = holes::compare(restore, holes);
        if !restore.writes() {
            let bytes: u64 = pieces.iter().map(|piece| piece.located.plain_len()).sum();
            let groups = fetch::groups(restore.vault.store().is_near(), pieces);
            let bytes = bytes + holes.iter().map(Hole::bytes).sum::<u64>();
            restore.written.fetch_add(bytes, Ordering::Relaxed);
            restore.fetched.fetch_add(groups.iter().map(|group| group.end - group.start).sum(), Ordering::Relaxed);
            restore.monitor.advance(0, bytes);
            return;
        }
        holes::make(restore, &holes);
        let groups = fetch::groups(restore.vault.store().is_near(), pieces);
        self.begin(flight, groups.into_iter().map(Work::Fetch).collect());
    }
}

/// One thread.
struct Worker<'r> {
    shared: &'r Shared<'r>,
    opener: Opener,
    buffer: Vec<u8>,
}

impl<'r> Worker<'r> {
    fn new(shared: &'r Shared<'r>) -> Self {
        Self { shared, opener: Opener::new(shared.restore.vault.key().clone()), buffer: Vec::new() }
    }

    /// Does a job, unless the restore has been stopped; none when there will be no more.
    fn run(&mut self, job: Job) -> Option<()> {
        let Job::Do(flight, work) = job else { return None };
        if self.shared.go_on().is_ok()
            && let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work(&flight, work)))
        {
            // Passed on at the end: whoever waits for this window must not wait for ever.
            self.shared.stopped.store(true, Ordering::Relaxed);
            self.shared.panicked.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
        }
        Some(())
    }

    fn work(&mut self, flight: &Arc<Flight>, work: Work) {
        let restore = self.shared.restore;
        if self.buffer.len() > KEPT {
            self.buffer = Vec::new();
        }
        match work {
            Work::Look(entries) => {
                let wants = entries.into_iter().filter_map(|entry| entry::look(restore, &entry));
                let wants: Vec<Want> = wants.flat_map(entry::Wants::each).collect();
                let mut found = lock(flight);
                wants.into_iter().for_each(|want| found.add(want));
                drop(found);
                if is_last(flight) {
                    self.shared.compare(flight);
                }
            }
            Work::Compare(pieces) => {
                let differ = fetch::compare(restore, pieces, &mut self.buffer);
                lock(flight).pieces.extend(differ);
                if is_last(flight) {
                    self.shared.fetch(flight);
                }
            }
            Work::Fetch(group) => fetch::fetch(restore, &group, &mut self.opener, &mut self.buffer),
        }
    }
}

/// Whether this was the last share of its step.
fn is_last(flight: &Flight) -> bool {
    flight.open.fetch_sub(1, Ordering::AcqRel) == 1
}

fn lock(flight: &Flight) -> std::sync::MutexGuard<'_, Found> {
    flight.found.lock().unwrap_or_else(PoisonError::into_inner)
}
