//! drctl beside stock restic (0.14, 0.18) and rustic: each reads, checks, restores, copies and prunes what the others
//! write, and all heed each other's locks.

mod adopt;
mod fixtures;
mod locks;
mod reads_ours;
mod reads_theirs;
mod rustic;
mod same_trees;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;

use crate::support::compare::{Aspect, Difference, compare_trees};
use crate::support::hostile::hostile_tree;
use crate::support::house::{Call, House, Outcome};
use crate::support::peers::Peer;

/// A house, a tree to back up and a place for a vault, all of the house's tenant.
struct Grounds {
    house: House,
    tree: PathBuf,
    vault: PathBuf,
}

impl Grounds {
    /// With an empty tree.
    fn bare(house: House) -> Self {
        let (tree, vault) = (house.path("work/tree"), house.path("vault"));
        fs::create_dir(&tree).unwrap();
        house.give(&tree);
        Self { house, tree, vault }
    }

    /// With a hostile tree.
    fn hostile(house: House) -> Self {
        let grounds = Self::bare(house);
        plant(&grounds.house, &grounds.tree);
        grounds
    }

    fn drctl<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Call {
        self.house.drctl(["--vault"]).arg(&self.vault).args(args)
    }

    fn peer<'a>(&self, peer: &Peer, args: impl IntoIterator<Item = &'a str>) -> Call {
        peer.on(&self.house, &self.vault, args)
    }

    fn init(&self, chunker: &str) {
        self.drctl(["init", "--chunker", chunker]).ok();
    }

    /// Backs the tree up with drctl; what it says of it.
    #[track_caller]
    fn back_up<'a>(&self, options: impl IntoIterator<Item = &'a str>) -> Value {
        self.drctl(["backup", "--json"]).args(options).arg("--path").arg(&self.tree).ok().json()
    }

    /// Backs the tree up with a restic; its summary.
    #[track_caller]
    fn back_up_with(&self, peer: &Peer) -> Value {
        summary(&self.peer(peer, ["backup", "--json"]).arg(&self.tree).ok())
    }

    /// The vault's snapshots as drctl lists them, oldest first.
    #[track_caller]
    fn snapshots(&self) -> Vec<Value> {
        let listed = self.drctl(["snapshots", "--json"]).ok().json();
        assert_eq!(listed["damaged"], serde_json::json!([]));
        listed["snapshots"].as_array().unwrap().clone()
    }

    /// Restores the newest snapshot with drctl and compares.
    #[track_caller]
    fn drctl_restores(&self, lost: impl Fn(&Difference) -> bool) {
        let target = self.house.path("work/restored by drctl");
        self.drctl(["restore", "latest", "--privileged", "--to"]).arg(&target).ok();
        self.assert_restored(&target, lost);
    }

    /// Restores the newest snapshot with a peer and compares.
    #[track_caller]
    fn peer_restores(&self, peer: &Peer) {
        let target = self.house.path("work").join(format!("restored by {}", peer.name));
        self.peer(peer, ["restore", "latest", "--target"]).arg(&target).ok();
        self.assert_restored(&target, |difference| peer.cannot_restore(difference));
    }

    /// The target holds the tree under its whole path, but for what is known to be lost; it is then removed.
    #[track_caller]
    fn assert_restored(&self, target: &Path, lost: impl Fn(&Difference) -> bool) {
        let restored = target.join(self.tree.strip_prefix("/").unwrap());
        let differences: Vec<Difference> =
            compare_trees(&self.tree, &restored).into_iter().filter(|difference| !lost(difference)).collect();
        assert!(differences.is_empty(), "{}: {differences:#?}", target.display());
        fs::remove_dir_all(target).unwrap();
    }

    /// drctl finds nothing wrong, having read everything.
    #[track_caller]
    fn drctl_checks(&self) -> Value {
        let report = self.drctl(["check", "--read-data", "--json"]).ok().json();
        assert_eq!(report["damage"], serde_json::json!([]));
        assert_eq!(report["packs"], report["packs_read"]);
        report
    }

    /// Names of the locks that lie in the vault.
    fn locks(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.vault.join("locks")) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// What `ls` shows of the newest snapshot: by drctl.
    #[track_caller]
    fn listed(&self) -> BTreeSet<Listed> {
        let listed = self.drctl(["ls", "latest", "--json"]).ok().json();
        assert_eq!(listed["problems"], serde_json::json!([]));
        listed["entries"].as_array().unwrap().iter().map(Listed::of).collect()
    }

    /// The same by a restic.
    #[track_caller]
    fn listed_by(&self, peer: &Peer) -> BTreeSet<Listed> {
        let lines = self.peer(peer, ["ls", "latest", "--json"]).ok().json_lines();
        lines.iter().filter(|line| line["struct_type"] == "node").map(Listed::of).collect()
    }
}

/// One line of a listing.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    path: String,
    kind: String,
    owner: [u64; 2],
    size: u64,
    mtime: Timestamp,
}

impl Listed {
    fn of(entry: &Value) -> Self {
        let text = |key: &str| entry[key].as_str().unwrap().to_owned();
        let kind = text("type");
        Self {
            path: text("path"),
            owner: [entry["uid"].as_u64().unwrap(), entry["gid"].as_u64().unwrap()],
            size: if kind == "file" { entry["size"].as_u64().unwrap_or(0) } else { 0 },
            kind,
            mtime: text("mtime").parse().unwrap(),
        }
    }
}

/// Sockets are not backed up, neither by restic nor by drctl.
fn is_socket(difference: &Difference) -> bool {
    (&*difference.path, &difference.aspect) == (b"special/socket", &Aspect::OnlyInFirst)
}

/// Between two checks that read everything, a peer's prune has taken this much. Blobs that it moves it compresses anew, and
/// what is random grows by that, some bytes each.
#[track_caller]
fn assert_freed(before: &Value, after: &Value, freed: u64) {
    const GROWTH: u64 = 64 << 10;
    let bytes = |report: &Value| report["bytes_read"].as_u64().unwrap();
    assert!(bytes(after) + freed <= bytes(before) + GROWTH, "{before}\n{after}");
}

/// The last message of `restic backup --json`.
#[track_caller]
fn summary(outcome: &Outcome) -> Value {
    let last = outcome.json_lines().pop().unwrap();
    assert_eq!(last["message_type"], "summary", "{outcome}");
    last
}

/// Makes a hostile tree as whom the house's programs run: a thread has credentials of its own.
fn plant(house: &House, tree: &Path) {
    let owner = fs::metadata(house.path("home")).unwrap();
    let (uid, gid, tree) = (owner.uid(), owner.gid(), tree.to_owned());
    let planter = std::thread::spawn(move || {
        if !rustix::fs::Uid::from_raw(uid).is_root() && rustix::process::geteuid().is_root() {
            let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        }
        hostile_tree(&tree)
    });
    planter.join().unwrap();
}
