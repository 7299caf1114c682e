//! One vault, two who back up into it, one who forgets and prunes, one who reads; what each was told, and what must hold.
//!
//! Every third vault is drctl's own: backups go on while it is pruned, and the reader prunes it as well, now and then.

use std::collections::{BTreeMap, HashSet};
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use drctl::backup::{self, BackupError, Caches, Mounts, ParentChoice, Source, Stream, Threads};
use drctl::check::{Damage, Lock};
use drctl::clock::{Clock, Env, Seeded};
use drctl::look;
use drctl::monitor::{Cancel, Silent};
use drctl::prune::{Form, PruneError, forget};
use drctl::source::files::Excludes;
use drctl::store::Store;
use drctl::vault::key::{KdfCost, Secret};
use drctl::vault::settings::Sharing;
use drctl::vault::{FileType, Id, InitOptions, OpenOptions, Vault, VaultError};
use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::turns::{Odds, Process, Seen, Turns};
use crate::support::Numbers;
use crate::support::small::{PASSWORD, check, prune, prune_after};

/// Actors: two writers, a pruner, a reader.
const WRITERS: usize = 2;
const PRUNER: usize = 2;
const READER: usize = 3;
const ACTORS: usize = 4;
/// After so many steps nothing goes wrong any more, so that a run ends.
const FAULTY_STEPS: u64 = 1200;

/// Once nothing goes wrong any more: longer than a lock that was left behind can be in the way.
const MOST_ATTEMPTS: u32 = 40;

/// Content of files, by name.
type Files = BTreeMap<String, Id>;

/// What was acknowledged.
#[derive(Debug)]
struct Kept {
    snapshot: Id,
    files: Files,
}

#[derive(Debug, Default)]
struct Ledger {
    kept: Vec<Kept>,
    /// Snapshots that somebody has begun to forget.
    forgotten: HashSet<Id>,
    /// What must not be.
    wrong: Vec<String>,
    counts: Counts,
}

/// What came to pass, so that a simulation in which nothing does is noticed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) backups: u64,
    pub(crate) prunes: u64,
    pub(crate) reads: u64,
    pub(crate) checks: u64,
    pub(crate) failed: u64,
    pub(crate) locked: u64,
    pub(crate) crashes: u64,
    pub(crate) locks_lost: u64,
    /// Of vaults that are pruned while backups run: packs deleted, prunes and backups that others overtook, snapshots of
    /// backups that died before they were confirmed.
    pub(crate) swept: u64,
    pub(crate) overtaken: u64,
    pub(crate) unconfirmed: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.backups += more.backups;
        self.prunes += more.prunes;
        self.reads += more.reads;
        self.checks += more.checks;
        self.failed += more.failed;
        self.locked += more.locked;
        self.crashes += more.crashes;
        self.locks_lost += more.locks_lost;
        self.swept += more.swept;
        self.overtaken += more.overtaken;
        self.unconfirmed += more.unconfirmed;
    }
}

/// How a run went.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) log: String,
    pub(crate) counts: Counts,
    pub(crate) wrong: Vec<String>,
}

/// What is backed up: versions of two folders on disk, made once, or streams.
struct Pool {
    folder: tempfile::TempDir,
    /// By writer and version.
    files: BTreeMap<(usize, u64), Files>,
}

const VERSIONS: u64 = 4;

static POOL: LazyLock<Pool> = LazyLock::new(|| {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut files = BTreeMap::new();
    for writer in 0..WRITERS {
        for version in 0..VERSIONS {
            let root = folder.path().join(format!("{writer}/{version}"));
            let mut these = Files::new();
            for n in 0..6 {
                // Every third file is the same in all versions, another third the same for both writers.
                let seed = match n % 3 {
                    0 => n,
                    1 => 100 + n + 10 * version,
                    _ => 1000 + n + 10 * version + 100 * writer as u64,
                };
                let mut numbers = Numbers::seeded(seed);
                let len = usize::try_from(500 + numbers.below(4000)).unwrap();
                let path = root.join(format!("d{}/file{n}", n % 2));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                let bytes = numbers.bytes(len);
                std::fs::write(&path, &bytes).unwrap();
                these.insert(path.to_str().unwrap().trim_start_matches('/').to_owned(), Id::of(&bytes));
            }
            files.insert((writer, version), these);
        }
    }
    Pool { folder, files }
});

/// One run.
struct World {
    seed: u64,
    objects: Arc<InMemory>,
    turns: Arc<Turns>,
    ledger: Mutex<Ledger>,
    streams: bool,
    sharing: Sharing,
    grace: Duration,
}

/// Runs the simulation of a seed to its end and says what was wrong.
pub(crate) fn simulate(seed: u64) -> Outcome {
    LazyLock::force(&POOL);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut numbers = Numbers::seeded(seed);
        let turns = Turns::new(ACTORS);
        let objects = Arc::new(InMemory::new());
        let sharing = if seed.is_multiple_of(3) { Sharing::Native } else { Sharing::Shared };
        let grace = Duration::from_secs([0, 60, 600, 3600][usize::try_from(seed / 3 % 4).unwrap()]);
        let streams = seed.is_multiple_of(2);
        let world = Arc::new(World { seed, objects, turns, ledger: Mutex::default(), streams, sharing, grace });
        let options = InitOptions { cost: KdfCost::Cheap, pack_size: 8 << 10, sharing, ..InitOptions::default() };
        Vault::init(world.plain_store(), &Secret::new(PASSWORD), &options, &world.env(9, 0)).await.unwrap();
        let actors = [
            tokio::task::spawn_local(world.clone().write(0, numbers.next())),
            tokio::task::spawn_local(world.clone().write(1, numbers.next())),
            tokio::task::spawn_local(world.clone().forget_and_prune(numbers.next())),
            tokio::task::spawn_local(world.clone().read(numbers.next())),
        ];
        let rough = numbers.below(4);
        let odds = Odds {
            fail: [0, 2, 10, 30][usize::try_from(rough).unwrap()],
            lose_answer: [0, 2, 8, 20][usize::try_from(rough).unwrap()],
            crash: [0, 4, 8, 15][usize::try_from(numbers.below(4)).unwrap()],
            time: [5, 30, 150, 400][usize::try_from(numbers.below(4)).unwrap()],
            lock_storms: numbers.below(3) == 0,
            stall: if sharing == Sharing::Native { [10, 30, 60][usize::try_from(seed / 3 % 3).unwrap()] } else { 0 },
        };
        world.turns.schedule(Numbers::seeded(numbers.next()), odds, FAULTY_STEPS).await;
        for actor in actors {
            actor.await.unwrap();
        }
        world.judge().await;
        let ledger = std::mem::take(&mut *world.ledger.lock().unwrap());
        Outcome { log: world.turns.log(), counts: ledger.counts, wrong: ledger.wrong }
    })
}

impl World {
    fn plain_store(&self) -> Store {
        Store::from_object_store(self.objects.clone(), "", "memory://simulated")
    }

    /// Random bytes that no other process is given.
    fn env(&self, actor: usize, life: u64) -> Env {
        let seed = self.seed.wrapping_mul(0x9e37_79b9) ^ ((actor as u64 + 1) << 56) ^ (life << 40);
        let clock = Arc::new(self.turns.process(actor.min(ACTORS - 1)));
        Env { clock, random: Arc::new(Seeded::new(Numbers::seeded(seed).next())) }
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// Opens the vault as a new process does; again in a process that follows when this one is gone.
    async fn open(&self, actor: usize) -> (Process, Vault) {
        loop {
            let process = self.turns.process(actor);
            let env = Env { clock: Arc::new(process.clone()), ..self.env(actor, process.number()) };
            let seen: Arc<dyn ObjectStore> = Arc::new(Seen { objects: self.objects.clone(), process: process.clone() });
            let store = Store::from_object_store(seen, "", "memory://simulated");
            match Vault::open(store, &Secret::new(PASSWORD), &OpenOptions::default(), &env).await {
                Ok(vault) => return (process, vault),
                Err(_) => process.sleep(Duration::from_secs(5)).await,
            }
        }
    }

    /// Does a thing until it is done, with pauses; the vault is opened again where the process died. Gives up after many.
    async fn until_done<T>(
        &self,
        actor: usize,
        (process, vault): &mut (Process, Vault),
        attempt: impl AsyncFn(&Process, &Vault) -> Result<T, Trouble>,
    ) -> Option<T> {
        let mut calm = 0;
        while calm < MOST_ATTEMPTS {
            calm += u32::from(self.turns.are_calm());
            match attempt(process, vault).await {
                Ok(done) if !process.is_gone() => return Some(done),
                Ok(_) => {}
                Err(Trouble::Locked) => {
                    self.ledger().counts.locked += 1;
                    process.sleep(Duration::from_secs(150)).await;
                }
                Err(trouble) => {
                    self.ledger().counts.failed += 1;
                    if let Trouble::LockLost = trouble {
                        self.ledger().counts.locks_lost += 1;
                    }
                    process.sleep(Duration::from_secs(20)).await;
                }
            }
            if process.is_gone() {
                self.ledger().counts.crashes += 1;
                (*process, *vault) = self.open(actor).await;
            }
        }
        self.ledger().wrong.push(format!("actor {actor} did not get on in {MOST_ATTEMPTS} attempts"));
        None
    }

    async fn write(self: Arc<Self>, writer: usize, seed: u64) {
        let mut numbers = Numbers::seeded(seed);
        let mut at = self.open(writer).await;
        for _ in 0..3 {
            let version = numbers.below(VERSIONS);
            let done = self.until_done(writer, &mut at, async |_, vault| self.back_up(vault, writer, version).await);
            done.await;
            at.0.sleep(Duration::from_secs(numbers.below(400))).await;
        }
        self.turns.done(writer);
    }

    async fn back_up(&self, vault: &Vault, writer: usize, version: u64) -> Result<(), Trouble> {
        let (source, files) = if self.streams {
            let path = PathBuf::from(format!("/no such folder/{writer}/stream"));
            let mut numbers = Numbers::seeded(version + if version.is_multiple_of(2) { 0 } else { 50 * writer as u64 });
            let bytes = numbers.bytes(3000);
            let files = Files::from([(path.to_str().unwrap()[1..].to_owned(), Id::of(&bytes))]);
            let stream = Stream { path, reader: Box::new(Cursor::new(bytes)), finish: Box::new(|| Ok(())) };
            (Source::Stream(stream), files)
        } else {
            let path = POOL.folder.path().join(format!("{writer}/{version}"));
            (Source::Files(vec![path]), POOL.files[&(writer, version)].clone())
        };
        let options = backup::Options {
            excludes: Excludes::none(),
            caches: Caches::Keep,
            mounts: Mounts::Cross,
            tags: Vec::new(),
            host: format!("host{writer}"),
            username: "user".to_owned(),
            time: None,
            parent: ParentChoice::Latest,
            mode: backup::Mode::Write,
            level: 1,
            threads: Threads::Inline,
            retry_lock: Duration::ZERO,
            patience: backup::PATIENCE,
        };
        let done = backup::run(vault, source, options, Arc::new(Silent), Cancel::default()).await;
        if let Err(BackupError::Overtaken) = done {
            self.ledger().counts.overtaken += 1;
        }
        let done = done?;
        let mut ledger = self.ledger();
        if done.status != backup::Status::Complete {
            ledger.wrong.push(format!("a backup was partial: {:?}", done.problems));
        }
        ledger.counts.backups += 1;
        ledger.kept.push(Kept { snapshot: done.snapshot.unwrap(), files });
        Ok(())
    }

    async fn forget_and_prune(self: Arc<Self>, seed: u64) {
        let mut numbers = Numbers::seeded(seed);
        let mut at = self.open(PRUNER).await;
        for _ in 0..3 {
            at.0.sleep(Duration::from_secs(numbers.below(600))).await;
            let keep = usize::try_from(numbers.below(3)).unwrap();
            let forget = async |_: &Process, vault: &Vault| self.forget(vault, keep).await;
            self.until_done(PRUNER, &mut at, forget).await;
            let prune = async |_: &Process, vault: &Vault| self.prune(vault).await;
            self.until_done(PRUNER, &mut at, prune).await;
        }
        self.turns.done(PRUNER);
    }

    async fn forget(&self, vault: &Vault, keep: usize) -> Result<(), Trouble> {
        let all = vault.snapshots().await?;
        let choice = forget::keep_last(&all.whole, keep);
        self.ledger().forgotten.extend(choice.remove.iter().copied());
        Ok(forget::remove(vault, &choice.remove, Duration::ZERO).await?)
    }

    async fn prune(&self, vault: &Vault) -> Result<(), Trouble> {
        match prune_after(vault, self.grace).await {
            Ok(done) => {
                let mut ledger = self.ledger();
                ledger.counts.prunes += 1;
                ledger.counts.swept += if done.form == Form::Concurrent { done.figures.delete_packs } else { 0 };
                Ok(())
            }
            Err(PruneError::Vault(error)) => Err(error.into()),
            Err(PruneError::DamagedTrees { why, .. } | PruneError::UnreadTrees { why, .. }) => Err(Trouble::Other(why)),
            Err(PruneError::DamagedBlob { why, .. }) => Err(Trouble::Other(why)),
            Err(error @ PruneError::Overtaken) if self.sharing == Sharing::Native => {
                self.ledger().counts.overtaken += 1;
                Err(Trouble::Other(error.to_string()))
            }
            Err(error @ PruneError::AtWork { .. }) if self.sharing == Sharing::Native => {
                Err(Trouble::Other(error.to_string()))
            }
            Err(PruneError::Lacking { snapshots, .. }) if self.sharing == Sharing::Native => {
                self.forget_unconfirmed(vault, &snapshots).await
            }
            Err(error) => {
                self.ledger().wrong.push(format!("prune found the vault damaged: {error:?}"));
                Err(Trouble::Other(error.to_string()))
            }
        }
    }

    /// What an operator does whom a prune tells that these snapshots lack something: their backups did not end well.
    async fn forget_unconfirmed(&self, vault: &Vault, snapshots: &[Id]) -> Result<(), Trouble> {
        {
            let mut ledger = self.ledger();
            ledger.counts.unconfirmed += snapshots.len() as u64;
            let kept: Vec<&Id> = ledger.kept.iter().map(|kept| &kept.snapshot).collect();
            let lost: Vec<&Id> =
                snapshots.iter().filter(|id| kept.contains(id) && !ledger.forgotten.contains(id)).collect();
            if !lost.is_empty() {
                let wrong = format!("a prune says that {lost:?} lack something");
                ledger.wrong.push(wrong);
            }
        }
        forget::remove(vault, snapshots, Duration::ZERO).await?;
        Err(Trouble::Other("snapshots lacked something".to_owned()))
    }

    async fn read(self: Arc<Self>, seed: u64) {
        let mut numbers = Numbers::seeded(seed);
        let mut at = self.open(READER).await;
        for _ in 0..4 {
            at.0.sleep(Duration::from_secs(numbers.below(300))).await;
            let all = if self.sharing == Sharing::Native { 3 } else { 2 };
            let (which, how) = (numbers.next(), numbers.below(all));
            match how {
                0 => self.until_done(READER, &mut at, async |_, vault| self.restore(vault, which).await).await,
                1 => self.until_done(READER, &mut at, async |process, vault| self.check(process, vault).await).await,
                _ => self.until_done(READER, &mut at, async |_, vault| self.prune(vault).await).await,
            };
        }
        self.turns.done(READER);
    }

    /// Without a lock, as every restore: a prune may come between, but what comes is right.
    async fn restore(&self, vault: &Vault, which: u64) -> Result<(), Trouble> {
        let (id, files) = {
            let ledger = self.ledger();
            let there: Vec<&Kept> =
                ledger.kept.iter().filter(|kept| !ledger.forgotten.contains(&kept.snapshot)).collect();
            let Some(kept) = there.get(usize::try_from(which % there.len().max(1) as u64).unwrap()) else {
                return Ok(());
            };
            (kept.snapshot, kept.files.clone())
        };
        match gives_back(vault, &id).await {
            Ok(found) if found == files => self.ledger().counts.reads += 1,
            Ok(found) => self.ledger().wrong.push(format!("{id} was restored as {}", differences(&found, &files))),
            Err(_) if self.ledger().forgotten.contains(&id) => {}
            Err(why) => return Err(Trouble::Other(why)),
        }
        Ok(())
    }

    /// Under a lock nothing that was acknowledged may be damaged at any time.
    async fn check(&self, process: &Process, vault: &Vault) -> Result<(), Trouble> {
        let faults = process.faults();
        let report = check(vault, Lock::Shared { retry: Duration::ZERO }).await;
        let report = report.map_err(|error| match error {
            drctl::check::CheckError::Vault(error) => Trouble::from(error),
            other => Trouble::Other(other.to_string()),
        })?;
        let mut ledger = self.ledger();
        ledger.counts.checks += 1;
        // A forgotten snapshot may go between the listing and the reading.
        let real = |damage: &&Damage| match self.sharing {
            Sharing::Shared => !damage.snapshots.iter().all(|id| ledger.forgotten.contains(id)),
            // One whose backup has not confirmed it may lack something.
            Sharing::Native => ledger.kept.iter().any(|Kept { snapshot, .. }| {
                damage.snapshots.contains(snapshot) && !ledger.forgotten.contains(snapshot)
            }),
        };
        let damage: Vec<Damage> = report.damage.iter().filter(real).cloned().collect();
        if process.faults() == faults && !damage.is_empty() {
            ledger.wrong.push(format!("a check found damage: {damage:?}"));
        }
        Ok(())
    }

    /// All is quiet: what must hold at the end.
    async fn judge(&self) {
        let mut wrong = Vec::new();
        let env = self.env(8, 0);
        let vault = Vault::open(self.plain_store(), &Secret::new(PASSWORD), &OpenOptions::default(), &late(&env))
            .await
            .unwrap();
        let lost = self.lost(&vault).await;
        wrong.extend(lost.into_iter().map(|why| format!("before the last prune: {why}")));
        let mut pruned = prune(&vault).await;
        if let Err(PruneError::Lacking { snapshots, .. }) = &pruned {
            let _ = self.forget_unconfirmed(&vault, snapshots).await;
            pruned = prune(&vault).await;
        }
        if let Err(error) = pruned {
            wrong.push(format!("the last prune failed: {error:?}"));
        }
        wrong.extend(self.lost(&vault).await);
        match check(&vault, Lock::Shared { retry: Duration::ZERO }).await {
            Ok(report) if report.damage.is_empty() && report.orphan_packs == 0 => {}
            report => wrong.push(format!("the last check says: {report:?}")),
        }
        match prune(&vault).await {
            Ok(again) if again.figures.freed == 0 && again.packs_written == 0 => {}
            again => wrong.push(format!("a second prune in a row finds: {again:?}")),
        }
        let locks = vault.list(FileType::Lock).await.unwrap();
        if !locks.is_empty() {
            wrong.push(format!("locks are left: {locks:?}"));
        }
        self.ledger().wrong.extend(wrong);
    }

    /// Snapshots that were acknowledged, not forgotten, and do not come back.
    async fn lost(&self, vault: &Vault) -> Vec<String> {
        let mut lost = Vec::new();
        let kept = std::mem::take(&mut self.ledger().kept);
        for Kept { snapshot, files } in &kept {
            if self.ledger().forgotten.contains(snapshot) {
                continue;
            }
            match gives_back(vault, snapshot).await {
                Ok(found) if found == *files => {}
                Ok(found) => lost.push(format!("{snapshot} gives back {}", differences(&found, files))),
                Err(why) => lost.push(format!("{snapshot} does not come back: {why}")),
            }
        }
        self.ledger().kept = kept;
        lost
    }
}

fn differences(found: &Files, wanted: &Files) -> String {
    let other = wanted.iter().filter(|(name, content)| found.get(*name) != Some(content));
    format!(
        "{} files, {} are not what they were: {:?}",
        found.len(),
        other.clone().count(),
        other.map(|it| it.0).next()
    )
}

/// The same machine an hour later, with a clock that stands.
fn late(env: &Env) -> Env {
    let now = env.clock.now() + jiff::SignedDuration::from_hours(1);
    Env { clock: Arc::new(drctl::clock::SetClock::at(now)), random: env.random.clone() }
}

/// Why an attempt failed.
#[derive(Debug)]
enum Trouble {
    Locked,
    LockLost,
    #[expect(dead_code, reason = "shown when a seed is looked into")]
    Other(String),
}

impl From<VaultError> for Trouble {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Locked { .. } => Self::Locked,
            VaultError::LockLost { .. } => Self::LockLost,
            other => Self::Other(format!("{other:?}")),
        }
    }
}

impl From<BackupError> for Trouble {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Vault(error) => error.into(),
            other => Self::Other(format!("{other:?}")),
        }
    }
}

/// The content of every file of a snapshot; an error when any of it is missing or damaged.
async fn gives_back(vault: &Vault, id: &Id) -> Result<Files, String> {
    let failed = |error: &dyn std::fmt::Debug| format!("{error:?}");
    let snapshot = vault.snapshot(id).await.map_err(|error| failed(&error))?;
    let index = vault.load_index(&Silent).await.map_err(|error| failed(&error))?;
    let mut archive = Vec::new();
    let summary = look::dump_folder(vault, &index, snapshot.tree, b"/", &mut archive, &Silent).await;
    match summary.map_err(|error| failed(&error))? {
        summary if summary.problems == 0 => {}
        summary => return Err(failed(&summary)),
    }
    let mut files = Files::new();
    for entry in tar::Archive::new(Cursor::new(archive)).entries().map_err(|error| failed(&error))? {
        let mut entry = entry.map_err(|error| failed(&error))?;
        if entry.header().entry_type().is_file() {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).map_err(|error| failed(&error))?;
            let path = entry.path().map_err(|error| failed(&error))?;
            let name = path.to_str().unwrap_or_default().trim_start_matches('/');
            files.insert(name.to_owned(), Id::of(&bytes));
        }
    }
    Ok(files)
}
