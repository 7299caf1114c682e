//! A damaged object of any kind, whatever the damage, is found and named with what it hits; nothing panics, and a restore
//! brings back the rest.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use drctl::vault::{BlobType, FileType};
use serde_json::{Value, json};

use crate::support::Numbers;
use crate::support::compare::compare_trees;
use crate::support::house::{House, Outcome};
use crate::support::vaults::{cheap_vault, files, open, packs_of, wait};

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    FlipFirst,
    FlipMiddle,
    FlipLast,
    Truncate,
    Empty,
    Remove,
    /// It changes places with another of its kind.
    Swap,
}

pub(crate) const HARMS: [Harm; 7] =
    [Harm::FlipFirst, Harm::FlipMiddle, Harm::FlipLast, Harm::Truncate, Harm::Empty, Harm::Remove, Harm::Swap];

impl Harm {
    pub(crate) fn apply(self, object: &Path, other: &Path) {
        let mut bytes = fs::read(object).unwrap();
        let len = bytes.len();
        match self {
            Self::FlipFirst => bytes[0] ^= 0x10,
            Self::FlipMiddle => bytes[len / 2] ^= 0x01,
            Self::FlipLast => bytes[len - 1] ^= 0x80,
            Self::Truncate => bytes.truncate(len - 1),
            Self::Empty => bytes.clear(),
            Self::Remove => return fs::remove_file(object).unwrap(),
            Self::Swap => {
                let aside = object.with_extension("aside");
                fs::rename(object, &aside).unwrap();
                fs::rename(other, object).unwrap();
                return fs::rename(aside, other).unwrap();
            }
        }
        // Objects are read-only; a disk that flips a bit does not ask.
        fs::remove_file(object).unwrap();
        fs::write(object, bytes).unwrap();
    }
}

/// A vault with two snapshots, each with packs and an index file of its own; damaged copies are made of it.
struct Scene {
    house: House,
    source: PathBuf,
    vault: PathBuf,
    /// The ids of both snapshots, oldest first.
    snapshots: [String; 2],
}

impl Scene {
    fn new() -> Self {
        let house = House::new();
        let (source, vault) = (house.path("work/source"), cheap_vault(&house.path("vault")));
        let mut numbers = Numbers::seeded(3);
        fs::create_dir_all(source.join("old/below")).unwrap();
        for name in ["old/first", "old/second", "old/below/third"] {
            fs::write(source.join(name), numbers.bytes(300_000)).unwrap();
        }
        fs::write(source.join("old/empty"), b"").unwrap();
        let first = backup(&house, &vault, &source);
        fs::create_dir(source.join("new")).unwrap();
        fs::write(source.join("new/fourth"), numbers.bytes(200_000)).unwrap();
        let second = backup(&house, &vault, &source);
        Self { house, source, vault, snapshots: [first, second] }
    }

    /// Objects that came with the first backup, and the same kind's of the second.
    fn pair(&self, kind: FileType) -> (PathBuf, PathBuf) {
        let of = |id: &str| PathBuf::from(kind.folder()).join(id);
        match kind {
            FileType::Snapshot => (of(&self.snapshots[0]), of(&self.snapshots[1])),
            _ => panic!("only snapshots are told apart by name"),
        }
    }

    /// Packs of this kind: one of the first backup, one of the second.
    fn packs(&self, kind: BlobType) -> (PathBuf, PathBuf) {
        let path = |id: String| PathBuf::from(format!("data/{}/{id}", &id[..2]));
        let mut packs: Vec<PathBuf> = packs_of(&self.vault, kind).into_iter().map(|id| path(id.to_string())).collect();
        packs.sort_by_key(|pack| fs::metadata(self.vault.join(pack)).unwrap().modified().unwrap());
        assert_eq!(packs.len(), 2, "{packs:?}");
        (packs[0].clone(), packs[1].clone())
    }

    fn indexes(&self) -> (PathBuf, PathBuf) {
        let mut all: Vec<PathBuf> = files(&self.vault.join("index")).into_keys().collect();
        all.sort_by_key(|name| fs::metadata(self.vault.join("index").join(name)).unwrap().modified().unwrap());
        assert_eq!(all.len(), 2);
        (Path::new("index").join(&all[0]), Path::new("index").join(&all[1]))
    }

    /// A copy with one object harmed.
    fn harmed(&self, harm: Harm, object: &Path, other: &Path) -> Case<'_> {
        let vault = self.house.path("harmed");
        let _ = fs::remove_dir_all(&vault);
        self.house.call("cp").args(["-a", "--"]).arg(&self.vault).arg(&vault).ok();
        harm.apply(&vault.join(object), &vault.join(other));
        let label = format!("{harm:?} of {}", object.display());
        Case { scene: self, vault, label }
    }
}

fn backup(house: &House, vault: &Path, source: &Path) -> String {
    let call = house.drctl(["backup", "--json", "--vault"]).arg(vault).arg("--path").arg(source);
    call.ok().json()["snapshot"].as_str().unwrap().to_owned()
}

struct Case<'s> {
    scene: &'s Scene,
    vault: PathBuf,
    label: String,
}

impl Case<'_> {
    fn run(&self, args: &[&str]) -> Outcome {
        let call = self.scene.house.drctl(args).args(["--json", "--no-cache", "--vault"]).arg(&self.vault);
        let outcome = call.run();
        assert!(!outcome.stderr.contains("panicked"), "{}: {outcome}", self.label);
        assert!(matches!(outcome.code, Some(0 | 1 | 3 | 12)), "{}: {outcome}", self.label);
        outcome
    }

    /// What `check --read-data` found; it must have ended with 1.
    fn damage(&self) -> Vec<Value> {
        let outcome = self.run(&["check", "--read-data", "--no-lock"]);
        assert_eq!(outcome.code, Some(1), "{}: {outcome}", self.label);
        outcome.json()["damage"].as_array().unwrap().clone()
    }

    /// The vault cannot be used at all, and the error says because of which object.
    fn is_refused(&self, args: &[&str], object: &str) {
        let outcome = self.run(args);
        assert_ne!(outcome.code, Some(0), "{}: {outcome}", self.label);
        let error = error(&outcome);
        let text = format!("{} {}", error["message"], error["causes"]);
        assert!(text.contains(object), "{}: {outcome}", self.label);
        assert!(!error["hint"].as_str().unwrap().is_empty());
    }

    /// Restores the newest snapshot: no false success, and whatever comes back is the source's.
    fn restore(&self) -> Outcome {
        let target = self.scene.house.path("out");
        let _ = fs::remove_dir_all(&target);
        let outcome = self.run(&["restore", "latest", "--to", target.to_str().unwrap()]);
        let target = target.join(self.scene.source.strip_prefix("/").unwrap());
        match outcome.code {
            Some(0) => assert_eq!(compare_trees(&self.scene.source, &target), [], "{}: {outcome}", self.label),
            Some(3) => {
                let document = outcome.json();
                let problems = document["problems"].as_array().unwrap();
                assert!(document["status"] == "partial" && !problems.is_empty(), "{}: {outcome}", self.label);
                let lost: BTreeSet<String> =
                    problems.iter().map(|it| it["what"].as_str().unwrap().to_owned()).collect();
                // Nothing at all may have come back: then all of it must be listed.
                fs::create_dir_all(&target).unwrap();
                for difference in compare_trees(&self.scene.source, &target) {
                    let path = String::from_utf8(difference.path.clone()).unwrap();
                    let whole = self.scene.source.join(&path).display().to_string();
                    let listed =
                        lost.iter().any(|it| whole.starts_with(it.trim_end_matches('/')) || it.starts_with(&whole));
                    assert!(listed, "{}: {difference} is not listed: {lost:?}", self.label);
                }
            }
            _ => assert!(!error(&outcome)["message"].is_null(), "{}: {outcome}", self.label),
        }
        outcome
    }
}

/// The last JSON line on standard error.
fn error(outcome: &Outcome) -> Value {
    let line = outcome.stderr.lines().rev().find(|line| line.starts_with("{\"error\""));
    let document: Value = serde_json::from_str(line.unwrap_or_else(|| panic!("no error: {outcome}"))).unwrap();
    document["error"].clone()
}

fn find<'d>(damage: &'d [Value], object: &str, id: &str) -> Option<&'d Value> {
    damage.iter().find(|it| it["object"] == object && it["id"] == id)
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn the_undamaged_vault_is_whole() {
    let scene = Scene::new();
    let case = Case { scene: &scene, vault: scene.vault.clone(), label: "whole".to_owned() };
    let report = case.run(&["check", "--read-data", "--no-lock"]);
    assert_eq!((report.code, &report.json()["damage"]), (Some(0), &json!([])));
    assert_eq!(case.restore().code, Some(0));
}

#[test]
fn without_configuration_settings_or_key_the_error_names_the_object() {
    let scene = Scene::new();
    let key = Path::new("keys").join(files(&scene.vault.join("keys")).into_keys().next().unwrap());
    let other = Path::new("keys").join("0".repeat(64));
    for (object, swapped) in [("config", "drctl/vault"), ("drctl/vault", "config"), (key.to_str().unwrap(), "config")] {
        for harm in HARMS {
            if (object, harm) == ("drctl/vault", Harm::Remove) {
                continue; // a vault that drctl adopts has none either
            }
            let case = scene.harmed(harm, Path::new(object), Path::new(swapped));
            let named = match (object.starts_with("keys"), harm) {
                (true, Harm::Remove) => "keys",
                (true, Harm::Swap) => "keys/",
                _ => object,
            };
            if harm == Harm::Swap && object == "drctl/vault" {
                case.is_refused(&["check", "--read-data"], "damaged");
            } else {
                case.is_refused(&["check", "--read-data"], named);
            }
            assert_ne!(case.restore().code, Some(0));
        }
    }
    assert!(!scene.vault.join(other).exists());
}

#[test]
fn without_settings_files_are_cut_otherwise_and_nothing_is_lost() {
    let scene = Scene::new();
    let case = scene.harmed(Harm::Remove, Path::new("drctl/vault"), Path::new(""));
    assert_eq!(case.run(&["check", "--read-data", "--no-lock"]).code, Some(0));
    assert_eq!(case.restore().code, Some(0));
}

#[test]
fn a_damaged_key_beside_a_good_one_is_reported() {
    let scene = Scene::new();
    let bad = files(&scene.vault.join("keys")).into_keys().next().unwrap();
    let new = scene.house.path("new key");
    fs::write(&new, "another").unwrap();
    scene.house.call("chmod").arg("600").arg(&new).ok();
    let add = scene.house.drctl(["key", "add", "--new-key-file"]).arg(&new).arg("--vault").arg(&scene.vault);
    add.ok();
    for harm in HARMS.into_iter().filter(|harm| !matches!(harm, Harm::Remove | Harm::Swap)) {
        let case = scene.harmed(harm, &Path::new("keys").join(&bad), Path::new(""));
        let key = ["--key-file", new.to_str().unwrap()];
        let outcome = case.run(&["check", "--no-lock", key[0], key[1]]);
        assert_eq!(outcome.code, Some(1), "{}: {outcome}", case.label);
        assert!(find(outcome.json()["damage"].as_array().unwrap(), "key", name(&bad)).is_some(), "{outcome}");
        assert_eq!(case.run(&["snapshots", key[0], key[1]]).code, Some(0), "another key still opens it");
    }
}

#[test]
fn a_damaged_index_is_named_with_the_snapshots_that_need_it() {
    let scene = Scene::new();
    let (index, other) = scene.indexes();
    for harm in HARMS {
        let case = scene.harmed(harm, &index, &other);
        let damage = case.damage();
        if harm != Harm::Remove {
            assert!(find(&damage, "index", name(&index)).is_some(), "{}: {damage:?}", case.label);
        }
        let hit: BTreeSet<&str> =
            damage.iter().flat_map(|it| it["snapshots"].as_array().unwrap()).map(|id| id.as_str().unwrap()).collect();
        assert_eq!(hit, scene.snapshots.iter().map(String::as_str).collect(), "{}: {damage:?}", case.label);
        assert!(damage.iter().any(|it| !it["files"].as_array().unwrap().is_empty()), "{}: {damage:?}", case.label);
        assert_ne!(case.restore().code, Some(0), "{}", case.label);
    }
}

#[test]
fn a_damaged_snapshot_is_named_and_the_other_one_stays_of_use() {
    let scene = Scene::new();
    let (snapshot, other) = scene.pair(FileType::Snapshot);
    for harm in HARMS.into_iter().filter(|harm| *harm != Harm::Remove) {
        let case = scene.harmed(harm, &snapshot, &other);
        let damage = case.damage();
        let found = find(&damage, "snapshot", &scene.snapshots[0]).unwrap_or_else(|| panic!("{damage:?}"));
        assert_eq!(found["snapshots"], json!([scene.snapshots[0]]), "{}", case.label);
        let listed = case.run(&["snapshots"]);
        assert_eq!(listed.code, Some(3), "{}: {listed}", case.label);
        if harm == Harm::Swap {
            assert!(find(&damage, "snapshot", &scene.snapshots[1]).is_some(), "{damage:?}");
        } else {
            assert_eq!(case.restore().code, Some(0), "{}", case.label);
        }
    }
}

#[test]
fn a_damaged_data_pack_is_named_with_the_files_it_hits_and_the_rest_is_restored() {
    let scene = Scene::new();
    let (pack, other) = scene.packs(BlobType::Data);
    for harm in HARMS {
        let case = scene.harmed(harm, &pack, &other);
        let damage = case.damage();
        let found = find(&damage, "pack", name(&pack)).unwrap_or_else(|| panic!("{}: {damage:?}", case.label));
        let files: Vec<&str> = found["files"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        if matches!(harm, Harm::FlipLast | Harm::Truncate) {
            // The header's length, at the end: every blob can still be read where the index has it.
            assert_eq!(files, Vec::<&str>::new(), "{damage:?}");
            assert_eq!(case.restore().code, Some(0));
            continue;
        }
        assert_eq!(found["snapshots"].as_array().unwrap().len(), 2, "both snapshots have the files: {damage:?}");
        assert!(!files.is_empty() && files.iter().all(|file| file.contains("/source/old/")), "{damage:?}");
        assert_eq!(found["files_count"], files.len(), "{damage:?}");
        let restored = case.restore();
        assert_eq!(restored.code, Some(3), "{}: {restored}", case.label);
        let summary = &restored.json()["summary"];
        assert!(summary["files_lost"].as_u64().unwrap() >= 1 && summary["files"] == 5, "{restored}");
    }
}

#[test]
fn a_file_that_was_not_restored_whole_does_not_look_as_if_it_were() {
    let scene = Scene::new();
    let (pack, other) = scene.packs(BlobType::Data);
    let case = scene.harmed(Harm::FlipMiddle, &pack, &other);
    assert_eq!(case.restore().code, Some(3), "{}", case.label);
    fs::copy(scene.vault.join(&pack), case.vault.join(&pack)).unwrap();
    let out = scene.house.path("out");
    let again = case.run(&["restore", "latest", "--overwrite", "--trust-times", "--to", out.to_str().unwrap()]);
    assert_eq!(again.code, Some(0), "{again}");
    let summary = &again.json()["summary"];
    assert!(summary["bytes_written"].as_u64().unwrap() > 0, "{again}");
    assert!(summary["files_unchanged"].as_u64().unwrap() >= 2, "{again}");
    assert_eq!(compare_trees(&scene.source, &out.join(scene.source.strip_prefix("/").unwrap())), []);
}

#[test]
fn a_damaged_tree_pack_is_named_with_the_snapshots_it_hits() {
    let scene = Scene::new();
    let (pack, other) = scene.packs(BlobType::Tree);
    for harm in HARMS {
        let case = scene.harmed(harm, &pack, &other);
        let damage = case.damage();
        let found = find(&damage, "pack", name(&pack)).unwrap_or_else(|| panic!("{}: {damage:?}", case.label));
        if !matches!(harm, Harm::FlipLast | Harm::Truncate) {
            assert!(found["snapshots"].as_array().unwrap().contains(&json!(scene.snapshots[0])), "{damage:?}");
            assert!(damage.iter().any(|it| it["object"] == "tree"), "{damage:?}");
        }
        case.restore();
        for args in [&["ls", "latest"][..], &["find", "third"], &["diff", &scene.snapshots[0], &scene.snapshots[1]]] {
            case.run(args);
        }
    }
}

#[test]
fn a_damaged_lock_blocks_writers_and_is_named_and_readers_pass_it() {
    let scene = Scene::new();
    let lock = json!({ "time": "2026-01-01T00:00:00Z", "exclusive": false, "hostname": "elsewhere", "username": "u", "pid": 7 });
    let id = wait(async {
        let vault = open(&scene.vault).await;
        vault.save(FileType::Lock, lock.to_string().as_bytes()).await.unwrap()
    });
    let lock = Path::new("locks").join(id.to_string());
    for harm in HARMS.into_iter().filter(|harm| !matches!(harm, Harm::Remove)) {
        let case = scene.harmed(harm, &lock, Path::new("config"));
        if harm == Harm::Swap {
            case.is_refused(&["check"], "config");
            continue;
        }
        if harm == Harm::Empty {
            // restic leaves empty locks when a disk is full, and passes over them.
            assert_eq!(case.run(&["check"]).code, Some(0));
            continue;
        }
        case.is_refused(&["check"], &format!("locks/{id}"));
        let source = scene.source.to_str().unwrap();
        case.is_refused(&["backup", "--path", source], &format!("locks/{id}"));
        assert_eq!(case.restore().code, Some(0), "{}", case.label);
        assert_eq!(case.run(&["unlock", "--all"]).code, Some(0));
        assert_eq!(case.run(&["check"]).code, Some(0), "{}", case.label);
    }
}

#[test]
fn a_damaged_record_or_host_key_is_named_with_the_snapshots_that_lose_their_word() {
    let scene = Scene::new();
    let below = |folder: &str| -> Vec<PathBuf> {
        files(&scene.vault.join(folder)).into_keys().map(|name| Path::new(folder).join(name)).collect()
    };
    let (records, keys) = (below("drctl/records"), below("drctl/hosts"));
    assert_eq!((records.len(), keys.len()), (2, 1));
    for (object, other) in [(&records[0], &records[1]), (&keys[0], &records[0])] {
        for harm in HARMS {
            let case = scene.harmed(harm, object, other);
            let outcome = case.run(&["check", "--no-lock"]);
            let told = &outcome.json()["records"];
            if harm == Harm::Remove && *object == records[0] {
                // Each call of the program is a chain of its own: nothing says that there was one.
                assert_eq!((outcome.code, &told["count"]), (Some(0), &json!(1)), "{}: {outcome}", case.label);
                continue;
            }
            assert_eq!(outcome.code, Some(1), "{}: {outcome}", case.label);
            let flaws = told["flaws"].to_string();
            // Without the key of a host it is its records that are named.
            let named = if harm == Harm::Remove { &records[0] } else { object };
            assert!(flaws.contains(named.to_str().unwrap()), "{}: {outcome}", case.label);
            assert!(told["unsigned"].to_string().contains(&scene.snapshots[0]), "{}: {outcome}", case.label);
            assert_eq!(outcome.json()["damage"], json!([]), "what was backed up is whole");
            let human = scene.house.drctl(["check", "--no-lock", "--vault"]).arg(&case.vault).ends(1);
            assert!(human.text().contains(&scene.snapshots[0][..8]), "{human}");
        }
    }
}

/// One object of each type that a vault has, and what `check` calls it.
fn one_of_each(scene: &Scene) -> Vec<(&'static str, PathBuf)> {
    let first = |folder: &str| -> PathBuf {
        let name = files(&scene.vault.join(folder)).into_keys().next().unwrap();
        Path::new(folder).join(name)
    };
    vec![
        ("config", PathBuf::from("config")),
        ("data", scene.packs(BlobType::Data).0),
        ("key", first("keys")),
        ("tree", scene.packs(BlobType::Tree).0),
        ("settings", PathBuf::from("drctl/vault")),
        ("snapshot", scene.pair(FileType::Snapshot).0),
        ("index", scene.indexes().0),
        ("record", first("drctl/records")),
        ("lock", first("locks")),
        ("host", first("drctl/hosts")),
    ]
}

#[test]
fn an_object_that_lies_where_one_of_another_type_should_is_named() {
    let scene = Scene::new();
    let lock = json!({ "time": "2026-01-01T00:00:00Z", "exclusive": false, "hostname": "elsewhere", "username": "u", "pid": 7 });
    wait(async { open(&scene.vault).await.save(FileType::Lock, lock.to_string().as_bytes()).await.unwrap() });
    let all = one_of_each(&scene);
    // The vault does not open without the first three of these; each is named then, and the other one cannot be.
    let opens = |kind: &str| !matches!(kind, "config" | "key" | "settings");
    for apart in 1..=5 {
        for (n, (kind, object)) in all.iter().enumerate() {
            let (other_kind, other) = &all[(n + apart) % all.len()];
            let case = scene.harmed(Harm::Swap, object, other);
            if !opens(kind) || !opens(other_kind) {
                let outcome = case.run(&["check", "--read-data", "--no-lock"]);
                assert_ne!(outcome.code, Some(0), "{}: {outcome}", case.label);
                let text = format!("{} {}", error(&outcome)["message"], error(&outcome)["causes"]);
                let named = |kind: &str, path: &Path| match kind {
                    "key" => text.contains("keys"),
                    _ => text.contains(path.to_str().unwrap()),
                };
                assert!(named(kind, object) || named(other_kind, other), "{}: {outcome}", case.label);
                assert_ne!(case.restore().code, Some(0), "{}", case.label);
                continue;
            }
            let outcome = case.run(&["check", "--read-data", "--no-lock"]);
            assert_eq!(outcome.code, Some(1), "{} by {other_kind}: {outcome}", case.label);
            for (kind, path) in [(kind, object), (other_kind, other)] {
                // Whoever takes no lock does not look at those of others: the next test shows who does.
                assert!(*kind == "lock" || outcome.text().contains(name(path)), "{}: {kind}: {outcome}", case.label);
            }
            // Without the key of its host no record vouches for a snapshot: the newest is then restored only by name.
            if [kind, other_kind].into_iter().all(|kind| matches!(*kind, "record" | "lock")) {
                let restored = case.restore();
                assert_eq!(restored.code, Some(0), "{} by {other_kind}: {restored}", case.label);
            } else {
                case.restore();
            }
            if [kind, other_kind].contains(&&"lock") {
                case.is_refused(&["check"], "locks/");
            }
        }
    }
}

#[test]
fn a_snapshot_that_no_damage_hits_is_restored_whole() {
    let scene = Scene::new();
    // All that only the second backup needs.
    let (data, tree) = (scene.packs(BlobType::Data).1, scene.packs(BlobType::Tree).1);
    let snapshot = scene.pair(FileType::Snapshot).1;
    for object in [data, tree, snapshot] {
        for harm in HARMS.into_iter().filter(|harm| !matches!(harm, Harm::Swap)) {
            let case = scene.harmed(harm, &object, Path::new(""));
            let target = scene.house.path("out");
            let _ = fs::remove_dir_all(&target);
            let restored = case.run(&["restore", &scene.snapshots[0], "--to", target.to_str().unwrap()]);
            assert_eq!(restored.code, Some(0), "{}: {restored}", case.label);
            let restored = target.join(scene.source.strip_prefix("/").unwrap()).join("old");
            assert_eq!(compare_trees(&scene.source.join("old"), &restored), [], "{}", case.label);
        }
    }
}
