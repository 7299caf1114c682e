//! Copies with faults on either side: requests that fail, and what is damaged or gone.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_at_the_copy_leaves_it_sound_and_nothing_is_uploaded_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (source, _) = vault(1, None).await;
    for n in 1..3 {
        fs::write(folder.path().join(format!("file {n}")), noise(700_000, n)).unwrap();
        back_up(&source, folder.path(), n.cast_signed()).await;
    }
    let kinds = [
        (Operation::Put, Effect::Fail),
        (Operation::Put, Effect::LoseAnswer),
        (Operation::Put, Effect::Full),
        (Operation::Get, Effect::Fail),
        (Operation::List, Effect::Fail),
    ];
    for (on, effect) in kinds {
        let mut survived = 0;
        for n in 1.. {
            assert!(n < 200, "a run makes fewer requests than that");
            let (copy, faults) = vault(2, Some(&source)).await;
            // From then on: the process might as well have died there.
            faults.plan(Fault { on, prefix: String::new(), when: When::From(n), effect });
            let failed = copy_all(&source, &copy).await;
            faults.heal();
            let what = format!("{effect:?} of {on:?} from {n}");
            if let Ok(passed) = failed {
                assert_eq!(passed.copied.len(), 2, "{what}");
                survived = n - 1;
                break;
            }
            assert_eq!(check(&copy).await.damage, [], "{what}");
            let (before, whole) = (packs(&copy).await, snapshots(&copy).await.len());
            faults.reset_counts();
            let again = copy_all(&source, &copy).await.unwrap();
            assert_eq!((again.status, again.copied.len()), (Status::Complete, 2 - whole), "{what}");
            assert!(before.is_subset(&packs(&copy).await), "{what}");
            let report = check(&copy).await;
            assert_eq!((report.damage, report.orphan_packs), (vec![], 0), "{what}");
            let index = copy.load_index(&Silent).await.unwrap();
            let blobs: Vec<BlobKey> = index.iter().map(|(key, _)| key).collect();
            let distinct: HashSet<&BlobKey> = blobs.iter().collect();
            assert_eq!(blobs.len(), distinct.len(), "{what}: a blob was uploaded twice");
        }
        assert!(survived >= 5, "{on:?} was failed only {survived} times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_does_not_come_back_as_it_was_written_is_never_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), noise(700_000, 1)).unwrap();
    let (source, _) = vault(1, None).await;
    back_up(&source, folder.path(), 1).await;
    for verify in [Verify::ReadBack, Verify::Structure] {
        let (copy, faults) = vault(2, None).await;
        faults.plan(Fault {
            on: Operation::Put,
            prefix: "data/".to_owned(),
            when: When::Nth(2),
            effect: Effect::Truncate(100),
        });
        let options = Options { verify, ..options(Select::All) };
        let failed = run(&source, &copy, options.clone(), Arc::new(Silent), Cancel::default()).await;
        assert!(matches!(failed, Err(ReplicateError::ReadBack { .. })), "{failed:?}");
        assert_eq!(snapshots(&copy).await, []);
        let again = run(&source, &copy, options, Arc::new(Silent), Cancel::default()).await.unwrap();
        assert_eq!(again.copied.len(), 1);
        let report = check(&copy).await;
        assert_eq!((report.damage, report.orphan_packs), (vec![], 1), "the torn pack is left to prune");
    }
}

/// Where the source has a file's first blob.
async fn place_of(vault: &Vault, content: &[u8]) -> crate::vault::Located {
    let index = vault.load_index(&Silent).await.unwrap();
    let data = index.iter().filter(|(key, _)| key.kind == crate::vault::BlobType::Data);
    for (key, at) in data {
        let plain = vault.load_blob(&index, key).await.unwrap();
        if content.starts_with(&plain) {
            return at;
        }
    }
    panic!("the content is in the vault");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_damaged_at_its_source_is_named_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (bad, good) = (noise(100_000, 1), noise(100_000, 2));
    let (source, _) = vault(1, None).await;
    fs::write(folder.path().join("good"), &good).unwrap();
    let oldest = back_up(&source, folder.path(), 1).await;
    fs::write(folder.path().join("bad"), &bad).unwrap();
    let hit = back_up(&source, folder.path(), 2).await;
    fs::remove_file(folder.path().join("bad")).unwrap();
    let newest = back_up(&source, folder.path(), 3).await;

    let at = place_of(&source, &bad).await;
    let object = layout::pack(&at.pack);
    let sound = source.store().get(&object).await.unwrap();
    let mut broken = sound.to_vec();
    broken[at.offset as usize + 50] ^= 1;
    source.store().put(&object, broken.into()).await.unwrap();

    let (copy, _) = vault(2, None).await;
    let heard = Arc::new(Collected::default());
    let done = run(&source, &copy, options(Select::All), heard.clone(), Cancel::default()).await.unwrap();
    assert_eq!(done.status, Status::Partial);
    assert_eq!(done.copied.iter().map(|copied| copied.origin).collect::<Vec<_>>(), [newest, oldest]);
    assert_eq!(done.not_copied.len(), 1);
    let lost = &done.not_copied[0];
    assert_eq!((lost.origin, lost.blobs_lost), (hit, 1));
    assert!(lost.paths.len() == 1 && lost.paths[0].ends_with("/bad"), "{:?}", lost.paths);
    assert_eq!(heard.problems.lock().unwrap().len(), 1);
    // The newest is there, and yet the copy is not complete up to it.
    assert_eq!((done.lag.newest, done.lag.complete_up_to), (Some(day(3)), Some(day(1))));
    assert_eq!(check(&copy).await.damage, []);

    source.store().put(&object, sound).await.unwrap();
    let healed = copy_all(&source, &copy).await.unwrap();
    assert_eq!((healed.status, healed.copied.len()), (Status::Complete, 1));
    assert_eq!(healed.lag.complete_up_to, Some(day(3)));

    // A pack of the source that is gone is damage too, and an index that is gone hits what it named.
    source.remove_packs(&[at.pack]).await.unwrap();
    let (other, _) = vault(3, None).await;
    let done = copy_all(&source, &other).await.unwrap();
    assert!(done.not_copied.iter().any(|lost| lost.origin == hit && lost.why.contains("/bad")), "{done:?}");
    for (id, _) in source.list(FileType::Index).await.unwrap() {
        source.remove(FileType::Index, &id).await.unwrap();
    }
    let (another, _) = vault(4, None).await;
    let done = copy_all(&source, &another).await.unwrap();
    assert_eq!((done.copied.len(), done.not_copied.len(), done.lag.newest), (0, 3, None));
    assert_eq!(snapshots(&another).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_reached_is_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), noise(300_000, 1)).unwrap();
    let (source, faults) = vault(1, None).await;
    back_up(&source, folder.path(), 1).await;
    let (copy, _) = vault(2, None).await;
    for effect in [Effect::Fail, Effect::Deny] {
        faults.plan(Fault { on: Operation::Get, prefix: "data/".to_owned(), when: When::From(1), effect });
        let failed = copy_all(&source, &copy).await;
        assert!(matches!(failed, Err(ReplicateError::Source(_))), "{failed:?}");
        faults.heal();
    }
    assert_eq!(copy_all(&source, &copy).await.unwrap().status, Status::Complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_copy_has_lost_is_not_counted_as_there() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), noise(300_000, 1)).unwrap();
    let (source, _) = vault(1, None).await;
    back_up(&source, folder.path(), 1).await;
    let (copy, _) = vault(2, None).await;
    copy_all(&source, &copy).await.unwrap();
    fs::write(folder.path().join("new"), b"new").unwrap();
    back_up(&source, folder.path(), 2).await;
    let index = copy.load_index(&Silent).await.unwrap();
    let lost = index.packs().find(|pack| pack.kind == crate::vault::BlobType::Data).unwrap();
    copy.remove_packs(&[lost.id]).await.unwrap();
    let done = copy_all(&source, &copy).await.unwrap();
    assert_eq!((done.status, done.copied.len(), done.not_copied.len()), (Status::Partial, 0, 1));
    assert!(done.not_copied[0].why.contains("check the copy"), "{:?}", done.not_copied);
    assert_eq!(snapshots(&copy).await.len(), 1);
}
