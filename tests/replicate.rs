//! Copies as a person makes them: two real servers, one of which is lost; a copy that is killed; damage at the source.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::Numbers;
use crate::support::compare::{assert_same_tree, compare_trees};
use crate::support::hostile::hostile_tree;
use crate::support::house::House;
use crate::support::kill::{Killed, kill9_at_random};
use crate::support::peers::restic18;
use crate::support::s3::S3Server;

/// The password of copies, another than the house's.
const COPYS: &str = "the key of the other region";

fn key_of_copy(house: &House) -> PathBuf {
    let key = house.path("copy.key");
    fs::write(&key, COPYS).unwrap();
    fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    key
}

/// Every file below a folder, with its size.
fn objects(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => waiting.push(entry.path()),
                false => found.push((entry.path(), entry.metadata().unwrap().len())),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_region_is_lost_and_everything_comes_back_from_the_other() {
    let (first, second) = (S3Server::start(), S3Server::start());
    let house = House::new();
    let (hostile, data) = (house.path("work/hostile"), house.path("work/data"));
    fs::create_dir(&hostile).unwrap();
    fs::create_dir(&data).unwrap();
    hostile_tree(&hostile);
    let mut numbers = Numbers::seeded(3);
    let (old, new) = (numbers.bytes(3 << 20), numbers.bytes(5 << 20));
    fs::write(data.join("ledger"), &old).unwrap();

    let (primary, copy) = (first.url("prod"), second.url("prod"));
    let drctl = |args: &[&str]| house.drctl(args.iter().copied()).env("DRCTL_VAULT", &primary).envs(&first.env());
    let key = key_of_copy(&house);
    let (paths, key_text) = ([hostile.to_str().unwrap(), data.to_str().unwrap()], key.to_str().unwrap());
    let back_up = ["backup", "--path", paths[0], "--path", paths[1]];
    drctl(&["init"]).ok();
    house
        .drctl(["init", "--vault", &copy, "--key-file", key_text, "--same-chunks-as", &primary])
        .envs(&first.env())
        .ok();
    drctl(&back_up).ok();
    fs::write(data.join("ledger"), &new).unwrap();
    drctl(&back_up).ok();
    drctl(&["check", "--read-data"]).ok();
    let here = house.path("here");
    drctl(&["restore", "latest", "--privileged", "--to", here.to_str().unwrap()]).ok();

    let replicate = ["replicate", "--all", "--to", &copy, "--to-key-file", key_text, "--json"];
    let done = drctl(&replicate).ok().json();
    assert_eq!((done["copied"].as_array().unwrap().len(), &done["status"]), (2, &"complete".into()));
    assert_eq!(done["lag"]["behind_seconds"], 0, "{done}");
    let again = drctl(&replicate).ok().json();
    assert_eq!((&again["present"], &again["figures"]["packs_uploaded"]), (&2.into(), &0.into()), "{again}");

    // The region burns, and so does the host: what is left is the address and the key of the copy.
    first.kill();
    for folder in ["state", "home"] {
        fs::remove_dir_all(house.path(folder)).unwrap();
    }
    let blank = House::new();
    let key = key_of_copy(&blank);
    let drctl = |args: &[&str]| {
        let call = blank.drctl(args.iter().copied()).env("DRCTL_VAULT", &copy).envs(&second.env());
        call.env("DRCTL_KEY_FILE", &key)
    };
    let listed = drctl(&["snapshots", "--json"]).ok().json();
    let listed = listed.as_array().or_else(|| listed["snapshots"].as_array()).unwrap().clone();
    assert_eq!(listed.len(), 2);
    drctl(&["check", "--read-data"]).ok();
    for (snapshot, ledger) in listed.iter().zip([&old, &new]) {
        let id = snapshot["id"].as_str().unwrap();
        let target = blank.path(&id[..8]);
        drctl(&["restore", id, "--privileged", "--to", target.to_str().unwrap()]).ok();
        let restored = |path: &Path| target.join(path.strip_prefix("/").unwrap());
        assert!(&fs::read(restored(&data.join("ledger"))).unwrap() == ledger, "snapshot {id} has its own ledger");
        let mut lost = compare_trees(&hostile, &restored(&hostile));
        lost.retain(|difference| !restic18().cannot_restore(difference));
        assert!(lost.is_empty(), "{lost:#?}");
        if ledger == &new {
            assert_same_tree(&here.join(hostile.strip_prefix("/").unwrap()), &restored(&hostile));
            assert_same_tree(&data, &restored(&data));
        }
    }
    let restic = |args: &[&str]| {
        let url = second.restic_url("prod");
        restic18().at(&blank, OsStr::new(&url), args).envs(&second.env()).env("RESTIC_PASSWORD", COPYS)
    };
    restic(&["check", "--read-data"]).ok();
    let (old_id, target) = (listed[0]["id"].as_str().unwrap(), blank.path("by-restic"));
    restic(&["restore", old_id, "--target", target.to_str().unwrap()]).ok();
    assert!(fs::read(target.join(data.join("ledger").strip_prefix("/").unwrap())).unwrap() == old);
}

#[test]
fn a_killed_copy_goes_on_where_it_stopped() {
    let house = House::new();
    let key = key_of_copy(&house);
    let mut numbers = Numbers::seeded(5);
    let data = house.path("work/data");
    fs::create_dir(&data).unwrap();
    for n in 0..12 {
        fs::write(data.join(format!("file {n}")), numbers.bytes(10 << 20)).unwrap();
    }
    house.drctl(["init", "--vault", "./vault"]).ok();
    house.drctl(["backup", "--vault", "./vault", "--path", "data"]).ok();
    house.drctl(["init", "--vault", "./copy", "--key-file"]).arg(&key).ok();
    let replicate = |json: &[&str]| {
        let call = house.drctl(["replicate", "--all", "--from", "./vault", "--to", "./copy", "--to-key-file"]);
        call.arg(&key).args(json)
    };
    let packs = house.path("work/copy/data");
    let mut killed = 0;
    for attempt in 0..20 {
        let before = objects(&packs).len();
        let mut child = replicate(&[]).spawn();
        while objects(&packs).len() < before + 2 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        match kill9_at_random(&mut child, Duration::from_millis(50), &mut numbers) {
            Killed::After(_) => killed += 1,
            Killed::TooLate(code) => {
                assert_eq!(code, Some(0), "attempt {attempt}");
                break;
            }
        }
        if killed == 2 {
            break;
        }
    }
    assert!(killed > 0, "the copy was over before it could be killed");
    let stored: u64 = objects(&packs).iter().filter(|(path, _)| is_pack(path)).map(|(_, size)| size).sum();
    let done = replicate(&["--json"]).ok().json();
    assert_eq!((done["copied"].as_array().unwrap().len(), &done["status"]), (1, &"complete".into()));
    let (uploaded, adopted) = (done["figures"]["bytes_uploaded"].as_u64().unwrap(), &done["figures"]["bytes_adopted"]);
    assert!(adopted.as_u64().unwrap() <= stored && stored > 0, "{done}");
    let all: u64 = objects(&packs).iter().filter(|(path, _)| is_pack(path)).map(|(_, size)| size).sum();
    assert_eq!(uploaded, all - stored, "what was there is not uploaded again");
    assert!(all < (121 << 20), "no blob is stored twice: {all} bytes");

    let restic = |args: &[&str]| restic18().on(&house, &house.path("work/copy"), args).env("RESTIC_PASSWORD", COPYS);
    restic(&["check", "--read-data"]).ok();
    let target = house.path("restored");
    let restore = house.drctl(["restore", "latest", "--vault", "./copy", "--to"]).arg(&target).arg("--key-file");
    restore.arg(&key).ok();
    assert_same_tree(&data, &target.join(data.strip_prefix("/").unwrap()));
}

#[test]
fn what_a_server_is_asked_is_counted() {
    let server = S3Server::start();
    let house = House::new();
    let data = house.path("work/data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("large"), Numbers::seeded(12).bytes(70 << 20)).unwrap();
    let url = server.url("counted");
    let drctl = |args: &[&str]| house.drctl(args.iter().copied()).env("DRCTL_VAULT", &url).envs(&server.env());
    drctl(&["init"]).ok();
    let back_up = ["backup", "--path", data.to_str().unwrap(), "--json"];
    let first = drctl(&back_up).ok().json()["summary"].clone();
    let number = |summary: &serde_json::Value, path: &str| summary.pointer(path).unwrap().as_u64().unwrap();
    let (packs, puts) = (number(&first, "/packs_uploaded"), number(&first, "/requests/puts"));
    assert!(packs >= 5, "{first}");
    // The packs, and beside them the lock, the index and the snapshot.
    assert_eq!(puts, packs + 3, "{first}");
    assert!(number(&first, "/requests/lists") > 0, "{first}");
    let requests = ["puts", "gets", "lists", "deletes"].map(|kind| number(&first, &format!("/requests/{kind}")));
    let rate = requests.iter().map(|count| u128::from(*count)).sum::<u128>() * 1_000_000_000_000;
    let rate = rate / u128::from(number(&first, "/bytes_uploaded"));
    assert_eq!(u128::from(number(&first, "/requests_per_terabyte")), rate);

    // A rate is told where something went up. What lies above the folder is shared: if another test made a folder there
    // since, the tree of the root is a new one.
    let nothing_new = (0..20).any(|_| {
        let again = drctl(&back_up).ok().json()["summary"].clone();
        let nothing_went_up = number(&again, "/bytes_uploaded") == 0;
        assert_eq!(again["requests_per_terabyte"].is_null(), nothing_went_up, "{again}");
        assert_eq!(number(&again, "/data_blobs"), 0, "{again}");
        nothing_went_up
    });
    assert!(nothing_new, "a backup of what had not changed stored something, twenty times");
    let target = house.path("restored");
    let restore = ["restore", "latest", "--json", "--to", target.to_str().unwrap()];
    let restored = drctl(&restore).ok().json()["summary"].clone();
    assert_eq!((number(&restored, "/requests/puts"), number(&restored, "/requests/deletes")), (0, 0), "{restored}");
    assert!(number(&restored, "/requests/gets") >= packs, "{restored}");
    let other = house.path("other");
    let shown = drctl(&["restore", "latest", "--to", other.to_str().unwrap()]).ok().text();
    assert!(shown.contains("requests  "), "{shown}");

    // A folder is asked nothing.
    house.drctl(["init", "--vault", "./vault"]).ok();
    let shown = house.drctl(["backup", "--vault", "./vault", "--path"]).arg(&data).ok().text();
    assert!(!shown.contains("requests"), "{shown}");
    assert_same_tree(&data, &target.join(data.strip_prefix("/").unwrap()));
}

/// Finished packs: named by 64 hex digits; others are files that were being written.
fn is_pack(path: &Path) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.len() == 64)
}

#[test]
fn damage_is_named_and_the_rest_is_copied() {
    let house = House::new();
    let key = key_of_copy(&house);
    let mut numbers = Numbers::seeded(6);
    let data = house.path("work/data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("kept"), numbers.bytes(100_000)).unwrap();
    house.drctl(["init", "--vault", "./vault"]).ok();
    house.drctl(["init", "--vault", "./copy", "--key-file"]).arg(&key).ok();
    house.drctl(["backup", "--vault", "./vault", "--path", "data"]).ok();
    let before = objects(&house.path("work/vault/data"));
    fs::write(data.join("struck"), numbers.bytes(200_000)).unwrap();
    house.drctl(["backup", "--vault", "./vault", "--path", "data"]).ok();
    let added = objects(&house.path("work/vault/data")).into_iter().filter(|object| !before.contains(object));
    let (pack, _) = added.max_by_key(|(_, size)| *size).unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[1000] ^= 1;
    fs::set_permissions(&pack, PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(&pack, bytes).unwrap();

    let replicate = |what: &str| {
        let call = house.drctl(["replicate", what, "--vault", "./vault", "--to", "./copy", "--to-key-file"]);
        call.arg(&key)
    };
    let rehearsed = replicate("--all").args(["--dry-run", "--json"]).ok().json();
    assert_eq!(rehearsed["owed"].as_array().unwrap().len(), 2);
    let partial = replicate("--all").ends(3);
    assert!(partial.text().contains("data/struck") && partial.text().contains("PARTIAL: 1 problem"), "{partial}");
    assert!(partial.text().contains("copied      1 snapshots"), "{partial}");
    let told = replicate("--all").arg("--json").ends(3).json();
    assert_eq!(told["not_copied"][0]["blobs_lost"], 1, "{told}");
    assert!(told["lag"]["waiting_seconds"].is_u64(), "{told}");

    house.drctl(["replicate", "--to", "./copy", "--vault", "./vault"]).ends(2);
    house.drctl(["replicate", "--all", "--from", "./vault", "--to", "./vault"]).ends(2);
    house.drctl(["replicate", "--all", "--from", "./vault", "--to", "./nowhere"]).ends(10);
    house.drctl(["replicate", "--all", "--from", "./vault", "--to", "./copy"]).ends(12);
}
