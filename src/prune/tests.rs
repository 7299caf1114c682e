//! Pruning real vaults, in memory and in folders.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::decision::{Limits, MaxUnused};
use super::{GRACE, Mode, Options, Outcome, PruneError, forget, run};
use crate::backup::Threads;
use crate::check::{self, Lock, ReadData};
use crate::monitor::{Cancel, Monitor, Silent};
use crate::restore::tests::back_up;
use crate::store::Store;
use crate::vault::key::Secret;
use crate::vault::pack::PackBuilder;
use crate::vault::tests::{cheap, env, vault};
use crate::vault::{BlobType, FileType, Id, InitOptions, Vault, layout};

async fn prune(vault: &Vault, mode: Mode) -> Result<Outcome, PruneError> {
    let max_unused = MaxUnused::percent(0).unwrap();
    let limits = Limits { max_unused, max_repack: None };
    let options = Options { limits, mode, grace: GRACE, retry_lock: Duration::ZERO };
    run(vault, options, Arc::new(Silent), Cancel::default()).await
}

async fn damage(vault: &Vault) -> Vec<check::Damage> {
    let options = check::Options { read_data: ReadData::All, lock: Lock::None };
    check::run(vault, options, Arc::new(Silent), Cancel::default()).await.unwrap().damage
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut out = vec![0; len];
    crate::clock::Random::fill(&crate::clock::Seeded::new(seed), &mut out);
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_is_freed_and_the_rest_stays_whole() {
    let source = tempfile::tempdir().unwrap();
    std::fs::write(source.path().join("stays"), noise(2 << 20, 1)).unwrap();
    std::fs::write(source.path().join("goes"), noise(3 << 20, 2)).unwrap();
    let vault = vault().await;
    let first = back_up(&vault, source.path(), Threads::Inline).await;
    std::fs::remove_file(source.path().join("goes")).unwrap();
    let second = back_up(&vault, source.path(), Threads::Inline).await;
    let all = vault.snapshots().await.unwrap().whole;
    let choice = forget::keep_last(&all, 1);
    assert_eq!((choice.remove.clone(), choice.keep), (vec![first.snapshot.unwrap()], vec![second.snapshot.unwrap()]));
    forget::remove(&vault, &choice.remove, Duration::ZERO).await.unwrap();

    let before = vault.list(FileType::Pack).await.unwrap();
    let would = prune(&vault, Mode::Rehearse).await.unwrap();
    assert!(would.figures.freed > 3 << 20, "{would:?}");
    assert_eq!(vault.list(FileType::Pack).await.unwrap(), before);

    let done = prune(&vault, Mode::Write).await.unwrap();
    assert_eq!(done.figures, would.figures);
    let left: u64 = vault.list(FileType::Pack).await.unwrap().iter().map(|(_, size)| size).sum();
    assert!(left < (2 << 20) + 10_000, "{left}");
    assert_eq!(damage(&vault).await, []);
    let again = prune(&vault, Mode::Write).await.unwrap();
    assert_eq!((again.figures.freed, again.packs_written), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_is_not_whole_is_not_pruned() {
    let source = tempfile::tempdir().unwrap();
    std::fs::write(source.path().join("file"), noise(2 << 20, 1)).unwrap();
    let vault = vault().await;
    back_up(&vault, source.path(), Threads::Inline).await;
    let packs = vault.list(FileType::Pack).await.unwrap();
    let (largest, _) = packs.iter().max_by_key(|(_, size)| size).unwrap();
    vault.remove_packs(&[*largest]).await.unwrap();
    let refused = prune(&vault, Mode::Write).await;
    assert!(matches!(refused, Err(PruneError::Refused(_))), "{refused:?}");
    let hit = damage(&vault).await;
    assert_eq!(hit.len(), 1);
    assert_eq!((hit[0].id, hit[0].files_count, hit[0].snapshots.len()), (*largest, 1, 1));
    assert!(hit[0].files[0].ends_with("/file"), "{:?}", hit[0].files);
}

/// rustic takes a pack out of the index a day before it deletes it, and keeps account of it in an index file.
#[tokio::test(flavor = "multi_thread")]
async fn no_index_file_keeps_account_of_a_pack_that_was_deleted() {
    let source = tempfile::tempdir().unwrap();
    std::fs::write(source.path().join("file"), noise(1 << 20, 1)).unwrap();
    let vault = vault().await;
    back_up(&vault, source.path(), Threads::Inline).await;
    let mut builder = PackBuilder::new(BlobType::Data);
    let mut sealer = vault.sealer(3);
    builder.add(&mut sealer, Id::of(b"marked"), b"marked").unwrap();
    let pack = builder.finish(&sealer).unwrap();
    let pack = vault.put_pack(pack).await.unwrap();
    let json = format!(r#"{{"packs":[],"packs_to_delete":[{{"id":"{}","blobs":[]}}]}}"#, pack.id);
    let account = vault.save(FileType::Index, json.as_bytes()).await.unwrap();

    prune(&vault, Mode::Write).await.unwrap();
    assert!(vault.list(FileType::Pack).await.unwrap().iter().all(|(id, _)| *id != pack.id));
    let files = vault.list(FileType::Index).await.unwrap();
    assert!(!files.is_empty() && files.iter().all(|(id, _)| *id != account), "{files:?}");
    assert_eq!(damage(&vault).await, []);
}

/// A vault in a folder with packs of 4 MiB, half of each needed by the one snapshot that is left.
async fn half_needed(folder: &Path, source: &Path) -> Vault {
    let store = Store::open(folder.to_str().unwrap(), &Default::default()).await.unwrap();
    let options = InitOptions { pack_size: 4 << 20, ..cheap() };
    let vault = Vault::init(store, &Secret::new("password"), &options, &env()).await.unwrap();
    let file = |number: u64| source.join(format!("{number:02}"));
    for number in 0..48 {
        std::fs::write(file(number), noise(700_000, number)).unwrap();
    }
    let first = back_up(&vault, source, Threads::Workers(2.try_into().unwrap())).await;
    for number in (0..48).step_by(2) {
        std::fs::remove_file(file(number)).unwrap();
    }
    back_up(&vault, source, Threads::Inline).await;
    forget::remove(&vault, &[first.snapshot.unwrap()], Duration::ZERO).await.unwrap();
    vault
}

/// Temporary files beside packs.
fn unfinished(folder: &Path) -> Vec<PathBuf> {
    let list = |folder: PathBuf| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let packs = list(folder.join("data")).flat_map(list);
    packs.filter(|path| path.to_string_lossy().contains("-tmp-")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_that_move_blobs_in_a_folder_leave_few_and_full_packs() {
    let (folder, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let vault = half_needed(folder.path(), source.path()).await;
    let done = prune(&vault, Mode::Write).await.unwrap();
    assert!(done.figures.repack_packs >= 6, "{done:?}");
    let packs = vault.list(FileType::Pack).await.unwrap();
    let (needed, sizes) = (24 * 700_000_u64, packs.iter().map(|(_, size)| *size));
    assert!((needed..needed + 100_000).contains(&sizes.clone().sum::<u64>()), "{packs:?}");
    // What two threads leave over is put together unless it is more than a pack: of less than half a pack there is one of
    // data and one of trees, however many threads there were.
    assert!(sizes.filter(|size| *size < 2 << 20).count() <= 2, "{packs:?}");
    assert_eq!(damage(&vault).await, []);
    assert_eq!(unfinished(folder.path()), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_does_not_open_ends_the_prune_and_is_named_and_nothing_goes() {
    let (folder, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let vault = half_needed(folder.path(), source.path()).await;
    let before = vault.list(FileType::Pack).await.unwrap();
    // Files were read in their order, each is one blob or two, and every second one is needed: some of it in each pack.
    let mut hit = Vec::new();
    for (id, size) in before.iter().filter(|(_, size)| *size > 2 << 20) {
        let object = layout::pack(id);
        let mut bytes = vault.store().get(&object).await.unwrap().to_vec();
        (0..*size as usize - 5000).step_by(200_000).for_each(|at| bytes[at] ^= 1);
        vault.store().put(&object, bytes.into()).await.unwrap();
        hit.push(*id);
    }
    assert!(hit.len() >= 6);
    let failed = prune(&vault, Mode::Write).await.unwrap_err();
    let PruneError::DamagedBlob { pack, .. } = failed else { panic!("{failed:?}") };
    assert!(hit.contains(&pack));
    let after: Vec<Id> = vault.list(FileType::Pack).await.unwrap().into_iter().map(|(id, _)| id).collect();
    assert!(before.iter().all(|(id, _)| after.contains(id)));
    assert_eq!(unfinished(folder.path()), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_that_is_asked_to_stop_while_blobs_move_leaves_nothing_half_written() {
    let (folder, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let vault = half_needed(folder.path(), source.path()).await;
    let before = vault.list(FileType::Pack).await.unwrap();
    let cancel = Cancel::default();
    let limits = Limits { max_unused: MaxUnused::percent(0).unwrap(), max_repack: None };
    let options = Options { limits, mode: Mode::Write, grace: GRACE, retry_lock: Duration::ZERO };
    let stop = Arc::new(Stop(cancel.clone()));
    assert!(matches!(run(&vault, options, stop, cancel).await, Err(PruneError::Cancelled)));
    let after: Vec<Id> = vault.list(FileType::Pack).await.unwrap().into_iter().map(|(id, _)| id).collect();
    assert!(before.iter().all(|(id, _)| after.contains(id)));
    assert_eq!(unfinished(folder.path()), Vec::<PathBuf>::new());
    let done = prune(&vault, Mode::Write).await.unwrap();
    assert!(done.figures.repack_packs >= 6, "{done:?}");
    assert_eq!(damage(&vault).await, []);
}

/// Asks to stop once the first pack's blobs have moved.
struct Stop(Cancel);

impl Monitor for Stop {
    fn advance(&self, _: u64, bytes: u64) {
        if bytes > 0 {
            self.0.cancel();
        }
    }
}
