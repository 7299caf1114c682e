//! What is stored: packs, index files, snapshots, and which packs are condemned.
//!
//! Every object has a slot that belongs to whoever writes it, so that the order in which actors write makes no difference to
//! what a state looks like. A pack id is never used twice: what a slot holds never changes, even after it was deleted.

use std::fmt;

/// A small set: of blobs, of packs, of index files or of snapshots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Set(u16);

impl Set {
    pub(crate) const EMPTY: Self = Self(0);

    pub(crate) const fn of(bits: u16) -> Self {
        Self(bits)
    }

    pub(crate) fn one(slot: usize) -> Self {
        Self(1 << slot)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn has(self, slot: usize) -> bool {
        self.0 & (1 << slot) != 0
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn covers(self, other: Self) -> bool {
        other.without(self).is_empty()
    }

    pub(crate) fn first(self) -> Option<usize> {
        (self.0 != 0).then(|| self.0.trailing_zeros() as usize)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        (0..16).filter(move |slot| self.has(*slot))
    }

    /// Its members by name.
    pub(crate) fn named(self, name: impl Fn(usize) -> String) -> String {
        if self.is_empty() { "nothing".into() } else { self.iter().map(name).collect::<Vec<_>>().join("+") }
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// How many packs, and how many index files, a writer or a pruner may write.
pub(crate) const EACH: usize = 3;
/// Packs that are there from the beginning.
pub(crate) const FIRST_PACKS: usize = 2;
const FIRST_FILES: usize = 1;
const WRITERS: usize = 2;
const PRUNERS: usize = 2;
const PACKS: usize = FIRST_PACKS + (WRITERS + PRUNERS) * EACH;
const FILES: usize = FIRST_FILES + (WRITERS + PRUNERS) * EACH;
/// No pass begins more than one epoch.
const EPOCHS: usize = 1 + PRUNERS * EACH;

/// Who writes an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Writer(usize),
    Pruner(usize),
}

/// The slot of the nth pack that somebody writes.
pub(crate) fn pack_of(owner: Owner, nth: u8) -> usize {
    FIRST_PACKS + slot(owner, nth)
}

/// The slot of the nth index file that somebody writes.
pub(crate) fn file_of(owner: Owner, nth: u8) -> usize {
    FIRST_FILES + slot(owner, nth)
}

fn slot(owner: Owner, nth: u8) -> usize {
    assert!(usize::from(nth) < EACH, "{owner:?} has no room for another");
    let actor = match owner {
        Owner::Writer(writer) => writer,
        Owner::Pruner(pruner) => WRITERS + pruner,
    };
    actor * EACH + usize::from(nth)
}

/// Index files that no writer wrote.
pub(crate) fn files_of_pruners() -> Set {
    Set::one(0).and((FIRST_FILES + WRITERS * EACH..FILES).fold(Set::EMPTY, |all, file| all.and(Set::one(file))))
}

pub(crate) fn pack_name(slot: usize) -> String {
    match slot.checked_sub(FIRST_PACKS) {
        None => ["P", "O"][slot].into(),
        Some(later) => written(later, ["N", "R"]),
    }
}

pub(crate) fn file_name(slot: usize) -> String {
    match slot.checked_sub(FIRST_FILES) {
        None => "i".into(),
        Some(later) => written(later, ["i", "j"]),
    }
}

/// What a writer wrote, and what a pruner, by owner and number.
fn written(slot: usize, [writers, pruners]: [&str; 2]) -> String {
    let (owner, nth) = (slot / EACH, slot % EACH + 1);
    match owner.checked_sub(WRITERS) {
        None => format!("{writers}{}.{nth}", owner + 1),
        Some(pruner) => format!("{pruners}{}.{nth}", pruner + 1),
    }
}

pub(crate) fn blob_name(slot: usize) -> String {
    ["a", "b", "c"][slot].into()
}

/// The snapshot that is there from the beginning. Those of the writers follow.
pub(crate) const FIRST_SNAPSHOT: usize = 0;

pub(crate) fn snapshot_of(writer: usize) -> usize {
    1 + writer
}

/// An index file. One that names nothing is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct File {
    pub(crate) names: Set,
    /// Packs that it takes back, where writers do that.
    pub(crate) again: Set,
}

/// All that is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Vault {
    /// The packs that are there.
    pub(crate) packs: Set,
    /// Which blobs a pack holds, or held.
    holds: [Set; PACKS],
    pub(crate) files: [File; FILES],
    pub(crate) snapshots: Set,
    pub(crate) epoch: u8,
    pub(crate) boundary: u8,
    /// The packs that each epoch condemned. A list that the state never named is never read, so there is none here.
    condemned: [Set; EPOCHS],
}

impl Vault {
    /// A vault with these packs, of which the one index file names the first, and one snapshot.
    pub(crate) fn new(packs: [Set; FIRST_PACKS]) -> Self {
        let mut vault = Self {
            packs: Set::EMPTY,
            holds: [Set::EMPTY; PACKS],
            files: [File::default(); FILES],
            snapshots: Set::one(FIRST_SNAPSHOT),
            epoch: 0,
            boundary: 0,
            condemned: [Set::EMPTY; EPOCHS],
        };
        for (slot, blobs) in packs.into_iter().enumerate().filter(|(_, blobs)| !blobs.is_empty()) {
            vault.put_pack(slot, blobs);
        }
        vault.files[0].names = Set::one(0);
        vault
    }

    pub(crate) fn put_pack(&mut self, slot: usize, blobs: Set) {
        assert!(self.holds[slot].is_empty() || self.holds[slot] == blobs, "a pack id was used twice");
        self.packs = self.packs.and(Set::one(slot));
        self.holds[slot] = blobs;
    }

    /// The blobs that packs hold, or held.
    pub(crate) fn blobs_in(&self, packs: Set) -> Set {
        packs.iter().fold(Set::EMPTY, |blobs, pack| blobs.and(self.holds[pack]))
    }

    /// All index files together, and which there are.
    ///
    /// Listing them and getting each is one step here. A load that finds a file missing begins again, and one that does
    /// not saw what was there when it listed: files do not change, and what was there for a later request was there before.
    pub(crate) fn index(&self) -> (Set, File) {
        let mut there = Set::EMPTY;
        let mut all = File::default();
        for (slot, file) in self.files.iter().enumerate().filter(|(_, file)| !file.names.is_empty()) {
            there = there.and(Set::one(slot));
            all = File { names: all.names.and(file.names), again: all.again.and(file.again) };
        }
        (there, all)
    }

    /// Whether each of these blobs is in a pack that is there, and that an index file names.
    pub(crate) fn is_whole(&self, needs: Set) -> bool {
        self.blobs_in(self.index().1.names.within(self.packs)).covers(needs)
    }

    /// The packs that are condemned as of an epoch.
    pub(crate) fn condemned(&self, epoch: u8) -> Set {
        self.condemned[..=usize::from(epoch)].iter().fold(Set::EMPTY, |all, packs| all.and(*packs))
    }

    /// Begins an epoch, with a list of what earlier ones condemned and of these packs.
    pub(crate) fn begin_epoch(&mut self, epoch: u8, boundary: u8, packs: Set) {
        (self.epoch, self.boundary) = (epoch, boundary);
        self.condemned[usize::from(epoch)] = packs;
        self.condemned[usize::from(epoch) + 1..].fill(Set::EMPTY);
    }

    /// Strikes from all lists what they allowed to sweep and what is gone.
    pub(crate) fn forget_swept(&mut self, boundary: u8) {
        let there = self.packs;
        for packs in &mut self.condemned[..=usize::from(boundary)] {
            *packs = packs.within(there);
        }
    }
}
