//! A folder held open.
//!
//! Invariant: everything asked about an entry goes through the folder's descriptor and never follows a symbolic link, so
//! the answer is about that folder's entry, whatever happens to the path meanwhile.
//!
//! Where the file system may stop answering ([`super::far`]), nobody waits for ever: what is not answered is an error.
//!
//! One descriptor per [`Folder`], a second one while it is listed: a walk needs as many as it is deep, and an operator
//! with folders nested beyond the limit on open files has to raise that limit.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::change::FileState;
use super::error::FileError;
use super::far::Mount;
use super::holes::data_after;
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

/// Bytes that are read at once where another thread reads.
const AT_ONCE: usize = 1 << 20;

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
    here: Arc<Here>,
    /// The file system that it lies in, if that may stop answering.
    far: Option<Arc<Mount>>,
    names: Arc<Names>,
}

/// What is asked about entries, by whichever thread.
#[derive(Debug)]
struct Here {
    fd: OwnedFd,
    /// What it was opened as, for messages.
    name: Vec<u8>,
    device: u64,
    inode: u64,
}

/// A file that is open for reading.
#[derive(Debug)]
pub struct Opened {
    /// There until it is dropped.
    file: Option<Arc<File>>,
    far: Option<Arc<Mount>>,
    /// Bytes that the file system keeps for it.
    allocated: u64,
}

impl Folder {
    /// Opens the folder at `path`, symbolic links followed as the operator wrote them. It need not be readable before it
    /// is listed.
    pub fn open(path: &Path, names: Arc<Names>) -> Result<Self, FileError> {
        let far = names.far().at(path);
        let path = path.to_owned();
        let name = path.as_os_str().as_encoded_bytes().to_vec();
        let here = asked(far.as_deref(), "open the folder", &name, move |name| {
            let fd = rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
            Here::opened(fd, name)
        })?;
        Ok(Self { here: Arc::new(here), far, names })
    }

    /// Opens the folder `name` in this one; a symbolic link is refused.
    pub fn open_child(&self, name: &[u8]) -> Result<Self, FileError> {
        let far = self.far(name);
        let here = self.ask("open the folder", name, |here, name| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Here::opened(rustix::fs::openat(&here.fd, name, flags, Mode::empty()), name)
        })?;
        Ok(Self { here: Arc::new(here), far, names: self.names.clone() })
    }

    /// The file system that an entry lies in, if that may stop answering.
    fn far(&self, name: &[u8]) -> Option<Arc<Mount>> {
        self.names.far().on((self.here.device, self.here.inode), name).or_else(|| self.far.clone())
    }

    /// Asks about the entry `name`: at once where the file system is of this machine, by another thread elsewhere.
    fn ask<T: Send + 'static>(
        &self,
        action: &'static str,
        name: &[u8],
        call: impl FnOnce(&Here, &[u8]) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, FileError> {
        match self.far(name) {
            None => call(&self.here, name),
            Some(mount) => {
                let here = self.here.clone();
                asked(Some(&mount), action, name, move |name| call(&here, name))
            }
        }
    }

    /// `st_dev` of the file system that holds the folder. A child whose `device_id` differs is a mount point.
    pub fn device(&self) -> u64 {
        self.here.device
    }

    /// The names of all entries. A folder that cannot be read to its end is an error, never a short list.
    pub fn list(&self) -> Result<Listing, FileError> {
        self.ask("list the folder", b"", |here, _| here.list())
    }

    /// The node of the entry `name`, without the content of a file or the tree of a folder.
    pub fn node(&self, name: &[u8], xattrs: XattrMode) -> Result<Node, FileError> {
        let (stat, linktarget) = self.ask("read the metadata of", name, |here, name| here.look(name))?;
        let mut node = from_stat(name, &stat, &self.names)?;
        node.linktarget = linktarget;
        match xattrs {
            XattrMode::Skip => {}
            XattrMode::Read => node.xattrs = self.xattrs(name)?,
        }
        Ok(node)
    }

    /// The node of this folder itself, called `name`.
    pub fn own_node(&self, name: &[u8], xattrs: XattrMode) -> Result<Node, FileError> {
        let here = move |here: &Here, name: &[u8]| {
            let stat = here.stat(b"", name, AtFlags::EMPTY_PATH)?;
            let xattrs = match xattrs {
                XattrMode::Skip => Vec::new(),
                XattrMode::Read => xattr::read(here.fd.as_fd(), Of::Folder)
                    .map_err(|error| FileError::io("read the extended attributes of", name, error))?,
            };
            Ok((stat, xattrs))
        };
        // Not an entry of this folder: another one of that name may be.
        let (stat, xattrs) = match &self.far {
            None => here(&self.here, name)?,
            Some(mount) => {
                let this = self.here.clone();
                asked(Some(mount), "read the metadata of", name, move |name| here(&this, name))?
            }
        };
        let mut node = from_stat(name, &stat, &self.names)?;
        node.xattrs = xattrs;
        Ok(node)
    }

    /// The extended attributes of the entry `name`: what [`Folder::node`] leaves out with [`XattrMode::Skip`].
    pub fn xattrs(&self, name: &[u8]) -> Result<Vec<Xattr>, FileError> {
        self.ask("read the extended attributes of", name, |here, name| {
            xattr::read(here.fd.as_fd(), Of::Entry(name))
                .map_err(|error| FileError::io("read the extended attributes of", name, error))
        })
    }

    /// The extended attributes of the file `name`, which is open.
    pub fn xattrs_of(&self, name: &[u8], file: &Opened) -> Result<Vec<Xattr>, FileError> {
        let read = file.ask(|file| xattr::read_open(file.as_fd()).map_err(std::io::Error::from));
        read.map_err(|error| FileError::io("read the extended attributes of", name, error))
    }

    /// Opens the file `name` for reading. `looked_at` is its node: whatever else has taken its place since is refused,
    /// without waiting for a fifo's writer. Returns the state that it was opened in, to compare with after reading.
    pub fn open_file(&self, name: &[u8], looked_at: &Node) -> Result<(Opened, FileState), FileError> {
        let expected = (looked_at.inode, looked_at.device_id);
        let (file, stat) = self.ask("open", name, move |here, name| here.open_file(name, expected))?;
        // st_blocks counts 512 bytes, whatever the file system's blocks are.
        let allocated = u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512);
        Ok((Opened { file: Some(Arc::new(file)), far: self.far(name), allocated }, FileState::of_stat(&stat)))
    }

    /// Whether the folder is tagged as a cache.
    pub fn cache_tag(&self) -> Result<CacheTag, FileError> {
        let looked_at = match self.node(CACHE_TAG, XattrMode::Skip) {
            Ok(node) if node.kind == NodeKind::File => node,
            Ok(_) => return Ok(CacheTag::None),
            Err(error) if error.is_gone() => return Ok(CacheTag::None),
            Err(error) => return Err(error),
        };
        let (mut file, _) = self.open_file(CACHE_TAG, &looked_at)?;
        let mut begins = [0; CACHE_SIGNATURE.len()];
        match file.read_exact(&mut begins) {
            Ok(()) if begins == *CACHE_SIGNATURE => Ok(CacheTag::Cache),
            Ok(()) => Ok(CacheTag::None),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(CacheTag::None),
            Err(error) => Err(FileError::io("read", CACHE_TAG, error)),
        }
    }
}

/// Whether there is something at `path`, itself where it is a symbolic link. A file system that does not answer is an error
/// of the kind `TimedOut`.
pub fn look_up(path: &Path, names: &Names) -> std::io::Result<()> {
    let owned = path.to_owned();
    let look = move || rustix::fs::lstat(&owned).map(drop).map_err(std::io::Error::from);
    match names.far().at(path) {
        None => look(),
        Some(mount) => mount.ask(look).and_then(|answer| answer),
    }
}

/// Makes a call in a file system that may not answer, or right here.
fn asked<T: Send + 'static>(
    far: Option<&Mount>,
    action: &'static str,
    name: &[u8],
    call: impl FnOnce(&[u8]) -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    match far {
        None => call(name),
        Some(mount) => {
            let owned = name.to_vec();
            mount.ask(move || call(&owned)).unwrap_or_else(|error| Err(FileError::io(action, name, error)))
        }
    }
}

impl Here {
    fn opened(fd: rustix::io::Result<OwnedFd>, name: &[u8]) -> Result<Self, FileError> {
        let opened = fd.and_then(|fd| rustix::fs::fstat(&fd).map(|stat| (fd, stat)));
        let (fd, stat) = opened.map_err(|error| FileError::io("open the folder", name, error))?;
        Ok(Self { fd, name: name.to_vec(), device: stat.st_dev, inode: stat.st_ino })
    }

    fn list(&self) -> Result<Listing, FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |flags| rustix::fs::openat(&self.fd, c".", flags, Mode::empty());
        let fd = open(flags | OFlags::NOATIME).or_else(|error| match error {
            // only the owner may ask not to leave a trace
            Errno::PERM => open(flags),
            error => Err(error),
        });
        fd.and_then(Listing::read).map_err(|error| FileError::io("list the folder", &self.name, error))
    }

    /// What the entry is, and where it leads if it is a symbolic link.
    fn look(&self, name: &[u8]) -> Result<(Stat, Vec<u8>), FileError> {
        let stat = self.stat(name, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let linktarget = match NodeKind::of_st_mode(stat.st_mode) {
            Some(NodeKind::Symlink) => rustix::fs::readlinkat(&self.fd, name, Vec::new())
                .map_err(|error| FileError::io("read the symbolic link", name, error))?
                .into_bytes(),
            Some(_) | None => Vec::new(),
        };
        Ok((stat, linktarget))
    }

    fn stat(&self, path: &[u8], name: &[u8], flags: AtFlags) -> Result<Stat, FileError> {
        // an automount is looked at, not set off
        rustix::fs::statat(&self.fd, path, flags | AtFlags::NO_AUTOMOUNT)
            .map_err(|error| FileError::io("read the metadata of", name, error))
    }

    fn open_file(&self, name: &[u8], expected: (u64, u64)) -> Result<(File, Stat), FileError> {
        let replaced = || FileError::Replaced { name: quote(name) };
        let file = self.open_regular(name).map_err(|error| match error {
            Errno::LOOP | Errno::NXIO => replaced(),
            error => FileError::io("open", name, error),
        })?;
        let stat = rustix::fs::fstat(&file).map_err(|error| FileError::io("read the metadata of", name, error))?;
        if NodeKind::of_st_mode(stat.st_mode) != Some(NodeKind::File) || (stat.st_ino, stat.st_dev) != expected {
            return Err(replaced());
        }
        Ok((file, stat))
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
}

impl Opened {
    fn file(&self) -> &Arc<File> {
        self.file.as_ref().expect("it is there until it is dropped")
    }

    fn ask<T: Send + 'static>(
        &self,
        call: impl FnOnce(&File) -> std::io::Result<T> + Send + 'static,
    ) -> std::io::Result<T> {
        match &self.far {
            None => call(self.file()),
            Some(mount) => {
                let file = self.file().clone();
                mount.ask(move || call(&file)).and_then(|answer| answer)
            }
        }
    }

    /// The file itself, where it is of this machine.
    pub fn into_near(mut self) -> Option<File> {
        let file = if self.far.is_none() { self.file.take() } else { None };
        file.and_then(Arc::into_inner)
    }

    /// Its state now, to compare with the one in which it was opened.
    pub fn state(&self) -> std::io::Result<FileState> {
        self.ask(FileState::of_file)
    }

    /// How many bytes of `size` the file system does not keep, because they are zeros or because it compresses.
    pub fn left_out(&self, size: u64) -> u64 {
        size.saturating_sub(self.allocated)
    }

    /// See [`data_after`].
    pub fn data_after(&self, at: u64) -> std::io::Result<Range<u64>> {
        self.ask(move |file| data_after(file, at))
    }

    /// Reads what is at `at`; how many bytes those were, 0 at the end.
    pub fn read_at(&self, out: &mut [u8], at: u64) -> std::io::Result<usize> {
        if self.far.is_none() {
            return FileExt::read_at(&**self.file(), out, at);
        }
        let mut part = vec![0; out.len().min(AT_ONCE)];
        let read = self.ask(move |file| {
            let read = FileExt::read_at(file, &mut part, at)?;
            part.truncate(read);
            Ok(part)
        })?;
        out[..read.len()].copy_from_slice(&read);
        Ok(read.len())
    }

    /// Reads into what is free in the buffer; how many bytes those were, 0 at the end.
    pub fn read_into(&self, buffer: &mut Vec<u8>) -> std::io::Result<usize> {
        if self.far.is_none() {
            return Ok(rustix::io::read(&**self.file(), spare_capacity(buffer))?);
        }
        let free = (buffer.capacity() - buffer.len()).min(AT_ONCE);
        let read = self.ask(move |file| {
            let mut part = Vec::with_capacity(free);
            rustix::io::read(file, spare_capacity(&mut part))?;
            Ok(part)
        })?;
        buffer.extend_from_slice(&read);
        Ok(read.len())
    }
}

impl Read for Opened {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.far.is_none() {
            return (&**self.file()).read(out);
        }
        let mut part = Vec::with_capacity(out.len().min(AT_ONCE));
        let read = self.read_into(&mut part)?;
        out[..read].copy_from_slice(&part);
        Ok(read)
    }
}

impl Drop for Opened {
    /// Closing may wait for the file system as well.
    fn drop(&mut self) {
        if let (Some(file), Some(mount)) = (self.file.take(), &self.far) {
            mount.let_go(file);
        }
    }
}
