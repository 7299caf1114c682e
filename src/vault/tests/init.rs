use std::sync::Arc;

use super::{chain, cheap, folder, init, memory, open};
use crate::store::Store;
use crate::store::fault::{Effect, Fault, FaultStore, Operation, When};
use crate::vault::config::VERSION;
use crate::vault::layout::{self, CONFIG, FileType, SETTINGS};
use crate::vault::settings::{Chunker, Sharing};
use crate::vault::{InitOptions, NewChunker, VaultError};

#[tokio::test]
async fn what_was_made_opens_as_it_was_made() {
    let dir = tempfile::tempdir().unwrap();
    let store = folder(&dir.path().join("new/vault")).await;
    let made = init(&store, "password", &cheap(), 1).await.unwrap();
    let opened = open(&store, "password").await.unwrap();
    assert_eq!(opened.id(), made.id());
    assert_eq!(opened.id().len(), 64);
    assert_eq!(opened.chunker(), made.chunker());
    assert!(matches!(opened.chunker(), Chunker::Gear { .. }));
    assert_eq!((opened.version(), opened.has_settings(), opened.sharing()), (VERSION, true, Sharing::Shared));
    assert_eq!(opened.pack_size(), 16 << 20);
    assert_eq!(opened.key_id(), made.key_id());
}

#[tokio::test]
async fn options_are_kept() {
    let store = memory();
    let options = InitOptions { chunker: NewChunker::Rabin, sharing: Sharing::Native, pack_size: 4 << 20, ..cheap() };
    init(&store, "password", &options, 1).await.unwrap();
    let opened = open(&store, "password").await.unwrap();
    assert!(matches!(opened.chunker(), Chunker::Rabin { .. }));
    assert_eq!((opened.sharing(), opened.pack_size()), (Sharing::Native, 4 << 20));
}

#[tokio::test]
async fn a_copy_takes_over_the_chunker() {
    for chunker in [NewChunker::Gear, NewChunker::Rabin] {
        let first = init(&memory(), "one", &InitOptions { chunker, ..cheap() }, 1).await.unwrap();
        let options = InitOptions { same_chunks_as: Some(*first.chunker()), ..cheap() };
        let store = memory();
        init(&store, "two", &options, 2).await.unwrap();
        let copy = open(&store, "two").await.unwrap();
        assert_eq!(copy.chunker(), first.chunker());
        assert_ne!(copy.id(), first.id());
    }
}

#[tokio::test]
async fn there_is_no_vault_where_none_was_made() {
    let dir = tempfile::tempdir().unwrap();
    let store = folder(&dir.path().join("none")).await;
    let error = open(&store, "password").await.unwrap_err();
    assert!(matches!(error, VaultError::NoVault { .. }), "{error:?}");
    assert!(error.hint().contains("drctl init"));
}

#[tokio::test]
async fn a_vault_is_not_made_twice_nor_over_the_remains_of_one() {
    let store = memory();
    init(&store, "password", &cheap(), 1).await.unwrap();
    let before = store.list("").await.unwrap();
    let again = init(&store, "password", &cheap(), 2).await.unwrap_err();
    assert!(matches!(again, VaultError::VaultExists { .. }), "{again:?}");
    assert_eq!(store.list("").await.unwrap(), before);
    for kind in [FileType::Snapshot, FileType::Index, FileType::Pack] {
        let store = memory();
        let object = layout::object(kind, &Default::default());
        store.put(&object, "x".into()).await.unwrap();
        let refused = init(&store, "password", &cheap(), 2).await.unwrap_err();
        assert!(matches!(refused, VaultError::NotEmpty { .. }), "{refused:?}");
        assert_eq!(store.list("").await.unwrap().len(), 1, "nothing was added");
        let damaged = open(&store, "password").await.unwrap_err();
        assert!(matches!(&damaged, VaultError::Damaged { object, .. } if object == CONFIG), "{damaged:?}");
    }
}

#[tokio::test]
async fn a_vault_is_not_made_among_other_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = folder(dir.path()).await;
    // What file systems have in their root, and what a making leaves that was cut short.
    for ours in ["lost+found", "keys", "data", "drctl", "config-tmp-4"] {
        std::fs::create_dir(dir.path().join(ours)).unwrap();
    }
    for (name, found) in [("letter", "\"letter\""), ("album", "\"album\" and 1 more")] {
        std::fs::write(dir.path().join(name), "").unwrap();
        let refused = init(&store, "password", &cheap(), 1).await.unwrap_err();
        assert!(matches!(&refused, VaultError::Occupied { found: it, .. } if it == found), "{refused:?}");
        assert!(store.list("keys").await.unwrap().is_empty(), "nothing was added");
    }
    for name in ["letter", "album"] {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    init(&store, "password", &cheap(), 1).await.unwrap();
}

#[tokio::test]
async fn a_making_that_was_cut_short_goes_on_with_the_same_password() {
    for left in [1, 2] {
        let store = memory();
        let first = init(&store, "password", &cheap(), 1).await.unwrap();
        store.delete(CONFIG).await.unwrap();
        if left == 1 {
            store.delete(SETTINGS).await.unwrap();
        }
        let error = open(&store, "password").await.unwrap_err();
        assert!(matches!(error, VaultError::Unfinished { .. }), "{error:?}");
        let other = init(&store, "other", &cheap(), 2).await.unwrap_err();
        assert!(matches!(other, VaultError::Unfinished { .. }), "{other:?}");
        assert_eq!(store.list("").await.unwrap().len(), left);
        let second = init(&store, "password", &cheap(), 3).await.unwrap();
        assert_eq!(second.key_id(), first.key_id(), "no second key file");
        assert_eq!(second.chunker() == first.chunker(), left == 2, "settings that were left are kept");
        assert_eq!(open(&store, "password").await.unwrap().chunker(), second.chunker());
    }
}

#[tokio::test]
async fn settings_of_another_try_are_not_taken_for_ours() {
    let store = memory();
    init(&store, "password", &cheap(), 1).await.unwrap();
    store.delete(CONFIG).await.unwrap();
    let rabin = InitOptions { chunker: NewChunker::Rabin, ..cheap() };
    assert!(matches!(init(&store, "password", &rabin, 2).await, Err(VaultError::Unfinished { .. })));
    let keys = store.list("keys").await.unwrap();
    store.delete(&keys[0].key).await.unwrap();
    let foreign = init(&store, "password", &cheap(), 3).await.unwrap_err();
    assert!(matches!(foreign, VaultError::Unfinished { .. }), "{foreign:?}");
    assert!(store.list("keys").await.unwrap().is_empty(), "the key file was taken back");
}

#[tokio::test]
async fn of_many_who_race_one_gets_the_vault() {
    let store = memory();
    let tries = (0..8).map(|seed| {
        let store = store.clone();
        async move { init(&store, &format!("password {seed}"), &cheap(), seed).await }
    });
    let won: Vec<_> = futures::future::join_all(tries).await.into_iter().filter_map(Result::ok).collect();
    assert_eq!(won.len(), 1);
    let keys = store.list("keys").await.unwrap();
    assert_eq!(keys.iter().map(|object| object.key.clone()).collect::<Vec<_>>(), [layout::key(&won[0].key_id())]);
}

#[tokio::test]
async fn damage_to_what_opening_needs_is_named() {
    for object in [CONFIG, SETTINGS, "keys"] {
        for place in ["first", "middle", "last", "cut", "emptied"] {
            let store = memory();
            init(&store, "password", &cheap(), 1).await.unwrap();
            let key =
                if object == "keys" { store.list(object).await.unwrap()[0].key.clone() } else { object.to_owned() };
            let mut bytes = store.get(&key).await.unwrap().to_vec();
            let last = bytes.len() - 1;
            match place {
                "first" => bytes[0] ^= 1,
                "middle" => bytes[last / 2] ^= 1,
                "last" => bytes[last] ^= 1,
                "cut" => bytes.truncate(last / 2),
                _ => bytes.clear(),
            }
            store.put(&key, bytes.into()).await.unwrap();
            let error = open(&store, "password").await.unwrap_err();
            assert!(matches!(&error, VaultError::Damaged { object, .. } if *object == key), "{key} {place}: {error:?}");
            assert!(chain(&error).contains(&key));
        }
    }
}

#[tokio::test]
async fn a_vault_without_keys_says_so() {
    let store = memory();
    let vault = init(&store, "password", &cheap(), 1).await.unwrap();
    store.delete(&layout::key(&vault.key_id())).await.unwrap();
    let error = open(&store, "password").await.unwrap_err();
    assert!(matches!(&error, VaultError::Damaged { object, .. } if object == "keys"), "{error:?}");
}

#[tokio::test]
async fn a_crash_at_any_write_of_an_init_is_made_good_by_a_second() {
    for nth in 1..=4 {
        for effect in [Effect::Fail, Effect::LoseAnswer, Effect::Full] {
            let faults = Arc::new(FaultStore::new(Arc::new(object_store::memory::InMemory::new())));
            let store = Store::from_object_store(faults.clone(), "", "memory://faults");
            // From then on, as for a process that is gone.
            faults.plan(Fault { on: Operation::Put, prefix: String::new(), when: When::From(nth), effect });
            let first = init(&store, "password", &cheap(), 1).await;
            faults.heal();
            let vault = match (first, open(&store, "password").await) {
                (Ok(made), Ok(opened)) => {
                    assert_eq!(made.id(), opened.id());
                    opened
                }
                // The answer to the last write was lost: the vault was made all the same.
                (Err(_), Ok(opened)) => opened,
                (Ok(_), Err(error)) => panic!("{nth} {effect:?}: made, and {error}"),
                (Err(_), Err(error)) => {
                    let known = matches!(error, VaultError::NoVault { .. } | VaultError::Unfinished { .. });
                    assert!(known, "{nth} {effect:?}: {error:?}");
                    init(&store, "password", &cheap(), 2).await.unwrap()
                }
            };
            assert_eq!(vault.keys().await.unwrap().len(), 1, "{nth} {effect:?}");
            assert_eq!(open(&store, "password").await.unwrap().chunker(), vault.chunker());
        }
    }
}
