//! The store fails at every operation in turn, in every way, under every command that reads or writes a vault.
//!
//! After each failure: what was reported as done is done, what was acknowledged before comes back bit-exact, and the same
//! command run again without a fault finishes and leaves nothing behind.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use drctl::backup;
use drctl::check::Lock;
use drctl::clock::SetClock;
use drctl::monitor::{Cancel, Silent};
use drctl::prune::forget;
use drctl::replication::{self, Select, Verify};
use drctl::restore::{self, Existing, Privileged, Selection, Trust};
use drctl::store::fault::{Effect, Fault, FaultStore, Operation, When};
use drctl::vault::key::{KdfCost, Secret};
use drctl::vault::settings::Sharing;
use drctl::vault::{FileType, Id, InitOptions, Vault, VaultError};
use object_store::memory::InMemory;

use crate::support::compare::compare_trees;
use crate::support::small::{
    self, Kept, PASSWORD, Small, back_up, back_up_beside, check, content, env, folder, inventory, prune,
};

/// A way in which the Nth operation fails.
#[derive(Debug, Clone, Copy)]
struct Kind {
    on: Operation,
    effect: Effect,
    /// Only the Nth, or all from the Nth on.
    when: fn(u64) -> When,
}

const ONCE: fn(u64) -> When = When::Nth;
const FROM_THEN_ON: fn(u64) -> When = When::From;

const KINDS: [Kind; 10] = [
    Kind { on: Operation::Any, effect: Effect::Fail, when: ONCE },
    Kind { on: Operation::Any, effect: Effect::Fail, when: FROM_THEN_ON },
    Kind { on: Operation::Any, effect: Effect::LoseAnswer, when: ONCE },
    Kind { on: Operation::Any, effect: Effect::LoseAnswer, when: FROM_THEN_ON },
    Kind { on: Operation::Any, effect: Effect::Deny, when: FROM_THEN_ON },
    Kind { on: Operation::Put, effect: Effect::Full, when: FROM_THEN_ON },
    Kind { on: Operation::Get, effect: Effect::Truncate(20), when: ONCE },
    Kind { on: Operation::Get, effect: Effect::Shrink(0), when: ONCE },
    Kind { on: Operation::Get, effect: Effect::Shrink(20), when: FROM_THEN_ON },
    Kind { on: Operation::Any, effect: Effect::Delay(Duration::from_millis(1)), when: ONCE },
];

/// A copy of a vault whose store fails.
struct Attempt<'s> {
    small: &'s Small,
    objects: Arc<InMemory>,
    faults: FaultStore,
    clock: Arc<SetClock>,
    label: String,
}

impl<'s> Attempt<'s> {
    fn of(small: &'s Small) -> Self {
        let objects = Arc::new(small.objects.fork());
        let faults = FaultStore::new(objects.clone());
        Self { small, objects, faults, clock: small::clock(), label: String::new() }
    }

    /// Opens the vault by way of the store that fails.
    async fn open(&self) -> Result<Vault, VaultError> {
        self.open_with(PASSWORD).await
    }

    async fn open_with(&self, password: &str) -> Result<Vault, VaultError> {
        small::open(Arc::new(self.faults.clone()), password, env(&self.clock)).await
    }

    /// The fault is over; the handle for the second try: the same, where there is one.
    async fn again(&self, before: Result<Vault, VaultError>) -> Vault {
        self.faults.heal();
        match before {
            Ok(vault) => vault,
            Err(_) => self.open().await.unwrap_or_else(|error| panic!("{}: {error:?}", self.label)),
        }
    }

    /// As a process sees the vault that has just been started.
    async fn fresh(&self) -> Vault {
        small::open(self.objects.clone(), PASSWORD, env(&self.clock)).await.unwrap()
    }

    async fn restores(&self, vault: &Vault, kept: &[Kept]) {
        for kept in kept {
            let found = content(vault, &kept.id, &self.small.source).await;
            assert_eq!(found.as_ref(), Ok(&kept.content), "{}", self.label);
        }
    }

    /// Every byte of the vault is what it should be, and what was acknowledged is there.
    async fn is_whole(&self, kept: &[Kept]) {
        let vault = self.fresh().await;
        let report = check(&vault, Lock::None).await.unwrap();
        assert_eq!(report.damage, [], "{}", self.label);
        self.restores(&vault, kept).await;
    }

    async fn has_no_locks(&self, vault: &Vault) {
        assert_eq!(vault.list(FileType::Lock).await.unwrap(), [], "{}", self.label);
    }
}

/// Runs `attempt` with every kind of fault at every operation, until one passes without meeting the fault.
async fn at_every_operation(small: &Small, attempt: impl AsyncFn(&Attempt<'_>)) {
    with(&KINDS, small, attempt).await;
}

/// Those that tell two protocols of writing apart: what bodies are cut off is the same in both.
const PROTOCOL: [Kind; 5] = [KINDS[0], KINDS[1], KINDS[2], KINDS[3], KINDS[5]];

/// The same with these kinds.
async fn with(kinds: &[Kind], small: &Small, attempt: impl AsyncFn(&Attempt<'_>)) {
    for kind in kinds {
        for n in 1.. {
            let mut one = Attempt::of(small);
            one.label = format!("{:?} of {:?} {:?}", kind.effect, kind.on, (kind.when)(n));
            one.faults.plan(Fault { on: kind.on, prefix: String::new(), when: (kind.when)(n), effect: kind.effect });
            attempt(&one).await;
            if one.faults.hits() == 0 {
                let may_be_none = matches!(kind.on, Operation::Put);
                assert!(n > 1 || may_be_none, "{}: nothing was asked of the store", one.label);
                break;
            }
        }
    }
}

/// One thread, so that operations come in the same order every time.
fn run(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

/// Three snapshots.
async fn three() -> Small {
    three_in(Sharing::Shared).await
}

async fn three_in(sharing: Sharing) -> Small {
    let mut small = Small::new(7, sharing).await;
    for _ in 0..3 {
        small.change();
        small.keep().await;
    }
    small
}

#[test]
fn a_backup_survives_a_fault_at_every_operation() {
    run(async {
        let mut small = three().await;
        small.change();
        let expected = small.expected().await;
        at_every_operation(&small, async |attempt| {
            let vault = attempt.open().await;
            let done = match &vault {
                Ok(vault) => back_up(vault, &small.source).await.ok(),
                Err(_) => None,
            };
            let mut kept = small.kept.clone();
            if let Some(done) = done {
                assert_eq!((done.status, &done.problems), (backup::Status::Complete, &vec![]), "{}", attempt.label);
                kept.push(Kept { id: done.snapshot.unwrap(), content: expected });
            }
            attempt.faults.heal();
            attempt.is_whole(&kept).await;

            let vault = attempt.again(vault).await;
            let done = back_up(&vault, &small.source).await.unwrap_or_else(|e| panic!("{}: {e:?}", attempt.label));
            kept.push(Kept { id: done.snapshot.unwrap(), content: expected });
            attempt.has_no_locks(&vault).await;
            attempt.is_whole(&kept).await;
            let index = vault.load_index(&Silent).await.unwrap();
            let distinct: HashSet<_> = index.iter().map(|(key, _)| key).collect();
            assert_eq!(index.iter().count(), distinct.len(), "{}: a blob was stored twice", attempt.label);
        })
        .await;
    });
}

/// It began before a prune let go of all that it relies on.
#[test]
fn a_backup_that_was_overtaken_survives_a_fault_at_every_operation() {
    run(async {
        let mut small = three_in(Sharing::Native).await;
        let gone = small.kept.split_off(2);
        forget::remove(&small.open().await, &[gone[0].id], Duration::ZERO).await.unwrap();
        let small = small;
        with(&PROTOCOL, &small, async |attempt| {
            let vault = attempt.open().await;
            let aside = attempt.fresh().await;
            let overtake = async move || {
                let seen = aside.condemned().await.unwrap();
                let packs: Vec<Id> = aside.list(FileType::Pack).await.unwrap().into_iter().map(|(id, _)| id).collect();
                assert!(aside.condemn(&seen, &packs).await.unwrap());
                aside.advance_boundary(&aside.condemned().await.unwrap()).await.unwrap();
            };
            let done = match &vault {
                Ok(vault) => back_up_beside(vault, &small.source, overtake).await.ok(),
                Err(_) => None,
            };
            let mut kept = small.kept.clone();
            if let Some(done) = done {
                assert_eq!((done.status, &done.problems), (backup::Status::Complete, &vec![]), "{}", attempt.label);
                kept.push(Kept { id: done.snapshot.unwrap(), content: gone[0].content });
            }
            attempt.faults.heal();
            attempt.is_whole(&kept).await;
            let vault = attempt.again(vault).await;
            prune(&vault).await.unwrap_or_else(|e| panic!("{}: {e:?}", attempt.label));
            attempt.has_no_locks(&vault).await;
            attempt.is_whole(&kept).await;
        })
        .await;
    });
}

#[test]
fn a_restore_survives_a_fault_at_every_operation() {
    async fn restore(
        vault: &Vault,
        snapshot: &Id,
        target: &std::path::Path,
        source: &std::path::Path,
    ) -> Option<restore::Status> {
        let snapshot = vault.snapshot(snapshot).await.ok()?;
        let index = vault.load_index(&Silent).await.ok()?;
        let options = restore::Options {
            target: target.to_owned(),
            subpath: source.to_owned(),
            selection: Selection::default(),
            whole: vec![source.to_owned()],
            existing: Existing::Overwrite,
            trust: Trust::Content,
            mode: restore::Mode::Write,
            privileged: Privileged::Leave,
            workers: 1,
        };
        let done =
            restore::run(vault, &index, snapshot.tree, options, Arc::new(Silent), Cancel::default()).await.ok()?;
        assert_eq!(done.status == restore::Status::Complete, done.problems.is_empty());
        Some(done.status)
    }
    run(async {
        let small = three().await;
        let newest = small.kept[2].id;
        let before = inventory(&small.open().await).await;
        at_every_operation(&small, async |attempt| {
            let target = folder();
            let vault = attempt.open().await;
            let done = match &vault {
                Ok(vault) => restore(vault, &newest, target.path(), &small.source).await,
                Err(_) => None,
            };
            // The target itself is not part of what is restored into it.
            let same = || -> Vec<_> {
                let all = compare_trees(&small.source, target.path()).into_iter();
                all.filter(|difference| !difference.path.is_empty()).collect()
            };
            if done == Some(restore::Status::Complete) {
                assert_eq!(same(), [], "{}", attempt.label);
            }
            let vault = attempt.again(vault).await;
            let again = restore(&vault, &newest, target.path(), &small.source).await;
            assert_eq!((again, same()), (Some(restore::Status::Complete), vec![]), "{}", attempt.label);
            assert_eq!(inventory(&vault).await, before, "{}: a restore only reads", attempt.label);
        })
        .await;
    });
}

#[test]
fn a_check_survives_a_fault_at_every_operation_and_never_passes_over_what_it_did_not_read() {
    run(async {
        let small = three().await;
        let vault = small.open().await;
        let (before, whole) = (inventory(&vault).await, check(&vault, Lock::None).await.unwrap());
        let seen = |report: &drctl::check::Report| {
            (report.snapshots, report.trees, report.packs, report.packs_read, report.bytes_read)
        };
        let lock = || Lock::Shared { retry: Duration::ZERO };
        at_every_operation(&small, async |attempt| {
            let vault = attempt.open().await;
            if let Ok(vault) = &vault
                && let Ok(report) = check(vault, lock()).await
            {
                if report.damage.is_empty() {
                    assert_eq!(seen(&report), seen(&whole), "{}", attempt.label);
                }
                assert!(report.damage.is_empty() || attempt.faults.hits() > 0, "{}: {report:?}", attempt.label);
            }
            let vault = attempt.again(vault).await;
            let report = check(&vault, lock()).await.unwrap_or_else(|e| panic!("{}: {e:?}", attempt.label));
            assert_eq!((&report.damage, seen(&report)), (&vec![], seen(&whole)), "{}", attempt.label);
            attempt.has_no_locks(&vault).await;
            assert_eq!(inventory(&vault).await, before, "{}: a check changes nothing", attempt.label);
        })
        .await;
    });
}

#[test]
fn a_prune_survives_a_fault_at_every_operation_and_frees_all_in_the_end() {
    prune_survives(Sharing::Shared, &KINDS);
}

#[test]
fn a_prune_beside_backups_survives_a_fault_at_every_operation_and_frees_all_in_the_end() {
    prune_survives(Sharing::Native, &PROTOCOL);
}

fn prune_survives(sharing: Sharing, kinds: &[Kind]) {
    run(async {
        let mut small = three_in(sharing).await;
        let vault = small.open().await;
        // Something to delete, something to move, and an orphan.
        let gone = small.kept.remove(0);
        forget::remove(&vault, &[gone.id], Duration::ZERO).await.unwrap();
        let would =
            prune(&small::open(Arc::new(small.objects.fork()), PASSWORD, env(&small.clock)).await.unwrap()).await;
        let figures = would.unwrap().figures;
        assert!(figures.freed > 0, "{figures:?}");
        let small = small;
        with(kinds, &small, async |attempt| {
            let vault = attempt.open().await;
            let done = match &vault {
                Ok(vault) => prune(vault).await.ok(),
                Err(_) => None,
            };
            attempt.faults.heal();
            attempt.is_whole(&small.kept).await;
            let clean = async |vault: &Vault| {
                let report = check(vault, Lock::None).await.unwrap();
                assert_eq!(report.orphan_packs, 0, "{}", attempt.label);
                let left = prune(vault).await.unwrap_or_else(|e| panic!("{}: {e:?}", attempt.label));
                assert_eq!((left.figures.freed, left.packs_written), (0, 0), "{}: garbage stays", attempt.label);
            };
            let vault = attempt.again(vault).await;
            if done.is_some() {
                clean(&vault).await;
            }
            prune(&vault).await.unwrap_or_else(|e| panic!("{}: {e:?}", attempt.label));
            clean(&vault).await;
            attempt.has_no_locks(&vault).await;
            attempt.is_whole(&small.kept).await;
        })
        .await;
    });
}

#[test]
fn forgetting_survives_a_fault_at_every_operation() {
    run(async {
        let small = three().await;
        let (gone, kept) = small.kept.split_at(2);
        let gone: Vec<Id> = gone.iter().map(|kept| kept.id).collect();
        at_every_operation(&small, async |attempt| {
            let left = async |vault: &Vault| -> Vec<Id> {
                vault.snapshots().await.unwrap().whole.iter().map(|file| file.id).collect()
            };
            let vault = attempt.open().await;
            let done = match &vault {
                Ok(vault) => forget::remove(vault, &gone, Duration::ZERO).await.is_ok(),
                Err(_) => false,
            };
            let vault = attempt.again(vault).await;
            let (after, wanted) = (left(&vault).await, vec![kept[0].id]);
            assert!(!done || after == wanted, "{}: {after:?}", attempt.label);
            forget::remove(&vault, &gone, Duration::ZERO).await.unwrap_or_else(|e| panic!("{}: {e:?}", attempt.label));
            assert_eq!(left(&vault).await, wanted, "{}", attempt.label);
            attempt.has_no_locks(&vault).await;
            attempt.is_whole(kept).await;
        })
        .await;
    });
}

/// Into a copy that has the oldest snapshot already.
async fn with_copy(small: &Small) -> Arc<InMemory> {
    let objects = Arc::new(InMemory::new());
    let store = drctl::store::Store::from_object_store(objects.clone(), "", "memory://copy");
    let options = InitOptions { cost: KdfCost::Cheap, pack_size: 64 << 10, ..InitOptions::default() };
    let copy = Vault::init(store, &Secret::new(PASSWORD), &options, &env(&small.clock)).await.unwrap();
    let only = Select::Snapshots(vec![small.kept[0].id]);
    replicate(&small.open().await, &copy, only).await.unwrap();
    objects
}

async fn replicate(
    from: &Vault,
    into: &Vault,
    select: Select,
) -> Result<replication::Outcome, replication::ReplicateError> {
    let options = replication::Options {
        select,
        mode: replication::Mode::Write,
        verify: Verify::ReadBack,
        retry_lock: Duration::ZERO,
    };
    replication::run(from, into, options, Arc::new(Silent), Cancel::default()).await
}

/// What the copy has of the snapshots that it should have, and that it is sound.
async fn copied(copy: &Vault, small: &Small, label: &str) -> usize {
    let report = check(copy, Lock::None).await.unwrap();
    assert_eq!(report.damage, [], "{label}");
    let all = copy.snapshots().await.unwrap();
    for file in &all.whole {
        let origin = file.snapshot.original.unwrap();
        let kept = small.kept.iter().find(|kept| kept.id == origin).unwrap();
        assert_eq!(content(copy, &file.id, &small.source).await.as_ref(), Ok(&kept.content), "{label}");
    }
    // One that seemed damaged in the copy was copied again.
    all.whole.iter().map(|file| file.snapshot.original).collect::<HashSet<_>>().len()
}

#[test]
fn a_copy_survives_a_fault_at_every_operation_of_the_vault_it_is_made_from() {
    run(async {
        let small = three().await;
        let there = with_copy(&small).await;
        at_every_operation(&small, async |attempt| {
            let objects = Arc::new(there.fork());
            let copy = small::open(objects, PASSWORD, env(&attempt.clock)).await.unwrap();
            let vault = attempt.open().await;
            let done = match &vault {
                Ok(vault) => replicate(vault, &copy, Select::All).await.ok(),
                Err(_) => None,
            };
            let arrived = copied(&copy, &small, &attempt.label).await;
            if done.is_some_and(|done| done.status == replication::Status::Complete) {
                assert_eq!(arrived, 3, "{}", attempt.label);
            }
            let vault = attempt.again(vault).await;
            let again =
                replicate(&vault, &copy, Select::All).await.unwrap_or_else(|e| panic!("{}: {e:?}", attempt.label));
            assert_eq!((again.status, again.problems), (replication::Status::Complete, vec![]), "{}", attempt.label);
            assert_eq!(copied(&copy, &small, &attempt.label).await, 3, "{}", attempt.label);
            attempt.has_no_locks(&copy).await;
            attempt.has_no_locks(&vault).await;
            attempt.is_whole(&small.kept).await;
        })
        .await;
    });
}

#[test]
fn a_copy_survives_a_fault_at_every_operation_of_the_vault_it_is_made_in() {
    run(async {
        let mut small = three().await;
        let from = small.open().await;
        small.objects = with_copy(&small).await;
        let small = small;
        at_every_operation(&small, async |attempt| {
            let copy = attempt.open().await;
            let done = match &copy {
                Ok(copy) => replicate(&from, copy, Select::All).await.ok(),
                Err(_) => None,
            };
            attempt.faults.heal();
            let arrived = copied(&attempt.fresh().await, &small, &attempt.label).await;
            if done.is_some_and(|done| done.status == replication::Status::Complete) {
                assert_eq!(arrived, 3, "{}", attempt.label);
            }
            let copy = attempt.again(copy).await;
            let again =
                replicate(&from, &copy, Select::All).await.unwrap_or_else(|e| panic!("{}: {e:?}", attempt.label));
            assert_eq!((again.status, again.problems), (replication::Status::Complete, vec![]), "{}", attempt.label);
            assert_eq!(copied(&attempt.fresh().await, &small, &attempt.label).await, 3, "{}", attempt.label);
            attempt.has_no_locks(&copy).await;
            attempt.has_no_locks(&from).await;
            let index = copy.load_index(&Silent).await.unwrap();
            let distinct: HashSet<_> = index.iter().map(|(key, _)| key).collect();
            assert_eq!(index.iter().count(), distinct.len(), "{}: a blob was stored twice", attempt.label);
        })
        .await;
    });
}

#[test]
fn a_change_of_keys_survives_a_fault_at_every_operation() {
    const NEW: &str = "another";
    async fn opens(attempt: &Attempt<'_>, password: &str) -> bool {
        match attempt.open_with(password).await {
            Ok(_) => true,
            Err(VaultError::WrongKey { .. }) => false,
            Err(error) => panic!("{}: {error:?}", attempt.label),
        }
    }
    run(async {
        let small = three().await;
        let new = Secret::new(NEW);
        at_every_operation(&small, async |attempt| {
            let vault = attempt.open().await;
            let done = match &vault {
                Ok(vault) => vault.add_key(&new, KdfCost::Cheap).await.is_ok(),
                Err(_) => false,
            };
            let vault = attempt.again(vault).await;
            assert!(opens(attempt, PASSWORD).await, "{}: the old one stays", attempt.label);
            assert!(!done || opens(attempt, NEW).await, "{}", attempt.label);
            vault.add_key(&new, KdfCost::Cheap).await.unwrap();
            assert!(opens(attempt, NEW).await, "{}", attempt.label);
        })
        .await;
        at_every_operation(&small, async |attempt| {
            let vault = attempt.open().await;
            let done = match &vault {
                Ok(vault) => vault.change_password(&new, KdfCost::Cheap).await.is_ok(),
                Err(_) => false,
            };
            attempt.faults.heal();
            let (old_opens, new_opens) = (opens(attempt, PASSWORD).await, opens(attempt, NEW).await);
            assert!(old_opens || new_opens, "{}: nobody opens it any more", attempt.label);
            assert!(!done || (new_opens && !old_opens), "{}", attempt.label);
            // Again, by whoever gets in.
            let vault = attempt.open_with(if old_opens { PASSWORD } else { NEW }).await.unwrap();
            vault.change_password(&new, KdfCost::Cheap).await.unwrap();
            assert!(opens(attempt, NEW).await && !opens(attempt, PASSWORD).await, "{}", attempt.label);
        })
        .await;
        let two = three().await;
        let added = two.open().await.add_key(&new, KdfCost::Cheap).await.unwrap();
        at_every_operation(&two, async |attempt| {
            let vault = attempt.open().await;
            let done = match &vault {
                Ok(vault) => vault.remove_key(&added).await.is_ok(),
                Err(_) => false,
            };
            let vault = attempt.again(vault).await;
            assert!(opens(attempt, PASSWORD).await && (!done || !opens(attempt, NEW).await), "{}", attempt.label);
            match vault.remove_key(&added).await {
                // The first try removed it and did not hear of it.
                Ok(()) | Err(VaultError::NoSuchKey(_)) => {}
                Err(error) => panic!("{}: {error:?}", attempt.label),
            }
            assert!(opens(attempt, PASSWORD).await && !opens(attempt, NEW).await, "{}", attempt.label);
        })
        .await;
    });
}
