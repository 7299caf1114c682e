//! The index: where every blob of a vault lies.
//!
//! Sorted, immutable [`Segment`]s hold what the vault's index files say; an overlay holds what this run added, until an
//! index file names it and it is settled in a segment as well. Reads ask all of them. Memory is bounded by what is not
//! settled yet, as segments lie in mapped files. Nothing here reads the vault or its index files, and nothing is removed:
//! after a prune the index is loaded again. A blob may lie in several packs; an entry that two index files repeat counts
//! once.

mod checksum;
mod compact;
mod entry;
mod layout;
mod mapped;
mod merged;
mod overlay;
mod segment;
mod settled;
mod write;

use std::sync::Arc;

pub use self::compact::compact;
pub use self::entry::{PackContents, PackInfo};
pub use self::segment::{Segment, SegmentError};

use self::entry::{Entry, Totals};
use self::merged::Merged;
use self::overlay::Overlay;
use self::settled::Settled;
use super::blob::{BlobKey, BlobType, Located};
use super::condemned::{Condemned, epoch_of};
use super::id::Id;

/// What stands for the position of what this run added. No segment is so large.
const UNNUMBERED: u64 = u64::MAX;

/// Where every blob lies. A clone is another handle to the same index, and sees what is inserted through either.
#[derive(Debug, Clone)]
pub struct Index {
    /// What was loaded.
    segments: Arc<[Segment]>,
    /// What this run added and index files name.
    settled: Arc<Settled>,
    /// What this run added beside.
    overlay: Arc<Overlay>,
    /// Packs that are to go, by id: nobody relies on what only they hold, and readers look there last.
    condemned: Arc<[(Id, u64)]>,
}

impl Index {
    /// An index of what the segments say, with nothing added yet.
    pub fn new(segments: Vec<Segment>) -> Self {
        Self {
            segments: segments.into(),
            settled: Arc::default(),
            overlay: Arc::new(Overlay::new()),
            condemned: Arc::default(),
        }
    }

    /// The same index to a writer that must not rely on packs that are condemned.
    #[must_use]
    pub fn beside(self, condemned: &Condemned) -> Self {
        Self { condemned: condemned.packs().clone(), ..self }
    }

    fn is_condemned(&self, pack: &Id) -> bool {
        !self.condemned.is_empty() && epoch_of(&self.condemned, pack).is_some()
    }

    /// An index of these packs, held in memory.
    pub fn of_packs(packs: &[PackContents]) -> Result<Self, SegmentError> {
        Ok(Self::new(vec![Segment::build(&[], packs)?]))
    }

    /// One place of the blob, if it is stored: what this run wrote before what it found.
    pub fn get(&self, key: BlobKey) -> Option<Located> {
        if !self.condemned.is_empty() {
            return self.get_all(key).first().copied();
        }
        // In this order: what is settled leaves the overlay only once it is found there.
        let found = self.overlay.find(key).first().copied().or_else(|| self.settled.find(key).first().copied());
        found.or_else(|| self.segments.iter().find_map(|segment| segment.find(key).next())).map(|found| found.located())
    }

    /// Every place of the blob, each once, those in condemned packs last: where to look when one turns out to be damaged.
    pub fn get_all(&self, key: BlobKey) -> Vec<Located> {
        let mut found = self.overlay.find(key);
        found.append(&mut self.settled.find(key));
        found.extend(self.segments.iter().flat_map(|segment| segment.find(key)));
        found.sort_unstable();
        found.dedup();
        if !self.condemned.is_empty() {
            found.sort_by_key(|entry| self.is_condemned(&entry.pack));
        }
        found.iter().map(Entry::located).collect()
    }

    /// Whether the blob is stored, and will stay. One that is only claimed is not.
    pub fn contains(&self, key: BlobKey) -> bool {
        self.overlay.contains(key) || self.settled.contains(key) || self.is_loaded(key)
    }

    /// Whether the index says that this place of the blob is one.
    pub fn has_place(&self, key: BlobKey, at: Located) -> bool {
        let wanted = Entry::of(key, at);
        let loaded = || self.segments.iter().flat_map(|segment| segment.find(key)).any(|entry| entry == wanted);
        self.overlay.find(key).contains(&wanted) || self.settled.find(key).contains(&wanted) || loaded()
    }

    fn is_loaded(&self, key: BlobKey) -> bool {
        self.segments.iter().flat_map(|segment| segment.find(key)).any(|entry| !self.is_condemned(&entry.pack))
    }

    /// Claims a blob for the caller, who must now store it: [`Index::insert`] its pack, or [`Index::release`] it.
    ///
    /// False: it is stored, or another worker of this run is about to have stored it. In the second case nothing may be
    /// acknowledged that refers to the blob before that worker's pack is in the vault; as snapshots are written after
    /// all packs, that needs no care.
    #[must_use]
    pub fn claim(&self, key: BlobKey) -> bool {
        if self.is_loaded(key) || !self.overlay.claim(key) {
            return false;
        }
        // Asked after the claim, because what is settled leaves the overlay: before it, both could say no.
        let settled = self.settled.contains(key);
        if settled {
            self.overlay.release(key);
        }
        !settled
    }

    /// Gives a claim back after a failure, so that another try may store the blob. Does nothing to a stored blob.
    pub fn release(&self, key: BlobKey) {
        self.overlay.release(key);
    }

    /// Adds a pack that is now in the vault; its blobs are no longer claimed but stored.
    pub fn insert(&self, contents: &PackContents) {
        self.overlay.insert(contents);
    }

    /// Moves packs that an index file names by now out of memory: `segment` has their places, claimed ones too. `merge`
    /// makes one segment of several when there are many.
    pub fn settle(
        &self,
        packs: &[PackContents],
        segment: Segment,
        merge: impl FnOnce(&[&Segment]) -> Result<Segment, SegmentError>,
    ) -> Result<(), SegmentError> {
        let merged = self.settled.add(segment, merge);
        self.overlay.forget(packs);
        merged
    }

    /// A number for each blob that was loaded, below [`Index::positions`]: the place of its mark in a bit set. What this
    /// run added has none.
    pub fn position(&self, key: BlobKey) -> Option<u64> {
        let mut before = 0;
        for segment in self.segments.iter() {
            if let Some(position) = segment.position(key) {
                return Some(before + position);
            }
            before += segment.len();
        }
        None
    }

    /// One more than the highest position.
    pub fn positions(&self) -> u64 {
        self.segments.iter().map(Segment::len).sum()
    }

    /// Every place of every blob: data before trees, by id, each once. What is inserted meanwhile is not seen.
    pub fn iter(&self) -> impl Iterator<Item = (BlobKey, Located)> + '_ {
        self.places().map(|entry| (entry.key, entry.located()))
    }

    /// Shows every blob once, in the order of [`Index::iter`]: all its places, each once, and its position if it has one.
    /// For whoever asks for the marks of all blobs: looking for each position takes longer than going through all of them.
    pub fn for_each_blob(&self, mut see: impl FnMut(BlobKey, &[Located], Option<u64>)) {
        let mut numbered = self.numbered_places().peekable();
        let mut places = Vec::new();
        while let Some((first, mut position)) = numbered.next() {
            places.clear();
            places.push(first.located());
            let mut last = first;
            while let Some((next, another)) = numbered.next_if(|(next, _)| next.key == first.key) {
                // The lowest is the blob's: the one in the first segment that has it.
                position = position.min(another);
                if next != last {
                    places.push(next.located());
                    last = next;
                }
            }
            see(first.key, &places, (position != UNNUMBERED).then_some(position));
        }
    }

    /// Every pack, by id, with what the index implies about it.
    pub fn packs(&self) -> impl Iterator<Item = PackInfo> + '_ {
        let exact = self.packs_listed_apart();
        let mut last = None;
        self.packs_by_source().filter_map(move |(id, totals)| {
            if last.replace(id) == Some(id) {
                return None;
            }
            Some(exact.get(&id).copied().unwrap_or(totals).info(id))
        })
    }

    /// Places known, at least as many as there are blobs: one that two index files repeat counts twice.
    pub fn len(&self) -> u64 {
        self.segments.iter().map(Segment::len).sum::<u64>() + self.settled.len() + self.overlay.len()
    }

    /// Whether no blob is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn places(&self) -> impl Iterator<Item = Entry<Id>> + '_ {
        type Source<'a> = Box<dyn Iterator<Item = Entry<Id>> + 'a>;
        let added: Source<'_> = Box::new(self.overlay.places().into_iter());
        let settled = self.settled.all().into_iter().map(|segment| Box::new(settled::places(segment)) as Source<'_>);
        let loaded = self.segments.iter().map(|segment| Box::new(segment.places()) as Source<'_>);
        Merged::of([added].into_iter().chain(settled).chain(loaded))
    }

    /// The same with the number of each among all that was loaded. What several segments list comes several times.
    fn numbered_places(&self) -> impl Iterator<Item = (Entry<Id>, u64)> + '_ {
        type Source<'a> = Box<dyn Iterator<Item = (Entry<Id>, u64)> + 'a>;
        let unnumbered = |entry| (entry, UNNUMBERED);
        let added: Source<'_> = Box::new(self.overlay.places().into_iter().map(unnumbered));
        let settled = self.settled.all().into_iter();
        let settled = settled.map(move |segment| Box::new(settled::places(segment).map(unnumbered)) as Source<'_>);
        let mut before = 0;
        let loaded = self.segments.iter().map(move |segment| {
            let first = before;
            before += segment.len();
            Box::new(segment.numbered_places().map(move |(entry, number)| (entry, first + number))) as Source<'_>
        });
        Merged::of([added].into_iter().chain(settled).chain(loaded))
    }

    fn packs_by_source(&self) -> impl Iterator<Item = (Id, Totals)> + '_ {
        type Source<'a> = Box<dyn Iterator<Item = (Id, Totals, usize)> + 'a>;
        let added = Box::new(self.overlay.packs().into_iter()) as Box<dyn Iterator<Item = _>>;
        let settled = self.settled.all().into_iter();
        let settled = settled.map(|segment| Box::new(settled::packs(segment)) as Box<dyn Iterator<Item = _>>);
        let loaded = self.segments.iter().map(|segment| Box::new(segment.packs()) as Box<dyn Iterator<Item = _>>);
        let sources = [added].into_iter().chain(settled).chain(loaded);
        // Numbered by source, so that equal totals from two of them are not taken for one listing.
        let numbered =
            sources.enumerate().map(|(n, source)| Box::new(source.map(move |(id, t)| (id, t, n))) as Source<'_>);
        Merged::of(numbered).map(|(id, totals, _)| (id, totals))
    }

    /// The totals of packs that more than one source lists: their listings may overlap, so their places are counted.
    fn packs_listed_apart(&self) -> std::collections::HashMap<Id, Totals> {
        let mut repeated = std::collections::HashMap::new();
        let mut last = None;
        for (id, _) in self.packs_by_source() {
            if last.replace(id) == Some(id) {
                repeated.insert(id, Totals::new());
            }
        }
        if !repeated.is_empty() {
            for entry in self.places() {
                if let Some(totals) = repeated.get_mut(&entry.pack) {
                    totals.add(entry.key.kind, entry.length, entry.compressed());
                }
            }
        }
        repeated
    }
}

#[cfg(test)]
mod tests;
