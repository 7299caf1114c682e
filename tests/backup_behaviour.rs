//! What a backup takes and leaves, what a restore brings back, and that both say so truthfully.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::bad_input::Mounted;
use crate::support::Numbers;
use crate::support::compare::{assert_same_tree, compare_trees};
use crate::support::house::{Call, House};
use crate::support::vaults::{cheap_vault, files};

/// A house with an empty vault and an empty source, both its tenant's.
struct Scene {
    house: House,
    source: PathBuf,
    vault: PathBuf,
}

impl Scene {
    fn new() -> Self {
        Self::of(House::new())
    }

    fn of(house: House) -> Self {
        let (source, vault) = (house.path("work/source"), cheap_vault(&house.path("vault")));
        fs::create_dir(&source).unwrap();
        let scene = Self { house, source, vault };
        scene.hand_over();
        scene
    }

    /// What the test itself has made becomes the tenant's.
    fn hand_over(&self) {
        let mut chown = Command::new("chown");
        chown.arg("-R").arg(format!("--reference={}", self.house.key_file().display()));
        assert!(chown.arg(&self.vault).arg(&self.source).status().unwrap().success());
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.source.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn call(&self, args: &[&str]) -> Call {
        self.house.drctl(["--json", "--vault"]).arg(&self.vault).args(args)
    }

    fn backup(&self, args: &[&str]) -> Value {
        self.call(&["backup", "--path"]).arg(&self.source).args(args).ok().json()
    }

    /// Restores the newest snapshot beneath a new folder; where the source then stands.
    fn restored(&self) -> PathBuf {
        let target = self.house.path("work").join(format!("out {}", Numbers::fresh_seed()));
        self.call(&["restore", "latest", "--to"]).arg(&target).ok();
        self.below(&target)
    }

    /// The source's place beneath a target.
    fn below(&self, target: &Path) -> PathBuf {
        target.join(self.source.strip_prefix("/").unwrap())
    }

    /// The files of the newest snapshot, by path below the source.
    fn names(&self) -> BTreeSet<String> {
        let target = self.restored();
        let names = files(&target).into_keys().map(|path| path.display().to_string()).collect();
        fs::remove_dir_all(target).unwrap();
        names
    }
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(folder).into_keys().map(|path| (path.clone(), fs::read(folder.join(path)).unwrap())).collect()
}

#[test]
fn a_file_that_cannot_be_read_is_listed_and_the_rest_goes_on() {
    let scene = Scene::of(House::unprivileged());
    scene.write("open", "open");
    scene.write("closed", "closed");
    scene.write("locked/below", "below");
    scene.hand_over();
    for (name, mode) in [("closed", 0), ("locked", 0)] {
        fs::set_permissions(scene.source.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    let done = scene.call(&["backup", "--path"]).arg(&scene.source).ends(3);
    assert_eq!(done.json()["status"], "partial");
    let problems = done.json()["problems"].as_array().unwrap().clone();
    let what: BTreeSet<&str> = problems.iter().map(|it| it["what"].as_str().unwrap()).collect();
    let at = |name: &str| scene.source.join(name).display().to_string();
    assert_eq!(what, [at("closed"), at("locked")].iter().map(String::as_str).collect(), "{done}");
    assert!(problems.iter().all(|it| it["why"].as_str().unwrap().contains("Permission denied")), "{done}");
    let text = scene.house.drctl(["backup", "--vault"]).arg(&scene.vault).arg("--path").arg(&scene.source).ends(3);
    assert!(text.text().contains("PARTIAL: 2 problems"), "{text}");
    for (name, mode) in [("closed", 0o600), ("locked", 0o700)] {
        fs::set_permissions(scene.source.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    // What is known to be missing is said again by whoever restores it.
    let restored = scene.call(&["restore", "latest", "--to", "part"]).ends(3);
    assert!(restored.text().contains("could not be listed"), "{restored}");
    let part = scene.below(&scene.house.path("work/part"));
    assert_eq!(files(&part).into_keys().collect::<Vec<_>>(), [PathBuf::from("open")]);
    // Nothing keeps what was missed out of the next snapshot.
    assert_eq!(scene.backup(&[])["status"], "complete");
    assert_eq!(scene.names(), set(["closed", "locked/below", "open"]));
}

#[test]
fn root_reads_what_nobody_may_read() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let scene = Scene::new();
    scene.write("closed", "closed");
    fs::set_permissions(scene.source.join("closed"), PermissionsExt::from_mode(0o0)).unwrap();
    assert_eq!(scene.backup(&[])["status"], "complete");
    assert_same_tree(&scene.source, &scene.restored());
}

#[test]
fn a_file_that_changes_while_it_is_read_makes_the_run_partial() {
    let scene = Scene::new();
    scene.write("growing", Numbers::seeded(1).bytes(48 << 20));
    scene.write("still", "still");
    let over = AtomicBool::new(false);
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::OpenOptions::new().append(true).open(scene.source.join("growing")).unwrap();
            while !over.load(Ordering::SeqCst) {
                file.write_all(&[7; 512]).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let done = scene.call(&["backup", "--path"]).arg(&scene.source).run();
        over.store(true, Ordering::SeqCst);
        done
    });
    assert_eq!(done.code, Some(3), "{done}");
    let problems = done.json()["problems"].clone();
    assert_eq!(problems[0]["what"], scene.source.join("growing").display().to_string());
    assert!(problems[0]["why"].as_str().unwrap().contains("changed while"), "{done}");
    assert_eq!(problems.as_array().unwrap().len(), 1);
    // It is not taken for whole afterwards: the next run reads it again.
    let again = scene.backup(&[]);
    assert_eq!((&again["status"], &again["summary"]["files_unmodified"]), (&json!("complete"), &json!(1)));
    assert_same_tree(&scene.source, &scene.restored());
}

#[test]
fn what_is_excluded_stays_out() {
    let scene = Scene::new();
    for name in ["keep", "a.tmp", "below/b.tmp", "build/out", "below/build/out", "logs/old.log", "logs/keep.log"] {
        scene.write(name, name);
    }
    scene.write("cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
    scene.write("cache/large", "large");
    let patterns = scene.house.path("work/patterns");
    fs::write(&patterns, "# comment\n\n/build\nlogs/*\n!logs/keep.log\n").unwrap();
    let file = patterns.to_str().unwrap();
    scene.backup(&["--exclude", "*.tmp", "--exclude-file", file, "--exclude-caches"]);
    assert_eq!(scene.names(), set(["below/build/out", "cache/CACHEDIR.TAG", "keep", "logs/keep.log"]));
    // Without them everything is there again, unchanged files of the parent or not.
    scene.backup(&[]);
    assert_eq!(scene.names().len(), 9);
}

#[test]
fn other_file_systems_are_entered_unless_told_not_to() {
    if !rustix::process::geteuid().is_root() {
        return; // only root can mount one
    }
    let scene = Scene::new();
    scene.write("here", "here");
    let other = Mounted::new(&scene.house, "work/source/other", "size=1m");
    fs::write(other.at.join("there"), "there").unwrap();
    scene.backup(&["--one-file-system"]);
    assert_eq!(scene.names(), set(["here"]));
    assert!(scene.restored().join("other").is_dir(), "the mount point itself is kept");
    scene.backup(&[]);
    assert_eq!(scene.names(), set(["here", "other/there"]));
}

#[test]
fn paths_come_from_a_list_and_content_from_standard_input() {
    let scene = Scene::new();
    for name in ["one", "two/below", "three"] {
        scene.write(name, name);
    }
    let list = scene.house.path("work/list");
    fs::write(&list, format!("{}\n\nsource/two\r\n", scene.source.join("one").display())).unwrap();
    let done = scene.call(&["backup", "--files-from"]).arg(&list).ok().json();
    let at = |name: &str| scene.source.join(name).display().to_string();
    assert_eq!(done["paths"], json!([at("one"), at("two")]));
    assert_eq!(scene.names(), set(["one", "two/below"]));

    let bytes = Numbers::seeded(5).bytes(3_000_000);
    let stdin = scene.call(&["backup", "--stdin", "--stdin-name", "dumps/shop.sql"]).stdin(bytes.clone()).ok().json();
    assert_eq!(stdin["summary"]["bytes_total"], bytes.len());
    let dumped = scene.house.drctl(["dump", "latest", "/dumps/shop.sql", "--vault"]).arg(&scene.vault).ok();
    assert!(dumped.stdout == bytes, "{} bytes came back", dumped.stdout.len());
    // A program that failed before it wrote anything looks like this.
    let empty = scene.call(&["backup", "--stdin"]).ends(3);
    assert!(empty.json()["problems"][0]["why"].as_str().unwrap().contains("no byte came"), "{empty}");
}

#[test]
fn hosts_and_tags_choose_snapshots() {
    let scene = Scene::new();
    scene.write("file", "first");
    let first = scene.backup(&["--tag", "nightly,,db", "--tag", "", "--host", "one"]);
    assert_eq!(first["tags"], json!(["nightly", "db"]));
    scene.write("file", "second");
    let second = scene.backup(&["--tag", "nightly", "--host", "two"]);
    assert_eq!((&second["parent"], &second["host"]), (&Value::Null, &json!("two")), "another host is no parent");
    let ids = |args: &[&str]| -> Vec<Value> {
        let list = scene.call(&["snapshots"]).args(args).ok().json();
        list["snapshots"].as_array().unwrap().iter().map(|it| it["id"].clone()).collect()
    };
    let (first, second) = (first["snapshot"].clone(), second["snapshot"].clone());
    assert_eq!(ids(&["--tag", "nightly"]), [first.clone(), second.clone()]);
    assert_eq!(ids(&["--tag", "nightly,db"]), std::slice::from_ref(&first));
    assert_eq!(ids(&["--host", "two"]), [second]);
    assert_eq!(ids(&["--host", "three"]), Vec::<Value>::new());
    let restored = scene.call(&["restore", "latest", "--tag", "db", "--to", "out"]).ok().json();
    assert_eq!(restored["snapshot"], first);
    assert_eq!(fs::read(scene.below(&scene.house.path("work/out")).join("file")).unwrap(), b"first");
}

#[test]
fn a_rehearsal_counts_and_writes_nothing() {
    let scene = Scene::new();
    scene.write("file", Numbers::seeded(2).bytes(2_000_000));
    let before = content(&scene.vault);
    let would = scene.backup(&["--dry-run"]);
    assert!(content(&scene.vault) == before, "something was written");
    assert_eq!(would["snapshot"], Value::Null);
    let did = scene.backup(&[]);
    for field in ["files_new", "bytes_total", "data_blobs", "packs_uploaded"] {
        assert_eq!(would["summary"][field], did["summary"][field], "{field}");
    }
    // The folders above are shared: other tests give them other times between the two.
    let added = |done: &Value| done["summary"]["bytes_added"].as_u64().unwrap();
    assert!(added(&would).abs_diff(added(&did)) < 100, "{would} and {did}");
    let same = (0..20).any(|_| scene.backup(&["--dry-run"])["tree"] == scene.backup(&[])["tree"]);
    assert!(same, "a rehearsal never comes to the tree that a backup then makes");
}

#[test]
fn uploads_keep_to_their_limit() {
    let scene = Scene::new();
    scene.write("file", Numbers::seeded(2).bytes(4 << 20));
    let millis = |done: &Value| done["summary"]["millis"].as_u64().unwrap();
    let slow = scene.backup(&["--limit-upload", "2MiB"]);
    assert!(millis(&slow) >= 1_900, "4 MiB at 2 MiB a second: {slow}");
}

#[test]
fn what_did_not_change_is_neither_read_nor_uploaded() {
    let scene = Scene::new();
    for n in 0..50 {
        scene.write(&format!("folder {}/file {n}", n % 7), format!("content {n}"));
    }
    let first = scene.backup(&[]);
    let second = scene.backup(&[]);
    let summary = &second["summary"];
    assert_eq!(second["parent"], first["snapshot"]);
    for (field, expected) in [("files_unmodified", 50), ("bytes_read", 0), ("data_blobs", 0), ("files_new", 0)] {
        assert_eq!(summary[field], expected, "{field}: {second}");
    }
    assert_eq!(scene.backup(&["--force"])["summary"]["files_unmodified"], 0);
}

#[test]
fn a_restore_brings_back_the_moment_and_the_part_that_were_asked_for() {
    let scene = Scene::new();
    for name in ["a/one", "a/two.log", "b/three", "b/below/four.log"] {
        scene.write(name, format!("old {name}"));
    }
    scene.backup(&["--time", "2026-01-10T12:00:00Z"]);
    scene.write("a/one", "new");
    scene.backup(&["--time", "2026-02-10T12:00:00Z"]);

    let restore = |args: &[&str]| -> BTreeMap<PathBuf, Vec<u8>> {
        let target = scene.house.path("work/out");
        scene.call(&["restore"]).args(args).arg("--to").arg(&target).ok();
        let found = content(&target);
        fs::remove_dir_all(target).unwrap();
        found
    };
    let part = format!("latest:{}", scene.source.display());
    let names = |found: BTreeMap<PathBuf, Vec<u8>>| -> BTreeSet<String> {
        found.into_keys().map(|path| path.display().to_string()).collect()
    };
    let one = |found: BTreeMap<PathBuf, Vec<u8>>| String::from_utf8(found[Path::new("a/one")].clone()).unwrap();
    assert_eq!(one(restore(&[&part])), "new");
    assert_eq!(one(restore(&[&part, "--at", "2026-02-10T11:59:59Z"])), "old a/one");
    assert_eq!(names(restore(&[&part, "--include", "*.log"])), set(["a/two.log", "b/below/four.log"]));
    assert_eq!(names(restore(&[&part, "--exclude", "*.log"])), set(["a/one", "b/three"]));
    assert_eq!(names(restore(&[&part, "--include", "b", "--exclude", "below"])), set(["b/three"]));
    let below = format!("{}/b", scene.source.display());
    assert_eq!(names(restore(&["latest", "--path", &below])), set(["below/four.log", "three"]));
    let whole = format!("{}/b/three", scene.source.strip_prefix("/").unwrap().display());
    assert!(names(restore(&["latest"])).contains(&whole), "without a subpath all stands at its full path");
}

#[test]
fn onto_a_target_with_content_only_what_differs_is_fetched_and_the_rest_stays_or_goes() {
    for house in [House::new(), House::unprivileged()] {
        let scene = Scene::of(house);
        let mut numbers = Numbers::seeded(8);
        for n in 0..20 {
            scene.write(&format!("folder/file {n:02}"), numbers.bytes(200_000));
        }
        scene.hand_over();
        scene.backup(&[]);
        let root = scene.house.path("work/out");
        scene.call(&["restore", "latest", "--to"]).arg(&root).ok();
        let target = scene.below(&root);
        assert_same_tree(&scene.source, &target);

        fs::write(target.join("folder/file 03"), "wrong").unwrap();
        fs::remove_file(target.join("folder/file 04")).unwrap();
        fs::write(target.join("extra"), "extra").unwrap();
        let onto = |args: &[&str]| scene.call(&["restore", "latest", "--to"]).arg(&root).args(args).ok().json();
        let before = content(&target);
        let would = onto(&["--overwrite", "--delete", "--dry-run"]);
        assert!(content(&target) == before, "a rehearsal changed the target");
        let figures = |done: &Value| {
            ["files", "files_unchanged", "bytes_unchanged", "bytes_written", "deleted"]
                .map(|field| done["summary"][field].as_u64().unwrap())
        };
        assert_eq!(figures(&would), [20, 18, 18 * 200_000, 400_000, 1], "{would}");

        let did = onto(&["--overwrite"]);
        let fetched = |done: &Value| done["summary"]["bytes_fetched"].as_u64().unwrap();
        assert!((400_000..800_000).contains(&fetched(&did)), "{did}");
        assert_eq!(fetched(&would), fetched(&did), "{would}");
        assert!(target.join("extra").exists());
        let mirrored = onto(&["--overwrite", "--delete"]);
        assert_eq!(figures(&mirrored), [20, 20, 20 * 200_000, 0, 1], "{mirrored}");
        assert_eq!(compare_trees(&scene.source, &target), []);
    }
}

#[test]
fn files_that_the_target_does_not_take_are_counted_as_lost() {
    let scene = Scene::of(House::unprivileged());
    for name in ["closed/one", "closed/two", "open/three"] {
        scene.write(name, name);
    }
    scene.hand_over();
    scene.backup(&[]);
    let target = scene.restored();
    for name in ["closed/one", "closed/two", "open/three"] {
        fs::remove_file(target.join(name)).unwrap();
    }
    fs::set_permissions(target.join("closed"), PermissionsExt::from_mode(0o555)).unwrap();
    let part = format!("latest:{}", scene.source.display());
    let again = scene.house.drctl(["restore", &part, "--overwrite", "--to"]).arg(&target);
    let again = again.arg("--vault").arg(&scene.vault).ends(3);
    assert!(again.text().contains("restored 1 of 3 files"), "{again}");
    assert!(target.join("open/three").exists() && !target.join("closed/one").exists());
}

#[test]
fn credentials_that_may_only_read_are_told_how_to_check() {
    let scene = Scene::of(House::unprivileged());
    scene.write("file", "content");
    scene.hand_over();
    scene.backup(&[]);
    scene.house.call("chmod").args(["-R", "a-w"]).arg(&scene.vault).ok();
    let refused = scene.call(&["check"]).ends(1);
    assert!(refused.stderr.contains("access denied") && refused.stderr.contains("--no-lock"), "{refused}");
    scene.call(&["check", "--no-lock"]).ok();
    scene.call(&["restore", "latest", "--to", "out"]).ok();
    scene.house.call("chmod").args(["-R", "u+w"]).arg(&scene.vault).ok();
}
