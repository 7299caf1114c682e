use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;

fn id(n: u64) -> Id {
    Id::of(&n.to_le_bytes())
}

pub(super) fn key(n: u64) -> BlobKey {
    if n.is_multiple_of(5) { BlobKey::tree(id(n)) } else { BlobKey::data(id(n)) }
}

/// A pack with the blobs of these numbers, one after another.
pub(super) fn pack(number: u64, blobs: impl IntoIterator<Item = u64>) -> PackContents {
    let pack = id(1_000_000 + number);
    let mut offset = 0;
    let blobs = blobs
        .into_iter()
        .map(|n| {
            let length = 40 + (n % 1000) as u32;
            let uncompressed = NonZeroU32::new(if n.is_multiple_of(3) { 0 } else { 2000 });
            let located = Located { pack, offset, length, uncompressed };
            offset += length;
            (key(n), located)
        })
        .collect();
    PackContents { id: pack, blobs }
}

fn packs(count: u64) -> Vec<PackContents> {
    (0..count).map(|n| pack(n, n * 100..n * 100 + 100)).collect()
}

/// The file of a segment, opened.
fn reopened(segment: &Segment) -> Result<Segment, SegmentError> {
    opened(segment.as_bytes())
}

fn opened(bytes: &[u8]) -> Result<Segment, SegmentError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("segment");
    fs::write(&path, bytes).unwrap();
    Segment::open(&fs::File::open(&path).unwrap())
}

#[test]
fn every_blob_is_found_in_memory_and_in_a_mapped_file() {
    let packs = packs(50);
    let built = Segment::build(&[id(7), id(3)], &packs).unwrap();
    let mapped = reopened(&built).unwrap();
    assert_eq!(mapped.len(), 5000);
    assert_eq!(mapped.covers().collect::<BTreeSet<_>>(), BTreeSet::from([id(3), id(7)]));
    for segment in [built, mapped] {
        let index = Index::new(vec![segment]);
        for pack in &packs {
            for (key, located) in &pack.blobs {
                assert_eq!(index.get(*key), Some(*located));
                let other = if key.kind == BlobType::Data { BlobKey::tree(key.id) } else { BlobKey::data(key.id) };
                assert!(!index.contains(other), "types are looked up apart");
            }
        }
        assert!(!index.contains(key(5001)));
        assert_eq!(index.iter().count(), 5000);
    }
}

#[test]
fn an_empty_index_holds_nothing() {
    let index = Index::of_packs(&[]).unwrap();
    assert!(index.is_empty());
    assert_eq!(index.get(key(1)), None);
    assert_eq!((index.iter().count(), index.packs().count()), (0, 0));
    assert!(reopened(&Segment::build(&[], &[]).unwrap()).unwrap().is_empty());
}

#[test]
fn packs_come_with_what_the_index_implies_about_them() {
    let contents = pack(1, [1, 2, 3]);
    let index = Index::of_packs(std::slice::from_ref(&contents)).unwrap();
    let sealed: u64 = contents.blobs.iter().map(|(_, located)| u64::from(located.length)).sum();
    let expected = PackInfo { id: contents.id, kind: BlobType::Data, blobs: 3, size: sealed + 36 + 41 + 41 + 37 };
    assert_eq!(index.packs().collect::<Vec<_>>(), [expected]);
    let of_header = crate::vault::pack::implied_size(contents.blobs.iter().map(|(_, located)| located));
    assert_eq!(expected.size, of_header, "as packs are written");
    index.insert(&pack(2, [5, 10]));
    let kinds: BTreeMap<Id, BlobType> = index.packs().map(|info| (info.id, info.kind)).collect();
    assert_eq!(kinds[&id(1_000_002)], BlobType::Tree);
}

#[test]
fn what_two_index_files_list_counts_once() {
    let whole = pack(1, 0..6);
    let halves = [pack(1, 0..6), pack(1, 0..6)].map(|pack| pack.blobs);
    let half = |n: usize, from: usize| PackContents { id: whole.id, blobs: halves[n][from..from + 4].to_vec() };
    let alone = Index::of_packs(std::slice::from_ref(&whole)).unwrap();
    // Blobs 2 and 3 are listed by both.
    let apart =
        Index::new(vec![Segment::build(&[], &[half(0, 0)]).unwrap(), Segment::build(&[], &[half(1, 2)]).unwrap()]);
    assert_eq!(apart.packs().collect::<Vec<_>>(), alone.packs().collect::<Vec<_>>());
    assert_eq!(apart.iter().collect::<Vec<_>>(), alone.iter().collect::<Vec<_>>());
    assert_eq!(apart.get_all(key(2)).len(), 1);
    alone.insert(&whole);
    assert_eq!(alone.packs().collect::<Vec<_>>(), apart.packs().collect::<Vec<_>>());
    assert_eq!(alone.iter().count(), 6);
}

#[test]
fn a_blob_in_two_packs_has_two_places() {
    let index = Index::of_packs(&[pack(1, [1]), pack(2, [1])]).unwrap();
    index.insert(&pack(3, [1]));
    index.insert(&pack(4, [1]));
    let places: BTreeSet<Id> = index.get_all(key(1)).into_iter().map(|located| located.pack).collect();
    assert_eq!(places, (1..5).map(|n| id(1_000_000 + n)).collect());
    assert_eq!(index.iter().count(), 4);
    assert!(places.contains(&index.get(key(1)).unwrap().pack));
}

#[test]
fn no_blob_has_the_position_of_another_types_blob() {
    let tree = pack(1, [5]);
    let index = Index::of_packs(std::slice::from_ref(&tree)).unwrap();
    let id = tree.blobs[0].0.id;
    assert_eq!(index.position(BlobKey::tree(id)), Some(0));
    assert_eq!(index.position(BlobKey::data(id)), None, "what follows the data blobs is the tree");
}

#[test]
fn a_blob_is_shown_once_with_all_its_places_and_the_position_that_it_was_loaded_with() {
    let of = |numbers: &[u64]| Segment::build(&[], &[pack(numbers[0], numbers[1..].iter().copied())]).unwrap();
    let index = Index::new(vec![of(&[1, 1, 2]), of(&[2, 2, 3]), of(&[1, 1, 2])]);
    index.insert(&pack(3, [3, 4]));
    index.insert(&pack(1, [1, 2]));
    let mut shown = BTreeMap::new();
    index.for_each_blob(|key, places, position| {
        assert_eq!(places, index.get_all(key));
        assert_eq!(shown.insert(key, (places.len(), position)), None, "once");
    });
    let position = |n| index.position(key(n));
    assert_eq!(shown[&key(1)], (1, position(1)));
    assert_eq!(shown[&key(2)], (2, position(2)));
    assert_eq!(shown[&key(3)], (2, position(3)));
    assert_eq!(shown[&key(4)], (1, None), "added since");
    assert_eq!(shown.len(), 4);
    let numbers: BTreeSet<Option<u64>> = (1..5).map(position).collect();
    assert_eq!(numbers.len(), 4);
}

#[test]
fn a_blob_is_claimed_once() {
    let index = Index::of_packs(&[pack(1, [1])]).unwrap();
    assert!(!index.claim(key(1)), "stored before this run");
    assert!(index.claim(key(2)));
    assert!(!index.clone().claim(key(2)), "another handle sees the claim");
    assert!(!index.contains(key(2)), "claimed is not stored");
    assert_eq!(index.get(key(2)), None);
    index.release(key(2));
    assert!(index.claim(key(2)), "given back");
    index.insert(&pack(2, [2]));
    assert!(index.contains(key(2)));
    index.release(key(2));
    assert!(index.contains(key(2)), "a late release takes nothing away");
    assert_eq!(index.len(), 2);
}

#[test]
fn workers_never_claim_a_blob_twice() {
    let index = Index::of_packs(&packs(1)).unwrap();
    let worker = || {
        let mut won = Vec::new();
        for n in 0..2000 {
            if index.claim(key(n)) {
                index.insert(&pack(n, [n]));
                won.push(n);
            }
        }
        won
    };
    let mut won: Vec<u64> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    won.sort_unstable();
    assert_eq!(won, (100..2000).collect::<Vec<_>>());
}

#[test]
fn every_damaged_byte_of_a_file_shows() {
    let segment = Segment::build(&[id(1)], &packs(1)).unwrap();
    let whole = segment.as_bytes();
    for at in (0..whole.len()).step_by(37).chain([whole.len() - 1]) {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 0x10;
        assert!(matches!(opened(&bytes), Err(SegmentError::Damaged(_))), "byte {at}");
    }
    for length in [0, 1, 127, 128, whole.len() - 1] {
        assert!(matches!(opened(&whole[..length]), Err(SegmentError::Damaged(_))), "cut to {length}");
    }
}

/// Replaces the contents of a segment and makes the checksums true again.
fn forged(segment: &Segment, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = segment.as_bytes().to_vec();
    change(&mut bytes[layout::HEADER..]);
    let mut header = layout::Header::decode(&bytes).unwrap();
    header.body_sum = checksum::Checksum::of(&bytes[layout::HEADER..]);
    bytes[..layout::HEADER].copy_from_slice(&header.encode());
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_forged_segment_misleads_but_never_panics(at in prop::collection::vec((0usize..6000, any::<u8>()), 1..400)) {
        let segment = Segment::build(&[id(1)], &packs(1)).unwrap();
        let bytes = forged(&segment, |body| {
            let len = body.len();
            at.iter().for_each(|(at, byte)| body[at % len] = *byte);
        });
        let forged = opened(&bytes).unwrap();
        let _ = Segment::merge_in_memory(&[&forged, &segment]);
        let index = Index::new(vec![forged, segment]);
        for n in 0..110 {
            prop_assert_eq!(index.contains(key(n)), n < 100);
            index.get_all(key(n));
        }
        prop_assert!(index.iter().count() >= 100);
        prop_assert!(index.packs().count() >= 1);
    }

    /// A lookup begins where random ids would lie; it has to end at the right place whatever the ids are.
    #[test]
    fn ids_are_found_however_they_are_spread(leads in prop::collection::btree_set((0_u8..3, any::<u8>()), 1..300)) {
        let id = |(first, later)| {
            let mut id = Id::default();
            (id.0[0], id.0[5], id.0[31]) = (first, later, 1);
            id
        };
        let pack = Id::of(b"pack");
        let located = Located { pack, offset: 0, length: 40, uncompressed: None };
        let blobs = leads.iter().map(|lead| (BlobKey::data(id(*lead)), located)).collect();
        let index = Index::of_packs(&[PackContents { id: pack, blobs }]).unwrap();
        for first in 0..4 {
            for later in 0..=255 {
                prop_assert_eq!(index.contains(BlobKey::data(id((first, later)))), leads.contains(&(first, later)));
            }
        }
    }

    #[test]
    fn merging_changes_no_answer(lists in prop::collection::vec(prop::collection::vec((0u64..40, prop::collection::vec(0u64..300, 0..30)), 0..8), 1..6)) {
        let lists: Vec<Vec<PackContents>> =
            lists.into_iter().map(|list| list.into_iter().map(|(n, blobs)| pack(n, blobs)).collect()).collect();
        let segments: Vec<Segment> =
            lists.iter().enumerate().map(|(n, list)| Segment::build(&[id(n as u64)], list).unwrap()).collect();
        let merged = Segment::merge_in_memory(&segments.iter().collect::<Vec<_>>()).unwrap();
        let merged = reopened(&merged).unwrap();
        prop_assert_eq!(merged.covers().count(), segments.len());
        let at_once = Index::of_packs(&lists.concat()).unwrap();
        let (apart, merged) = (Index::new(segments), Index::new(vec![merged]));
        for n in 0..300 {
            prop_assert_eq!(apart.get_all(key(n)), merged.get_all(key(n)));
            prop_assert_eq!(apart.get_all(key(n)), at_once.get_all(key(n)));
            prop_assert_eq!(apart.contains(key(n)), merged.contains(key(n)));
        }
        prop_assert_eq!(apart.iter().collect::<Vec<_>>(), merged.iter().collect::<Vec<_>>());
        for index in [&apart, &merged, &at_once] {
            let mut shown = Vec::new();
            index.for_each_blob(|key, places, position| {
                assert_eq!((index.get_all(key), index.position(key)), (places.to_vec(), position));
                shown.extend(places.iter().map(|at| (key, *at)));
            });
            prop_assert_eq!(shown, index.iter().collect::<Vec<_>>());
        }
        prop_assert_eq!(apart.packs().collect::<Vec<_>>(), merged.packs().collect::<Vec<_>>());
        prop_assert_eq!(at_once.packs().collect::<Vec<_>>(), merged.packs().collect::<Vec<_>>());
    }
}
