//! What a tree holds, read by other code than the backup's.
//!
//! A manifest lists every path of a tree with its kind, its size and the SHA-256 of its content (of its target, for a
//! symbolic link). It is made with the standard library alone: no chunker, packer, walker or restorer of ours has a part
//! in it, so a fault of theirs cannot hide itself. Invariant: the same tree gives the same bytes, whatever order the
//! file system lists it in; times, owners and modes play no part.
//!
//! It follows no symbolic link, and of devices, pipes and sockets it notes only that they are there.

mod list;
mod source;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::monitor::Cancel;

pub use source::{LeaveOut, Origin, SourceComparison, compare_with_source};

/// The first line of the canonical form.
const FIRST_LINE: &[u8] = b"drctl-manifest 1\n";
/// Differences that are listed; further ones are counted.
const MOST_LISTED: usize = 100;

/// Why a manifest could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file or folder could not be read.
    #[error("read {path:?} for its digest")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line of a list is neither of the two known forms.
    #[error("read the manifest: line {line} is not a digest and a path")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// The operator asked to stop.
    #[error("compare to the end: it was stopped")]
    Stopped,
}

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, a pipe or a socket.
    Other,
}

impl Kind {
    const fn letter(self) -> u8 {
        match self {
            Self::File => b'f',
            Self::Folder => b'd',
            Self::Link => b'l',
            Self::Other => b'o',
        }
    }
}

/// One path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Bytes of its content; `None` in lists that do not say.
    pub size: Option<u64>,
    /// SHA-256 of its content; zeros for what has none.
    pub digest: [u8; 32],
}

/// What is known of a tree, by path relative to its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    entries: BTreeMap<Vec<u8>, Entry>,
    scope: Scope,
}

/// What a manifest speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Everything in the tree.
    Everything,
    /// Regular files alone.
    Files,
}

/// One way in which a tree is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Relative to the tree.
    pub path: PathBuf,
    /// How it differs.
    pub how: How,
}

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It should be there.
    Missing,
    /// It should not be there.
    Unexpected,
    /// Its content is another.
    Content,
    /// It is a folder where a file should be, or the like.
    Kind,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = match self.how {
            How::Missing => "is missing",
            How::Unexpected => "should not be there",
            How::Content => "has other content",
            How::Kind => "is of another kind",
        };
        write!(f, "{:?} {how}", self.path)
    }
}

/// How two trees compare.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Comparison {
    /// Paths that are equal.
    pub equal: u64,
    /// Bytes of content in them.
    pub bytes: u64,
    /// The first differences, in order of their paths.
    pub differences: Vec<Difference>,
    /// All differences, counted.
    pub differing: u64,
}

impl Comparison {
    fn differs(&mut self, path: &[u8], how: How) {
        self.differing += 1;
        if self.differences.len() < MOST_LISTED {
            self.differences.push(Difference { path: as_path(path), how });
        }
    }
}

fn as_path(path: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()))
}

impl Manifest {
    /// Reads the tree below `root`.
    pub fn create(root: &Path, cancel: &Cancel) -> Result<Self, ManifestError> {
        let mut entries = BTreeMap::new();
        let mut folders = vec![Vec::new()];
        while let Some(folder) = folders.pop() {
            for (path, full) in list_folder(root, &folder)? {
                let entry = read_entry(&full, cancel)?;
                if entry.kind == Kind::Folder {
                    folders.push(path.clone());
                }
                entries.insert(path, entry);
            }
        }
        Ok(Self { entries, scope: Scope::Everything })
    }

    /// Reads a manifest: the canonical form, or a list of digests and paths as `sha256sum` writes it.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        match bytes.strip_prefix(FIRST_LINE) {
            Some(records) => Ok(Self { entries: list::canonical(records)?, scope: Scope::Everything }),
            None => Ok(Self { entries: list::sha256sum(bytes)?, scope: Scope::Files }),
        }
    }

    /// Writes the canonical form: a first line, then `path NUL kind NUL size NUL digest NUL` for each path, in byte order.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(FIRST_LINE)?;
        for (path, entry) in &self.entries {
            out.write_all(path)?;
            let size = entry.size.unwrap_or(0);
            write!(out, "\0{}\0{size}\0{}\0", char::from(entry.kind.letter()), hex::encode(entry.digest))?;
        }
        Ok(())
    }

    /// SHA-256 of the canonical form: one digest for the whole tree, in hex.
    pub fn digest(&self) -> String {
        let mut hasher = Hasher(Sha256::new());
        self.write(&mut hasher).expect("hashing does not fail");
        hex::encode(hasher.0.finalize())
    }

    /// The paths in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it speaks of nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Holds what was `found` against what this manifest says.
    pub fn compare(&self, found: &Self) -> Comparison {
        let mut comparison = Comparison::default();
        let paths: std::collections::BTreeSet<_> = self.entries.keys().chain(found.entries.keys()).collect();
        for path in paths {
            match (self.entries.get(path), found.entries.get(path)) {
                (Some(_), None) => comparison.differs(path, How::Missing),
                (None, Some(found)) if self.scope == Scope::Everything || found.kind == Kind::File => {
                    comparison.differs(path, How::Unexpected);
                }
                (None, _) => {}
                (Some(wanted), Some(found)) if wanted.kind != found.kind => comparison.differs(path, How::Kind),
                (Some(wanted), Some(found)) if wanted.digest != found.digest => comparison.differs(path, How::Content),
                (Some(_), Some(found)) => {
                    comparison.equal += 1;
                    comparison.bytes += found.size.unwrap_or(0);
                }
            }
        }
        comparison
    }
}

struct Hasher(Sha256);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ManifestError + '_ {
    |source| ManifestError::Read { path: path.to_owned(), source }
}

/// The children of a folder: relative path and full path.
fn list_folder(root: &Path, folder: &[u8]) -> Result<Vec<(Vec<u8>, PathBuf)>, ManifestError> {
    let full = root.join(as_path(folder));
    let mut children = Vec::new();
    for child in fs::read_dir(&full).map_err(failed(&full))? {
        let child = child.map_err(failed(&full))?;
        let mut path = folder.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(child.file_name().as_bytes());
        children.push((path, child.path()));
    }
    Ok(children)
}

fn read_entry(path: &Path, cancel: &Cancel) -> Result<Entry, ManifestError> {
    let meta = fs::symlink_metadata(path).map_err(failed(path))?;
    if meta.is_file() {
        let (size, digest) = hash_file(path, cancel)?;
        Ok(Entry { kind: Kind::File, size: Some(size), digest })
    } else if meta.is_symlink() {
        let target = fs::read_link(path).map_err(failed(path))?;
        let target = target.as_os_str().as_bytes();
        let size = u64::try_from(target.len()).ok();
        Ok(Entry { kind: Kind::Link, size, digest: Sha256::digest(target).into() })
    } else {
        let kind = if meta.is_dir() { Kind::Folder } else { Kind::Other };
        Ok(Entry { kind, size: Some(0), digest: [0; 32] })
    }
}

fn hash_file(path: &Path, cancel: &Cancel) -> Result<(u64, [u8; 32]), ManifestError> {
    let mut file = File::open(path).map_err(failed(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut size = 0;
    loop {
        if cancel.is_cancelled() {
            return Err(ManifestError::Stopped);
        }
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok((size, hasher.finalize().into())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(path)(error)),
        };
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
}

#[cfg(test)]
mod tests;
