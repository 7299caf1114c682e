//! A window: entries that are looked at and fetched together.
//!
//! A window is bounded in bytes, blobs and open folders, which bounds memory and descriptors whatever the snapshot's
//! size. A backup writes packs in the order of the walk, so a window's blobs lie in few packs.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use super::holes::Hole;
use crate::vault::tree::Node;
use crate::vault::{Id, Located};

/// Bytes of files in a window; a larger file is spread over several.
pub(super) const BYTES: u64 = 256 << 20;
/// Entries in a window, and pieces of them. One window is gathered while two others are worked on.
pub(super) const PIECES: u64 = 8192;
/// Folders that a window holds open: three windows leave some of the usual 1024 descriptors.
pub(super) const FOLDERS: usize = 250;

/// A folder of the target that is being filled.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) open: OwnedFd,
    /// In the snapshot, for messages and links.
    pub(super) path: Vec<u8>,
}

/// A regular file that is being written.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) entry: Arc<Entry>,
    /// Bytes of all its pieces.
    pub(super) size: u64,
    /// It was there before and is overwritten in place, where it differs.
    pub(super) exists: bool,
    pub(super) state: Mutex<State>,
}

/// How far a file has come.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) file: Option<File>,
    /// Pieces still to come, in this window and later ones.
    pub(super) missing: u64,
    /// Pieces that the file had already.
    pub(super) kept: u64,
    /// Why it is not whole.
    pub(super) lost: Option<String>,
    pub(super) lost_pieces: u64,
}

/// A blob to be written at a place.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) id: Id,
    pub(super) located: Located,
    pub(super) target: Arc<Target>,
    /// First byte in the file.
    pub(super) at: u64,
}

/// An entry that is not a folder, on its way into the target.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) folder: Arc<Folder>,
    pub(super) node: Node,
    /// The folder was made by this restore: nothing can be in the way.
    pub(super) fresh: bool,
}

/// What is to be in a file but may not be yet.
#[derive(Debug)]
pub(super) enum Want {
    Piece(Piece),
    Hole(Hole),
}

/// Entries, and pieces of files too large for one window.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) entries: Vec<Arc<Entry>>,
    pub(super) wants: Vec<Want>,
    pub(super) last: Last,
    bytes: u64,
    pieces: u64,
    folders: HashSet<usize>,
}

/// What waits until all that was to be written, in this window and those before, is.
#[derive(Debug, Default)]
pub(super) struct Last {
    /// Hard links to be made once their files are there: folder, node, and the first name's path below the target.
    pub(super) links: Vec<(Arc<Folder>, Node, Vec<Vec<u8>>)>,
    /// Folders that the walk has left, with the attributes that they get after the files in them.
    pub(super) left: Vec<(Arc<Folder>, Option<Node>)>,
}

impl Window {
    pub(super) fn entry(&mut self, entry: Entry) {
        self.bytes = self.bytes.saturating_add(entry.node.size);
        self.pieces += entry.node.content.len().max(1);
        self.folders.insert(Arc::as_ptr(&entry.folder) as usize);
        self.entries.push(Arc::new(entry));
    }

    pub(super) fn want(&mut self, want: Want) {
        if let Want::Piece(piece) = &want {
            self.bytes = self.bytes.saturating_add(piece.located.plain_len());
        }
        self.pieces += 1;
        self.wants.push(want);
    }

    /// Takes out all but what waits for what is still to come.
    pub(super) fn split(&mut self) -> Self {
        let later = Self { last: std::mem::take(&mut self.last), ..Self::default() };
        std::mem::replace(self, later)
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= BYTES || self.pieces >= PIECES || self.folders.len() + self.last.left.len() >= FOLDERS
    }

    pub(super) fn is_empty(&self) -> bool {
        let Self { entries, wants, last, .. } = self;
        entries.is_empty() && wants.is_empty() && last.links.is_empty() && last.left.is_empty()
    }
}
