//! Replacing index files: new ones are durable, and were read back, before an old one goes.
//!
//! A crash in between leaves packs that two index files name, which is harmless. The caller holds a lock, and nothing is
//! removed once it is lost. Where it is a shared one, two may replace the same file: what each of them writes names what it
//! keeps, so that at worst packs are named that are gone. They are condemned, and nobody relies on them.

use std::collections::HashSet;

use super::error::VaultError;
use super::handle::Vault;
use super::id::Id;
use super::index::PackContents;
use super::index_file::{BLOBS_PER_FILE, IndexFile};
use super::layout::FileType;
use super::lock::LockGuard;
use crate::monitor::Monitor;

/// What became of the index files.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// Files that were written.
    pub written: Vec<Id>,
    /// Files that were removed.
    pub removed: Vec<Id>,
}

impl Vault {
    /// Writes index files that name these packs, and reads each back, which compares it with its name. Takes the packs.
    pub async fn save_indexes(&self, waiting: &mut Vec<PackContents>) -> Result<Vec<Id>, VaultError> {
        let mut rest = waiting.as_slice();
        let mut files = Vec::new();
        while !rest.is_empty() {
            let (mut blobs, mut count) = (0, 0);
            while count < rest.len() && (count == 0 || blobs + rest[count].blobs.len() <= BLOBS_PER_FILE) {
                blobs += rest[count].blobs.len();
                count += 1;
            }
            let (file, after) = rest.split_at(count);
            let id = self.save_index(file).await?;
            self.load(FileType::Index, &id).await?;
            files.push(id);
            rest = after;
        }
        waiting.clear();
        Ok(files)
    }

    /// Replaces the index files that name packs which go. Those in `except` are left alone: they cannot be read, or are new.
    /// One old file is in memory at a time.
    ///
    /// So are those in which rustic keeps account of such a pack: its check takes the pack for lost otherwise. Its other
    /// marks in that file are dropped with it; what was marked is in no index, and goes now, or was taken into use again.
    pub async fn rewrite_index(
        &self,
        gone: &HashSet<Id>,
        except: &HashSet<Id>,
        lock: &LockGuard,
        monitor: &dyn Monitor,
    ) -> Result<Rewritten, VaultError> {
        let files = self.list(FileType::Index).await?;
        monitor.total(files.len() as u64, 0);
        let mut rewritten = Rewritten::default();
        let (mut waiting, mut replaced) = (Vec::new(), Vec::new());
        for (id, _) in files {
            monitor.advance(1, 0);
            if except.contains(&id) {
                continue;
            }
            let IndexFile { packs, marked } = match self.load_index_file(&id).await {
                // Another prune has replaced it, by one that names what stays.
                Err(error) if error.is_not_found() && !lock.is_exclusive() => continue,
                loaded => loaded?,
            };
            let before = packs.len();
            let kept: Vec<PackContents> = packs.into_iter().filter(|pack| !gone.contains(&pack.id)).collect();
            if kept.len() < before || marked.iter().any(|pack| gone.contains(pack)) {
                waiting.extend(kept);
                replaced.push(id);
                if waiting.iter().map(|pack| pack.blobs.len()).sum::<usize>() >= BLOBS_PER_FILE {
                    rewritten.written.extend(self.save_indexes(&mut waiting).await?);
                    self.remove_replaced(&mut replaced, lock, &mut rewritten).await?;
                }
            }
        }
        rewritten.written.extend(self.save_indexes(&mut waiting).await?);
        self.remove_replaced(&mut replaced, lock, &mut rewritten).await?;
        Ok(rewritten)
    }

    /// Removes old index files once new ones name all that is needed of what they named: some at a time, so that a store
    /// that is nearly full needs room for little more than one.
    async fn remove_replaced(
        &self,
        replaced: &mut Vec<Id>,
        lock: &LockGuard,
        rewritten: &mut Rewritten,
    ) -> Result<(), VaultError> {
        for id in replaced.drain(..) {
            // Whoever comes once the lock is lost relies on what these name.
            lock.check()?;
            self.remove(FileType::Index, &id).await?;
            rewritten.removed.push(id);
        }
        Ok(())
    }
}
