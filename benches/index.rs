//! How long an index takes to open, and what it then takes of memory, when the cache has it.
//!
//!     cargo bench --bench index [-- BLOBS]
//!
//! Makes the cache of a vault with that many blobs (50 million by default: 2.4 GB in the temporary folder), in packs of
//! 300 and index files of 50,000, opens it as a run does, and looks blobs up.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs,
    reason = "it measures, and prints"
)]

use std::time::Instant;

use drctl::clock::{Random, Seeded};
use drctl::vault::cache::Cache;
use drctl::vault::index::{PackContents, Segment};
use drctl::vault::{BlobKey, Id, Index, Located};

const IN_PACK: u64 = 300;
const IN_INDEX_FILE: u64 = 50_000;
/// Index files that come as one segment, so that making all of it takes no more memory than a few of them.
const TOGETHER: u64 = 20;

fn id(what: &str, number: u64) -> Id {
    Id::of(format!("{what} {number}").as_bytes())
}

fn pack(number: u64) -> PackContents {
    let pack = id("pack", number);
    let place = |n: u64| {
        let at = Located { pack, offset: (n * 40_000) as u32, length: 40_000, uncompressed: None };
        (BlobKey::data(id("blob", number * IN_PACK + n)), at)
    };
    PackContents { id: pack, blobs: (0..IN_PACK).map(place).collect() }
}

fn anonymous_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn main() {
    let blobs: u64 = std::env::args().find_map(|arg| arg.replace('_', "").parse().ok()).unwrap_or(50_000_000);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cache = Cache::open(folder.path(), &"0".repeat(64)).expect("a folder for the cache");
    // Whole packs only.
    let in_file = IN_INDEX_FILE / IN_PACK;
    let files = blobs.div_ceil(in_file * IN_PACK);
    let blobs = files * in_file * IN_PACK;
    let mut segments = Vec::new();
    for first in (0..files).step_by(TOGETHER as usize) {
        let files: Vec<u64> = (first..files.min(first + TOGETHER)).collect();
        let packs: Vec<_> = files.iter().flat_map(|file| file * in_file..(file + 1) * in_file).map(pack).collect();
        let covers: Vec<Id> = files.iter().map(|file| id("index file", *file)).collect();
        segments.push(cache.store_segment(Segment::build(&covers, &packs).expect("sound packs")));
        eprint!("\r{} of {blobs} blobs", (first + TOGETHER) * in_file * IN_PACK);
    }
    let begun = Instant::now();
    drop(cache.compact(segments));
    eprintln!();
    println!("merged in {:.1} s", begun.elapsed().as_secs_f64());

    let ids: Vec<Id> = (0..files).map(|file| id("index file", file)).collect();
    let random = Seeded::new(1);
    let number = |_| {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    };
    let drawn: Vec<u64> = (0..1_000_000).map(number).collect();
    for _ in 0..3 {
        let begun = Instant::now();
        let (segments, missing) = cache.index_segments(&ids);
        let count = segments.len();
        let index = Index::new(segments);
        let (took, memory) = (begun.elapsed().as_secs_f64(), anonymous_memory());
        assert!(missing.is_empty(), "the cache has all of it");
        println!("{} places in {count} segments opened in {took:.2} s; anonymous memory {memory} MiB", index.len());
        for what in ["blob", "absent"] {
            let keys: Vec<BlobKey> = drawn.iter().map(|number| BlobKey::data(id(what, number % blobs))).collect();
            let begun = Instant::now();
            let found = keys.iter().filter(|key| index.contains(**key)).count();
            let each = begun.elapsed().as_nanos() as usize / keys.len();
            println!("  {found} of {} keys ({what}) found, {each} ns each", keys.len());
        }
    }
}
