//! Healing real vaults in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::testing::{FAILURES, KINDS, beside, fault, faulty, flip};
use super::{HealError, Outcome, Sources, run};
use crate::backup::Threads;
use crate::check::{self, Damage, Lock, Object, ReadData};
use crate::monitor::{Cancel, Silent};
use crate::replication;
use crate::restore::tests::{back_up, noise};
use crate::store::fault::{Effect, Fault, FaultStore, Operation, When};
use crate::vault::lock::Unlock;
use crate::vault::snapshot::Snapshot;
use crate::vault::{BlobType, FileType, Id, Vault, layout};

/// A source, a vault that holds it in two snapshots, and another that holds the same.
struct Scene {
    source: TempDir,
    faults: FaultStore,
    vault: Vault,
    copy: Vault,
}

impl Scene {
    async fn new() -> Self {
        Self::of(20_000).await
    }

    async fn of(size: usize) -> Self {
        let source = tempfile::tempdir().unwrap();
        let (faults, vault) = faulty().await;
        let (_, copy) = beside(&vault).await;
        let scene = Self { source, faults, vault, copy };
        for (name, seed) in [("a/one", 1), ("a/b/two", 2)] {
            let file = scene.source.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, noise(size, seed)).unwrap();
            back_up(&scene.vault, scene.source.path(), Threads::Inline).await;
        }
        let (select, mode, verify) =
            (replication::Select::All, replication::Mode::Write, replication::Verify::ReadBack);
        let options = replication::Options { select, mode, verify, retry_lock: Duration::ZERO };
        let (vault, copy) = (&scene.vault, &scene.copy);
        replication::run(vault, copy, options, Arc::new(Silent), Cancel::default()).await.unwrap();
        scene
    }

    fn sources(&self) -> Sources<'_> {
        Sources { copy: Some(&self.copy), files: None }
    }

    async fn heal(&self) -> Outcome {
        heal(&self.vault, self.sources()).await.unwrap()
    }

    async fn packs(&self, kind: BlobType) -> Vec<(Id, u64)> {
        let all = self.vault.list(FileType::Pack).await.unwrap();
        let of: Vec<Id> = self
            .vault
            .load_index(&Silent)
            .await
            .unwrap()
            .packs()
            .filter(|pack| pack.kind == kind)
            .map(|pack| pack.id)
            .collect();
        all.into_iter().filter(|(id, _)| of.contains(id)).collect()
    }
}

async fn heal(vault: &Vault, sources: Sources<'_>) -> Result<Outcome, HealError> {
    run(vault, sources, Duration::ZERO, Arc::new(Silent), Cancel::default()).await
}

async fn damage(vault: &Vault) -> Vec<Damage> {
    let options = check::Options { read_data: ReadData::All, lock: Lock::None };
    check::run(vault, options, Arc::new(Silent), Cancel::default()).await.unwrap().damage
}

/// Every object but locks.
async fn objects(vault: &Vault) -> BTreeMap<String, Bytes> {
    let mut found = BTreeMap::new();
    for object in vault.store().list("").await.unwrap() {
        if !object.key.starts_with(FileType::Lock.folder()) {
            found.insert(object.key.clone(), vault.store().get(&object.key).await.unwrap());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_vault_is_left_as_it_is() {
    let scene = Scene::new().await;
    let before = objects(&scene.vault).await;
    let done = scene.heal().await;
    assert_eq!((done.report.damage.len(), done.healed.packs_written, done.snapshots.len()), (0, 0, 2));
    assert_eq!(objects(&scene.vault).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_vault_has_comes_from_there_and_the_rest_of_a_pack_moves() {
    let scene = Scene::of(3 << 20).await;
    for (kind, from_copy) in [(BlobType::Data, 1), (BlobType::Tree, 1)] {
        let (pack, size) = *scene.packs(kind).await.iter().max_by_key(|(_, size)| *size).unwrap();
        flip(&scene.vault, &layout::pack(&pack), 40).await;
        let done = scene.heal().await;
        assert_eq!((done.report.damage.clone(), damage(&scene.vault).await), (vec![], vec![]), "{kind:?} {done:?}");
        assert_eq!((done.healed.blobs_from_copy, done.healed.packs.clone()), (from_copy, vec![pack]), "{done:?}");
        assert!(done.healed.blobs_moved > 0 && done.healed.bytes_written <= size + 100, "{done:?}");
        assert!(scene.vault.list(FileType::Pack).await.unwrap().iter().all(|(id, _)| *id != pack));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_whose_blobs_are_all_whole_needs_nobody_elses() {
    let scene = Scene::new().await;
    for (pack, size) in scene.packs(BlobType::Data).await {
        let bytes = scene.vault.store().get(&layout::pack(&pack)).await.unwrap();
        scene.vault.store().put(&layout::pack(&pack), bytes.slice(..bytes.len() - 1)).await.unwrap();
        let done = heal(&scene.vault, Sources::default()).await.unwrap();
        assert_eq!((done.healed.blobs_moved, done.healed.blobs_from_copy), (1, 0), "{size} {done:?}");
    }
    assert_eq!(damage(&scene.vault).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_in_both_stays_as_it_is_and_is_named() {
    let scene = Scene::new().await;
    let (pack, _) = scene.packs(BlobType::Data).await[0];
    flip(&scene.vault, &layout::pack(&pack), 40).await;
    for (pack, _) in scene.copy.list(FileType::Pack).await.unwrap() {
        flip(&scene.copy, &layout::pack(&pack), 40).await;
    }
    let (before, theirs) = (objects(&scene.vault).await, objects(&scene.copy).await);
    let done = scene.heal().await;
    assert_eq!(objects(&scene.vault).await, before, "nothing is overwritten");
    assert_eq!(objects(&scene.copy).await, theirs);
    assert_eq!(done.report.damage.iter().map(|it| it.id).collect::<Vec<_>>(), [pack]);
    assert_eq!(done.report.damage, damage(&scene.vault).await);
    assert_eq!(done.healed.not_found.len(), 1);
    assert!(done.healed.not_found[0].why.contains("pack"), "{:?}", done.healed.not_found);
}

/// Denied is not damaged.
#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_may_not_be_read_is_neither_healed_nor_removed() {
    let scene = Scene::new().await;
    let (pack, _) = scene.packs(BlobType::Data).await[0];
    let before = objects(&scene.vault).await;
    let prefix = layout::pack(&pack);
    scene.faults.plan(Fault { on: Operation::Get, prefix, when: When::From(1), effect: Effect::Deny });
    let done = scene.heal().await;
    assert_eq!(done.report.damage.iter().map(|it| it.id).collect::<Vec<_>>(), [pack]);
    scene.faults.heal();
    assert_eq!(objects(&scene.vault).await, before);
    assert_eq!(damage(&scene.vault).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_had_is_stored_though_the_pack_cannot_be_done_without() {
    let scene = Scene::of(3 << 20).await;
    let (pack, _) = *scene.packs(BlobType::Data).await.iter().max_by_key(|(_, size)| *size).unwrap();
    let blobs = scene
        .vault
        .read_pack_header(&pack, scene.vault.store().size(&layout::pack(&pack)).await.unwrap().unwrap())
        .await
        .unwrap()
        .blobs;
    assert!(blobs.len() > 2, "{}", blobs.len());
    for (_, at) in &blobs[..2] {
        flip(&scene.vault, &layout::pack(&pack), at.offset as usize + 40).await;
    }
    let theirs = scene.copy.load_index(&Silent).await.unwrap().get(blobs[0].0).unwrap();
    flip(&scene.copy, &layout::pack(&theirs.pack), theirs.offset as usize + 40).await;
    let done = scene.heal().await;
    assert_eq!((done.healed.blobs_from_copy, done.healed.packs.len(), done.healed.blobs_moved), (1, 0, 0), "{done:?}");
    assert_eq!(done.healed.not_found.iter().map(|it| it.id).collect::<Vec<_>>(), [blobs[0].0.id]);
    assert_eq!(done.report.damage.iter().map(|it| it.id).collect::<Vec<_>>(), [pack], "the rest is still read there");
    let again = scene.heal().await;
    assert_eq!((again.healed.packs_written, again.report.damage), (0, done.report.damage));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_lost_its_index_and_its_packs_is_filled_again() {
    let scene = Scene::new().await;
    for kind in [FileType::Index, FileType::Pack] {
        for (id, _) in scene.vault.list(kind).await.unwrap() {
            scene.vault.remove(kind, &id).await.unwrap();
        }
    }
    let done = scene.heal().await;
    assert_eq!((done.report.damage, damage(&scene.vault).await), (vec![], vec![]));
    assert_eq!(done.snapshots.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_snapshot_needs_does_not_keep_a_damaged_pack() {
    let scene = Scene::new().await;
    let first = scene.vault.snapshots().await.unwrap().whole;
    std::fs::remove_dir_all(scene.source.path().join("a")).unwrap();
    back_up(&scene.vault, scene.source.path(), Threads::Inline).await;
    let (pack, _) = scene.packs(BlobType::Data).await[0];
    flip(&scene.vault, &layout::pack(&pack), 40).await;
    for file in first {
        scene.vault.remove(FileType::Snapshot, &file.id).await.unwrap();
    }
    let done = heal(&scene.vault, Sources::default()).await.unwrap();
    assert_eq!((done.report.damage, done.healed.packs, done.healed.not_found), (vec![], vec![pack], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_comes_back_as_what_became_of_it_in_the_copy() {
    let scene = Scene::new().await;
    let ours = scene.vault.snapshots().await.unwrap().whole;
    let lost = ours[1].clone();
    let theirs = Snapshot { original: Some(lost.id), parent: None, ..lost.snapshot.clone() };
    flip(&scene.vault, &layout::snapshot(&lost.id), 40).await;
    // Its own data is damaged as well: it must be there before the snapshot is.
    for (pack, _) in scene.packs(BlobType::Tree).await {
        scene.vault.remove(FileType::Pack, &pack).await.unwrap();
    }
    let done = scene.heal().await;
    assert_eq!((done.report.damage, damage(&scene.vault).await), (vec![], vec![]));
    let [healed] = done.healed.snapshots[..] else { panic!("{:?}", done.healed) };
    assert_eq!(healed.lost, lost.id);
    assert_eq!(scene.vault.snapshot(&healed.now).await.unwrap(), theirs);
    assert!(!scene.vault.list(FileType::Snapshot).await.unwrap().iter().any(|(id, _)| *id == lost.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_of_a_byte_for_byte_copy_keeps_its_id() {
    let scene = Scene::new().await;
    let lost = scene.vault.snapshots().await.unwrap().whole[0].id;
    let (object, mirror) = (layout::snapshot(&lost), crate::vault::tests::memory());
    for (key, bytes) in objects(&scene.vault).await {
        mirror.put(&key, bytes).await.unwrap();
    }
    let good = scene.vault.store().get(&object).await.unwrap();
    flip(&scene.vault, &object, 40).await;
    let password = crate::vault::key::Secret::new("password");
    let mirror = Vault::open(mirror, &password, &Default::default(), &crate::vault::tests::seeded(3)).await.unwrap();
    let done = heal(&scene.vault, Sources { copy: Some(&mirror), files: None }).await.unwrap();
    assert_eq!((done.report.damage, done.healed.snapshots[0].now), (vec![], lost));
    assert_eq!(scene.vault.store().get(&object).await.unwrap(), good);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_give_what_they_hold_unchanged_and_nothing_else() {
    let scene = Scene::of(5 << 20).await;
    for (pack, _) in scene.packs(BlobType::Data).await {
        scene.vault.remove(FileType::Pack, &pack).await.unwrap();
    }
    let changed = scene.source.path().join("a/one");
    let times = std::fs::metadata(&changed).unwrap().modified().unwrap();
    let mut bytes = std::fs::read(&changed).unwrap();
    bytes[4 << 20] ^= 1;
    std::fs::write(&changed, bytes).unwrap();
    // Of equal size and time: only what it hashes to tells.
    std::fs::File::options().write(true).open(&changed).unwrap().set_modified(times).unwrap();
    let elsewhere = heal(&scene.vault, Sources { copy: None, files: Some("another host") }).await.unwrap();
    assert_eq!(elsewhere.healed.blobs_from_source, 0);
    let done = heal(&scene.vault, Sources { copy: None, files: Some("host") }).await.unwrap();
    assert_eq!(done.healed.not_found.len(), 1, "{:?}", done.healed);
    assert!(done.healed.blobs_from_source > 4, "{:?}", done.healed);
    let hit: Vec<&String> = done.report.damage.iter().flat_map(|it| &it.files).collect();
    assert!(!hit.is_empty() && hit.iter().all(|file| file.ends_with("/a/one")), "{hit:?}");
    let rest = scene.heal().await;
    assert_eq!((rest.report.damage, rest.healed.blobs_from_copy), (vec![], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_cut_again_where_the_index_does_not_say_how_they_were() {
    let scene = Scene::of(5 << 20).await;
    let data = scene.packs(BlobType::Data).await;
    for (pack, _) in data {
        scene.vault.remove(FileType::Pack, &pack).await.unwrap();
    }
    for (index, _) in scene.vault.list(FileType::Index).await.unwrap() {
        scene.vault.remove(FileType::Index, &index).await.unwrap();
    }
    let done = heal(&scene.vault, Sources { copy: None, files: Some("host") }).await.unwrap();
    assert_eq!((done.report.damage, damage(&scene.vault).await), (vec![], vec![]));
    assert!(done.healed.blobs_from_source > 4, "{:?}", done.healed);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_vault_is_healed_from_itself() {
    let scene = Scene::new().await;
    let itself = Sources { copy: Some(&scene.vault), files: None };
    assert!(matches!(heal(&scene.vault, itself).await, Err(HealError::SameVault { .. })));
}

/// Damage of every kind at once.
async fn wreck(scene: &Scene) {
    let (data, trees) = (scene.packs(BlobType::Data).await, scene.packs(BlobType::Tree).await);
    flip(&scene.vault, &layout::pack(&data[0].0), 40).await;
    scene.vault.remove(FileType::Pack, &data[1].0).await.unwrap();
    flip(&scene.vault, &layout::pack(&trees[0].0), 40).await;
    let index = scene.vault.list(FileType::Index).await.unwrap()[0].0;
    flip(&scene.vault, &layout::index(&index), 40).await;
    let lost = scene.vault.snapshots().await.unwrap().whole[1].id;
    flip(&scene.vault, &layout::snapshot(&lost), 40).await;
}

/// How far a snapshot restores: the files that come back.
async fn readable(vault: &Vault, source: &Path) -> usize {
    let Ok(loaded) = vault.load_index_past_damage(&Silent).await else { return 0 };
    let mut count = 0;
    for file in vault.snapshots().await.unwrap().whole {
        let mut walk = crate::look::Walk::new(vault, &loaded.index, file.snapshot.tree, b"");
        while let Some(entry) = walk.next().await {
            let Ok(node) = entry else { continue };
            for id in node.content.iter() {
                count += usize::from(vault.load_blob(&loaded.index, crate::vault::BlobKey::data(id)).await.is_ok());
            }
        }
    }
    assert!(source.exists());
    count
}

/// Each request fails, once or from then on, before it took effect or after: what could be read can still be read, and the
/// next run ends whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_heal_that_fails_anywhere_loses_nothing_and_the_next_ends_whole() {
    for on in KINDS {
        for (when, effect) in FAILURES {
            for nth in 1.. {
                let scene = Scene::new().await;
                wreck(&scene).await;
                let could = readable(&scene.vault, scene.source.path()).await;
                scene.faults.reset_counts();
                scene.faults.plan(fault(on, when(nth), effect));
                let first = heal(&scene.vault, scene.sources()).await;
                let over = scene.faults.count(on).operations < nth;
                scene.faults.heal();
                let label = format!("{on:?} {:?} {effect:?}", when(nth));
                let can = readable(&scene.vault, scene.source.path()).await;
                assert!(can >= could, "{label}: {can} of {could} blobs: {first:?}");
                scene.vault.unlock(Unlock::All).await.unwrap();
                let done = scene.heal().await;
                assert_eq!(
                    (done.report.damage.as_slice(), damage(&scene.vault).await),
                    (&[][..], vec![]),
                    "{label}: {first:?}"
                );
                assert_eq!(
                    (done.snapshots.len(), readable(&scene.vault, scene.source.path()).await),
                    (2, 3),
                    "{label}"
                );
                if over {
                    assert!(first.is_ok() && nth > 2, "{label}: {first:?}");
                    break;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_damaged_in_both_of_its_packs_hits_its_files() {
    let scene = Scene::new().await;
    let (pack, size) = scene.packs(BlobType::Data).await[0];
    let contents = scene.vault.read_pack_header(&pack, size).await.unwrap();
    let (key, _) = contents.blobs[0];
    let plain = scene.vault.load_blob(&scene.vault.load_index(&Silent).await.unwrap(), key).await.unwrap();
    let mut builder = crate::vault::pack::PackBuilder::new(BlobType::Data);
    let mut sealer = scene.vault.sealer(3);
    builder.add(&mut sealer, key.id, &plain).unwrap();
    let second = builder.finish(&sealer).unwrap();
    let second = scene.vault.put_pack(second).await.unwrap();
    scene.vault.save_index(std::slice::from_ref(&second)).await.unwrap();
    flip(&scene.vault, &layout::pack(&pack), 40).await;
    let one = damage(&scene.vault).await;
    assert!(one.len() == 1 && one[0].files.is_empty(), "it is whole in the other: {one:?}");
    flip(&scene.vault, &layout::pack(&second.id), 40).await;
    let both = damage(&scene.vault).await;
    assert!(both.len() == 2 && both.iter().all(|it| it.object == Object::Pack && it.files_count > 0), "{both:?}");
    assert_eq!(scene.heal().await.report.damage, []);
}
