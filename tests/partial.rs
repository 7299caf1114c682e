//! Snapshots that lack something: they say so wherever one is chosen, and do not push out those that lack nothing.

use std::fs;

use serde_json::{Value, json};

use crate::support::house::{Call, House, Outcome};

/// A house with a vault and two folders to back up.
struct Scene(House);

impl Scene {
    fn new() -> Self {
        let house = House::new();
        for name in ["docs", "mail"] {
            fs::create_dir(house.path("work").join(name)).unwrap();
            fs::write(house.path("work").join(name).join("file"), name).unwrap();
        }
        house.drctl(["init", "--vault", "./vault"]).ok();
        Self(house)
    }

    fn call(&self, args: &[&str]) -> Call {
        self.0.drctl(args.iter().copied()).env("DRCTL_VAULT", "./vault")
    }

    /// Both folders; the second one cannot be found while it is away.
    fn backup(&self, code: i32) -> Value {
        self.call(&["backup", "--path", "docs", "--path", "mail", "--json"]).ends(code).json()
    }

    fn away(&self, gone: bool) {
        let (here, there) = (self.0.path("work/mail"), self.0.path("work/mail that is away"));
        let (from, to) = if gone { (here, there) } else { (there, here) };
        fs::rename(from, to).unwrap();
    }

    fn restore(&self, args: &[&str]) -> Outcome {
        self.call(&["restore"]).args(args).ok()
    }
}

fn id(document: &Value) -> String {
    document["snapshot"].as_str().unwrap()[..8].to_owned()
}

#[test]
fn a_path_that_is_missing_leaves_a_partial_snapshot_of_the_others_that_says_so() {
    let scene = Scene::new();
    let complete = id(&scene.backup(0));
    scene.away(true);
    let partial = scene.backup(3);
    assert!(partial["problems"][0]["what"].as_str().unwrap().ends_with("/mail"), "{partial}");
    let partial = id(&partial);

    let listed = scene.call(&["snapshots"]).ok().text();
    let line = |id: &str| listed.lines().find(|line| line.starts_with(id)).unwrap().to_owned();
    assert!(line(&partial).contains("PARTIAL") || listed.contains("PARTIAL"), "{listed}");
    assert_eq!(listed.matches("PARTIAL").count(), 1, "{listed}");
    let listed = scene.call(&["snapshots", "--json"]).ok().json();
    let problems = |n: usize| listed["snapshots"][n]["problems"].clone();
    assert_eq!((problems(0), problems(1)), (Value::Null, json!(1)));

    let latest = scene.restore(&["latest", "--to", "latest"]);
    assert!(latest.stderr.contains(&format!("{partial} is partial: one thing could not be backed up")), "{latest}");
    assert!(latest.stderr.contains(&format!("the newest complete one is {complete}")), "{latest}");
    assert!(latest.text().contains(&format!("snapshot {partial} of ")), "{latest}");
    let by_id = scene.restore(&[&partial, "--to", "by id", "--json"]);
    assert_eq!(by_id.json()["problems_of_backup"], 1);
    assert!(by_id.stderr.contains("is partial"), "{by_id}");
    let whole = scene.restore(&[&complete, "--to", "whole"]);
    assert!(!whole.stderr.contains("partial"), "{whole}");
    assert!(whole.text().contains(" to whole\n"), "{whole}");

    // Where none of the paths is there, nothing can be said to have been backed up.
    scene.call(&["backup", "--path", "nowhere", "--path", "mail"]).ends(1);
}

#[test]
fn partial_snapshots_do_not_push_out_the_complete_one() {
    let scene = Scene::new();
    let older = id(&scene.backup(0));
    let complete = id(&scene.backup(0));
    scene.away(true);
    let partial: Vec<String> = (0..3).map(|_| id(&scene.backup(3))).collect();
    let forgot = scene.call(&["forget", "--keep-last", "1", "--json"]).ok().json();
    let short = |field: &str| -> Vec<String> {
        forgot[field].as_array().unwrap().iter().map(|id| id.as_str().unwrap()[..8].to_owned()).collect()
    };
    assert_eq!(short("kept"), [complete.clone(), partial[2].clone()]);
    assert_eq!(short("removed"), [older, partial[0].clone(), partial[1].clone()]);
    // Once there is a newer complete one, they go as ever.
    scene.away(false);
    scene.backup(0);
    let forgot = scene.call(&["forget", "--keep-last", "1", "--json"]).ok().json();
    assert_eq!((forgot["kept"].as_array().unwrap().len(), forgot["removed"].as_array().unwrap().len()), (1, 2));
}

#[test]
fn a_source_that_has_become_empty_is_no_success() {
    let scene = Scene::new();
    let backup = |code| scene.call(&["backup", "--path", "docs", "--json"]).ends(code).json();
    backup(0);
    fs::remove_file(scene.0.path("work/docs/file")).unwrap();
    let emptied = backup(3);
    let why = emptied["problems"][0]["why"].as_str().unwrap();
    assert!(why.contains("the snapshot before has 1") && why.contains("mounted"), "{emptied}");
    // It was told; from now on it is what the folder is like.
    backup(0);
}

#[test]
fn names_do_not_move_the_cursor() {
    let scene = Scene::new();
    let hostile = "\x1b[2J\u{202e}";
    fs::create_dir(scene.0.path("work").join(hostile)).unwrap();
    fs::write(scene.0.path("work").join(hostile).join("file"), "x").unwrap();
    scene.call(&["backup", "--path", hostile]).ok();
    let out = scene.0.path("work/out").join(hostile);
    let restore = |args: &[&str]| scene.call(&["restore", "latest", "--to"]).arg(&out).args(args).ok();
    restore(&[]);
    let source = scene.0.path("work").join(hostile);
    fs::write(out.join(source.strip_prefix("/").unwrap()).join(hostile), "not in the snapshot").unwrap();
    let rehearsed = restore(&["--overwrite", "--delete", "--dry-run"]);
    assert!(rehearsed.text().contains("would delete 1 entries"), "{rehearsed}");
    let shown = format!("{}{}", rehearsed.text(), rehearsed.stderr);
    assert!(!shown.contains('\x1b') && !shown.contains('\u{202e}'), "{shown:?}");
}

#[test]
fn a_filter_beside_an_id_is_refused() {
    let scene = Scene::new();
    let made = id(&scene.backup(0));
    for filter in [["--tag", "nonexistent"], ["--host", "elsewhere"]] {
        let refused = scene.call(&["restore", &made, "--to", "out"]).args(filter).ends(2);
        assert!(refused.stderr.contains("an id already names one"), "{refused}");
    }
}
