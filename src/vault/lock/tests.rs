use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};

use super::held::{LOST_AFTER, millis};
use super::*;
use crate::clock::{Clock, Env, Random, Seeded, SetClock};
use crate::store::Store;
use crate::store::fault::{Effect, Fault, FaultStore, Operation, When};
use crate::vault::key::Secret;
use crate::vault::tests::{cheap, memory, seeded, vault};

const NOW: Duration = Duration::ZERO;

/// The vault, and a hand on its clock.
async fn timed() -> (Vault, Arc<SetClock>) {
    let clock = Arc::new(SetClock::at("2026-01-01T00:00:00Z".parse().unwrap()));
    let env = Env { clock: clock.clone(), random: seeded(1).random };
    (Vault::init(memory(), &Secret::new("password"), &cheap(), &env).await.unwrap(), clock)
}

fn foreign(kind: LockKind, now: Timestamp) -> Lock {
    Lock { hostname: "elsewhere".to_owned(), pid: 4_000_000, ..Lock::ours(kind, now) }
}

async fn put(vault: &Vault, lock: &Lock) -> Id {
    vault.save(FileType::Lock, &serde_json::to_vec(lock).unwrap()).await.unwrap()
}

async fn count(vault: &Vault) -> usize {
    vault.list(FileType::Lock).await.unwrap().len()
}

#[tokio::test]
async fn shared_locks_go_together_and_exclusive_ones_with_none() {
    use LockKind::{Exclusive, Shared};
    for (first, second, together) in
        [(Shared, Shared, true), (Shared, Exclusive, false), (Exclusive, Shared, false), (Exclusive, Exclusive, false)]
    {
        let vault = vault().await;
        let held = vault.lock(first, NOW).await.unwrap();
        held.check().unwrap();
        match vault.lock(second, NOW).await {
            Ok(other) => {
                assert!(together, "{first:?} {second:?}");
                other.release().await;
            }
            Err(VaultError::Locked { holder, stale, .. }) => {
                assert!(!together, "{first:?} {second:?}");
                assert!(!stale);
                let me = format!("lock of {}@{} (pid {})", whoami::username(), whoami::hostname(), std::process::id());
                assert!(holder.contains(&me) && holder.ends_with("2026-01-01T00:00:00Z"), "{holder}");
            }
            Err(other) => panic!("{other:?}"),
        }
        assert_eq!(count(&vault).await, 1, "the loser left nothing behind");
        held.release().await;
        assert_eq!(count(&vault).await, 0);
        vault.lock(second, NOW).await.unwrap().release().await;
    }
}

#[tokio::test]
async fn a_lock_is_written_as_restic_writes_it() {
    let lock = Lock { uid: 0, gid: 7, ..foreign(LockKind::Exclusive, "2026-01-01T00:00:00.5Z".parse().unwrap()) };
    let want = format!(
        r#"{{"time":"2026-01-01T00:00:00.5Z","exclusive":true,"hostname":"elsewhere","username":"{}","pid":4000000,"gid":7,"drctl":true}}"#,
        whoami::username()
    );
    assert_eq!(serde_json::to_string(&lock).unwrap(), want);
    let restic =
        r#"{"time":"2026-11-23T08:00:00.1+01:00","exclusive":false,"hostname":"vm","username":"root","pid":7}"#;
    assert!(!serde_json::from_str::<Lock>(restic).unwrap().drctl);
}

#[tokio::test]
async fn whoever_comes_at_the_same_time_gives_way() {
    let vault = vault().await;
    let now = vault.env().clock.now();
    let own = write(&vault, LockKind::Exclusive).await.unwrap();
    put(&vault, &foreign(LockKind::Shared, now)).await;
    assert!(matches!(vault.refuse_conflict(LockKind::Exclusive, Some(own)).await, Err(VaultError::Locked { .. })));
    assert!(vault.refuse_conflict(LockKind::Shared, Some(own)).await.is_ok());
}

#[tokio::test]
async fn waiting_ends_when_the_other_is_done_or_the_time_is_up() {
    let (vault, clock) = timed().await;
    let id = put(&vault, &foreign(LockKind::Exclusive, clock.now())).await;
    let begun = clock.boot();
    let refused = vault.lock(LockKind::Shared, Duration::from_secs(60)).await;
    assert!(matches!(refused, Err(VaultError::Locked { stale: false, .. })));
    let waited = clock.boot() - begun;
    assert!(waited > Duration::from_secs(50) && waited <= Duration::from_secs(61), "{waited:?}");
    vault.remove(FileType::Lock, &id).await.unwrap();
    vault.lock(LockKind::Shared, Duration::from_secs(60)).await.unwrap().release().await;
}

#[tokio::test]
async fn locks_of_the_dead_of_this_host_are_removed_and_no_others() {
    let (vault, clock) = timed().await;
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let ours = Lock::ours(LockKind::Exclusive, clock.now());
    let old = clock.now() - SignedDuration::from_mins(31);
    for (name, lock, removed) in [
        ("an ended process", Lock { pid: child.id(), ..ours.clone() }, true),
        ("a living process", ours.clone(), false),
        ("an old lock with our process id, which was another's", Lock { time: old, ..ours }, true),
        ("another host", foreign(LockKind::Exclusive, clock.now()), false),
        ("another host, long ago", foreign(LockKind::Exclusive, old), false),
    ] {
        let id = put(&vault, &lock).await;
        match vault.lock(LockKind::Shared, NOW).await {
            Ok(guard) => {
                assert!(removed, "{name}");
                guard.release().await;
            }
            Err(VaultError::Locked { stale, .. }) => {
                assert!(!removed, "{name}");
                assert_eq!(stale, lock.time == old, "{name}");
            }
            Err(other) => panic!("{name}: {other:?}"),
        }
        vault.remove(FileType::Lock, &id).await.unwrap();
    }
}

#[tokio::test]
async fn unreadable_locks_block_and_empty_ones_do_not() {
    let vault = vault().await;
    let empty = Id::of(b"");
    vault.store().put(&layout::lock(&empty), bytes::Bytes::new()).await.unwrap();
    vault.lock(LockKind::Exclusive, NOW).await.unwrap().release().await;
    let broken = vault.save(FileType::Lock, b"{}").await.unwrap();
    let refused = vault.lock(LockKind::Shared, NOW).await;
    assert!(
        matches!(&refused, Err(VaultError::Damaged { object, .. }) if *object == layout::lock(&broken)),
        "{refused:?}"
    );
    assert!(vault.unlock(Unlock::Stale).await.unwrap().is_empty());
    assert_eq!(vault.unlock(Unlock::All).await.unwrap(), [(broken, None)]);
    vault.lock(LockKind::Exclusive, NOW).await.unwrap().release().await;
}

#[tokio::test]
async fn unlock_removes_stale_locks_or_all() {
    let (vault, clock) = timed().await;
    let old = foreign(LockKind::Shared, clock.now() - SignedDuration::from_mins(31));
    let new = foreign(LockKind::Shared, clock.now() - SignedDuration::from_mins(29));
    let (old_id, new_id) = (put(&vault, &old).await, put(&vault, &new).await);
    assert_eq!(vault.unlock(Unlock::Stale).await.unwrap(), [(old_id, Some(old))]);
    assert_eq!(vault.unlock(Unlock::All).await.unwrap(), [(new_id, Some(new))]);
}

#[tokio::test]
async fn a_refresh_replaces_the_file_and_renews_the_time() {
    let (vault, clock) = timed().await;
    let guard = vault.lock(LockKind::Shared, NOW).await.unwrap();
    let first = vault.locks().await.unwrap();
    clock.advance(Duration::from_secs(22 * 60));
    guard.check().unwrap();
    guard.held.refresh().await.unwrap();
    let second = vault.locks().await.unwrap();
    assert_eq!(second.len(), 1);
    assert_ne!(second[0].0, first[0].0);
    assert_eq!(second[0].1.as_ref().unwrap().time, clock.now());
    clock.advance(Duration::from_secs(22 * 60));
    guard.check().unwrap();
    guard.release().await;
    assert_eq!(count(&vault).await, 0);
}

#[tokio::test]
async fn a_lock_that_was_not_refreshed_in_time_is_lost_for_good() {
    let (vault, clock) = timed().await;
    let guard = vault.lock(LockKind::Shared, NOW).await.unwrap();
    clock.advance(Duration::from_secs(23 * 60));
    assert!(matches!(guard.check(), Err(VaultError::LockLost { minutes: 23 })));
    assert!(matches!(guard.held.refresh().await, Err(VaultError::LockLost { .. })));
    assert!(guard.check().is_err());
    guard.release().await;
    assert_eq!(count(&vault).await, 0);
}

#[tokio::test]
async fn a_lock_that_others_removed_is_lost_at_the_next_refresh() {
    let vault = vault().await;
    let guard = vault.lock(LockKind::Shared, NOW).await.unwrap();
    vault.unlock(Unlock::All).await.unwrap();
    assert!(matches!(guard.held.refresh().await, Err(VaultError::LockLost { .. })));
    assert!(guard.check().is_err());
    assert_eq!(count(&vault).await, 0, "no new file was written");
}

#[tokio::test]
async fn a_guard_that_is_dropped_gives_the_lock_back() {
    let vault = vault().await;
    drop(vault.lock(LockKind::Exclusive, NOW).await.unwrap());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(count(&vault).await, 0);
}

#[tokio::test]
async fn a_held_lock_is_kept_fresh_until_it_is_given_back() {
    let vault = vault().await;
    let guard = vault.lock(LockKind::Shared, NOW).await.unwrap();
    let first = vault.list(FileType::Lock).await.unwrap();
    let held = guard.held.clone();
    let keeper = tokio::spawn(async move { held.keep(Duration::from_millis(1)).await });
    while vault.list(FileType::Lock).await.unwrap() == first {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    guard.release().await;
    assert_eq!(count(&vault).await, 0);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(count(&vault).await, 0, "nothing is written after it was given back");
    keeper.abort();
}

#[tokio::test]
async fn a_lock_that_could_not_be_removed_is_not_in_our_own_way() {
    let faults = FaultStore::new(Arc::new(object_store::memory::InMemory::new()));
    let store = Store::from_object_store(Arc::new(faults.clone()), "", "memory://faulty");
    let vault = Vault::init(store, &Secret::new("password"), &cheap(), &seeded(1)).await.unwrap();
    let planned = |on, effect| Fault { on, prefix: "locks".to_owned(), when: When::From(1), effect };
    for (on, effect) in [
        (Operation::Delete, Effect::Fail),
        // Written, but nobody told us.
        (Operation::Put, Effect::LoseAnswer),
    ] {
        faults.plan(planned(on, effect));
        faults.plan(planned(Operation::Delete, Effect::Fail));
        match vault.lock(LockKind::Exclusive, NOW).await {
            Ok(held) => held.release().await,
            Err(error) => assert!(matches!(error, VaultError::Store(_)), "{error:?}"),
        }
        assert_eq!(count(&vault).await, 1, "{effect:?}");
        assert!(matches!(vault.lock(LockKind::Shared, NOW).await, Err(VaultError::Store(_))), "{effect:?}");
        faults.heal();
        vault.lock(LockKind::Shared, NOW).await.unwrap().release().await;
        assert_eq!(count(&vault).await, 0, "{effect:?}");
    }
}

#[tokio::test]
async fn whoever_lost_the_lock_removes_no_further_pack() {
    let (vault, clock) = timed().await;
    let mut packs = Vec::new();
    for content in [b"first", b"other"] {
        let id = vault.save(FileType::Pack, content).await.unwrap();
        packs.push(id);
    }
    let held = vault.lock(LockKind::Exclusive, NOW).await.unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    let once = move || calls.fetch_add(1, Ordering::SeqCst) == 0;
    vault.store().delete_while(packs.iter().map(layout::pack).collect(), once).await.unwrap();
    assert_eq!(vault.list(FileType::Pack).await.unwrap(), [(packs[1], 5)], "it is asked before each");
    clock.advance(LOST_AFTER);
    let refused = vault.remove_packs_under(&held, &packs).await;
    assert!(matches!(refused, Err(VaultError::LockLost { .. })), "{refused:?}");
    assert_eq!(vault.list(FileType::Pack).await.unwrap(), [(packs[1], 5)]);
}

#[tokio::test]
async fn a_lock_that_is_refreshed_while_it_is_read_is_not_taken_for_given_back() {
    let faults = FaultStore::new(Arc::new(object_store::memory::InMemory::new()));
    let store = Store::from_object_store(Arc::new(faults.clone()), "", "memory://faulty");
    let vault = Vault::init(store, &Secret::new("password"), &cheap(), &seeded(1)).await.unwrap();
    let guard = vault.lock(LockKind::Exclusive, NOW).await.unwrap();
    let late = Effect::Delay(Duration::from_millis(20));
    faults.plan(Fault { on: Operation::Get, prefix: "locks".to_owned(), when: When::Nth(1), effect: late });
    // The first read of the lock waits, the refresh does not.
    let (found, refreshed) = futures::join!(vault.locks(), guard.held.refresh());
    refreshed.unwrap();
    let file = guard.held.file.lock().await.unwrap();
    assert_eq!(found.unwrap().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [file]);
    assert!(faults.hits() == 1);
}

#[tokio::test]
async fn a_refresh_counts_from_before_it_is_written() {
    #[derive(Debug)]
    struct Slow(Arc<SetClock>, Seeded);
    impl Random for Slow {
        // Sealing takes place between the reading of the clock and the request.
        fn fill(&self, out: &mut [u8]) {
            self.0.advance(Duration::from_secs(60));
            self.1.fill(out);
        }
    }
    let clock = Arc::new(SetClock::at("2026-01-01T00:00:00Z".parse().unwrap()));
    let env = Env { clock: clock.clone(), random: Arc::new(Slow(clock.clone(), Seeded::new(1))) };
    let vault = Vault::init(memory(), &Secret::new("password"), &cheap(), &env).await.unwrap();
    let guard = vault.lock(LockKind::Exclusive, NOW).await.unwrap();
    let before = millis(clock.boot());
    guard.held.refresh().await.unwrap();
    assert_eq!(guard.held.refreshed.load(Ordering::SeqCst), before);
    assert!(millis(clock.boot()) > before, "the clock went on while it was written");
}
