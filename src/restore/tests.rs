//! Backup and restore, there and back, over a store in memory.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::backup::{self, Caches, Mounts, ParentChoice, Source, Threads};
use crate::monitor::{Cancel, Silent};
use crate::restore::{self, Existing, Mode, Privileged, Selection, Trust};
use crate::source::files::Excludes;
use crate::store::Requests;
use crate::vault::lock::LockKind;
use crate::vault::snapshot::Snapshot;
use crate::vault::tests::vault;
use crate::vault::{FileType, Id, Vault};

pub(crate) fn backup_options(threads: Threads) -> backup::Options {
    backup::Options {
        excludes: Excludes::none(),
        caches: Caches::Keep,
        mounts: Mounts::Cross,
        tags: Vec::new(),
        host: "host".to_owned(),
        username: "user".to_owned(),
        time: None,
        parent: ParentChoice::Latest,
        mode: backup::Mode::Write,
        level: 3,
        threads,
        retry_lock: Duration::ZERO,
        patience: backup::PATIENCE,
    }
}

pub(crate) async fn back_up(vault: &Vault, path: &Path, threads: Threads) -> backup::Outcome {
    let source = Source::Files(vec![path.to_owned()]);
    let options = backup_options(threads);
    backup::run(vault, source, options, Arc::new(Silent), Cancel::default()).await.unwrap()
}

pub(crate) fn options(target: &Path, snapshot: &Snapshot) -> restore::Options {
    restore::Options {
        target: target.to_owned(),
        subpath: snapshot.paths[0].clone().into(),
        selection: Selection::default(),
        whole: snapshot.paths.iter().map(PathBuf::from).collect(),
        existing: Existing::Refuse,
        trust: Trust::Content,
        mode: Mode::Write,
        privileged: Privileged::Leave,
        workers: 3,
    }
}

pub(crate) async fn restore(vault: &Vault, root: Id, options: restore::Options) -> restore::Outcome {
    let index = vault.load_index(&Silent).await.unwrap();
    restore::run(vault, &index, root, options, Arc::new(Silent), Cancel::default()).await.unwrap()
}

/// Bytes that repeat nowhere.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut out = vec![0; len];
    crate::clock::Random::fill(&crate::clock::Seeded::new(seed), &mut out);
    out
}

fn make_source(dir: &Path) {
    fs::create_dir_all(dir.join("a/b/empty")).unwrap();
    fs::write(dir.join("a/small"), b"small").unwrap();
    fs::write(dir.join("a/nothing"), b"").unwrap();
    fs::write(dir.join("a/b/large"), noise(40 << 20, 1)).unwrap();
    fs::write(dir.join("a/b/medium"), noise(3 << 20, 2)).unwrap();
    fs::hard_link(dir.join("a/small"), dir.join("a/zlink")).unwrap();
    std::os::unix::fs::symlink("small", dir.join("a/sym")).unwrap();
    fs::set_permissions(dir.join("a/small"), fs::Permissions::from_mode(0o640)).unwrap();
    let hole = fs::File::create(dir.join("hole")).unwrap();
    hole.set_len(5 << 20).unwrap();
    for n in 0..300 {
        fs::write(dir.join(format!("a/b/f{n:03}")), format!("file {n}").repeat(n)).unwrap();
    }
}

/// Everything that can be compared without asking for inode numbers: by relative path.
pub(crate) fn picture(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut stack = vec![dir.to_owned()];
    while let Some(at) = stack.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_dir() {
                stack.push(path.clone());
                String::new()
            } else if meta.is_symlink() {
                fs::read_link(&path).unwrap().display().to_string()
            } else {
                Id::of(&fs::read(&path).unwrap()).to_string()
            };
            let links = if meta.is_dir() { 0 } else { meta.nlink() };
            let seen = format!("{:o} {}.{} {links} {content}", meta.mode(), meta.mtime(), meta.mtime_nsec());
            found.insert(path.strip_prefix(dir).unwrap().to_owned(), seen);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_backed_up_comes_back() {
    for threads in [Threads::Inline, Threads::Workers(3.try_into().unwrap())] {
        let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make_source(source.path());
        let vault = vault().await;
        let done = back_up(&vault, source.path(), threads).await;
        assert_eq!(done.problems, []);
        assert_eq!(done.summary.files_new, 306);
        let restored = restore(&vault, done.written.tree, options(target.path(), &done.written)).await;
        assert_eq!(restored.problems, []);
        assert_eq!(restored.summary.files, 306);
        assert_eq!(picture(source.path()), picture(target.path()));
        let hole = fs::metadata(target.path().join("hole")).unwrap();
        assert_eq!((hole.len(), hole.blocks()), (5 << 20, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_change_is_not_read_again() {
    let source = tempfile::tempdir().unwrap();
    make_source(source.path());
    let vault = vault().await;
    let first = back_up(&vault, source.path(), Threads::per_processor()).await;
    let second = back_up(&vault, source.path(), Threads::per_processor()).await;
    assert_eq!(second.written.parent, first.snapshot);
    assert_eq!((second.summary.files_unmodified, second.summary.bytes_read), (306, 0));
    // The folders on the way may have changed: others make files beside ours.
    assert_eq!((second.summary.data_blobs, second.summary.dirs_unmodified >= 4), (0, true));
    fs::write(source.path().join("a/small"), b"other").unwrap();
    let third = back_up(&vault, source.path(), Threads::per_processor()).await;
    // Two names of the one file that changed.
    assert_eq!((third.summary.files_changed, third.summary.bytes_read), (2, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_differs_is_fetched_and_what_is_extra_stays_or_goes() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_source(source.path());
    let vault = vault().await;
    let done = back_up(&vault, source.path(), Threads::per_processor()).await;
    restore(&vault, done.written.tree, options(target.path(), &done.written)).await;

    let index = vault.load_index(&Silent).await.unwrap();
    let refused = options(target.path(), &done.written);
    let refused = restore::run(&vault, &index, done.written.tree, refused, Arc::new(Silent), Cancel::default()).await;
    assert!(matches!(refused, Err(restore::RestoreError::NotEmpty { .. })));

    // One damaged byte, one file gone, one extra folder.
    let large = target.path().join("a/b/large");
    let mut bytes = fs::read(&large).unwrap();
    bytes[20 << 20] ^= 1;
    fs::write(&large, &bytes).unwrap();
    fs::remove_file(target.path().join("a/b/f100")).unwrap();
    fs::create_dir_all(target.path().join("extra/below")).unwrap();
    fs::create_dir(target.path().join("a/b/extra")).unwrap();
    fs::write(target.path().join("extra/below/file"), b"x").unwrap();

    let rehearse =
        restore::Options { existing: Existing::Mirror, mode: Mode::Rehearse, ..options(target.path(), &done.written) };
    let would = restore(&vault, done.written.tree, rehearse).await.summary;
    assert_eq!(would.deleted, 4);
    let named = ["a/b/extra", "extra"].map(|name| target.path().join(name).display().to_string());
    assert_eq!(would.would_delete, named);
    assert!(would.bytes_written > 600 && would.bytes_written <= 8 << 20, "{would:?}");
    assert!(target.path().join("extra/below/file").exists());

    let over = restore::Options { existing: Existing::Overwrite, ..options(target.path(), &done.written) };
    let mended = restore(&vault, done.written.tree, over).await;
    assert_eq!(mended.problems, []);
    assert!(mended.summary.bytes_fetched < 9 << 20, "{:?}", mended.summary);
    let figures = |s: &restore::Summary| [s.bytes_written, s.bytes_fetched, s.bytes_unchanged, s.files_unchanged];
    assert_eq!(figures(&would), figures(&mended.summary));
    assert!(target.path().join("extra/below/file").exists());

    let mirror = restore::Options { existing: Existing::Mirror, ..options(target.path(), &done.written) };
    let mirrored = restore(&vault, done.written.tree, mirror).await;
    assert_eq!((mirrored.problems, mirrored.summary.deleted), (vec![], 4));
    assert_eq!(mirrored.summary.bytes_fetched, 0);
    assert_eq!(picture(source.path()), picture(target.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_says_what_a_restore_then_does() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_source(source.path());
    let vault = vault().await;
    let done = back_up(&vault, source.path(), Threads::per_processor()).await;
    // A pack that no index knows any more, as one that was lost.
    let mut packs = vault.list(FileType::Pack).await.unwrap();
    packs.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    let lost = HashSet::from([packs[0].0]);
    let lock = vault.lock(LockKind::Exclusive, Duration::ZERO).await.unwrap();
    vault.rewrite_index(&lost, &HashSet::new(), &lock, &Silent).await.unwrap();
    lock.release().await;
    let below = target.path().join("not/there/yet");
    for at in [below.clone(), target.path().to_owned()] {
        fs::remove_dir_all(target.path().join("not")).ok();
        let options = || options(&at, &done.written);
        let would = restore(&vault, done.written.tree, restore::Options { mode: Mode::Rehearse, ..options() }).await;
        assert!(fs::read_dir(target.path()).unwrap().next().is_none(), "a rehearsal made something");
        let did = restore(&vault, done.written.tree, options()).await;
        let problems = |done: &restore::Outcome| {
            let mut told: Vec<String> = done.problems.iter().map(|problem| format!("{problem:?}")).collect();
            told.sort();
            told
        };
        assert_eq!(problems(&would), problems(&did));
        assert!(did.summary.files_lost > 0 && did.summary.files_lost < did.summary.files, "{did:?}");
        assert!(would.summary.bytes_free.is_some_and(|free| free > 0), "{would:?}");
        let same = |s: &restore::Summary| restore::Summary {
            millis: 0,
            bytes_free: None,
            requests: Requests::default(),
            requests_per_terabyte: None,
            ..s.clone()
        };
        assert_eq!(same(&would.summary), same(&did.summary));
        assert_eq!(would.status, did.status);
    }
}

/// Access, modification and change time, to the nanosecond, and the file itself.
fn traces(path: &Path) -> [i64; 7] {
    let meta = fs::metadata(path).unwrap();
    let times = [meta.atime(), meta.atime_nsec(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
    let inode = i64::try_from(meta.ino()).unwrap();
    [times[0], times[1], times[2], times[3], times[4], times[5], inode]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_as_it_should_be_is_not_touched_and_attributes_that_differ_are_mended() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_source(source.path());
    let vault = vault().await;
    let done = back_up(&vault, source.path(), Threads::per_processor()).await;
    restore(&vault, done.written.tree, options(target.path(), &done.written)).await;
    let [small, large, nothing, f150, f151, f152] =
        ["small", "b/large", "nothing", "b/f150", "b/f151", "b/f152"].map(|name| target.path().join("a").join(name));
    // One has another mode, one another time, one is longer by what comes after its last piece.
    fs::set_permissions(&f150, fs::Permissions::from_mode(0o604)).unwrap();
    fs::File::options().write(true).open(&f151).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    fs::File::options().write(true).open(&f152).unwrap().set_len(1 << 20).unwrap();
    let before = [&large, &nothing].map(|path| traces(path));
    for workers in [1, 3] {
        let over = restore::Options { existing: Existing::Overwrite, workers, ..options(target.path(), &done.written) };
        let again = restore(&vault, done.written.tree, over).await;
        assert_eq!((again.problems, again.summary.bytes_written), (vec![], 0));
        assert_eq!([&large, &nothing].map(|path| traces(path)), before);
    }
    assert_eq!(picture(source.path()), picture(target.path()));
    assert_eq!(fs::metadata(small).unwrap().nlink(), 2);
}

/// What changed a file and put its time back is not seen: nothing is read. What differs by time or size, or is gone, is.
#[tokio::test(flavor = "multi_thread")]
async fn files_with_the_times_of_the_snapshot_are_not_read_where_these_are_trusted() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_source(source.path());
    let vault = vault().await;
    let done = back_up(&vault, source.path(), Threads::per_processor()).await;
    restore(&vault, done.written.tree, options(target.path(), &done.written)).await;
    let [f150, f151, f152, f153] = ["f150", "f151", "f152", "f153"].map(|name| target.path().join("a/b").join(name));
    let behind = fs::metadata(&f150).unwrap().modified().unwrap();
    fs::write(&f150, noise(fs::metadata(&f150).unwrap().len() as usize, 9)).unwrap();
    fs::File::options().write(true).open(&f150).unwrap().set_modified(behind).unwrap();
    fs::write(&f151, noise(fs::metadata(&f151).unwrap().len() as usize, 9)).unwrap();
    fs::remove_file(&f152).unwrap();
    fs::set_permissions(&f153, fs::Permissions::from_mode(0o604)).unwrap();

    let trusting = |mode| restore::Options {
        existing: Existing::Overwrite,
        trust: Trust::Times,
        mode,
        ..options(target.path(), &done.written)
    };
    let would = restore(&vault, done.written.tree, trusting(Mode::Rehearse)).await.summary;
    let mended = restore(&vault, done.written.tree, trusting(Mode::Write)).await;
    assert_eq!((mended.problems, mended.status), (vec![], restore::Status::Complete));
    let summary = mended.summary;
    assert_eq!(summary.bytes_written, fs::metadata(&f151).unwrap().len() + fs::metadata(&f152).unwrap().len());
    assert_eq!((would.bytes_written, would.files), (summary.bytes_written, summary.files));
    // Of a file with two names one is looked at.
    assert_eq!(summary.files_unchanged, summary.files - 3);
    assert_ne!(fs::read(&f150).unwrap(), fs::read(source.path().join("a/b/f150")).unwrap());

    let reading = restore::Options { existing: Existing::Overwrite, ..options(target.path(), &done.written) };
    assert_eq!(restore(&vault, done.written.tree, reading).await.problems, []);
    assert_eq!(picture(source.path()), picture(target.path()));
}

/// A program that is running can be neither opened for writing nor lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_gives_way_to_a_copy() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sleep = fs::read("/bin/sleep").unwrap();
    // Several pieces: what is whole of the old one is taken over.
    let program = [sleep, noise(20 << 20, 9)].concat();
    let name = "program";
    fs::write(source.path().join(name), &program).unwrap();
    fs::set_permissions(source.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
    let vault = vault().await;
    let done = back_up(&vault, source.path(), Threads::per_processor()).await;
    restore(&vault, done.written.tree, options(target.path(), &done.written)).await;

    let there = target.path().join(name);
    let file = fs::File::options().write(true).open(&there).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"damaged", 15 << 20).unwrap();
    drop(file);
    let mut running = std::process::Command::new(&there).arg("600").spawn().unwrap();
    assert!(fs::File::options().write(true).open(&there).is_err(), "the system lets programs be overwritten");
    let over = restore::Options { existing: Existing::Overwrite, ..options(target.path(), &done.written) };
    let mended = restore(&vault, done.written.tree, over).await;
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(mended.problems, []);
    assert!(
        mended.summary.bytes_unchanged > 10 << 20 && mended.summary.bytes_fetched < 9 << 20,
        "{:?}",
        mended.summary
    );
    assert!(fs::read(&there).unwrap() == program);
    assert_eq!(picture(source.path()), picture(target.path()));
}

fn blocks(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sparse_file_comes_back_as_sparse_and_its_holes_are_neither_read_nor_written() {
    use std::os::unix::fs::FileExt;
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let size = (64 << 30) + 12_345;
    let disk = fs::File::create(source.path().join("disk")).unwrap();
    disk.set_len(size).unwrap();
    let islands = [(0, 100), (7 << 30, 3 << 20), ((50 << 30) + 4097, 4096), (size - 10, 10)];
    for (at, len) in islands {
        disk.write_all_at(&noise(len, at), at).unwrap();
    }
    fs::File::create(source.path().join("hole")).unwrap().set_len(64 << 30).unwrap();
    fs::File::create(source.path().join("small")).unwrap().set_len(400 << 10).unwrap();
    let vault = vault().await;
    let done = back_up(&vault, source.path(), Threads::per_processor()).await;
    restore(&vault, done.written.tree, options(target.path(), &done.written)).await;

    let there = |name: &str| target.path().join(name);
    let check = |slack: u64| {
        for name in ["disk", "hole", "small"] {
            let (before, after) = (source.path().join(name), there(name));
            assert_eq!(fs::metadata(&before).unwrap().len(), fs::metadata(&after).unwrap().len(), "{name}");
            assert!(blocks(&after) <= blocks(&before) + slack, "{name}: {} of {}", blocks(&after), blocks(&before));
        }
        let file = fs::File::open(there("disk")).unwrap();
        for (at, len) in islands {
            let mut read = vec![0; len + 8192];
            let read = &mut read[..usize::try_from(size - at).unwrap().min(len + 8192)];
            file.read_exact_at(read, at).unwrap();
            assert!(read[..len] == noise(len, at) && read[len..].iter().all(|byte| *byte == 0), "at {at}");
        }
        let file = fs::File::open(there("hole")).unwrap();
        assert_eq!(crate::source::files::data_after(&file, 0).unwrap(), 64 << 30..64 << 30);
    };
    check(4 * (32 << 10));

    let over = || restore::Options { existing: Existing::Overwrite, ..options(target.path(), &done.written) };
    let again = restore(&vault, done.written.tree, over()).await;
    assert_eq!((again.problems, again.summary.bytes_written, again.summary.files_unchanged), (vec![], 0, 3));
    assert_eq!(again.summary.bytes_unchanged, size + (64 << 30) + (400 << 10));

    // Something else in holes, a file that ends early, and one that cannot be told from before.
    fs::File::options().write(true).open(there("disk")).unwrap().write_all_at(&noise(9 << 20, 5), 3 << 30).unwrap();
    let hole = fs::File::options().write(true).open(there("hole")).unwrap();
    hole.write_all_at(&[0; 4096], 7 << 30).unwrap();
    hole.write_all_at(b"x", 8 << 30).unwrap();
    hole.set_len(10 << 30).unwrap();
    let look = restore::Options { mode: Mode::Rehearse, ..over() };
    let looked = restore(&vault, done.written.tree, look).await.summary;
    let mended = restore(&vault, done.written.tree, over()).await;
    assert_eq!(mended.problems, []);
    let written = (54 << 30) + (512 << 10) + (9 << 20);
    assert_eq!((looked.bytes_written, mended.summary.bytes_written), (written, written));
    assert_eq!((mended.summary.bytes_fetched, mended.summary.files_unchanged), (0, 1));
    // Zeros that were written are as good as a hole, and stay.
    let file = fs::File::options().write(true).open(there("hole")).unwrap();
    assert_eq!(crate::source::files::data_after(&file, 0).unwrap(), 7 << 30..(7 << 30) + 4096);
    file.set_len(7 << 30).unwrap();
    file.set_len(64 << 30).unwrap();
    check(4 * (32 << 10));
}
