//! One tree, backed up by drctl and by restic 0.18 under TZ=UTC into one vault cut by Rabin, has one tree id.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Grounds, plant};
use crate::support::house::House;
use crate::support::peers::restic18;

/// Where no other test writes: the folders above the tree are in the snapshot, with their times.
const QUIET: &str = "/var/tmp";

/// How often the folders above may change in the middle of a comparison.
const TRIES: usize = 5;

#[test]
fn in_a_vault_that_drctl_made_trees_are_the_same() {
    trees_are_the_same(|grounds| grounds.init("rabin"));
}

#[test]
fn in_a_repository_that_restic_made_trees_are_the_same() {
    trees_are_the_same(|grounds| drop(grounds.peer(&restic18(), ["init"]).ok()));
}

fn trees_are_the_same(make: impl Fn(&Grounds)) {
    let quiet = tempfile::Builder::new().prefix("drctl-test-").tempdir_in(QUIET).unwrap();
    let house = House::new();
    let grounds = Grounds { tree: quiet.path().join("tree"), vault: house.path("vault"), house };
    std::fs::create_dir(&grounds.tree).unwrap();
    plant(&grounds.house, &grounds.tree);
    make(&grounds);
    for _ in 0..TRIES {
        let before = times_above(&grounds.tree);
        let ours = grounds.back_up(["--force"]);
        // without a parent, so that restic makes every node and every tree itself
        super::summary(&grounds.peer(&restic18(), ["backup", "--json", "--force"]).arg(&grounds.tree).ok());
        if times_above(&grounds.tree) != before {
            continue;
        }
        let snapshots = grounds.snapshots();
        let theirs = snapshots.last().unwrap();
        assert!(theirs["program_version"].as_str().unwrap().starts_with("restic"), "{theirs}");
        assert_eq!(ours["tree"], theirs["tree"], "the tree ids differ");
        let listed = grounds.listed();
        assert!(listed.iter().any(|entry| entry.path.ends_with("/special/fifo")));
        assert!(!listed.iter().any(|entry| entry.path.ends_with("/special/socket")), "a socket was backed up");
        return;
    }
    panic!("{QUIET} or a folder above it changes all the time");
}

/// Changes to the folders on the way to the tree.
fn times_above(tree: &Path) -> Vec<(i64, i64)> {
    let of = |folder: &Path| std::fs::metadata(folder).map(|it| (it.ctime(), it.ctime_nsec())).unwrap();
    tree.ancestors().skip(1).map(of).collect()
}
