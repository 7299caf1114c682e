//! Entries on their way into the target: what is there already, what is in the way, and what of a file is to be fetched.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use rustix::fs::{FileType, Stat};

use super::finish::{clear, refuse_full};
use super::holes::{self, Hole};
use super::job::{Restore, join};
use super::window::{Entry, Folder, Piece, State, Target, Want};
use super::{Existing, Privileged, Trust, attributes, fetch, place};
use crate::vault::tree::{Node, NodeKind, Run};
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

#[derive(Clone, Copy)]
enum Kind {
    /// The chunk of zeros.
    Zeros,
    Blob(Located),
}

impl Part {
    fn bytes(&self) -> u64 {
        self.len * self.count
    }
}

/// What of a file has to be written, or compared, in its order.
pub(super) struct Wants {
    target: Arc<Target>,
    parts: Vec<Part>,
}

impl Wants {
    pub(super) fn each(self) -> impl Iterator<Item = Want> {
        let Self { target, parts } = self;
        parts.into_iter().flat_map(move |part| {
            let target = target.clone();
            let wants = if matches!(part.kind, Kind::Zeros) { 1 } else { part.count };
            (0..wants).map(move |n| {
                let (target, at) = (target.clone(), part.at + n * part.len);
                match part.kind {
                    Kind::Zeros => Want::Hole(Hole { target, at, chunks: part.count }),
                    Kind::Blob(located) => Want::Piece(Piece { id: part.id, located, target, at }),
                }
            })
        })
    }
}

/// Makes an entry that needs no fetching, or leaves it as it is. Of a file that does, says what of it.
///
/// Where nothing is written, only counts what would be.
pub(super) fn look(restore: &Restore, entry: &Arc<Entry>) -> Option<Wants> {
    let Entry { folder, node, fresh } = &**entry;
    let looked = match restore.writes() {
        true => make(restore, folder, node, *fresh),
        false => rehearse(restore, folder, node, *fresh),
    };
    match looked {
        Ok(Some(exists)) => wants(restore, entry, exists),
        Ok(None) => None,
        Err(error) => {
            let path = join(&folder.path, &node.name);
            restore.lost(&path, node.kind, format!("not restored: {error}"));
            None
        }
    }
}

/// `None` when nothing is to be fetched; otherwise whether the file is there already.
fn rehearse(restore: &Restore, folder: &Folder, node: &Node, fresh: bool) -> io::Result<Option<bool>> {
    if node.kind != NodeKind::File {
        return Ok(None);
    }
    if fresh {
        return Ok(Some(false));
    }
    match place::look(&folder.open, &node.name) {
        Ok(Some(stat)) if is_trusted(restore, node, &stat) => keep(restore, folder, node, &stat).map(|()| None),
        Ok(Some(stat)) if place::kind(&stat) == FileType::RegularFile => Ok(Some(true)),
        Ok(Some(stat)) if place::kind(&stat) == FileType::Directory && restore.options.existing != Existing::Mirror => {
            refuse_full(folder, &node.name).map(|()| Some(false))
        }
        // Nothing is there, or what will make way.
        Ok(_) | Err(_) => Ok(Some(false)),
    }
}

/// The same, and makes what is not a regular file.
fn make(restore: &Restore, folder: &Folder, node: &Node, fresh: bool) -> io::Result<Option<bool>> {
    let there = if fresh { None } else { place::look(&folder.open, &node.name)? };
    let kind = match node.kind {
        NodeKind::File => return file(restore, folder, node, there.as_ref()),
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::Fifo => FileType::Fifo,
        NodeKind::Dev => FileType::BlockDevice,
        NodeKind::CharDev => FileType::CharacterDevice,
        NodeKind::Socket | NodeKind::Dir => return Ok(None),
    };
    let path = || join(&folder.path, &node.name);
    if is_left_out(restore, node) {
        restore.problem(&path(), "left out: device nodes are only restored with --privileged");
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
    for why in restore.attributes.apply_at(&folder.open, node) {
        restore.problem(&path(), why);
    }
    restore.monitor.advance(1, 0);
    Ok(None)
}

/// Whether this is a device node, and nobody asked for those.
pub(super) fn is_left_out(restore: &Restore, node: &Node) -> bool {
    matches!(node.kind, NodeKind::Dev | NodeKind::CharDev) && restore.options.privileged == Privileged::Leave
}

fn file(restore: &Restore, folder: &Folder, node: &Node, there: Option<&Stat>) -> io::Result<Option<bool>> {
    let Some(stat) = there else { return Ok(Some(false)) };
    // A file with other names is not written in place, as they may lie outside the target: it stays only if it is what it
    // should be.
    let own = stat.st_nlink == 1;
    if is_trusted(restore, node, stat) && (own || stat.st_nlink == node.links) {
        return keep(restore, folder, node, stat).map(|()| None);
    }
    let exists = place::kind(stat) == FileType::RegularFile
        && (own || stat.st_nlink == node.links && same_content(restore, folder, node));
    if !exists {
        clear(restore, folder, &node.name)?;
    }
    Ok(Some(exists))
}

/// Whether this file, which is there, is taken to be whole without being read.
fn is_trusted(restore: &Restore, node: &Node, stat: &Stat) -> bool {
    restore.options.trust == Trust::Times
        && place::kind(stat) == FileType::RegularFile
        && u64::try_from(stat.st_size).is_ok_and(|size| size == node.size)
        && attributes::has_mtime(stat, node)
}

/// Leaves such a file as it is, but for attributes that differ.
fn keep(restore: &Restore, folder: &Folder, node: &Node, stat: &Stat) -> io::Result<()> {
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

fn same_content(restore: &Restore, folder: &Folder, node: &Node) -> bool {
    let (places, size, lost) = places(restore, node);
    let Ok(file) = place::open_to_compare(&folder.open, &node.name) else { return false };
    let mut buffer = Vec::new();
    let mut holds = |part: &Part| match part.kind {
        Kind::Zeros => holes::is_there(&file, part.at..part.at + part.bytes()),
        Kind::Blob(_) => {
            (0..part.count).all(|n| fetch::holds(&file, part.id, part.len, part.at + n * part.len, &mut buffer))
        }
    };
    lost.is_none() && file.metadata().is_ok_and(|meta| meta.len() == size) && places.iter().all(&mut holds)
}

/// Of a file that is made, or written in place where it is there: what has to be.
fn wants(restore: &Restore, entry: &Arc<Entry>, exists: bool) -> Option<Wants> {
    let (mut parts, size, lost) = places(restore, &entry.node);
    let all: u64 = parts.iter().map(Part::bytes).sum();
    let lost_pieces = entry.node.content.len() - parts.iter().map(|part| part.count).sum::<u64>();
    // A new file has zeros wherever nothing is written.
    parts.retain(|part| exists || !matches!(part.kind, Kind::Zeros));
    let left_out = all - parts.iter().map(Part::bytes).sum::<u64>();
    let missing = parts.iter().map(|part| part.count).sum();
    let state = Mutex::new(State { missing, lost, lost_pieces, ..State::default() });
    let target = Arc::new(Target { entry: entry.clone(), size, exists, state });
    if !restore.writes() {
        fetch::tell(restore, &target, &mut fetch::lock(&target));
    }
    if missing > 0 {
        restore.monitor.advance(0, left_out);
        return Some(Wants { target, parts });
    }
    if restore.writes() {
        fetch::finish(restore, &target, &mut fetch::lock(&target), None);
    } else if exists && target.entry.node.content.is_empty() {
        restore.files_unchanged.fetch_add(1, Ordering::Relaxed);
    }
    restore.monitor.advance(0, size);
    None
}

/// Where each chunk of a file goes, and the file's size. A chunk that no index file names is lost; the ones after it
/// have their places as long as the size tells how long it was.
fn places(restore: &Restore, node: &Node) -> (Vec<Part>, u64, Option<String>) {
    let runs = node.content.runs();
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
