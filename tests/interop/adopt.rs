//! Repositories that restic and rustic made are adopted, and both go on working in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use drctl::vault::layout::SETTINGS;
use serde_json::json;

use super::fixtures::{Fixture, digest};
use super::{Grounds, is_socket};
use crate::support::Numbers;
use crate::support::house::House;
use crate::support::peers::{Peer, restic14, restic18, restics, rustic};
use crate::support::trace::{Watched, kill_before};
use crate::support::vaults::{files, wait};

/// Every object with the digest of its bytes.
fn objects(vault: &Path) -> BTreeMap<PathBuf, String> {
    files(vault).into_keys().map(|name| (name.clone(), digest(&vault.join(name)))).collect()
}

/// What there is but for the settings that an adoption adds.
fn theirs(vault: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = objects(vault);
    all.retain(|path, _| path != Path::new(SETTINGS));
    all
}

/// A tree of which the pieces tell how it was cut, in a repository of this peer.
fn backed_up_by(peer: &Peer) -> Grounds {
    let grounds = Grounds::bare(House::new());
    let mut numbers = Numbers::seeded(11);
    fs::write(grounds.tree.join("noise"), numbers.bytes(12 << 20)).unwrap();
    fs::create_dir(grounds.tree.join("small")).unwrap();
    for n in 0..30 {
        fs::write(grounds.tree.join(format!("small/{n}")), numbers.bytes(3000)).unwrap();
    }
    grounds.peer(peer, ["init"]).ok();
    grounds.peer(peer, ["backup"]).arg(&grounds.tree).ok();
    grounds
}

fn is_adopted_and_both_go_on(peer: &Peer) {
    let grounds = backed_up_by(peer);
    let before = objects(&grounds.vault);

    let would = grounds.drctl(["adopt", "--dry-run"]).ok();
    for told in ["1 snapshots", "drctl/vault", "nothing of what is there is changed", "rustic takes no locks"] {
        assert!(would.text().contains(told), "{told}: {would}");
    }
    let would = grounds.drctl(["adopt", "--dry-run", "--json"]).ok().json();
    assert_eq!((&would["adopted"], &would["added"]), (&json!(false), &json!([SETTINGS])), "{would}");
    let unasked = grounds.drctl(["adopt"]).ends(2);
    assert!(unasked.stderr.contains("--yes") && unasked.stderr.contains("drctl/vault"), "{unasked}");
    assert!(objects(&grounds.vault) == before, "nothing was changed");

    let done = grounds.drctl(["adopt", "--yes", "--json"]).ok().json();
    assert_eq!(
        (&done["adopted"], &done["adopted_before"], &done["snapshots"]),
        (&json!(true), &json!(false), &json!(1))
    );
    assert_eq!((&done["cut_otherwise"], &done["append_only"]), (&json!(false), &json!(false)));
    assert!(theirs(&grounds.vault) == before, "what was there is byte for byte what it was");
    let adopted = objects(&grounds.vault);
    assert_eq!(adopted.len(), before.len() + 1);
    let again = grounds.drctl(["adopt", "--yes", "--json"]).ok().json();
    assert_eq!(
        (&again["adopted"], &again["adopted_before"], &again["added"]),
        (&json!(false), &json!(true), &json!([]))
    );
    assert!(objects(&grounds.vault) == adopted, "adopting twice changes nothing");

    // Read again whole, cut where they cut: nothing of it is stored again.
    let ours = grounds.back_up(["--force"]);
    assert!(ours["summary"]["bytes_read"].as_u64() > Some(12 << 20), "{ours}");
    assert_eq!(ours["summary"]["data_blobs"], 0, "{ours}");
    assert!(ours["summary"]["bytes_uploaded"].as_u64() < Some(20_000), "{ours}");
    let kept = |all: &BTreeMap<PathBuf, String>| before.iter().all(|(path, digest)| all.get(path) == Some(digest));
    assert!(kept(&objects(&grounds.vault)), "a backup only adds");

    // And the other way round, with something new that both then have.
    fs::write(grounds.tree.join("new"), Numbers::seeded(12).bytes(2 << 20)).unwrap();
    grounds.peer(peer, ["backup", "--force"]).arg(&grounds.tree).ok();
    let ours = grounds.back_up(["--force"]);
    assert_eq!(ours["summary"]["data_blobs"], 0, "{ours}");
    restic18().on(&grounds.house, &grounds.vault, ["check", "--read-data"]).ok();
    grounds.peer(peer, ["check", "--read-data"]).ok();
    grounds.drctl_checks();
    assert_eq!(grounds.snapshots().len(), 4);
    grounds.drctl_restores(is_socket);

    // Their prune leaves our settings, and ours leaves them what they need.
    restic18().on(&grounds.house, &grounds.vault, ["forget", "latest", "--prune"]).ok();
    grounds.drctl(["prune", "--max-unused", "0"]).ok();
    assert!(grounds.vault.join(SETTINGS).exists());
    grounds.peer(peer, ["check", "--read-data"]).ok();
    grounds.drctl_checks();
    assert_eq!(grounds.drctl(["adopt", "--json", "--yes"]).ok().json()["adopted_before"], true);
}

#[test]
fn a_repository_of_restic_is_adopted_and_both_go_on() {
    for peer in restics() {
        is_adopted_and_both_go_on(&peer);
    }
}

#[test]
fn a_repository_of_rustic_is_adopted_and_both_go_on() {
    match rustic() {
        Some(peer) => is_adopted_and_both_go_on(&peer),
        None => {
            // What it wrote once, at least.
            let fixture = Fixture::unpacked("rustic-0.11");
            let before = fixture.objects();
            let done = fixture.drctl(["adopt", "--yes", "--json"]).ok().json();
            assert_eq!(done["adopted"], true, "{done}");
            let after = fixture.objects();
            assert!(before.iter().all(|(path, digest)| after.get(path) == Some(digest)));
            fixture.drctl(["check", "--read-data"]).ok();
        }
    }
}

#[test]
fn what_cannot_be_adopted_is_refused_and_stays_as_it_is() {
    let refused = |grounds: &Grounds, code: i32, told: &str| {
        let before = objects(&grounds.vault);
        for args in [&["adopt", "--yes"][..], &["adopt", "--dry-run"]] {
            let outcome = grounds.drctl(args.iter().copied()).ends(code);
            assert!(outcome.stderr.contains(told), "{told}: {outcome}");
        }
        assert!(objects(&grounds.vault) == before, "{told}: something was changed");
    };
    refused(&Grounds::bare(House::new()), 10, "drctl init");

    let grounds = backed_up_by(&restic14());
    let key = fs::read(grounds.house.key_file()).unwrap();
    fs::write(grounds.house.key_file(), "another").unwrap();
    refused(&grounds, 12, "fits none of 1");
    fs::write(grounds.house.key_file(), key).unwrap();

    let first = |folder: &str| {
        let name = files(&grounds.vault.join(folder)).into_keys().next().unwrap();
        grounds.vault.join(folder).join(name)
    };
    for (folder, told) in [("data", "data/"), ("index", "index/"), ("snapshots", "snapshots/"), ("config", "config")] {
        let object = if folder == "config" { grounds.vault.join(folder) } else { first(folder) };
        let bytes = fs::read(&object).unwrap();
        fs::remove_file(&object).unwrap();
        fs::write(&object, &bytes[..bytes.len() - 1]).unwrap();
        refused(&grounds, 1, told);
        fs::write(&object, bytes).unwrap();
    }
    // Settings that are none of this vault's are not an adoption.
    fs::create_dir(grounds.vault.join("drctl")).unwrap();
    fs::write(grounds.vault.join(SETTINGS), [7; 90]).unwrap();
    refused(&grounds, 1, SETTINGS);
    fs::remove_file(grounds.vault.join(SETTINGS)).unwrap();
    grounds.drctl(["adopt", "--yes"]).ok();

    let old = Fixture::unpacked("restic-version-1");
    let before = old.objects();
    let outcome = old.drctl(["adopt", "--yes"]).ends(1);
    assert!(outcome.stderr.contains("restic migrate upgrade_repo_v2"), "{outcome}");
    assert!(old.objects() == before);

    let ours = Grounds::bare(House::new());
    ours.init("gear");
    let before = objects(&ours.vault);
    let outcome = ours.drctl(["adopt", "--yes"]).ok();
    assert!(outcome.text().contains("nothing to do"), "{outcome}");
    assert!(objects(&ours.vault) == before);
}

#[test]
fn an_adoption_that_is_killed_before_any_change_is_made_good_by_the_next() {
    let grounds = backed_up_by(&restic18());
    let before = objects(&grounds.vault);
    for n in 1.. {
        let _ = fs::remove_dir_all(grounds.vault.join("drctl"));
        let watched = kill_before(n, grounds.drctl(["adopt", "--yes"]));
        if let Watched::Ended { code, calls } = watched {
            assert!(code == 0 && calls > 3, "{watched:?}");
            break;
        }
        let published = |path: &Path| !path.to_str().unwrap().contains("-tmp-");
        assert!(
            theirs(&grounds.vault).into_iter().filter(|(path, _)| published(path)).eq(before.clone()),
            "{watched:?}"
        );
        let written = grounds.vault.join(SETTINGS).exists();
        let done = grounds.drctl(["adopt", "--yes", "--json"]).ok().json();
        assert_eq!(done["adopted"], !written, "{watched:?}");
        assert_eq!(grounds.drctl(["adopt", "--yes", "--json"]).ok().json()["adopted_before"], true);
    }
    wait(async { assert!(crate::support::vaults::open(&grounds.vault).await.has_settings()) });
    grounds.peer(&restic18(), ["check", "--read-data"]).ok();
}
