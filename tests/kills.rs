//! `kill -9`, over and over, under every command that writes: at moments that a seed decides, and before each single change
//! of a file system.
//!
//! After each kill: what was acknowledged comes back bit-exact, every byte of the vault and of its copy is what it should
//! be, the same command run again completes and stores nothing twice; in the end a stock restic agrees. Ten kills at random
//! and some of the single changes are part of the tests; `scripts/kills` takes as many as it is told, and every change.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use drctl::check::Lock;
use drctl::monitor::Silent;
use drctl::prune::forget;
use drctl::vault::{FileType, Id};
use serde_json::{Value, json};

use crate::support::Numbers;
use crate::support::compare::assert_same_tree;
use crate::support::house::{Call, House};
use crate::support::kill::{Killed, kill9_at_random};
use crate::support::peers::restic18;
use crate::support::small::{check, content};
use crate::support::trace::{Watched, kill_before};
use crate::support::vaults::{cheap_native_vault, cheap_vault, files, indexed, open, packs, wait};

/// Kills at random when nobody says how many.
const KILLS: u64 = 10;
/// Of the single changes, one in so many when not all are wanted.
const STRIDE: u64 = 4;
/// Kills between two looks of the stock restic.
const RESTIC: u64 = 50;

/// A command that is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Backup,
    Replicate,
    Prune,
    /// Of the copy.
    PruneCopy,
    Restore,
}

const ALL: [Work; 5] = [Work::Backup, Work::Replicate, Work::Prune, Work::PruneCopy, Work::Restore];

/// A snapshot that was acknowledged.
struct Kept {
    id: Id,
    /// Digest of all that comes back of it.
    content: Id,
    /// The source as it was, file by file.
    tree: PathBuf,
}

/// How much there is in the source.
#[derive(Debug, Clone, Copy)]
struct Size {
    files: u64,
    /// Bytes of the largest.
    largest: u64,
}

/// A source that changes, its vault, and a copy of that.
struct Scene {
    house: House,
    source: PathBuf,
    vault: PathBuf,
    copy: PathBuf,
    numbers: Numbers,
    size: Size,
    round: u64,
    kept: Vec<Kept>,
    /// What each command took the last time, here and now.
    took: BTreeMap<Work, Duration>,
}

impl Scene {
    /// Two snapshots, both in the copy, and something to prune on either side.
    fn new(seed: u64, size: Size) -> Self {
        let house = House::new();
        let source = house.path("work/source");
        fs::create_dir_all(source.join("deep/er")).unwrap();
        fs::create_dir(house.path("kept")).unwrap();
        // The copy is pruned as what others may write to meanwhile.
        let (vault, copy) = (cheap_vault(&house.path("vault")), cheap_native_vault(&house.path("copy")));
        let numbers = Numbers::seeded(seed);
        let mut scene =
            Self { house, source, vault, copy, numbers, size, round: 0, kept: Vec::new(), took: BTreeMap::new() };
        for _ in 0..3 {
            scene.change();
            scene.finishes(Work::Backup);
            scene.finishes(Work::Replicate);
        }
        for work in [Work::Restore, Work::Prune, Work::PruneCopy] {
            scene.prepare(work);
            scene.finishes(work);
        }
        scene
    }

    /// Some files change, one comes, one goes.
    fn change(&mut self) {
        let (size, round) = (self.size, self.round);
        for n in 0..size.files {
            if round > 0 && self.numbers.below(3) > 0 {
                continue;
            }
            let len = 1 + self.numbers.below(size.largest);
            let folder = if n % 2 == 0 { "deep/er" } else { "deep" };
            let bytes = self.numbers.bytes(len.try_into().unwrap());
            fs::write(self.source.join(folder).join(format!("file {n}")), bytes).unwrap();
        }
        fs::write(self.source.join(format!("of round {round}")), round.to_string()).unwrap();
        if let Some(before) = round.checked_sub(2) {
            fs::remove_file(self.source.join(format!("of round {before}"))).unwrap();
        }
        self.round += 1;
    }

    /// Makes sure that the command has something to do.
    fn prepare(&mut self, work: Work) {
        match work {
            Work::Backup => self.change(),
            Work::Replicate => {
                self.change();
                self.finishes(Work::Backup);
            }
            Work::Prune => {
                self.change();
                self.finishes(Work::Backup);
                // What was never acknowledged goes as well: a run that died after its snapshot leaves one.
                let newest = self.kept.split_off(self.kept.len().saturating_sub(2));
                let known: Vec<Id> = newest.iter().map(|kept| kept.id).collect();
                for gone in std::mem::replace(&mut self.kept, newest) {
                    fs::remove_dir_all(gone.tree).unwrap();
                }
                forget_all_but(&self.vault, &known);
            }
            Work::PruneCopy => {
                if snapshots(&self.copy).len() < 2 {
                    self.finishes(Work::Replicate);
                }
                let newest = self.kept.last().expect("something was kept").id;
                let copies = snapshots(&self.copy);
                let stays =
                    copies.iter().filter(|(_, original)| *original == newest).map(|(id, _)| *id).collect::<Vec<_>>();
                forget_all_but(&self.copy, &stays);
            }
            Work::Restore => {
                let _ = fs::remove_dir_all(self.target());
            }
        }
    }

    fn target(&self) -> PathBuf {
        self.house.path("work/restored")
    }

    fn call(&self, work: Work) -> Call {
        let drctl = |vault: &Path, args: &[&str]| self.house.drctl(["--json", "--vault"]).arg(vault).args(args);
        match work {
            Work::Backup => drctl(&self.vault, &["backup", "--path"]).arg(&self.source),
            Work::Replicate => drctl(&self.vault, &["replicate", "--all", "--to"]).arg(&self.copy),
            Work::Prune => drctl(&self.vault, &["prune", "--max-unused", "0"]),
            Work::PruneCopy => drctl(&self.copy, &["prune", "--max-unused", "0", "--grace", "0s"]),
            Work::Restore => {
                let newest = self.kept.last().expect("something was kept").id.to_string();
                drctl(&self.vault, &["restore", &newest, "--overwrite", "--to"]).arg(self.target())
            }
        }
    }

    /// The run that nobody disturbs: it completes, and does nothing twice.
    fn finishes(&mut self, work: Work) {
        let place = if matches!(work, Work::Replicate | Work::PruneCopy) { &self.copy } else { &self.vault };
        let (before, orphans) = (stored(place), orphans(place));
        let begun = Instant::now();
        let done = self.call(work).ok();
        let took = begun.elapsed();
        self.took.insert(work, took);
        let done = done.json();
        let after = stored(place);
        let figure = |of: &Value, name: &str| of[name].as_u64().unwrap_or_else(|| panic!("no {name} in {done}"));
        match work {
            Work::Backup | Work::Replicate => {
                assert_eq!(done["status"], "complete", "{done}");
                let figures = if work == Work::Backup { &done["summary"] } else { &done["figures"] };
                assert_eq!(before + figure(figures, "bytes_uploaded"), after, "{done}");
                assert_eq!((figure(figures, "packs_adopted"), figure(figures, "bytes_adopted")), orphans, "{done}");
            }
            Work::Prune | Work::PruneCopy => {
                // Not those of locks and records: others may be writing some.
                let cleared =
                    [FileType::Pack, FileType::Index, FileType::Snapshot].map(|kind| place.join(kind.folder()));
                let half = cleared.iter().flat_map(|folder| files(folder).into_keys()).find(|path| !is_object(path));
                assert_eq!(half, None, "a prune removes what was half-written");
            }
            Work::Restore => {
                assert_eq!(done["status"], "complete", "{done}");
                let kept = self.kept.last().unwrap();
                assert_same_tree(&kept.tree, &self.target().join(self.source.strip_prefix("/").unwrap()));
                let again = self.call(work).ok().json();
                assert_eq!(again["summary"]["bytes_fetched"], 0, "what is there is not fetched again: {again}");
            }
        }
        let (blobs, twice) = indexed(place);
        assert_eq!((twice, self::orphans(place)), (0, (0, 0)), "{work:?}: of {blobs} blobs, so many are stored twice");
        let locks = files(&place.join(FileType::Lock.folder())).into_keys().filter(|path| is_object(path)).count();
        assert_eq!(locks, 0, "{work:?}: the locks of the dead are gone, and so is our own");
        if work == Work::Backup {
            self.keep(done["snapshot"].as_str().unwrap().parse().unwrap());
        }
    }

    /// Counts a snapshot among those that must come back.
    fn keep(&mut self, id: Id) {
        let tree = self.house.path("kept").join(self.round.to_string());
        let _ = fs::remove_dir_all(&tree);
        self.house.call("cp").arg("-a").arg(&self.source).arg(&tree).ok();
        let content = wait(async { content(&open(&self.vault).await, &id, &self.source).await }).unwrap();
        self.kept.push(Kept { id, content, tree });
    }

    /// Both vaults are whole, and what was acknowledged comes back.
    fn survives(&self, what: &str) {
        wait(async {
            for folder in [&self.vault, &self.copy] {
                let report = check(&open(folder).await, Lock::None).await.unwrap();
                assert_eq!(report.damage, [], "{what}: {}", folder.display());
            }
            let (vault, copy) = (open(&self.vault).await, open(&self.copy).await);
            let copies = copy.snapshots().await.unwrap().whole;
            for kept in &self.kept {
                assert_eq!(content(&vault, &kept.id, &self.source).await.as_ref(), Ok(&kept.content), "{what}");
                for copied in copies.iter().filter(|file| file.snapshot.original == Some(kept.id)) {
                    assert_eq!(content(&copy, &copied.id, &self.source).await.as_ref(), Ok(&kept.content), "{what}");
                }
            }
        });
    }

    /// What the program itself and a stock restic say of both vaults; and each snapshot, restored, is the source as it was.
    fn is_whole(&self) {
        for folder in [&self.vault, &self.copy] {
            let report = self.house.drctl(["check", "--read-data", "--json", "--vault"]).arg(folder).ok().json();
            assert_eq!(report["damage"], json!([]), "{report}");
            let stock = restic18().on(&self.house, folder, ["check", "--read-data", "--no-cache"]).ok();
            assert!(stock.text().contains("no errors were found"), "{stock}");
        }
        for kept in &self.kept {
            let target = self.house.path("work/out");
            let call = self.house.drctl(["restore", &kept.id.to_string(), "--vault"]).arg(&self.vault);
            call.arg("--to").arg(&target).ok();
            assert_same_tree(&kept.tree, &target.join(self.source.strip_prefix("/").unwrap()));
            fs::remove_dir_all(target).unwrap();
        }
    }
}

/// Named by an id, and so not half-written.
fn is_object(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.len() == 64)
}

/// Bytes of finished packs.
fn stored(vault: &Path) -> u64 {
    packs(vault).values().sum()
}

/// Packs that no index file names, and their bytes.
fn orphans(folder: &Path) -> (u64, u64) {
    wait(async {
        let vault = open(folder).await;
        let index = vault.load_index(&Silent).await.unwrap();
        let named: std::collections::BTreeSet<Id> = index.packs().map(|pack| pack.id).collect();
        let all = vault.list(FileType::Pack).await.unwrap();
        let orphans: Vec<u64> = all.into_iter().filter(|(id, _)| !named.contains(id)).map(|it| it.1).collect();
        (orphans.len() as u64, orphans.iter().sum())
    })
}

/// Every snapshot of a copy, and what it is a copy of.
fn snapshots(folder: &Path) -> Vec<(Id, Id)> {
    let all = wait(async { open(folder).await.snapshots().await.unwrap().whole });
    all.into_iter().map(|file| (file.id, file.snapshot.original.unwrap_or(file.id))).collect()
}

fn forget_all_but(folder: &Path, stays: &[Id]) {
    let gone: Vec<Id> = snapshots(folder).into_iter().map(|(id, _)| id).filter(|id| !stays.contains(id)).collect();
    wait(async { forget::remove(&open(folder).await, &gone, Duration::from_secs(60)).await.unwrap() });
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

fn seed() -> u64 {
    number("DRCTL_KILLS_SEED").unwrap_or_else(Numbers::fresh_seed)
}

#[test]
fn kills_at_random_lose_nothing_and_every_run_after_one_completes() {
    let seed = seed();
    let wanted = number("DRCTL_KILLS").unwrap_or(KILLS);
    println!("seed {seed}");
    let mut scene = Scene::new(seed, Size { files: 24, largest: 1 << 20 });
    let mut tally: BTreeMap<Work, u64> = BTreeMap::new();
    for kill in 1..=wanted {
        // Each command gets its share, however few kills there are.
        let work = ALL[(kill as usize - 1) % ALL.len()];
        let mut late: u32 = 0;
        loop {
            scene.prepare(work);
            // Sooner after each time that it was too late: how fast the machine is changes.
            let within = scene.took[&work] / (1 << late);
            let mut child = scene.call(work).spawn();
            match kill9_at_random(&mut child, within, &mut scene.numbers) {
                Killed::After(_) => break,
                Killed::TooLate(code) => assert_eq!(code, Some(0), "{work:?}"),
            }
            late += 1;
            assert!(late < 12, "{work:?} ends before it can be killed");
        }
        *tally.entry(work).or_default() += 1;
        scene.survives(&format!("kill {kill}, {work:?}"));
        scene.finishes(work);
        scene.survives(&format!("after kill {kill}, {work:?}"));
        if kill % RESTIC == 0 {
            println!("{kill} kills");
            scene.is_whole();
        }
    }
    scene.is_whole();
    println!("{wanted} kills at random, seed {seed}: {tally:?}; nothing was lost");
}

/// What the house holds and a run may change.
const PARTS: [&str; 5] = ["vault", "copy", "state", "home", "work"];

/// Puts it aside, so that each kill meets the same.
fn put_aside(house: &House) {
    fs::create_dir(house.path("aside")).unwrap();
    for part in PARTS {
        house.call("cp").args(["-a", "--"]).arg(house.path(part)).arg(house.path("aside").join(part)).ok();
    }
}

fn put_back(house: &House) {
    for part in PARTS {
        // What is in the folder, and not the folder itself: calls are made in it.
        let (there, aside) = (house.path(part), house.path("aside").join(part));
        house.call("find").arg(&there).args(["-mindepth", "1", "-delete"]).ok();
        house.call("cp").args(["-a", "--"]).arg(aside.join(".")).arg(there).ok();
    }
}

/// Kills the command before each of its changes of a file system, or before one in [`STRIDE`]. What came of it, in a line.
fn before_each_change(work: Work, seed: u64) -> String {
    let stride = if std::env::var_os("DRCTL_KILLS").is_some() { 1 } else { STRIDE };
    let mut scene = Scene::new(seed, Size { files: 4, largest: 40_000 });
    scene.prepare(work);
    put_aside(&scene.house);
    let kept = scene.kept.len();
    let mut at: BTreeMap<&'static str, u64> = BTreeMap::new();
    for n in (1 + Numbers::seeded(seed).below(stride)..).step_by(stride.try_into().unwrap()) {
        put_back(&scene.house);
        let call = match kill_before(n, scene.call(work)) {
            Watched::Killed(call) => call,
            Watched::Ended { code, calls } => {
                assert!(code == 0 && calls > 10, "{work:?} ended with {code} after {calls} changes");
                scene.is_whole();
                return format!("{work:?}: {} kills before its {calls} changes: {at:?}", at.values().sum::<u64>());
            }
        };
        *at.entry(call).or_default() += 1;
        scene.survives(&format!("{work:?} killed before change {n}, {call}"));
        scene.finishes(work);
        scene.survives(&format!("{work:?} after it was killed before change {n}, {call}"));
        scene.kept.truncate(kept);
    }
    unreachable!("every run ends")
}

#[test]
fn a_backup_that_is_killed_before_any_change_harms_nothing() {
    let seed = seed();
    println!("seed {seed}");
    println!("{}", before_each_change(Work::Backup, seed));
}

#[test]
fn a_copy_that_is_killed_before_any_change_harms_nothing() {
    let seed = seed();
    println!("seed {seed}");
    println!("{}", before_each_change(Work::Replicate, seed));
}

#[test]
fn a_prune_that_is_killed_before_any_change_harms_nothing() {
    let seed = seed();
    println!("seed {seed}");
    println!("{}", before_each_change(Work::Prune, seed));
}

#[test]
fn a_prune_beside_backups_that_is_killed_before_any_change_harms_nothing() {
    let seed = seed();
    println!("seed {seed}");
    println!("{}", before_each_change(Work::PruneCopy, seed));
}

#[test]
fn a_restore_that_is_killed_before_any_change_harms_nothing() {
    let seed = seed();
    println!("seed {seed}");
    println!("{}", before_each_change(Work::Restore, seed));
}
