//! Walking a snapshot's tree: folders are made on the way in, what is in them gathered into windows, attributes of folders
//! applied once everything in them is there.

use std::collections::HashMap;
use std::collections::hash_map;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::FileType;

use super::finish::clear;
use super::job::{Restore, Start, join};
use super::pool::Pool;
use super::select::Wanted;
use super::window::{Entry, Folder, PIECES, Window};
use super::{Existing, RestoreError, Summary, entry, place, remove};
use crate::vault::tree::{Node, NodeKind};
use crate::vault::{Id, TreeSource, chain};

/// A folder on the way.
struct Frame {
    nodes: TreeSource,
    tree: Id,
    /// In the snapshot.
    path: Vec<u8>,
    /// Open, once something is written in it; none while not yet made. Where nothing is written and it is not there, some
    /// other folder stands for it.
    folder: Option<Arc<Folder>>,
    /// Made by this restore, or it would be: nothing can be in its way.
    fresh: bool,
    /// The folder's own attributes, applied when it is left; none at the target itself.
    node: Option<Node>,
    wanted: Wanted,
    /// When deleting: the names that the snapshot has here; none where nothing may be deleted.
    names: Option<Vec<Vec<u8>>>,
}

/// What would be deleted is named up to so many.
const NAMED: usize = 1000;
/// A file of more chunks is spread over windows.
const LARGE: u64 = PIECES / 8;

/// The walk through one snapshot.
pub(super) struct Walk<'r, 'p> {
    restore: &'r Restore,
    pool: &'r mut Pool<'p>,
    window: Window,
    stack: Vec<Frame>,
    /// First names of files with several, by device and inode.
    links: HashMap<(u64, u64), Vec<Vec<u8>>>,
    summary: Summary,
}

impl<'r, 'p> Walk<'r, 'p> {
    /// Walks from `start` and hands what is to be done to the pool. Returns what was counted on the way.
    pub(super) fn run(
        restore: &'r Restore,
        pool: &'r mut Pool<'p>,
        start: Start,
        target: (Folder, bool),
    ) -> Result<Summary, RestoreError> {
        let (window, summary) = (Window::default(), Summary::default());
        let mut walk = Self { restore, pool, window, stack: Vec::new(), links: HashMap::new(), summary };
        walk.walk(start, target)?;
        Ok(walk.summary)
    }

    /// `fresh`: nothing is in the target, or it is not even there.
    fn walk(&mut self, start: Start, (target, fresh): (Folder, bool)) -> Result<(), RestoreError> {
        let target = Arc::new(target);
        if let Some(node) = start.file {
            self.entry(target, node, fresh)?;
            return self.flush();
        }
        if let Some(tree) = start.tree {
            let wanted = self.restore.options.selection.wants(&start.path, true, Wanted::Below);
            let nodes = self.restore.handle.block_on(self.restore.vault.open_tree(&self.restore.index, &tree))?;
            let names = self.mirrors(&start.path).then(Vec::new);
            let (path, folder) = (start.path, Some(target));
            let frame = Frame { nodes, tree, path, folder, fresh, node: None, wanted, names };
            self.stack.push(frame);
        }
        while let Some(frame) = self.stack.last_mut() {
            if self.restore.cancel.is_cancelled() {
                return Err(RestoreError::Cancelled);
            }
            match frame.nodes.next() {
                None => self.leave()?,
                Some(Ok(node)) => self.visit(node)?,
                Some(Err(error)) => {
                    // What came before is kept; what cannot be read is lost, and nothing is deleted.
                    frame.names = None;
                    let what = if error.is_final() { "the rest of this folder" } else { "an entry of this folder" };
                    let why = format!("{what} is lost: tree {}: {}", frame.tree.short(), chain(&error));
                    let (path, ends) = (frame.path.clone(), error.is_final());
                    self.restore.problem(&path, why);
                    if ends {
                        self.leave()?;
                    }
                }
            }
        }
        self.flush()
    }

    /// Whether what the snapshot does not have in this folder is deleted: only within the paths that were backed up
    /// whole, never in a folder that merely leads to them.
    fn mirrors(&self, path: &[u8]) -> bool {
        let options = &self.restore.options;
        let path = Path::new(OsStr::from_bytes(path));
        options.existing == Existing::Mirror && options.whole.iter().any(|whole| path.starts_with(whole))
    }

    fn frame(&mut self) -> &mut Frame {
        self.stack.last_mut().expect("an entry is visited while its folder is on the stack")
    }

    fn visit(&mut self, node: Node) -> Result<(), RestoreError> {
        let restore = self.restore;
        let frame = self.frame();
        let path = join(&frame.path, &node.name);
        let wanted = restore.options.selection.wants(&path, node.kind == NodeKind::Dir, frame.wanted);
        if let Some(names) = &mut frame.names {
            names.push(node.name.clone());
        }
        match (wanted, node.kind) {
            (Wanted::No, _) => Ok(()),
            (_, NodeKind::Dir) => self.enter(node, path, wanted),
            (Wanted::Below, _) => Ok(()),
            (Wanted::Yes, _) => match self.folder() {
                Some((folder, fresh)) => self.entry(folder, node, fresh),
                None => Ok(()),
            },
        }
    }

    fn enter(&mut self, node: Node, path: Vec<u8>, wanted: Wanted) -> Result<(), RestoreError> {
        let restore = self.restore;
        if let Some(error) = &node.error {
            restore.problem(&path, format!("restored as the backup has it, which says: {error}"));
        }
        let Some(tree) = node.subtree else {
            restore.problem(&path, "the snapshot has no tree for this folder");
            return Ok(());
        };
        let names = (self.mirrors(&path) && node.error.is_none()).then(Vec::new);
        let nodes = match restore.handle.block_on(restore.vault.open_tree(&restore.index, &tree)) {
            Ok(nodes) => nodes,
            Err(error) => {
                restore.problem(&path, format!("this folder is lost: {}", chain(&error)));
                return Ok(());
            }
        };
        self.stack.push(Frame { nodes, tree, path, folder: None, fresh: false, node: Some(node), wanted, names });
        if wanted == Wanted::Yes {
            self.summary.dirs += 1;
            self.folder();
        }
        Ok(())
    }

    /// The folder on top of the stack, made together with those above it when it is not there yet.
    fn folder(&mut self) -> Option<(Arc<Folder>, bool)> {
        let first = self.stack.iter().rposition(|frame| frame.folder.is_some())?;
        for at in first + 1..self.stack.len() {
            let (above, fresh) = {
                let above = &self.stack[at - 1];
                (above.folder.clone()?, above.fresh)
            };
            let frame = &mut self.stack[at];
            let name = frame.node.as_ref().map(|node| node.name.clone())?;
            match folder_in(self.restore, &above, &name, fresh) {
                Ok((open, made)) => {
                    frame.folder = Some(Arc::new(Folder { open, path: frame.path.clone() }));
                    frame.fresh = made;
                }
                Err(error) => {
                    let path = frame.path.clone();
                    self.restore.problem(&path, format!("the folder and all in it are not restored: {error}"));
                    // Nothing below can be restored: skip to its end.
                    self.stack.truncate(at);
                    return None;
                }
            }
        }
        self.stack.last().and_then(|frame| Some((frame.folder.clone()?, frame.fresh)))
    }

    fn leave(&mut self) -> Result<(), RestoreError> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let Some(folder) = frame.folder else { return Ok(()) };
        if let Some(names) = frame.names
            && !frame.fresh
        {
            self.delete_others(&folder, names);
        }
        if self.restore.writes() {
            let node = frame.node.filter(|_| frame.fresh || frame.wanted == Wanted::Yes);
            self.window.last.left.push((folder, node));
        }
        if self.window.is_full() { self.flush() } else { Ok(()) }
    }

    fn delete_others(&mut self, folder: &Folder, mut kept: Vec<Vec<u8>>) {
        kept.sort_unstable();
        let names = match remove::names(&folder.open) {
            Ok(names) => names,
            Err(error) => return self.restore.problem(&folder.path, format!("cannot be listed: {error}")),
        };
        for name in names.into_iter().filter(|name| kept.binary_search(name).is_err()) {
            match remove::all(&folder.open, &name, self.restore.options.mode) {
                Ok(deleted) => {
                    self.summary.deleted += deleted;
                    if !self.restore.writes() && self.summary.would_delete.len() < NAMED {
                        let below = OsStr::from_bytes(self.below_target(&folder.path));
                        let folder = self.restore.options.target.join(below);
                        let path = folder.join(OsStr::from_bytes(&name));
                        self.summary.would_delete.push(path.to_string_lossy().into_owned());
                    }
                }
                Err(error) => self.restore.problem(&join(&folder.path, &name), format!("cannot be deleted: {error}")),
            }
        }
    }

    fn count(&mut self, node: &Node) {
        match node.kind {
            NodeKind::File => {
                self.summary.files += 1;
                self.summary.bytes += node.size;
            }
            NodeKind::Dir => self.summary.dirs += 1,
            NodeKind::Symlink | NodeKind::Dev | NodeKind::CharDev | NodeKind::Fifo | NodeKind::Socket => {
                self.summary.others += 1;
            }
        }
        self.restore.monitor.total(self.summary.files, self.summary.bytes);
    }

    /// Gathers one entry that is not a folder.
    fn entry(&mut self, folder: Arc<Folder>, node: Node, fresh: bool) -> Result<(), RestoreError> {
        self.count(&node);
        let restore = self.restore;
        if let Some(first) = self.linked(&folder, &node) {
            self.window.last.links.push((folder, node, first));
            return Ok(());
        }
        let large = node.content.len() > LARGE;
        let entry = Entry { folder, node, fresh };
        if !large {
            self.window.entry(entry);
        } else if let Some(wants) = entry::look(restore, &Arc::new(entry)) {
            for want in wants.each() {
                self.window.want(want);
                if self.window.is_full() {
                    let window = self.window.split();
                    self.pool.hand_over(window)?;
                }
            }
        }
        if self.window.is_full() { self.flush() } else { Ok(()) }
    }

    /// A folder's path without what is restored to the target itself; the target's own folder is `/`.
    fn below_target<'a>(&self, path: &'a [u8]) -> &'a [u8] {
        let base = self.stack.first().map_or(0, |frame| if frame.path == b"/" { 0 } else { frame.path.len() });
        let below = path.get(base..).unwrap_or_default();
        below.strip_prefix(b"/").unwrap_or(below)
    }

    /// For a file with several names: the first one's path when this is another, which is noted when this is the first.
    fn linked(&mut self, folder: &Folder, node: &Node) -> Option<Vec<Vec<u8>>> {
        let restore = self.restore;
        if node.links < 2 || entry::is_left_out(restore, node) || node.kind == NodeKind::Socket {
            return None;
        }
        let below = self.below_target(&folder.path);
        let mut path: Vec<Vec<u8>> =
            below.split(|b| *b == b'/').filter(|p| !p.is_empty()).map(<[u8]>::to_vec).collect();
        path.push(node.name.clone());
        match self.links.entry((node.device_id, node.inode)) {
            hash_map::Entry::Occupied(first) => Some(first.get().clone()),
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(path);
                None
            }
        }
    }

    /// Hands over all that was gathered.
    fn flush(&mut self) -> Result<(), RestoreError> {
        if self.window.is_empty() {
            return Ok(());
        }
        self.pool.hand_over(std::mem::take(&mut self.window))
    }
}

/// Opens a folder, making it where needed; true when it was made. Where nothing is written, the one above stands for it.
fn folder_in(restore: &Restore, above: &Folder, name: &[u8], fresh: bool) -> io::Result<(std::os::fd::OwnedFd, bool)> {
    if !restore.writes() {
        let there = if fresh { None } else { place::open_dir(&above.open, name).ok() };
        return there.map_or_else(|| Ok((above.open.try_clone()?, true)), |open| Ok((open, false)));
    }
    if !fresh && let Some(stat) = place::look(&above.open, name)? {
        if place::kind(&stat) == FileType::Directory {
            return Ok((place::open_dir(&above.open, name)?, false));
        }
        clear(restore, above, name)?;
    }
    let (open, made) = place::make_dir(&above.open, name)?;
    if !made && restore.options.existing == Existing::Refuse {
        // Nothing was there when this restore began: what somebody else puts there is not written over.
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    Ok((open, made))
}
