//! What is damaged is made whole again, and a stock restic agrees.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::Numbers;
use crate::support::compare::assert_same_tree;
use crate::support::house::House;
use crate::support::peers::restic18;
use crate::support::vaults::{cheap_vault, files};

/// A house with a source, and a vault that holds two backups of it, each with packs and an index file of its own.
struct Scene {
    house: House,
    source: PathBuf,
    vault: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let house = House::new();
        let (source, vault) = (house.path("work/source"), cheap_vault(&house.path("vault")));
        let mut numbers = Numbers::seeded(7);
        fs::create_dir_all(source.join("old/below")).unwrap();
        let scene = Self { house, source, vault };
        for name in ["old/first", "old/below/second"] {
            fs::write(scene.source.join(name), numbers.bytes(300_000)).unwrap();
        }
        scene.back_up();
        fs::create_dir(scene.source.join("new")).unwrap();
        fs::write(scene.source.join("new/third"), numbers.bytes(200_000)).unwrap();
        scene.back_up();
        scene
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
