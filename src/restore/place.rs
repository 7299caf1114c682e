//! Making and opening things beneath the target, one name at a time.
//!
//! Every call names one entry of an open folder and follows no symlink, so nothing in a snapshot, and nothing that
//! another process swaps meanwhile, leads outside. Names have been validated by the tree reader; they are checked here
//! again because everything rests on it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::holes;

const DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An entry's name: one component, never `.` or `..`.
pub(super) fn name(bytes: &[u8]) -> io::Result<&OsStr> {
    let one = !bytes.is_empty() && bytes != b"." && bytes != b".." && !bytes.contains(&b'/') && !bytes.contains(&0);
    if one { Ok(OsStr::from_bytes(bytes)) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file name")) }
}

/// Opens the target itself: the operator named it, so symlinks on the way to it are followed.
pub(super) fn open_target(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Bytes that the file system of a folder has room for; of a folder that is not there, the nearest above it.
pub(super) fn room(path: &Path) -> Option<u64> {
    let here = |path: &'_ Path| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() };
    let found = path.ancestors().find_map(|path| rustix::fs::statvfs(here(path)).ok())?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// What is there under this name, symlinks not followed.
pub(super) fn look(dir: &OwnedFd, entry: &[u8]) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(dir, name(entry)?, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The type of what `stat` describes.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Opens a folder that is there.
pub(super) fn open_dir(dir: &OwnedFd, entry: &[u8]) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(dir, name(entry)?, DIR, Mode::empty())?)
}

/// Makes a folder, 0700, and opens it; false when there was one already. Steps of a runbook that restore side by side into
/// one target make the folders above theirs at the same time.
pub(super) fn make_dir(dir: &OwnedFd, entry: &[u8]) -> io::Result<(OwnedFd, bool)> {
    let made = match rustix::fs::mkdirat(dir, name(entry)?, Mode::RWXU) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    Ok((open_dir(dir, entry)?, made))
}

/// Makes an empty file, 0600. There must be nothing of this name.
pub(super) fn make_file(dir: &OwnedFd, entry: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(dir, name(entry)?, flags, Mode::RUSR | Mode::WUSR)?))
}

/// Opens a regular file that is there, for reading and writing.
pub(super) fn open_file(dir: &OwnedFd, entry: &[u8]) -> io::Result<File> {
    open_regular(dir, entry, OFlags::RDWR)
}

/// Opens a regular file that is there, for reading. Where it is ours, that leaves no trace in its access time.
pub(super) fn open_to_compare(dir: &OwnedFd, entry: &[u8]) -> io::Result<File> {
    open_regular(dir, entry, OFlags::RDONLY | OFlags::NOATIME).or_else(|_| open_regular(dir, entry, OFlags::RDONLY))
}

/// Puts a new file with the same content in the place of one that cannot be opened for writing: for its mode, or because a
/// program runs from it. A crash leaves it incomplete.
pub(super) fn replace_file(dir: &OwnedFd, entry: &[u8]) -> io::Result<File> {
    let old = open_to_compare(dir, entry);
    unlink(dir, entry)?;
    let new = make_file(dir, entry)?;
    if let Ok(old) = old {
        holes::copy(&old, &new)?;
    }
    Ok(new)
}

fn open_regular(dir: &OwnedFd, entry: &[u8], access: OFlags) -> io::Result<File> {
    // Not blocking: a fifo put in its place must not hang the restore.
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name(entry)?, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    if kind(&stat) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(File::from(file))
}

/// Makes a symlink.
pub(super) fn make_symlink(dir: &OwnedFd, entry: &[u8], target: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::symlinkat(OsStr::from_bytes(target), dir, name(entry)?)?)
}

/// Makes a second name for a file that this restore has made.
pub(super) fn make_link(from: &OwnedFd, old: &[u8], dir: &OwnedFd, entry: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::linkat(from, name(old)?, dir, name(entry)?, AtFlags::empty())?)
}

/// Makes a fifo or a device node, 0600.
pub(super) fn make_node(dir: &OwnedFd, entry: &[u8], kind: FileType, device: u64) -> io::Result<()> {
    Ok(rustix::fs::mknodat(dir, name(entry)?, kind, Mode::RUSR | Mode::WUSR, device)?)
}

/// Removes one entry that is not a folder.
pub(super) fn unlink(dir: &OwnedFd, entry: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(dir, name(entry)?, AtFlags::empty())?)
}

/// Removes an empty folder.
pub(super) fn remove_dir(dir: &OwnedFd, entry: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(dir, name(entry)?, AtFlags::REMOVEDIR)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_component_is_a_name() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b"] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
        assert!(name(b"...").is_ok());
        assert!(name(b"\xff\n").is_ok());
    }

    #[test]
    fn a_folder_that_another_has_just_made_is_shared() {
        let dir = tempfile::tempdir().unwrap();
        let target = open_target(dir.path()).unwrap();
        let (mine, made) = make_dir(&target, b"shared").unwrap();
        make_file(&mine, b"of mine").unwrap();
        let (theirs, made_again) = make_dir(&target, b"shared").unwrap();
        assert_eq!((made, made_again), (true, false));
        assert!(look(&theirs, b"of mine").unwrap().is_some());
        make_file(&target, b"file").unwrap();
        assert!(make_dir(&target, b"file").is_err());
    }

    #[test]
    fn symlinks_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), b"x").unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), dir.path().join("file")).unwrap();
        let target = open_target(dir.path()).unwrap();
        assert!(open_dir(&target, b"link").is_err());
        assert!(make_dir(&target, b"link").is_err());
        assert!(open_file(&target, b"file").is_err());
        assert!(make_file(&target, b"file").is_err());
        assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"x");
    }
}
