//! Sparse files of a terabyte: neither time nor memory nor room for their zeros.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::support::Numbers;
use crate::support::house::{Call, House};
use crate::support::memory::watch;
use crate::support::peers::restic18;
use crate::support::vaults::cheap_vault;

/// What no command may take, in MiB.
const BOUND: u64 = 256;

/// A file of this size, of which only the islands are kept: first bytes and bytes.
fn sparse(path: &Path, size: u64, islands: &[(u64, Vec<u8>)]) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for (at, bytes) in islands {
        file.write_all_at(bytes, *at).unwrap();
    }
}

fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn sparse_files_of_a_terabyte_take_neither_time_nor_memory_nor_room() {
    // Reading and writing a list of two million ids takes most of the time: one such file will do, others make the folder.
    let sizes: [(&str, u64); 3] = [("one", 1 << 40), ("three", 100 << 30), ("two", 100 << 30)];
    let house = House::new();
    let (source, vault) = (house.path("work/source"), cheap_vault(&house.path("vault")));
    let copy = cheap_vault(&house.path("copy"));
    fs::create_dir_all(&source).unwrap();
    let mut numbers = Numbers::seeded(3);
    let mut islands =
        || -> Vec<(u64, Vec<u8>)> { [5, 30 << 30, (70 << 30) + 77].map(|at| (at, numbers.bytes(2 << 20))).to_vec() };
    let files = sizes.map(|(name, size)| (name, size, islands()));
    for (name, size, islands) in &files {
        sparse(&source.join(name), *size, islands);
    }
    let ids = || -> Vec<String> {
        let listed = house.drctl(["snapshots", "--json", "--vault"]).arg(&vault).ok().json();
        let all = listed["snapshots"].as_array().unwrap();
        all.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
    };
    let watched = |call: Call, args: &[&str]| {
        let seen = watch(call.args(args));
        assert_eq!(seen.code, Some(0), "{args:?}");
        assert!(seen.peak <= BOUND, "{args:?}: {} MiB", seen.peak);
    };
    let run = |args: &[&str]| watched(house.drctl(["--quiet", "--vault"]).arg(&vault), args);
    let from = source.to_str().unwrap();
    run(&["backup", "--path", from]);
    run(&["backup", "--path", from]);
    File::options().write(true).open(source.join("two")).unwrap().write_all_at(b"changed", 1 << 35).unwrap();
    run(&["backup", "--path", from]);
    run(&["ls", "latest"]);
    run(&["diff", &ids()[0], "latest"]);
    run(&["check", "--read-data"]);
    run(&["restore", &format!("latest:{from}"), "--to", "out"]);
    run(&["restore", &format!("latest:{from}"), "--to", "out", "--overwrite"]);
    let key = house.key_file();
    let to = ["--to", copy.to_str().unwrap(), "--to-key-file", key.to_str().unwrap()];
    watched(house.drctl(["--quiet", "replicate", "--all", "--from"]).arg(&vault), &to);
    run(&["forget", "--keep-last", "1"]);
    run(&["prune", "--max-unused", "0%"]);

    for (name, size, islands) in &files {
        let (before, after) = (source.join(name), house.path("work/out").join(name));
        assert_eq!(fs::metadata(&after).unwrap().len(), *size);
        assert!(allocated(&after) <= allocated(&before) + (256 << 10), "{name} takes {}", allocated(&after));
        let file = File::open(&after).unwrap();
        for (at, bytes) in islands {
            let mut read = vec![1; bytes.len() + (1 << 20)];
            file.read_exact_at(&mut read, *at).unwrap();
            assert!(read[..bytes.len()] == bytes[..] && read[bytes.len()..].iter().all(|byte| *byte == 0), "{name}");
        }
    }
}

#[test]
fn a_file_whose_list_nobody_could_read_is_left_out_and_named() {
    // In memory: other file systems have no files of this size.
    let house = House::roomy(1 << 20);
    let (source, vault) = (house.path("work/source"), cheap_vault(&house.path("vault")));
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("after"), "after").unwrap();
    fs::write(source.join("before"), "before").unwrap();
    let large = source.join("away");
    if File::create(&large).unwrap().set_len(40 << 40).is_err() {
        return; // nor has the one that is left
    }
    let drctl = |args: &[&str]| house.drctl(["--json", "--vault"]).arg(&vault).args(args);
    let done = drctl(&["backup", "--path", source.to_str().unwrap()]).ends(3).json();
    assert_eq!(done["problems"][0]["what"], large.to_str().unwrap(), "{done}");
    assert!(done["problems"][0]["why"].as_str().unwrap().starts_with("left out: "), "{done}");
    let restored = drctl(&["restore", &format!("latest:{}", source.display()), "--to", "out"]).ok().json();
    assert_eq!((&restored["problems_of_backup"], &restored["summary"]["files"]), (&1.into(), &2.into()), "{restored}");
    for name in ["after", "before"] {
        assert_eq!(fs::read_to_string(house.path("work/out").join(name)).unwrap(), name);
    }
}

/// Stock restic reads every zero: a smaller one.
#[test]
fn restic_restores_a_sparse_file_and_finds_nothing_new_in_it() {
    let house = House::new();
    let vault: PathBuf = house.path("vault");
    let source = house.path("work/source");
    fs::create_dir_all(&source).unwrap();
    let island = Numbers::seeded(4).bytes(3 << 20);
    sparse(&source.join("disk"), 300 << 20, &[(100 << 20, island.clone()), ((200 << 20) + 5, island)]);
    let restic = restic18();
    house.drctl(["init", "--chunker", "rabin", "--vault"]).arg(&vault).ok();
    house.drctl(["--vault"]).arg(&vault).args(["backup", "--path"]).arg(&source).ok();
    restic.on(&house, &vault, ["check", "--read-data"]).ok();
    let again = restic.on(&house, &vault, ["backup", "--force", "--json"]).arg(&source).ok().text();
    assert!(again.contains("\"data_blobs\":0,"), "restic cuts it elsewhere: {again}");
    let out = house.path("work/out");
    restic.on(&house, &vault, ["restore", "latest", "--sparse", "--target"]).arg(&out).ok();
    let restored = out.join(source.strip_prefix("/").unwrap()).join("disk");
    assert!(fs::read(source.join("disk")).unwrap() == fs::read(restored).unwrap());
}
