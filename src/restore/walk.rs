//! Walking a snapshot's tree: folders are made on the way in, files gathered into windows, attributes of folders
//! applied once everything in them is there.

use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::Sender;
use rustix::fs::FileType;

use super::finish::{self, clear};
use super::job::{Restore, Start, join};
use super::select::Wanted;
use super::window::{Folder, Window};
use super::{Existing, Privileged, RestoreError, Summary, place, remove};
use crate::vault::tree::{Node, NodeKind};
use crate::vault::{Id, TreeSource, chain};

/// A folder on the way.
pub(super) struct Frame {
    nodes: TreeSource,
    tree: Id,
    /// In the snapshot.
    pub(super) path: Vec<u8>,
    /// Open, once something is written in it; none while only looking or not yet made.
    folder: Option<Arc<Folder>>,
    /// Made by this restore: nothing can be in its way.
    fresh: bool,
    /// The folder's own attributes, applied when it is left; none at the target itself.
    node: Option<Node>,
    wanted: Wanted,
    /// When deleting: the names that the snapshot has here; none where nothing may be deleted.
    names: Option<Vec<Vec<u8>>>,
}

/// The walk through one snapshot.
pub(super) struct Walk<'r> {
    pub(super) restore: &'r Restore,
    pub(super) window: Window,
    /// Finishes windows while the next is gathered.
    finisher: Option<Sender<Window>>,
    pub(super) stack: Vec<Frame>,
    /// First names of files with several, by device and inode.
    pub(super) links: HashMap<(u64, u64), Vec<Vec<u8>>>,
    pub(super) summary: Summary,
}

impl<'r> Walk<'r> {
    pub(super) fn new(restore: &'r Restore) -> Self {
        let (window, summary) = (Window::default(), Summary::default());
        Self { restore, window, finisher: None, stack: Vec::new(), links: HashMap::new(), summary }
    }

    /// Walks and has every window finished: by another thread, while this one gathers the next, unless one thing is to
    /// happen after another.
    pub(super) fn run(&mut self, start: Start, target: Option<Folder>) -> Result<(), RestoreError> {
        let restore = self.restore;
        if restore.options.workers < 2 {
            return self.walk(start, target);
        }
        std::thread::scope(|scope| {
            let (send, receive) = crossbeam_channel::bounded(0);
            let finisher = scope.spawn(move || receive.iter().for_each(|window| finish::window(restore, window)));
            self.finisher = Some(send);
            let walked = self.walk(start, target);
            self.finisher = None;
            finisher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            walked
        })
    }

    fn walk(&mut self, start: Start, target: Option<Folder>) -> Result<(), RestoreError> {
        let target = target.map(Arc::new);
        if let Some(node) = start.file {
            let folder = target.clone();
            if let Some(folder) = &folder
                && self.restore.writes()
            {
                self.entry_in(folder, node, false)?;
            } else {
                self.count(&node);
            }
            return self.flush();
        }
        if let Some(tree) = start.tree {
            let wanted = self.restore.options.selection.wants(&start.path, true, Wanted::Below);
            let nodes = self.restore.handle.block_on(self.restore.vault.open_tree(&self.restore.index, &tree))?;
            let names = self.mirrors(&start.path).then(Vec::new);
            // An empty target has nothing in the way.
            let fresh = self.restore.options.existing == Existing::Refuse;
            let frame = Frame { nodes, tree, path: start.path, folder: target, fresh, node: None, wanted, names };
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
        self.flush()?;
        if self.restore.cancel.is_cancelled() { Err(RestoreError::Cancelled) } else { Ok(()) }
    }

    /// Whether what the snapshot does not have in this folder is deleted: only within the paths that were backed up
    /// whole, never in a folder that merely leads to them.
    fn mirrors(&self, path: &[u8]) -> bool {
        let options = &self.restore.options;
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
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
            (Wanted::Yes, _) => {
                if !restore.writes() {
                    return self.look(node);
                }
                let Some((folder, fresh)) = self.folder() else { return Ok(()) };
                self.entry_in(&folder, node, fresh)?;
                if self.window.is_full() { self.flush() } else { Ok(()) }
            }
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
        let looked = if restore.writes() { None } else { self.look_into(&node) };
        self.stack.push(Frame { nodes, tree, path, folder: looked, fresh: false, node: Some(node), wanted, names });
        if wanted == Wanted::Yes {
            self.summary.dirs += 1;
            if restore.writes() {
                self.folder();
            }
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
        if let Some(names) = frame.names {
            self.delete_others(&folder, names);
        }
        if self.restore.writes() {
            let node = frame.node.filter(|_| frame.fresh || frame.wanted == Wanted::Yes);
            self.window.left.push((folder, node));
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
            if !self.restore.writes() {
                self.summary.deleted += 1;
                continue;
            }
            match remove::all(&folder.open, &name) {
                Ok(deleted) => self.summary.deleted += deleted,
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

    /// Counts what would be written, comparing with what is there.
    fn look(&mut self, node: Node) -> Result<(), RestoreError> {
        self.count(&node);
        if node.kind != NodeKind::File {
            return Ok(());
        }
        let there = self.frame().folder.clone();
        let stat = there.as_ref().and_then(|folder| place::look(&folder.open, &node.name).ok().flatten());
        let regular = stat.is_some_and(|stat| place::kind(&stat) == FileType::RegularFile);
        let (Some(folder), true) = (there, regular) else {
            self.summary.bytes_written += node.size;
            return Ok(());
        };
        if let Some(stat) = stat.filter(|stat| self.is_trusted(&node, stat)) {
            return self.keep(&folder, &node, &stat).map_err(|error| self.restore.target_failed(error));
        }
        self.pieces(&folder, node, true)?;
        if self.window.is_full() { self.flush() } else { Ok(()) }
    }

    fn look_into(&mut self, node: &Node) -> Option<Arc<Folder>> {
        let frame = self.frame();
        let (folder, path) = (frame.folder.clone()?, join(&frame.path, &node.name));
        place::open_dir(&folder.open, &node.name).ok().map(|open| Arc::new(Folder { open, path }))
    }

    /// Restores one entry that is not a folder.
    fn entry_in(&mut self, folder: &Arc<Folder>, node: Node, fresh: bool) -> Result<(), RestoreError> {
        self.count(&node);
        let (path, kind) = (join(&folder.path, &node.name), node.kind);
        match self.entry(folder, node, fresh, &path) {
            Ok(None) => Ok(()),
            Ok(Some((node, exists))) => self.pieces(folder, node, exists),
            Err(error) => {
                self.restore.lost(&path, kind, format!("not restored: {error}"));
                Ok(())
            }
        }
    }

    /// Makes what needs no fetching; a file that does is given back, and whether it is there already.
    fn entry(
        &mut self,
        folder: &Arc<Folder>,
        node: Node,
        fresh: bool,
        path: &[u8],
    ) -> io::Result<Option<(Node, bool)>> {
        let restore = self.restore;
        let there = if fresh { None } else { place::look(&folder.open, &node.name)? };
        let kind = match node.kind {
            NodeKind::File => return self.file(folder, node, there.as_ref()),
            NodeKind::Symlink => FileType::Symlink,
            NodeKind::Fifo => FileType::Fifo,
            NodeKind::Dev => FileType::BlockDevice,
            NodeKind::CharDev => FileType::CharacterDevice,
            NodeKind::Socket | NodeKind::Dir => return Ok(None),
        };
        if matches!(node.kind, NodeKind::Dev | NodeKind::CharDev) && restore.options.privileged == Privileged::Leave {
            restore.problem(path, "left out: device nodes are only restored with --privileged");
            return Ok(None);
        }
        if let Some(first) = self.linked(folder, &node) {
            self.window.links.push((folder.clone(), node, first));
            return Ok(None);
        }
        if there.is_some() {
            clear(restore, folder, &node.name)?;
        }
        if kind == FileType::Symlink {
            place::make_symlink(&folder.open, &node.name, &node.linktarget)?;
        } else {
            place::make_node(&folder.open, &node.name, kind, node.device)?;
        }
        for why in restore.attributes.apply_at(&folder.open, &node) {
            restore.problem(path, why);
        }
        restore.monitor.advance(1, 0);
        Ok(None)
    }

    /// Has the window's pieces written, and begins another; links and folders wait for the last of them.
    pub(super) fn fetch(&mut self) -> Result<(), RestoreError> {
        let window = self.window.split();
        self.hand_over(window)
    }

    /// Has the whole window finished.
    fn flush(&mut self) -> Result<(), RestoreError> {
        if self.window.is_empty() {
            return Ok(());
        }
        let window = std::mem::take(&mut self.window);
        self.hand_over(window)
    }

    /// To whoever finishes windows, which is this thread when there is no other.
    fn hand_over(&mut self, window: Window) -> Result<(), RestoreError> {
        match &self.finisher {
            Some(finisher) => finisher.send(window).map_err(|_| RestoreError::Cancelled)?,
            None => finish::window(self.restore, window),
        }
        if self.restore.cancel.is_cancelled() { Err(RestoreError::Cancelled) } else { Ok(()) }
    }
}

/// Opens a folder, making it where needed; true when it was made.
fn folder_in(restore: &Restore, above: &Folder, name: &[u8], fresh: bool) -> io::Result<(std::os::fd::OwnedFd, bool)> {
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
