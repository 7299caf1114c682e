//! Packs of trees, bounded in size: the least recently used go first.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};

use super::{Cache, make_folder, remove};
use crate::units::ByteSize;
use crate::vault::Id;

/// Packs fetched whole at the same time, each held in memory; whoever comes late reads a range.
const FETCHES: usize = 4;

#[derive(Debug)]
pub(super) struct Packs {
    folder: PathBuf,
    limit: ByteSize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes kept, as far as this process knows: counted at its first write, and again whenever it makes room.
    size: Option<u64>,
    /// Packs that this process has marked as used: once is enough.
    used: HashSet<Id>,
    /// Packs that are being fetched from the vault.
    fetching: HashSet<Id>,
}

impl Packs {
    pub(super) fn new(folder: PathBuf, limit: ByteSize) -> Self {
        Self { folder, limit, state: Mutex::default() }
    }

    /// Each change is whole before anything can panic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn place(&self, id: &Id) -> PathBuf {
        let name = id.to_string();
        self.folder.join(&name[..2]).join(&name)
    }

    /// Marks a pack as used just now, so that it stays when room is made.
    fn touch(&self, id: &Id, file: &File) {
        let first = self.state().used.insert(*id);
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let same = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        if first && let Err(error) = futimens(file, &Timestamps { last_access: same, last_modification: now }) {
            tracing::debug!(%error, pack = %id, "a cached pack cannot be marked as used");
        }
    }

    /// Counts `bytes` more, and removes old packs when there are too many: down to nine tenths, so that it is rare.
    fn make_room(&self, bytes: u64) {
        let mut state = self.state();
        let size = state.size.map_or_else(|| self.kept().iter().map(|pack| pack.size).sum(), |size| size + bytes);
        state.size = Some(size);
        if size <= self.limit.0 {
            return;
        }
        let mut kept = self.kept();
        kept.sort_by_key(|pack| pack.used);
        let mut size: u64 = kept.iter().map(|pack| pack.size).sum();
        for pack in kept {
            if size <= self.limit.0 / 10 * 9 {
                break;
            }
            remove(&pack.path);
            size -= pack.size;
        }
        state.size = Some(size);
    }

    fn kept(&self) -> Vec<Kept> {
        let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
        let kept = |entry: fs::DirEntry| {
            let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some(Kept { path: entry.path(), size: metadata.len(), used: metadata.modified().ok()? })
        };
        entries(&self.folder).flat_map(|folder| entries(&folder.path())).filter_map(kept).collect()
    }
}

/// A pack is being fetched until this is dropped.
#[derive(Debug)]
pub struct Fetching<'a> {
    packs: &'a Packs,
    id: Id,
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        self.packs.state().fetching.remove(&self.id);
    }
}

struct Kept {
    path: PathBuf,
    size: u64,
    used: SystemTime,
}

impl Cache {
    /// Bytes of a pack, if it is kept and has that many. They are unverified: whoever opens the blob in them must call
    /// [`Cache::forget_pack`] when they turn out to be damaged, and fetch them from the vault.
    pub fn pack_range(&self, id: &Id, range: Range<u64>) -> Option<Bytes> {
        let file = File::open(self.packs.place(id)).ok()?;
        if file.metadata().ok()?.len() < range.end {
            // Torn by a power cut, as nothing is synced: out of the way, so that it is fetched again.
            self.forget_pack(id);
            return None;
        }
        let mut bytes = vec![0; usize::try_from(range.end.checked_sub(range.start)?).ok()?];
        file.read_exact_at(&mut bytes, range.start).ok()?;
        self.packs.touch(id, &file);
        Some(bytes.into())
    }

    /// Leave to fetch a whole pack, to be kept. Nothing when another task is at it, or enough others are being fetched, or
    /// nothing can be kept any more.
    pub fn begin_fetch(&self, id: &Id) -> Option<Fetching<'_>> {
        let mut state = self.packs.state();
        let free = state.fetching.len() < FETCHES && self.is_writable();
        // Made only when it is true: dropping one takes the lock.
        (free && state.fetching.insert(*id)).then(|| Fetching { packs: &self.packs, id: *id })
    }

    /// Keeps a whole pack. One larger than all that may be kept is not.
    pub fn store_pack(&self, id: &Id, bytes: &[u8]) {
        let place = self.packs.place(id);
        if bytes.len() as u64 > self.packs.limit.0 / 2 || place.exists() {
            return;
        }
        let stored = self.put(&place, |file| {
            place.parent().map_or(Ok(()), make_folder)?;
            file.write_all(bytes)
        });
        if stored.is_some() {
            self.packs.make_room(bytes.len() as u64);
        }
    }

    /// Removes a pack that is damaged here, or gone from the vault.
    pub fn forget_pack(&self, id: &Id) {
        remove(&self.packs.place(id));
    }
}
