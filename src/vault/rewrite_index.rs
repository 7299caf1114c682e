//! Replacing index files: new ones are durable, and were read back, before an old one goes.
//!
//! A crash in between leaves packs that two index files name, which is harmless. The caller holds a lock, and nothing is
//! removed once it is lost. Where it is a shared one, two may replace the same file: what each of them writes names what it
//! keeps, so that at worst packs are named that are gone. They are condemned, and nobody relies on them.

use std::collections::{HashSet, VecDeque};

use super::error::VaultError;
use super::handle::Vault;
use super::id::Id;
use super::index::PackContents;
use super::index_file::{BLOBS_PER_FILE, IndexFile};
use super::layout::FileType;
use super::load_index::DECODING;
use super::lock::LockGuard;
use super::opening::Ahead;
use crate::monitor::Monitor;

/// Index files read ahead of the one that is looked at, at most.
const AHEAD: usize = 4;

type Loading = Ahead<Result<IndexFile, VaultError>>;

/// All index files that there were at one time, each read while others are looked at. What is held of them is bounded: with
/// larger ones than usual, one at a time is read.
pub(crate) struct IndexFiles {
    vault: Vault,
    listed: std::iter::Peekable<std::vec::IntoIter<(Id, u64)>>,
    ahead: VecDeque<(Id, u64, Loading)>,
}

impl IndexFiles {
    fn read_ahead(&mut self) {
        while self.ahead.len() < AHEAD {
            let held: u64 = self.ahead.iter().map(|(_, size, _)| size).sum();
            let fits = |(_, size): &(Id, u64)| held == 0 || held + size <= u64::from(DECODING);
            let Some((id, size)) = self.listed.next_if(fits) else { return };
            let vault = self.vault.clone();
            let load = Ahead::begin(async move { vault.load_index_file(&id).await });
            self.ahead.push_back((id, size, load));
        }
    }

    fn len(&self) -> usize {
        self.listed.len() + self.ahead.len()
    }

    async fn next(&mut self) -> Option<(Id, Result<IndexFile, VaultError>)> {
        let (id, _, load) = self.ahead.pop_front()?;
        let loaded = load.await;
        self.read_ahead();
        Some((id, loaded))
    }
}

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

    /// Lists the index files but for some, and begins to read them.
    pub(crate) async fn index_files(&self, except: &HashSet<Id>) -> Result<IndexFiles, VaultError> {
        let mut listed = self.list(FileType::Index).await?;
        listed.retain(|(id, _)| !except.contains(id));
        let listed = listed.into_iter().peekable();
        let mut files = IndexFiles { vault: self.clone(), listed, ahead: VecDeque::new() };
        files.read_ahead();
        Ok(files)
    }

    /// Replaces the index files that name packs which go. Those in `except` are left alone: they cannot be read, or are new.
    /// A few old files are in memory at a time.
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
        let files = self.index_files(except).await?;
        self.rewrite_index_files(files, gone, except, lock, monitor).await
    }

    /// The same, of index files that have been listed and of which some may have been read already.
    pub(crate) async fn rewrite_index_files(
        &self,
        mut files: IndexFiles,
        gone: &HashSet<Id>,
        except: &HashSet<Id>,
        lock: &LockGuard,
        monitor: &dyn Monitor,
    ) -> Result<Rewritten, VaultError> {
        monitor.total(files.len() as u64, 0);
        let mut rewritten = Rewritten::default();
        let (mut waiting, mut replaced) = (Vec::new(), Vec::new());
        while let Some((id, loaded)) = files.next().await {
            monitor.advance(1, 0);
            if except.contains(&id) {
                continue;
            }
            let IndexFile { packs, marked } = match loaded {
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
