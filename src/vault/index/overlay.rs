//! What this run adds to the index until it is settled, and which blobs its workers are storing right now.
//!
//! A blob costs 48 bytes and a byte of hash table, with the table's free space 56 to 112; a pack's name is kept once.
//! Spread over shards, so that workers rarely wait for one another.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::blob::{BlobKey, BlobType};
use super::super::id::Id;
use super::entry::{Entry, PackContents, Totals};

const SHARDS: usize = 32;

#[derive(Debug)]
pub(super) struct Overlay {
    /// By type, then by the id's last byte.
    shards: [[Mutex<Shard>; SHARDS]; 2],
    /// Numbered by their places; those that were settled are only counted.
    packs: Mutex<Vec<Option<(Id, Totals)>>>,
}

#[derive(Debug, Default)]
struct Shard {
    places: HashMap<Id, Place>,
    /// Further places of blobs that are in `places`: repacking and healing make a few.
    others: Vec<(Id, Place)>,
    stored: u64,
}

/// Where a blob lies; `pack` is a number in `Overlay::packs`, or `CLAIMED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    pack: u32,
    offset: u32,
    length: u32,
    uncompressed: u32,
}

/// No pack yet: a worker of this run is storing the blob.
const CLAIMED: Place = Place { pack: u32::MAX, offset: 0, length: 0, uncompressed: 0 };

impl Overlay {
    pub(super) fn new() -> Self {
        Self { shards: Default::default(), packs: Mutex::default() }
    }

    fn shard(&self, key: BlobKey) -> MutexGuard<'_, Shard> {
        lock(&self.shards[key.kind as usize][usize::from(key.id.0[31]) % SHARDS])
    }

    pub(super) fn contains(&self, key: BlobKey) -> bool {
        self.shard(key).places.get(&key.id).is_some_and(|place| *place != CLAIMED)
    }

    pub(super) fn find(&self, key: BlobKey) -> Vec<Entry<Id>> {
        let mut found: Vec<Place> = Vec::new();
        {
            let shard = self.shard(key);
            found.extend(shard.places.get(&key.id).filter(|place| **place != CLAIMED));
            if !found.is_empty() {
                found.extend(shard.others.iter().filter(|(id, _)| *id == key.id).map(|(_, place)| place));
            }
        }
        let packs = lock(&self.packs);
        found.into_iter().filter_map(|place| place.named(key, &packs)).collect()
    }

    /// Marks a blob as being stored. False: it is stored, or another worker was first.
    pub(super) fn claim(&self, key: BlobKey) -> bool {
        match self.shard(key).places.entry(key.id) {
            Slot::Vacant(slot) => {
                slot.insert(CLAIMED);
                true
            }
            Slot::Occupied(_) => false,
        }
    }

    pub(super) fn release(&self, key: BlobKey) {
        if let Slot::Occupied(slot) = self.shard(key).places.entry(key.id)
            && *slot.get() == CLAIMED
        {
            slot.remove();
        }
    }

    pub(super) fn insert(&self, contents: &PackContents) {
        let mut totals = Totals::new();
        for (key, located) in &contents.blobs {
            totals.add(key.kind, located.length, Entry::of(*key, *located).compressed());
        }
        let number = {
            let mut packs = lock(&self.packs);
            packs.push(Some((contents.id, totals)));
            // One run cannot upload four billion packs: at 4 MiB each they would be 16 EiB.
            u32::try_from(packs.len() - 1).expect("fewer than 2^32 packs a run")
        };
        for (key, located) in &contents.blobs {
            let Entry { offset, length, uncompressed, .. } = Entry::of(*key, *located);
            let place = Place { pack: number, offset, length, uncompressed };
            let mut shard = self.shard(*key);
            shard.stored += 1;
            match shard.places.insert(key.id, place) {
                None | Some(CLAIMED) => {}
                Some(earlier) => shard.others.push((key.id, earlier)),
            }
        }
    }

    /// Forgets these packs, and the claims on what is in them.
    pub(super) fn forget(&self, packs: &[PackContents]) {
        let gone: HashSet<Id> = packs.iter().map(|pack| pack.id).collect();
        let in_them = |number: u32| {
            let packs = lock(&self.packs);
            packs.get(number as usize).is_some_and(|pack| pack.is_none_or(|(id, _)| gone.contains(&id)))
        };
        for (key, _) in packs.iter().flat_map(|pack| &pack.blobs) {
            let Shard { places, others, stored } = &mut *self.shard(*key);
            let before = others.len();
            others.retain(|(id, place)| *id != key.id || !in_them(place.pack));
            *stored -= (before - others.len()) as u64;
            let Some(place) = places.get_mut(&key.id).filter(|place| **place == CLAIMED || in_them(place.pack)) else {
                continue;
            };
            *stored -= u64::from(*place != CLAIMED);
            match others.iter().position(|(id, _)| *id == key.id) {
                Some(at) => *place = others.swap_remove(at).1,
                None => drop(places.remove(&key.id)),
            }
        }
        for pack in &mut *lock(&self.packs) {
            *pack = pack.take_if(|(id, _)| !gone.contains(id));
        }
    }

    /// Places stored, of both types.
    pub(super) fn len(&self) -> u64 {
        self.shards.iter().flatten().map(|shard| lock(shard).stored).sum()
    }

    /// A copy of all places, sorted.
    pub(super) fn places(&self) -> Vec<Entry<Id>> {
        let mut found = Vec::new();
        for (kind, shards) in [BlobType::Data, BlobType::Tree].into_iter().zip(&self.shards) {
            for shard in shards {
                // Locked in this order nowhere else the other way round: `insert` lets go of `packs` first.
                let shard = lock(shard);
                let packs = lock(&self.packs);
                let all = shard.places.iter().chain(shard.others.iter().map(|(id, place)| (id, place)));
                found.extend(all.filter_map(|(id, place)| place.named(BlobKey { kind, id: *id }, &packs)));
            }
        }
        found.sort_unstable();
        found
    }

    /// A copy of all packs, sorted.
    pub(super) fn packs(&self) -> Vec<(Id, Totals)> {
        let mut packs: Vec<(Id, Totals)> = lock(&self.packs).iter().flatten().copied().collect();
        packs.sort_unstable_by_key(|(id, _)| *id);
        packs
    }
}

impl Place {
    /// Nothing for a blob that is only claimed.
    fn named(self, key: BlobKey, packs: &[Option<(Id, Totals)>]) -> Option<Entry<Id>> {
        let (pack, _) = (*packs.get(self.pack as usize)?)?;
        let Self { offset, length, uncompressed, .. } = self;
        Some(Entry { key, pack, offset, length, uncompressed })
    }
}

/// A worker that panicked while it held a shard left the shard whole: each change is one insert or remove.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
