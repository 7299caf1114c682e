//! Regular files on the walk: what of each is to be fetched, and where it goes.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use rustix::fs::{FileType, Stat};

use super::attributes;
use super::finish::clear;
use super::holes::{self, Hole};
use super::job::join;
use super::walk::Walk;
use super::window::{Folder, Piece, State, Target};
use super::{RestoreError, Trust, fetch, place};
use crate::vault::tree::{Node, Run};
use crate::vault::{BlobKey, Id, Located, ZERO_CHUNK};

/// Equal chunks of a file, one after another.
struct Part {
    id: Id,
    kind: Kind,
    /// First byte in the file.
    at: u64,
    /// Bytes of each.
    len: u64,
    count: u64,
}

enum Kind {
    /// The chunk of zeros.
    Zeros,
    Blob(Located),
}

impl Part {
    fn bytes(&self) -> u64 {
        self.len * self.count
    }

    /// First bytes of each.
    fn places(&self) -> impl Iterator<Item = u64> {
        (0..self.count).map(|n| self.at + n * self.len)
    }
}

impl Walk<'_> {
    /// For a file with several names: the first one's path when this is another, which is noted when this is the first.
    pub(super) fn linked(&mut self, folder: &Folder, node: &Node) -> Option<Vec<Vec<u8>>> {
        if node.links < 2 {
            return None;
        }
        let base = self.stack.first().map_or(0, |frame| if frame.path == b"/" { 0 } else { frame.path.len() });
        let below = folder.path.get(base..).unwrap_or_default();
        let mut path: Vec<Vec<u8>> =
            below.split(|b| *b == b'/').filter(|p| !p.is_empty()).map(<[u8]>::to_vec).collect();
        path.push(node.name.clone());
        match self.links.entry((node.device_id, node.inode)) {
            std::collections::hash_map::Entry::Occupied(first) => Some(first.get().clone()),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(path);
                None
            }
        }
    }

    pub(super) fn file(
        &mut self,
        folder: &Arc<Folder>,
        node: Node,
        there: Option<&Stat>,
    ) -> io::Result<Option<(Node, bool)>> {
        if let Some(first) = self.linked(folder, &node) {
            self.window.links.push((folder.clone(), node, first));
            return Ok(None);
        }
        let mut exists = false;
        if let Some(stat) = there {
            // A file with other names is not written in place, as they may lie outside the target: it stays only if it
            // is what it should be.
            let own = stat.st_nlink == 1;
            if self.is_trusted(&node, stat) && (own || stat.st_nlink == node.links) {
                return self.keep(folder, &node, stat).map(|()| None);
            }
            exists = place::kind(stat) == FileType::RegularFile
                && (own || stat.st_nlink == node.links && self.same_content(folder, &node));
            if !exists {
                clear(self.restore, folder, &node.name)?;
            }
        }
        Ok(Some((node, exists)))
    }

    /// Whether this file, which is there, is taken to be whole without being read.
    pub(super) fn is_trusted(&self, node: &Node, stat: &Stat) -> bool {
        self.restore.options.trust == Trust::Times
            && place::kind(stat) == FileType::RegularFile
            && u64::try_from(stat.st_size).is_ok_and(|size| size == node.size)
            && attributes::has_mtime(stat, node)
    }

    /// Leaves such a file as it is, but for attributes that differ.
    pub(super) fn keep(&self, folder: &Folder, node: &Node, stat: &Stat) -> io::Result<()> {
        let restore = self.restore;
        let path = || join(&folder.path, &node.name);
        if restore.writes() && !restore.attributes.are_set(stat, node) {
            let file = place::open_to_compare(&folder.open, &node.name)?;
            for why in restore.attributes.apply(&file, node, true) {
                restore.problem(&path(), why);
            }
        }
        if let Some(error) = &node.error {
            restore.problem(&path(), format!("restored as the backup has it, which says: {error}"));
        }
        restore.files_unchanged.fetch_add(1, Ordering::Relaxed);
        restore.unchanged.fetch_add(node.size, Ordering::Relaxed);
        restore.monitor.advance(1, node.size);
        Ok(())
    }

    fn same_content(&self, folder: &Folder, node: &Node) -> bool {
        let (places, size, lost) = self.places(node);
        let Ok(file) = place::open_to_compare(&folder.open, &node.name) else { return false };
        let mut buffer = Vec::new();
        let mut holds = |part: &Part| match part.kind {
            Kind::Zeros => holes::is_there(&file, part.at..part.at + part.bytes()),
            Kind::Blob(_) => part.places().all(|at| fetch::holds(&file, part.id, part.len, at, &mut buffer)),
        };
        lost.is_none() && file.metadata().is_ok_and(|meta| meta.len() == size) && places.iter().all(&mut holds)
    }

    /// Adds a file's pieces to the window, and to further ones when they do not fit.
    pub(super) fn pieces(&mut self, folder: &Arc<Folder>, node: Node, exists: bool) -> Result<(), RestoreError> {
        let restore = self.restore;
        let (places, size, lost) = self.places(&node);
        // A new file has zeros wherever nothing is written.
        let left_out = |part: &&Part| !exists && matches!(part.kind, Kind::Zeros);
        let missing = places.iter().filter(|part| !left_out(part)).map(|part| part.count).sum();
        let state = State { exists, missing, lost, ..State::default() };
        let target = Arc::new(Target { folder: folder.clone(), node, size, state: Mutex::new(state) });
        if missing == 0 {
            if restore.writes() {
                fetch::finish(restore, &target, &mut fetch::lock(&target), None);
            } else if exists && target.node.content.is_empty() {
                restore.files_unchanged.fetch_add(1, Ordering::Relaxed);
            }
            restore.monitor.advance(0, size);
            return Ok(());
        }
        let mut file = self.window.file(target.clone());
        for part in places {
            let located = match part.kind {
                Kind::Zeros => {
                    if exists {
                        self.window.holes.push(Hole { file, at: part.at, chunks: part.count });
                    } else {
                        restore.monitor.advance(0, part.bytes());
                    }
                    continue;
                }
                Kind::Blob(located) => located,
            };
            for at in part.places() {
                self.window.pieces.push(Piece { id: part.id, located, file, at, compare: exists });
                self.window.bytes += part.len;
                if self.window.is_full() {
                    self.fetch()?;
                    file = self.window.file(target.clone());
                }
            }
        }
        Ok(())
    }

    /// Where each chunk of a file goes, and the file's size. A chunk that no index file names is lost; the ones after it
    /// have their places as long as the size tells how long it was.
    fn places(&self, node: &Node) -> (Vec<Part>, u64, Option<String>) {
        let (restore, runs) = (self.restore, node.content.runs());
        let look = |run: &Run| {
            // What zeros are needs no looking up.
            let (kind, len) = if run.id == restore.hole {
                (Kind::Zeros, ZERO_CHUNK as u64)
            } else {
                let located = restore.index.get(BlobKey::data(run.id))?;
                (Kind::Blob(located), located.plain_len())
            };
            Some(Part { id: run.id, kind, at: 0, len, count: run.count.into() })
        };
        let found: Vec<Option<Part>> = runs.iter().map(look).collect();
        let known: u64 = found.iter().flatten().map(Part::bytes).sum();
        let unknown: u64 = runs.iter().zip(&found).filter(|(_, f)| f.is_none()).map(|(r, _)| u64::from(r.count)).sum();
        let (mut at, mut places, mut lost) = (0, Vec::with_capacity(found.len()), None);
        for (run, part) in runs.iter().zip(found) {
            match part {
                Some(part) => {
                    at += part.bytes();
                    places.push(Part { at: at - part.bytes(), ..part });
                }
                None => {
                    lost.get_or_insert_with(|| {
                        format!("{unknown} of its blobs, first {}, are in no index", run.id.short())
                    });
                    if unknown > 1 {
                        break;
                    }
                    at += node.size.saturating_sub(known);
                }
            }
        }
        let size = if unknown == 0 { at } else { node.size };
        (places, size, lost)
    }
}
