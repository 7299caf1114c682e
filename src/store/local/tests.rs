use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use rustix::fs::CWD;

use super::*;
use crate::store::{OpenOptions as StoreOptions, PutNew, Store, StoreErrorKind};

async fn open(root: &FsPath) -> Store {
    Store::open(root.to_str().unwrap(), &StoreOptions::default()).await.unwrap()
}

fn files(folder: &FsPath) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn files_and_folders_are_private_and_nothing_is_left_over() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a/b");
    let store = open(&root).await;
    assert_eq!(store.list("").await.unwrap(), [], "a vault that is not there yet is empty");
    assert!(!root.exists(), "nothing is made before the first put");
    store.put("data/ab/abcd", "x".into()).await.unwrap();
    store.put("data/ab/abcd", "y".into()).await.unwrap();
    store.put_new("data/ab/abce", "z".into()).await.unwrap();
    assert_eq!(store.put_new("data/ab/abce", "q".into()).await.unwrap(), PutNew::Exists);
    let mode = |path: &str| std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
    for made in ["a", "a/b", "a/b/data", "a/b/data/ab"] {
        assert_eq!(mode(made), 0o700, "{made}");
    }
    assert_eq!(mode("a/b/data/ab/abcd"), 0o600);
    assert_eq!(mode("a/b/data/ab/abce"), 0o600);
    assert_eq!(files(&root.join("data/ab")), ["abcd", "abce"]);
}

#[tokio::test]
async fn unfinished_and_foreign_files_are_not_listed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.put("data/ab/abcd", "x".into()).await.unwrap();
    for name in ["abcd-tmp-1234567", "config-tmp-9"] {
        std::fs::write(folder.path().join("data/ab").join(name), "torn").unwrap();
    }
    std::fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"not\xfftext")), "x").unwrap();
    std::fs::write(folder.path().join("line\nbreak"), "x").unwrap();
    rustix::fs::mkfifoat(CWD, folder.path().join("fifo"), 0o600.into()).unwrap();
    std::os::unix::fs::symlink("/nowhere", folder.path().join("dangling")).unwrap();
    let keys: Vec<_> = store.list("").await.unwrap().into_iter().map(|info| info.key).collect();
    assert_eq!(keys, ["data/ab/abcd"]);
    assert_eq!(store.put("lease-tmp-1", "x".into()).await.unwrap_err().kind, StoreErrorKind::Config);
    store.put("host-tmp-a/lease-tmp-", "x".into()).await.unwrap();
    assert_eq!(store.list("host-tmp-a").await.unwrap().len(), 1, "only digits at the end mark a temporary file");
}

#[tokio::test]
async fn unfinished_files_go_when_asked_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.put("data/ab/whole", "x".into()).await.unwrap();
    for left in ["data/ab/one-tmp-1", "data/two-tmp-22", "locks/three-tmp-3"] {
        std::fs::create_dir_all(dir.path().join(left).parent().unwrap()).unwrap();
        std::fs::write(dir.path().join(left), "half").unwrap();
    }
    std::fs::write(dir.path().join("data/ab/not-tmp-x"), "theirs").unwrap();
    assert_eq!(store.remove_unfinished("data").await.unwrap(), 8);
    assert_eq!(store.remove_unfinished("data").await.unwrap(), 0);
    assert_eq!(files(&dir.path().join("data/ab")), ["not-tmp-x", "whole"]);
    assert_eq!(files(&dir.path().join("locks")), ["three-tmp-3"]);
}

#[tokio::test]
async fn a_folder_of_packs_may_be_a_link() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(disk.path(), folder.path().join("data")).unwrap();
    let store = open(folder.path()).await;
    store.put("data/ab/abcd", "x".into()).await.unwrap();
    assert!(disk.path().join("ab/abcd").exists());
    assert_eq!(store.list("data").await.unwrap()[0].key, "data/ab/abcd");
}

#[tokio::test]
async fn a_left_over_under_the_next_name_is_stepped_over() {
    let folder = tempfile::tempdir().unwrap();
    let local = DurableLocal::new(folder.path());
    let next = local.tree.temporaries.load(Ordering::Relaxed);
    std::fs::write(folder.path().join(format!("k-tmp-{next}")), "another host's").unwrap();
    let store = Store::from_object_store(Arc::new(local), "", "file:///test");
    store.put("k", "mine".into()).await.unwrap();
    assert_eq!(files(folder.path()), ["k".to_owned(), format!("k-tmp-{next}")]);
}

#[tokio::test]
async fn a_draft_is_no_object_until_it_is_published_and_whole_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("vault")).await;
    assert!(store.has_drafts());
    let mut draft = store.draft("data/00").unwrap().unwrap();
    assert!(draft.is_empty());
    draft.append(b"one, ").unwrap();
    draft.append(b"two").unwrap();
    assert_eq!(draft.len(), 8);
    let mut there = [0; 3];
    draft.read(5, &mut there).unwrap();
    assert_eq!(&there, b"two");
    assert!(draft.read(6, &mut there).is_err(), "as far as it goes");
    assert_eq!(store.list("").await.unwrap(), []);
    let unnamed = folder.path().join("vault/data/00");
    assert_eq!(files(&unnamed).len(), 1);
    assert_eq!(std::fs::metadata(unnamed.join(&files(&unnamed)[0])).unwrap().permissions().mode() & 0o777, 0o600);

    draft.publish("data/ab/abcd").await.unwrap();
    assert_eq!(store.get("data/ab/abcd").await.unwrap(), "one, two");
    assert_eq!(files(&unnamed), Vec::<String>::new());
    let mut second = store.draft("data/00").unwrap().unwrap();
    second.append(b"three").unwrap();
    second.publish("data/ab/abcd").await.unwrap();
    assert_eq!(store.get("data/ab/abcd").await.unwrap(), "three", "as a put does");
}

#[tokio::test]
async fn a_draft_that_is_given_up_or_swept_away_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut given_up = store.draft("data/00").unwrap().unwrap();
    given_up.append(b"half").unwrap();
    drop(given_up);
    assert_eq!(files(&folder.path().join("data/00")), Vec::<String>::new());

    let mut swept = store.draft("data/00").unwrap().unwrap();
    swept.append(b"half").unwrap();
    assert_eq!(store.remove_unfinished("data").await.unwrap(), 4, "what a crash leaves looks the same");
    assert!(swept.publish("data/ab/abcd").await.is_err());
    assert_eq!(store.list("").await.unwrap(), []);
}

#[tokio::test]
async fn a_draft_reaches_a_folder_on_another_disk() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::os::unix::fs::symlink(disk.path(), folder.path().join("data/00")).unwrap();
    let store = open(folder.path()).await;
    let mut draft = store.draft("data/00").unwrap().unwrap();
    draft.append(&vec![7; 3 << 20]).unwrap();
    draft.publish("data/ab/abcd").await.unwrap();
    assert_eq!(store.get("data/ab/abcd").await.unwrap(), vec![7; 3 << 20]);
    assert_eq!((files(disk.path()), files(&folder.path().join("data/ab"))), (vec![], vec!["abcd".to_owned()]));
}

#[tokio::test]
async fn only_a_folder_of_this_machine_without_a_limit_has_drafts() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let limited = StoreOptions { upload_limit: Some(crate::units::ByteSize(1 << 20)), ..StoreOptions::default() };
    let memory = Store::open("memory://drafts", &StoreOptions::default()).await.unwrap();
    for store in [Store::open(root, &limited).await.unwrap(), memory] {
        assert!(!store.has_drafts());
        assert!(store.draft("data/00").unwrap().is_none());
    }
}

#[tokio::test]
async fn a_root_that_vanished_is_neither_empty_nor_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("disk");
    std::fs::create_dir(&root).unwrap();
    let store = open(&root).await;
    store.put("config", "x".into()).await.unwrap();
    std::fs::remove_dir_all(&root).unwrap();
    assert_eq!(store.list("").await.unwrap_err().kind, StoreErrorKind::NoBucket);
    assert_eq!(store.list("data").await.unwrap_err().kind, StoreErrorKind::NoBucket);
    assert_eq!(store.put("config", "x".into()).await.unwrap_err().kind, StoreErrorKind::NoBucket);
    assert_eq!(store.put("data/ab/abcd", "x".into()).await.unwrap_err().kind, StoreErrorKind::NoBucket);
    assert_eq!(store.draft("data/00").unwrap_err().kind, StoreErrorKind::NoBucket);
    assert!(!root.exists());
}

#[tokio::test]
async fn folders_and_odd_times_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.put("data/k", "x".into()).await.unwrap();
    assert_eq!(store.get("data").await.unwrap_err().kind, StoreErrorKind::NotFound);
    assert_eq!(store.get("data/k/below").await.unwrap_err().kind, StoreErrorKind::NotFound);
    assert!(store.put("data/k/below", "x".into()).await.is_err());
    let file = File::options().write(true).open(folder.path().join("data/k")).unwrap();
    let (early, late) = (Duration::from_secs(9), Duration::from_secs(1 << 33));
    for time in [SystemTime::UNIX_EPOCH - early, SystemTime::UNIX_EPOCH + late] {
        file.set_modified(time).unwrap();
        assert_eq!(store.list("").await.unwrap().len(), 1);
        assert_eq!(store.get("data/k").await.unwrap(), "x");
    }
}

#[tokio::test]
async fn a_full_disk_says_so_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(folder.path())
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        // Not root, or a container without the right to mount: nothing to try this on.
        return;
    }
    let store = open(folder.path()).await;
    store.put("small", vec![1; 4096].into()).await.unwrap();
    let put = store.put("data/large", vec![2; 2 << 20].into()).await;
    let created = store.put_new("data/large", vec![2; 2 << 20].into()).await;
    let mut draft = store.draft("data").unwrap().unwrap();
    let appended = draft.append(&vec![2; 2 << 20]);
    drop(draft);
    let left = files(&folder.path().join("data"));
    let kept = store.get("small").await;
    let again = store.put("data/fits", vec![3; 4096].into()).await;
    let unmounted = std::process::Command::new("umount").arg(folder.path()).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(put.unwrap_err().kind, StoreErrorKind::NoSpace);
    assert_eq!(created.unwrap_err().kind, StoreErrorKind::NoSpace);
    assert_eq!(appended.unwrap_err().kind, StoreErrorKind::NoSpace);
    assert_eq!(left, Vec::<String>::new(), "the unfinished file is gone");
    assert_eq!(kept.unwrap().len(), 4096);
    again.unwrap();
}
