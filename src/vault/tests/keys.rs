use super::{cheap, init, memory, open, vault};
use crate::vault::key::{KdfCost, Secret};
use crate::vault::layout::{self, FileType};
use crate::vault::{Id, VaultError};

#[tokio::test]
async fn a_wrong_password_is_told_apart() {
    let vault = vault().await;
    vault.add_key(&Secret::new("second"), KdfCost::Cheap).await.unwrap();
    let error = open(vault.store(), "third").await.unwrap_err();
    assert!(matches!(&error, VaultError::WrongKey { keys: 2, .. }), "{error:?}");
    assert!(!error.to_string().contains("third"));
}

#[tokio::test]
async fn every_key_opens_the_vault_and_one_in_use_stays() {
    let vault = vault().await;
    let second = vault.add_key(&Secret::new("second"), KdfCost::Cheap).await.unwrap();
    let opened = open(vault.store(), "second").await.unwrap();
    assert_eq!((opened.id(), opened.key_id()), (vault.id(), second));
    let listed = opened.keys().await.unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed.iter().filter(|key| key.current).map(|key| key.id).collect::<Vec<_>>(), [second]);
    assert!(matches!(opened.remove_key(&second).await, Err(VaultError::KeyInUse(_))));
    assert!(matches!(opened.remove_key(&Id::of(b"x")).await, Err(VaultError::NoSuchKey(_))));
    opened.remove_key(&vault.key_id()).await.unwrap();
    assert!(matches!(open(vault.store(), "password").await, Err(VaultError::WrongKey { .. })));
    assert!(open(vault.store(), "second").await.is_ok());
    assert!(matches!(vault.remove_key(&second).await, Err(VaultError::LastKey(_))), "its own is gone already");
}

#[tokio::test]
async fn a_password_is_changed_again_and_again_and_others_keep_theirs() {
    let vault = vault().await;
    vault.add_key(&Secret::new("other"), KdfCost::Cheap).await.unwrap();
    for password in ["a", "b", "c"] {
        let id = vault.change_password(&Secret::new(password), KdfCost::Cheap).await.unwrap();
        assert_eq!(vault.key_id(), id);
        assert!(open(vault.store(), password).await.is_ok());
        assert!(open(vault.store(), "other").await.is_ok());
        assert_eq!(vault.keys().await.unwrap().len(), 2);
    }
    assert!(vault.is_opened_by(&Secret::new("other")).await.unwrap());
    assert!(vault.is_opened_by(&Secret::new("c")).await.unwrap());
    assert!(!vault.is_opened_by(&Secret::new("b")).await.unwrap());
    for gone in ["password", "a", "b"] {
        assert!(matches!(open(vault.store(), gone).await, Err(VaultError::WrongKey { .. })), "{gone}");
    }
}

#[tokio::test]
async fn what_is_no_key_file_does_not_stand_in_the_way() {
    let vault = vault().await;
    let store = vault.store();
    for content in ["", "{}", "not json", "{\"kdf\":\"scrypt\",\"N\":4294967295}"] {
        store.put(&layout::key(&Id::of(content.as_bytes())), content.into()).await.unwrap();
    }
    store.put("keys/.DS_Store", "x".into()).await.unwrap();
    store.put(&layout::key(&Id([0; 32])), vec![b' '; 70_000].into()).await.unwrap();
    assert!(open(store, "password").await.is_ok());
    assert!(matches!(open(store, "wrong").await, Err(VaultError::WrongKey { keys: 1, .. })));
    assert_eq!(vault.keys().await.unwrap().len(), 1);
    assert_eq!(vault.damaged_keys().await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_key_file_of_another_vault_is_passed_over() {
    let vault = vault().await;
    let other = init(&memory(), "password", &cheap(), 5).await.unwrap();
    let file = other.load(FileType::Key, &other.key_id()).await.unwrap();
    vault.save(FileType::Key, &file).await.unwrap();
    let opened = open(vault.store(), "password").await.unwrap();
    assert_eq!((opened.id(), opened.key_id()), (vault.id(), vault.key_id()));
}
