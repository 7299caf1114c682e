//! Walking the source in tree order, deciding for each entry whether it is read, reused or left out.
//!
//! The walk goes through open folders, never through path names, so that a folder swapped for a symlink leads nowhere
//! and paths may be longer than the system's limit. The stack is on the heap: depth costs descriptors, not stack.

use std::collections::btree_map;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::dir::{self, Closed, Dir};
use super::parent::Known;
use super::share::Share;
use super::target::{Target, Targets};
use super::worker::{self, Batch, Queues, SharedPack, Worker};
use super::{BackupError, Caches, Run};
use crate::source::files::{CacheTag, FileError, Folder, Listing, Names};
use crate::vault::Id;
use crate::vault::tree::{Node, NodeKind};

mod visit;

/// Walks all targets and returns the root tree. Everything that was stored has been handed to the uploader by then.
pub(super) fn run(run: &Run, targets: Targets, parent: Option<Id>) -> Result<Id, BackupError> {
    let queues = Queues::new();
    let left = SharedPack::default();
    let workers = worker::count(run.threads);
    // As many walkers as workers: on a first backup they soon wait for the workers, on an unchanged source it is the other
    // way round.
    let share = Share::new(workers.max(1));
    let names = run.names.clone();
    let everybody = Everybody { run, queues: &queues, share: &share };
    let root = std::thread::scope(|scope| {
        let _ending = everybody.stops_on_panic();
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                let (files, chunks) = (queues.files.1.clone(), queues.chunks.1.clone());
                let offer = (workers > 1).then(|| queues.chunks.0.clone());
                let (readers, left) = (&queues.readers, &left);
                scope.spawn(move || {
                    let _ending = everybody.stops_on_panic();
                    let mut worker = Worker::new(run, offer);
                    let worked = worker.work(&files, &chunks, readers).and_then(|()| worker.finish(left));
                    if worked.is_err() {
                        run.failed.store(true, Ordering::SeqCst);
                    }
                    worked
                })
            })
            .collect();
        let helpers: Vec<_> = (1..workers)
            .map(|_| {
                let walker = Walker::new(run, &queues, &share, names.clone(), false);
                let left = &left;
                scope.spawn(move || {
                    let _ending = everybody.stops_on_panic();
                    walker.end(left, |walker| walker.help(false)).1
                })
            })
            .collect();
        let walker = Walker::new(run, &queues, &share, names, workers == 0);
        let (walked, failed) = walker.end(&left, |walker| {
            let root = walker.begin(targets, parent)?;
            walker.walk()?;
            walker.help(true).map(|()| root)
        });
        let helped =
            helpers.into_iter().map(|helper| helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let mut ended: Vec<Option<BackupError>> = helped.chain([failed]).collect();
        queues.close();
        for thread in threads {
            ended.push(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).err());
        }
        // One thread's failure makes the others stop; the first that is not such an echo is the reason.
        match ended.into_iter().flatten().min_by_key(|error| matches!(error, BackupError::Cancelled)) {
            Some(error) => Err(error),
            None => walked.ok_or(BackupError::Cancelled),
        }
    })?;
    if run.stopping() {
        return Err(BackupError::Cancelled);
    }
    let mut last = Worker::new(run, None);
    last.flush(&left)?;
    last.flush(&run.trees)?;
    if run.counts.nothing() && run.problems.len() > 0 {
        return Err(BackupError::NothingRead { problems: run.problems.len() });
    }
    root.tree().ok_or(BackupError::Cancelled)
}

/// What the threads of a run wait for each other on.
#[derive(Clone, Copy)]
struct Everybody<'r> {
    run: &'r Run,
    queues: &'r Queues,
    share: &'r Share,
}

impl<'r> Everybody<'r> {
    /// Keeps a thread that panics from leaving the others to wait for it, with the vault locked.
    fn stops_on_panic(self) -> StopsOnPanic<'r> {
        StopsOnPanic(self)
    }
}

struct StopsOnPanic<'r>(Everybody<'r>);

impl Drop for StopsOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Everybody { run, queues, share } = self.0;
            run.failed.store(true, Ordering::SeqCst);
            share.close();
            queues.close();
        }
    }
}

enum Entries {
    Listed(Listing, usize),
    Way(btree_map::IntoIter<Vec<u8>, Target>),
}

struct Frame {
    folder: Arc<Folder>,
    entries: Entries,
    known: Known,
    dir: Arc<Dir>,
    node: Node,
    /// Whether the parent snapshot has this node, whatever its subtree.
    same: bool,
    /// Length of this folder's path in `Walker::path`.
    path: usize,
    /// Length of the path of the target that this folder belongs to: where excludes are anchored.
    anchor: usize,
}

struct Walker<'r> {
    run: &'r Run,
    worker: Worker<'r>,
    queues: &'r Queues,
    share: &'r Share,
    inline: bool,
    stack: Vec<Frame>,
    path: Vec<u8>,
    /// Files that were found and not yet handed to the workers.
    found: Batch,
    temp: Arc<Path>,
    names: Arc<Names>,
}

/// A folder's entries; of one that says it is a cache, only the tag that says so.
fn entries(run: &Run, folder: Folder) -> Result<(Folder, Entries), FileError> {
    if run.caches == Caches::Exclude && folder.cache_tag()? == CacheTag::Cache {
        let tag = btree_map::BTreeMap::from([(b"CACHEDIR.TAG".to_vec(), Target::Whole)]);
        return Ok((folder, Entries::Way(tag.into_iter())));
    }
    let listing = folder.list()?;
    Ok((folder, Entries::Listed(listing, 0)))
}

impl<'r> Walker<'r> {
    fn new(run: &'r Run, queues: &'r Queues, share: &'r Share, names: Arc<Names>, inline: bool) -> Self {
        Self {
            run,
            worker: Worker::new(run, None),
            queues,
            share,
            inline,
            stack: Vec::new(),
            path: Vec::new(),
            found: Batch::default(),
            temp: std::env::temp_dir().into(),
            names,
        }
    }

    /// Does all that this walker has to do, and gives up what it holds: what came of it, and why it failed. A failure stops
    /// everybody.
    fn end<T>(
        mut self,
        left: &SharedPack,
        walk: impl FnOnce(&mut Self) -> Result<T, BackupError>,
    ) -> (Option<T>, Option<BackupError>) {
        let walked = walk(&mut self).and_then(|done| self.hand_over().map(|()| done));
        let (share, run) = (self.share, self.run);
        // Of a run that failed nothing more is stored.
        match walked.and_then(|done| self.worker.finish(left).map(|()| done)) {
            Ok(done) => (Some(done), None),
            Err(error) => {
                run.failed.store(true, Ordering::SeqCst);
                share.close();
                (None, Some(error))
            }
        }
    }

    /// Walks what others leave, until there is nothing left. `begun`: this walker has been at work already.
    fn help(&mut self, mut begun: bool) -> Result<(), BackupError> {
        loop {
            // What is found must not wait for this walker to find more.
            self.hand_over()?;
            let Some(job) = self.share.next(begun) else { return Ok(()) };
            begun = true;
            self.go_into(job)?;
            self.walk()?;
        }
    }

    fn begin(&mut self, targets: Targets, parent: Option<Id>) -> Result<Arc<Dir>, BackupError> {
        let at_root = |source| BackupError::Look { path: PathBuf::from("/"), source };
        let folder = Arc::new(Folder::open("/".as_ref(), self.names.clone()).map_err(at_root)?);
        let before = parent.map_or(dir::Before::New, dir::Before::Tree);
        let root = Dir::new(None, b"/", before, &self.temp);
        let known = parent.map_or_else(Known::nothing, |tree| Known::open(self.run, tree, b"/"));
        let entries = match targets.root {
            Target::Way(children) => Entries::Way(children.into_iter()),
            Target::Whole => Entries::Listed(folder.list().map_err(at_root)?, 0),
            Target::Stream(_) => return Err(BackupError::NoPaths),
        };
        let node = Node::new("/", NodeKind::Dir);
        self.stack.push(Frame { folder, entries, known, dir: root.clone(), node, same: false, path: 0, anchor: 0 });
        Ok(root)
    }

    /// Walks what is on the stack, and below.
    fn walk(&mut self) -> Result<(), BackupError> {
        while let Some(frame) = self.stack.last_mut() {
            if self.run.stopping() {
                return Err(BackupError::Cancelled);
            }
            self.path.truncate(frame.path);
            if frame.dir.is_crowded() {
                // What this walker waits for must not wait for this walker.
                let dir = frame.dir.clone();
                self.hand_over()?;
                match self.share.take_back(&dir) {
                    Some(job) => self.go_into(job)?,
                    None => dir.wait_for_room(),
                }
                continue;
            }
            let frame = self.frame();
            let next = match &mut frame.entries {
                Entries::Listed(listing, at) => {
                    *at += 1;
                    listing.get(*at - 1).map(|entry| (entry.name.to_vec(), Target::Whole))
                }
                Entries::Way(children) => children.next(),
            };
            match next {
                None => self.leave()?,
                Some((name, target)) => {
                    self.path.push(b'/');
                    self.path.extend_from_slice(&name);
                    self.visit(name, target)?;
                }
            }
        }
        Ok(())
    }

    /// Gives what was found to the workers.
    fn hand_over(&mut self) -> Result<(), BackupError> {
        self.queues.send(self.run, &mut self.found)
    }

    fn leave(&mut self) -> Result<(), BackupError> {
        match self.stack.pop() {
            Some(Frame { dir, node, same, mut known, .. }) => {
                dir.close(&mut self.worker, Closed { node, same, entries_before: known.entries() })
            }
            None => Ok(()),
        }
    }

    fn frame(&mut self) -> &mut Frame {
        self.stack.last_mut().expect("an entry is visited while its folder is on the stack")
    }

    fn problem(&self, why: impl Into<String>) {
        self.run.problems.push(&*self.run.monitor, &self.path, why);
    }
}
