//! What an index says: which blobs a pack holds and where, and how large that makes the pack.

use std::num::NonZeroU32;

use super::super::blob::{BlobKey, BlobType, Located};
use super::super::id::Id;

/// A pack and the blobs in it: a line of an index file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackContents {
    /// The pack's name.
    pub id: Id,
    /// Its blobs, in any order. Each is located in this pack.
    pub blobs: Vec<(BlobKey, Located)>,
}

/// What the index implies about a pack file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackInfo {
    /// The pack's name.
    pub id: Id,
    /// What it holds: trees when it holds nothing but trees. (Early versions of restic mixed both: data, here.)
    pub kind: BlobType,
    /// Blobs listed in it, each place once.
    pub blobs: u32,
    /// Bytes of the file when its blobs lie without gaps: sealed blobs, sealed header and the header's length.
    pub size: u64,
}

/// Sealed header (IV and MAC, 32 bytes) and the header's length (4 bytes).
const PACK_FRAME: u64 = 36;
/// A header entry: type, length, id.
const PLAIN_ENTRY: u64 = 37;
/// A header entry of a compressed blob: type, length, plain length, id.
const COMPRESSED_ENTRY: u64 = 41;

/// The running totals of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Totals {
    pub(super) data: u32,
    pub(super) trees: u32,
    pub(super) size: u64,
}

impl Totals {
    pub(super) fn new() -> Self {
        Self { data: 0, trees: 0, size: PACK_FRAME }
    }

    pub(super) fn add(&mut self, kind: BlobType, length: u32, compressed: Compressed) {
        let entry = match compressed {
            Compressed::Yes => COMPRESSED_ENTRY,
            Compressed::No => PLAIN_ENTRY,
        };
        self.size = self.size.saturating_add(entry + u64::from(length));
        let count = match kind {
            BlobType::Data => &mut self.data,
            BlobType::Tree => &mut self.trees,
        };
        *count = count.saturating_add(1);
    }

    pub(super) fn info(self, id: Id) -> PackInfo {
        let kind = if self.data == 0 && self.trees > 0 { BlobType::Tree } else { BlobType::Data };
        PackInfo { id, kind, blobs: self.data.saturating_add(self.trees), size: self.size }
    }
}

/// Whether a blob was compressed before it was sealed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Compressed {
    Yes,
    No,
}

/// A place of a blob, in the order in which indexes list them. `P` names the pack: by id, or by its number in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry<P> {
    pub(super) key: BlobKey,
    pub(super) pack: P,
    pub(super) offset: u32,
    pub(super) length: u32,
    /// Zero: stored plain.
    pub(super) uncompressed: u32,
}

impl<P> Entry<P> {
    pub(super) fn compressed(&self) -> Compressed {
        if self.uncompressed == 0 { Compressed::No } else { Compressed::Yes }
    }

    pub(super) fn with_pack<Q>(self, pack: Q) -> Entry<Q> {
        let Self { key, offset, length, uncompressed, .. } = self;
        Entry { key, pack, offset, length, uncompressed }
    }
}

impl Entry<Id> {
    pub(super) fn of(key: BlobKey, located: Located) -> Self {
        let Located { pack, offset, length, uncompressed } = located;
        Self { key, pack, offset, length, uncompressed: uncompressed.map_or(0, NonZeroU32::get) }
    }

    pub(super) fn located(&self) -> Located {
        Located {
            pack: self.pack,
            offset: self.offset,
            length: self.length,
            uncompressed: NonZeroU32::new(self.uncompressed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packs_size_follows_from_its_blobs() {
        let mut totals = Totals::new();
        totals.add(BlobType::Tree, 100, Compressed::Yes);
        totals.add(BlobType::Tree, 50, Compressed::No);
        let info = totals.info(Id([1; 32]));
        assert_eq!(info.size, 4 + 32 + 100 + 41 + 50 + 37);
        assert_eq!((info.kind, info.blobs), (BlobType::Tree, 2));
        totals.add(BlobType::Data, 1, Compressed::No);
        assert_eq!(totals.info(Id([1; 32])).kind, BlobType::Data, "a mixed pack");
    }
}
