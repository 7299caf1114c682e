use std::io::{Cursor, Read};
use std::sync::Arc;

use proptest::prelude::*;
use zstd::zstd_safe::get_frame_content_size;

use super::*;
use crate::clock::{Random, Seeded};
use crate::vault::crypto::{self, MasterKey};
use crate::vault::index::PackContents;
use crate::vault::index_file::BLOBS_PER_FILE;

pub(super) fn sealer() -> Sealer {
    Sealer::new(Arc::new(crypto::tests::key()), Arc::new(Seeded::new(2)), 3)
}

fn key() -> MasterKey {
    crypto::tests::key()
}

pub(super) fn random(len: usize, seed: u64) -> Vec<u8> {
    let mut out = vec![0; len];
    Seeded::new(seed).fill(&mut out);
    out
}

fn text(len: usize) -> Vec<u8> {
    b"{\"name\":\"entry\",\"type\":\"file\"},".iter().copied().cycle().take(len).collect()
}

fn one(kind: BlobType, plain: &[u8]) -> (AddedBlob, FinishedPack) {
    let mut sealer = sealer();
    let mut pack = PackBuilder::new(kind);
    let added = pack.add(&mut sealer, Id::of(plain), plain).unwrap();
    (added, pack.finish(&sealer).unwrap())
}

pub(super) fn bytes(pack: &FinishedPack) -> &[u8] {
    pack.bytes().expect("it was filled in memory")
}

fn sealed_of(pack: &FinishedPack, i: usize) -> &[u8] {
    let at = pack.blobs[i].1;
    &bytes(pack)[at.offset as usize..][..at.length as usize]
}

#[test]
fn compression_is_chosen_as_the_format_and_thrift_ask() {
    use BlobType::{Data, Tree};
    for (name, kind, plain, compressed) in [
        ("text", Data, text(100_000), true),
        ("random", Data, random(100_000, 1), false),
        ("short random", Data, random(1000, 1), false),
        ("an odd byte", Data, vec![7], false),
        ("nothing", Data, vec![], false),
        ("a tree", Tree, text(100), true),
        ("a tree that grows", Tree, random(100, 1), true),
        ("an empty tree", Tree, vec![], false),
    ] {
        let (added, pack) = one(kind, &plain);
        let at = pack.blobs[0].1;
        assert_eq!(added.compressed, compressed, "{name}");
        assert_eq!(at.uncompressed.is_some(), compressed, "{name}");
        assert_eq!(at.plain_len(), plain.len() as u64, "{name}");
        assert_eq!(added.stored, at.length, "{name}");
        assert_eq!(open_blob(&key(), &Id::of(&plain), sealed_of(&pack, 0), at.uncompressed).unwrap(), plain, "{name}");
    }
}

#[test]
fn frames_have_no_checksum_a_content_size_and_a_small_window() {
    let plain: Vec<u8> = text(700_000).into_iter().zip(random(700_000, 3)).flat_map(|(a, b)| [a, b]).collect();
    let (_, pack) = one(BlobType::Tree, &plain);
    let frame = key().open(sealed_of(&pack, 0)).unwrap();
    assert_eq!(get_frame_content_size(&frame).unwrap(), Some(plain.len() as u64));
    let descriptor = frame[4];
    assert_eq!(descriptor & 0b100, 0, "a checksum");
    assert_eq!(descriptor & 0b11, 0, "a dictionary");
    assert_eq!(descriptor & 0b10_0000, 0, "a single segment, whose window is its size");
    let window = 1u64 << (10 + (frame[5] >> 3));
    assert_eq!((window, frame[5] & 7), (512 << 10, 0));
}

#[test]
fn a_pack_is_its_blobs_its_header_and_nothing_else() {
    let mut sealer = sealer();
    let mut builder = PackBuilder::to_fill(BlobType::Data, 1 << 20);
    let plains = [text(5000), random(40_000, 1), vec![], text(9)];
    for plain in &plains {
        builder.add(&mut sealer, Id::of(plain), plain).unwrap();
    }
    assert_eq!(builder.count(), 4);
    assert!(!builder.is_full(1 << 20) && builder.is_full(40_000));
    let sum = builder.len();
    let pack = builder.finish(&sealer).unwrap();
    assert_eq!(pack.id, Id::of(bytes(&pack)));
    assert_eq!(implied_size(pack.blobs.iter().map(|(_, at)| at)), bytes(&pack).len() as u64);
    assert_eq!(bytes(&pack).len(), sum + 36 + 37 * 3 + 41, "one of the four was compressed");
    let read = read_header(&key(), pack.id, bytes(&pack)).unwrap();
    assert_eq!(read, PackContents::from(&pack));
    assert!(read.blobs.iter().all(|(key, at)| key.kind == BlobType::Data && at.pack == pack.id));
}

#[test]
fn blobs_move_between_packs_sealed_or_as_payload() {
    let plain = text(5000);
    let (_, pack) = one(BlobType::Tree, &plain);
    let (id, at) = pack.blobs[0];
    let mut sealer = sealer();
    let mut builder = PackBuilder::new(BlobType::Tree);
    builder.add_sealed(id, sealed_of(&pack, 0), at.uncompressed).unwrap();
    let payload = key().open(sealed_of(&pack, 0)).unwrap();
    builder.add_payload(&mut sealer, id, &payload, at.uncompressed).unwrap();
    assert!(matches!(builder.add_sealed(id, &[0; 31], None), Err(PackError::Implausible(31))));
    let copy = builder.finish(&sealer).unwrap();
    for i in 0..2 {
        assert_eq!(open_blob(&key(), &id, sealed_of(&copy, i), copy.blobs[i].1.uncompressed).unwrap(), plain);
    }
}

#[test]
fn a_payload_is_verified_and_sealed_under_another_key_as_it_is() {
    let other = Arc::new(MasterKey::generate(&Seeded::new(77)).unwrap());
    let mut theirs = Sealer::new(other.clone(), Arc::new(Seeded::new(3)), 3);
    let mut opener = Opener::new(Arc::new(key()));
    // The last one is verified as it is decompressed, not held.
    for plain in [text(5000), random(5000, 1), text(17 << 20)] {
        let (_, pack) = one(BlobType::Data, &plain);
        let (id, at) = pack.blobs[0];
        let payload = opener.open_payload(&id, sealed_of(&pack, 0), at.uncompressed).unwrap();
        let mut copy = PackBuilder::new(BlobType::Data);
        copy.add_payload(&mut theirs, id, &payload, at.uncompressed).unwrap();
        let copy = copy.finish(&theirs).unwrap();
        assert_eq!(copy.blobs[0].1.length, at.length, "not compressed again");
        assert_eq!(open_blob(&other, &id, sealed_of(&copy, 0), at.uncompressed).unwrap(), plain);

        let wrong = Id::of(b"another");
        let refused = opener.open_payload(&wrong, sealed_of(&pack, 0), at.uncompressed);
        assert!(matches!(refused, Err(PackError::NotItsId { .. })), "{refused:?}");
        let short = at.uncompressed.map(|len| len.get() - 1).and_then(NonZeroU32::new);
        let refused = opener.open_payload(&id, sealed_of(&pack, 0), short);
        assert!(short.is_none() || matches!(refused, Err(PackError::WrongLength { .. } | PackError::Zstd(_))));
        let mut broken = sealed_of(&pack, 0).to_vec();
        broken[20] ^= 1;
        assert!(matches!(opener.open_payload(&id, &broken, at.uncompressed), Err(PackError::Crypto(_))));
    }
}

#[test]
fn a_pack_takes_in_another_without_opening_it() {
    let (plain, other) = (text(5000), text(900));
    let mut sealer = sealer();
    let mut builder = PackBuilder::new(BlobType::Data);
    builder.add(&mut sealer, Id::of(&plain), &plain).unwrap();
    let mut second = PackBuilder::new(BlobType::Data);
    second.add(&mut sealer, Id::of(&other), &other).unwrap();
    let sum = builder.len() + second.len();
    builder.absorb(second).unwrap();
    assert_eq!((builder.len(), builder.count()), (sum, 2));
    let pack = builder.finish(&sealer).unwrap();
    assert_eq!(read_header(&key(), pack.id, bytes(&pack)).unwrap(), PackContents::from(&pack));
    assert_eq!(open_blob(&key(), &Id::of(&other), sealed_of(&pack, 1), pack.blobs[1].1.uncompressed).unwrap(), other);
}

#[test]
fn a_stream_seals_and_reads_as_the_whole_does() {
    for len in [0, 1, 1000, 128 << 10, 700_001] {
        let plain = text(len);
        let id = Id::of(&plain);
        let mut sealer = sealer();
        let mut builder = PackBuilder::new(BlobType::Tree);
        let declared = u32::try_from(len).unwrap();
        let added = builder.add_stream(&mut sealer, id, declared, &mut plain.as_slice()).unwrap();
        assert_eq!(added.compressed, len > 0);
        let pack = builder.finish(&sealer).unwrap();
        let uncompressed = pack.blobs[0].1.uncompressed;
        assert_eq!(open_blob(&key(), &id, sealed_of(&pack, 0), uncompressed).unwrap(), plain);
        let mut read = Vec::new();
        BlobReader::open(&key(), &id, sealed_of(&pack, 0), uncompressed).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, plain, "{len} bytes");
    }
}

#[test]
fn a_stream_that_is_not_what_it_should_be_leaves_the_pack_as_it_was() {
    let plain = text(300_000);
    let mut sealer = sealer();
    let mut builder = PackBuilder::new(BlobType::Tree);
    let short = builder.add_stream(&mut sealer, Id::of(&plain), 300_001, &mut plain.as_slice());
    assert!(matches!(short, Err(PackError::Source(_))), "{short:?}");
    let other = builder.add_stream(&mut sealer, Id::of(b"other"), 300_000, &mut plain.as_slice());
    assert!(matches!(other, Err(PackError::NotItsId { .. })), "{other:?}");
    assert!(builder.is_empty());
    assert_eq!(builder.len(), 0);
    builder.add(&mut sealer, Id::of(&plain), &plain).unwrap();
    let pack = builder.finish(&sealer).unwrap();
    assert_eq!(read_header(&key(), pack.id, bytes(&pack)).unwrap().blobs.len(), 1);
}

#[test]
fn an_empty_pack_cannot_be_finished() {
    assert!(matches!(PackBuilder::new(BlobType::Data).finish(&sealer()), Err(PackError::Empty)));
}

#[test]
fn the_plaintext_must_have_the_declared_length_and_id() {
    let plain = text(5000);
    let (_, pack) = one(BlobType::Data, &plain);
    let sealed = sealed_of(&pack, 0);
    let id = Id::of(&plain);
    for declared in [1, 4999, 5001, 100_000, 1 << 20] {
        let declared = NonZeroU32::new(declared);
        assert!(open_blob(&key(), &id, sealed, declared).is_err(), "{declared:?}");
        let read = BlobReader::open(&key(), &id, sealed, declared).unwrap().read_to_end(&mut Vec::new());
        assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::InvalidData, "{declared:?}");
    }
    assert!(matches!(open_blob(&key(), &id, sealed, None), Err(PackError::NotItsId { .. })));
    let right = NonZeroU32::new(5000);
    assert!(matches!(open_blob(&key(), &Id::of(b""), sealed, right), Err(PackError::NotItsId { .. })));
    let read = BlobReader::open(&key(), &Id::of(b""), sealed, right).unwrap().read_to_end(&mut Vec::new());
    assert!(read.is_err());
}

#[test]
fn absurd_lengths_are_refused_before_anything_is_allocated() {
    use BlobType::{Data, Tree};
    let len = NonZeroU32::new;
    assert!(plausible(Data, 32, None).is_ok());
    assert!(plausible(Data, 300, len(MAX_DATA_BLOB)).is_ok(), "zeros shrink that far");
    assert!(plausible(Tree, 50 << 20, len(MAX_TREE_BLOB)).is_ok());
    assert!(
        u32::try_from(zstd::zstd_safe::compress_bound(MAX_TREE_BLOB as usize) + (160 << 20)).is_ok(),
        "behind what a pack has"
    );
    for (kind, length, uncompressed) in [
        (Data, 31, None),
        (Data, MAX_DATA_BLOB + 33, None),
        (Data, 1 << 20, len(MAX_DATA_BLOB + 1)),
        (Tree, 1 << 27, len(MAX_TREE_BLOB + 1)),
        (Tree, 1000, len(1 << 30)),
    ] {
        assert!(plausible(kind, length, uncompressed).is_err(), "{kind:?} {length} {uncompressed:?}");
    }
    let sealed = sealed_of(&one(Data, &text(5000)).1, 0).to_vec();
    assert!(matches!(open_blob(&key(), &Id::of(b""), &sealed, len(u32::MAX)), Err(PackError::Implausible(_))));
}

/// A pack with one of each: a header that is whole, but says what cannot be.
#[test]
fn headers_that_contradict_the_pack_are_refused() {
    let forge = |entries: &[u8], blobs: usize| {
        let mut pack = vec![0; blobs];
        let start = pack.len();
        key().seal_into([3; 16], entries, &mut pack).unwrap();
        let len = u32::try_from(pack.len() - start).unwrap();
        pack.extend_from_slice(&len.to_le_bytes());
        read_header(&key(), Id::default(), &pack)
    };
    let entry = |kind: u8, lens: &[u32]| {
        let lens = lens.iter().flat_map(|len| len.to_le_bytes());
        std::iter::once(kind).chain(lens).chain([9; 32]).collect::<Vec<u8>>()
    };
    assert_eq!(forge(&entry(0, &[100]), 100).unwrap().blobs.len(), 1);
    for (name, entries, blobs) in [
        ("too few bytes", entry(0, &[100]), 101),
        ("too many bytes", entry(0, &[100]), 99),
        ("a type of its own", entry(4, &[100]), 100),
        ("a blob without a MAC", entry(0, &[31]), 31),
        ("no plaintext", entry(2, &[100, 0]), 100),
        ("a bomb", entry(3, &[100, 1 << 30]), 100),
        ("a cut entry", entry(2, &[100]), 100),
        ("beyond 4 GiB", [entry(1, &[2 << 30]), entry(1, &[2 << 30])].concat(), 0),
    ] {
        assert!(forge(&entries, blobs).is_err(), "{name}");
    }
}

#[test]
fn a_context_can_be_used_again_after_a_failure() {
    let plain = text(5000);
    let (_, pack) = one(BlobType::Data, &plain);
    let mut opener = Opener::new(Arc::new(key()));
    let sealed = sealed_of(&pack, 0);
    assert!(opener.open(&Id::of(&plain), sealed, NonZeroU32::new(4000)).is_err());
    assert_eq!(opener.open(&Id::of(&plain), sealed, NonZeroU32::new(5000)).unwrap(), plain);
}

fn blobs() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let random = prop::collection::vec(any::<u8>(), 0..400);
    let dull = (any::<u8>(), 0usize..3000).prop_map(|(byte, len)| vec![byte; len]);
    prop::collection::vec(prop_oneof![random, dull], 1..12)
}

proptest! {
    #[test]
    fn what_is_packed_is_read_back(plains in blobs(), tree in any::<bool>()) {
        let kind = if tree { BlobType::Tree } else { BlobType::Data };
        let mut sealer = sealer();
        let mut builder = PackBuilder::new(kind);
        for plain in &plains {
            builder.add(&mut sealer, Id::of(plain), plain).unwrap();
        }
        let pack = builder.finish(&sealer).unwrap();
        let read = read_header(&key(), Id::of(bytes(&pack)), bytes(&pack)).unwrap();
        prop_assert_eq!(read.blobs.len(), plains.len());
        for (plain, (blob, at)) in plains.iter().zip(&read.blobs) {
            let sealed = &bytes(&pack)[at.offset as usize..][..at.length as usize];
            prop_assert_eq!(blob.kind, kind);
            prop_assert_eq!(&open_blob(&key(), &blob.id, sealed, at.uncompressed).unwrap(), plain);
        }
    }

    #[test]
    fn a_changed_or_cut_pack_never_reads_as_another(plains in blobs(), at in any::<prop::sample::Index>(), cut in any::<bool>()) {
        let mut sealer = sealer();
        let mut builder = PackBuilder::new(BlobType::Data);
        for plain in &plains {
            builder.add(&mut sealer, Id::of(plain), plain).unwrap();
        }
        let pack = builder.finish(&sealer).unwrap();
        let whole = read_header(&key(), pack.id, bytes(&pack)).unwrap();
        let mut bytes = bytes(&pack).to_vec();
        if cut {
            bytes.truncate(at.index(bytes.len()));
            prop_assert!(read_header(&key(), pack.id, &bytes).is_err());
        } else {
            let bit = at.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            match read_header(&key(), pack.id, &bytes) {
                Err(_) => {}
                Ok(read) => {
                    prop_assert_eq!(&read, &whole);
                    let hit = read.blobs.iter().find(|(_, at)| (at.offset as usize + at.length as usize) * 8 > bit).unwrap();
                    let sealed = &bytes[hit.1.offset as usize..][..hit.1.length as usize];
                    prop_assert!(open_blob(&key(), &hit.0.id, sealed, hit.1.uncompressed).is_err());
                }
            }
        }
    }

    #[test]
    fn noise_is_no_header(noise in prop::collection::vec(any::<u8>(), 0..300), size in any::<u64>()) {
        prop_assert!(read_header(&key(), Id::default(), &noise).is_err());
        prop_assert!(parse_header(&key(), Id::default(), &noise, size).is_err());
        let mut sealed = Vec::new();
        key().seal_into([1; 16], &noise, &mut sealed).unwrap();
        if let Ok(read) = parse_header(&key(), Id::default(), &sealed, size) {
            prop_assert_eq!(implied_size(read.blobs.iter().map(|(_, at)| at)), size);
        }
    }

    #[test]
    fn noise_is_no_frame(noise in prop::collection::vec(any::<u8>(), 0..300), len in 1u32..100_000) {
        let mut sealed = Vec::new();
        key().seal_into([1; 16], &noise, &mut sealed).unwrap();
        prop_assert!(open_blob(&key(), &Id::default(), &sealed, NonZeroU32::new(len)).is_err());
        let mut reader = BlobReader::open(&key(), &Id::default(), &sealed, NonZeroU32::new(len)).unwrap();
        prop_assert!(std::io::copy(&mut reader, &mut Cursor::new(Vec::new())).is_err());
    }
}

#[test]
fn a_pack_of_tiny_blobs_is_full_when_it_has_as_many_as_an_index_file() {
    let (mut sealer, mut builder) = (sealer(), PackBuilder::new(BlobType::Data));
    for n in 0..BLOBS_PER_FILE {
        assert!(!builder.is_full(16 << 20), "{n}");
        let plain = n.to_le_bytes();
        builder.add(&mut sealer, Id::of(&plain), &plain).unwrap();
    }
    assert!(builder.is_full(16 << 20));
}
