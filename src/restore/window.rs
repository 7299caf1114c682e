//! A window: files whose blobs are fetched together, pack by pack.
//!
//! A window is bounded in bytes, blobs and open folders, which bounds memory and descriptors whatever the snapshot's
//! size. A backup writes packs in the order of the walk, so a window's blobs lie in few packs.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use super::holes::Hole;
use crate::vault::ranges::{self, Group};
use crate::vault::tree::Node;
use crate::vault::{Id, Located};

/// Bytes of files in a window; a larger file is spread over several.
pub(super) const BYTES: u64 = 256 << 20;
/// Pieces in a window. One is gathered while another is finished.
pub(super) const PIECES: usize = 16_384;
/// Folders that a window holds open.
pub(super) const FOLDERS: usize = 300;

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
    pub(super) folder: Arc<Folder>,
    pub(super) node: Node,
    /// Bytes of all its pieces.
    pub(super) size: u64,
    pub(super) state: Mutex<State>,
}

/// How far a file has come.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) file: Option<File>,
    /// The file was there before and is overwritten in place.
    pub(super) exists: bool,
    /// Pieces still to come, in this window and later ones.
    pub(super) missing: u64,
    /// Pieces that the file had already.
    pub(super) kept: u64,
    /// Why it is not whole.
    pub(super) lost: Option<String>,
    pub(super) lost_pieces: u64,
}

/// A blob to be written at a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) id: Id,
    pub(super) located: Located,
    /// Into `Window::files`.
    pub(super) file: usize,
    /// First byte in the file.
    pub(super) at: u64,
    /// Compare with what is in the file before fetching.
    pub(super) compare: bool,
}

/// Files and pieces that are fetched together.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) files: Vec<Arc<Target>>,
    pub(super) pieces: Vec<Piece>,
    /// Of files that are there already.
    pub(super) holes: Vec<Hole>,
    pub(super) bytes: u64,
    /// Hard links to be made once their files are there: folder, node, and the first name's path below the target.
    pub(super) links: Vec<(Arc<Folder>, Node, Vec<Vec<u8>>)>,
    /// Folders that the walk has left, with the attributes that they get after the files in them.
    pub(super) left: Vec<(Arc<Folder>, Option<Node>)>,
    folders: HashSet<usize>,
}

impl Window {
    /// Adds a file; its pieces follow.
    pub(super) fn file(&mut self, target: Arc<Target>) -> usize {
        self.folders.insert(Arc::as_ptr(&target.folder) as usize);
        self.files.push(target);
        self.files.len() - 1
    }

    /// Takes the files and their pieces out; links and folders stay for later.
    pub(super) fn split(&mut self) -> Self {
        let later =
            Self { links: std::mem::take(&mut self.links), left: std::mem::take(&mut self.left), ..Self::default() };
        std::mem::replace(self, later)
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= BYTES
            || self.pieces.len() + self.holes.len() >= PIECES
            || self.folders.len() + self.left.len() >= FOLDERS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.links.is_empty() && self.left.is_empty()
    }

    /// The pieces as ranges to fetch, in order of pack and offset.
    pub(super) fn groups(&mut self) -> Vec<Group<Piece>> {
        let mut pieces = std::mem::take(&mut self.pieces);
        pieces.sort_unstable_by_key(|piece| (piece.located.pack, piece.located.offset, piece.file, piece.at));
        ranges::coalesce(pieces, |piece| piece.located)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(pack: u8, offset: u32, length: u32) -> Piece {
        let located = Located { pack: Id([pack; 32]), offset, length, uncompressed: None };
        Piece { id: Id([offset as u8; 32]), located, file: 0, at: 0, compare: false }
    }

    #[test]
    fn pieces_are_taken_in_order_of_pack_and_offset() {
        let pieces = vec![piece(2, 0, 10), piece(1, 100, 50), piece(1, 0, 100), piece(1, 100, 50)];
        let mut window = Window { pieces, ..Window::default() };
        let groups = window.groups();
        let shape: Vec<_> = groups.iter().map(|g| (g.pack.0[0], g.start, g.end, g.items.len())).collect();
        assert_eq!(shape, [(1, 0, 150, 3), (2, 0, 10, 1)]);
        assert!(window.pieces.is_empty());
    }
}
