//! Extended attributes of an entry, by way of its folder's descriptor.
//!
//! Linux had no call for "the attributes of this name in that folder" before 6.13, so the way leads through
//! `/proc/self/fd`, whose links are bound to the open folder and not to its path. Without `/proc` an entry's attributes
//! cannot be read, and that is an error: they are never taken for absent.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{fgetxattr, flistxattr, getxattr, lgetxattr, listxattr, llistxattr};
use rustix::io::Errno;

use crate::vault::tree::Xattr;

/// Whether to read extended attributes along with the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XattrMode {
    /// Leave them out: for a look that only asks whether a file has changed.
    Skip,
    /// Read them, in the order in which the file system lists them, which is restic's order too.
    Read,
}

/// Whose attributes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of<'a> {
    /// An entry of the folder, itself where it is a symbolic link.
    Entry(&'a [u8]),
    /// The folder.
    Folder,
}

/// All attributes. An attribute that vanishes between the listing and the reading is left out.
pub(super) fn read(folder: BorrowedFd<'_>, of: Of<'_>) -> rustix::io::Result<Vec<Xattr>> {
    let mut path = format!("/proc/self/fd/{}", folder.as_raw_fd()).into_bytes();
    if let Of::Entry(name) = of {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    let path = CString::new(path).map_err(|_| Errno::INVAL)?;
    // the last component is the folder's own link in the one case, and the entry in the other
    let names = match of {
        Of::Entry(_) => whole(|buffer| llistxattr(&path, spare_capacity(buffer))),
        Of::Folder => whole(|buffer| listxattr(&path, spare_capacity(buffer))),
    };
    gather(names, |name| match of {
        Of::Entry(_) => whole(|buffer| lgetxattr(&path, name, spare_capacity(buffer))),
        Of::Folder => whole(|buffer| getxattr(&path, name, spare_capacity(buffer))),
    })
}

/// All attributes of an open file.
pub(super) fn read_open(file: BorrowedFd<'_>) -> rustix::io::Result<Vec<Xattr>> {
    let names = whole(|buffer| flistxattr(file, spare_capacity(buffer)));
    gather(names, |name| whole(|buffer| fgetxattr(file, name, spare_capacity(buffer))))
}

/// The value of each name in a list as the system gives it.
fn gather(
    names: rustix::io::Result<Vec<u8>>,
    value: impl Fn(&[u8]) -> rustix::io::Result<Vec<u8>>,
) -> rustix::io::Result<Vec<Xattr>> {
    let names = match names {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP | Errno::NODATA) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut xattrs = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match value(name) {
            Ok(value) => xattrs.push(Xattr { name: name.to_vec(), value }),
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(xattrs)
}

/// Calls with ever larger buffers until all fits. Linux lets neither a list nor a value be larger than 64 KiB.
fn whole(mut call: impl FnMut(&mut Vec<u8>) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    const FIRST: usize = 256;
    const LARGEST: usize = 64 << 10;
    let mut size = FIRST;
    loop {
        let mut buffer = Vec::with_capacity(size);
        match call(&mut buffer) {
            Err(Errno::RANGE) if size < LARGEST => size = LARGEST,
            Err(error) => return Err(error),
            Ok(_) => return Ok(buffer),
        }
    }
}
