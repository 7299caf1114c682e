//! What each stage of a backup and of a restore can do alone, on one thread: the limits that the pipelines are held
//! against in docs/performance.md.
//!
//!     cargo bench --bench stages [-- FOLDER]
//!
//! Text is text-like (it compresses about five to one), noise does not compress. Bytes are those that go in. With a folder,
//! the stages are gone through with its files instead (see `folder`).

#![allow(clippy::print_stdout, clippy::disallowed_methods, missing_docs, reason = "it measures, and prints")]

mod folder;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ctr::cipher::{KeyIvInit, StreamCipher};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use drctl::backup::chunk::Cutter;
use drctl::clock::{Random, Seeded};
use drctl::vault::crypto::MasterKey;
use drctl::vault::pack::{Opener, PackBuilder, Sealer};
use drctl::vault::tree::{Node, NodeKind, TreeBuilder, TreeReader};
use drctl::vault::{BlobType, Id};

/// A chunk of a large file, and a small file.
const SIZES: [usize; 2] = [1 << 20, 16 << 10];
const LEVEL: i32 = 3;

fn main() {
    match std::env::args_os().skip(1).map(PathBuf::from).find(|arg| arg.is_dir()) {
        Some(path) => {
            let key = key();
            folder::measure(&path, &key, &mut sealer(&key));
        }
        None => divan::main(),
    }
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Seeded::new(7).fill(&mut bytes);
    bytes
}

/// Words drawn at random, the frequent ones often.
fn text(len: usize) -> Vec<u8> {
    const WORDS: [&str; 24] = [
        "the ",
        "of ",
        "backup ",
        "restore ",
        "region ",
        "vault ",
        "0.731 ",
        "error: ",
        "retention ",
        "objective ",
        "\n    ",
        "snapshot ",
        "replica ",
        "{\n",
        "}\n",
        "let ",
        "= ",
        "self.",
        "value",
        "\"id\": ",
        "2026-",
        "T01:30:00Z ",
        "return ",
        "; ",
    ];
    let mut out = Vec::with_capacity(len + 16);
    for pair in noise(len).chunks_exact(2) {
        let drawn = usize::from(pair[0]) * usize::from(pair[1]) * WORDS.len() / (256 * 256);
        out.extend_from_slice(WORDS[drawn].as_bytes());
        if out.len() >= len {
            break;
        }
    }
    out.truncate(len);
    out
}

fn key() -> Arc<MasterKey> {
    Arc::new(MasterKey::generate(&Seeded::new(1)).expect("a key that is not zero"))
}

fn sealer(key: &Arc<MasterKey>) -> Sealer {
    Sealer::new(key.clone(), Arc::new(Seeded::new(2)), LEVEL)
}

/// A file from the page cache, into a buffer that is reused.
#[divan::bench(args = SIZES)]
fn read(bencher: Bencher<'_, '_>, len: usize) {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&noise(len)).expect("room for it");
    let mut buffer = vec![0; len];
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        file.rewind().expect("a file can be rewound");
        file.read_exact(&mut buffer).expect("as long as it was written");
    });
}

/// Finding chunk boundaries.
#[divan::bench]
fn chunk(bencher: Bencher<'_, '_>) {
    let bytes = noise(32 << 20);
    bencher.counter(BytesCount::new(bytes.len())).bench_local(|| {
        let (mut cutter, mut rest) = (Cutter::gear(&[5; 32]), bytes.as_slice());
        while let Some(len) = cutter.cut(rest, true).filter(|len| *len < rest.len()) {
            rest = &rest[len..];
        }
        black_box(rest.len())
    });
}

/// Naming: SHA-256.
#[divan::bench(args = SIZES)]
fn sha256(bencher: Bencher<'_, '_>, len: usize) {
    let bytes = noise(len);
    bencher.counter(BytesCount::new(len)).bench_local(|| Id::of(black_box(&bytes)));
}

/// AES-256-CTR and Poly1305 together, where the plaintext stands.
#[divan::bench(args = SIZES)]
fn seal(bencher: Bencher<'_, '_>, len: usize) {
    let key = key();
    let mut bytes = vec![9; 16 + len];
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        bytes.truncate(16 + len);
        key.seal_from(&mut bytes, 0)
    });
}

/// zstd alone, with a context that is used again.
#[divan::bench(args = SIZES)]
fn compress(bencher: Bencher<'_, '_>, len: usize) {
    let bytes = text(len);
    let mut context = zstd::bulk::Compressor::new(LEVEL).expect("a level that zstd has");
    bencher.counter(BytesCount::new(len)).bench_local(|| context.compress(black_box(&bytes)).map(|out| out.len()));
}

/// The way back.
#[divan::bench(args = SIZES)]
fn decompress(bencher: Bencher<'_, '_>, len: usize) {
    let bytes = zstd::bulk::compress(&text(len), LEVEL).expect("text can be compressed");
    let mut context = zstd::bulk::Decompressor::new().expect("a context");
    bencher
        .counter(BytesCount::new(len))
        .bench_local(|| context.decompress(black_box(&bytes), len).map(|out| out.len()));
}

/// AES-256-CTR alone.
#[divan::bench(args = SIZES)]
fn aes(bencher: Bencher<'_, '_>, len: usize) {
    let mut bytes = noise(len);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        ctr::Ctr128BE::<aes::Aes256>::new(&[7; 32].into(), &[9; 16].into()).apply_keystream(&mut bytes);
    });
}

/// Poly1305 alone: what tells whether something that is sealed has changed.
#[divan::bench(args = SIZES)]
fn poly1305(bencher: Bencher<'_, '_>, len: usize) {
    let key = key();
    let mut sealed = Vec::new();
    key.seal_into([9; 16], &noise(len), &mut sealed).expect("a key and an IV that are not zero");
    bencher.counter(BytesCount::new(len)).bench_local(|| key.prove(black_box(&sealed)));
}

/// Compress where that helps, seal, hash for the pack's name: all that is done with a blob but naming it.
#[divan::bench(args = [("text", 1 << 20), ("text", 16 << 10), ("noise", 1 << 20), ("noise", 16 << 10)])]
fn pack(bencher: Bencher<'_, '_>, (kind, len): (&str, usize)) {
    let (key, bytes) = (key(), if kind == "text" { text(len) } else { noise(len) });
    let (id, mut sealer) = (Id::of(&bytes), sealer(&key));
    let mut pack = PackBuilder::new(BlobType::Data);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        if pack.is_full(16 << 20) {
            pack = PackBuilder::new(BlobType::Data);
        }
        pack.add(&mut sealer, id, &bytes)
    });
}

/// Authenticate, decrypt, decompress, compare with the name.
#[divan::bench(args = [("text", 1 << 20), ("text", 16 << 10), ("noise", 1 << 20), ("noise", 16 << 10)])]
fn open(bencher: Bencher<'_, '_>, (kind, len): (&str, usize)) {
    let (key, bytes) = (key(), if kind == "text" { text(len) } else { noise(len) });
    let (id, mut sealer) = (Id::of(&bytes), sealer(&key));
    let mut pack = PackBuilder::new(BlobType::Data);
    let added = pack.add(&mut sealer, id, &bytes).expect("a blob fits into an empty pack");
    let finished = pack.finish(&sealer).expect("a pack with a blob in it");
    let sealed = &finished.bytes().expect("it was filled in memory")[..added.stored as usize];
    let uncompressed = NonZeroU32::new(len as u32).filter(|_| added.compressed);
    let mut opener = Opener::new(key);
    bencher.counter(BytesCount::new(len)).bench_local(|| opener.open(&id, sealed, uncompressed).map(<[u8]>::len));
}

fn nodes(count: u32) -> Vec<Node> {
    let node = |n: u32| Node {
        inode: u64::from(n) + 1_000_000,
        size: 16_384,
        links: 1,
        mode: 0o644,
        user: "root".into(),
        group: "root".into(),
        content: [Id::of(&n.to_le_bytes())].into_iter().collect(),
        ..Node::new(format!("file-{n:06}"), NodeKind::File)
    };
    (0..count).map(node).collect()
}

/// A folder of a thousand files, as the JSON of its tree.
#[divan::bench]
fn build_tree(bencher: Bencher<'_, '_>) {
    let (nodes, temp): (_, Arc<Path>) = (nodes(1000), std::env::temp_dir().into());
    bencher.counter(ItemsCount::new(nodes.len())).bench_local(|| {
        let mut builder = TreeBuilder::new(temp.clone());
        nodes.iter().for_each(|node| builder.push(node).expect("names in order"));
        builder.finish().map(|tree| tree.id)
    });
}

/// The same, read back.
#[divan::bench]
fn read_tree(bencher: Bencher<'_, '_>) {
    let nodes = nodes(1000);
    let mut builder = TreeBuilder::new(std::env::temp_dir().into());
    nodes.iter().for_each(|node| builder.push(node).expect("names in order"));
    let drctl::vault::tree::TreeBody::Memory(json) = builder.finish().expect("a small tree").body else {
        panic!("a thousand files stay in memory");
    };
    bencher
        .counter(ItemsCount::new(nodes.len()))
        .bench_local(|| TreeReader::new(json.as_slice()).filter(Result::is_ok).count());
}

/// A pack's worth of bytes to a file of the temporary folder, synced: what a folder as a vault can take.
#[divan::bench]
fn write_synced(bencher: Bencher<'_, '_>) {
    let (bytes, folder) = (noise(16 << 20), tempfile::tempdir().expect("a temporary folder"));
    bencher.counter(BytesCount::new(bytes.len())).bench_local(|| {
        let mut file = File::create(folder.path().join("pack")).expect("a folder that takes files");
        file.write_all(&bytes).and_then(|()| file.sync_all())
    });
}
