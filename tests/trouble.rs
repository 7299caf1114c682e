//! Files that cannot be had: stale, or without an answer. The rest goes on, and what is missing is named.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rustix::io::Errno;
use serde_json::Value;

use crate::support::compare::assert_same_tree;
use crate::support::fuse::{Asked, Entry, Served, Trouble};
use crate::support::house::House;
use crate::support::vaults::cheap_vault;

/// A vault, files of this machine, and a folder to mount something on.
struct Scene {
    house: House,
    vault: PathBuf,
    near: PathBuf,
    far: PathBuf,
}

impl Scene {
    fn new(house: House) -> Self {
        let (vault, near, far) = (house.path("vault"), house.path("work/near"), house.path("work/far"));
        for folder in [&near, &far] {
            fs::create_dir(folder).unwrap();
        }
        for n in 0..20 {
            fs::write(near.join(format!("file {n}")), format!("content {n}")).unwrap();
        }
        let scene = Self { house, vault, near, far };
        cheap_vault(&scene.vault);
        scene
    }

    /// Backs up what is near and these paths; ends with this code. The problems, by path.
    #[track_caller]
    fn back_up(&self, code: i32, paths: &[&Path]) -> Vec<(String, String)> {
        // Long enough for a machine that does much else, short enough for a test.
        let call = self.house.drctl(["backup", "--json", "--hung-after", "3s", "--vault"]).arg(&self.vault);
        let call = paths.iter().fold(call.arg("--path").arg(&self.near), |call, path| call.arg("--path").arg(path));
        let outcome = call.ends(code);
        let done = outcome.json();
        assert_eq!(done["status"], if code == 0 { "complete" } else { "partial" }, "{outcome}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        done["problems"].as_array().unwrap().iter().map(|it| (text(&it["what"]), text(&it["why"]))).collect()
    }

    /// Restores the newest snapshot; what is near is whole in it. Where the rest is.
    fn restored(&self) -> PathBuf {
        let target = self.house.path("work/restored");
        let _ = fs::remove_dir_all(&target);
        let call = self.house.drctl(["restore", "latest", "--vault"]).arg(&self.vault).arg("--to").arg(&target);
        let outcome = call.run();
        // What the backup has only in part is restored as such, and that is said.
        assert!(matches!(outcome.code, Some(0 | 3)), "{outcome}");
        assert_same_tree(&self.near, &inside(&target, &self.near));
        target
    }
}

fn inside(target: &Path, path: &Path) -> PathBuf {
    target.join(path.strip_prefix("/").unwrap())
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn stale_handles_are_named_and_the_rest_goes_on() {
    let scene = Scene::new(House::new());
    let stale = Trouble::Error(Errno::STALE);
    let entries = vec![
        Entry::file("good", "good"),
        Entry::file("unseen", "").troubled(Asked::Attributes, stale),
        Entry::file("shut", "").troubled(Asked::Open, stale),
        Entry::file("cut", vec![b'x'; 300_000]).troubled(Asked::Read, stale),
        Entry::file("long", vec![b'x'; 20 << 20]).troubled(Asked::Read, stale),
        Entry::folder("folder").troubled(Asked::List, stale),
        Entry::folder("other"),
        Entry::file("other/good", vec![b'y'; 3 << 20]),
    ];
    let Some(_served) = Served::mount(&scene.far, entries) else { return };
    let problems = scene.back_up(3, &[&scene.far]);
    let named: BTreeSet<&str> = problems.iter().map(|(what, _)| what.rsplit_once('/').unwrap().1).collect();
    assert_eq!(named, ["cut", "folder", "long", "shut", "unseen"].into(), "{problems:?}");
    assert!(problems.iter().all(|(_, why)| why.contains("Stale file handle")), "{problems:?}");
    let restored = inside(&scene.restored(), &scene.far);
    assert_eq!(names(&restored), ["folder", "good", "other"].map(str::to_owned).into());
    assert!(fs::read(restored.join("other/good")).unwrap() == vec![b'y'; 3 << 20]);
}

#[test]
fn a_file_that_never_answers_is_given_up_and_all_others_are_stored() {
    for asked in [Asked::Attributes, Asked::Open, Asked::Read, Asked::List] {
        let scene = Scene::new(House::new());
        let troubled = match asked {
            Asked::List => Entry::folder("hangs"),
            Asked::Attributes | Asked::Open | Asked::Read => Entry::file("hangs", vec![b'x'; 10_000]),
        };
        let entries = vec![
            Entry::file("a good one", vec![b'y'; 300_000]),
            troubled.troubled(asked, Trouble::Hang),
            Entry::file("z good one", vec![b'z'; 12 << 20]),
        ];
        let Some(served) = Served::mount(&scene.far, entries) else { return };
        let problems = scene.back_up(3, &[&scene.far]);
        assert!(served.unanswered.load(Ordering::SeqCst) > 0, "{asked:?}");
        let [(what, why)] = &problems[..] else { panic!("{asked:?}: {problems:?}") };
        assert_eq!(Path::new(what), scene.far.join("hangs"), "{asked:?}");
        assert!(why.contains("did not answer for 3 seconds"), "{asked:?}: {why}");
        let mut there = names(&inside(&scene.restored(), &scene.far));
        // A folder that cannot be listed is there, marked as incomplete.
        there.remove("hangs");
        assert_eq!(there, ["a good one", "z good one"].map(str::to_owned).into(), "{asked:?}");
    }
}

#[test]
fn a_mount_that_hangs_is_given_up_as_a_whole_and_the_rest_is_stored() {
    let scene = Scene::new(House::new());
    let hung = |entry: Entry, asked| entry.troubled(asked, Trouble::Hang);
    let entries = vec![
        hung(Entry::folder(""), Asked::Attributes),
        hung(Entry::folder("data"), Asked::Attributes),
        hung(Entry::file("data/file", "never seen"), Asked::Attributes),
    ];
    let Some(served) = Served::mount(&scene.far, entries) else { return };
    // The mount itself, something in it, and what is above it.
    for path in [scene.far.clone(), scene.far.join("data/file"), scene.far.parent().unwrap().join("far")] {
        let problems = scene.back_up(3, &[&path]);
        assert!(served.unanswered.load(Ordering::SeqCst) > 0);
        assert!(!problems.is_empty(), "{}", path.display());
        for (what, why) in &problems {
            assert!(Path::new(what).starts_with(&scene.far) && why.contains("did not answer"), "{what}: {why}");
        }
        scene.restored();
    }
}

#[test]
fn proc_is_read_without_harm_and_what_has_no_size_is_never_stored_as_whole() {
    let scene = Scene::new(House::new());
    let proc = Path::new("/proc/sys/kernel/random");
    let problems = scene.back_up(3, &[proc]);
    assert!(!problems.is_empty() && problems.iter().all(|(what, _)| Path::new(what).starts_with(proc)), "{problems:?}");
    scene.restored();
}
