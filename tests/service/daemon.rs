//! The daemon as a process: signals, one service at a time.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::commands::{configure, init};
use crate::support::house::House;

fn wait_for(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}

#[test]
fn a_term_signal_stops_a_running_backup_and_its_record_is_written() {
    let house = House::new();
    configure(
        &house,
        r#"
        [plan.slow]
        source = { kind = "command", command = ["sh", "-c", "echo begun; sleep 600"], name = "slow" }
        schedule = { every = "1s", zone = "UTC" }
        vault = "main"
        retries = 0
    "#,
    );
    init(&house);
    let mut daemon = house.drctl(["serve"]).spawn();
    wait_for("the run", || !is_empty(&house.path("state/running")));
    std::thread::sleep(Duration::from_millis(500));
    // Beside it nothing else serves this state.
    let second = house.drctl(["serve", "--once"]).ends(1);
    assert!(second.stderr.contains("another drctl service"), "{second}");

    let asked = Instant::now();
    let pid = Pid::from_raw(i32::try_from(daemon.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let ended = daemon.wait().unwrap();
    assert_eq!(ended.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    assert!(is_empty(&house.path("state/running")));

    let status = house.drctl(["status", "--json"]).ok().json();
    assert_eq!(status["plans"][0]["last"]["status"], "failed", "{status}");
    assert!(status["plans"][0]["last"]["problem"].as_str().unwrap().contains("stopped"), "{status}");
    assert_eq!(status["plans"][0]["running_since"], serde_json::Value::Null);
    // Delivered: the vault knows of it, too, and no lock is left.
    assert_eq!(status["spooled"], serde_json::json!([]));
    assert!(is_empty(&house.path("vault/locks")));
}

#[test]
fn a_killed_daemon_leaves_a_run_that_the_next_one_records() {
    let house = House::new();
    configure(
        &house,
        r#"
        [plan.slow]
        source = { kind = "command", command = ["sh", "-c", "test -e ROOT/quick || exec sleep 600; echo whole"], name = "slow" }
        schedule = { every = "1h", zone = "UTC" }
        vault = "main"
        retries = 0
    "#,
    );
    init(&house);
    let mut backup = house.drctl(["backup", "slow"]).spawn();
    wait_for("the run", || !is_empty(&house.path("state/running")));
    std::thread::sleep(Duration::from_millis(300));
    backup.kill().unwrap();
    backup.wait().unwrap();

    std::fs::write(house.path("quick"), "").unwrap();
    let tick = house.drctl(["serve", "--once", "--json"]).ok().json();
    assert_eq!(tick["runs"].as_array().unwrap().len(), 1, "{tick}");
    assert_eq!(tick["runs"][0]["status"], "ok", "{tick}");
}
