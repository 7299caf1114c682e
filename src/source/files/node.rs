//! What `stat` says, as a node.

use rustix::fs::Stat;

use super::error::FileError;
use super::names::Names;
use crate::vault::tree::{Node, NodeKind, quote, time_from_unix};

/// The node of an entry without link target and extended attributes.
///
/// The time of last access is set to that of last change, as restic does: reading a file must not make a new tree.
pub(super) fn from_stat(name: &[u8], stat: &Stat, names: &Names) -> Result<Node, FileError> {
    let Some(kind) = NodeKind::of_st_mode(stat.st_mode) else {
        return Err(FileError::Kind { name: quote(name), st_mode: stat.st_mode });
    };
    let mut node = Node::new(name, kind);
    node.mode = stat.st_mode & 0o7777;
    node.mtime = time_from_unix(stat.st_mtime, nanoseconds(stat.st_mtime_nsec));
    node.atime = node.mtime;
    node.ctime = time_from_unix(stat.st_ctime, nanoseconds(stat.st_ctime_nsec));
    node.uid = stat.st_uid;
    node.gid = stat.st_gid;
    node.user = names.user(stat.st_uid);
    node.group = names.group(stat.st_gid);
    node.inode = stat.st_ino;
    node.device_id = stat.st_dev;
    match kind {
        NodeKind::File => {
            node.size = u64::try_from(stat.st_size).unwrap_or_default();
            node.links = links(stat.st_nlink);
        }
        NodeKind::Symlink => node.links = links(stat.st_nlink),
        NodeKind::Dev | NodeKind::CharDev => {
            node.device = stat.st_rdev;
            node.links = links(stat.st_nlink);
        }
        NodeKind::Dir | NodeKind::Fifo | NodeKind::Socket => {}
    }
    Ok(node)
}

/// The kernel keeps this below a second; its type differs between processors.
pub(super) fn nanoseconds(value: impl TryInto<u32>) -> u32 {
    value.try_into().unwrap_or_default()
}

/// The type of `st_nlink` differs between processors.
fn links(value: impl Into<u64>) -> u64 {
    value.into()
}
