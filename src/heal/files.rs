//! Blobs from the files that they were made of, where those are as they were.
//!
//! A file is read when a snapshot of this host has it with the same size and time of change and refers to something that is
//! wanted. What is read counts when it hashes to the id, so that a file that was changed all the same does no harm.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::HealError;
use super::found::by_id;
use super::store::{Found, Writer};
use crate::backup::chunk::{Cutter, chunks};
use crate::check::Examined;
use crate::look::Walk;
use crate::monitor::{Cancel, Monitor};
use crate::source::files::{Folder, Names, XattrMode};
use crate::vault::index::Index;
use crate::vault::pack::MAX_DATA_BLOB;
use crate::vault::settings::Chunker;
use crate::vault::tree::{Node, NodeKind, Run};
use crate::vault::{BlobKey, BlobType, Id, Vault};

/// Blobs between reading and sealing.
const AHEAD: usize = 4;

/// Looks for data blobs in the files of this host's snapshots, the newest first.
pub(super) async fn find(
    vault: &Vault,
    seen: &Examined,
    host: &str,
    lacks: Vec<(BlobKey, String)>,
    writer: &mut Writer,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<(u64, Vec<(BlobKey, String)>), HealError> {
    let mut wanted: HashMap<Id, BlobKey> = by_id(&lacks);
    let mut trees: HashSet<Id> = HashSet::new();
    let mut count = 0;
    for file in seen.snapshots.iter().rev().filter(|file| file.snapshot.hostname == host) {
        let mut walk = Walk::new(vault, &seen.index, file.snapshot.tree, b"");
        while !wanted.is_empty()
            && let Some(entry) = walk.next().await
        {
            if cancel.is_cancelled() {
                return Err(HealError::Cancelled);
            }
            let Ok(node) = entry else { continue };
            if node.subtree.is_some_and(|tree| !trees.insert(tree)) {
                // An equal folder was looked through at this or another path; what moved is rare.
                walk.skip();
            }
            if node.kind != NodeKind::File || !node.content.runs().iter().any(|run| wanted.contains_key(&run.id)) {
                continue;
            }
            let path = PathBuf::from(OsStr::from_bytes(walk.path()));
            let pieces = pieces(&seen.index, &node);
            let want = wanted.keys().copied().collect();
            let chunker = *vault.chunker();
            let (found, mut reader) = mpsc::channel(AHEAD);
            let read =
                move || read(&path, &node, pieces, &want, &chunker, |id, plain| found.blocking_send((id, plain)));
            let reading = tokio::task::spawn_blocking(read);
            while let Some((id, plain)) = reader.recv().await {
                monitor.advance(1, plain.len() as u64);
                let found = wanted.remove(&id).map(|key| Found::Plain(key, plain));
                count += writer.add(found.into_iter().collect()).await?;
            }
            reading.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
        }
    }
    // Trees are not made from files.
    let is_left = |key: &BlobKey| key.kind == BlobType::Tree || wanted.contains_key(&key.id);
    let told = |why: String| format!("{why}; no file of this host holds it unchanged");
    Ok((count, lacks.into_iter().filter(|(key, _)| is_left(key)).map(|(key, why)| (key, told(why))).collect()))
}

/// Where a file's pieces lie in it, as far as their lengths are known: counted from both ends. Of equal ones in a row, one.
fn pieces(index: &Index, node: &Node) -> Vec<(Id, u64, u64)> {
    let runs = node.content.runs();
    let length = |run: &Run| index.get(BlobKey::data(run.id)).map(|at| at.plain_len());
    let lengths: Vec<Option<u64>> = runs.iter().map(length).collect();
    let mut found: Vec<(Id, u64, u64)> = Vec::new();
    let mut start = 0u64;
    let known = lengths.iter().take_while(|length| length.is_some()).count();
    for (run, length) in runs.iter().zip(&lengths).take(known) {
        let length = length.unwrap_or_default();
        found.push((run.id, start, length));
        start = start.saturating_add(length.saturating_mul(run.count.into()));
    }
    let mut end = node.size;
    for (run, length) in runs.iter().zip(&lengths).skip(known).rev() {
        let Some(length) = *length else { break };
        let Some(begin) = end.checked_sub(length.saturating_mul(run.count.into())) else { break };
        found.push((run.id, begin, length));
        end = begin;
    }
    // One alone whose length is not known fills what is left.
    let unknown = runs.iter().zip(&lengths).filter(|(_, length)| length.is_none()).map(|(run, _)| u64::from(run.count));
    if unknown.sum::<u64>() == 1
        && let (Some(run), Some(length)) = (runs.get(known), end.checked_sub(start))
    {
        found.push((run.id, start, length));
    }
    found
}

/// Hands on the wanted pieces of a file that is as the node says, until nobody takes them. Nothing of one that is not, or
/// cannot be read.
fn read<E>(
    path: &Path,
    node: &Node,
    pieces: Vec<(Id, u64, u64)>,
    wanted: &HashSet<Id>,
    chunker: &Chunker,
    found: impl Fn(Id, Vec<u8>) -> Result<(), E>,
) {
    let Some(file) = open(path, node) else { return };
    let mut left: HashSet<Id> = node.content.runs().iter().map(|run| run.id).filter(|id| wanted.contains(id)).collect();
    for (id, start, length) in pieces {
        let possible = length <= u64::from(MAX_DATA_BLOB) && start.saturating_add(length) <= node.size;
        let Some(length) = usize::try_from(length).ok().filter(|_| possible && left.contains(&id)) else { continue };
        let mut plain = vec![0; length];
        if file.read_exact_at(&mut plain, start).is_ok() && Id::of(&plain) == id {
            left.remove(&id);
            if found(id, plain).is_err() {
                return;
            }
        }
    }
    if left.is_empty() {
        return;
    }
    let cutter = match chunker {
        Chunker::Gear { secret } => Some(Cutter::gear(secret)),
        Chunker::Rabin { polynomial } => Cutter::rabin(*polynomial).ok(),
    };
    for plain in cutter.into_iter().flat_map(|cutter| chunks(&file, cutter)).map_while(Result::ok) {
        let id = Id::of(&plain);
        if left.remove(&id) && found(id, plain).is_err() || left.is_empty() {
            return;
        }
    }
}

/// The file, if it has the size and the time of change that the node has.
fn open(path: &Path, node: &Node) -> Option<File> {
    let folder = Folder::open(path.parent()?, Arc::new(Names::default())).ok()?;
    let name = path.file_name()?.as_bytes();
    let now = folder.node(name, XattrMode::Skip).ok()?;
    let same = now.kind == NodeKind::File && (now.size, now.mtime) == (node.size, node.mtime);
    same.then(|| folder.open_file(name, &now).ok()).flatten()?.0.into_near()
}
