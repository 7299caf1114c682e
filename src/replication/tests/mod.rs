//! Copies between real vaults in memory.

mod faults;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use object_store::memory::InMemory;

use super::*;
use crate::backup::{self, Source, Threads};
use crate::check::{self, Lock, ReadData};
use crate::monitor::{Cancel, Collected, Silent};
use crate::prune::concurrent_tests as prune;
use crate::restore::tests::{backup_options, noise, options as to, picture, restore};
use crate::store::Store;
use crate::store::fault::{Effect, Fault, FaultStore, Operation, When};
use crate::vault::key::Secret;
use crate::vault::snapshot::SnapshotFile;
use crate::vault::tests::{cheap, seeded};
use crate::vault::{BlobKey, FileType, Id, InitOptions, Vault, layout};

/// A vault of its own in memory, and the faults that can befall it. Its packs are small, so that there are some.
async fn vault(seed: u64, like: Option<&Vault>) -> (Vault, FaultStore) {
    let faults = FaultStore::new(Arc::new(InMemory::new()));
    let store = Store::from_object_store(Arc::new(faults.clone()), "", &format!("memory://{seed}"));
    let same_chunks_as = like.map(|vault| *vault.chunker());
    let options = InitOptions { pack_size: 256 << 10, same_chunks_as, ..cheap() };
    let vault = Vault::init(store, &Secret::new(format!("password {seed}")), &options, &seeded(seed)).await.unwrap();
    (vault, faults)
}

fn day(n: i64) -> Timestamp {
    "2025-12-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(24 * n)
}

/// A backup of that day, with tags.
async fn back_up(vault: &Vault, path: &Path, n: i64) -> Id {
    let options = backup::Options {
        time: Some(day(n)),
        tags: vec!["plan=p".to_owned(), "tier=daily".to_owned()],
        ..backup_options(Threads::Inline)
    };
    let source = Source::Files(vec![path.to_owned()]);
    let done = backup::run(vault, source, options, Arc::new(Silent), Cancel::default()).await.unwrap();
    done.snapshot.unwrap()
}

fn options(select: Select) -> Options {
    Options { select, mode: Mode::Write, verify: Verify::ReadBack, retry_lock: Duration::ZERO }
}

async fn copy_all(source: &Vault, copy: &Vault) -> Result<Outcome, ReplicateError> {
    run(source, copy, options(Select::All), Arc::new(Silent), Cancel::default()).await
}

async fn check(vault: &Vault) -> check::Report {
    let options = check::Options { read_data: ReadData::All, lock: Lock::None };
    check::run(vault, options, Arc::new(Silent), Cancel::default()).await.unwrap()
}

async fn snapshots(vault: &Vault) -> Vec<SnapshotFile> {
    vault.snapshots().await.unwrap().whole
}

async fn packs(vault: &Vault) -> HashSet<Id> {
    vault.list(FileType::Pack).await.unwrap().into_iter().map(|(id, _)| id).collect()
}

/// A few folders and files, some of them alike, decided by the seed.
fn random_tree(dir: &Path, seed: u64) {
    let dice = noise(200, seed);
    for (n, roll) in dice.chunks(4).enumerate() {
        let folder = dir.join(format!("d{}/e{}", roll[0] % 4, roll[1] % 3));
        fs::create_dir_all(&folder).unwrap();
        let len = usize::from(roll[2]) * usize::from(roll[3]);
        let content = if roll[0] % 2 == 0 { noise(len, u64::from(roll[1] % 8)) } else { b"line\n".repeat(len) };
        fs::write(folder.join(format!("f{n}")), content).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_random_trees_restores_equal() {
    for seed in 10..16 {
        let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (source, _) = vault(1, None).await;
        let (copy, faults) = vault(2, Some(&source)).await;
        for n in 1..4 {
            random_tree(folder.path(), seed * 100 + n);
            back_up(&source, folder.path(), n.cast_signed()).await;
        }
        let done = copy_all(&source, &copy).await.unwrap();
        assert_eq!((done.status, done.copied.len(), &done.problems), (Status::Complete, 3, &vec![]), "seed {seed}");
        let times: Vec<Timestamp> = done.copied.iter().map(|copied| copied.time).collect();
        assert_eq!(times, [day(3), day(2), day(1)], "newest first");
        assert_eq!((done.lag.complete_up_to, done.lag.waiting), (Some(day(3)), None));

        for (there, here) in snapshots(&source).await.iter().zip(snapshots(&copy).await) {
            assert_eq!((here.snapshot.original, here.snapshot.parent), (Some(there.id), None));
            let same = crate::vault::snapshot::Snapshot {
                parent: there.snapshot.parent,
                original: None,
                ..here.snapshot.clone()
            };
            assert_eq!(same, there.snapshot, "tags, host, time and all else are kept");
        }
        let newest = snapshots(&copy).await.pop().unwrap().snapshot;
        assert_eq!(restore(&copy, newest.tree, to(target.path(), &newest)).await.problems, []);
        assert_eq!(picture(folder.path()), picture(target.path()), "seed {seed}");
        let report = check(&copy).await;
        assert_eq!((report.damage, report.orphan_packs), (vec![], 0));

        faults.reset_counts();
        let again = copy_all(&source, &copy).await.unwrap();
        assert_eq!((again.copied, again.plan.present.len(), again.figures.blobs), (vec![], 3, 0));
        assert_eq!(faults.count(Operation::Put).operations, 1, "nothing but the lock");

        // Cut alike: what is backed up into the copy itself finds its blobs there.
        let direct = backup_options(Threads::Inline);
        let files = Source::Files(vec![folder.path().to_owned()]);
        let direct = backup::run(&copy, files, direct, Arc::new(Silent), Cancel::default()).await.unwrap();
        // Only the folders on the way may have changed meanwhile: others make files beside ours.
        assert_eq!(direct.summary.data_blobs, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_the_source_copies_without_its_lock() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), b"content").unwrap();
    let (source, faults) = vault(1, None).await;
    back_up(&source, folder.path(), 1).await;
    faults.plan(Fault { on: Operation::Put, prefix: String::new(), when: When::From(1), effect: Effect::Deny });
    let (copy, _) = vault(2, None).await;
    let heard = Arc::new(Collected::default());
    let done = run(&source, &copy, options(Select::All), heard.clone(), Cancel::default()).await.unwrap();
    assert_eq!((done.status, done.copied.len()), (Status::Complete, 1));
    assert!(heard.notes.lock().unwrap().iter().any(|note| note.contains("not locked")));
    for vault in [&source, &copy] {
        assert_eq!(vault.list(FileType::Lock).await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_vaults_are_copied_into_one_and_from_there_onward() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = vault(1, None).await;
    let (second, _) = vault(2, Some(&first)).await;
    let (copy, _) = vault(3, Some(&first)).await;
    fs::write(folder.path().join("shared"), noise(400_000, 1)).unwrap();
    let a = back_up(&first, folder.path(), 1).await;
    fs::write(folder.path().join("own"), b"own").unwrap();
    let b = back_up(&second, folder.path(), 2).await;
    assert_eq!(copy_all(&first, &copy).await.unwrap().copied.len(), 1);
    let more = copy_all(&second, &copy).await.unwrap();
    assert_eq!(more.copied.len(), 1);
    assert!(more.figures.bytes_uploaded < 10_000, "what both have is there already: {:?}", more.figures);
    let originals: Vec<_> = snapshots(&copy).await.into_iter().map(|file| file.snapshot.original).collect();
    assert_eq!(originals, [Some(a), Some(b)]);
    assert_eq!(check(&copy).await.damage, []);

    // Round in a circle, nothing is copied twice.
    let back = copy_all(&copy, &first).await.unwrap();
    assert_eq!((back.copied.len(), back.plan.present.len()), (1, 1));
    assert_eq!(snapshots(&first).await[1].snapshot.original, Some(b));
}

#[tokio::test(flavor = "multi_thread")]
async fn some_are_copied_by_name_or_rehearsed_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (source, _) = vault(1, None).await;
    let mut ids = Vec::new();
    for n in 1..4 {
        fs::write(folder.path().join("file"), noise(50_000, n)).unwrap();
        ids.push(back_up(&source, folder.path(), n.cast_signed()).await);
    }
    let (copy, faults) = vault(2, None).await;
    faults.reset_counts();
    let would = Options { mode: Mode::Rehearse, ..options(Select::All) };
    let would = run(&source, &copy, would, Arc::new(Silent), Cancel::default()).await.unwrap();
    assert_eq!((would.plan.owed.len(), would.copied, would.lag.newest), (3, vec![], None));
    assert_eq!(faults.count(Operation::Put).operations, 0);

    let stopped = Cancel::default();
    stopped.cancel();
    let stopped = run(&source, &copy, options(Select::All), Arc::new(Silent), stopped).await;
    assert!(matches!(stopped, Err(ReplicateError::Cancelled)), "{stopped:?}");
    assert_eq!(copy.list(FileType::Lock).await.unwrap(), []);

    let one = options(Select::Snapshots(vec![ids[1]]));
    let one = run(&source, &copy, one, Arc::new(Silent), Cancel::default()).await.unwrap();
    assert_eq!(one.copied.iter().map(|copied| copied.origin).collect::<Vec<_>>(), [ids[1]]);

    // The copy's own retention: only the newest is worth copying.
    let origins: Vec<_> = snapshots(&source).await.iter().map(plan::Origin::from).collect();
    let arrived: Vec<_> = snapshots(&copy).await.iter().map(plan::Arrived::from).collect();
    let age = "29d".parse().unwrap();
    let tiers = vec![crate::config::Keep { tier: crate::config::Tier::Daily, age, min: 0 }];
    let kept = options(Select::Plan { origins, arrived, tiers });
    let kept = run(&source, &copy, kept, Arc::new(Silent), Cancel::default()).await.unwrap();
    assert_eq!(kept.copied.iter().map(|copied| copied.origin).collect::<Vec<_>>(), [ids[2]]);
    assert_eq!(kept.plan.expired, [ids[0]]);
    assert_eq!(kept.lag.waiting, None);

    let itself = copy_all(&source, &source).await;
    assert!(matches!(itself, Err(ReplicateError::SameVault { .. })), "{itself:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_a_prune_overtakes_is_copied_again() {
    let (source, _) = prune::native(10).await;
    let (copy, _) = prune::native(11).await;
    let files = prune::folder(&[1, 2]);
    prune::back_up(&source, files.path(), Arc::new(Silent)).await.unwrap();
    let options = || Options {
        select: Select::All,
        mode: Mode::Write,
        verify: Verify::ReadBack,
        retry_lock: std::time::Duration::ZERO,
    };
    let first = run(&source, &copy, options(), Arc::new(Silent), Cancel::default()).await.unwrap();
    prune::forget(&copy, first.copied[0].copy).await;
    let other = copy.clone();
    let monitor = prune::Meanwhile::at("copy", async move || {
        assert!(prune::prune(&other, std::time::Duration::ZERO).await.unwrap().figures.freed > 600_000);
    });
    let again = run(&source, &copy, options(), monitor, Cancel::default()).await.unwrap();
    assert_eq!((again.copied.len(), again.problems.len()), (1, 0));
    assert_eq!(copy.list(FileType::Snapshot).await.unwrap().len(), 1);
    assert_eq!(prune::damage(&copy).await, []);
}
