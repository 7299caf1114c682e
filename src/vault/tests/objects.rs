use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::{cheap, init, memory, open, seeded, vault};
use crate::clock::Random;
use crate::monitor::{Monitor, Silent};
use crate::vault::config::Config;
use crate::vault::key::Secret;
use crate::vault::layout::{self, CONFIG, FileType, SETTINGS};
use crate::vault::lock::LockKind;
use crate::vault::pack::{FinishedPack, PackBuilder};
use crate::vault::settings::Chunker;
use crate::vault::snapshot::Snapshot;
use crate::vault::{BlobKey, BlobType, CacheMode, Damage, Id, OpenOptions, PackContents, Vault, VaultError};

fn pack(vault: &Vault, plains: &[&[u8]]) -> FinishedPack {
    let mut sealer = vault.sealer(3);
    let mut pack = PackBuilder::new(BlobType::Data);
    for plain in plains {
        pack.add(&mut sealer, Id::of(plain), plain).unwrap();
    }
    pack.finish(&sealer).unwrap()
}

async fn stored(vault: &Vault, plains: &[&[u8]]) -> (PackContents, Id) {
    let contents = vault.put_pack(pack(vault, plains)).await.unwrap();
    let index = vault.save_index(std::slice::from_ref(&contents)).await.unwrap();
    (contents, index)
}

async fn flip(vault: &Vault, object: &str) {
    let mut bytes = vault.store().get(object).await.unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    vault.store().put(object, bytes.into()).await.unwrap();
}

#[tokio::test]
async fn objects_are_read_as_they_were_saved_and_named_for_their_bytes() {
    let vault = vault().await;
    let json = br#"{"a":[1,2,3]}"#;
    let id = vault.save(FileType::Snapshot, json).await.unwrap();
    assert_eq!(Id::of(&vault.store().get(&layout::snapshot(&id)).await.unwrap()), id);
    assert_eq!(vault.load(FileType::Snapshot, &id).await.unwrap(), json);
    vault.store().put("snapshots/.tmp-x", "x".into()).await.unwrap();
    assert_eq!(vault.list(FileType::Snapshot).await.unwrap().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [id]);
    vault.remove(FileType::Snapshot, &id).await.unwrap();
    vault.remove(FileType::Snapshot, &id).await.unwrap();
    assert!(vault.load(FileType::Snapshot, &id).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_changed_or_swapped_object_is_damaged_and_named() {
    let vault = vault().await;
    let (_, index) = stored(&vault, &[b"one"]).await;
    let snapshot = vault.save_snapshot(&Snapshot::default()).await.unwrap();
    let other = vault.store().get(&layout::index(&index)).await.unwrap();
    vault.store().put(&layout::snapshot(&snapshot), other).await.unwrap();
    flip(&vault, &layout::index(&index)).await;
    for (kind, id) in [(FileType::Snapshot, snapshot), (FileType::Index, index)] {
        let error = vault.load(kind, &id).await.unwrap_err();
        let named = matches!(&error, VaultError::Damaged { object, why: Damage::NotItsName(_) } if *object == layout::object(kind, &id));
        assert!(named, "{error:?}");
    }
}

#[tokio::test]
async fn blobs_come_back_by_the_index() {
    let vault = vault().await;
    let mut noise = vec![0; 100_000];
    crate::clock::Seeded::new(3).fill(&mut noise);
    stored(&vault, &[b"one", &noise]).await;
    stored(&vault, &[b"two"]).await;
    let index = open(vault.store(), "password").await.unwrap().load_index(&Silent).await.unwrap();
    for plain in [&b"one"[..], &noise, b"two"] {
        assert_eq!(vault.load_blob(&index, BlobKey::data(Id::of(plain))).await.unwrap(), plain);
    }
    let missing = vault.load_blob(&index, BlobKey::tree(Id::of(b"one"))).await.unwrap_err();
    assert!(matches!(missing, VaultError::NoBlob { kind: BlobType::Tree, .. }), "{missing:?}");
}

#[tokio::test]
async fn a_blob_that_lies_twice_survives_the_damage_of_one() {
    let vault = vault().await;
    let (first, _) = stored(&vault, &[b"one", b"two"]).await;
    let (second, _) = stored(&vault, &[b"one", b"three"]).await;
    let index = vault.load_index(&Silent).await.unwrap();
    let key = BlobKey::data(Id::of(b"one"));
    for (gone, damaged) in [(first.id, second.id), (second.id, first.id)] {
        let whole = vault.store().get(&layout::pack(&gone)).await.unwrap();
        vault.store().delete(&layout::pack(&gone)).await.unwrap();
        assert_eq!(vault.load_blob(&index, key).await.unwrap(), b"one");
        let other = vault.store().get(&layout::pack(&damaged)).await.unwrap();
        vault.store().put(&layout::pack(&damaged), other.slice(..10)).await.unwrap();
        assert!(vault.load_blob(&index, key).await.is_err());
        vault.store().put(&layout::pack(&damaged), other).await.unwrap();
        vault.store().put(&layout::pack(&gone), whole).await.unwrap();
    }
}

#[tokio::test]
async fn a_damaged_index_file_fails_or_is_told_of() {
    let vault = vault().await;
    stored(&vault, &[b"one"]).await;
    let (_, bad) = stored(&vault, &[b"two"]).await;
    flip(&vault, &layout::index(&bad)).await;
    assert!(matches!(vault.load_index(&Silent).await, Err(VaultError::Damaged { .. })));
    let loaded = vault.load_index_past_damage(&Silent).await.unwrap();
    assert_eq!(loaded.damaged.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [bad]);
    assert!(loaded.index.contains(BlobKey::data(Id::of(b"one"))));
    assert!(!loaded.index.contains(BlobKey::data(Id::of(b"two"))));
}

#[tokio::test]
async fn many_index_files_make_one_index() {
    let vault = vault().await;
    for i in 0..20u8 {
        stored(&vault, &[&[i; 50]]).await;
    }
    let index = vault.load_index(&Silent).await.unwrap();
    assert_eq!(index.len(), 20);
    for i in 0..20u8 {
        assert_eq!(vault.load_blob(&index, BlobKey::data(Id::of(&[i; 50]))).await.unwrap(), [i; 50]);
    }
}

#[tokio::test]
async fn headers_are_read_from_the_end_of_packs_short_and_long() {
    let vault = vault().await;
    let many: Vec<Vec<u8>> = (0..3000u32).map(|i| i.to_le_bytes().to_vec()).collect();
    let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    for plains in [&[&b"one"[..]][..], &many] {
        let pack = pack(&vault, plains);
        let size = pack.size();
        let pack = vault.put_pack(pack).await.unwrap();
        assert_eq!(vault.read_pack_header(&pack.id, size).await.unwrap(), pack);
        for wrong in [0, 3, 4, size - 1, size + 1] {
            let error = vault.read_pack_header(&pack.id, wrong).await.unwrap_err();
            assert!(matches!(error, VaultError::Damaged { .. }), "{wrong}: {error:?}");
        }
        vault.remove_packs(&[pack.id]).await.unwrap();
        assert!(vault.read_pack_header(&pack.id, size).await.unwrap_err().is_not_found());
    }
}

#[tokio::test]
async fn snapshots_come_oldest_first_and_damaged_ones_apart() {
    let vault = vault().await;
    let at = |day: u32| Snapshot {
        time: format!("2026-01-{day:02}T00:00:00Z").parse().unwrap(),
        tree: Id::of(b"tree"),
        ..Snapshot::default()
    };
    for day in [3, 1, 2] {
        vault.save_snapshot(&at(day)).await.unwrap();
    }
    let bad = vault.save(FileType::Snapshot, b"{\"tree\":null}").await.unwrap();
    let snapshots = vault.snapshots().await.unwrap();
    let times: Vec<_> = snapshots.whole.iter().map(|file| file.snapshot.time).collect();
    assert_eq!(times, [at(1).time, at(2).time, at(3).time]);
    assert_eq!(snapshots.damaged.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [bad]);
}

#[tokio::test]
async fn a_snapshot_is_found_by_the_start_of_its_id() {
    let vault = vault().await;
    let mut ids = Vec::new();
    for day in 1..=20 {
        let snapshot = Snapshot { paths: vec![format!("/{day}")], ..Snapshot::default() };
        ids.push(vault.save_snapshot(&snapshot).await.unwrap());
    }
    for id in &ids {
        assert_eq!(vault.find_snapshot(&id.to_string()).await.unwrap().id, *id);
        assert_eq!(vault.find_snapshot(&id.short().to_uppercase()).await.unwrap().id, *id);
    }
    let digit = |id: &Id| id.to_string()[..1].to_owned();
    let shared = ids.iter().map(digit).find(|d| ids.iter().filter(|id| digit(id) == *d).count() > 1).unwrap();
    let several = vault.find_snapshot(&shared).await.unwrap_err();
    assert!(matches!(several, VaultError::AmbiguousSnapshot { count: 2.., .. }), "{several:?}");
    for none in ["", "xyz", "latest", &"0".repeat(65)] {
        assert!(matches!(vault.find_snapshot(none).await, Err(VaultError::NoSuchSnapshot { .. })), "{none}");
    }
}

/// Turns a vault of ours into one that restic 0.13 could have made.
async fn make_old(vault: &Vault) {
    let sealed = vault.store().get(CONFIG).await.unwrap();
    let config = Config::parse(&vault.key().open(&sealed).unwrap()).unwrap();
    let old = Config { version: 1, ..config };
    vault.store().put(CONFIG, old.seal(vault.key(), vault.env()).unwrap().into()).await.unwrap();
    vault.store().delete(SETTINGS).await.unwrap();
}

#[tokio::test]
async fn version_1_is_read_and_not_written() {
    let vault = vault().await;
    let raw = vault.key();
    let mut sealed = Vec::new();
    let tree = Id::of(b"");
    let json = format!(r#"{{"time":"2020-01-01T00:00:00Z","tree":"{tree}","paths":["/"]}}"#);
    raw.seal_into([1; 16], json.as_bytes(), &mut sealed).unwrap();
    let id = Id::of(&sealed);
    vault.store().put(&layout::snapshot(&id), sealed.into()).await.unwrap();
    make_old(&vault).await;
    let old = open(vault.store(), "password").await.unwrap();
    assert_eq!((old.version(), old.has_settings()), (1, false));
    assert!(matches!(old.chunker(), Chunker::Rabin { .. }));
    assert_eq!(old.find_snapshot(&id.to_string()).await.unwrap().snapshot.tree, tree);
    let before = old.store().list("").await.unwrap();
    let pack = pack(&old, &[b"x"]);
    let refusals = [
        old.save_snapshot(&Snapshot::default()).await.map(|_| ()),
        old.put_pack(pack).await.map(|_| ()),
        old.remove(FileType::Snapshot, &id).await,
        old.remove_packs(&[id]).await,
        old.lock(LockKind::Shared, Default::default()).await.map(|_| ()),
        old.add_key(&crate::vault::key::Secret::new("x"), Default::default()).await.map(|_| ()),
    ];
    for refused in refusals {
        assert!(matches!(refused, Err(VaultError::OldVersion { .. })), "{refused:?}");
    }
    assert_eq!(old.store().list("").await.unwrap(), before);
}

#[tokio::test]
async fn a_version_to_come_is_refused_as_such() {
    let store = memory();
    let vault = init(&store, "password", &cheap(), 1).await.unwrap();
    let mut sealed = Vec::new();
    vault.key().seal_into([1; 16], br#"{"version":3,"id":"x","more":[]}"#, &mut sealed).unwrap();
    store.put(CONFIG, sealed.into()).await.unwrap();
    let error = open(&store, "password").await.unwrap_err();
    assert!(matches!(error, VaultError::NewerVersion { version: 3, .. }), "{error:?}");
    assert!(error.hint().contains("newer drctl"));
}

#[tokio::test]
async fn a_vault_is_shared_by_its_clones_and_shows_no_secrets() {
    let vault = vault().await;
    assert!(Arc::ptr_eq(vault.key(), vault.clone().key()));
    let text = format!("{vault:?}");
    let secret = hex::encode(vault.key().parts().encrypt);
    assert!(text.contains("MasterKey(***)") && text.contains("Gear(***)") && !text.contains(&secret), "{text}");
}

/// A vault with a tree and its index, opened with a cache.
async fn cached(folder: &std::path::Path) -> (Vault, Id, PackContents) {
    let made = vault().await;
    let tree = b"{\"nodes\":[]}\n";
    let mut sealer = made.sealer(3);
    let mut builder = PackBuilder::new(BlobType::Tree);
    builder.add(&mut sealer, Id::of(tree), tree).unwrap();
    let pack = builder.finish(&sealer).unwrap();
    let pack = made.put_pack(pack).await.unwrap();
    made.save_index(std::slice::from_ref(&pack)).await.unwrap();
    (with_cache(&made, folder).await, Id::of(tree), pack)
}

async fn with_cache(vault: &Vault, folder: &std::path::Path) -> Vault {
    let options = OpenOptions { cache: CacheMode::At(folder.to_owned()) };
    Vault::open(vault.store().clone(), &Secret::new("password"), &options, &seeded(9)).await.unwrap()
}

#[tokio::test]
async fn index_and_trees_come_from_the_cache_the_second_time() {
    let dir = tempfile::tempdir().unwrap();
    let (vault, tree, contents) = cached(dir.path()).await;
    let index = vault.load_index(&Silent).await.unwrap();
    let plain = vault.load_blob(&index, BlobKey::tree(tree)).await.unwrap();
    let file = vault.list(FileType::Index).await.unwrap()[0].0;
    flip(&vault, &layout::index(&file)).await;
    vault.store().delete(&layout::pack(&contents.id)).await.unwrap();
    let again = with_cache(&vault, dir.path()).await;
    let index = again.load_index(&Silent).await.unwrap();
    assert_eq!(again.load_blob(&index, BlobKey::tree(tree)).await.unwrap(), plain);
    let without = open(vault.store(), "password").await.unwrap();
    assert!(without.load_index(&Silent).await.is_err(), "without a cache the damage shows");
    again.remove_packs(&[contents.id]).await.unwrap();
    assert!(again.load_blob(&index, BlobKey::tree(tree)).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn damage_in_the_cache_is_mended_from_the_vault() {
    let dir = tempfile::tempdir().unwrap();
    let (vault, tree, contents) = cached(dir.path()).await;
    let index = vault.load_index(&Silent).await.unwrap();
    let plain = vault.load_blob(&index, BlobKey::tree(tree)).await.unwrap();
    let cached = dir.path().join(vault.id()).join(layout::pack(&contents.id).replacen("data", "packs", 1));
    let whole = std::fs::read(&cached).unwrap();
    for damaged in [vec![0; whole.len()], whole[..20].to_vec(), Vec::new()] {
        std::fs::write(&cached, &damaged).unwrap();
        assert_eq!(vault.load_blob(&index, BlobKey::tree(tree)).await.unwrap(), plain);
        assert_eq!(std::fs::read(&cached).unwrap(), whole, "{} bytes", damaged.len());
    }
}

#[tokio::test]
async fn a_damaged_pack_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (vault, tree, contents) = cached(dir.path()).await;
    let index = vault.load_index(&Silent).await.unwrap();
    let object = layout::pack(&contents.id);
    let mut bytes = vault.store().get(&object).await.unwrap().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    vault.store().put(&object, bytes.into()).await.unwrap();
    assert!(vault.load_blob(&index, BlobKey::tree(tree)).await.is_ok(), "the tree itself is whole");
    assert!(!dir.path().join(vault.id()).join(object.replacen("data", "packs", 1)).exists());
    vault.store().put(&layout::pack(&contents.id), bytes::Bytes::from_static(b"short")).await.unwrap();
    assert!(matches!(vault.load_blob(&index, BlobKey::tree(tree)).await, Err(VaultError::Damaged { .. })));
}

#[tokio::test]
async fn a_cache_that_cannot_be_used_costs_time_only() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let made = vault().await;
    stored(&made, &[b"one"]).await;
    let vault = with_cache(&made, &file.join("cache")).await;
    let index = vault.load_index(&Silent).await.unwrap();
    assert_eq!(vault.load_blob(&index, BlobKey::data(Id::of(b"one"))).await.unwrap(), b"one");
}

/// Replaces an index file by another as soon as it was listed, as a prune does.
struct Replacing {
    vault: Vault,
    old: Id,
    new: PackContents,
    times: std::sync::atomic::AtomicU32,
}

impl Monitor for Replacing {
    fn total(&self, _items: u64, _bytes: u64) {
        if self.times.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            futures::executor::block_on(async {
                self.vault.save_index(std::slice::from_ref(&self.new)).await.unwrap();
                self.vault.remove(FileType::Index, &self.old).await.unwrap();
            });
        }
    }
}

#[tokio::test]
async fn an_index_that_is_replaced_while_it_is_read_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let made = vault().await;
    for vault in [made.clone(), with_cache(&made, dir.path()).await] {
        let (_, old) = stored(&vault, &[b"one"]).await;
        let other = pack(&vault, &[b"one", b"two"]);
        let new = vault.put_pack(other).await.unwrap();
        let replacing = Replacing { vault: vault.clone(), old, new, times: 0.into() };
        let loaded = vault.load_index_past_damage(&replacing).await.unwrap();
        assert_eq!(replacing.times.into_inner(), 2, "listed twice");
        assert!(loaded.damaged.is_empty());
        assert!(loaded.index.contains(BlobKey::data(Id::of(b"two"))));
    }
}

#[tokio::test]
async fn only_index_files_that_name_what_goes_are_replaced_however_many_there_are() {
    let vault = vault().await;
    let mut all = Vec::new();
    for n in 0..12_u8 {
        all.push(stored(&vault, &[&[n; 40], &[n, 1]]).await);
    }
    let goes = |n: &usize| n % 3 == 1;
    let mut gone: HashSet<Id> = (0..12).filter(goes).map(|n| all[n].0.id).collect();
    let pair = [stored(&vault, &[b"goes"]).await, stored(&vault, &[b"stays"]).await];
    for (_, index) in &pair {
        vault.remove(FileType::Index, index).await.unwrap();
    }
    let pair = pair.map(|(pack, _)| pack);
    let both = vault.save_index(&pair).await.unwrap();
    gone.insert(pair[0].id);
    let except = HashSet::from([all[4].1, all[5].1]);
    let lock = vault.lock(LockKind::Exclusive, Duration::ZERO).await.unwrap();
    let mut rewritten = vault.rewrite_index(&gone, &except, &lock, &Silent).await.unwrap();

    rewritten.removed.sort_unstable();
    let mut replaced = vec![all[1].1, all[7].1, all[10].1, both];
    replaced.sort_unstable();
    assert_eq!(rewritten.removed, replaced, "4 is left alone");
    let [new] = rewritten.written[..] else { panic!("one file has room for what stays: {:?}", rewritten.written) };
    assert_eq!(vault.load_index_file(&new).await.unwrap().packs, pair[1..]);
    let left: HashSet<Id> = vault.list(FileType::Index).await.unwrap().into_iter().map(|(id, _)| id).collect();
    let stays = (0..12).filter(|n| !goes(n) || *n == 4).map(|n| all[n].1);
    assert_eq!(left, stays.chain([new]).collect());
}
