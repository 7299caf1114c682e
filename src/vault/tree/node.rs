//! One entry of a folder.

use std::fmt;

use jiff::Timestamp;

use super::content::Content;
use crate::vault::Id;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A block device.
    Dev,
    /// A character device.
    CharDev,
    /// A named pipe.
    Fifo,
    /// A Unix socket. restic has a word for it but leaves sockets out of its backups: without the process that listens
    /// they are of no use.
    Socket,
}

impl NodeKind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::File, Self::Dir, Self::Symlink, Self::Dev, Self::CharDev, Self::Fifo, Self::Socket];

    /// The word that the format uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Dir => "dir",
            Self::Symlink => "symlink",
            Self::Dev => "dev",
            Self::CharDev => "chardev",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
        }
    }

    /// The kind that the format calls `word`.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The file type bits (`S_IFMT`) of `st_mode`.
    pub fn type_bits(self) -> u32 {
        match self {
            Self::File => 0o100_000,
            Self::Dir => 0o040_000,
            Self::Symlink => 0o120_000,
            Self::Dev => 0o060_000,
            Self::CharDev => 0o020_000,
            Self::Fifo => 0o010_000,
            Self::Socket => 0o140_000,
        }
    }

    /// The kind that `st_mode` tells, if it is one that the format knows.
    pub fn of_st_mode(st_mode: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_bits() == st_mode & 0o170_000)
    }
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An extended attribute. ACLs and capabilities are extended attributes too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    /// Its full name, such as `user.comment`. The format keeps UTF-8 only: other bytes become U+FFFD when stored.
    pub name: Vec<u8>,
    /// Its value, any bytes.
    pub value: Vec<u8>,
}

/// One entry of a folder, with all that the format stores about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The raw name: one path component, any bytes but NUL and `/`.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: NodeKind,
    /// Unix permissions with setuid, setgid and sticky (0o7777); the type bits follow from `kind`.
    pub mode: u32,
    /// When the content last changed.
    pub mtime: Timestamp,
    /// When it was last read; equal to `mtime` unless asked for, so that reading a file makes no new tree.
    pub atime: Timestamp,
    /// When the inode last changed.
    pub ctime: Timestamp,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The owner's name; empty when it has none.
    pub user: String,
    /// The group's name; empty when it has none.
    pub group: String,
    /// The inode number on the source.
    pub inode: u64,
    /// `st_dev` on the source.
    pub device_id: u64,
    /// Bytes of content. Files only.
    pub size: u64,
    /// Number of hard links. Neither folders nor fifos nor sockets.
    pub links: u64,
    /// Where a symbolic link points, any bytes.
    pub linktarget: Vec<u8>,
    /// Extended attributes, in the order in which they are stored.
    pub xattrs: Vec<Xattr>,
    /// `st_rdev`. Devices only.
    pub device: u64,
    /// The blobs whose plaintexts, one after another, are the file. Files only.
    pub content: Content,
    /// The tree of a folder's entries. Folders only.
    pub subtree: Option<Id>,
    /// What went wrong when this entry was backed up (written by old versions of restic).
    pub error: Option<String>,
    /// Attributes of other operating systems, kept as they are. Numbers beyond 64 bits and the order of keys within
    /// nested objects are not.
    pub generic: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Node {
    /// An entry that has a name and a kind, and zero in every other field.
    pub fn new(name: impl Into<Vec<u8>>, kind: NodeKind) -> Self {
        Self {
            name: name.into(),
            kind,
            mode: 0,
            mtime: Timestamp::UNIX_EPOCH,
            atime: Timestamp::UNIX_EPOCH,
            ctime: Timestamp::UNIX_EPOCH,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            inode: 0,
            device_id: 0,
            size: 0,
            links: 0,
            linktarget: Vec::new(),
            xattrs: Vec::new(),
            device: 0,
            content: Content::default(),
            subtree: None,
            error: None,
            generic: None,
        }
    }

    /// `st_mode` as Unix has it: type bits and permissions.
    pub fn st_mode(&self) -> u32 {
        self.kind.type_bits() | self.mode & 0o7777
    }

    /// The name for people and logs: whatever could confuse a terminal is escaped.
    pub fn display_name(&self) -> String {
        super::name::quote(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_come_back_from_words_and_modes() {
        for kind in NodeKind::ALL {
            assert_eq!(NodeKind::from_word(kind.as_str()), Some(kind));
            assert_eq!(NodeKind::of_st_mode(kind.type_bits() | 0o7777), Some(kind));
        }
        assert_eq!(NodeKind::from_word("irregular"), None);
        assert_eq!(NodeKind::of_st_mode(0o644), None);
    }
}
