//! Walking the source in tree order, deciding for each entry whether it is read, reused or left out.
//!
//! The walk goes through open folders, never through path names, so that a folder swapped for a symlink leads nowhere
//! and paths may be longer than the system's limit. The stack is on the heap: depth costs descriptors, not stack.

use std::collections::btree_map;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::dir::{self, Dir};
use super::parent::Known;
use super::read::{self, FileJob};
use super::share::{Job, Share};
use super::summary::add;
use super::target::{Stream, Target, Targets};
use super::worker::{self, Batch, Queues, SharedPack, Worker};
use super::{BackupError, Caches, Mounts, Run};
use crate::source::files::{CacheTag, FileError, Folder, Listing, Names, Verdict, XattrMode, unchanged};
use crate::vault::tree::{Content, Node, NodeKind};
use crate::vault::{BlobKey, Id, chain};

/// Walks all targets and returns the root tree. Everything that was stored has been handed to the uploader by then.
pub(super) fn run(run: &Run, targets: Targets, parent: Option<Id>) -> Result<Id, BackupError> {
    let queues = Queues::new();
    let left = SharedPack::default();
    let workers = worker::count(run.threads);
    // As many walkers as workers: on a first backup they soon wait for the workers, on an unchanged source it is the other
    // way round.
    let share = Share::new(workers.max(1));
    let names = run.names.clone();
    let root = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                let (files, chunks) = (queues.files.1.clone(), queues.chunks.1.clone());
                let offer = (workers > 1).then(|| queues.chunks.0.clone());
                let (readers, left) = (&queues.readers, &left);
                scope.spawn(move || {
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
                scope.spawn(move || walker.end(left, |walker| walker.help(false)).1)
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
        let finished = self.worker.finish(left);
        match walked.and_then(|done| finished.map(|()| done)) {
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
        self.stack.push(Frame { folder, entries, known, dir: root.clone(), node, path: 0, anchor: 0 });
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
            Some(frame) => frame.dir.close(&mut self.worker, frame.node),
            None => Ok(()),
        }
    }

    fn frame(&mut self) -> &mut Frame {
        self.stack.last_mut().expect("an entry is visited while its folder is on the stack")
    }

    fn problem(&self, why: impl Into<String>) {
        self.run.problems.push(&*self.run.monitor, &self.path, why);
    }

    fn visit(&mut self, name: Vec<u8>, target: Target) -> Result<(), BackupError> {
        let run = self.run;
        let on_the_way = matches!(self.frame().entries, Entries::Way(_));
        let node = match target {
            Target::Stream(stream) => return self.stream(&name, stream),
            // A folder that leads to a target may be reached through a symlink; the target itself may be one.
            Target::Way(children) => return self.way(&name, children),
            Target::Whole => self.frame().folder.node(&name, XattrMode::Skip),
        };
        let before = self.frame().known.find(run, &name);
        let node = match node {
            Ok(node) => node,
            Err(error) => {
                self.problem(chain(&error));
                return Ok(());
            }
        };
        let anchor = if on_the_way { self.path.len() } else { self.frame().anchor };
        let relative = self.path.get(anchor + 1..).unwrap_or_default();
        if !on_the_way {
            match run.excludes.matches(relative, node.kind == NodeKind::Dir) {
                Verdict::Exclude { .. } => return Ok(()),
                Verdict::Keep => {}
            }
        }
        match node.kind {
            NodeKind::Dir => self.enter(name, node, before.as_ref(), anchor),
            NodeKind::File => self.file(name, node, before),
            // As restic: a socket means nothing without the process that listens on it.
            NodeKind::Socket => Ok(()),
            NodeKind::Symlink | NodeKind::Dev | NodeKind::CharDev | NodeKind::Fifo => {
                add(&run.counts.others, 1);
                self.store(&name, node, before.as_ref())
            }
        }
    }

    /// Completes the next place with a node that needs no reading but its attributes.
    fn store(&mut self, name: &[u8], mut node: Node, before: Option<&Node>) -> Result<(), BackupError> {
        self.attributes(name, &mut node, before);
        let dir = self.frame().dir.clone();
        let place = dir.reserve();
        dir.complete(&mut self.worker, place, Some(node))
    }

    /// Extended attributes, without asking the file system where the change time proves that they are the parent's.
    fn attributes(&mut self, name: &[u8], node: &mut Node, before: Option<&Node>) {
        match before {
            Some(before) if before.ctime == node.ctime && before.inode == node.inode && before.kind == node.kind => {
                node.xattrs.clone_from(&before.xattrs);
            }
            Some(_) | None => match self.frame().folder.xattrs(name) {
                Ok(xattrs) => node.xattrs = xattrs,
                Err(error) => self.problem(chain(&error)),
            },
        }
    }

    fn file(&mut self, name: Vec<u8>, mut node: Node, before: Option<Node>) -> Result<(), BackupError> {
        let run = self.run;
        let dir = self.frame().dir.clone();
        if let Some(before) = &before
            && before.error.is_none()
            && unchanged(before, &node)
            && before.content.runs().iter().all(|part| run.index.contains(BlobKey::data(part.id)))
        {
            node.content.clone_from(&before.content);
            node.xattrs.clone_from(&before.xattrs);
            add(&run.counts.files_unmodified, 1);
            add(&run.counts.bytes_total, node.size);
            run.monitor.advance(1, node.size);
            let place = dir.reserve();
            return dir.complete(&mut self.worker, place, Some(node));
        }
        let known = match before {
            Some(before) if before.kind == NodeKind::File => read::Before::Other,
            Some(_) | None => read::Before::New,
        };
        let place = dir.reserve();
        let (folder, path) = (self.frame().folder.clone(), self.path.clone());
        let job = FileJob { folder, name, path, node, before: known, dir, place };
        if self.inline {
            return read::file(&mut self.worker, job, &self.queues.readers);
        }
        self.found.add(job);
        if self.found.is_full() { self.hand_over() } else { Ok(()) }
    }

    /// Takes a folder's place in the tree and goes into it, now or later, or leaves that to another walker.
    fn enter(
        &mut self,
        name: Vec<u8>,
        mut node: Node,
        before: Option<&Node>,
        anchor: usize,
    ) -> Result<(), BackupError> {
        self.attributes(&name, &mut node, before);
        let (dir, before) = self.place(before);
        let (above, path) = (self.frame().folder.clone(), self.path.clone());
        match self.share.offer(Job { above, name, path, node, before, dir, anchor }) {
            None => Ok(()),
            Some(job) => self.go_into(job),
        }
    }

    /// The next place in the folder on top, for a folder; and the tree that the parent snapshot has for that.
    fn place(&mut self, before: Option<&Node>) -> (Arc<Dir>, Option<Id>) {
        let tree = before.filter(|before| before.kind == NodeKind::Dir).and_then(|before| before.subtree);
        let above = self.frame().dir.clone();
        let place = above.reserve();
        let known = tree.map_or(dir::Before::New, dir::Before::Tree);
        (Dir::new(Some((above, place)), &self.path, known, &self.temp), tree)
    }

    /// Lists a folder and puts it on top of the stack.
    fn go_into(&mut self, job: Job) -> Result<(), BackupError> {
        let run = self.run;
        let Job { above, name, path, node, before, dir, anchor } = job;
        self.path = path;
        let entered = if run.mounts == Mounts::Stay && node.device_id != above.device() {
            let nothing = || Entries::Way(btree_map::BTreeMap::new().into_iter());
            above.open_child(&name).map(|folder| (folder, nothing()))
        } else {
            above.open_child(&name).and_then(|folder| entries(run, folder))
        };
        self.entered(entered, node, before, dir, anchor)
    }

    fn entered(
        &mut self,
        entered: Result<(Folder, Entries), FileError>,
        mut node: Node,
        before: Option<Id>,
        dir: Arc<Dir>,
        anchor: usize,
    ) -> Result<(), BackupError> {
        match entered {
            Ok((folder, entries)) => {
                let known = before.map_or_else(Known::nothing, |tree| Known::open(self.run, tree, &self.path));
                let path = self.path.len();
                self.stack.push(Frame { folder: Arc::new(folder), entries, known, dir, node, path, anchor });
                Ok(())
            }
            Err(error) => {
                // The folder itself is kept, marked, so that what is below it is known to be missing.
                self.problem(chain(&error));
                node.error = Some("could not be listed".to_owned());
                dir.close(&mut self.worker, node)
            }
        }
    }

    /// Goes into a folder on the way to targets, which is open, and takes what is wanted in it.
    fn pass(
        &mut self,
        folder: Folder,
        node: Node,
        before: Option<&Node>,
        children: btree_map::BTreeMap<Vec<u8>, Target>,
    ) -> Result<(), BackupError> {
        let (dir, before) = self.place(before);
        let anchor = self.path.len();
        self.entered(Ok((folder, Entries::Way(children.into_iter()))), node, before, dir, anchor)
    }

    fn way(&mut self, name: &[u8], children: btree_map::BTreeMap<Vec<u8>, Target>) -> Result<(), BackupError> {
        let run = self.run;
        let before = self.frame().known.find(run, name);
        // A folder on the way is reached as the path says, through symlinks too.
        let path = PathBuf::from(OsStr::from_bytes(&self.path));
        let opened = Folder::open(&path, self.names.clone()).and_then(|folder| {
            let node = folder.own_node(name, XattrMode::Read)?;
            Ok((folder, node))
        });
        match opened {
            Ok((folder, node)) => self.pass(folder, node, before.as_ref(), children),
            Err(error) => match (leads_to_stream(&children), Folder::open("/".as_ref(), self.names.clone())) {
                // A stream may be stored where this machine has no folder. The root stands in for it: nothing is
                // looked up in the folders on a stream's way.
                (true, Ok(root)) => {
                    let now = run.vault.env().clock.now();
                    let node = Node { mode: 0o700, mtime: now, atime: now, ctime: now, ..ours(name, NodeKind::Dir) };
                    self.pass(root, node, before.as_ref(), children)
                }
                (_, _) => {
                    self.problem(chain(&error));
                    Ok(())
                }
            },
        }
    }

    fn stream(&mut self, name: &[u8], mut stream: Stream) -> Result<(), BackupError> {
        let shown = || String::from_utf8_lossy(name).into_owned();
        let path = PathBuf::from(OsStr::from_bytes(&self.path));
        let folder = path.parent().unwrap_or(Path::new("/"));
        let there = Folder::open(folder, self.names.clone()).and_then(|folder| folder.node(name, XattrMode::Read));
        let mut node = match there {
            Ok(node) if node.kind == NodeKind::File => node,
            Ok(_) | Err(_) => {
                let now = self.run.vault.env().clock.now();
                Node { mode: 0o600, mtime: now, atime: now, ctime: now, links: 1, ..ours(name, NodeKind::File) }
            }
        };
        node.content = Content::default();
        let dir = self.frame().dir.clone();
        let place = dir.reserve();
        let read = read::stream(&mut self.worker, &mut *stream.reader, node, &dir, place)?;
        read.map_err(|error| error.to_string())
            .and_then(|()| (stream.finish)())
            .map_err(|why| BackupError::Stream { name: shown(), why })
    }
}

/// Something that is not on this machine: it belongs to whoever backs up.
fn ours(name: &[u8], kind: NodeKind) -> Node {
    Node { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw(), ..Node::new(name, kind) }
}

fn leads_to_stream(children: &btree_map::BTreeMap<Vec<u8>, Target>) -> bool {
    children.values().any(|target| match target {
        Target::Stream(_) => true,
        Target::Way(below) => leads_to_stream(below),
        Target::Whole => false,
    })
}
