//! What stock restic writes, drctl checks, lists, restores and backs up into, cutting files as restic does.

use std::fs;

use super::Grounds;
use crate::support::house::House;
use crate::support::peers::{Peer, restic14, restic18};

#[test]
fn drctl_works_on_a_repository_of_restic_18() {
    works_on_their_repository(House::new(), &restic18());
}

#[test]
fn drctl_works_on_a_repository_of_restic_14() {
    works_on_their_repository(House::new(), &restic14());
}

#[test]
fn drctl_works_on_a_repository_of_restic_18_without_privileges() {
    works_on_their_repository(House::unprivileged(), &restic18());
}

fn works_on_their_repository(house: House, peer: &Peer) {
    let grounds = Grounds::hostile(house);
    grounds.peer(peer, ["init"]).ok();
    let written = grounds.back_up_with(peer);

    assert_eq!(grounds.drctl_checks()["snapshots"], 1);
    let theirs = grounds.snapshots().pop().unwrap();
    assert!(theirs["id"].as_str().unwrap().starts_with(written["snapshot_id"].as_str().unwrap()));
    assert_eq!(theirs["paths"], serde_json::json!([grounds.tree]));
    assert_eq!(grounds.listed(), grounds.listed_by(peer));
    // what the old one cannot hold is lost when it writes, too; holes are ours to make
    grounds.drctl_restores(|difference| peer.cannot_store(difference));

    // on their snapshot, nothing is read
    let built = grounds.back_up([]);
    assert_eq!(built["parent"], theirs["id"]);
    let figure = |run: &serde_json::Value, key: &str| run["summary"][key].as_u64().unwrap();
    assert_eq!(figure(&built, "files_unmodified"), written["total_files_processed"].as_u64().unwrap());
    assert_eq!((figure(&built, "bytes_read"), figure(&built, "data_blobs")), (0, 0));
    // without it all is read, cut where they cut, and found to be there
    let dedup = grounds.back_up(["--force"]);
    assert!(figure(&dedup, "bytes_read") > 25 << 20, "{dedup}");
    assert_eq!(figure(&dedup, "data_blobs"), 0, "{dedup}");
    assert!(figure(&dedup, "bytes_uploaded") < 256 << 10, "{dedup}");
    // a change in the middle of a large file costs the pieces around it
    change_in_the_middle(&grounds);
    let changed = grounds.back_up([]);
    assert_eq!((figure(&changed, "files_changed"), figure(&changed, "files_new")), (1, 0), "{changed}");
    assert!((1..=3).contains(&figure(&changed, "data_blobs")), "{changed}");

    grounds.peer(peer, ["check", "--read-data"]).ok();
    grounds.peer_restores(peer);
    // and they find our pieces: nothing is new to them
    let last = summary_of_forced(&grounds, peer);
    assert_eq!(last["data_blobs"], 0, "{last}");
}

fn change_in_the_middle(grounds: &Grounds) {
    let path = grounds.tree.join("contents/larger than any chunk");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes.splice(middle..middle, *b"a few bytes more");
    fs::write(&path, bytes).unwrap();
}

fn summary_of_forced(grounds: &Grounds, peer: &Peer) -> serde_json::Value {
    super::summary(&grounds.peer(peer, ["backup", "--force", "--json"]).arg(&grounds.tree).ok())
}
