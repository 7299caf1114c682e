//! Owner, mode, extended attributes and times: applied last, through the open descriptor where there is one.
//!
//! The order matters: changing the owner clears setuid and capabilities, and everything but the times changes the
//! change time only.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::Privileged;
use super::place::name;
use crate::vault::tree::{Node, NodeKind};

/// setuid, setgid.
const SET_ID: u32 = 0o6000;

/// Applies attributes and counts what was left out.
#[derive(Debug)]
pub(super) struct Attributes {
    privileged: Privileged,
    root: bool,
    /// Entries whose owner could not be set because the process is not root.
    pub(super) owners_left: AtomicU64,
    /// Entries whose setuid or setgid bits or capabilities were left out because nobody asked for them.
    pub(super) rights_left: AtomicU64,
}

impl Attributes {
    pub(super) fn new(privileged: Privileged) -> Self {
        let root = rustix::process::geteuid().is_root();
        Self { privileged, root, owners_left: AtomicU64::new(0), rights_left: AtomicU64::new(0) }
    }

    /// Applies to an open file or folder. Everything that can be is applied; returns what could not.
    ///
    /// From what existed before, attributes that the node does not have are removed.
    pub(super) fn apply(&self, file: impl AsFd, node: &Node, existed: bool) -> Vec<String> {
        let file = file.as_fd();
        let there = stat(file, existed);
        let mut failed = self.apply_to(file, node, there.as_ref());
        let times = times(node);
        if !there.is_some_and(|there| has_times(&there, &times)) {
            note(&mut failed, "its times cannot be set", rustix::fs::futimens(file, &times));
        }
        failed
    }

    /// The same for a file that is not whole: with the times of the snapshot it would look as if it were.
    pub(super) fn apply_but_times(&self, file: BorrowedFd<'_>, node: &Node, existed: bool) -> Vec<String> {
        self.apply_to(file, node, stat(file, existed).as_ref())
    }

    /// All but the times. What is as it should be is not set again: each of these calls is a change that the file system has
    /// to write.
    fn apply_to(&self, file: BorrowedFd<'_>, node: &Node, there: Option<&Stat>) -> Vec<String> {
        let mut failed = Vec::new();
        if there.is_some() {
            remove_others(file, node, &mut failed);
        }
        let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        let same_owner = there.is_some_and(|stat| (stat.st_uid, stat.st_gid) == (node.uid, node.gid));
        let owned = same_owner || self.owner(rustix::fs::fchown(file, Some(uid), Some(gid)), &mut failed);
        let mut left = false;
        let mode = self.mode(node, owned, &mut left);
        let same_mode = there.is_some_and(|stat| stat.st_mode & 0o7777 == mode.as_raw_mode());
        if !(same_owner && same_mode) {
            note(&mut failed, "its mode cannot be set", rustix::fs::fchmod(file, mode));
        }
        for xattr in self.xattrs(node, &mut left) {
            let attribute = xattr.name.as_slice();
            let set = rustix::fs::fsetxattr(file, attribute, &xattr.value, XattrFlags::empty());
            self.xattr(attribute, set, &mut failed);
        }
        self.rights_left.fetch_add(u64::from(left), Ordering::Relaxed);
        failed
    }

    /// Whether nothing of an ordinary file's attributes would be set anew, as far as `stat` tells: extended attributes are
    /// looked at where the node has any.
    pub(super) fn are_set(&self, stat: &Stat, node: &Node) -> bool {
        let (owner, mode) = ((stat.st_uid, stat.st_gid), stat.st_mode & 0o7777);
        node.xattrs.is_empty()
            && node.mode & SET_ID == 0
            && owner == (node.uid, node.gid)
            && mode == node.mode & 0o7777
            && has_mtime(stat, node)
    }

    /// Applies to a symlink, fifo or device node, which cannot be opened without effects.
    pub(super) fn apply_at(&self, dir: &OwnedFd, node: &Node) -> Vec<String> {
        let mut failed = Vec::new();
        let entry = match name(&node.name) {
            Ok(entry) => entry,
            Err(error) => return vec![error.to_string()],
        };
        let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        let chown = rustix::fs::chownat(dir, entry, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
        let owned = self.owner(chown, &mut failed);
        let mut left = false;
        if node.kind != NodeKind::Symlink {
            // There is no chmod that does not follow symlinks on every kernel; the entry was just made by us, and one
            // that is no symlink is opened by path only, which has no effect on a fifo or device.
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
            let changed = rustix::fs::openat(dir, entry, flags, Mode::empty())
                .and_then(|file| rustix::fs::chmod(by_descriptor(&file), self.mode(node, owned, &mut left)));
            note(&mut failed, "its mode cannot be set", changed);
        }
        let xattrs = self.xattrs(node, &mut left);
        if !xattrs.is_empty() {
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
            match rustix::fs::openat(dir, ".", flags, Mode::empty()) {
                Ok(folder) => {
                    let mut path = by_descriptor(&folder).into_bytes();
                    path.push(b'/');
                    path.extend_from_slice(&node.name);
                    for xattr in xattrs {
                        let attribute = xattr.name.as_slice();
                        let set = rustix::fs::lsetxattr(path.as_slice(), attribute, &xattr.value, XattrFlags::empty());
                        self.xattr(attribute, set, &mut failed);
                    }
                }
                Err(error) => note(&mut failed, "its extended attributes cannot be set", Err(error)),
            }
        }
        let set = rustix::fs::utimensat(dir, entry, &times(node), AtFlags::SYMLINK_NOFOLLOW);
        note(&mut failed, "its times cannot be set", set);
        self.rights_left.fetch_add(u64::from(left), Ordering::Relaxed);
        failed
    }

    /// Whether the owner is as the node says.
    fn owner(&self, changed: rustix::io::Result<()>, failed: &mut Vec<String>) -> bool {
        match changed {
            Ok(()) => true,
            Err(Errno::PERM) if !self.root => {
                self.owners_left.fetch_add(1, Ordering::Relaxed);
                false
            }
            Err(error) => {
                note(failed, "its owner cannot be set", Err(error));
                false
            }
        }
    }

    /// A setuid file whose owner is another than the node's would give the wrong rights away.
    fn mode(&self, node: &Node, owned: bool, left: &mut bool) -> Mode {
        let mut mode = node.mode & 0o7777;
        if node.kind == NodeKind::File && mode & SET_ID != 0 && (self.privileged == Privileged::Leave || !owned) {
            mode &= !SET_ID;
            *left = true;
        }
        Mode::from_raw_mode(mode)
    }

    fn xattrs<'n>(&self, node: &'n Node, left: &mut bool) -> Vec<&'n crate::vault::tree::Xattr> {
        let gives_rights = |name: &[u8]| name == b"security.capability";
        let (rights, others): (Vec<_>, Vec<_>) = node.xattrs.iter().partition(|xattr| gives_rights(&xattr.name));
        match self.privileged {
            Privileged::Restore => rights.into_iter().chain(others).collect(),
            Privileged::Leave => {
                *left |= !rights.is_empty();
                others
            }
        }
    }

    fn xattr(&self, attribute: &[u8], set: rustix::io::Result<()>, failed: &mut Vec<String>) {
        let shown = String::from_utf8_lossy(attribute);
        note(failed, &format!("its extended attribute {shown} cannot be set"), set);
    }
}

/// What is there; none where nothing was before.
fn stat(file: BorrowedFd<'_>, existed: bool) -> Option<Stat> {
    existed.then(|| rustix::fs::fstat(file).ok()).flatten()
}

/// Removes the attributes that the node does not have, but for those that the system sets on everything.
fn remove_others(file: BorrowedFd<'_>, node: &Node, failed: &mut Vec<String>) {
    // Most have few or none.
    let mut short = [0; 256];
    let mut long = Vec::new();
    let listed = match rustix::fs::flistxattr(file, &mut short) {
        Err(Errno::RANGE) => {
            long.resize(64 << 10, 0);
            rustix::fs::flistxattr(file, &mut long)
        }
        listed => listed,
    };
    let list = if long.is_empty() { &short[..] } else { &long };
    let len = match listed {
        Ok(len) => len,
        Err(Errno::NOTSUP) => return,
        Err(error) => return note(failed, "its extended attributes cannot be listed", Err(error)),
    };
    for attribute in list[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let ours = node.xattrs.iter().any(|xattr| xattr.name == attribute);
        if !ours && attribute != b"security.selinux" {
            let shown = String::from_utf8_lossy(attribute);
            let removed = rustix::fs::fremovexattr(file, attribute);
            note(failed, &format!("its extended attribute {shown} cannot be removed"), removed);
        }
    }
}

fn by_descriptor(file: &OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn note(failed: &mut Vec<String>, what: &str, result: rustix::io::Result<()>) {
    if let Err(error) = result {
        failed.push(format!("{what}: {}", io::Error::from(error)));
    }
}

fn has_times(stat: &Stat, times: &Timestamps) -> bool {
    let (access, modification) = (times.last_access, times.last_modification);
    let seconds = (i128::from(stat.st_atime), i128::from(stat.st_mtime));
    let nanos = (i128::from(stat.st_atime_nsec), i128::from(stat.st_mtime_nsec));
    seconds == (access.tv_sec.into(), modification.tv_sec.into())
        && nanos == (access.tv_nsec.into(), modification.tv_nsec.into())
}

/// Whether the file was last modified when the node says, to the nanosecond.
pub(super) fn has_mtime(stat: &Stat, node: &Node) -> bool {
    let modified = times(node).last_modification;
    i128::from(stat.st_mtime) == modified.tv_sec.into() && i128::from(stat.st_mtime_nsec) == modified.tv_nsec.into()
}

fn times(node: &Node) -> Timestamps {
    let spec = |time: jiff::Timestamp| {
        // Nanoseconds count forward from the second also before 1970.
        let (mut second, mut nanos) = (time.as_second(), i64::from(time.subsec_nanosecond()));
        if nanos < 0 {
            second -= 1;
            nanos += 1_000_000_000;
        }
        Timespec { tv_sec: second, tv_nsec: nanos }
    };
    Timestamps { last_access: spec(node.atime), last_modification: spec(node.mtime) }
}
