//! Rebuilding the index of real vaults in memory.

use std::collections::HashSet;
use std::time::Duration;

use super::plan::Trust;
use super::{Mode, Options, Outcome, run};
use crate::backup::Threads;
use crate::check::{self, Lock, ReadData};
use crate::heal::testing::{FAILURES, KINDS, fault, faulty, flip};
use crate::monitor::{Cancel, Silent};
use crate::restore::tests::{back_up, noise};
use crate::vault::tests::vault;
use crate::vault::{FileType, Id, Vault, layout};

/// A vault of two backups, with an index file for each.
async fn scene() -> Vault {
    let source = tempfile::tempdir().unwrap();
    let vault = vault().await;
    for (name, seed) in [("one", 1), ("two", 2)] {
        std::fs::write(source.path().join(name), noise(1 << 20, seed)).unwrap();
        back_up(&vault, source.path(), Threads::Inline).await;
    }
    assert_eq!(ids(&vault, FileType::Index).await.len(), 2);
    vault
}

async fn rebuild(vault: &Vault, trust: Trust, mode: Mode) -> Outcome {
    let options = Options { trust, mode, retry_lock: Duration::ZERO };
    run(vault, options, &Silent, &Cancel::default()).await.unwrap()
}

async fn ids(vault: &Vault, kind: FileType) -> HashSet<Id> {
    vault.list(kind).await.unwrap().into_iter().map(|(id, _)| id).collect()
}

async fn is_whole(vault: &Vault) -> bool {
    let options = check::Options { read_data: ReadData::All, lock: Lock::None };
    let report = check::run(vault, options, std::sync::Arc::new(Silent), Cancel::default()).await.unwrap();
    report.damage.is_empty() && report.orphan_packs == 0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_index_is_rebuilt_from_the_headers_of_packs() {
    let vault = scene().await;
    let packs = ids(&vault, FileType::Pack).await.len() as u64;
    for id in ids(&vault, FileType::Index).await {
        vault.remove(FileType::Index, &id).await.unwrap();
    }
    let would = rebuild(&vault, Trust::Valid, Mode::Rehearse).await;
    assert_eq!((would.headers_read, would.packs_added, would.files_written), (packs, packs, 0));
    assert!(!is_whole(&vault).await, "a rehearsal writes nothing");
    let done = rebuild(&vault, Trust::Valid, Mode::Write).await;
    assert_eq!((done.packs, done.packs_added, done.files_written), (packs, packs, 1));
    assert!(done.is_whole() && is_whole(&vault).await, "{done:?}");
    let again = rebuild(&vault, Trust::Valid, Mode::Write).await;
    assert_eq!((again.headers_read, again.files_written, again.files_removed), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_index_file_is_replaced_and_what_others_name_is_not_read_again() {
    let vault = scene().await;
    let bad = ids(&vault, FileType::Index).await.into_iter().min().unwrap();
    flip(&vault, &layout::index(&bad), 40).await;
    let done = rebuild(&vault, Trust::Valid, Mode::Write).await;
    assert_eq!((done.packs, done.headers_read, done.damaged_files.clone()), (4, 2, vec![bad]));
    assert_eq!((done.files_written, done.files_removed), (1, 1));
    assert!(is_whole(&vault).await && !ids(&vault, FileType::Index).await.contains(&bad));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_distrusts_all_index_files_gets_new_ones() {
    let vault = scene().await;
    let before = ids(&vault, FileType::Index).await;
    let done = rebuild(&vault, Trust::Nothing, Mode::Write).await;
    assert_eq!((done.headers_read, done.packs_added, done.files_removed), (4, 0, 2));
    assert!(is_whole(&vault).await && ids(&vault, FileType::Index).await.is_disjoint(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_gone_or_cannot_be_read_is_listed_and_what_is_known_of_it_stays() {
    let vault = scene().await;
    let packs = vault.list(FileType::Pack).await.unwrap();
    let mut large: Vec<_> = packs.iter().filter(|(_, size)| *size > 1 << 20).collect();
    large.sort_unstable();
    let [(gone, _), (cut, size)] = large[..] else { panic!("{packs:?}") };
    vault.remove_packs(&[*gone]).await.unwrap();
    let whole = vault.store().get(&layout::pack(cut)).await.unwrap();
    vault.store().put(&layout::pack(cut), whole.slice(..whole.len() - 1)).await.unwrap();
    for trust in [Trust::Valid, Trust::Nothing] {
        let done = rebuild(&vault, trust, Mode::Write).await;
        assert_eq!(done.unreadable.iter().map(|it| it.pack).collect::<Vec<_>>(), [*cut], "{done:?}");
        assert_eq!(done.lost_packs, if trust == Trust::Valid { vec![*gone] } else { vec![] });
        assert!(!done.is_whole());
        let known: Vec<_> = vault.load_index(&Silent).await.unwrap().packs().collect();
        assert!(known.iter().any(|pack| pack.id == *cut && pack.size == *size), "{known:?}");
        assert!(known.iter().all(|pack| pack.id != *gone));
    }
}

/// Each request fails, once or from then on, before or after it took effect; the next rebuild ends whole, and no blob is ever in no index
/// that was in one.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_fails_anywhere_is_made_good_by_the_next() {
    for on in KINDS {
        for (when, effect) in FAILURES {
            for nth in 1.. {
                let (faults, vault) = faulty().await;
                let source = tempfile::tempdir().unwrap();
                for (name, seed) in [("one", 1), ("two", 2)] {
                    std::fs::write(source.path().join(name), noise(10_000, seed)).unwrap();
                    back_up(&vault, source.path(), Threads::Inline).await;
                }
                let bad = ids(&vault, FileType::Index).await.into_iter().min().unwrap();
                flip(&vault, &layout::index(&bad), 40).await;
                faults.reset_counts();
                faults.plan(fault(on, when(nth), effect));
                let options = Options { trust: Trust::Nothing, mode: Mode::Write, retry_lock: Duration::ZERO };
                let first = run(&vault, options, &Silent, &Cancel::default()).await;
                let over = faults.count(on).operations < nth;
                faults.heal();
                let readable = vault.load_index_past_damage(&Silent).await.unwrap().index.packs().count();
                assert!(readable >= 2, "{on:?} {nth} {effect:?}: {readable} packs are named");
                vault.unlock(crate::vault::lock::Unlock::All).await.unwrap();
                let done = rebuild(&vault, Trust::Valid, Mode::Write).await;
                assert!(done.is_whole() && is_whole(&vault).await, "{on:?} {nth} {effect:?}: {first:?} {done:?}");
                if over {
                    assert!(first.is_ok() && nth > 2, "{on:?} {nth}: {first:?}");
                    break;
                }
            }
        }
    }
}
