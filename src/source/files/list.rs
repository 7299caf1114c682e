//! A folder's names, sorted by their bytes, for little memory: a million take about eight bytes each beside their text.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

use crate::vault::tree::NodeKind;

/// Bytes asked of the system at once.
const READ_AT_ONCE: usize = 64 << 10;

/// The entries of a folder in ascending order of their raw names, each once.
#[derive(Debug, Default)]
pub struct Listing {
    /// All names, one after another.
    text: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    from: u32,
    len: u16,
    kind: Option<NodeKind>,
}

/// One name of a [`Listing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'a> {
    /// The raw name.
    pub name: &'a [u8],
    /// What the folder says it is, where the file system tells; only a hint.
    pub kind: Option<NodeKind>,
}

impl Listing {
    /// Reads all entries of the folder that `fd` is open on, but for `.` and `..`.
    pub(super) fn read(fd: impl AsFd) -> rustix::io::Result<Self> {
        let mut listing = Self::default();
        let mut buffer = vec![MaybeUninit::uninit(); READ_AT_ONCE];
        let mut dir = RawDir::new(fd, &mut buffer);
        while let Some(entry) = dir.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                listing.add(name, kind_of(entry.file_type()))?;
            }
        }
        listing.sort();
        Ok(listing)
    }

    fn add(&mut self, name: &[u8], kind: Option<NodeKind>) -> rustix::io::Result<()> {
        let from = u32::try_from(self.text.len()).map_err(|_| Errno::OVERFLOW)?;
        let len = u16::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?;
        self.text.extend_from_slice(name);
        self.entries.push(Entry { from, len, kind });
        Ok(())
    }

    fn sort(&mut self) {
        let text = &self.text;
        self.entries.sort_unstable_by(|one, other| name_of(text, one).cmp(name_of(text, other)));
        // a folder that changes while it is read may give a name twice
        self.entries.dedup_by(|one, other| name_of(text, one) == name_of(text, other));
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the folder has no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry at this place, from 0.
    pub fn get(&self, at: usize) -> Option<Listed<'_>> {
        self.entries.get(at).map(|entry| self.listed(entry))
    }

    /// All entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Listed<'_>> {
        self.entries.iter().map(|entry| self.listed(entry))
    }

    fn listed(&self, entry: &Entry) -> Listed<'_> {
        Listed { name: name_of(&self.text, entry), kind: entry.kind }
    }
}

fn name_of<'a>(text: &'a [u8], entry: &Entry) -> &'a [u8] {
    let from = entry.from as usize;
    &text[from..from + usize::from(entry.len)]
}

fn kind_of(kind: FileType) -> Option<NodeKind> {
    match kind {
        FileType::RegularFile => Some(NodeKind::File),
        FileType::Directory => Some(NodeKind::Dir),
        FileType::Symlink => Some(NodeKind::Symlink),
        FileType::BlockDevice => Some(NodeKind::Dev),
        FileType::CharacterDevice => Some(NodeKind::CharDev),
        FileType::Fifo => Some(NodeKind::Fifo),
        FileType::Socket => Some(NodeKind::Socket),
        FileType::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_by_bytes_and_come_once() {
        let mut listing = Listing::default();
        for name in [&b"b"[..], b"\xff", b"a", b"", b"b", b"\xc3\xa9", b"aa", b"A"] {
            listing.add(name, Some(NodeKind::File)).unwrap();
        }
        listing.sort();
        let names: Vec<_> = listing.iter().map(|entry| entry.name).collect();
        assert_eq!(names, [&b""[..], b"A", b"a", b"aa", b"b", b"\xc3\xa9", b"\xff"]);
        assert_eq!(listing.get(2).unwrap().name, b"a");
        assert_eq!(listing.get(7), None);
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Entry>(), 8);
    }
}
