//! A vault is sealed anew under another master key, beside the old one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use drctl::monitor::Silent;
use drctl::vault::key::{KdfCost, Secret};
use drctl::vault::{BlobKey, InitOptions, OpenOptions, Vault};
use serde_json::{Value, json};

use crate::support::Numbers;
use crate::support::compare::assert_same_tree;
use crate::support::house::{Call, House};
use crate::support::kill::{Killed, kill9_at_random};
use crate::support::peers::restic18;
use crate::support::trace::{Watched, kill_before};
use crate::support::vaults::{self, cheap_vault, files, open, packs, wait};

/// The password of the new vault.
const NEW: &str = "the password after the rotation";

/// A vault with two snapshots of a source that changed in between, and the key of the vault that is to come.
struct Scene {
    house: House,
    source: PathBuf,
    vault: PathBuf,
    new: PathBuf,
    key: PathBuf,
    /// The source at each snapshot.
    trees: Vec<PathBuf>,
}

impl Scene {
    fn new(largest: usize) -> Self {
        let house = House::new();
        let (source, vault) = (house.path("work/source"), cheap_vault(&house.path("vault")));
        let key = house.path("new.key");
        house.call("sh").args(["-c", "umask 077; printf %s \"$1\" > \"$2\"", "sh", NEW]).arg(&key).ok();
        fs::create_dir_all(source.join("below")).unwrap();
        let new = house.path("new");
        let mut scene = Self { house, source, vault, new, key, trees: Vec::new() };
        let mut numbers = Numbers::seeded(21);
        for round in 0..2 {
            for n in 0..3 {
                fs::write(scene.source.join(format!("below/{round} {n}")), numbers.bytes(largest)).unwrap();
            }
            scene.house.drctl(["backup", "--vault"]).arg(&scene.vault).arg("--path").arg(&scene.source).ok();
            let tree = scene.house.path(format!("tree {round}"));
            scene.house.call("cp").arg("-a").arg(&scene.source).arg(&tree).ok();
            scene.trees.push(tree);
        }
        scene
    }

    fn rotate(&self) -> Call {
        let call = self.house.drctl(["key", "rotate", "--json", "--vault"]).arg(&self.vault).arg("--to").arg(&self.new);
        call.arg("--new-key-file").arg(&self.key)
    }

    /// drctl on the new vault.
    fn on_new(&self, args: &[&str]) -> Call {
        self.house.drctl(["--vault"]).arg(&self.new).arg("--key-file").arg(&self.key).args(args)
    }

    fn restic(&self, args: &[&str]) -> Call {
        restic18().on(&self.house, &self.new, args).env("RESTIC_PASSWORD", NEW)
    }

    /// The new vault as this process sees it.
    async fn open_new(&self) -> Vault {
        vaults::open_with(&self.new, NEW).await
    }

    /// Every byte of the old vault.
    fn old(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        files(&self.vault).into_keys().map(|name| (name.clone(), fs::read(self.vault.join(name)).unwrap())).collect()
    }

    /// The new vault is whole, and gives back what the old one was given; nothing in it opens with the old key.
    fn is_whole(&self) {
        let report = self.on_new(&["check", "--read-data", "--json"]).ok().json();
        assert_eq!((&report["damage"], &report["orphan_packs"]), (&json!([]), &json!(0)), "{report}");
        let stock = self.restic(&["check", "--read-data", "--no-cache"]).ok();
        assert!(stock.text().contains("no errors were found"), "{stock}");
        let listed = self.on_new(&["snapshots", "--json"]).ok().json();
        let snapshots = listed["snapshots"].as_array().unwrap();
        assert_eq!(snapshots.len(), self.trees.len());
        for (snapshot, tree) in snapshots.iter().zip(&self.trees) {
            let target = self.house.path("work/out");
            self.on_new(&["restore", snapshot["id"].as_str().unwrap(), "--to"]).arg(&target).ok();
            assert_same_tree(tree, &target.join(self.source.strip_prefix("/").unwrap()));
            fs::remove_dir_all(&target).unwrap();
        }
        wait(async {
            let (old, new) = (open(&self.vault).await, self.open_new().await);
            assert_ne!((old.id(), old.key().parts().encrypt), (new.id(), new.key().parts().encrypt));
            assert_eq!(old.chunker(), new.chunker());
            for name in files(&self.new).into_keys().filter(|name| !name.starts_with("keys")) {
                let stored = fs::read(self.new.join(&name)).unwrap();
                assert!(old.key().open(&stored).is_err(), "the old key opens {}", name.display());
            }
            let ids = async |vault: &Vault| {
                let index = vault.load_index(&Silent).await.unwrap();
                let mut ids: Vec<BlobKey> = index.iter().map(|(key, _)| key).collect();
                ids.sort();
                ids
            };
            let (theirs, mut ours) = (ids(&old).await, ids(&new).await);
            assert_eq!(theirs, ours, "the same blobs");
            let all = ours.len();
            ours.dedup();
            assert_eq!(ours.len(), all, "and each of them once");
        });
    }
}

#[test]
fn a_rotated_vault_holds_the_same_under_another_master_key_and_goes_on() {
    let scene = Scene::new(1 << 20);
    let before = scene.old();
    let done = scene.rotate().ok().json();
    assert_eq!((&done["status"], done["copied"].as_array().unwrap().len()), (&json!("complete"), 2), "{done}");
    // Two backups, and the host's key.
    assert_eq!((&done["records"]["carried"], &done["records"]["left"]), (&json!(3), &json!([])), "{done}");
    assert!(scene.old() == before, "the old vault is untouched");
    scene.is_whole();

    // The word of the old records holds for what came of their snapshots.
    let audit = scene.on_new(&["check", "--json"]).ok().json();
    assert_eq!(audit["records"]["flaws"], json!([]), "{audit}");
    let vouched = wait(async {
        let new = scene.open_new().await;
        let audit = drctl::service::host::archive(&new).audit().await.unwrap();
        assert_eq!(audit.flaws, []);
        let copied = audit.entries.into_iter().filter_map(|entry| match entry.record.work {
            drctl::record::Work::Replicate { copied, .. } => Some(copied),
            _ => None,
        });
        copied.flatten().map(|copied| (copied.copy, copied.completeness)).collect::<Vec<_>>()
    });
    assert_eq!(vouched.len(), 2);
    assert!(vouched.iter().all(|(_, completeness)| *completeness == drctl::record::Completeness::Complete));

    // Again: nothing is left to do, and nothing is recorded twice.
    let stored = files(&scene.new);
    let again = scene.rotate().ok().json();
    assert_eq!(
        (&again["copied"], &again["present"], &again["figures"]["bytes_uploaded"]),
        (&json!([]), &json!(2), &json!(0))
    );
    assert_eq!(files(&scene.new), stored, "{again}");

    // What comes later is cut alike: nothing of it is new to the new vault.
    let backup = scene.on_new(&["backup", "--force", "--json", "--path"]).arg(&scene.source).ok().json();
    assert!(backup["summary"]["bytes_read"].as_u64() >= Some(6 << 20), "{backup}");
    assert_eq!(backup["summary"]["data_blobs"], 0, "{backup}");

    // And what the old one took in meanwhile follows.
    fs::write(scene.source.join("late"), "late").unwrap();
    scene.house.drctl(["backup", "--vault"]).arg(&scene.vault).arg("--path").arg(&scene.source).ok();
    let late = scene.rotate().ok().json();
    assert_eq!((late["copied"].as_array().unwrap().len(), &late["records"]["carried"]), (1, &json!(1)), "{late}");
}

#[test]
fn a_rotation_that_makes_no_sense_is_refused() {
    let scene = Scene::new(1000);
    let rotate = |to: &Path| scene.house.drctl(["key", "rotate", "--vault"]).arg(&scene.vault).arg("--to").arg(to);
    // The same password opens both: whoever has it has gained.
    let same = rotate(&scene.new).arg("--new-key-file").arg(scene.house.key_file()).ends(2);
    assert!(same.stderr.contains("opens the old vault") && !scene.new.exists(), "{same}");
    let other = cheap_vault(&scene.house.path("other"));
    wait(async { open(&other).await.add_key(&Secret::new(NEW), KdfCost::Cheap).await.unwrap() });
    let foreign = rotate(&other).arg("--new-key-file").arg(&scene.key).ends(2);
    assert!(foreign.stderr.contains("was made for something else"), "{foreign}");
    rotate(&scene.vault).arg("--generate-key").arg(scene.house.path("x.key")).ends(2);

    let made = scene.house.path("made.key");
    rotate(&scene.new).arg("--generate-key").arg(&made).ok();
    let twice = rotate(&scene.new).arg("--generate-key").arg(scene.house.path("more.key")).ends(2);
    assert!(twice.stderr.contains("--new-key-file"), "{twice}");
    let wrong = rotate(&scene.new).arg("--new-key-file").arg(&scene.key).ends(12);
    assert!(wrong.stderr.contains("the key that it was begun with"), "{wrong}");
    let on = rotate(&scene.new).arg("--new-key-file").arg(&made).ok();
    assert!(on.text().contains("2 were there") && on.text().contains("old vault is as it was"), "{on}");
}

#[test]
fn what_is_damaged_in_the_old_vault_is_named_and_the_rest_is_sealed_anew() {
    let scene = Scene::new(300_000);
    let (pack, _) = packs(&scene.vault)
        .into_iter()
        .max_by_key(|(pack, _)| fs::metadata(scene.vault.join("data").join(pack)).unwrap().modified().unwrap())
        .unwrap();
    // The newest pack of data or trees: only the second snapshot needs it.
    let path = scene.vault.join("data").join(pack);
    let mut bytes = fs::read(&path).unwrap();
    bytes[50] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let done = scene.rotate().ends(3).json();
    assert_eq!((&done["status"], done["copied"].as_array().unwrap().len()), (&json!("partial"), 1), "{done}");
    assert_eq!(done["not_copied"].as_array().unwrap().len(), 1, "{done}");
    assert_eq!(scene.on_new(&["check", "--read-data", "--json"]).ok().json()["damage"], json!([]));
}

#[test]
fn a_rotation_that_is_killed_before_any_change_goes_on_where_it_stopped() {
    let scene = Scene::new(30_000);
    let before = scene.old();
    let mut n = 1 + Numbers::seeded(Numbers::fresh_seed()).below(12);
    loop {
        let _ = fs::remove_dir_all(&scene.new);
        begun(&scene);
        let watched = kill_before(n, scene.rotate());
        if let Watched::Ended { code, calls } = watched {
            assert!(code == 0 && calls > 20, "{watched:?}");
            scene.is_whole();
            break;
        }
        let there: u64 = packs(&scene.new).values().sum();
        let done = scene.rotate().run();
        assert_eq!(done.code, Some(0), "{watched:?}: {done}");
        let done = done.json();
        let figure = |name: &str| done["figures"][name].as_u64().unwrap();
        assert_eq!(there + figure("bytes_uploaded"), packs(&scene.new).values().sum::<u64>(), "{watched:?}: {done}");
        let report = scene.on_new(&["check", "--read-data", "--json"]).ok().json();
        assert_eq!((&report["damage"], &report["snapshots"]), (&json!([]), &json!(2)), "{watched:?}: {report}");
        n += 12;
    }
    let mut after = scene.old();
    // A lock that was being written when its process died is read by nobody, and stays.
    after.retain(|name, _| !name.starts_with("locks"));
    assert!(after == before, "the old vault is untouched");
}

/// The new vault as a run leaves it that was killed as soon as there was one, but quick to open: each run derives a key.
fn begun(scene: &Scene) {
    wait(async {
        let old = open(&scene.vault).await;
        let options =
            InitOptions { same_chunks_as: Some(*old.chunker()), cost: KdfCost::Cheap, ..InitOptions::default() };
        let store = drctl::store::Store::open(scene.new.to_str().unwrap(), &Default::default()).await.unwrap();
        Vault::init(store, &Secret::new(NEW), &options, old.env()).await.unwrap();
    });
}

#[test]
fn a_rotation_that_is_killed_at_random_ends_whole_and_uploads_nothing_twice() {
    let scene = Scene::new(9 << 20);
    let seed = Numbers::fresh_seed();
    println!("seed {seed}");
    let mut numbers = Numbers::seeded(seed);
    let mut kills = 0;
    for _ in 0..30 {
        let before = packs(&scene.new).len();
        let mut child = scene.rotate().spawn();
        // Until it has a vault and writes to it.
        while packs(&scene.new).len() == before && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        match kill9_at_random(&mut child, Duration::from_millis(60), &mut numbers) {
            Killed::After(_) => kills += 1,
            Killed::TooLate(code) => {
                assert_eq!(code, Some(0));
                break;
            }
        }
        if kills == 3 {
            break;
        }
    }
    assert!(kills > 0, "it was over before it could be killed");
    let there: u64 = packs(&scene.new).values().sum();
    let done: Value = scene.rotate().ok().json();
    assert_eq!(done["status"], "complete");
    let uploaded = done["figures"]["bytes_uploaded"].as_u64().unwrap();
    assert_eq!(there + uploaded, packs(&scene.new).values().sum::<u64>(), "{done}");
    scene.is_whole();
}

#[test]
fn whoever_opens_the_vault_otherwise_goes_on_doing_so() {
    let house = House::new();
    let vault = house.path("vault");
    let key = |name: &str, text: &str| {
        let path = house.path(name);
        house.call("sh").args(["-c", "umask 077; printf %s \"$1\" > \"$2\"", "sh", text]).arg(&path).ok();
        path
    };
    let (second, third) = (key("second", "a second password"), key("third", "a third password"));
    let drctl = |args: &[&str]| house.drctl(["--vault"]).arg(&vault).args(args);
    let restic = |password: &str, args: &[&str]| restic18().on(&house, &vault, args).env("RESTIC_PASSWORD", password);
    drctl(&["init"]).ok();
    drctl(&["key", "add", "--new-key-file"]).arg(&second).ok();
    fs::write(house.path("work/file"), "content").unwrap();
    drctl(&["backup", "--path", "file", "--key-file"]).arg(&second).ok();
    for password in [House::PASSWORD, "a second password"] {
        restic(password, &["check", "--read-data"]).ok();
    }
    // The first changes, by drctl; the second, by restic; each leaves the other.
    drctl(&["key", "passwd", "--new-key-file"]).arg(&third).ok();
    restic("a second password", &["snapshots"]).ok();
    drctl(&["snapshots"]).ends(12);
    let fourth = key("fourth", "a fourth password");
    restic("a second password", &["key", "passwd", "--new-password-file"]).arg(&fourth).ok();
    drctl(&["snapshots", "--key-file"]).arg(&second).ends(12);
    for path in [&third, &fourth] {
        let listed = drctl(&["snapshots", "--json", "--key-file"]).arg(path).ok().json();
        assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1);
    }
    // What neither is, is not let in.
    let opened = |password: &'static str| {
        let vault = vault.clone();
        wait(async move {
            let store = drctl::store::Store::open(vault.to_str().unwrap(), &Default::default()).await.unwrap();
            Vault::open(store, &Secret::new(password), &OpenOptions::default(), &vaults::env()).await.is_ok()
        })
    };
    assert!(opened("a third password") && !opened("a fifth password") && !opened(House::PASSWORD));
}
