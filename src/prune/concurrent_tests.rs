//! Pruning beside a backup that is made to wait at the worst moment.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::decision::{Limits, MaxUnused};
use super::{Form, Mode, Options, Outcome, PruneError, forget, run};
use crate::backup::{self, BackupError, Source, Stream, Threads};
use crate::check::{self, Lock, ReadData};
use crate::clock::{Clock, Env, Seeded, SetClock};
use crate::monitor::{Cancel, Monitor, Silent};
use crate::restore::tests::backup_options;
use crate::store::Store;
use crate::store::fault::{Effect, Fault, FaultStore, Operation, When};
use crate::vault::key::Secret;
use crate::vault::lock::LockKind;
use crate::vault::settings::Sharing;
use crate::vault::tests::{cheap, memory};
use crate::vault::{FileType, Id, InitOptions, Vault};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A vault of our own, whose clock goes as its store's does until it is turned.
pub(crate) async fn native(seed: u64) -> (Vault, Arc<SetClock>) {
    native_in(memory(), seed).await
}

async fn native_in(store: Store, seed: u64) -> (Vault, Arc<SetClock>) {
    store.put("now", "".into()).await.unwrap();
    let clock = Arc::new(SetClock::at(store.list("").await.unwrap()[0].modified));
    let env = Env { clock: clock.clone(), random: Arc::new(Seeded::new(seed)) };
    let options = InitOptions { sharing: Sharing::Native, ..cheap() };
    (Vault::init(store, &Secret::new("password"), &options, &env).await.unwrap(), clock)
}

pub(crate) async fn prune(vault: &Vault, grace: Duration) -> Result<Outcome, PruneError> {
    let limits = Limits { max_unused: MaxUnused::percent(0).unwrap(), max_repack: None };
    let options = Options { limits, mode: Mode::Write, grace, retry_lock: Duration::ZERO };
    run(vault, options, Arc::new(Silent), Cancel::default()).await
}

pub(crate) async fn back_up(vault: &Vault, path: &Path, monitor: Arc<dyn Monitor>) -> Result<Id, BackupError> {
    let source = Source::Files(vec![path.to_owned()]);
    let done = backup::run(vault, source, backup_options(Threads::Inline), monitor, Cancel::default()).await?;
    assert_eq!(done.problems, []);
    Ok(done.snapshot.unwrap())
}

pub(crate) async fn forget(vault: &Vault, snapshot: Id) {
    forget::remove(vault, &[snapshot], Duration::ZERO).await.unwrap();
}

pub(crate) async fn damage(vault: &Vault) -> Vec<check::Damage> {
    let options = check::Options { read_data: ReadData::All, lock: Lock::None };
    check::run(vault, options, Arc::new(Silent), Cancel::default()).await.unwrap().damage
}

async fn packs(vault: &Vault) -> Vec<Id> {
    vault.list(FileType::Pack).await.unwrap().into_iter().map(|(id, _)| id).collect()
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut out = vec![0; len];
    crate::clock::Random::fill(&Seeded::new(seed), &mut out);
    out
}

/// A folder with files of these seeds.
pub(crate) fn folder(seeds: &[u64]) -> tempfile::TempDir {
    let made = tempfile::tempdir().unwrap();
    for seed in seeds {
        std::fs::write(made.path().join(seed.to_string()), noise(300_000, *seed)).unwrap();
    }
    made
}

/// What somebody else does once the index is loaded: before that stage goes on, and only the first time.
pub(crate) struct Meanwhile<F> {
    stage: &'static str,
    done: AtomicBool,
    what: F,
}

impl<F: AsyncFn() + Send + Sync> Meanwhile<F> {
    pub(crate) fn at(stage: &'static str, what: F) -> Arc<Self> {
        Arc::new(Self { stage, done: AtomicBool::new(false), what })
    }
}

impl<F: AsyncFn() + Send + Sync> Monitor for Meanwhile<F> {
    fn stage(&self, name: &str) {
        if name == self.stage && !self.done.swap(true, Ordering::SeqCst) {
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on((self.what)()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_is_condemned_and_goes_when_its_grace_is_over() {
    let (vault, clock) = native(1).await;
    let (goes, stays) = (folder(&[1, 2]), folder(&[2, 3]));
    let first = back_up(&vault, goes.path(), Arc::new(Silent)).await.unwrap();
    back_up(&vault, stays.path(), Arc::new(Silent)).await.unwrap();
    forget(&vault, first).await;
    let before = packs(&vault).await;

    let young = prune(&vault, DAY).await.unwrap();
    assert_eq!(
        (young.form, young.figures.condemned_packs),
        (Form::Concurrent, 0),
        "a backup may have just written them"
    );
    clock.advance(DAY);
    let condemned = prune(&vault, DAY).await.unwrap();
    assert!(condemned.figures.condemned > 300_000 && condemned.figures.freed == 0, "{condemned:?}");
    assert!(condemned.packs_written > 0, "what is needed of a pack that goes is in another by now");
    assert!(before.iter().all(|pack| futures::executor::block_on(packs(&vault)).contains(pack)));
    assert_eq!(damage(&vault).await, []);
    let early = prune(&vault, DAY).await.unwrap();
    assert_eq!((early.figures.freed, early.figures.condemned), (0, condemned.figures.condemned));
    clock.advance(DAY);
    let swept = prune(&vault, DAY).await.unwrap();
    assert_eq!((swept.figures.freed, swept.figures.condemned_packs), (condemned.figures.condemned, 0));
    assert_eq!(swept.figures.delete_packs, condemned.figures.condemned_packs);
    assert_eq!(damage(&vault).await, []);
    let again = prune(&vault, DAY).await.unwrap();
    assert_eq!((again.figures.freed, again.packs_written, again.figures.condemned), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_grace_one_prune_does_both() {
    let (vault, _) = native(2).await;
    let first = back_up(&vault, folder(&[1]).path(), Arc::new(Silent)).await.unwrap();
    forget(&vault, first).await;
    let done = prune(&vault, Duration::ZERO).await.unwrap();
    assert!(done.figures.freed > 300_000 && done.figures.condemned_packs == 0, "{done:?}");
    assert_eq!(packs(&vault).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_a_prune_overtakes_reads_again_what_is_gone() {
    let (vault, _) = native(3).await;
    let source = folder(&[1, 2]);
    let first = back_up(&vault, source.path(), Arc::new(Silent)).await.unwrap();
    forget(&vault, first).await;
    let other = vault.clone();
    let monitor = Meanwhile::at("backup", async move || {
        assert!(prune(&other, Duration::ZERO).await.unwrap().figures.freed > 600_000);
    });
    back_up(&vault, source.path(), monitor).await.unwrap();
    assert_eq!(vault.snapshots().await.unwrap().whole.len(), 1, "the one that lacked everything was withdrawn");
    assert_eq!(damage(&vault).await, []);
}

/// Always the same bytes.
fn stream() -> Source {
    let reader = Box::new(std::io::Cursor::new(noise(300_000, 1)));
    Source::Stream(Stream { path: "/no such folder/stream".into(), reader, finish: Box::new(|| Ok(())) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_gone_cannot_be_read_again_and_no_snapshot_stays() {
    let (vault, _) = native(4).await;
    let run = async |monitor: Arc<dyn Monitor>| {
        backup::run(&vault, stream(), backup_options(Threads::Inline), monitor, Cancel::default()).await
    };
    let first = run(Arc::new(Silent)).await.unwrap().snapshot.unwrap();
    forget(&vault, first).await;
    let other = vault.clone();
    let monitor = Meanwhile::at("backup", async move || {
        assert!(prune(&other, Duration::ZERO).await.unwrap().figures.freed > 300_000);
    });
    let ended = run(monitor).await;
    assert!(matches!(ended, Err(BackupError::Overtaken)), "{ended:?}");
    assert_eq!(vault.list(FileType::Snapshot).await.unwrap(), []);
    run(Arc::new(Silent)).await.unwrap();
    assert_eq!(damage(&vault).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overtaken_backup_copies_what_is_condemned_and_still_there() {
    let (vault, _) = native(5).await;
    let source = folder(&[1, 2]);
    let first = back_up(&vault, source.path(), Arc::new(Silent)).await.unwrap();
    forget(&vault, first).await;
    let old = packs(&vault).await;
    let (other, condemned) = (vault.clone(), old.clone());
    // A prune that is slow to delete what it may delete by now.
    let monitor = Meanwhile::at("backup", async move || {
        let seen = other.condemned().await.unwrap();
        assert!(other.condemn(&seen, &condemned).await.unwrap());
        let seen = other.condemned().await.unwrap();
        other.advance_boundary(&seen).await.unwrap();
    });
    back_up(&vault, source.path(), monitor).await.unwrap();
    vault.remove_packs(&old).await.unwrap();
    assert_eq!(damage(&vault).await, [], "nothing rests on what was condemned");
    assert_eq!(prune(&vault, Duration::ZERO).await.unwrap().figures.condemned_packs, 0);
    assert_eq!(damage(&vault).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_keeps_what_an_older_backup_took_into_use_after_it_was_condemned() {
    let (vault, clock) = native(6).await;
    let source = folder(&[1, 2]);
    let first = back_up(&vault, source.path(), Arc::new(Silent)).await.unwrap();
    forget(&vault, first).await;
    clock.advance(DAY);
    let other = vault.clone();
    let monitor = Meanwhile::at("backup", async move || {
        assert!(prune(&other, DAY).await.unwrap().figures.condemned_packs > 0);
    });
    // It was told of nothing: the boundary did not move.
    back_up(&vault, source.path(), monitor).await.unwrap();
    clock.advance(DAY);
    let done = prune(&vault, DAY).await.unwrap();
    assert!(done.packs_written > 0 && done.figures.freed > 600_000, "{done:?}");
    assert_eq!(damage(&vault).await, []);
    let index = vault.load_index(&Silent).await.unwrap();
    assert!(index.packs().all(|pack| futures::executor::block_on(packs(&vault)).contains(&pack.id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_does_not_rely_on_what_was_condemned_before_it_began() {
    let (vault, clock) = native(7).await;
    let source = folder(&[1, 2]);
    let first = back_up(&vault, source.path(), Arc::new(Silent)).await.unwrap();
    forget(&vault, first).await;
    clock.advance(DAY);
    prune(&vault, DAY).await.unwrap();
    let old = packs(&vault).await;
    back_up(&vault, source.path(), Arc::new(Silent)).await.unwrap();
    vault.remove_packs(&old).await.unwrap();
    assert_eq!(damage(&vault).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_whose_backup_died_unconfirmed_stops_the_prune_by_name() {
    let (vault, _) = native(8).await;
    let (first, second) = (folder(&[1]), folder(&[2]));
    let gone = back_up(&vault, first.path(), Arc::new(Silent)).await.unwrap();
    let kept = back_up(&vault, second.path(), Arc::new(Silent)).await.unwrap();
    let snapshot = vault.snapshot(&gone).await.unwrap();
    forget(&vault, gone).await;
    prune(&vault, Duration::ZERO).await.unwrap();
    // What such a backup leaves: its snapshot, written after the prune had listed snapshots.
    let dead = vault.save_snapshot(&snapshot).await.unwrap();
    let refused = prune(&vault, Duration::ZERO).await;
    assert!(matches!(&refused, Err(PruneError::Lacking { snapshots, .. }) if *snapshots == [dead]), "{refused:?}");
    forget(&vault, dead).await;
    prune(&vault, Duration::ZERO).await.unwrap();
    assert_eq!(damage(&vault).await, []);
    assert_eq!(vault.snapshots().await.unwrap().whole.iter().map(|file| file.id).collect::<Vec<_>>(), [kept]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_may_be_whole_by_now_is_not_said_to_lack_anything() {
    let (vault, _) = native(12).await;
    let back_up = async |vault: &Vault| {
        let options = backup_options(Threads::Inline);
        backup::run(vault, stream(), options, Arc::new(Silent), Cancel::default()).await.unwrap().snapshot.unwrap()
    };
    let gone = back_up(&vault).await;
    let snapshot = vault.snapshot(&gone).await.unwrap();
    forget(&vault, gone).await;
    prune(&vault, Duration::ZERO).await.unwrap();
    vault.save_snapshot(&snapshot).await.unwrap();
    let other = vault.clone();
    // Once the index is loaded, somebody stores data again, maybe what the snapshot needs.
    let monitor = Meanwhile::at("trees", async move || {
        back_up(&other).await;
    });
    let limits = Limits { max_unused: MaxUnused::percent(0).unwrap(), max_repack: None };
    let options = Options { limits, mode: Mode::Write, grace: Duration::ZERO, retry_lock: Duration::ZERO };
    let refused = run(&vault, options, monitor, Cancel::default()).await;
    assert!(matches!(refused, Err(PruneError::Overtaken)), "{refused:?}");
}

/// A snapshot that lacks what a prune swept before it was listed, beside one that is whole.
async fn unconfirmed(vault: &Vault) -> Id {
    let gone = back_up(vault, folder(&[1]).path(), Arc::new(Silent)).await.unwrap();
    back_up(vault, folder(&[2]).path(), Arc::new(Silent)).await.unwrap();
    let snapshot = vault.snapshot(&gone).await.unwrap();
    forget(vault, gone).await;
    prune(vault, Duration::ZERO).await.unwrap();
    vault.save_snapshot(&snapshot).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_whose_backup_may_be_at_work_is_not_said_to_lack_anything() {
    let (vault, clock) = native(13).await;
    let dead = unconfirmed(&vault).await;
    let names = async || match prune(&vault, Duration::ZERO).await {
        Err(PruneError::Lacking { snapshots, .. }) => snapshots,
        Err(PruneError::AtWork { holder }) if holder.starts_with("a shared lock of ") => Vec::new(),
        other => panic!("{other:?}"),
    };
    let backup = vault.lock(LockKind::Shared, Duration::ZERO).await.unwrap();
    assert_eq!(names().await, []);
    // It is done, or it has not been heard of for so long that it gives up by itself.
    backup.release().await;
    assert_eq!(names().await, [dead]);
    let lock = serde_json::json!({"time": clock.now(), "exclusive": false, "hostname": "elsewhere", "pid": 1});
    vault.save(FileType::Lock, lock.to_string().as_bytes()).await.unwrap();
    assert_eq!(names().await, []);
    clock.advance(Duration::from_secs(31 * 60));
    assert_eq!(names().await, [dead]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_at_work_is_waited_for_as_long_as_was_asked() {
    let (vault, clock) = native(14).await;
    let dead = unconfirmed(&vault).await;
    let lock = serde_json::json!({"time": clock.now(), "exclusive": false, "hostname": "elsewhere", "pid": 1});
    vault.save(FileType::Lock, lock.to_string().as_bytes()).await.unwrap();
    let limits = Limits { max_unused: MaxUnused::percent(0).unwrap(), max_repack: None };
    let waiting = |minutes: u64, monitor: Arc<dyn Monitor>| {
        let retry_lock = Duration::from_secs(minutes * 60);
        let options = Options { limits, mode: Mode::Write, grace: Duration::ZERO, retry_lock };
        run(&vault, options, monitor, Cancel::default())
    };
    let begun = clock.boot();
    let refused = waiting(5, Arc::new(Silent)).await;
    assert!(matches!(refused, Err(PruneError::AtWork { .. })), "{refused:?}");
    assert_eq!((clock.boot() - begun).as_secs(), 300);
    // What was lacking is there, or not needed any more, at the next try.
    let other = vault.clone();
    let meanwhile = Meanwhile::at("trees", async move || forget(&other, dead).await);
    waiting(5, meanwhile).await.unwrap();
    assert!(clock.boot() - begun < Duration::from_secs(310), "one pause was enough");
    assert_eq!(damage(&vault).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_lacks_nothing_because_the_store_did_not_answer() {
    let faults = FaultStore::new(Arc::new(object_store::memory::InMemory::new()));
    let (vault, _) = native_in(Store::from_object_store(Arc::new(faults.clone()), "", "memory://faulty"), 11).await;
    let dead = unconfirmed(&vault).await;
    let mut unread = 0;
    for (when, nth) in (1..).flat_map(|nth| [(When::Nth(nth), nth), (When::From(nth), nth)]) {
        let hits = faults.hits();
        faults.plan(Fault { on: Operation::Get, prefix: "data/".to_owned(), when, effect: Effect::Fail });
        let refused = prune(&vault, Duration::ZERO).await;
        faults.heal();
        match refused {
            Err(PruneError::Lacking { snapshots, .. }) => assert_eq!(snapshots, [dead], "{when:?}"),
            Err(PruneError::UnreadTrees { .. }) => unread += 1,
            other => panic!("{when:?}: {other:?}"),
        }
        if faults.hits() == hits {
            assert!(unread > 0 && nth > 4, "{unread} of {nth}");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_with_an_old_index_finds_what_was_moved() {
    let (vault, _) = native(9).await;
    let (both, one) = (folder(&[1, 2]), folder(&[2]));
    let first = back_up(&vault, both.path(), Arc::new(Silent)).await.unwrap();
    let second = back_up(&vault, one.path(), Arc::new(Silent)).await.unwrap();
    let old = vault.load_index(&Silent).await.unwrap();
    let before = packs(&vault).await;
    forget(&vault, first).await;
    assert!(prune(&vault, Duration::ZERO).await.unwrap().packs_written > 0);
    assert!(old.packs().any(|pack| !futures::executor::block_on(packs(&vault)).contains(&pack.id)), "{before:?}");
    let tree = vault.snapshot(&second).await.unwrap().tree;
    let mut archive = Vec::new();
    let read = crate::look::dump_folder(&vault, &old, tree, b"/", &mut archive, &Silent).await.unwrap();
    assert_eq!(read.problems, 0);
    assert!(archive.len() > 300_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_file_that_comes_too_late_hits_nothing_and_goes_with_the_next_prune() {
    let (vault, _) = native(10).await;
    let first = back_up(&vault, folder(&[1]).path(), Arc::new(Silent)).await.unwrap();
    back_up(&vault, folder(&[2]).path(), Arc::new(Silent)).await.unwrap();
    let mut named = Vec::new();
    for (id, _) in vault.list(FileType::Index).await.unwrap() {
        named.extend(vault.load_index_file(&id).await.unwrap().packs);
    }
    forget(&vault, first).await;
    prune(&vault, Duration::ZERO).await.unwrap();
    let there = packs(&vault).await;
    named.retain(|pack| !there.contains(&pack.id));
    assert!(!named.is_empty());
    vault.save_index(&named).await.unwrap();
    assert_eq!(damage(&vault).await, [], "what it names was condemned, and nothing needs it");
    prune(&vault, Duration::ZERO).await.unwrap();
    let index = vault.load_index(&Silent).await.unwrap();
    assert!(index.packs().all(|pack| there.contains(&pack.id)));
}
