//! The exclusive form: drctl and stock tools write to one vault, and restic's locks keep prunes alone.
//!
//! A lock that was not refreshed for long is one that others may remove. Whoever holds such a lock stops before its next
//! request. How long a request may take is no part of the model: one that was sent before is done before others remove the lock.

use stateright::{Model, Property};

use super::plan::decide;
use super::vault::{FIRST_PACKS, FIRST_SNAPSHOT, File, Owner, Set, Vault, file_of, pack_name, pack_of, snapshot_of};

/// What a worker is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// A backup of ours: it adopts packs that no index names.
    Backup,
    /// One of restic's.
    StockBackup,
    /// A prune of ours.
    Prune,
    /// One of restic's: packs that no index names go first.
    StockPrune,
}

impl Job {
    fn prunes(self) -> bool {
        matches!(self, Self::Prune | Self::StockPrune)
    }
}

const WORKERS: usize = 4;

/// Who works in the vault.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) jobs: [Job; WORKERS],
    /// What the packs hold that are there from the beginning. The index names the first.
    pub(crate) packs: [Set; FIRST_PACKS],
    /// What the snapshot needs that is there from the beginning.
    pub(crate) kept: Set,
    /// What a backup needs, by the number of its worker.
    pub(crate) needs: [Set; WORKERS],
    /// How many workers may stop refreshing their locks.
    pub(crate) lapses: u8,
    /// What is done wrong.
    pub(crate) flaw: Option<Wrong>,
}

/// A step that is left out, or that comes too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Locks are listed before one's own is written, and not again.
    ListedOnce,
    /// A backup loads the index before it has its lock.
    IndexBeforeLock,
    /// A prune lists snapshots before it has its lock.
    SnapshotsBeforeLock,
    /// A backup of ours takes no lock.
    Unlocked,
    /// Whoever could not refresh its lock goes on.
    GoesOn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum At {
    /// Lists locks, until none is in the way.
    ListLocks,
    PutLock,
    ListAgain,
    /// Removes its lock, because another came at the same time.
    GiveWay,
    ListSnapshots,
    Load,
    ListPacks,
    /// Deletes packs that no index names, before all else.
    DeleteOrphan,
    PutPack,
    PutIndex,
    PutSnapshot,
    RemoveIndex,
    DeletePack,
    Unlock,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Worker {
    pub(crate) at: At,
    /// Whether its lock is there.
    locked: bool,
    /// Whether its lock is so old that others may remove it.
    lapsed: bool,
    index: Set,
    files: Set,
    /// What is to be stored, or to be moved.
    pub(crate) fresh: Set,
    names: Set,
    /// Packs that no index names and that go first.
    orphans: Set,
    sweep: Set,
    /// Blobs that snapshots need.
    used: Set,
    /// Whether its snapshot is still to be put.
    publishes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Work(usize),
    /// A worker's lock is not refreshed for long.
    Lapse(usize),
    /// Somebody removes a worker's lock.
    Remove(usize),
    /// A third party deletes the first snapshot.
    Forget,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    vault: Vault,
    workers: [Worker; WORKERS],
    lapses: u8,
}

impl Shared {
    /// Who a worker is among those that do the like.
    fn owner(&self, worker: usize) -> Owner {
        let before = self.jobs[..worker].iter().filter(|job| job.prunes() == self.jobs[worker].prunes()).count();
        if self.jobs[worker].prunes() { Owner::Pruner(before) } else { Owner::Writer(before) }
    }

    /// Whether another's lock is in a worker's way.
    fn conflict(&self, state: &State, own: usize) -> bool {
        let others = (0..WORKERS).filter(|other| *other != own && state.workers[*other].locked);
        others.into_iter().any(|other| self.jobs[own].prunes() || self.jobs[other].prunes())
    }

    /// The first step of the work itself.
    fn begin(&self, worker: usize) -> At {
        if self.jobs[worker].prunes() { At::ListSnapshots } else { At::Load }
    }

    /// Whether a worker begins its work before it has its lock.
    fn early(&self, worker: usize) -> bool {
        match self.flaw {
            Some(Wrong::IndexBeforeLock) => !self.jobs[worker].prunes(),
            Some(Wrong::SnapshotsBeforeLock) => self.jobs[worker].prunes(),
            _ => false,
        }
    }

    fn unlocked(&self, worker: usize) -> bool {
        self.flaw == Some(Wrong::Unlocked) && self.jobs[worker] == Job::Backup
    }

    fn needs_of(&self, snapshot: usize) -> Set {
        let mut backups = (0..WORKERS).filter(|worker| !self.jobs[*worker].prunes());
        match snapshot.checked_sub(1) {
            None => self.kept,
            Some(writer) => self.needs[backups.nth(writer).expect("every snapshot has a writer")],
        }
    }

    fn step(&self, state: &mut State, own: usize) {
        let conflict = self.conflict(state, own);
        let owner = self.owner(own);
        let (job, needs) = (self.jobs[own], self.needs[own]);
        let State { vault, workers, .. } = state;
        let worker = &mut workers[own];
        match worker.at {
            At::ListLocks => worker.at = At::PutLock,
            At::PutLock => {
                worker.locked = true;
                worker.at = At::ListAgain;
            }
            At::ListAgain if conflict && self.flaw != Some(Wrong::ListedOnce) => worker.at = At::GiveWay,
            At::ListAgain if self.early(own) => {
                if job.prunes() {
                    worker.at = At::Load;
                } else {
                    worker.store(vault, needs, job);
                }
            }
            At::ListAgain => worker.at = self.begin(own),
            At::GiveWay => {
                *worker = self.fresh(own);
            }
            At::ListSnapshots => {
                worker.used = (0..WORKERS)
                    .filter(|snapshot| vault.snapshots.has(*snapshot))
                    .fold(Set::EMPTY, |used, snapshot| used.and(self.needs_of(snapshot)));
                worker.at = if self.early(own) { At::ListLocks } else { At::Load };
            }
            At::Load => {
                let (files, index) = vault.index();
                (worker.files, worker.index) = (files, index.names);
                if job.prunes() {
                    worker.at = At::ListPacks;
                } else if self.early(own) {
                    worker.at = At::ListLocks;
                } else {
                    worker.store(vault, needs, job);
                }
            }
            At::ListPacks if job.prunes() => worker.plan(vault, job),
            At::ListPacks => {
                for orphan in vault.packs.without(worker.index).iter().map(Set::one) {
                    if !vault.blobs_in(orphan).within(worker.fresh).is_empty() {
                        worker.names = worker.names.and(orphan);
                        worker.fresh = worker.fresh.without(vault.blobs_in(orphan));
                    }
                }
                worker.index = Set::EMPTY;
                worker.go_on();
            }
            At::DeleteOrphan | At::DeletePack => {
                let packs = if worker.at == At::DeleteOrphan { &mut worker.orphans } else { &mut worker.sweep };
                let pack = Set::one(packs.first().expect("there is one, or this step had been left out"));
                *packs = packs.without(pack);
                vault.packs = vault.packs.without(pack);
                worker.go_on();
            }
            At::PutPack => {
                vault.put_pack(pack_of(owner, 0), worker.fresh);
                worker.names = worker.names.and(Set::one(pack_of(owner, 0)));
                worker.fresh = Set::EMPTY;
                worker.go_on();
            }
            At::PutIndex => {
                vault.files[file_of(owner, 0)] = File { names: worker.names, again: Set::EMPTY };
                worker.names = Set::EMPTY;
                worker.go_on();
            }
            At::PutSnapshot => {
                let Owner::Writer(writer) = owner else { return };
                vault.snapshots = vault.snapshots.and(Set::one(snapshot_of(writer)));
                worker.publishes = false;
                worker.go_on();
            }
            At::RemoveIndex => {
                let file = worker.files.first().expect("there is one, or this step had been left out");
                vault.files[file] = File::default();
                worker.files = worker.files.without(Set::one(file));
                worker.go_on();
            }
            At::Unlock => *worker = Worker { at: At::Done, ..Worker::new(At::Done) },
            At::Done => {}
        }
    }

    /// A worker that begins.
    fn fresh(&self, worker: usize) -> Worker {
        let early = self.early(worker) || self.unlocked(worker);
        Worker::new(if early { self.begin(worker) } else { At::ListLocks })
    }
}

impl Worker {
    fn new(at: At) -> Self {
        Self {
            at,
            locked: false,
            lapsed: false,
            index: Set::EMPTY,
            files: Set::EMPTY,
            fresh: Set::EMPTY,
            names: Set::EMPTY,
            orphans: Set::EMPTY,
            sweep: Set::EMPTY,
            used: Set::EMPTY,
            publishes: false,
        }
    }

    /// Decides what a backup stores.
    fn store(&mut self, vault: &Vault, needs: Set, job: Job) {
        self.fresh = needs.without(vault.blobs_in(self.index));
        self.files = Set::EMPTY;
        self.publishes = true;
        if job == Job::Backup && !self.fresh.is_empty() {
            self.at = At::ListPacks;
        } else {
            self.index = Set::EMPTY;
            self.go_on();
        }
    }

    /// Decides about every pack.
    fn plan(&mut self, vault: &Vault, job: Job) {
        let indexed = self.index.within(vault.packs);
        let orphans = vault.packs.without(self.index);
        let plan = decide(vault, indexed, self.used, true);
        if !plan.found.covers(self.used) {
            // Something needed is missing: it prunes nothing.
            (self.index, self.files, self.used) = Default::default();
            return self.go_on();
        }
        self.fresh = plan.moves;
        match job {
            Job::StockPrune => (self.orphans, self.sweep) = (orphans, plan.goes),
            _ => self.sweep = plan.goes.and(orphans),
        }
        self.names = indexed.without(plan.goes);
        if self.names == self.index {
            (self.files, self.names) = Default::default();
        }
        (self.index, self.used) = Default::default();
        self.go_on();
    }

    /// To the next step that is needed.
    fn go_on(&mut self) {
        self.at = if !self.orphans.is_empty() {
            At::DeleteOrphan
        } else if !self.fresh.is_empty() {
            At::PutPack
        } else if !self.names.is_empty() {
            At::PutIndex
        } else if !self.files.is_empty() {
            At::RemoveIndex
        } else if !self.sweep.is_empty() {
            At::DeletePack
        } else if self.publishes {
            At::PutSnapshot
        } else {
            At::Unlock
        };
    }
}

pub(crate) const WHOLE: &str = "every snapshot is whole";

impl Model for Shared {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            vault: Vault::new(self.packs),
            workers: std::array::from_fn(|worker| self.fresh(worker)),
            lapses: self.lapses,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (own, worker) in state.workers.iter().enumerate() {
            let waits = worker.at == At::ListLocks && self.conflict(state, own);
            let stopped = worker.lapsed && self.flaw != Some(Wrong::GoesOn);
            if !(waits || stopped || worker.at == At::Done) {
                actions.push(Action::Work(own));
            }
            if worker.locked && worker.lapsed {
                actions.push(Action::Remove(own));
            } else if worker.locked && state.lapses > 0 {
                actions.push(Action::Lapse(own));
            }
        }
        if state.vault.snapshots.has(FIRST_SNAPSHOT) {
            actions.push(Action::Forget);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Work(worker) => self.step(&mut state, worker),
            Action::Lapse(worker) => {
                state.workers[worker].lapsed = true;
                state.lapses -= 1;
            }
            Action::Remove(worker) => state.workers[worker].locked = false,
            Action::Forget => state.vault.snapshots = state.vault.snapshots.without(Set::one(FIRST_SNAPSHOT)),
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(WHOLE, |scene: &Self, state: &State| {
                state.vault.snapshots.iter().all(|snapshot| state.vault.is_whole(scene.needs_of(snapshot)))
            }),
            Property::sometimes("two locks that exclude each other are written", |scene, state: &State| {
                (0..WORKERS).any(|own| state.workers[own].locked && scene.conflict(state, own))
            }),
            Property::sometimes("a pack is deleted, and a backup is done", |_, state: &State| {
                !state.vault.packs.has(0) && state.vault.snapshots.iter().any(|snapshot| snapshot != FIRST_SNAPSHOT)
            }),
            Property::sometimes("what is needed moves", |scene: &Self, state: &State| {
                state.workers.iter().zip(scene.jobs).any(|(worker, job)| job.prunes() && !worker.fresh.is_empty())
            }),
            Property::sometimes("a lock is removed under its holder", |_, state: &State| {
                state.workers.iter().any(|worker| worker.lapsed && !worker.locked)
            }),
        ]
    }
}

/// Each step of a way through the model, in words.
pub(crate) fn told(scene: &Shared, actions: &[(State, Option<Action>)]) -> Vec<String> {
    let step = |(before, action): &(State, Option<Action>)| {
        let name = |worker: usize| match scene.jobs[worker] {
            Job::Backup => "our backup",
            Job::StockBackup => "restic's backup",
            Job::Prune => "our prune",
            Job::StockPrune => "restic's prune",
        };
        Some(match (*action)? {
            Action::Work(worker) => {
                let Worker { at, orphans, sweep, .. } = before.workers[worker];
                let pack = |packs: Set| packs.first().map(pack_name).unwrap_or_default();
                let what = match at {
                    At::ListLocks => "lists locks",
                    At::PutLock => "puts its lock",
                    At::ListAgain => "lists locks again",
                    At::GiveWay => "removes its lock",
                    At::ListSnapshots => "lists snapshots",
                    At::Load => "loads the index",
                    At::ListPacks => "lists packs",
                    At::DeleteOrphan => &format!("deletes pack {}", pack(orphans)),
                    At::PutPack => "puts a pack",
                    At::PutIndex => "puts an index file",
                    At::PutSnapshot => "puts its snapshot",
                    At::RemoveIndex => "removes an index file",
                    At::DeletePack => &format!("deletes pack {}", pack(sweep)),
                    At::Unlock => "removes its lock, and is done",
                    At::Done => "does nothing",
                };
                format!("{}: {what}", name(worker))
            }
            Action::Lapse(worker) => format!("the lock of {} was not refreshed for long", name(worker)),
            Action::Remove(worker) => format!("somebody removes the lock of {}", name(worker)),
            Action::Forget => "snapshot 0 is forgotten".into(),
        })
    };
    actions.iter().filter_map(step).collect()
}
