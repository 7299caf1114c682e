//! What drctl writes, stock restic reads, checks, lists, restores, copies, builds on and prunes.

use std::fs;

use super::{Grounds, assert_freed, is_socket};
use crate::support::Numbers;
use crate::support::house::House;
use crate::support::peers::{Peer, restic14, restic18};

#[test]
fn restic_18_works_on_our_vault_as_root() {
    works_on_our_vault(House::new(), &restic18());
}

#[test]
fn restic_14_works_on_our_vault_as_root() {
    works_on_our_vault(House::new(), &restic14());
}

#[test]
fn restic_18_works_on_our_vault_without_privileges() {
    works_on_our_vault(House::unprivileged(), &restic18());
}

#[test]
fn restic_14_works_on_our_vault_without_privileges() {
    works_on_our_vault(House::unprivileged(), &restic14());
}

fn works_on_our_vault(house: House, peer: &Peer) {
    let grounds = Grounds::hostile(house);
    grounds.init("gear");
    // only the first snapshot has this: a prune must find something to take
    let doomed = grounds.tree.join("doomed");
    fs::write(&doomed, Numbers::seeded(2).bytes(2 << 20)).unwrap();
    grounds.house.give(&doomed);
    grounds.back_up([]);
    fs::remove_file(&doomed).unwrap();
    let ours = grounds.back_up([]);
    assert!(ours["summary"]["files_unmodified"].as_u64() > Some(50), "{ours}");

    grounds.peer(peer, ["check", "--read-data"]).ok();
    let (listed, expected) = (grounds.listed_by(peer), grounds.listed());
    assert_eq!(listed, expected);
    assert!(listed.len() > 100, "{} entries", listed.len());
    grounds.peer_restores(peer);
    copies(&grounds, peer);
    builds_on(&grounds, peer, &ours);
    forgets_and_prunes(&grounds, peer);
}

fn copies(grounds: &Grounds, peer: &Peer) {
    let copy = grounds.house.path("copy");
    peer.on(&grounds.house, &copy, ["init"]).ok();
    let call = peer.on(&grounds.house, &copy, ["copy", "latest", "--from-repo"]).arg(&grounds.vault);
    call.arg("--from-password-file").arg(grounds.house.key_file()).ok();
    let of_copy = |args: &[&str]| grounds.house.drctl(["--vault"]).arg(&copy).args(args).ok().json();
    let (listed, newest) = (of_copy(&["snapshots", "--json"]), grounds.snapshots().pop().unwrap());
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1);
    assert_eq!(listed["snapshots"][0]["tree"], newest["tree"]);
    assert_eq!(listed["snapshots"][0]["original"], newest["id"]);
    assert_eq!(of_copy(&["check", "--read-data", "--json"])["damage"], serde_json::json!([]));
}

/// The peer takes drctl's snapshot as parent and reads no file again.
fn builds_on(grounds: &Grounds, peer: &Peer, ours: &serde_json::Value) {
    let summary = grounds.back_up_with(peer);
    assert_eq!((&summary["files_new"], &summary["files_changed"]), (&0.into(), &0.into()), "{summary}");
    assert!(summary["files_unmodified"].as_u64() > Some(50), "{summary}");
    assert_eq!(summary["data_blobs"], 0, "{summary}");
    let theirs = grounds.snapshots().pop().unwrap();
    assert!(theirs["id"].as_str().unwrap().starts_with(summary["snapshot_id"].as_str().unwrap()));
    assert_eq!(theirs["parent"], ours["snapshot"]);
}

/// After which drctl still reads, checks, restores and writes the vault.
fn forgets_and_prunes(grounds: &Grounds, peer: &Peer) {
    let before = grounds.drctl_checks();
    grounds.peer(peer, ["forget", "--keep-last", "2", "--prune", "--max-unused", "0"]).ok();
    let after = grounds.drctl_checks();
    assert_freed(&before, &after, 2 << 20);
    assert_eq!(grounds.snapshots().len(), 2);
    let ours = grounds.snapshots()[0]["id"].as_str().unwrap().to_owned();
    let target = grounds.house.path("work/after the prune");
    grounds.drctl(["restore", &ours, "--privileged", "--to"]).arg(&target).ok();
    grounds.assert_restored(&target, is_socket);
    let again = grounds.back_up([]);
    assert_eq!(again["summary"]["data_blobs"], 0, "{again}");
    grounds.peer(peer, ["check", "--read-data"]).ok();
}
