//! The program as a person meets it: what it prints where, how it ends, what it refuses.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::support::house::House;
use crate::support::peers;

/// A house with a vault at `vault`.
fn settled() -> House {
    let house = House::new();
    house.drctl(["init", "--vault", "./vault"]).ok();
    house
}

/// The one line of JSON on standard error that holds this key.
fn told(stderr: &str, key: &str) -> serde_json::Value {
    let lines: Vec<serde_json::Value> = stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<_> = lines.iter().filter_map(|line| line.get(key)).collect();
    assert_eq!(found.len(), 1, "one {key} in {stderr}");
    found[0].clone()
}

#[test]
fn without_words_it_shows_what_can_be_typed() {
    let outcome = House::new().drctl([""; 0]).ends(2);
    assert!(outcome.stdout.is_empty());
    for word in ["Usage: drctl", "snapshots", "--vault", "First steps"] {
        assert!(outcome.stderr.contains(word), "{outcome}");
    }
    let help = House::new().drctl(["--help"]).ok();
    assert!(help.text().contains(" 12  wrong key or password"), "{help}");
    assert!(help.stderr.is_empty());
}

#[test]
fn a_typo_gets_a_suggestion_in_either_form() {
    let house = House::new();
    let human = house.drctl(["snapshtos"]).ends(2);
    assert!(human.stderr.contains("'snapshots'"), "{human}");
    let json = house.drctl(["snapshtos", "--json"]).ends(2);
    let error = told(&json.stderr, "error");
    assert!(error["message"].as_str().unwrap().contains("'snapshots'"), "{json}");
    assert_eq!(error["exit_code"], 2);
}

#[test]
fn no_vault_a_wrong_key_and_a_taken_place_have_their_own_ends() {
    let house = settled();
    let none = house.drctl(["snapshots", "--vault", "./nowhere"]).ends(10);
    assert!(none.stderr.contains("drctl init"), "{none}");
    assert!(!house.path("work/nowhere").exists());

    fs::write(house.path("work/other"), "wrong\n").unwrap();
    fs::set_permissions(house.path("work/other"), PermissionsExt::from_mode(0o600)).unwrap();
    let wrong = house.drctl(["snapshots", "--vault", "./vault", "--key-file", "other", "--json"]).ends(12);
    assert!(wrong.stdout.is_empty(), "{wrong}");
    let error = told(&wrong.stderr, "error");
    assert_eq!(error["exit_code"], 12);
    assert!(error["message"].as_str().unwrap().starts_with("failed to open the vault at file://"), "{wrong}");
    assert!(error["causes"].as_array().is_some_and(Vec::is_empty) && error["hint"].is_string(), "{wrong}");

    let before = fs::read(house.path("work/vault/config")).unwrap();
    let taken = house.drctl(["init", "--vault", "./vault", "--generate-key", "new.key"]).ends(1);
    assert!(taken.stderr.contains("there is one already"), "{taken}");
    assert!(!house.path("work/new.key").exists());
    assert_eq!(fs::read(house.path("work/vault/config")).unwrap(), before);
}

#[test]
fn a_word_is_a_name_and_not_a_folder() {
    let house = settled();
    let outcome = house.drctl(["snapshots", "--vault", "vault"]).ends(2);
    assert!(outcome.stderr.contains("./vault"), "{outcome}");
    fs::write(house.path("work/drctl.toml"), "[vault.main]\nurl = \"vault\"\nkey = { file = \"../key\" }\n").unwrap();
    let named = house.drctl(["snapshots", "--vault", "main"]).ok();
    assert_eq!(named.text(), "no snapshots\n");
    assert_eq!(house.drctl(["snapshots", "--json"]).ok().json()["snapshots"], serde_json::json!([]));
    fs::write(house.path("work/drctl.toml"), "[vault.main]\nulr = \"vault\"\n").unwrap();
    let broken = house.drctl(["snapshots"]).ends(2);
    assert!(broken.stderr.contains("drctl.toml:2") && broken.stderr.contains("`url`"), "{broken}");
}

#[test]
fn a_key_that_others_can_read_stops_writers_and_warns_readers() {
    let house = settled();
    fs::set_permissions(house.key_file(), PermissionsExt::from_mode(0o644)).unwrap();
    let read = house.drctl(["snapshots", "--vault", "./vault"]).ok();
    assert!(read.stderr.contains("open to everyone (mode 0644)"), "{read}");
    let write = house.drctl(["unlock", "--vault", "./vault"]).ends(2);
    assert!(write.stderr.contains("--allow-shared-key"), "{write}");
    house.drctl(["unlock", "--vault", "./vault", "--allow-shared-key"]).ok();
}

#[test]
fn keys_come_and_go_and_one_stays() {
    let house = settled();
    let on = |args: &[&str]| house.drctl(["--vault", "./vault"]).args(args);
    on(&["key", "add", "--generate-key", "second"]).ok();
    let made = fs::metadata(house.path("work/second")).unwrap();
    assert_eq!(made.permissions().mode() & 0o7777, 0o600);
    let list = on(&["key", "list", "--json", "--key-file", "second"]).ok().json();
    let keys = list["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    let (mine, other): (Vec<_>, Vec<_>) = keys.iter().partition(|key| key["current"] == true);
    let refused = on(&["key", "remove", mine[0]["id"].as_str().unwrap(), "--key-file", "second"]).ends(1);
    assert!(refused.stderr.contains("another key"), "{refused}");
    on(&["key", "remove", &other[0]["id"].as_str().unwrap()[..8], "--key-file", "second"]).ok();
    on(&["snapshots"]).ends(12);
    on(&["key", "passwd", "--key-file", "second", "--generate-key", "third"]).ok();
    on(&["snapshots", "--key-file", "second"]).ends(12);
    on(&["snapshots", "--password-command", "cat third"]).ok();
}

#[test]
fn what_restic_wrote_can_be_looked_at() {
    let house = settled();
    let restic = peers::restic18();
    let vault = house.path("work/vault");
    let src = house.path("work/src");
    fs::create_dir_all(src.join("sub")).unwrap();
    fs::write(src.join("a.txt"), "one").unwrap();
    fs::write(src.join("evil\x1b[2J\nname"), "").unwrap();
    fs::write(src.join("sub/keep"), "kept").unwrap();
    restic.on(&house, &vault, ["backup", src.to_str().unwrap()]).ok();
    fs::write(src.join("a.txt"), "two!").unwrap();
    fs::remove_file(src.join("sub/keep")).unwrap();
    restic.on(&house, &vault, ["backup", src.to_str().unwrap(), "--tag", "second"]).ok();

    let on = |args: &[&str]| house.drctl(["--vault", "./vault"]).args(args);
    let shown = on(&["snapshots", "--json"]).ok().json();
    let ids: Vec<&str> = shown["snapshots"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(on(&["snapshots", "--tag", "second", "--json"]).ok().json()["snapshots"][0]["id"], ids[1]);

    let at = src.to_str().unwrap();
    let listing = on(&["ls", "latest", at]).ok();
    assert!(listing.text().contains("/a.txt\n"), "{listing}");
    assert!(listing.text().contains("evil\\x1b[2J\\nname") && !listing.stdout.contains(&0x1b), "{listing}");
    let entries = on(&["ls", &format!("{}:{at}", &ids[0][..8]), "--json"]).ok().json();
    assert_eq!(entries["entries"].as_array().unwrap().len(), 5, "{entries}");

    let diff = on(&["diff", ids[0], "latest", "--json"]).ok().json();
    let changes: Vec<(String, String)> = diff["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            let side = if change["after"].is_null() { &change["before"] } else { &change["after"] };
            (change["change"].as_str().unwrap().to_owned(), side["path"].as_str().unwrap().to_owned())
        })
        .collect();
    let expected = [("content".to_owned(), format!("{at}/a.txt")), ("removed".to_owned(), format!("{at}/sub/keep"))];
    assert_eq!(changes, expected);

    let found = on(&["find", "keep", "a.*", "--newest", "--json"]).ok().json();
    let found: Vec<&str> =
        found["found"].as_array().unwrap().iter().map(|it| it["snapshot"].as_str().unwrap()).collect();
    assert_eq!(found, [ids[1], ids[0]], "each path once, in the newest snapshot that has it");

    assert_eq!(on(&["dump", "latest", &format!("{at}/a.txt")]).ok().stdout, b"two!");
    assert_eq!(on(&["dump", ids[0], &format!("{at}/a.txt")]).ok().stdout, b"one");
    on(&["dump", &format!("latest:{at}"), "/", "--output", "x.tar"]).ok();
    let listed = house.call("tar").args(["tf", "x.tar"]).ok().text();
    assert!(listed.contains("a.txt\n") && listed.contains("sub/\n"), "{listed}");
    let missing = on(&["dump", "latest", "/nothing"]).ends(1);
    assert!(missing.stdout.is_empty() && missing.stderr.contains("/ has no \"nothing\""), "{missing}");
}

#[test]
fn a_reader_that_goes_away_ends_it_without_a_word() {
    let house = settled();
    let src = house.path("work/many");
    fs::create_dir(&src).unwrap();
    for n in 0..3000 {
        fs::write(src.join(format!("{n:0>60}")), "").unwrap();
    }
    peers::restic18().on(&house, &house.path("work/vault"), ["backup", src.to_str().unwrap()]).ok();
    let line = format!("set -o pipefail; {} --vault ./vault -q ls | head -n 1", env!("CARGO_BIN_EXE_drctl"));
    let outcome = house.call("bash").args(["-c", &line]).ends(141);
    assert!(outcome.stderr.is_empty(), "{outcome}");
}

#[test]
fn completions_and_pages_come_from_the_commands() {
    let house = House::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = house.drctl(["completions", shell]).ok();
        assert!(script.text().contains("snapshots"), "{shell}");
    }
    assert!(house.drctl(["man"]).ok().text().starts_with(".ie \\n(.g .ds Aq"));
    fs::create_dir(house.path("work/man")).unwrap();
    house.drctl(["man", "--dir", "man"]).ok();
    assert!(house.path("work/man/drctl-snapshots.1").exists());
    house.drctl(["man", "--dir", "nowhere"]).ends(1);
}

#[test]
fn at_a_terminal_long_work_shows_how_long_it_will_take() {
    let house = settled();
    fs::write(house.path("work/large"), crate::support::Numbers::seeded(4).bytes(3 << 20)).unwrap();
    let long = |args: &str| {
        let line = format!("{} --vault ./vault {args}", env!("CARGO_BIN_EXE_drctl"));
        house.call("script").args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").ok().text()
    };
    for args in ["backup --path large --limit-upload 2MiB", "restore latest --to out --limit-download 2MiB"] {
        let seen = long(args);
        assert!(seen.contains("B/s ETA "), "{seen:?}");
    }
    let piped = house.drctl(["--vault", "./vault", "check"]).ok();
    assert!(!piped.stderr.contains("ETA"), "{piped}");
}

#[test]
fn a_vault_for_drctl_alone_says_what_is_condemned_and_how_to_mend_what_says_so() {
    let house = House::new();
    let both = house.drctl(["init", "--vault", "./no", "--native", "--chunker", "rabin"]).ends(2);
    assert!(both.stderr.contains("no other tool writes there"), "{both}");
    let shared = settled();
    let grace = shared.drctl(["prune", "--vault", "./vault", "--grace", "1h"]).ends(2);
    assert!(grace.stderr.contains("leave --grace away"), "{grace}");

    house.drctl(["init", "--vault", "./vault", "--native"]).ok();
    let call = |args: &[&str]| house.drctl(args.iter().copied().chain(["--vault", "./vault"]));
    fs::create_dir(house.path("work/source")).unwrap();
    fs::write(house.path("work/source/file"), "of which nothing will be needed").unwrap();
    let made = call(&["backup", "--path", "source", "--json"]).ok().json();
    call(&["forget", made["snapshot"].as_str().unwrap()]).ok();
    let young = call(&["prune"]).ok();
    assert!(young.text().contains("packs are younger than the grace"), "{young}");
    let would = call(&["prune", "--grace", "0s", "--dry-run"]).ok();
    assert!(would.text().contains("would then be condemned"), "{would}");
    let done = call(&["prune", "--grace", "0s", "--json"]).ok().json();
    assert_eq!((&done["form"], &done["figures"]["condemned_packs"]), (&"concurrent".into(), &0.into()), "{done}");
    assert!(done["figures"]["freed"].as_u64() > Some(0), "{done}");

    fs::remove_file(house.path("work/vault/drctl/gc/state")).unwrap();
    let check = call(&["check"]).ends(1);
    assert!(check.text().contains("`drctl index rebuild` mends them"), "{check}");
    let refused = call(&["backup", "--path", "source"]).ends(1);
    assert!(refused.stderr.contains("drctl/gc/state") && refused.stderr.contains("drctl index rebuild"), "{refused}");
    call(&["index", "rebuild"]).ok();
    call(&["backup", "--path", "source"]).ok();
    call(&["check", "--read-data"]).ok();
}

#[test]
fn a_snapshot_that_lacks_something_is_named_once_nobody_is_at_work() {
    let house = House::new();
    house.drctl(["init", "--vault", "./vault", "--native"]).ok();
    let call = |args: &[&str]| house.drctl(args.iter().copied().chain(["--vault", "./vault"]));
    let snapshot = |content: &str| {
        let made = call(&["backup", "--stdin", "--json"]).stdin(content).ok().json();
        made["snapshot"].as_str().unwrap().to_owned()
    };
    let (dead, _) = (snapshot("what its backup did not live to store again"), snapshot("what stays"));
    let (there, aside) = (house.path(format!("work/vault/snapshots/{dead}")), house.path("work/aside"));
    fs::copy(&there, &aside).unwrap();
    call(&["forget", &dead]).ok();
    call(&["prune", "--grace", "0s", "--max-unused", "0"]).ok();
    fs::rename(&aside, &there).unwrap();

    let mut backup = call(&["backup", "--stdin"]).spawn_waiting();
    let begun = Instant::now();
    while fs::read_dir(house.path("work/vault/locks")).unwrap().next().is_none() {
        assert!(backup.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(60), "it took no lock");
        std::thread::sleep(Duration::from_millis(20));
    }
    let waits = call(&["prune"]).ends(11);
    assert!(waits.stderr.contains(&format!("(pid {})", backup.id())), "the holder is not named: {waits}");
    assert!(waits.stderr.contains("run it again when they are done") && !waits.stderr.contains(&dead[..8]), "{waits}");
    backup.stdin.take().unwrap().write_all(b"from a pipe").unwrap();
    assert!(backup.wait().unwrap().success());

    let named = call(&["prune"]).ends(1);
    assert!(named.stderr.contains(&dead[..8]) && named.stderr.contains("`drctl forget`"), "{named}");
    call(&["forget", &dead]).ok();
    call(&["prune"]).ok();
    call(&["check", "--read-data"]).ok();
}
