//! Packs that are written while they are filled, and packs that are joined.

use super::tests::{bytes, random, sealer};
use super::*;
use crate::store::Store;

/// Packs of the same blobs, filled in memory and on the way into a folder; what the first one and, if there is one, the
/// second one that it absorbs are filled with is given in blobs of 100 kB.
async fn written(first: usize, absorbed: Option<usize>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap(), &Default::default()).await.unwrap();
    let fill = |mut builder: PackBuilder, sealer: &mut Sealer, blobs: std::ops::Range<usize>| {
        for seed in blobs {
            let plain = random(100_000, seed as u64);
            builder.add(sealer, Id::of(&plain), &plain).unwrap();
        }
        builder
    };
    let make = |new: &dyn Fn() -> PackBuilder| {
        let mut sealer = sealer();
        let mut builder = fill(new(), &mut sealer, 0..first);
        if let Some(blobs) = absorbed {
            let other = fill(new(), &mut sealer, first..first + blobs);
            let sum = builder.len() + other.len();
            builder.absorb(other).unwrap();
            assert_eq!(builder.len(), sum);
        }
        builder.finish(&sealer).unwrap()
    };
    let memory = make(&|| PackBuilder::new(BlobType::Data));
    let written = make(&|| PackBuilder::to_write(BlobType::Data, store.clone(), "data/00"));
    assert_eq!((written.id, written.size(), &written.blobs), (memory.id, memory.size(), &memory.blobs));
    let is_long = first + absorbed.unwrap_or(0) > 5;
    let Body::Draft(draft) = written.body else {
        assert!(!is_long, "half a megabyte does not stay in memory");
        assert_eq!(written.in_memory() as u64, written.size());
        return;
    };
    assert!(is_long, "a short pack has no draft");
    draft.publish("data/ab/whole").await.unwrap();
    assert!(store.get("data/ab/whole").await.unwrap() == bytes(&memory), "{first} and {absorbed:?}");
}

#[tokio::test]
async fn a_pack_that_is_written_while_it_is_filled_is_the_same() {
    for first in [1, 5, 6, 23] {
        for absorbed in [None, Some(1), Some(7), Some(12)] {
            written(first, absorbed).await;
        }
    }
}

#[test]
fn unfinished_packs_are_one_if_that_fits() {
    let mut sealer = sealer();
    let mut filled = |len: usize, seed: u64| {
        let mut builder = PackBuilder::new(BlobType::Data);
        let plain = random(len, seed);
        builder.add(&mut sealer, Id::of(&plain), &plain).unwrap();
        builder
    };
    let (small, large) = (filled(1000, 1), filled(3000, 2));
    let (smaller, larger) = (small.len(), large.len());
    let target = u32::try_from(smaller + larger).unwrap();
    let (one, none) = small.join(large, target).unwrap();
    assert_eq!((one.len(), one.count(), none.is_none()), (smaller + larger, 2, true));
    for (first, second) in [(1000, 3000), (3000, 1000)] {
        let (left, full) = filled(first, 1).join(filled(second, 2), target - 1).unwrap();
        assert_eq!((left.len(), full.unwrap().len()), (smaller, larger), "the smaller one may still be joined");
    }
}

#[tokio::test]
async fn what_a_disk_did_not_keep_of_an_unfinished_pack_gets_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap(), &Default::default()).await.unwrap();
    let mut sealer = sealer();
    let mut filled = |count: u64| {
        let mut builder = PackBuilder::to_write(BlobType::Data, store.clone(), "data/00");
        for seed in 0..count {
            let plain = random(300_000, seed);
            builder.add(&mut sealer, Id::of(&plain), &plain).unwrap();
        }
        builder
    };
    let written = || std::fs::read_dir(folder.path().join("data/00")).unwrap().map(|entry| entry.unwrap().path());
    for (damaged, joins) in [(true, false), (false, true)] {
        let smaller = filled(3);
        let path = written().next().unwrap();
        let larger = filled(5);
        if damaged {
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &[0; 4096], 8192).unwrap();
        }
        let joined = larger.join(smaller, 4 << 20);
        assert_eq!(joined.is_ok(), joins, "{joined:?}");
        assert!(joins || matches!(joined, Err(PackError::NotAsWritten)));
        drop(joined);
        assert_eq!(written().count(), 0);
    }
}

#[tokio::test]
async fn a_pack_that_cannot_be_written_is_an_error_of_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap(), &Default::default()).await.unwrap();
    std::fs::write(folder.path().join("data"), "a file in the place of the folder").unwrap();
    let mut sealer = sealer();
    let mut builder = PackBuilder::to_write(BlobType::Data, store, "data/00");
    let plain = random(600_000, 1);
    let refused = builder.add(&mut sealer, Id::of(&plain), &plain).unwrap_err();
    assert!(matches!(refused, PackError::Write(_)), "{refused:?}");
}
