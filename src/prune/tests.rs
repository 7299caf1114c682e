//! Pruning real vaults in memory.

use std::sync::Arc;
use std::time::Duration;

use super::decision::{Limits, MaxUnused};
use super::{GRACE, Mode, Options, Outcome, PruneError, forget, run};
use crate::backup::Threads;
use crate::check::{self, Lock, ReadData};
use crate::monitor::{Cancel, Silent};
use crate::restore::tests::back_up;
use crate::vault::pack::PackBuilder;
use crate::vault::tests::vault;
use crate::vault::{BlobType, FileType, Id, Vault};

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
