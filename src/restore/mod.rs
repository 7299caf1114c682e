//! From a snapshot to files.
//!
//! The snapshot's tree is walked folder by folder; files are gathered into windows of bounded size, and a window's blobs
//! are fetched pack by pack in coalesced ranges, verified, and written where they belong, in any order. Only reads the
//! vault: no lock, no record, read-only credentials will do.
//!
//! Everything is written through open folders beneath the target (`place`): no name in a snapshot leads outside. Files
//! are created 0600 and get their owner, mode, attributes and times last. A crash leaves files that are incomplete or
//! 0600; restoring again with [`Existing::Overwrite`] compares by content and writes only what differs.

mod attributes;
mod entry;
mod error;
mod fetch;
mod finish;
mod holes;
mod job;
mod place;
mod pool;
mod remove;
mod select;
mod sync;
mod walk;
mod window;

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::monitor::{Cancel, Monitor, Problem};
use crate::store::Requests;
use crate::vault::index::Index;
use crate::vault::{Id, Vault};

pub use error::RestoreError;
pub use select::Selection;

/// What happens to what is in the target already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// A target that is not empty is refused.
    Refuse,
    /// What differs is overwritten; what the snapshot does not have stays.
    Overwrite,
    /// What differs is overwritten; what the snapshot does not have is deleted.
    Mirror,
}

/// What shows that a file that is there already is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Its content: it is read and hashed.
    Content,
    /// Its size and modification time, both as in the snapshot: it is not read. What changed a file and put its time back
    /// is not seen, nor what the disk lost.
    Times,
}

/// Whether the restore writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only say what would be written.
    Rehearse,
    /// Restore.
    Write,
}

/// Whether device nodes, setuid and setgid bits and file capabilities are restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privileged {
    /// They are left out and listed: a forged snapshot gives nobody rights.
    Leave,
    /// They are restored, where the process may.
    Restore,
}

/// How to restore.
#[derive(Debug)]
pub struct Options {
    /// Where to: made when it is missing.
    pub target: PathBuf,
    /// A folder or file of the snapshot, absolute; its contents go right into the target. `/` for all.
    pub subpath: PathBuf,
    /// What of it.
    pub selection: Selection,
    /// The paths that the snapshot has whole: only within them is anything deleted.
    pub whole: Vec<PathBuf>,
    /// What happens to what is there.
    pub existing: Existing,
    /// What of that is left as it is.
    pub trust: Trust,
    /// Write, or only say what would be written.
    pub mode: Mode,
    /// Devices, setuid, capabilities.
    pub privileged: Privileged,
    /// Ranges fetched and decoded at the same time.
    pub workers: usize,
}

/// What a restore did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Regular files in the selection.
    pub files: u64,
    /// Folders in the selection.
    pub dirs: u64,
    /// Symlinks, devices, fifos.
    pub others: u64,
    /// Bytes of all files in the selection.
    pub bytes: u64,
    /// Files that were there already and equal.
    pub files_unchanged: u64,
    /// Bytes that were there already and equal.
    pub bytes_unchanged: u64,
    /// Bytes written into files (holes are not).
    pub bytes_written: u64,
    /// Bytes fetched from the vault; in a rehearsal, those that a restore would fetch.
    pub bytes_fetched: u64,
    /// Of a rehearsal: room that the target's file system has for us, in bytes, if it says so.
    pub bytes_free: Option<u64>,
    /// Entries deleted because the snapshot does not have them.
    pub deleted: u64,
    /// Of a rehearsal: what would be deleted, without what lies below it; the first thousand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub would_delete: Vec<String>,
    /// Files that were not restored whole.
    pub files_lost: u64,
    /// What the store's server was asked.
    pub requests: Requests,
    /// The same for a terabyte (10^12 bytes) fetched; none of a rehearsal.
    pub requests_per_terabyte: Option<u64>,
    /// How long it took, by the boot clock, in milliseconds.
    pub millis: u64,
}

/// How a restore ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All of the selection is restored.
    Complete,
    /// Something is missing: see the problems.
    Partial,
}

/// The result.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Figures.
    pub summary: Summary,
    /// What could not be restored whole, and why.
    pub problems: Vec<Problem>,
    /// Complete or partial.
    pub status: Status,
}

/// Restores the tree `root` of a snapshot.
///
/// Goes on past damage: what was lost is listed. Fails when nothing could be started: the target is not empty or cannot
/// be made, the subpath is not in the snapshot, the root tree cannot be read, or the operator asked to stop.
pub async fn run(
    vault: &Vault,
    index: &Index,
    root: Id,
    options: Options,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
) -> Result<Outcome, RestoreError> {
    let clock = vault.env().clock.clone();
    let (begun, asked) = (clock.boot(), vault.store().requests());
    let mode = options.mode;
    let restore =
        job::Restore::new(vault.clone(), index.clone(), options, monitor, cancel, tokio::runtime::Handle::current());
    let done = tokio::task::spawn_blocking(move || restore.run(root)).await;
    let (mut summary, problems) = match done {
        Ok(done) => done?,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    };
    summary.millis = u64::try_from((clock.boot() - begun).as_millis()).unwrap_or(u64::MAX);
    summary.requests = vault.store().requests().since(&asked);
    if mode == Mode::Write {
        summary.requests_per_terabyte = summary.requests.per_terabyte(summary.bytes_fetched);
    }
    let status = if problems.is_empty() { Status::Complete } else { Status::Partial };
    Ok(Outcome { summary, problems, status })
}

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod window_tests;
