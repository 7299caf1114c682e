//! What this run added and index files name by now: segments, few of them, so that a look-up is quick.

use std::sync::{Arc, PoisonError, RwLock};

use super::super::blob::BlobKey;
use super::super::id::Id;
use super::compact::compact;
use super::entry::{Entry, Totals};
use super::segment::{Segment, SegmentError};

#[derive(Debug, Default)]
pub(super) struct Settled(RwLock<Vec<Arc<Segment>>>);

impl Settled {
    /// All segments. Those that are merged later stay what they are.
    pub(super) fn all(&self) -> Vec<Arc<Segment>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn contains(&self, key: BlobKey) -> bool {
        let segments = self.0.read().unwrap_or_else(PoisonError::into_inner);
        segments.iter().any(|segment| segment.find(key).next().is_some())
    }

    pub(super) fn find(&self, key: BlobKey) -> Vec<Entry<Id>> {
        let segments = self.0.read().unwrap_or_else(PoisonError::into_inner);
        segments.iter().flat_map(|segment| segment.find(key)).collect()
    }

    pub(super) fn len(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).iter().map(|segment| segment.len()).sum()
    }

    /// Adds a segment, and merges when there are many. Look-ups go on meanwhile; only one caller adds at a time.
    pub(super) fn add(
        &self,
        segment: Segment,
        merge: impl FnOnce(&[&Segment]) -> Result<Segment, SegmentError>,
    ) -> Result<(), SegmentError> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(segment));
        let (few, merged) = compact(self.all(), |small| merge(small).map(Arc::new));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = few;
        merged
    }
}

/// All places, in ascending order.
pub(super) fn places(segment: Arc<Segment>) -> impl Iterator<Item = Entry<Id>> {
    (0..).map_while(move |number| segment.place(number))
}

/// All packs, in ascending order.
pub(super) fn packs(segment: Arc<Segment>) -> impl Iterator<Item = (Id, Totals)> {
    (0..).map_while(move |number| segment.pack(number))
}
