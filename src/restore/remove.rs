//! Deleting what the snapshot does not have, and what stands in the way of what it has.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Dir, FileType};

use super::{Mode, place};

/// Names in an open folder, without `.` and `..`.
pub(super) fn names(dir: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// Deletes an entry and all below it, following no symlink and entering no other file system. Returns how many entries
/// were deleted, or would be.
pub(super) fn all(dir: &OwnedFd, entry: &[u8], mode: Mode) -> io::Result<u64> {
    let Some(stat) = place::look(dir, entry)? else { return Ok(0) };
    let unlink = |dir: &OwnedFd, name: &[u8]| match mode {
        Mode::Write => place::unlink(dir, name),
        Mode::Rehearse => Ok(()),
    };
    if place::kind(&stat) != FileType::Directory {
        unlink(dir, entry)?;
        return Ok(1);
    }
    // Depth costs descriptors, not stack: each level is an open folder and the names that are left in it.
    let mut deleted = 0;
    let device = stat.st_dev;
    let opened = place::open_dir(dir, entry)?;
    let mut stack = vec![(names(&opened)?, opened, entry.to_vec())];
    while let Some((left, open, _)) = stack.last_mut() {
        let Some(next) = left.pop() else {
            let Some((_, _, name)) = stack.pop() else { break };
            let above = stack.last().map_or(dir, |(_, open, _)| open);
            if mode == Mode::Write {
                place::remove_dir(above, &name)?;
            }
            deleted += 1;
            continue;
        };
        let Some(stat) = place::look(open, &next)? else { continue };
        if place::kind(&stat) == FileType::Directory {
            if stat.st_dev != device {
                return Err(io::Error::new(io::ErrorKind::CrossesDevices, "another file system is mounted in it"));
            }
            let opened = place::open_dir(open, &next)?;
            stack.push((names(&opened)?, opened, next));
        } else {
            unlink(open, &next)?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletes_below_and_follows_no_symlink() {
        let target = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("kept"), b"x").unwrap();
        std::fs::create_dir_all(target.path().join("a/b/c")).unwrap();
        std::fs::write(target.path().join("a/b/f"), b"y").unwrap();
        std::os::unix::fs::symlink(outside.path(), target.path().join("a/link")).unwrap();
        let dir = place::open_target(target.path()).unwrap();
        assert_eq!(all(&dir, b"a", Mode::Rehearse).unwrap(), 5);
        assert_eq!(all(&dir, b"a", Mode::Write).unwrap(), 5);
        assert_eq!(all(&dir, b"a", Mode::Write).unwrap(), 0);
        assert!(outside.path().join("kept").exists());
        assert!(names(&dir).unwrap().is_empty());
    }
}
