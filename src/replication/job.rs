//! One run over its snapshots: gathers what each lacks, ships it, and writes the snapshot once all of it is there.
//!
//! Where a prune of the copy may go on meanwhile, a snapshot counts only if none let packs be deleted that were not known
//! to be condemned when the run looked at the copy; else it is withdrawn, the copy looked at again, and what is lacking now
//! is shipped.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt, stream};

use super::ReplicateError;
use super::gather::{Asked, Trees, read};
use super::lost::{self, Lost};
use super::plan::Origin;
use super::run::{Figures, NotCopied, Verify};
use super::ship::{Shipping, Want};
use crate::backup::adopt::{self, Adopted, Proof};
use crate::monitor::{Cancel, Monitor};
use crate::vault::index::Index;
use crate::vault::lock::LockGuard;
use crate::vault::snapshot::Snapshot;
use crate::vault::{BlobKey, Condemned, FileType, Id, Vault, chain};

/// Trees read at the same time.
const TREES: usize = 16;
/// Blobs that are gathered before they are shipped: many, so that those of one pack come together.
const BATCH: usize = 50_000;

/// How often a snapshot is copied that prunes of the copy overtake.
const ATTEMPTS: usize = 3;

/// What became of a snapshot.
#[derive(Debug)]
pub(super) enum Judgement {
    /// All of it is in the copy, under this id.
    Arrived(Id),
    /// Some of it is lost; no snapshot was written.
    Damaged(NotCopied),
}

/// A run's state across its snapshots.
pub(super) struct Job<'a> {
    source: &'a Vault,
    copy: &'a Vault,
    /// What both sides have, asked blob by blob.
    asked: Arc<Asked>,
    shipping: Shipping,
    /// Trees of which all is in the copy, down to the last blob.
    whole: HashSet<Id>,
    /// What was condemned in the copy when it was looked at.
    condemned: Condemned,
    /// What was moved before that, and adopted then.
    before: Figures,
    verify: Verify,
    monitor: &'a Arc<dyn Monitor>,
    cancel: Cancel,
}

impl<'a> Job<'a> {
    /// Looks at the copy, and takes over there what an interrupted run left.
    pub(super) async fn new(
        (source, from): (&'a Vault, Index),
        copy: &'a Vault,
        verify: Verify,
        monitor: &'a Arc<dyn Monitor>,
        cancel: Cancel,
    ) -> Result<Self, ReplicateError> {
        let (condemned, to) = copy.load_view(&**monitor).await.map_err(ReplicateError::Copy)?;
        let proof = match verify {
            Verify::ReadBack => Proof::Whole,
            Verify::Structure => Proof::Header,
        };
        let Adopted { packs, bytes } =
            adopt::adopt(copy, &to, &condemned, proof, &**monitor).await.map_err(ReplicateError::Copy)?;
        let before = Figures { packs_adopted: packs, bytes_adopted: bytes, ..Figures::default() };
        let stored = copy.list(FileType::Pack).await.map_err(ReplicateError::Copy)?;
        let asked = Arc::new(Asked::new(from, to, &stored));
        let shipping = Shipping::new(source, copy, asked.clone(), verify, monitor.clone(), cancel.clone());
        Ok(Self { source, copy, asked, shipping, whole: HashSet::new(), condemned, before, verify, monitor, cancel })
    }

    pub(super) fn figures(&self) -> Figures {
        self.before.and(&self.shipping.figures())
    }

    /// Copies one snapshot. On an error, what was shipped so far is in the copy, named by an index or by nothing.
    pub(super) async fn copy(
        &mut self,
        origin: &Origin,
        lock: Option<&LockGuard>,
    ) -> Result<Judgement, ReplicateError> {
        for _ in 0..ATTEMPTS {
            if let Some(judgement) = self.try_to_copy(origin, lock).await? {
                return Ok(judgement);
            }
            self.monitor.note("a prune of the copy went on meanwhile: what it lacks is looked at again");
            let from = (self.source, self.asked.from.clone());
            let again = Self::new(from, self.copy, self.verify, self.monitor, self.cancel.clone()).await?;
            let before = self.figures().and(&again.before);
            *self = Self { before, ..again };
        }
        Err(ReplicateError::Overtaken)
    }

    /// Nothing when a prune overtook it, and the snapshot was withdrawn.
    async fn try_to_copy(
        &mut self,
        origin: &Origin,
        lock: Option<&LockGuard>,
    ) -> Result<Option<Judgement>, ReplicateError> {
        let snapshot = match self.source.snapshot(&origin.id).await {
            Ok(snapshot) => snapshot,
            Err(error) if error.is_damage() => return Ok(Some(damaged(origin, chain(&error), 0, Vec::new()))),
            Err(error) => return Err(ReplicateError::Source(error)),
        };
        let (met, lost) = self.ship(snapshot.tree).await?;
        if !lost.is_empty() {
            let paths = lost::paths(self.source, &self.asked.from, snapshot.tree, &lost).await;
            return Ok(Some(damaged(origin, lost::in_words(&lost, &paths), lost.len() as u64, paths)));
        }
        self.whole.extend(met);
        if let Some(lock) = lock {
            lock.check().map_err(ReplicateError::Copy)?;
        }
        let written = Snapshot { parent: None, original: Some(snapshot.original.unwrap_or(origin.id)), ..snapshot };
        let id = self.copy.save_snapshot(&written).await.map_err(ReplicateError::Copy)?;
        // Compared with its name on the way: it is what was written.
        self.copy.snapshot(&id).await.map_err(ReplicateError::Copy)?;
        if self.copy.is_overtaken(&self.condemned).await.map_err(ReplicateError::Copy)? {
            self.copy.remove(FileType::Snapshot, &id).await.map_err(ReplicateError::Copy)?;
            return Ok(None);
        }
        self.monitor.note(&format!(
            "snapshot {} of {} is in the copy as {}",
            origin.id.short(),
            origin.time,
            id.short()
        ));
        Ok(Some(Judgement::Arrived(id)))
    }

    /// Ships all that the copy lacks of a tree. Returns the trees beneath it, and what is lost.
    async fn ship(&mut self, root: Id) -> Result<(HashSet<Id>, Lost), ReplicateError> {
        let mut met = HashSet::new();
        let mut lost: Lost = HashMap::new();
        let mut waiting: Vec<Id> = Vec::new();
        let mut wanted: Vec<Want> = Vec::new();
        self.meet(root, &mut met, &mut waiting);
        self.asked.ask(BlobKey::tree(root), &mut wanted, &mut lost);
        while !waiting.is_empty() {
            if self.cancel.is_cancelled() {
                self.shipping.settle().await?;
                return Err(ReplicateError::Cancelled);
            }
            // The last ones first: a walk in depth keeps few trees waiting.
            let next = waiting.split_off(waiting.len().saturating_sub(TREES));
            let reads = next.into_iter().rev().map(|tree| read(self.source.clone(), self.asked.clone(), tree));
            let found: Vec<Result<Trees, ReplicateError>> = stream::iter(reads).buffered(TREES).collect().await;
            for found in found {
                let found = found?;
                for below in found.below {
                    self.meet(below, &mut met, &mut waiting);
                }
                wanted.extend(found.wanted);
                lost.extend(found.lost);
            }
            if wanted.len() >= BATCH {
                self.shipping.ship(std::mem::take(&mut wanted), &mut lost).await?;
            }
        }
        self.shipping.ship(wanted, &mut lost).await?;
        self.shipping.settle().await?;
        Ok((met, lost))
    }

    fn meet(&self, tree: Id, met: &mut HashSet<Id>, waiting: &mut Vec<Id>) {
        if !self.whole.contains(&tree) && met.insert(tree) {
            waiting.push(tree);
        }
    }
}

fn damaged(origin: &Origin, why: String, blobs_lost: u64, paths: Vec<String>) -> Judgement {
    Judgement::Damaged(NotCopied { origin: origin.id, time: origin.time, why, blobs_lost, paths })
}
