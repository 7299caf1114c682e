use std::time::Duration;

use super::*;
use crate::vault::lock::LockKind;
use crate::vault::tests::{cheap, env, memory, open};
use crate::vault::{BlobKey, BlobType, InitOptions, Located, PackContents};

async fn native() -> Vault {
    let options = InitOptions { sharing: Sharing::Native, ..cheap() };
    Vault::init(memory(), &crate::vault::key::Secret::new("password"), &options, &env()).await.unwrap()
}

fn pack(name: &str) -> Id {
    Id::of(name.as_bytes())
}

async fn lists(vault: &Vault) -> usize {
    vault.store().list(CONDEMNED).await.unwrap().len()
}

#[tokio::test]
async fn each_epoch_names_all_that_was_ever_condemned() {
    let vault = native().await;
    let start = vault.condemned().await.unwrap();
    assert_eq!((start.epoch(), start.boundary(), start.packs().len()), (0, 0, 0));
    assert!(vault.condemn(&start, &[pack("a"), pack("b")]).await.unwrap());
    let first = vault.condemned().await.unwrap();
    assert!(vault.condemn(&first, &[pack("c")]).await.unwrap());
    let second = vault.condemned().await.unwrap();
    assert_eq!((second.epoch(), second.boundary(), second.waiting()), (2, 0, 3));
    assert_eq!(
        [pack("a"), pack("b"), pack("c"), pack("d")].map(|pack| second.of(&pack)),
        [Some(1), Some(1), Some(2), None]
    );
    assert_eq!(lists(&vault).await, 1, "older lists are in nobody's way");
}

#[tokio::test]
async fn of_two_who_condemn_one_is_told_that_nothing_came_of_it() {
    let vault = native().await;
    let both = vault.condemned().await.unwrap();
    assert!(vault.condemn(&both, &[pack("first")]).await.unwrap());
    assert!(!vault.condemn(&both, &[pack("second")]).await.unwrap());
    let now = vault.condemned().await.unwrap();
    assert_eq!((now.epoch(), now.of(&pack("first")), now.of(&pack("second"))), (1, Some(1), None));
    // The list that lost is removed by whoever condemns next.
    assert_eq!(lists(&vault).await, 2);
    assert!(vault.condemn(&now, &[]).await.unwrap());
    assert_eq!(lists(&vault).await, 1);
}

#[tokio::test]
async fn a_writer_is_overtaken_only_by_what_it_did_not_know() {
    let vault = native().await;
    let before = vault.condemned().await.unwrap();
    vault.condemn(&before, &[pack("a")]).await.unwrap();
    let knows = vault.condemned().await.unwrap();
    assert!(!vault.is_overtaken(&before).await.unwrap());
    let moved = vault.advance_boundary(&knows).await.unwrap();
    assert_eq!((moved.boundary(), moved.waiting()), (1, 0));
    assert!(vault.is_overtaken(&before).await.unwrap());
    assert!(!vault.is_overtaken(&knows).await.unwrap());
    // One that is late finds how things stand, and moves nothing back.
    vault.condemn(&moved, &[pack("b")]).await.unwrap();
    let late = vault.advance_boundary(&knows).await.unwrap();
    assert_eq!((late.epoch(), late.boundary()), (2, 1));
}

#[tokio::test]
async fn a_state_that_is_gone_is_damage_and_is_put_together_again_from_the_lists() {
    let vault = native().await;
    let start = vault.condemned().await.unwrap();
    vault.condemn(&start, &[pack("a")]).await.unwrap();
    let writer = vault.condemned().await.unwrap();
    for damage in ["removed", "overwritten"] {
        match damage {
            "removed" => vault.store().delete(GC_STATE).await.unwrap(),
            _ => vault.store().put(GC_STATE, "nothing".into()).await.unwrap(),
        }
        let read = vault.condemned().await;
        assert!(matches!(&read, Err(VaultError::Damaged { object, .. }) if object == GC_STATE), "{damage}: {read:?}");
        let lock = vault.lock(LockKind::Exclusive, Duration::ZERO).await.unwrap();
        assert!(vault.mend_condemned(&lock).await.unwrap(), "{damage}");
        assert!(!vault.mend_condemned(&lock).await.unwrap(), "there is nothing to mend any more");
        lock.release().await;
        let mended = vault.condemned().await.unwrap();
        assert!(mended.of(&pack("a")).is_some() && mended.boundary() == mended.epoch(), "{damage}: {mended:?}");
        assert!(vault.is_overtaken(&writer).await.unwrap());
    }
}

#[tokio::test]
async fn a_list_that_is_gone_is_damage_not_nothing() {
    let vault = native().await;
    let start = vault.condemned().await.unwrap();
    vault.condemn(&start, &[pack("a")]).await.unwrap();
    let key = vault.store().list(CONDEMNED).await.unwrap().remove(0).key;
    vault.store().delete(&key).await.unwrap();
    let read = vault.condemned().await;
    assert!(matches!(&read, Err(VaultError::Damaged { object, .. }) if *object == key), "{read:?}");
}

#[tokio::test]
async fn where_stock_tools_write_nothing_is_condemned() {
    let shared = crate::vault::tests::vault().await;
    let seen = shared.condemned().await.unwrap();
    assert!(!shared.condemn(&seen, &[pack("a")]).await.unwrap());
    assert!(!shared.is_overtaken(&shared.advance_boundary(&seen).await.unwrap()).await.unwrap());
    assert!(shared.store().list("drctl/gc").await.unwrap().is_empty());
    assert!(open(shared.store(), "password").await.unwrap().condemned().await.unwrap().packs().is_empty());
}

#[tokio::test]
async fn a_writer_does_not_rely_on_what_is_condemned_and_finds_it_all_the_same() {
    let vault = native().await;
    let key = |name: &str| BlobKey { kind: BlobType::Data, id: Id::of(name.as_bytes()) };
    let place = |offset| Located { pack: Id::default(), offset, length: 40, uncompressed: None };
    let contents = |pack: Id, blobs: &[&str]| {
        let placed = blobs.iter().zip(0..).map(|(name, n)| (key(name), Located { pack, ..place(n * 40) }));
        PackContents { id: pack, blobs: placed.collect() }
    };
    let packs = [contents(pack("old"), &["only there", "in both"]), contents(pack("new"), &["in both"])];
    vault.save_index(&packs).await.unwrap();
    vault.condemn(&vault.condemned().await.unwrap(), &[pack("old")]).await.unwrap();
    let (_, index) = vault.load_view(&crate::monitor::Silent).await.unwrap();
    assert!(!index.contains(key("only there")) && index.contains(key("in both")));
    assert_eq!(index.get(key("only there")).unwrap().pack, pack("old"));
    let both: Vec<Id> = index.get_all(key("in both")).iter().map(|at| at.pack).collect();
    assert_eq!(both, [pack("new"), pack("old")]);
    assert!(index.claim(key("only there")), "it is to be stored again");
    assert!(!index.claim(key("in both")));
}
