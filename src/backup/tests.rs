//! Many threads make what one makes.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::{ParentChoice, Source, Threads};
use crate::look::locate;
use crate::monitor::{Cancel, Monitor, Silent};
use crate::restore::tests::backup_options;
use crate::vault::tests::vault;
use crate::vault::{Id, Vault};

/// Folders in folders, some with far more entries than may wait, and with subfolders before, among and behind the files.
fn make(dir: &Path, depth: usize, seed: &mut u64) {
    fs::create_dir_all(dir).unwrap();
    let mut roll = |below: u64| {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) % below
    };
    let files = if roll(3) == 0 { 90 } else { roll(8) };
    for n in 0..files {
        fs::write(dir.join(format!("{}{n}", roll(100))), format!("{depth} {n}")).unwrap();
    }
    let folders = if depth == 0 { 0 } else { 1 + roll(5) };
    let names: Vec<String> = (0..folders).map(|n| format!("{}folder{n}", roll(100))).collect();
    for name in names {
        make(&dir.join(name), depth - 1, seed);
    }
}

async fn tree(vault: &Vault, path: &Path, parent: ParentChoice, threads: Threads) -> (Id, super::Outcome) {
    let options = super::Options { parent, ..backup_options(threads) };
    let source = Source::Files(vec![path.to_owned()]);
    let done = super::run(vault, source, options, Arc::new(Silent), Cancel::default()).await.unwrap();
    assert_eq!(done.problems, []);
    // Not from the top: other programs change the folders above meanwhile.
    let index = vault.load_index(&Silent).await.unwrap();
    let found = locate(vault, &index, done.written.tree, path.as_os_str().as_bytes()).await.unwrap();
    (found.folder().unwrap().0, done)
}

#[tokio::test(flavor = "multi_thread")]
async fn walkers_that_share_folders_make_the_tree_that_one_makes() {
    for seed in 0..3 {
        let source = tempfile::tempdir().unwrap();
        make(source.path(), 5, &mut { seed });
        let vault = vault().await;
        let (alone, first) = tree(&vault, source.path(), ParentChoice::None, Threads::Inline).await;
        for walkers in [2, 4] {
            let threads = Threads::Workers(walkers.try_into().unwrap());
            for parent in [ParentChoice::None, ParentChoice::Latest] {
                let again = matches!(parent, ParentChoice::Latest);
                let (shared, done) = tree(&vault, source.path(), parent, threads).await;
                assert_eq!(shared, alone, "seed {seed}, {walkers} walkers");
                let (new, old) = (done.summary.files_new, done.summary.files_unmodified);
                let expected = if again { (0, first.summary.files_new) } else { (first.summary.files_new, 0) };
                assert_eq!((new, old), expected);
            }
        }
    }
}

/// A folder that is as the parent snapshot has it keeps its tree without being written down: what is changed in any place,
/// of any kind, must still be seen, in folders of few and of many entries.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_has_changed_beside_what_has_not_is_in_the_tree() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 12] = [
        ("nothing", |_| {}),
        ("the last goes", |dir| fs::remove_file(dir.join("f19")).unwrap()),
        ("the first goes", |dir| fs::remove_file(dir.join("f00")).unwrap()),
        ("one comes at the end", |dir| fs::write(dir.join("z"), "new").unwrap()),
        ("one comes in between", |dir| fs::write(dir.join("f05a"), "new").unwrap()),
        ("one has another name", |dir| fs::rename(dir.join("f03"), dir.join("f03b")).unwrap()),
        ("one has another mode", |dir| {
            fs::set_permissions(dir.join("f07"), fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("a file is a folder", |dir| {
            fs::remove_file(dir.join("f11")).unwrap();
            fs::create_dir(dir.join("f11")).unwrap();
        }),
        ("a folder is empty", |dir| {
            fs::remove_dir_all(dir.join("d")).unwrap();
            fs::create_dir(dir.join("d")).unwrap();
        }),
        ("a folder goes", |dir| fs::remove_dir_all(dir.join("d")).unwrap()),
        ("a link leads elsewhere", |dir| {
            fs::remove_file(dir.join("link")).unwrap();
            std::os::unix::fs::symlink("f12", dir.join("link")).unwrap();
        }),
        ("a folder has another mode", |dir| {
            fs::set_permissions(dir.join("d/e"), fs::Permissions::from_mode(0o700)).unwrap();
        }),
    ];
    for files in [5, 20] {
        for threads in [Threads::Inline, Threads::Workers(2.try_into().unwrap())] {
            for (what, change) in changes {
                let source = tempfile::tempdir().unwrap();
                let dir = source.path();
                fs::create_dir_all(dir.join("d/e/below")).unwrap();
                (0..files).for_each(|n| fs::write(dir.join(format!("d/e/{n}")), [n]).unwrap());
                (0..20).for_each(|n| fs::write(dir.join(format!("f{n:02}")), [n]).unwrap());
                std::os::unix::fs::symlink("f01", dir.join("link")).unwrap();
                let vault = vault().await;
                let (before, _) = tree(&vault, dir, ParentChoice::None, threads).await;
                change(dir);
                let (beside, _) = tree(&vault, dir, ParentChoice::Latest, threads).await;
                let (alone, _) = tree(&vault, dir, ParentChoice::None, threads).await;
                assert_eq!(beside, alone, "{what}");
                assert_eq!(beside == before, what == "nothing", "{what}");
            }
        }
    }
}

/// Stops the run once so many things were done.
struct StopAfter(AtomicI64, Cancel);

impl Monitor for StopAfter {
    fn advance(&self, items: u64, _bytes: u64) {
        let items = i64::try_from(items).unwrap();
        if self.0.fetch_sub(items, Ordering::SeqCst) <= items {
            self.1.cancel();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_leaves_no_walker_waiting() {
    let source = tempfile::tempdir().unwrap();
    make(source.path(), 5, &mut 3);
    let vault = vault().await;
    for after in [0, 1, 10, 100, 300] {
        let (cancel, options) = (Cancel::default(), backup_options(Threads::Workers(4.try_into().unwrap())));
        let (monitor, sources) =
            (StopAfter(after.into(), cancel.clone()), Source::Files(vec![source.path().to_owned()]));
        let ended = super::run(&vault, sources, options, Arc::new(monitor), cancel).await;
        assert!(matches!(ended, Err(super::BackupError::Cancelled)), "{after}: {ended:?}");
    }
    assert_eq!(vault.snapshots().await.unwrap().whole.len(), 0);
}

/// Panics once so many things were done.
struct PanicAfter(AtomicI64);

impl Monitor for PanicAfter {
    fn advance(&self, items: u64, _bytes: u64) {
        let items = i64::try_from(items).unwrap();
        assert!(self.0.fetch_sub(items, Ordering::SeqCst) > items, "a defect in one thread");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_that_panics_ends_the_run_and_leaves_nobody_waiting() {
    let source = tempfile::tempdir().unwrap();
    make(source.path(), 5, &mut 3);
    fs::write(source.path().join("large"), vec![7; 40 << 20]).unwrap();
    for after in [0, 1, 10, 100, 300] {
        let vault = vault().await;
        let other = vault.clone();
        let (options, sources) =
            (backup_options(Threads::Workers(4.try_into().unwrap())), Source::Files(vec![source.path().to_owned()]));
        let run = async move {
            super::run(&other, sources, options, Arc::new(PanicAfter(after.into())), Cancel::default()).await
        };
        let ended = tokio::time::timeout(std::time::Duration::from_secs(120), tokio::spawn(run)).await;
        assert!(ended.expect("nobody waits for it").is_err_and(|ended| ended.is_panic()), "{after}");
        assert_eq!(vault.snapshots().await.unwrap().whole.len(), 0);
    }
}
