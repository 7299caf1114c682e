//! Vaults that restic, rustic and this version of drctl wrote, read by whatever drctl has become since.
//!
//! tests/fixtures/README.md says how they were made. They are never edited: a version that writes something new adds one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::Grounds;
use crate::support::house::{Call, House};
use crate::support::peers::restics;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/vaults");

/// A fixture, unpacked in a house.
pub(super) struct Fixture {
    grounds: Grounds,
    key: PathBuf,
    /// What it should hold.
    expected: Value,
}

impl Fixture {
    pub(super) fn unpacked(name: &str) -> Self {
        let at = |ending: &str| Path::new(FOLDER).join(format!("{name}.{ending}"));
        let expected: Value = serde_json::from_slice(&fs::read(at("json")).unwrap()).unwrap();
        let grounds = Grounds::bare(House::new());
        tar::Archive::new(File::open(at("tar")).unwrap()).unpack(&grounds.vault).unwrap();
        let key = grounds.house.path("fixture.key");
        fs::write(&key, expected["password"].as_str().unwrap()).unwrap();
        fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
        Self { grounds, key, expected }
    }

    pub(super) fn drctl<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Call {
        self.grounds.drctl(["--key-file"]).arg(&self.key).args(args)
    }

    /// Path and digest of every object.
    pub(super) fn objects(&self) -> BTreeMap<PathBuf, String> {
        below(&self.grounds.vault)
            .into_iter()
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), digest(&path)))
            .collect()
    }
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path());
    let tars = entries.filter(|path| path.extension().is_some_and(|it| it == "tar"));
    let mut names: Vec<String> = tars.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn the_fixtures_are_those_that_were_made() {
    let list = fs::read_to_string(Path::new(FOLDER).join("SHA256SUMS")).unwrap();
    let listed: BTreeMap<&str, &str> =
        list.lines().map(|line| line.split_once("  ").unwrap()).map(|(a, b)| (b, a)).collect();
    let files = fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> = files.filter(|name| name != "SHA256SUMS").collect();
    assert_eq!(
        files,
        listed.keys().map(|name| (*name).to_owned()).collect(),
        "a file that is not in the list, or the other way round"
    );
    for (name, listed) in listed {
        assert_eq!(digest(&Path::new(FOLDER).join(name)), listed, "{name} was edited");
    }
    let restics = ["restic-0.14", "restic-0.18", "restic-version-1"];
    for writer in restics.into_iter().chain(["rustic-0.11", "drctl-0.1.0-gear", "drctl-0.1.0-rabin"]) {
        assert!(names().iter().any(|name| name == writer), "{writer} is gone");
    }
}

#[test]
fn drctl_reads_every_fixture() {
    for name in names() {
        let fixture = Fixture::unpacked(&name);
        let before = fixture.objects();
        let report = fixture.drctl(["check", "--read-data", "--no-lock", "--json"]).ok().json();
        assert_eq!(report["damage"], json!([]), "{name}");
        assert!(report["packs_read"].as_u64() >= Some(2), "{name}: {report}");

        let listed = fixture.drctl(["snapshots", "--json"]).ok().json();
        let (listed, expected) =
            (listed["snapshots"].as_array().unwrap(), fixture.expected["snapshots"].as_array().unwrap());
        assert_eq!(listed.len(), expected.len(), "{name}");
        for (snapshot, expected) in listed.iter().zip(expected) {
            assert_eq!(snapshot["tags"], json!([expected["tag"]]), "{name}");
            assert_eq!(
                (&snapshot["hostname"], &snapshot["paths"]),
                (&json!("fixture"), &json!([fixture.expected["source"]])),
                "{name}"
            );
            let (id, tag) = (snapshot["id"].as_str().unwrap(), &expected["tag"]);
            let target = fixture.grounds.house.path("work").join(id);
            fixture.drctl(["restore", "--privileged", id, "--to"]).arg(&target).ok();
            let source = fixture.expected["source"].as_str().unwrap();
            let restored = inventory(&target.join(source.trim_start_matches('/')));
            let entries = expected["entries"].as_array().unwrap();
            for (restored, expected) in restored.iter().zip(entries) {
                assert_eq!(restored, expected, "{name}, {tag}");
            }
            assert_eq!(restored.len(), entries.len(), "{name}, {tag}");

            let entries = fixture.drctl(["ls", "--json", id, source]).ok().json()["entries"].as_array().unwrap().len();
            assert_eq!(entries, restored.len() + 1, "{name}: ls shows the source and what is in it");
        }
        fixture.drctl(["check"]).ok();
        assert_eq!(fixture.objects(), before, "{name}: reading changed the vault");

        // the proof is recorded, where anything may be written, and makes no snapshot suspicious
        fixture.drctl(["check", "--read-data"]).ok();
        let added: Vec<PathBuf> = fixture.objects().into_keys().filter(|path| !before.contains_key(path)).collect();
        let of_ours = |folder: &str| {
            let folder = fixture.grounds.vault.join("drctl").join(folder);
            added.iter().filter(|path| path.starts_with(&folder)).count()
        };
        let each = usize::from(name != "restic-version-1");
        assert_eq!((of_ours("records"), of_ours("hosts"), added.len()), (each, each, 2 * each), "{name}: {added:?}");
        let newest = fixture.drctl(["ls", "latest"]).ok();
        assert!(newest.stderr.contains("no records of drctl"), "{name}: {newest}");
    }
}

#[test]
fn both_restics_read_what_this_version_of_drctl_wrote() {
    for name in names().iter().filter(|name| name.starts_with("drctl-")) {
        for peer in restics() {
            let fixture = Fixture::unpacked(name);
            let password = fixture.expected["password"].as_str().unwrap();
            fixture.grounds.peer(&peer, ["check", "--read-data"]).env("RESTIC_PASSWORD", password).ok();
        }
    }
}

#[test]
fn a_repository_of_version_1_is_read_and_every_write_refused_in_plain_words() {
    let fixture = Fixture::unpacked("restic-version-1");
    let before = fixture.objects();
    let id = fixture.drctl(["snapshots", "--json"]).ok().json()["snapshots"][0]["id"].as_str().unwrap().to_owned();
    let tree = fixture.grounds.tree.to_str().unwrap().to_owned();
    let new_key = fixture.grounds.house.key_file().to_str().unwrap().to_owned();
    let writes: [&[&str]; 5] = [
        &["backup", "--path", &tree],
        &["forget", &id],
        &["forget", "--keep-last", "1", "--prune"],
        &["prune"],
        &["key", "add", "--new-key-file", &new_key],
    ];
    for write in writes {
        let refused = fixture.drctl(write.iter().copied()).ends(1);
        assert!(refused.stderr.contains("version 1 of the format, which drctl only reads"), "{refused}");
        assert!(refused.stderr.contains("restic migrate upgrade_repo_v2"), "no way out is named: {refused}");
    }
    assert_eq!(fixture.objects(), before);
}

/// What is in a folder, as scripts/make-fixtures lists it.
fn inventory(root: &Path) -> Vec<Value> {
    let mut first_names: HashMap<u64, String> = HashMap::new();
    let relative = |path: &Path| escaped(path.strip_prefix(root).unwrap().as_os_str().as_bytes());
    below(root).iter().map(|path| Value::Object(entry(path, &relative(path), &mut first_names))).collect()
}

fn entry(path: &Path, name: &str, first_names: &mut HashMap<u64, String>) -> Map<String, Value> {
    let stat = fs::symlink_metadata(path).unwrap();
    let kind = match stat.file_type() {
        kind if kind.is_file() => "file",
        kind if kind.is_dir() => "dir",
        kind if kind.is_symlink() => "symlink",
        kind if kind.is_fifo() => "fifo",
        other => panic!("{name} is {other:?}"),
    };
    let mut entry = Map::new();
    let mut set = |key: &str, value: Value| entry.insert(key.to_owned(), value);
    set("type", json!(kind));
    set("mtime", json!(format!("{}.{:09}", stat.mtime(), stat.mtime_nsec())));
    match kind {
        "symlink" => set("target", json!(escaped(fs::read_link(path).unwrap().as_os_str().as_bytes()))),
        _ => set("mode", json!(format!("{:04o}", stat.mode() & 0o7777))),
    };
    if kind == "file" {
        set("size", json!(stat.len()));
        set("sha256", json!(digest(path)));
        if stat.nlink() > 1 {
            set("same_as", json!(first_names.entry(stat.ino()).or_insert_with(|| name.to_owned())));
        }
        let attributes = attributes(path);
        if !attributes.is_empty() {
            set("xattrs", json!(attributes));
        }
    }
    set("path", json!(name));
    entry
}

fn attributes(path: &Path) -> BTreeMap<String, String> {
    let mut names = vec![0; 4096];
    let len = rustix::fs::listxattr(path, &mut names).unwrap();
    let names = names[..len].split(|byte| *byte == 0).map(|name| str::from_utf8(name).unwrap());
    let of_users = names.filter(|name| name.starts_with("user."));
    of_users
        .map(|name| {
            let mut value = vec![0; 4096];
            let len = rustix::fs::getxattr(path, name, &mut value).unwrap();
            (name.to_owned(), escaped(&value[..len]))
        })
        .collect()
}

/// Everything below a folder, sorted by the bytes of its path.
pub(super) fn below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    found
}

/// Bytes that are not plain ASCII as %XX.
fn escaped(bytes: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._- ".contains(byte);
    bytes.iter().map(|byte| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02x}") }).collect()
}

pub(super) fn digest(path: &Path) -> String {
    hex::encode(Sha256::digest(fs::read(path).unwrap()))
}
