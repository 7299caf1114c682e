//! Restores that take more than one window.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::tests::{back_up, options, picture, restore};
use super::{Existing, Options};
use crate::backup::Threads;
use crate::monitor::{Cancel, Monitor, Silent};
use crate::vault::pack::PackBuilder;
use crate::vault::snapshot::Snapshot;
use crate::vault::tests::vault;
use crate::vault::{BlobType, Id};

#[tokio::test(flavor = "multi_thread")]
async fn links_and_the_times_of_folders_wait_for_files_of_earlier_windows() {
    let source = tempfile::tempdir().unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let dir = |n: u64| source.path().join(format!("{:02}/{n:04}", n / 50));
    for n in 0..600 {
        fs::create_dir_all(dir(n)).unwrap();
        for file in ["a", "b"] {
            fs::write(dir(n).join(file), format!("{file} {n}")).unwrap();
        }
        if n % 90 == 89 {
            fs::hard_link(dir(0).join("a"), dir(n).join("first")).unwrap();
            fs::hard_link(dir(n - 1).join("b"), dir(n).join("before")).unwrap();
        }
    }
    for n in 0..600 {
        for folder in [dir(n), dir(n).parent().unwrap().to_owned()] {
            File::open(folder).unwrap().set_modified(long_ago + Duration::from_secs(n)).unwrap();
        }
    }
    let vault = vault().await;
    let snapshot = back_up(&vault, source.path(), Threads::per_processor()).await.written;
    for workers in [1, 4] {
        let target = tempfile::tempdir().unwrap();
        let options = || Options { workers, ..options(target.path(), &snapshot) };
        let restored = restore(&vault, snapshot.tree, options()).await;
        assert_eq!((restored.problems, restored.summary.files), (vec![], 1212));
        assert!(picture(source.path()) == picture(target.path()), "with {workers} workers");
        for n in (0..600).step_by(7) {
            let name = target.path().join(dir(n).strip_prefix(source.path()).unwrap());
            if n % 2 == 0 {
                fs::remove_dir_all(name).unwrap();
            } else {
                fs::write(name.join("b"), "other").unwrap();
            }
        }
        let mended = restore(&vault, snapshot.tree, Options { existing: Existing::Overwrite, ..options() }).await;
        assert_eq!(mended.problems, []);
        assert!(picture(source.path()) == picture(target.path()), "mended with {workers} workers");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_more_chunks_than_a_window_holds_comes_back_and_is_mended() {
    let vault = vault().await;
    let chunks = [b"first".as_slice(), b"the second chunk", b"3"];
    let (mut sealer, mut pack) = (vault.sealer(3), PackBuilder::new(BlobType::Data));
    for chunk in chunks {
        pack.add(&mut sealer, Id::of(chunk), chunk).unwrap();
    }
    let data = pack.finish(&sealer).unwrap();
    let order: Vec<&[u8]> = (0..40_000).map(|n| chunks[n * n % 7 % 3]).collect();
    let (plain, ids): (Vec<u8>, Vec<Id>) = (order.concat(), order.iter().map(|chunk| Id::of(chunk)).collect());
    let time = "2026-01-01T00:00:00Z";
    let node = json!({ "name": "large", "type": "file", "mode": 0o600, "mtime": time, "atime": time, "ctime": time,
        "size": plain.len(), "content": ids });
    let tree = json!({ "nodes": [node] }).to_string().into_bytes();
    let mut pack = PackBuilder::new(BlobType::Tree);
    pack.add(&mut sealer, Id::of(&tree), &tree).unwrap();
    let trees = pack.finish(&sealer).unwrap();
    let stored = [vault.put_pack(data).await.unwrap(), vault.put_pack(trees).await.unwrap()];
    vault.save_index(&stored).await.unwrap();
    let snapshot = Snapshot { tree: Id::of(&tree), paths: vec!["/".to_owned()], ..Snapshot::default() };

    let target = tempfile::tempdir().unwrap();
    let restored = restore(&vault, snapshot.tree, options(target.path(), &snapshot)).await;
    assert_eq!((restored.problems, restored.summary.files), (vec![], 1));
    assert!(fs::read(target.path().join("large")).unwrap() == plain);

    let file = File::options().write(true).open(target.path().join("large")).unwrap();
    for at in [0, plain.len() / 2, plain.len() - 1] {
        file.write_all_at(&[plain[at] ^ 1], at as u64).unwrap();
    }
    let again = Options { existing: Existing::Overwrite, ..options(target.path(), &snapshot) };
    let mended = restore(&vault, snapshot.tree, again).await;
    assert_eq!(mended.problems, []);
    assert!((3..=48).contains(&mended.summary.bytes_written), "{}", mended.summary.bytes_written);
    assert!(fs::read(target.path().join("large")).unwrap() == plain);
}

/// Panics once so many files are done.
#[derive(Debug)]
struct Breaking(std::sync::atomic::AtomicU64);

impl Monitor for Breaking {
    fn advance(&self, items: u64, _: u64) {
        let before = self.0.fetch_add(items, std::sync::atomic::Ordering::Relaxed);
        assert!(before < 40, "a defect");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_defect_in_one_thread_ends_the_restore() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for n in 0..300 {
        fs::write(source.path().join(n.to_string()), n.to_string()).unwrap();
    }
    let vault = vault().await;
    let snapshot = back_up(&vault, source.path(), Threads::per_processor()).await.written;
    let index = vault.load_index(&Silent).await.unwrap();
    let options = options(target.path(), &snapshot);
    let broken = tokio::spawn(async move {
        let monitor = Arc::new(Breaking(0.into()));
        super::run(&vault, &index, snapshot.tree, options, monitor, Cancel::default()).await
    });
    assert!(broken.await.unwrap_err().is_panic());
}
