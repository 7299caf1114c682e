//! Holds a restored tree against the live source.
//!
//! Only what the source still has as it was when the snapshot was taken can be compared: a file whose status changed since
//! then is left out and counted. Invariant: memory does not grow with the number of files.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{Comparison, Entry, How, Kind, ManifestError, failed, read_entry};
use crate::monitor::Cancel;

/// Whether the backup was told to leave out a path (and, for a folder, what is below it).
pub type LeaveOut = Arc<dyn Fn(&Path, Kind) -> bool + Send + Sync>;

/// The live source of what was restored.
#[derive(Clone)]
pub struct Origin {
    /// The absolute paths that were backed up.
    pub roots: Vec<PathBuf>,
    /// When the snapshot was begun, by the clock that stamps the source's files.
    pub since: Timestamp,
    /// What the backup left out on purpose.
    pub leave_out: LeaveOut,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("roots", &self.roots).field("since", &self.since).finish_non_exhaustive()
    }
}

/// How a restored tree compares with its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceComparison {
    /// What could be compared.
    pub comparison: Comparison,
    /// Files that changed in the source since the snapshot, or came later: they prove nothing.
    pub changed_since: u64,
    /// SHA-256 over path, kind, size and digest of all that was equal, in the order of the walk, in hex.
    pub digest: String,
}

/// Compares what lies below `restored` (which stands for `/`) with the source. Only what `below` holds is looked at.
pub fn compare_with_source(
    origin: &Origin,
    restored: &Path,
    below: &Path,
    cancel: &Cancel,
) -> Result<SourceComparison, ManifestError> {
    let mut walk = Walk {
        origin,
        restored,
        cancel,
        digest: Sha256::new(),
        result: SourceComparison { comparison: Comparison::default(), changed_since: 0, digest: String::new() },
    };
    for root in &origin.roots {
        // a root above `below` is entered at `below`
        let start = if below.starts_with(root) { below } else { root };
        if start.starts_with(below) {
            walk.path(start, Parent::AsItWas)?;
        }
    }
    walk.result.digest = hex::encode(walk.digest.finalize());
    Ok(walk.result)
}

/// Whether the folders above a path are known to have been there under their names.
#[derive(Clone, Copy)]
enum Parent {
    AsItWas,
    /// A folder above was changed since the snapshot, perhaps renamed: what is missing below it need not have been there.
    Changed,
}

struct Walk<'a> {
    origin: &'a Origin,
    restored: &'a Path,
    cancel: &'a Cancel,
    digest: Sha256,
    result: SourceComparison,
}

impl Walk<'_> {
    fn path(&mut self, path: &Path, parent: Parent) -> Result<(), ManifestError> {
        let mut pending = vec![(path.to_owned(), parent)];
        while let Some((path, parent)) = pending.pop() {
            let Some(meta) = look(&path)? else { continue };
            if (self.origin.leave_out)(&path, kind_of(&meta)) {
                continue;
            }
            if !meta.is_dir() {
                self.leaf(&path, &meta, parent)?;
                continue;
            }
            let parent = if self.changed(&meta) { Parent::Changed } else { parent };
            let mut children = match fs::read_dir(&path) {
                Ok(children) => children.map(|it| it.map(|it| it.path())).collect::<io::Result<Vec<_>>>(),
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => Err(error),
            }
            .map_err(failed(&path))?;
            children.sort_by(|a, b| b.as_os_str().as_bytes().cmp(a.as_os_str().as_bytes()));
            pending.extend(children.into_iter().map(|child| (child, parent)));
        }
        Ok(())
    }

    fn leaf(&mut self, path: &Path, before: &Metadata, parent: Parent) -> Result<(), ManifestError> {
        if !(before.is_file() || before.is_symlink()) {
            return Ok(());
        }
        if self.changed(before) {
            self.result.changed_since += 1;
            return Ok(());
        }
        let relative = path.strip_prefix("/").unwrap_or(path);
        let Some(found) = look(&self.restored.join(relative))? else {
            match parent {
                Parent::AsItWas => self.result.comparison.differs(relative.as_os_str().as_bytes(), How::Missing),
                Parent::Changed => self.result.changed_since += 1,
            }
            return Ok(());
        };
        let wanted = match read_entry(path, self.cancel) {
            Ok(wanted) => wanted,
            Err(ManifestError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        // a file that was written while it was read proves nothing either
        if !look(path)?.is_some_and(|after| same(before, &after)) {
            self.result.changed_since += 1;
            return Ok(());
        }
        if kind_of(&found) != wanted.kind {
            self.result.comparison.differs(relative.as_os_str().as_bytes(), How::Kind);
        } else if read_entry(&self.restored.join(relative), self.cancel)?.digest == wanted.digest {
            self.equal(relative, &wanted);
        } else {
            self.result.comparison.differs(relative.as_os_str().as_bytes(), How::Content);
        }
        Ok(())
    }

    fn equal(&mut self, path: &Path, entry: &Entry) {
        let size = entry.size.unwrap_or(0);
        self.result.comparison.equal += 1;
        self.result.comparison.bytes += size;
        self.digest.update(path.as_os_str().as_bytes());
        self.digest.update(format!("\0{}\0{size}\0{}\0", char::from(entry.kind.letter()), hex::encode(entry.digest)));
    }

    /// The inode's change time cannot be set back by whoever rewrites the content.
    fn changed(&self, meta: &Metadata) -> bool {
        let nanos = u32::try_from(meta.ctime_nsec()).unwrap_or(0);
        let changed = Timestamp::new(meta.ctime(), i32::try_from(nanos).unwrap_or(0));
        changed.map_or(true, |changed| changed >= self.origin.since)
    }
}

fn look(path: &Path) -> Result<Option<Metadata>, ManifestError> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(gone) if matches!(gone.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

fn kind_of(meta: &Metadata) -> Kind {
    if meta.is_file() {
        Kind::File
    } else if meta.is_dir() {
        Kind::Folder
    } else if meta.is_symlink() {
        Kind::Link
    } else {
        Kind::Other
    }
}

fn same(before: &Metadata, after: &Metadata) -> bool {
    let state = |meta: &Metadata| (meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec());
    state(before) == state(after)
}
