//! A backup that dies, or is asked to stop, harms nothing, and what it has uploaded is not uploaded again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use drctl::monitor::Silent;
use drctl::vault::{FileType, Id};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::Numbers;
use crate::support::compare::assert_same_tree;
use crate::support::house::{Call, House};
use crate::support::kill::{Killed, kill9_at_random};
use crate::support::peers::restic18;
use crate::support::vaults::{cheap_vault, files, indexed, open, packs, wait};

const KILLS: usize = 10;
/// What must not be exceeded may be by this: an interrupted run closes its packs elsewhere, and each pack has a header of
/// its own; trees hold times, which differ.
const HEADERS: u64 = 256 << 10;

/// A source, and a vault that holds a snapshot of something else, which must stay as it is.
struct Scene {
    house: House,
    source: PathBuf,
    vault: PathBuf,
    kept: PathBuf,
    kept_in: String,
    /// Bytes of packs before the source is backed up.
    before: u64,
    /// What one run that nobody disturbs uploads into the same vault, and how long that took here and now.
    whole: u64,
    took: Duration,
}

impl Scene {
    /// `fill` makes the source.
    fn new(fill: impl FnOnce(&Path)) -> Self {
        let house = House::new();
        let (source, kept) = (house.path("work/source"), house.path("work/kept"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), Numbers::seeded(4).bytes(3 << 20)).unwrap();
        let vault = cheap_vault(&house.path("vault"));
        let done = house.drctl(["backup", "--json", "--vault"]).arg(&vault).arg("--path").arg(&kept).ok().json();
        let kept_in = done["snapshot"].as_str().unwrap().to_owned();
        fill(&source);
        // The same vault again, so that the same chunks are cut, in a house whose cache and records the test does not see.
        let other = House::new();
        let copy = other.path("vault");
        assert!(Command::new("cp").arg("-r").args([&vault, &copy]).status().unwrap().success());
        let done = other.drctl(["backup", "--json", "--vault"]).arg(&copy).arg("--path").arg(&source).ok().json();
        let figure = |name: &str| done["summary"][name].as_u64().unwrap();
        let (whole, took) = (figure("bytes_uploaded"), Duration::from_millis(figure("millis")));
        let before = packs(&vault).values().sum();
        Self { house, source, vault, kept, kept_in, before, whole, took }
    }

    fn call(&self, args: &[&str]) -> Call {
        self.house.drctl(["--json", "--vault"]).arg(&self.vault).args(args)
    }

    fn backup(&self, more: &[&str]) -> Call {
        self.call(&["backup"]).args(more).arg("--path").arg(&self.source)
    }

    /// Bytes of finished packs of the source.
    fn stored(&self) -> u64 {
        packs(&self.vault).values().sum::<u64>() - self.before
    }

    fn snapshots(&self) -> BTreeSet<PathBuf> {
        files(&self.vault.join("snapshots")).into_keys().collect()
    }

    fn locks(&self) -> usize {
        files(&self.vault.join("locks")).len()
    }

    /// Waits until the run has stored so many bytes, or has ended.
    fn wait_for(&self, run: &mut Child, bytes: u64) {
        while self.stored() < bytes && run.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Packs that no index file names, and their bytes.
    fn orphans(&self) -> (u64, u64) {
        wait(async {
            let vault = open(&self.vault).await;
            let named: BTreeSet<Id> = vault.load_index(&Silent).await.unwrap().packs().map(|pack| pack.id).collect();
            let packs = vault.list(FileType::Pack).await.unwrap();
            let orphans: Vec<u64> = packs.into_iter().filter(|(id, _)| !named.contains(id)).map(|it| it.1).collect();
            (orphans.len() as u64, orphans.iter().sum())
        })
    }

    /// Both programs find the vault whole; with data, every byte of it.
    fn is_whole(&self, read_data: &[&str]) {
        let report = self.call(&["check"]).args(read_data).ok().json();
        assert_eq!(report["damage"], Value::Array(Vec::new()), "{report}");
        restic18().on(&self.house, &self.vault, ["check"]).args(read_data).ok();
    }

    /// The run that nobody disturbs: what it must do, given what was there before.
    fn finishes(&self) {
        let (there, (orphans, orphaned)) = (self.stored(), self.orphans());
        let done = self.backup(&[]).ok().json();
        let figure = |name: &str| done["summary"][name].as_u64().unwrap();
        assert_eq!(done["status"], "complete");
        assert_eq!((figure("packs_adopted"), figure("bytes_adopted")), (orphans, orphaned));
        let uploaded = figure("bytes_uploaded");
        assert_eq!(self.stored(), there + uploaded);
        assert!(
            there + uploaded <= self.whole + HEADERS,
            "{uploaded} bytes were uploaded beside {there}, where {} are enough",
            self.whole
        );
        let (blobs, twice) = indexed(&self.vault);
        assert_eq!(twice, 0, "of {blobs} blobs");
        assert_eq!(self.locks(), 0, "the locks of the dead are gone, and so is our own");
    }

    /// A prune removes what was half-written, and nothing else.
    fn is_cleared(&self) {
        let half = |path: &Path| path.to_str().unwrap().contains("-tmp-");
        fs::write(self.vault.join(format!("data/{}-tmp-1", "0".repeat(64))), b"half").unwrap();
        let (left, kept): (Vec<_>, Vec<_>) = files(&self.vault).into_iter().partition(|(path, _)| half(path));
        assert!(!left.is_empty());
        self.call(&["prune"]).ok();
        assert_eq!(files(&self.vault).into_iter().collect::<Vec<_>>(), kept);
    }

    fn restores(&self) {
        for (snapshot, tree) in [("latest", &self.source), (&self.kept_in, &self.kept)] {
            let target = self.house.path("work/out");
            self.call(&["restore", snapshot, "--to"]).arg(&target).ok();
            assert_same_tree(tree, &target.join(tree.strip_prefix("/").unwrap()));
            fs::remove_dir_all(target).unwrap();
        }
    }
}

/// At least a gigabyte: large files that compress and that do not, and many small ones.
fn gigabyte(source: &Path, numbers: &mut Numbers) {
    for folder in ["large", "small"] {
        fs::create_dir(source.join(folder)).unwrap();
    }
    for n in 0..6 {
        fs::write(source.join(format!("large/noise {n}")), numbers.bytes(110 << 20)).unwrap();
    }
    for n in 0..3 {
        fs::write(source.join(format!("large/words {n}")), words(numbers, 100 << 20)).unwrap();
    }
    for n in 0..4000 {
        let folder = source.join(format!("small/{}", n % 40));
        if n < 40 {
            fs::create_dir(&folder).unwrap();
        }
        let len = 1 + numbers.below(40_000) as usize;
        let bytes = if n % 2 == 0 { numbers.bytes(len) } else { words(numbers, len) };
        fs::write(folder.join(format!("file {n}")), bytes).unwrap();
    }
    let bytes: u64 = files(source).values().sum();
    assert!(bytes >= 1_000_000_000, "{bytes}");
}

/// Text that compresses to about half, and in which no piece comes twice.
fn words(numbers: &mut Numbers, len: usize) -> Vec<u8> {
    let list: Vec<String> = (0..1000).map(|_| format!("{:x} ", numbers.below(1 << 32))).collect();
    let mut text = Vec::with_capacity(len + 16);
    while text.len() < len {
        text.extend_from_slice(list[numbers.below(list.len() as u64) as usize].as_bytes());
    }
    text.truncate(len);
    text
}

#[test]
fn a_backup_that_is_killed_ten_times_loses_nothing_and_uploads_nothing_twice() {
    let seed = Numbers::fresh_seed();
    println!("seed {seed}");
    let mut numbers = Numbers::seeded(seed);
    let scene = Scene::new(|source| gigabyte(source, &mut numbers));
    let snapshots = scene.snapshots();

    // Random points by what is stored, so that they are spread over the run however fast it is, and then a moment more, so
    // that any step may be hit. A run that has passed its point before it began dies while it opens, adopts or reads.
    let mut points: Vec<u64> = (0..KILLS).map(|_| numbers.below(scene.whole)).collect();
    points.sort_unstable();
    let (mut left, mut grown) = (0, BTreeSet::new());
    for point in points {
        let mut tries = 0;
        loop {
            let mut run = scene.backup(&[]).spawn();
            scene.wait_for(&mut run, point);
            match kill9_at_random(&mut run, scene.took / 20, &mut numbers) {
                Killed::After(_) => break,
                // It was done before it could be killed: as if it had never acknowledged, and once more.
                Killed::TooLate(code) => {
                    assert_eq!(code, Some(0));
                    for new in scene.snapshots().difference(&snapshots) {
                        fs::remove_file(scene.vault.join("snapshots").join(new)).unwrap();
                    }
                }
            }
            tries += 1;
            assert!(tries < 10, "runs end before they can be killed");
        }
        left += scene.locks();
        grown.insert(scene.stored());
        let new: Vec<PathBuf> = scene.snapshots().difference(&snapshots).cloned().collect();
        if !new.is_empty() {
            // The kill came between the snapshot and the end. Then all that it needs is there; and once more without it.
            scene.is_whole(&[]);
            for new in new {
                fs::remove_file(scene.vault.join("snapshots").join(new)).unwrap();
            }
        }
    }
    assert!(left > 0, "a run that is killed leaves its lock");
    assert!(grown.len() > KILLS / 3, "the kills came all at the same point: {grown:?}");

    scene.is_whole(&[]);
    scene.finishes();
    scene.is_cleared();
    scene.is_whole(&["--read-data"]);
    scene.restores();
}

#[test]
fn a_backup_that_is_stopped_indexes_what_it_has_and_one_that_is_left_at_once_is_adopted() {
    let seed = Numbers::fresh_seed();
    println!("seed {seed}");
    let mut numbers = Numbers::seeded(seed);
    let scene = Scene::new(|source| fs::write(source.join("noise"), numbers.bytes(160 << 20)).unwrap());
    let snapshots = scene.snapshots();
    // Slow enough that a signal cannot come too late.
    let slow = ["--limit-upload", "32MiB/s"];
    let interrupt = |run: &Child| kill_process(Pid::from_child(run), Signal::INT).unwrap();

    let mut run = scene.backup(&slow).spawn();
    scene.wait_for(&mut run, 1);
    interrupt(&run);
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert_eq!((scene.snapshots(), scene.locks()), (snapshots.clone(), 0));
    let first = scene.stored();
    assert!(0 < first && first < scene.whole, "{first} of {}", scene.whole);
    assert_eq!(scene.orphans(), (0, 0));

    let mut run = scene.backup(&slow).spawn();
    scene.wait_for(&mut run, first + 1);
    interrupt(&run);
    // Two that come together are one.
    while run.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(20));
        let _ = kill_process(Pid::from_child(&run), Signal::INT);
    }
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert_eq!(scene.snapshots(), snapshots);
    assert_eq!(scene.locks(), 1, "the second signal waits for nothing");

    scene.is_whole(&[]);
    scene.finishes();
    scene.is_cleared();
    scene.is_whole(&["--read-data"]);
    scene.restores();
}
