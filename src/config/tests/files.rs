//! Several files: what is found, in which order, and what is said of those that do not fit together.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::super::*;
use super::{BASE, plan, print};

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn refused(folder: &TempDir) -> String {
    match load(&folder.path().join("drctl.toml")) {
        Err(ConfigError::Refused { findings }) => {
            let root = format!("{}/", folder.path().display());
            print(&findings).replace(&root, "")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn includes_are_relative_to_their_file_and_read_once() {
    let vault = "[vault.v]\nurl = \"data\"\nkey = { file = \"v.key\" }\n";
    let folder = folder(&[
        ("drctl.toml", &format!("include = [\"plans/*.toml\", \"./plans/a.toml\", \"*/deeper/[x-z].toml\"]\n{BASE}")),
        ("plans/a.toml", &plan("")),
        ("plans/.a.toml.swp.toml", "not TOML"),
        ("plans/notes.txt", "not TOML"),
        ("plans/v.toml", &format!("include = [\"../drctl.toml\"]\n{vault}")),
        ("more/deeper/x.toml", "[retention.x]\ndaily = { keep = \"1d\" }\n"),
        ("more/deeper/a.toml", "not TOML"),
    ]);
    let config = load(&folder.path().join("drctl.toml")).unwrap();
    assert!(config.plans.contains_key("a") && config.retention.contains_key("x"));
    let vault = &config.vaults["v"];
    assert_eq!(Path::new(&vault.url), folder.path().join("plans/data"));
    assert_eq!(vault.key, SecretRef::File(folder.path().join("plans/v.key")));
}

#[test]
fn names_that_two_files_define_are_refused_naming_both() {
    let second = format!("state_dir = \"/b\"\n{}{BASE}[hooks]\non_failure = [\"x\"]\n", plan("level = 4\n"));
    let folder = folder(&[
        (
            "drctl.toml",
            &format!(
                "include = [\"b.toml\"]\nstate_dir = \"/a\"\nhooks = {{ on_failure = [\"y\"] }}\n{}{BASE}",
                plan("")
            ),
        ),
        ("b.toml", &second.replace("state_dir = \"/b\"\n[plan.a]", "state_dir = \"/b\"\n\n[plan.a]")),
    ]);
    assert_eq!(
        refused(&folder),
        "error: `state_dir` is defined twice (first at drctl.toml:2:1)\n  --> b.toml:1:1\n  fix: rename or remove one of them\n\
         error: `hooks` is defined twice (first at drctl.toml:3:1)\n  --> b.toml:11:2\n  fix: rename or remove one of them\n\
         error: vault `main` is defined twice (first at drctl.toml:7:8)\n  --> b.toml:7:8\n  fix: rename or remove one of them\n\
         error: plan `a` is defined twice (first at drctl.toml:4:7)\n  --> b.toml:3:7\n  fix: rename or remove one of them"
    );
}

#[test]
fn includes_that_load_nothing_are_refused() {
    let folder = folder(&[
        ("drctl.toml", "include = [\"plans/*.toml\", \"missing.toml\", \"**/a.toml\", \"[z-a].toml\"]\n"),
        ("plans/a.yaml", ""),
    ]);
    let fix = "correct it, or remove it; it is relative to the folder of this file";
    assert_eq!(
        refused(&folder),
        format!(
            "error: include `plans/*.toml` matches no file\n  --> drctl.toml:1:12\n  fix: {fix}\n\
             error: include `missing.toml` matches no file\n  --> drctl.toml:1:28\n  fix: {fix}\n\
             error: include `**/a.toml` spans folders with **\n  --> drctl.toml:1:44\n  fix: name each folder: \"plans/*/*.toml\"\n\
             error: include `[z-a].toml` is not a glob\n  --> drctl.toml:1:57\n  fix: write it like \"schedules/*.toml\""
        )
    );
}

#[test]
fn the_file_at_fault_is_named() {
    let folder = folder(&[("drctl.toml", "include = [\"b.toml\", \"c.toml\"]\n"), ("b.toml", "zone = 1\n")]);
    fs::write(folder.path().join("c.toml"), b"# \xff\n").unwrap();
    assert_eq!(
        refused(&folder),
        "error: unknown key `zone`\n  --> b.toml:1:1\n  \
         fix: use one of `hooks`, `include`, `plan`, `retention`, `runbook`, `state_dir`, `vault`\n\
         error: this file is not UTF-8 from byte 2 on\n  --> c.toml:1:1\n  fix: save it as UTF-8"
    );
}

#[test]
fn a_missing_or_unreadable_file_is_an_error_of_its_own() {
    let folder = folder(&[]);
    let path = folder.path().join("drctl.toml");
    for make in [false, true] {
        if make {
            fs::create_dir(&path).unwrap();
        }
        let error = load(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("read the configuration file {}", path.display()));
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[test]
fn a_file_that_is_no_configuration_is_not_read_whole() {
    let folder = folder(&[]);
    let file = fs::File::create(folder.path().join("drctl.toml")).unwrap();
    file.set_len(5 << 30).unwrap();
    assert_eq!(
        refused(&folder),
        "error: this file has 5368709120 bytes, more than a configuration\n  --> drctl.toml:1:1\n  fix: check what is included"
    );
}
