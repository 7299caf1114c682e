//! A local copy of a vault's index and trees, so that a run need not fetch them again.
//!
//! ```text
//! <dir>/CACHEDIR.TAG              tells backup tools, ours too, to pass over it
//! <dir>/<vault id>/index/<name>   index segments, mapped into memory while in use
//! <dir>/<vault id>/packs/xx/<id>  packs of trees, whole and sealed as in the vault
//! <dir>/<vault id>/new/           files that are not finished
//! ```
//! Nothing here is needed and nothing is trusted: segments carry checksums, trees are verified against their ids by
//! whoever opens them, and what is missing or damaged is fetched from the vault again. Files are written under another
//! name and renamed, without a sync: a power cut can leave one empty or torn, and that shows like other damage.
//! Several processes may use it at once; a file that one removes stays readable for another that has it open.
//!
//! When a write fails (a full disk), the cache is only read from then on, until the process ends: the run goes on
//! without it. Segments are not sealed: they tell the ids of blobs to whoever may read the owner's files.

mod packs;
mod segments;

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::NamedTempFile;

pub use self::packs::Fetching;

use self::packs::Packs;
use super::id::Id;
use crate::units::ByteSize;

/// Packs of trees are kept up to this many bytes.
pub const DEFAULT_LIMIT: ByteSize = ByteSize(2 << 30);

const TAG: &str = "CACHEDIR.TAG";
/// What the Cache Directory Tagging Specification asks for.
const TAG_TEXT: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# This folder holds what drctl can fetch again.\n";
/// Nothing takes this long to write: an unfinished file of this age was left by a process that was killed.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// The cache of one vault. See the module.
#[derive(Debug)]
pub struct Cache {
    index: PathBuf,
    packs: Packs,
    new: PathBuf,
    read_only: AtomicBool,
}

impl Cache {
    /// Opens the cache of a vault beneath `dir`, making it where there is none.
    pub fn open(dir: &Path, vault_id: &str) -> io::Result<Self> {
        Self::open_limited(dir, vault_id, DEFAULT_LIMIT)
    }

    /// The same, with another bound on the packs that are kept.
    pub fn open_limited(dir: &Path, vault_id: &str, limit: ByteSize) -> io::Result<Self> {
        make_folder(dir)?;
        let tag = dir.join(TAG);
        if !tag.exists() {
            fs::write(tag, TAG_TEXT)?;
        }
        // The id comes from the vault: it must not become a path of its own choice.
        let home = dir.join(vault_id.parse::<Id>().unwrap_or_else(|_| Id::of(vault_id.as_bytes())).to_string());
        let (index, packs, new) = (home.join("index"), home.join("packs"), home.join("new"));
        for folder in [&index, &packs, &new] {
            make_folder(folder)?;
        }
        remove_abandoned(&new)?;
        Ok(Self { index, packs: Packs::new(packs, limit), new, read_only: AtomicBool::new(false) })
    }

    /// False after a write has failed.
    fn is_writable(&self) -> bool {
        !self.read_only.load(Ordering::Relaxed)
    }

    /// Puts a file in its place, whole or not at all. `fill` writes it. Nothing when it could not be written; the cache
    /// is then only read.
    fn put(&self, place: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Option<File> {
        if !self.is_writable() {
            return None;
        }
        let write = || {
            let mut file = NamedTempFile::new_in(&self.new)?;
            fill(file.as_file_mut())?;
            file.as_file_mut().flush()?;
            file.persist(place).map_err(|error| error.error)
        };
        match write() {
            Ok(file) => Some(file),
            Err(error) => {
                if !self.read_only.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, path = ?place, "the cache cannot be written: this run goes on without");
                }
                None
            }
        }
    }
}

/// Only the owner may look inside. A folder that is there already keeps the mode that it was given.
fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes what processes that were killed did not finish. The age is told by the file system's own clock: that of a
/// file made just now.
fn remove_abandoned(folder: &Path) -> io::Result<()> {
    let now = NamedTempFile::new_in(folder)?.as_file().metadata()?.modified()?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Gone meanwhile: another process finished or removed it.
        let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
        if now.duration_since(modified).is_ok_and(|age| age > ABANDONED) {
            remove(&entry.path());
        }
    }
    Ok(())
}

/// Removes a file that may be gone already. What cannot be removed only takes room.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(%error, ?path, "a cached file stays");
    }
}

#[cfg(test)]
mod tests;
