//! Counting what a run did.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::adopt::Adopted;
use super::upload::Uploaded;
use crate::monitor::{Monitor, Problem};
use crate::store::Requests;
use crate::vault::snapshot;

/// Counters that all threads of a run share.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) files_new: AtomicU64,
    pub(super) files_changed: AtomicU64,
    pub(super) files_unmodified: AtomicU64,
    pub(super) dirs_new: AtomicU64,
    pub(super) dirs_changed: AtomicU64,
    pub(super) dirs_unmodified: AtomicU64,
    pub(super) others: AtomicU64,
    pub(super) data_blobs: AtomicU64,
    pub(super) tree_blobs: AtomicU64,
    /// Plaintext of blobs that were new to the vault.
    pub(super) bytes_added: AtomicU64,
    /// The same after compression and sealing.
    pub(super) bytes_sealed: AtomicU64,
    /// Plaintext that was read from the source.
    pub(super) bytes_read: AtomicU64,
    /// Plaintext that was read and found to be in the vault already.
    pub(super) bytes_deduplicated: AtomicU64,
    /// Sizes of all files in the snapshot, read or not.
    pub(super) bytes_total: AtomicU64,
}

impl Counts {
    /// Whether no file, folder or other entry came into the snapshot.
    pub(super) fn nothing(&self) -> bool {
        [&self.files_new, &self.files_changed, &self.files_unmodified, &self.dirs_unmodified, &self.others]
            .iter()
            .all(|counter| counter.load(Ordering::Relaxed) == 0)
            && self.bytes_total.load(Ordering::Relaxed) == 0
    }
}

/// Adds to a counter; the figures are read only after all threads have ended.
pub(super) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// What could not be read whole, in order of discovery.
#[derive(Debug, Default)]
pub(super) struct Problems(Mutex<Vec<Problem>>);

impl Problems {
    /// Lists a problem and tells the monitor.
    pub(super) fn push(&self, monitor: &dyn Monitor, what: &[u8], why: impl Into<String>) {
        let problem = Problem { what: String::from_utf8_lossy(what).into_owned(), why: why.into() };
        monitor.problem(&problem);
        self.lock().push(problem);
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn take(&self) -> Vec<Problem> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Problem>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The figures of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// When the run began and ended, wall time.
    pub started: Timestamp,
    /// See `started`.
    pub finished: Timestamp,
    /// How long it took, by the boot clock, in milliseconds.
    pub millis: u64,
    /// Files without a counterpart in the parent.
    pub files_new: u64,
    /// Files that differ from the parent's.
    pub files_changed: u64,
    /// Files that were not read, because the parent's is the same.
    pub files_unmodified: u64,
    /// Folders without a counterpart in the parent.
    pub dirs_new: u64,
    /// Folders that differ from the parent's.
    pub dirs_changed: u64,
    /// Folders whose trees equal the parent's.
    pub dirs_unmodified: u64,
    /// Symlinks, devices, fifos and sockets.
    pub others: u64,
    /// Data blobs that were new to the vault.
    pub data_blobs: u64,
    /// Tree blobs that were new to the vault.
    pub tree_blobs: u64,
    /// Bytes of all files in the snapshot.
    pub bytes_total: u64,
    /// Bytes read from the source.
    pub bytes_read: u64,
    /// Bytes read that the vault had already.
    pub bytes_deduplicated: u64,
    /// Bytes new to the vault, before compression.
    pub bytes_added: u64,
    /// Bytes new to the vault, compressed and sealed.
    pub bytes_sealed: u64,
    /// Bytes of packs that were uploaded.
    pub bytes_uploaded: u64,
    /// Packs that were uploaded.
    pub packs_uploaded: u64,
    /// Packs of an interrupted run that were found and indexed instead of uploaded again.
    pub packs_adopted: u64,
    /// Bytes of those packs.
    pub bytes_adopted: u64,
    /// What the store's server was asked.
    pub requests: Requests,
    /// The same for a terabyte (10^12 bytes) uploaded.
    pub requests_per_terabyte: Option<u64>,
}

impl Summary {
    /// What is stored as it was found and is hardly what was meant: an empty stream, or no file where the snapshot before
    /// has some, as where a disk is not mounted.
    pub(super) fn suspicion(
        &self,
        paths: &[String],
        is_stream: bool,
        before: Option<&snapshot::Summary>,
    ) -> Option<Problem> {
        let files = self.files_new + self.files_changed + self.files_unmodified;
        let had = before.map_or(0, |before| before.total_files_processed);
        let why = match () {
            () if is_stream && self.bytes_total == 0 => {
                "no byte came: if a program should have written, look whether it failed".to_owned()
            }
            () if !is_stream && files == 0 && had > 0 => {
                format!(
                    "there is no file any more, and the snapshot before has {had}: look whether a disk is not mounted"
                )
            }
            () => return None,
        };
        Some(Problem { what: paths.join(", "), why })
    }

    pub(super) fn new(
        counts: &Counts,
        uploaded: &Uploaded,
        adopted: &Adopted,
        started: Timestamp,
        finished: Timestamp,
        took: Duration,
    ) -> Self {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            started,
            finished,
            millis: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            files_new: read(&counts.files_new),
            files_changed: read(&counts.files_changed),
            files_unmodified: read(&counts.files_unmodified),
            dirs_new: read(&counts.dirs_new),
            dirs_changed: read(&counts.dirs_changed),
            dirs_unmodified: read(&counts.dirs_unmodified),
            others: read(&counts.others),
            data_blobs: read(&counts.data_blobs),
            tree_blobs: read(&counts.tree_blobs),
            bytes_total: read(&counts.bytes_total),
            bytes_read: read(&counts.bytes_read),
            bytes_deduplicated: read(&counts.bytes_deduplicated),
            bytes_added: read(&counts.bytes_added),
            bytes_sealed: read(&counts.bytes_sealed),
            bytes_uploaded: uploaded.bytes,
            packs_uploaded: uploaded.packs,
            packs_adopted: adopted.packs,
            bytes_adopted: adopted.bytes,
            requests: Requests::default(),
            requests_per_terabyte: None,
        }
    }

    /// Notes what the store's server was asked, the lock's coming and going included.
    pub(super) fn asked(&mut self, requests: Requests) {
        self.requests = requests;
        self.requests_per_terabyte = requests.per_terabyte(self.bytes_uploaded);
    }

    /// The part that restic's snapshot format has a place for.
    pub(super) fn for_snapshot(&self) -> crate::vault::snapshot::Summary {
        crate::vault::snapshot::Summary {
            backup_start: self.started,
            backup_end: self.finished,
            files_new: self.files_new,
            files_changed: self.files_changed,
            files_unmodified: self.files_unmodified,
            dirs_new: self.dirs_new,
            dirs_changed: self.dirs_changed,
            dirs_unmodified: self.dirs_unmodified,
            data_blobs: self.data_blobs,
            tree_blobs: self.tree_blobs,
            data_added: self.bytes_added,
            data_added_packed: self.bytes_sealed,
            total_files_processed: self.files_new + self.files_changed + self.files_unmodified,
            total_bytes_processed: self.bytes_total,
            ..crate::vault::snapshot::Summary::default()
        }
    }
}
