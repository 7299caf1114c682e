//! What an error advises helps: whoever does it is out of trouble, and nobody is sent in a circle.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::support::house::{Call, House, Outcome};
use crate::support::vaults::cheap_vault;

/// A vault with a snapshot of a small source.
struct Scene {
    house: House,
    vault: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let house = House::new();
        let (source, vault) = (house.path("work/source"), cheap_vault(&house.path("vault")));
        fs::create_dir(&source).unwrap();
        fs::write(source.join("file"), "content").unwrap();
        let scene = Self { house, vault };
        scene.call(&["backup", "--path", "source"]).ok();
        scene
    }

    fn call(&self, args: &[&str]) -> Call {
        self.house.drctl(["--no-cache", "--vault"]).arg(&self.vault).args(args)
    }

    /// A copy of the vault, byte for byte.
    fn copy(&self) -> PathBuf {
        let copy = self.house.path("copy");
        self.house.call("cp").args(["-a", "--"]).arg(&self.vault).arg(&copy).ok();
        copy
    }
}

/// The hint on standard error.
#[track_caller]
fn hint(outcome: &Outcome) -> &str {
    let line = outcome.stderr.lines().find_map(|line| line.strip_prefix("hint: "));
    line.unwrap_or_else(|| panic!("no hint: {outcome}"))
}

fn empty(folder: &Path) {
    fs::remove_dir_all(folder).unwrap();
    fs::create_dir(folder).unwrap();
}

#[test]
fn a_lost_index_is_rebuilt_before_a_copy_is_looked_for() {
    let scene = Scene::new();
    empty(&scene.vault.join("index"));
    let check = scene.call(&["check"]).ends(1).text();
    let (rebuild, copy) = (check.find("`drctl index rebuild`"), check.find("--heal-from COPY"));
    assert!(rebuild.is_some() && rebuild < copy, "{check}");
    assert!(!check.contains("interrupted runs"), "{check}");
    let restored = scene.call(&["restore", "latest", "--to", "out"]).ends(1);
    assert!(hint(&restored).starts_with("run `drctl index rebuild`"), "{restored}");
    scene.call(&["index", "rebuild"]).ok();
    scene.call(&["check", "--read-data"]).ok();
}

#[test]
fn what_opening_needs_is_put_back_and_not_healed() {
    let scene = Scene::new();
    let copy = scene.copy();
    for lost in ["keys", "config"] {
        let there = scene.vault.join(lost);
        if lost == "keys" {
            empty(&there);
        } else {
            fs::remove_file(&there).unwrap();
        }
        let check = scene.call(&["check"]).ends(1);
        assert!(hint(&check).contains("back from a copy") && !hint(&check).contains("heal-from"), "{check}");
        scene.house.call("cp").args(["-a", "-T", "--"]).arg(copy.join(lost)).arg(&there).ok();
        scene.call(&["check"]).ok();
    }
}

#[test]
fn a_file_is_called_one_and_a_folder_in_use_is_left_alone() {
    let house = House::new();
    fs::create_dir(house.path("work/mine")).unwrap();
    fs::write(house.path("work/mine/letter"), "dear").unwrap();
    for args in [&["snapshots"][..], &["init"], &["backup", "--path", "mine"]] {
        let refused = house.drctl(["--vault", "./mine/letter"]).args(args).ends(2);
        assert!(refused.stderr.contains("mine/letter is a file, not a folder"), "{refused}");
    }
    let refused = house.drctl(["init", "--vault", "./mine", "--generate-key", "new.key"]).ends(1);
    assert!(refused.stderr.contains("it has \"letter\" in it") && hint(&refused).contains("of its own"), "{refused}");
    assert!(!house.path("work/new.key").exists(), "a key that opens nothing is left");
    assert_eq!(fs::read_dir(house.path("work/mine")).unwrap().count(), 1, "something was put beside it");
    house.drctl(["init", "--vault", "./mine/vault", "--generate-key", "new.key"]).ok();
}

#[test]
fn a_key_is_removed_by_enough_of_its_id_and_the_option_that_is_wrong_is_named() {
    let scene = Scene::new();
    let missing = scene.call(&["key", "add", "--new-key-file", "nope"]).ends(2);
    assert!(hint(&missing).contains("--new-key-file FILE") && missing.stderr.contains("nope"), "{missing}");
    let second = scene.call(&["key", "add", "--generate-key", "second.key", "--json"]).ok().json();
    let id = second["added"].as_str().unwrap();
    for short in 1..4 {
        let refused = scene.call(&["key", "remove", &id[..short]]).ends(2);
        assert!(refused.stderr.contains("too short") && hint(&refused).contains("4 digits"), "{refused}");
    }
    scene.call(&["key", "remove", &id[..8]]).ok();
}

#[test]
fn a_path_that_steps_upwards_is_answered_with_where_it_leads() {
    let scene = Scene::new();
    let work = scene.house.path("work");
    fs::create_dir(work.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", work.join("link")).unwrap();
    let refused = scene.call(&["backup", "--path", "link/../source"]).ends(2);
    let given = hint(&refused).rsplit(' ').next().unwrap();
    assert_eq!(Path::new(given), fs::canonicalize(work.join("source")).unwrap(), "{refused}");
    scene.call(&["backup", "--path", given]).ok();
    let nowhere = scene.call(&["backup", "--path", "none/../source"]).ends(2);
    assert!(hint(&nowhere).contains("absolute path"), "{nowhere}");
}

#[test]
fn a_server_that_is_not_reached_is_named_wherever_its_address_came_from() {
    let house = House::new();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{gone}");
    let s3 = |args: &[&str]| {
        let call = house.drctl(["snapshots"]).args(args);
        call.env("AWS_ACCESS_KEY_ID", "id").env("AWS_SECRET_ACCESS_KEY", "hush-hush").env("AWS_REGION", "us-east-1")
    };
    let option = s3(&["--vault", "s3://bucket/team", "--s3-endpoint", &endpoint]).ends(1);
    assert!(
        option.stderr.contains(&format!("s3://bucket/team at {endpoint}: the store cannot be reached")),
        "{option}"
    );
    let address = s3(&["--vault", &format!("s3://bucket/team?endpoint={endpoint}")]).ends(1);
    assert_eq!(address.stderr.matches(&endpoint).count(), 1, "{address}");
}

#[test]
fn a_profile_that_is_not_there_is_named_with_its_files() {
    let house = House::new();
    fs::create_dir(house.path("home/.aws")).unwrap();
    fs::write(house.path("home/.aws/config"), "[profile other]\nregion = eu-central-1\n").unwrap();
    let asked = house.drctl(["snapshots", "--vault", "s3://bucket/team", "--aws-profile", "nope"]).ends(1);
    assert!(asked.stderr.contains("the profile \"nope\" is not in ~/.aws/config or ~/.aws/credentials"), "{asked}");
    let elsewhere = house.drctl(["snapshots", "--vault", "s3://bucket/team", "--aws-profile", "nope"]);
    let elsewhere = elsewhere.env("AWS_CONFIG_FILE", "/nowhere/config").ends(1);
    assert!(elsewhere.stderr.contains("the profile \"nope\" is not in /nowhere/config"), "{elsewhere}");
}
