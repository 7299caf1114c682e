//! Decides what has to be found elsewhere, what moves out of damaged packs, and which of them go.
//!
//! A damaged pack goes only when every blob that it held is safe: it lies in a sound pack, or nothing can need it. Until then
//! the pack and its entries stay, because what is whole in it is still read from there. So where something cannot be had,
//! what is left is not touched.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::vault::{BlobKey, Id};

/// What a damaged pack was to hold. For one that is missing, all of it is broken.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Blobs that can still be read from it.
    pub whole: BTreeSet<BlobKey>,
    /// Blobs that cannot.
    pub broken: BTreeSet<BlobKey>,
}

/// What is known of blobs.
pub trait Known {
    /// Whether the blob lies in a pack that is not damaged.
    fn is_sound(&self, key: &BlobKey) -> bool;
    /// Whether a snapshot may need it. As long as some tree or snapshot cannot be read, it may need anything.
    fn may_be_needed(&self, key: &BlobKey) -> bool;
}

/// What leaves a damaged pack.
#[derive(Debug, PartialEq, Eq)]
pub struct Move {
    /// The pack.
    pub pack: Id,
    /// Its whole blobs that lie nowhere else.
    pub blobs: Vec<BlobKey>,
}

/// The blobs to be found elsewhere: needed, and in no sound place. Each once.
pub fn wanted(
    packs: &BTreeMap<Id, Contents>,
    missing: impl IntoIterator<Item = BlobKey>,
    known: &impl Known,
) -> Vec<BlobKey> {
    let broken = packs.values().flat_map(|contents| &contents.broken).copied();
    let lacks = |key: &BlobKey| !known.is_sound(key) && known.may_be_needed(key);
    let wanted: BTreeSet<BlobKey> = broken.filter(lacks).chain(missing).collect();
    wanted.into_iter().collect()
}

/// The packs that can be done without once their whole blobs have moved. `stored` is what was found elsewhere and lies in
/// new packs by now.
pub fn moves(packs: &BTreeMap<Id, Contents>, stored: &HashSet<BlobKey>, known: &impl Known) -> Vec<Move> {
    let safe = |key: &BlobKey| known.is_sound(key) || stored.contains(key);
    let replaced = packs.iter().filter(|(_, contents)| {
        let lost = |key: &BlobKey| !safe(key) && known.may_be_needed(key);
        !contents.broken.iter().any(lost)
    });
    // A blob that is whole in two of them moves once.
    let mut moving = HashSet::new();
    replaced
        .map(|(pack, contents)| {
            let mut alone = |key: &BlobKey| !safe(key) && moving.insert(*key);
            Move { pack: *pack, blobs: contents.whole.iter().filter(|key| alone(key)).copied().collect() }
        })
        .collect()
}

/// The packs that go: of those that were to be emptied, the ones of which every whole blob is safe by now.
pub fn emptied(
    packs: &BTreeMap<Id, Contents>,
    moves: &[Move],
    stored: &HashSet<BlobKey>,
    known: &impl Known,
) -> BTreeSet<Id> {
    let safe = |key: &BlobKey| known.is_sound(key) || stored.contains(key);
    let is_empty = |pack: &Id| packs.get(pack).is_some_and(|contents| contents.whole.iter().all(safe));
    moves.iter().map(|it| it.pack).filter(is_empty).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> BlobKey {
        BlobKey::data(Id([n; 32]))
    }

    fn id(n: u8) -> Id {
        Id([n; 32])
    }

    fn keys(of: &[u8]) -> Vec<BlobKey> {
        of.iter().copied().map(key).collect()
    }

    fn pack(n: u8, whole: &[u8], broken: &[u8]) -> (Id, Contents) {
        (id(n), Contents { whole: keys(whole).into_iter().collect(), broken: keys(broken).into_iter().collect() })
    }

    /// Blobs in sound packs, and blobs that nothing needs.
    #[derive(Default)]
    struct Facts {
        sound: Vec<u8>,
        garbage: Vec<u8>,
    }

    impl Known for Facts {
        fn is_sound(&self, key: &BlobKey) -> bool {
            self.sound.contains(&key.id.0[0])
        }

        fn may_be_needed(&self, key: &BlobKey) -> bool {
            !self.garbage.contains(&key.id.0[0])
        }
    }

    #[test]
    fn what_is_broken_missing_and_needed_is_wanted_once() {
        let packs = BTreeMap::from([pack(1, &[10], &[11, 12, 13]), pack(2, &[], &[11, 14])]);
        let facts = Facts { sound: vec![12], garbage: vec![13] };
        assert_eq!(wanted(&packs, keys(&[15, 14]), &facts), keys(&[11, 14, 15]));
        assert_eq!(wanted(&BTreeMap::new(), [], &facts), []);
    }

    #[test]
    fn a_pack_of_which_all_was_found_is_emptied_and_goes() {
        let packs = BTreeMap::from([pack(1, &[10, 20], &[11])]);
        let facts = Facts { sound: vec![20], ..Facts::default() };
        let mut stored: HashSet<BlobKey> = keys(&[11]).into_iter().collect();
        let planned = moves(&packs, &stored, &facts);
        assert_eq!(planned, [Move { pack: id(1), blobs: keys(&[10]) }]);
        assert!(emptied(&packs, &planned, &stored, &facts).is_empty(), "10 has not moved yet");
        stored.insert(key(10));
        assert_eq!(emptied(&packs, &planned, &stored, &facts), BTreeSet::from([id(1)]));
    }

    #[test]
    fn a_pack_of_which_something_is_lost_stays_as_it_is() {
        let packs = BTreeMap::from([pack(1, &[10], &[11, 12]), pack(2, &[], &[11])]);
        let stored = keys(&[11]).into_iter().collect();
        let planned = moves(&packs, &stored, &Facts::default());
        assert_eq!(planned, [Move { pack: id(2), blobs: vec![] }], "12 is lost: nothing of pack 1 moves");
        assert_eq!(emptied(&packs, &planned, &stored, &Facts::default()), BTreeSet::from([id(2)]));
    }

    #[test]
    fn what_nothing_needs_does_not_hold_a_pack_and_moves_along_when_it_is_whole() {
        let packs = BTreeMap::from([pack(1, &[10], &[11])]);
        let facts = Facts { garbage: vec![10, 11], ..Facts::default() };
        assert_eq!(wanted(&packs, [], &facts), []);
        assert_eq!(moves(&packs, &HashSet::new(), &facts), [Move { pack: id(1), blobs: keys(&[10]) }]);
    }

    #[test]
    fn a_blob_that_is_whole_in_two_damaged_packs_moves_once() {
        let packs = BTreeMap::from([pack(1, &[10], &[]), pack(2, &[10], &[])]);
        let planned = moves(&packs, &HashSet::new(), &Facts::default());
        assert_eq!(planned, [Move { pack: id(1), blobs: keys(&[10]) }, Move { pack: id(2), blobs: vec![] }]);
        let none = HashSet::new();
        assert!(emptied(&packs, &planned, &none, &Facts::default()).is_empty(), "neither goes before it has moved");
    }

    #[test]
    fn a_name_that_does_not_fit_alone_needs_nothing_from_elsewhere() {
        let packs = BTreeMap::from([pack(1, &[10, 11], &[])]);
        assert_eq!(wanted(&packs, [], &Facts::default()), []);
        assert_eq!(moves(&packs, &HashSet::new(), &Facts::default())[0].blobs, keys(&[10, 11]));
    }
}
