//! restic and drctl heed each other's locks, and clear away those of the dead.

use std::io::Write;
use std::process::Child;
use std::time::{Duration, Instant};

use super::Grounds;
use crate::support::house::{Call, House};
use crate::support::peers::{restic14, restic18, restics};

/// How long a program may take to lock the vault.
const PATIENCE: Duration = Duration::from_secs(60);

/// A small vault of drctl's with one snapshot.
fn grounds() -> Grounds {
    let grounds = Grounds::bare(House::new());
    std::fs::write(grounds.tree.join("file"), "content").unwrap();
    grounds.init("gear");
    grounds.back_up([]);
    grounds
}

/// Starts a backup of its stdin, which stays open, and waits until it holds a lock.
#[track_caller]
fn hold(grounds: &Grounds, call: Call) -> Child {
    assert_eq!(grounds.locks(), [""; 0]);
    let mut child = call.spawn_waiting();
    let begun = Instant::now();
    while grounds.locks().is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        assert!(begun.elapsed() < PATIENCE, "no lock appeared");
        std::thread::sleep(Duration::from_millis(20));
    }
    // both wait after writing a lock and look again
    std::thread::sleep(Duration::from_millis(400));
    child
}

/// Gives it something to back up, and the end of its stdin; it must end well.
#[track_caller]
fn finish(mut child: Child) {
    child.stdin.take().unwrap().write_all(b"from a pipe").unwrap();
    assert!(child.wait().unwrap().success());
}

/// No goodbye: its lock stays behind.
fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_lock_of_restic_stops_a_prune_and_lets_backups_by() {
    for peer in restics() {
        let grounds = grounds();
        let child = hold(&grounds, grounds.peer(&peer, ["backup", "--stdin"]));
        let refused = grounds.drctl(["prune"]).ends(11);
        assert!(refused.stderr.contains(&format!("(pid {})", child.id())), "the holder is not named: {refused}");
        assert!(refused.stderr.contains("--retry-lock"), "no way out is named: {refused}");
        let refused = grounds.drctl(["prune", "--retry-lock", "1s"]).ends(11);
        assert!(refused.stderr.contains("shared lock"), "{refused}");

        grounds.back_up([]);
        let unlocked = grounds.drctl(["unlock", "--json"]).ok().json();
        assert_eq!(unlocked["removed"], serde_json::json!([]), "the lock of a running restic was removed");
        assert_eq!(unlocked["left"].as_array().unwrap().len(), 1);

        let patient = grounds.drctl(["prune", "--retry-lock", "60s"]);
        let waiting = std::thread::spawn(move || patient.ok());
        std::thread::sleep(Duration::from_millis(700));
        assert!(!waiting.is_finished(), "prune did not wait");
        finish(child);
        waiting.join().unwrap();
        assert_eq!(grounds.locks(), [""; 0]);
        assert_eq!(grounds.snapshots().len(), 3);
        grounds.drctl_checks();
    }
}

#[test]
fn a_lock_of_drctl_stops_restics_prune_and_lets_its_backups_by() {
    let grounds = grounds();
    let child = hold(&grounds, grounds.drctl(["backup", "--stdin"]));
    for (peer, code) in [(restic18(), 11), (restic14(), 1)] {
        let refused = grounds.peer(&peer, ["prune"]).ends(code);
        assert!(refused.stderr.contains(&format!("PID {}", child.id())), "{refused}");
        grounds.back_up_with(&peer);
        // asks whether the holder lives with a SIGHUP, of all signals
        grounds.peer(&peer, ["unlock"]).ok();
        assert_eq!(grounds.locks().len(), 1, "{} takes the lock of a running drctl for dead", peer.name);
    }
    finish(child);
    assert_eq!(grounds.locks(), [""; 0]);
    assert_eq!(grounds.snapshots().len(), 4);
    for peer in restics() {
        grounds.peer(&peer, ["prune"]).ok();
        grounds.peer(&peer, ["check", "--read-data"]).ok();
    }
    grounds.drctl_checks();
}

#[test]
fn locks_of_the_dead_are_cleared_away() {
    let grounds = grounds();
    kill(hold(&grounds, grounds.peer(&restic18(), ["backup", "--stdin"])));
    assert_eq!(grounds.locks().len(), 1);
    grounds.drctl(["prune"]).ok();
    assert_eq!(grounds.locks(), [""; 0]);

    let child = hold(&grounds, grounds.peer(&restic14(), ["backup", "--stdin"]));
    let pid = child.id();
    kill(child);
    let unlocked = grounds.drctl(["unlock", "--json"]).ok().json();
    let removed = unlocked["removed"].as_array().unwrap();
    assert!(matches!(&removed[..], [one] if one.as_str().unwrap().contains(&format!("(pid {pid})"))), "{unlocked}");
    assert_eq!(grounds.locks(), [""; 0]);

    // ours, by them
    kill(hold(&grounds, grounds.drctl(["backup", "--stdin"])));
    assert_eq!(grounds.locks().len(), 1);
    grounds.peer(&restic18(), ["unlock"]).ok();
    assert_eq!(grounds.locks(), [""; 0]);

    // and ours by us
    kill(hold(&grounds, grounds.drctl(["backup", "--stdin"])));
    grounds.drctl(["prune"]).ok();
    assert_eq!(grounds.locks(), [""; 0]);
    assert_eq!(grounds.snapshots().len(), 1);
    grounds.drctl_checks();
}
