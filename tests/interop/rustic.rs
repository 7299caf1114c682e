//! drctl beside rustic, where it is installed (`scripts/test-deps --rustic`): each works on what the other wrote. rustic
//! takes no locks, so nothing here runs at the same time.

use std::collections::BTreeSet;
use std::fs::{self, FileType};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use serde_json::{Value, json};

use super::fixtures::below;
use super::{Grounds, assert_freed, is_socket};
use crate::support::Numbers;
use crate::support::house::House;
use crate::support::peers::{Peer, restic18, rustic};

#[test]
fn rustic_works_on_our_vault_as_root() {
    works_on_our_vault(House::new());
}

#[test]
fn rustic_works_on_our_vault_without_privileges() {
    works_on_our_vault(House::unprivileged());
}

#[test]
fn drctl_works_on_a_repository_of_rustic() {
    works_on_their_repository(House::new());
}

#[test]
fn drctl_works_on_a_repository_of_rustic_without_privileges() {
    works_on_their_repository(House::unprivileged());
}

fn works_on_our_vault(house: House) {
    let Some(peer) = rustic() else { return };
    let grounds = Grounds::hostile(house);
    grounds.init("gear");
    // only the first snapshot has this: a prune must find something to take
    let doomed = grounds.tree.join("doomed");
    fs::write(&doomed, Numbers::seeded(2).bytes(2 << 20)).unwrap();
    grounds.house.give(&doomed);
    grounds.back_up([]);
    fs::remove_file(&doomed).unwrap();
    let ours = grounds.back_up([]);

    checks(&grounds, &peer);
    lists(&grounds, &peer, &planted(&grounds, |path| !path.ends_with("special/socket")));
    restores(&grounds, &peer);
    copies(&grounds, &peer);

    // it takes our snapshot as parent and reads no file again; symlinks have a size for it that nobody else stores
    let theirs = back_up(&grounds, &peer, &[]);
    assert_eq!(theirs["parent"], ours["snapshot"]);
    let summary = &theirs["summary"];
    assert_eq!(summary["files_new"], count(&grounds, FileType::is_socket), "{summary}");
    assert_eq!(summary["files_changed"], count(&grounds, FileType::is_symlink), "{summary}");
    assert!(summary["files_unmodified"].as_u64() >= Some(count(&grounds, FileType::is_file)), "{summary}");
    assert_eq!(summary["data_blobs"], 0, "{summary}");

    let before = grounds.drctl_checks();
    let forget = ["forget", "--keep-last", "2", "--prune", "--instant-delete", "--max-unused", "0"];
    grounds.peer(&peer, forget).args(["--max-repack", "unlimited"]).ok();
    let after = grounds.drctl_checks();
    assert_freed(&before, &after, 2 << 20);
    let left = grounds.snapshots();
    assert_eq!(left.len(), 2);
    assert_eq!((&left[0]["id"], &left[1]["id"]), (&ours["snapshot"], &theirs["id"]));
    for snapshot in left {
        let target = grounds.house.path("work/after the prune");
        grounds.drctl(["restore", snapshot["id"].as_str().unwrap(), "--privileged", "--to"]).arg(&target).ok();
        let lost = |difference: &_| match snapshot["id"] == theirs["id"] {
            true => peer.cannot_store(difference),
            false => is_socket(difference),
        };
        grounds.assert_restored(&target, lost);
    }
    let again = grounds.back_up([]);
    assert_eq!(again["summary"]["data_blobs"], 0, "{again}");
    checks(&grounds, &peer);
}

fn works_on_their_repository(house: House) {
    let Some(peer) = rustic() else { return };
    let grounds = Grounds::hostile(house);
    grounds.peer(&peer, ["init"]).ok();
    let written = back_up(&grounds, &peer, &[]);

    assert_eq!(grounds.drctl_checks()["snapshots"], 1);
    let theirs = grounds.snapshots().pop().unwrap();
    assert_eq!((&theirs["id"], &theirs["tree"]), (&written["id"], &written["tree"]));
    assert_eq!(theirs["paths"], json!([grounds.tree]));
    // it stores sockets, too
    lists(&grounds, &peer, &planted(&grounds, |_| true));
    grounds.drctl_restores(|difference| peer.cannot_store(difference));

    // on their snapshot, nothing is read
    let built = grounds.back_up([]);
    assert_eq!(built["parent"], theirs["id"]);
    let figure = |run: &Value, key: &str| run["summary"][key].as_u64().unwrap();
    assert_eq!(figure(&built, "files_unmodified"), count(&grounds, FileType::is_file));
    assert_eq!((figure(&built, "bytes_read"), figure(&built, "data_blobs")), (0, 0));
    // without it all is read, cut where they cut, and found to be there
    let dedup = grounds.back_up(["--force"]);
    assert!(figure(&dedup, "bytes_read") > 25 << 20, "{dedup}");
    assert_eq!(figure(&dedup, "data_blobs"), 0, "{dedup}");
    grounds.drctl_restores(is_socket);

    checks(&grounds, &peer);
    restores(&grounds, &peer);
    // and they find our pieces: nothing is new to them
    let last = back_up(&grounds, &peer, &["--force"]);
    assert_eq!(last["summary"]["data_blobs"], 0, "{last}");
}

/// rustic's prune marks packs in the index and deletes them a day later. Until then they are in no index for us.
#[test]
fn packs_that_rustic_marked_for_deletion_are_left_or_used_again_and_nothing_is_lost() {
    let Some(peer) = rustic() else { return };
    let grounds = Grounds::bare(House::new());
    let (kept, doomed) = (grounds.tree.join("kept"), grounds.tree.join("doomed"));
    let content = Numbers::seeded(3).bytes(2 << 20);
    fs::write(&kept, "kept").unwrap();
    fs::write(&doomed, &content).unwrap();
    grounds.peer(&peer, ["init"]).ok();
    back_up(&grounds, &peer, &[]);
    fs::remove_file(&doomed).unwrap();
    back_up(&grounds, &peer, &["--force"]);
    let prune = ["--max-unused", "0", "--max-repack", "unlimited"];
    grounds.peer(&peer, ["forget", "--keep-last", "1", "--prune"]).args(prune).ok();
    let marked = grounds.drctl(["check", "--read-data", "--json"]).ok().json();
    assert!(marked["orphan_packs"].as_u64() >= Some(1), "nothing was marked: {marked}");
    assert_eq!(marked["damage"], json!([]));

    // what is needed again is taken from a marked pack, and then rustic must not delete it
    fs::write(&doomed, &content).unwrap();
    let again = grounds.back_up([]);
    assert_eq!(again["summary"]["data_blobs"], 0, "{again}");
    grounds.peer(&peer, ["prune", "--keep-delete", "0s"]).args(prune).ok();
    grounds.peer(&peer, ["prune", "--instant-delete"]).args(prune).ok();
    grounds.drctl_checks();
    checks(&grounds, &peer);
    grounds.drctl_restores(is_socket);

    // and when we prune what it marked, it does not miss it
    fs::remove_file(&doomed).unwrap();
    back_up(&grounds, &peer, &[]);
    grounds.peer(&peer, ["forget", "--keep-last", "1", "--prune"]).args(prune).ok();
    grounds.drctl(["prune", "--max-unused", "0"]).ok();
    assert_eq!(grounds.drctl_checks()["orphan_packs"], 0);
    checks(&grounds, &peer);
    grounds.peer(&peer, ["prune", "--instant-delete"]).ok();
    grounds.drctl_checks();
}

/// rustic reads everything and finds nothing wrong.
#[track_caller]
fn checks(grounds: &Grounds, peer: &Peer) {
    let said = grounds.peer(peer, ["check", "--read-data"]).ok();
    // Two of its threads may get in each other's way while they fill its cache: that is no word about the vault.
    let of_the_vault = |line: &&str| !line.contains("cache backend");
    let mut bad = said.stderr.lines().filter(|line| line.contains("[ERROR]") || line.contains("[WARN]"));
    assert!(!bad.any(|line| of_the_vault(&line)), "{said}");
}

/// Both list what is in the tree and above it.
#[track_caller]
fn lists(grounds: &Grounds, peer: &Peer, planted: &BTreeSet<String>) {
    let listed = listed_by(grounds, peer);
    let differences: Vec<_> = listed.symmetric_difference(planted).collect();
    assert!(differences.is_empty(), "{differences:?}");
    assert_eq!(grounds.listed().len(), planted.len());
    assert!(planted.len() > 100, "{} entries", planted.len());
}

/// Backs the tree up with rustic; the snapshot that it made.
#[track_caller]
fn back_up(grounds: &Grounds, peer: &Peer, options: &[&str]) -> Value {
    grounds.peer(peer, ["backup", "--json"]).args(options).arg(&grounds.tree).ok().json()
}

/// It restores the newest snapshot, but for what it cannot.
#[track_caller]
fn restores(grounds: &Grounds, peer: &Peer) {
    let target = grounds.house.path("work/restored by rustic");
    grounds.peer(peer, ["restore", "latest"]).arg(&target).ok();
    grounds.assert_restored(&target, |difference| peer.cannot_restore(difference));
}

/// It copies the newest snapshot into a repository of its own, which drctl then reads.
fn copies(grounds: &Grounds, peer: &Peer) {
    let copy = grounds.house.path("copy");
    let profile = grounds.house.path("home/copy.toml");
    let target = format!("[repository]\nrepository = \"{}\"\npassword = \"{}\"\n", copy.display(), House::PASSWORD);
    fs::write(&profile, target).unwrap();
    grounds.house.give(&profile);
    let target = profile.with_extension("");
    grounds.peer(peer, ["copy", "latest", "--init", "--target"]).arg(target).ok();
    let of_copy = |args: &[&str]| grounds.house.drctl(["--vault"]).arg(&copy).args(args).ok().json();
    let (listed, newest) = (of_copy(&["snapshots", "--json"]), grounds.snapshots().pop().unwrap());
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1);
    assert_eq!(listed["snapshots"][0]["tree"], newest["tree"]);
    assert_eq!(of_copy(&["check", "--read-data", "--json"])["damage"], json!([]));
    restic18().on(&grounds.house, &copy, ["check", "--read-data"]).ok();
}

/// Every path in the newest snapshot and in no other form than on disk, as Rust quotes it: by rustic.
#[track_caller]
fn listed_by(grounds: &Grounds, peer: &Peer) -> BTreeSet<String> {
    let listed = grounds.peer(peer, ["ls", "latest", "--long", "--numeric-uid-gid"]).ok().text();
    // mode, owner, size, time, then the path; after that of a symlink where it leads, as it is, be it over several lines
    listed.lines().filter_map(quoted).collect()
}

/// What stands in quotes, with them, up to the first quote that no backslash escapes.
fn quoted(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('"')?;
    let mut escaped = false;
    let end = rest.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    Some(format!("\"{}\"", &rest[..end]))
}

/// How many of a kind are in the tree.
fn count(grounds: &Grounds, kind: impl Fn(&FileType) -> bool) -> u64 {
    let all = below(&grounds.tree).into_iter().map(|path| fs::symlink_metadata(path).unwrap().file_type());
    all.filter(kind).count() as u64
}

/// What the list must be: the tree, but for what is not stored, and what is above it.
fn planted(grounds: &Grounds, stored: impl Fn(&Path) -> bool) -> BTreeSet<String> {
    let above = grounds.tree.ancestors().map(Path::to_owned).filter(|path| path != Path::new("/"));
    let all = above.chain(below(&grounds.tree)).filter(|path| stored(path));
    all.map(|path| format!("{:?}", path.strip_prefix("/").unwrap())).collect()
}
