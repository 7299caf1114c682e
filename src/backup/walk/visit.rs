//! One entry: left out, reused, handed to the readers, or gone into.

use std::collections::btree_map;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Entries, Frame, Walker, entries};
use crate::backup::dir::{self, Closed, Dir, Done};
use crate::backup::parent::{FolderBefore, Known};
use crate::backup::read::{self, FileJob};
use crate::backup::share::Job;
use crate::backup::summary::add;
use crate::backup::target::{Stream, Target};
use crate::backup::{BackupError, Mounts};
use crate::source::files::{FileError, Folder, Verdict, XattrMode, unchanged};
use crate::vault::tree::{Content, Node, NodeKind};
use crate::vault::{BlobKey, chain};

impl Walker<'_> {
    pub(super) fn visit(&mut self, name: Vec<u8>, target: Target) -> Result<(), BackupError> {
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
        let done = if before == Some(&node) { Done::Same(node) } else { Done::Changed(node) };
        dir.complete(&mut self.worker, place, done)
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
            let done = if *before == node { Done::Same(node) } else { Done::Changed(node) };
            return dir.complete(&mut self.worker, place, done);
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
        let (dir, before) = self.place(&node, before);
        let (above, path) = (self.frame().folder.clone(), self.path.clone());
        match self.share.offer(Job { above, name, path, node, before, dir, anchor }) {
            None => Ok(()),
            Some(job) => self.go_into(job),
        }
    }

    /// The next place in the folder on top, for a folder; and what the parent snapshot has for that.
    fn place(&mut self, node: &Node, before: Option<&Node>) -> (Arc<Dir>, Option<FolderBefore>) {
        let before = before.filter(|before| before.kind == NodeKind::Dir).and_then(|before| {
            let same = *before == Node { subtree: before.subtree, ..node.clone() };
            before.subtree.map(|tree| FolderBefore { tree, same })
        });
        let above = self.frame().dir.clone();
        let place = above.reserve();
        let known = before.map_or(dir::Before::New, |before| dir::Before::Tree(before.tree));
        (Dir::new(Some((above, place)), &self.path, known, &self.temp), before)
    }

    /// Lists a folder and puts it on top of the stack.
    pub(super) fn go_into(&mut self, job: Job) -> Result<(), BackupError> {
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
        before: Option<FolderBefore>,
        dir: Arc<Dir>,
        anchor: usize,
    ) -> Result<(), BackupError> {
        match entered {
            Ok((folder, entries)) => {
                let open = |before: FolderBefore| Known::open(self.run, before.tree, &self.path);
                let known = before.map_or_else(Known::nothing, open);
                let (folder, same) = (Arc::new(folder), before.is_some_and(|before| before.same));
                let path = self.path.len();
                self.stack.push(Frame { folder, entries, known, dir, node, same, path, anchor });
                Ok(())
            }
            Err(error) => {
                // The folder itself is kept, marked, so that what is below it is known to be missing.
                self.problem(chain(&error));
                node.error = Some("could not be listed".to_owned());
                dir.close(&mut self.worker, Closed { node, same: false, entries_before: None })
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
        let (dir, before) = self.place(&node, before);
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
