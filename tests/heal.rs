//! What is damaged is made whole again, and a stock restic agrees.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use drctl::vault::{BlobType, FileType};
use serde_json::json;

use crate::damage::{HARMS, Harm};
use crate::support::Numbers;
use crate::support::compare::assert_same_tree;
use crate::support::house::{Call, House};
use crate::support::kill::{Killed, kill9_at_random};
use crate::support::peers::restic18;
use crate::support::vaults::{cheap_vault, files, packs_of};

/// A house with a source, a vault that holds two backups of it, each with packs and an index file of its own, and a copy
/// of that vault under a master key of its own.
struct Scene {
    house: House,
    source: PathBuf,
    vault: PathBuf,
    copy: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let house = House::new();
        let (source, vault) = (house.path("work/source"), cheap_vault(&house.path("vault")));
        let copy = cheap_vault(&house.path("copy"));
        let mut numbers = Numbers::seeded(7);
        fs::create_dir_all(source.join("old/below")).unwrap();
        let scene = Self { house, source, vault, copy };
        for name in ["old/first", "old/below/second"] {
            fs::write(scene.source.join(name), numbers.bytes(300_000)).unwrap();
        }
        scene.back_up();
        fs::create_dir(scene.source.join("new")).unwrap();
        fs::write(scene.source.join("new/third"), numbers.bytes(200_000)).unwrap();
        scene.back_up();
        let replicate = scene.house.drctl(["replicate", "--all", "--from"]).arg(&scene.vault).arg("--to");
        replicate.arg(&scene.copy).ok();
        scene
    }

    /// The objects in a folder of the vault, oldest first, as paths in it.
    fn objects(&self, folder: &str) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> =
            files(&self.vault.join(folder)).into_keys().map(|name| Path::new(folder).join(name)).collect();
        all.sort_by_key(|object| fs::metadata(self.vault.join(object)).unwrap().modified().unwrap());
        all
    }

    /// The packs that hold blobs of this kind, oldest first.
    fn packs(&self, kind: BlobType) -> Vec<PathBuf> {
        let of: Vec<String> = packs_of(&self.vault, kind).iter().map(ToString::to_string).collect();
        let mut all = self.objects(FileType::Pack.folder());
        all.retain(|pack| of.iter().any(|id| pack.ends_with(id)));
        all
    }

    /// A vault of the same objects, to be damaged.
    fn twin(&self) -> PathBuf {
        let twin = self.house.path("twin");
        let _ = fs::remove_dir_all(&twin);
        self.house.call("cp").args(["-a", "--"]).arg(&self.vault).arg(&twin).ok();
        twin
    }

    fn heal(&self, vault: &Path) -> Call {
        self.house.drctl(["check", "--read-data", "--vault"]).arg(vault).arg("--heal-from").arg(&self.copy)
    }

    /// Each harm to `object` is healed from the copy.
    fn heals(&self, harms: &[Harm], object: &Path, other: &Path) {
        for harm in harms {
            let twin = self.twin();
            harm.apply(&twin.join(object), &twin.join(other));
            let what = format!("{harm:?} of {}", object.display());
            let done = self.heal(&twin).arg("--json").run();
            assert_eq!(done.code, Some(0), "{what}: {done}");
            let document = done.json();
            assert_eq!((&document["damage"], &document["healed"]["not_found"]), (&json!([]), &json!([])), "{what}");
            self.is_whole(&twin, &what);
        }
    }

    fn back_up(&self) {
        self.house.drctl(["backup", "--vault"]).arg(&self.vault).arg("--path").arg(&self.source).ok();
    }

    /// The vault is whole for drctl and for restic, and a restore equals the source.
    fn is_whole(&self, vault: &Path, what: &str) {
        let report = self.house.drctl(["check", "--read-data", "--json", "--vault"]).arg(vault).ok().json();
        assert_eq!((&report["damage"], &report["orphan_packs"]), (&json!([]), &json!(0)), "{what}");
        let stock = restic18().on(&self.house, vault, ["check", "--read-data", "--no-cache"]).ok();
        assert!(stock.text().contains("no errors were found"), "{what}: {stock}");
        let target = self.house.path("out");
        let _ = fs::remove_dir_all(&target);
        self.house.drctl(["restore", "latest", "--vault"]).arg(vault).arg("--to").arg(&target).ok();
        assert_same_tree(&self.source, &target.join(self.source.strip_prefix("/").unwrap()));
    }
}

#[test]
fn stock_restic_is_content_with_a_rebuilt_index() {
    let scene = Scene::new();
    let rebuild = |args: &[&str]| scene.house.drctl(["index", "rebuild", "--vault"]).arg(&scene.vault).args(args);
    let index = scene.vault.join("index");
    let files = || -> Vec<PathBuf> { files(&index).into_keys().map(|name| index.join(name)).collect() };
    let [damaged, lost] = &files()[..] else { panic!("{:?}", files()) };
    let mut bytes = fs::read(damaged).unwrap();
    bytes[50] ^= 1;
    fs::remove_file(damaged).unwrap();
    fs::write(damaged, bytes).unwrap();
    fs::remove_file(lost).unwrap();

    let would = rebuild(&["--dry-run", "--json"]).ok().json();
    assert_eq!((&would["packs_added"], &would["files_written"]), (&json!(4), &json!(0)), "{would}");
    assert_eq!(files(), std::slice::from_ref(damaged), "a rehearsal writes nothing");
    let done = rebuild(&[]).ok();
    assert!(done.text().contains("4 packs that were in no index"), "{done}");
    assert!(!damaged.exists());
    scene.is_whole(&scene.vault, "rebuilt");

    let done = rebuild(&["--read-all-packs", "--json"]).ok().json();
    assert_eq!((&done["headers_read"], &done["files_removed"]), (&json!(4), &json!(1)), "{done}");
    scene.is_whole(&scene.vault, "all packs read");

    let packs: Vec<PathBuf> = crate::support::vaults::packs(&scene.vault).into_keys().collect();
    let cut = scene.vault.join("data").join(&packs[0]);
    let bytes = fs::read(&cut).unwrap();
    fs::remove_file(&cut).unwrap();
    fs::write(&cut, &bytes[..bytes.len() - 1]).unwrap();
    let partial = rebuild(&[]).ends(3);
    assert!(partial.text().contains(packs[0].file_name().unwrap().to_str().unwrap()), "{partial}");
}

#[test]
fn damaged_data_packs_are_healed_from_a_copy() {
    let scene = Scene::new();
    let packs = scene.packs(BlobType::Data);
    scene.heals(&HARMS, &packs[0], &packs[1]);
}

#[test]
fn damaged_tree_packs_are_healed_from_a_copy() {
    let scene = Scene::new();
    let packs = scene.packs(BlobType::Tree);
    scene.heals(&HARMS, &packs[0], &packs[1]);
}

#[test]
fn damaged_index_files_are_healed() {
    let scene = Scene::new();
    let indexes = scene.objects(FileType::Index.folder());
    scene.heals(&HARMS, &indexes[0], &indexes[1]);
}

/// Its record vouches for what became of it: `latest` still finds it.
#[test]
fn damaged_snapshots_are_healed_from_a_copy_and_stay_the_latest() {
    let scene = Scene::new();
    let snapshots = scene.objects(FileType::Snapshot.folder());
    // One that is gone may have been forgotten.
    let harms: Vec<Harm> = HARMS.into_iter().filter(|harm| *harm != Harm::Remove).collect();
    scene.heals(&harms, &snapshots[1], &snapshots[0]);
    let listed = scene.house.drctl(["snapshots", "--json", "--vault"]).arg(scene.house.path("twin")).ok().json();
    let listed = listed.as_array().or_else(|| listed["snapshots"].as_array()).unwrap().clone();
    let originals: Vec<&str> = listed.iter().filter_map(|it| it["original"].as_str()).collect();
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert!(originals.iter().any(|id| snapshots[1].ends_with(id)), "{listed:?}");
}

#[test]
fn a_copy_with_a_key_of_its_own_heals_and_what_was_done_is_told() {
    let scene = Scene::new();
    let key = scene.house.path("copy.key");
    fs::write(&key, "the key of the copy").unwrap();
    scene.house.call("chmod").arg("600").arg(&key).ok();
    scene.house.drctl(["init", "--vault", "./other", "--key-file"]).arg(&key).ok();
    let replicate = scene.house.drctl(["replicate", "--all", "--to", "./other", "--from"]).arg(&scene.vault);
    replicate.arg("--to-key-file").arg(&key).ok();
    let pack = &scene.packs(BlobType::Data)[0];
    Harm::FlipMiddle.apply(&scene.vault.join(pack), Path::new(""));
    let heal = || {
        let call = scene.house.drctl(["check", "--read-data", "--heal-from", "./other", "--vault"]).arg(&scene.vault);
        call.arg("--heal-from-key-file")
    };
    heal().arg(scene.house.path("nowhere")).ends(2);
    let done = heal().arg(&key).ok();
    for told in [&pack.file_name().unwrap().to_str().unwrap()[..8], "from the other vault", "no damage found"] {
        assert!(done.text().contains(told), "{told}: {done}");
    }
    scene.is_whole(&scene.vault, "healed");
    scene.house.drctl(["check", "--heal-from", "./other", "--vault"]).arg(&scene.vault).ends(2);
    let itself = scene.house.drctl(["check", "--read-data", "--vault"]).arg(&scene.vault).arg("--heal-from");
    itself.arg(&scene.vault).ends(2);
}

#[test]
fn what_is_damaged_in_the_vault_and_its_copy_is_named_and_left_alone() {
    let scene = Scene::new();
    let pack = &scene.packs(BlobType::Data)[0];
    Harm::FlipMiddle.apply(&scene.vault.join(pack), Path::new(""));
    for theirs in files(&scene.copy.join("data")).into_keys() {
        Harm::FlipMiddle.apply(&scene.copy.join("data").join(theirs), Path::new(""));
    }
    let stored = |vault: &Path| -> Vec<(PathBuf, Vec<u8>)> {
        let folders = [FileType::Pack, FileType::Index, FileType::Snapshot].map(|kind| vault.join(kind.folder()));
        let all = folders.iter().flat_map(|folder| files(folder).into_keys().map(|name| folder.join(name)));
        all.map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
    };
    let before = (stored(&scene.vault), stored(&scene.copy));
    let left = scene.heal(&scene.vault).ends(1);
    assert!(left.text().contains(pack.file_name().unwrap().to_str().unwrap()), "{left}");
    assert!(left.text().contains("not found: data") && left.text().contains("DAMAGED"), "{left}");
    assert!((stored(&scene.vault), stored(&scene.copy)) == before, "nothing was overwritten");
}

#[test]
fn unchanged_files_heal_what_was_made_of_them() {
    let scene = Scene::new();
    let packs = scene.packs(BlobType::Data);
    for harm in [Harm::FlipMiddle, Harm::Remove] {
        let twin = scene.twin();
        harm.apply(&twin.join(&packs[0]), Path::new(""));
        let call = scene.house.drctl(["check", "--read-data", "--heal-from-source", "--json", "--vault"]).arg(&twin);
        let done = call.ok().json();
        assert!(done["healed"]["blobs_from_source"].as_u64().unwrap() > 0, "{done}");
        scene.is_whole(&twin, "healed from files");
    }
}

#[test]
fn a_heal_that_is_killed_loses_nothing_and_the_next_ends_whole() {
    let scene = Scene::new();
    let mut numbers = Numbers::seeded(8);
    for n in 0..8 {
        fs::write(scene.source.join(format!("large {n}")), numbers.bytes(6 << 20)).unwrap();
    }
    scene.back_up();
    let replicate = scene.house.drctl(["replicate", "--all", "--from"]).arg(&scene.vault).arg("--to");
    replicate.arg(&scene.copy).ok();
    for pack in scene.packs(BlobType::Data) {
        Harm::FlipMiddle.apply(&scene.vault.join(pack), Path::new(""));
    }
    let objects = || files(&scene.vault.join(FileType::Pack.folder())).len();
    let mut killed = 0;
    for _ in 0..20 {
        let before = objects();
        let mut child = scene.heal(&scene.vault).spawn();
        // Until it writes.
        while objects() == before && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        match kill9_at_random(&mut child, Duration::from_millis(60), &mut numbers) {
            Killed::After(_) => killed += 1,
            Killed::TooLate(code) => {
                assert_eq!(code, Some(0));
                break;
            }
        }
        if killed == 3 {
            break;
        }
    }
    assert!(killed > 0, "it was over before it could be killed");
    scene.heal(&scene.vault).ok();
    scene.is_whole(&scene.vault, "killed");
}
