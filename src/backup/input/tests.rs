//! Whole backups of sparse files, and of what is in them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use proptest::prelude::*;

use crate::backup::chunk::{MIN, chunks};
use crate::backup::{Outcome, Threads, cutter};
use crate::look::Walk;
use crate::monitor::Silent;
use crate::restore::tests::{back_up, noise};
use crate::vault::tests::{cheap, env, memory, vault};
use crate::vault::{Id, InitOptions, NewChunker, Vault, key::Secret};

/// Data as it is written to the file system, zeros as a hole.
#[derive(Debug, Clone)]
enum Stretch {
    Hole(usize),
    Noise(usize),
    /// Zeros that were written.
    Zeros(usize),
    Byte(usize),
}

fn stretches() -> impl Strategy<Value = Vec<Stretch>> {
    let chunks = (1usize..14).prop_map(|n| n * MIN / 2);
    let pages = (1usize..600).prop_map(|n| n * 4096);
    let any = 1usize..2_000_000;
    let stretch = prop_oneof![
        3 => prop_oneof![chunks, pages.clone(), any.clone()].prop_map(Stretch::Hole),
        2 => prop_oneof![pages, any.clone()].prop_map(Stretch::Noise),
        1 => any.clone().prop_map(Stretch::Zeros),
        1 => any.prop_map(Stretch::Byte),
    ];
    prop::collection::vec(stretch, 1..9)
}

/// Writes the file and returns what is in it.
fn write(path: &Path, stretches: &[Stretch]) -> Vec<u8> {
    let file = File::create(path).unwrap();
    let mut content = Vec::new();
    for (stretch, seed) in stretches.iter().zip(1..) {
        let at = content.len();
        match *stretch {
            Stretch::Hole(len) => content.resize(at + len, 0),
            Stretch::Noise(len) => content.extend(noise(len, seed)),
            Stretch::Zeros(len) => content.resize(at + len, 0),
            Stretch::Byte(len) => content.resize(at + len, 1),
        }
        if !matches!(stretch, Stretch::Hole(_)) {
            file.write_all_at(&content[at..], at as u64).unwrap();
        }
    }
    file.set_len(content.len() as u64).unwrap();
    content
}

async fn rabin() -> Vault {
    let options = InitOptions { chunker: NewChunker::Rabin, ..cheap() };
    Vault::init(memory(), &Secret::new("password"), &options, &env()).await.unwrap()
}

/// The ids of the one file that a backup holds.
async fn stored(vault: &Vault, done: &Outcome) -> Vec<Id> {
    let index = vault.load_index(&Silent).await.unwrap();
    let mut walk = Walk::new(vault, &index, done.written.tree, b"");
    let mut found = Vec::new();
    while let Some(entry) = walk.next().await {
        found.extend(entry.unwrap().content.iter());
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 50, ..ProptestConfig::with_cases(8) })]

    #[test]
    fn a_sparse_file_is_cut_as_its_bytes_are(stretches in stretches(), last in 1usize..5 << 20) {
        let source = tempfile::tempdir().unwrap();
        // Long enough to be read in steps, and sparse for certain.
        let all = [&[Stretch::Hole(12 << 20)], &stretches[..], &[Stretch::Noise(last), Stretch::Hole(last)]].concat();
        let content = write(&source.path().join("file"), &all);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            for (vault, threads) in [(vault().await, Threads::per_processor()), (rabin().await, Threads::Inline)] {
                let plain = chunks(&content[..], cutter(&vault).unwrap()).map(|chunk| Id::of(&chunk.unwrap()));
                let plain: Vec<Id> = plain.collect();
                let done = back_up(&vault, source.path(), threads).await;
                assert_eq!((done.problems.len(), done.summary.bytes_total), (0, content.len() as u64));
                assert!(stored(&vault, &done).await == plain, "other chunks");
                assert!(done.summary.bytes_read <= content.len() as u64 - (11 << 20), "{:?}", done.summary);
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn zeros_are_stored_once_and_holes_not_read() {
    let source = tempfile::tempdir().unwrap();
    for (name, size) in [("a", 40 << 30), ("b", 3 << 30), ("c", (50 << 20) + 7)] {
        File::create(source.path().join(name)).unwrap().set_len(size).unwrap();
    }
    fs::write(source.path().join("written"), vec![0; 20 << 20]).unwrap();
    let vault = vault().await;
    let done = back_up(&vault, source.path(), Threads::per_processor()).await;
    let summary = done.summary;
    assert_eq!(summary.bytes_total, (43 << 30) + (70 << 20) + 7);
    // The end of one, and the file that is whole.
    assert_eq!(summary.bytes_read, (20 << 20) + 7);
    assert_eq!((summary.data_blobs, summary.bytes_added > 0), (2, true));
}
