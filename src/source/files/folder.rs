//! A folder held open.
//!
//! Invariant: everything asked about an entry goes through the folder's descriptor and never follows a symbolic link, so
//! the answer is about that folder's entry, whatever happens to the path meanwhile.
//!
//! One descriptor per [`Folder`], a second one while it is listed: a walk needs as many as it is deep, and an operator
//! with folders nested beyond the limit on open files has to raise that limit.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::change::FileState;
use super::error::FileError;
use super::list::Listing;
use super::names::Names;
use super::node::from_stat;
use super::xattr::{self, Of, XattrMode};
use crate::vault::tree::{Node, NodeKind, Xattr, quote};

/// What a file called `CACHEDIR.TAG` begins with where it marks a folder as a cache.
/// See <https://bford.info/cachedir/>.
const CACHE_SIGNATURE: &[u8; 43] = b"Signature: 8a477f597d28d172789f06886806bc55";
/// The file that marks a folder as a cache.
const CACHE_TAG: &[u8] = b"CACHEDIR.TAG";

/// Whether a folder says of itself that its content can be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheTag {
    /// It has no tag, or one without the signature.
    None,
    /// It is a cache. As with restic and tar, the folder and its tag are worth keeping, the rest is not.
    Cache,
}

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    /// What it was opened as, for messages.
    name: Vec<u8>,
    device: u64,
    names: Arc<Names>,
}

impl Folder {
    /// Opens the folder at `path`, symbolic links followed as the operator wrote them. It need not be readable before it
    /// is listed.
    pub fn open(path: &Path, names: Arc<Names>) -> Result<Self, FileError> {
        let name = path.as_os_str().as_encoded_bytes();
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        Self::opened(fd, name, names)
    }

    /// Opens the folder `name` in this one; a symbolic link is refused.
    pub fn open_child(&self, name: &[u8]) -> Result<Self, FileError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Self::opened(rustix::fs::openat(&self.fd, name, flags, Mode::empty()), name, self.names.clone())
    }

    fn opened(fd: rustix::io::Result<OwnedFd>, name: &[u8], names: Arc<Names>) -> Result<Self, FileError> {
        let opened = fd.and_then(|fd| rustix::fs::fstat(&fd).map(|stat| (fd, stat.st_dev)));
        let (fd, device) = opened.map_err(|error| FileError::io("open the folder", name, error))?;
        Ok(Self { fd, name: name.to_vec(), device, names })
    }

    /// `st_dev` of the file system that holds the folder. A child whose `device_id` differs is a mount point.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// The names of all entries. A folder that cannot be read to its end is an error, never a short list.
    pub fn list(&self) -> Result<Listing, FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |flags| rustix::fs::openat(&self.fd, c".", flags, Mode::empty());
        let fd = open(flags | OFlags::NOATIME).or_else(|error| match error {
            // only the owner may ask not to leave a trace
            Errno::PERM => open(flags),
            error => Err(error),
        });
        fd.and_then(Listing::read).map_err(|error| FileError::io("list the folder", &self.name, error))
    }

    /// The node of the entry `name`, without the content of a file or the tree of a folder.
    pub fn node(&self, name: &[u8], xattrs: XattrMode) -> Result<Node, FileError> {
        let stat = self.stat(name, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mut node = from_stat(name, &stat, &self.names)?;
        if node.kind == NodeKind::Symlink {
            node.linktarget = rustix::fs::readlinkat(&self.fd, name, Vec::new())
                .map_err(|error| FileError::io("read the symbolic link", name, error))?
                .into_bytes();
        }
        match xattrs {
            XattrMode::Skip => {}
            XattrMode::Read => node.xattrs = self.xattrs(name)?,
        }
        Ok(node)
    }

    /// The node of this folder itself, called `name`.
    pub fn own_node(&self, name: &[u8], xattrs: XattrMode) -> Result<Node, FileError> {
        let mut node = from_stat(name, &self.stat(b"", name, AtFlags::EMPTY_PATH)?, &self.names)?;
        match xattrs {
            XattrMode::Skip => {}
            XattrMode::Read => {
                node.xattrs = xattr::read(self.fd.as_fd(), Of::Folder)
                    .map_err(|error| FileError::io("read the extended attributes of", name, error))?;
            }
        }
        Ok(node)
    }

    fn stat(&self, path: &[u8], name: &[u8], flags: AtFlags) -> Result<Stat, FileError> {
        // an automount is looked at, not set off
        rustix::fs::statat(&self.fd, path, flags | AtFlags::NO_AUTOMOUNT)
            .map_err(|error| FileError::io("read the metadata of", name, error))
    }

    /// The extended attributes of the entry `name`: what [`Folder::node`] leaves out with [`XattrMode::Skip`].
    pub fn xattrs(&self, name: &[u8]) -> Result<Vec<Xattr>, FileError> {
        xattr::read(self.fd.as_fd(), Of::Entry(name))
            .map_err(|error| FileError::io("read the extended attributes of", name, error))
    }

    /// The extended attributes of the file `name`, which is open.
    pub fn xattrs_of(&self, name: &[u8], file: &File) -> Result<Vec<Xattr>, FileError> {
        xattr::read_open(file.as_fd()).map_err(|error| FileError::io("read the extended attributes of", name, error))
    }

    /// Opens the file `name` for reading. `looked_at` is its node: whatever else has taken its place since is refused,
    /// without waiting for a fifo's writer. Returns the state that it was opened in, to compare with after reading.
    pub fn open_file(&self, name: &[u8], looked_at: &Node) -> Result<(File, FileState), FileError> {
        let replaced = || FileError::Replaced { name: quote(name) };
        let file = self.open_regular(name).map_err(|error| match error {
            Errno::LOOP | Errno::NXIO => replaced(),
            error => FileError::io("open", name, error),
        })?;
        let stat = rustix::fs::fstat(&file).map_err(|error| FileError::io("read the metadata of", name, error))?;
        if NodeKind::of_st_mode(stat.st_mode) != Some(NodeKind::File)
            || (stat.st_ino, stat.st_dev) != (looked_at.inode, looked_at.device_id)
        {
            return Err(replaced());
        }
        Ok((file, FileState::of_stat(&stat)))
    }

    fn open_regular(&self, name: &[u8]) -> rustix::io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |flags| rustix::fs::openat(&self.fd, name, flags, Mode::empty());
        let quiet = flags | OFlags::NONBLOCK | OFlags::NOATIME;
        match open(quiet) {
            Err(Errno::PERM) => open(quiet - OFlags::NOATIME),
            opened => opened,
        }
        .map(File::from)
    }

    /// Whether the folder is tagged as a cache.
    pub fn cache_tag(&self) -> Result<CacheTag, FileError> {
        let looked_at = match self.node(CACHE_TAG, XattrMode::Skip) {
            Ok(node) if node.kind == NodeKind::File => node,
            Ok(_) => return Ok(CacheTag::None),
            Err(error) if error.is_gone() => return Ok(CacheTag::None),
            Err(error) => return Err(error),
        };
        let (file, _) = self.open_file(CACHE_TAG, &looked_at)?;
        let mut begins = [0; CACHE_SIGNATURE.len()];
        let read = std::io::Read::read_exact(&mut &file, &mut begins);
        match read {
            Ok(()) if begins == *CACHE_SIGNATURE => Ok(CacheTag::Cache),
            Ok(()) => Ok(CacheTag::None),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(CacheTag::None),
            Err(error) => Err(FileError::io("read", CACHE_TAG, error)),
        }
    }
}
