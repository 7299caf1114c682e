//! Whether a file is still the one that was looked at before.

use std::fs::File;
use std::io;

use jiff::Timestamp;
use rustix::fs::Stat;

use super::node::nanoseconds;
use crate::vault::tree::{Node, NodeKind, time_from_unix};

/// What tells a changed file from an unchanged one without reading it.
///
/// A file whose content changed without a trace in any of these (a clock set back, an `mmap` whose times are not written
/// yet) is not noticed; restic has the same rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileState {
    /// Bytes.
    pub size: u64,
    /// When the content last changed.
    pub mtime: Timestamp,
    /// When the inode last changed: also set by whoever sets `mtime` back.
    pub ctime: Timestamp,
    /// The inode number.
    pub inode: u64,
}

impl FileState {
    /// The state that a node recorded.
    pub fn of_node(node: &Node) -> Self {
        Self { size: node.size, mtime: node.mtime, ctime: node.ctime, inode: node.inode }
    }

    /// The present state of an open file. Comparing it before and after reading tells a file that changed meanwhile.
    pub fn of_file(file: &File) -> io::Result<Self> {
        Ok(Self::of_stat(&rustix::fs::fstat(file)?))
    }

    pub(super) fn of_stat(stat: &Stat) -> Self {
        Self {
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            mtime: time_from_unix(stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
            ctime: time_from_unix(stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
            inode: stat.st_ino,
        }
    }
}

/// Whether the file that `now` describes need not be read again, because the parent snapshot's node says the same: a
/// file with the same size, times of change and inode. The node of any other kind is always made anew.
pub fn unchanged(parent: &Node, now: &Node) -> bool {
    parent.kind == NodeKind::File && now.kind == NodeKind::File && FileState::of_node(parent) == FileState::of_node(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_trace_of_a_change_counts() {
        let mut parent = Node::new("a", NodeKind::File);
        parent.size = 7;
        parent.inode = 8;
        assert!(unchanged(&parent, &parent.clone()));
        let changes: [fn(&mut Node); 5] = [
            |node| node.kind = NodeKind::Fifo,
            |node| node.size += 1,
            |node| node.mtime = Timestamp::from_nanosecond(1).unwrap(),
            |node| node.ctime = Timestamp::from_nanosecond(1).unwrap(),
            |node| node.inode += 1,
        ];
        for change in changes {
            let mut now = parent.clone();
            change(&mut now);
            assert!(!unchanged(&parent, &now), "{now:?}");
            assert!(!unchanged(&now, &parent), "{now:?}");
        }
        let mut now = parent.clone();
        (now.mode, now.device_id, now.atime) = (0o777, 9, Timestamp::MAX);
        assert!(unchanged(&parent, &now));
    }
}
