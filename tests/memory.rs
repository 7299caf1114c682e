//! Memory stays within its bound, however large a vault and however full a folder is.

use std::fs;
use std::path::{Path, PathBuf};

use drctl::vault::pack::PackBuilder;
use drctl::vault::{BlobType, Id};

use crate::support::Numbers;
use crate::support::house::House;
use crate::support::memory::watch;
use crate::support::vaults::{cheap_vault, open, wait};

/// What no command may take, in MiB.
const BOUND: u64 = 256;

/// A folder of many entries, and a vault that holds many blobs beside.
struct Scene {
    house: House,
    source: PathBuf,
    vault: PathBuf,
}

impl Scene {
    fn new(entries: usize, blobs: usize) -> Self {
        let house = House::roomy(6 << 30);
        let (source, vault) = (house.path("work/source"), cheap_vault(&house.path("vault")));
        fs::create_dir_all(source.join("full")).unwrap();
        for n in 0..entries {
            fs::write(source.join(format!("full/an entry of a full folder, {n:07}")), format!("content {n}")).unwrap();
        }
        fill(&vault, blobs);
        Self { house, source, vault }
    }

    /// The most memory that a command took.
    fn peak(&self, args: &[&str]) -> u64 {
        let seen = watch(self.house.drctl(["--quiet", "--vault"]).arg(&self.vault).args(args));
        assert_eq!(seen.code, Some(0), "{args:?}");
        seen.peak
    }

    /// The same for all commands that go through everything, by name.
    fn peaks(&self) -> Vec<(&'static str, u64)> {
        let source = self.source.to_str().unwrap();
        let backup = ["backup", "--path", source];
        let mut peaks = vec![("first backup", self.peak(&backup))];
        peaks.push(("unchanged backup", self.peak(&backup)));
        fs::write(self.source.join("full/an entry of a full folder, 0000001"), "changed").unwrap();
        peaks.push(("changed backup", self.peak(&backup)));
        peaks.push(("ls", self.peak(&["ls", "latest"])));
        peaks.push(("check", self.peak(&["check"])));
        peaks.push(("check of data", self.peak(&["check", "--read-data"])));
        peaks.push(("restore", self.peak(&["restore", "latest", "--to", "out"])));
        self.peak(&["forget", "--keep-last", "1"]);
        peaks.push(("prune", self.peak(&["prune", "--max-unused", "0%"])));
        peaks
    }
}

/// Packs of tiny blobs, with index files as large as any tool makes them: what a vault of so many pieces looks like.
fn fill(vault: &Path, blobs: usize) {
    const IN_A_PACK: usize = 50_000;
    wait(async {
        let vault = open(vault).await;
        let mut sealer = vault.sealer(1);
        for first in (0..blobs).step_by(IN_A_PACK) {
            let mut pack = PackBuilder::new(BlobType::Data);
            for n in first..blobs.min(first + IN_A_PACK) {
                let plain = n.to_le_bytes();
                pack.add(&mut sealer, Id::of(&plain), &plain).unwrap();
            }
            let pack = pack.finish(&sealer).unwrap();
            let pack = vault.put_pack(pack).await.unwrap();
            vault.save_index(&[pack]).await.unwrap();
        }
    });
}

/// A million, of whichever there are two measurements: what each further entry takes, the second shows.
fn at_a_million(small: (usize, u64), large: (usize, u64)) -> u64 {
    let more = large.1.saturating_sub(small.1) * (1_000_000 - large.0) as u64;
    large.1 + more / (large.0 - small.0) as u64
}

#[test]
fn memory_is_bounded_whatever_the_size_of_vault_and_folder() {
    // The larger one is so large that little is left to be inferred: what two runs happen to have in their queues differs by
    // some tens of MiB.
    let (fewer, more) = (60_000, 480_000);
    let small = Scene::new(fewer, 150_000).peaks();
    let large = Scene::new(more, 1_200_000).peaks();
    for ((command, small), (_, large)) in small.into_iter().zip(large) {
        let expected = at_a_million((fewer, small), (more, large));
        assert!(
            large <= BOUND && expected <= BOUND,
            "{command}: {small} MiB for {fewer} entries, {large} MiB for {more}, which makes {expected} for a million"
        );
    }
}

#[test]
fn memory_is_bounded_whatever_the_size_of_files() {
    let house = House::new();
    let (source, vault) = (house.path("work/source"), cheap_vault(&house.path("vault")));
    fs::create_dir_all(&source).unwrap();
    let mut numbers = Numbers::seeded(7);
    for name in ["one", "two", "three"] {
        fs::write(source.join(name), numbers.bytes(200 << 20)).unwrap();
    }
    let scene = Scene { house, source, vault };
    let source = scene.source.to_str().unwrap();
    let commands: [&[&str]; 4] = [
        // Slower than it is read, so that all that may wait does.
        &["backup", "--limit-upload", "100MiB", "--path", source],
        &["check", "--read-data"],
        &["restore", "latest", "--to", "out"],
        &["restore", "latest", "--to", "out", "--overwrite"],
    ];
    for command in commands {
        let peak = scene.peak(command);
        assert!(peak <= BOUND, "{command:?}: {peak} MiB");
    }
}
