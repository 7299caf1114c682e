//! One restore: what all its threads share, and where it starts.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::attributes::Attributes;
use super::walk::Walk;
use super::window::Folder;
use super::{Existing, Mode, Options, RestoreError, Summary, place, pool, remove, sync};
use crate::monitor::{Cancel, Monitor, Problem};
use crate::vault::index::Index;
use crate::vault::tree::{Node, NodeKind};
use crate::vault::{Id, Vault, ZEROS};

/// One restore, shared with the threads that fetch.
pub(super) struct Restore {
    pub(super) vault: Vault,
    pub(super) index: Index,
    pub(super) options: Options,
    pub(super) monitor: Arc<dyn Monitor>,
    pub(super) cancel: Cancel,
    pub(super) handle: tokio::runtime::Handle,
    pub(super) attributes: Attributes,
    pub(super) fetched: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) unchanged: AtomicU64,
    pub(super) files_unchanged: AtomicU64,
    pub(super) files_lost: AtomicU64,
    problems: Mutex<Vec<Problem>>,
    /// A chunk of zeros, as both chunkers cut them, becomes a hole.
    pub(super) hole: Id,
}

/// `above/name`.
pub(super) fn join(above: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = above.to_vec();
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

impl Restore {
    pub(super) fn new(
        vault: Vault,
        index: Index,
        options: Options,
        monitor: Arc<dyn Monitor>,
        cancel: Cancel,
        handle: tokio::runtime::Handle,
    ) -> Self {
        let attributes = Attributes::new(options.privileged);
        Self {
            vault,
            index,
            options,
            monitor,
            cancel,
            handle,
            attributes,
            fetched: AtomicU64::new(0),
            written: AtomicU64::new(0),
            unchanged: AtomicU64::new(0),
            files_unchanged: AtomicU64::new(0),
            files_lost: AtomicU64::new(0),
            problems: Mutex::new(Vec::new()),
            hole: Id::of(ZEROS),
        }
    }

    /// Lists what could not be restored whole.
    pub(super) fn problem(&self, path: &[u8], why: impl Into<String>) {
        let problem = Problem { what: String::from_utf8_lossy(path).into_owned(), why: why.into() };
        self.monitor.problem(&problem);
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
    }

    /// Lists an entry that was not restored.
    pub(super) fn lost(&self, path: &[u8], kind: NodeKind, why: impl Into<String>) {
        if kind == NodeKind::File {
            self.files_lost.fetch_add(1, Ordering::Relaxed);
        }
        self.problem(path, why);
    }

    pub(super) fn writes(&self) -> bool {
        self.options.mode == Mode::Write
    }

    /// Restores and returns the figures and what was lost.
    pub(super) fn run(self, root: Id) -> Result<(Summary, Vec<Problem>), RestoreError> {
        if self.options.existing == Existing::Mirror && !self.options.selection.is_everything() {
            return Err(RestoreError::MirrorOfSelection);
        }
        self.monitor.stage("restore");
        let start = self.start(root)?;
        let target = self.target()?;
        let walk = || pool::with(&self, |pool| Walk::run(&self, pool, start, target));
        let summary = match self.writes().then(|| self.open_target()).transpose()? {
            None => walk()?,
            Some(open) => sync::alongside(&self, open, walk)?,
        };
        self.notes();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let summary = Summary {
            files_unchanged: read(&self.files_unchanged),
            bytes_unchanged: read(&self.unchanged),
            bytes_written: read(&self.written),
            bytes_fetched: read(&self.fetched),
            bytes_free: if self.writes() { None } else { place::room(&self.options.target) },
            files_lost: read(&self.files_lost),
            ..summary
        };
        Ok((summary, self.problems.into_inner().unwrap_or_else(PoisonError::into_inner)))
    }

    pub(super) fn target_failed(&self, source: io::Error) -> RestoreError {
        RestoreError::Target { target: self.options.target.clone(), source }
    }

    fn open_target(&self) -> Result<std::os::fd::OwnedFd, RestoreError> {
        place::open_target(&self.options.target).map_err(|error| self.target_failed(error))
    }

    fn notes(&self) {
        let owners = self.attributes.owners_left.load(Ordering::Relaxed);
        if owners > 0 {
            self.monitor.note(&format!("{owners} entries belong to you now: only root can give files to others"));
        }
        let rights = self.attributes.rights_left.load(Ordering::Relaxed);
        if rights > 0 {
            self.problem(b"/", format!("{rights} entries lost their setuid or setgid bit or capabilities: restore with --privileged as root to have them"));
        }
    }

    /// The tree, or the one file, that the subpath names.
    fn start(&self, root: Id) -> Result<Start, RestoreError> {
        let mut at = Start { tree: Some(root), file: None, path: b"/".to_vec() };
        for part in self.options.subpath.components() {
            let Component::Normal(name) = part else { continue };
            let missing = || RestoreError::NoSuchPath { path: self.options.subpath.clone() };
            let tree = at.tree.ok_or_else(missing)?;
            let mut nodes = self.handle.block_on(self.vault.open_tree(&self.index, &tree))?;
            let node = nodes.find_map(|node| match node {
                Ok(node) if node.name == name.as_bytes() => Some(Ok(node)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            });
            let node = node.ok_or_else(missing)?.map_err(|error| self.vault.damaged_tree(&tree, error))?;
            at = match node.subtree {
                Some(tree) if node.kind == NodeKind::Dir => {
                    Start { tree: Some(tree), file: None, path: join(&at.path, &node.name) }
                }
                Some(_) | None => Start { tree: None, file: Some(node), path: at.path },
            };
        }
        Ok(at)
    }

    /// Opens the target, making it where needed, and says whether nothing is in it. Where it would be made but nothing is
    /// written, the root stands for it.
    fn target(&self) -> Result<(Folder, bool), RestoreError> {
        let path = &self.options.target;
        let failed = |source| self.target_failed(source);
        if self.writes() {
            std::fs::create_dir_all(path).map_err(failed)?;
        }
        let folder = |open| Folder { open, path: b"/".to_vec() };
        let open = match place::open_target(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.writes() => {
                return place::open_target(Path::new("/")).map(|root| (folder(root), true)).map_err(failed);
            }
            opened => opened.map_err(failed)?,
        };
        if self.options.existing == Existing::Refuse && !remove::names(&open).map_err(failed)?.is_empty() {
            return Err(RestoreError::NotEmpty { target: path.clone() });
        }
        Ok((folder(open), self.options.existing == Existing::Refuse))
    }
}

/// Where in the snapshot the restore starts.
pub(super) struct Start {
    pub(super) tree: Option<Id>,
    pub(super) file: Option<Node>,
    pub(super) path: Vec<u8>,
}
