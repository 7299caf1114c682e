//! The stages with a real folder's files, and what a pipeline of nothing but them would take.
//!
//! All files are in memory but where they are read or written. Each stage is gone through once, alone, on one thread.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::num::NonZeroU32;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use drctl::backup::chunk::Cutter;
use drctl::vault::BlobType;
use drctl::vault::Id;
use drctl::vault::crypto::MasterKey;
use drctl::vault::pack::{FinishedPack, PackBuilder, Sealer};

const PACK: u32 = 16 << 20;

/// A stage: what it is, the bytes that went through, how long it took.
struct Stage(&'static str, u64, Duration);

/// Prints what each stage takes of this folder.
pub(crate) fn measure(folder: &Path, key: &Arc<MasterKey>, sealer: &mut Sealer) {
    let begun = Instant::now();
    let found = walk(folder);
    let walked = Stage("list and stat", 0, begun.elapsed());
    let begun = Instant::now();
    let contents: Vec<Vec<u8>> = found.iter().map(|path| read(path)).collect();
    let size: u64 = contents.iter().map(|bytes| bytes.len() as u64).sum();
    let read = Stage("read", size, begun.elapsed());

    let begun = Instant::now();
    let chunks: Vec<&[u8]> = contents.iter().flat_map(|bytes| cut(bytes)).collect();
    let cut = Stage("cut", size, begun.elapsed());
    let begun = Instant::now();
    let ids: Vec<Id> = chunks.iter().map(|chunk| Id::of(chunk)).collect();
    let named = Stage("SHA-256 of chunks", size, begun.elapsed());

    let begun = Instant::now();
    let mut seen = HashSet::new();
    let new: Vec<(Id, &[u8])> =
        ids.iter().copied().zip(chunks.iter().copied()).filter(|(id, _)| seen.insert(*id)).collect();
    let looked_up = Stage("look for doubles", 0, begun.elapsed());
    let unique: u64 = new.iter().map(|(_, chunk)| chunk.len() as u64).sum();
    let begun = Instant::now();
    let packs = pack(sealer, &new);
    let packing = begun.elapsed();
    let stored: u64 = packs.iter().map(|pack| bytes(pack).len() as u64).sum();
    let begun = Instant::now();
    packs.iter().for_each(|pack| _ = std::hint::black_box(Id::of(bytes(pack))));
    let hashed = Stage("SHA-256 of packs", stored, begun.elapsed());
    let sealed = Stage("AES, Poly1305", stored, seal(key, &packs));
    let compressed = Stage("zstd", unique, packing.saturating_sub(hashed.2 + sealed.2));
    let written = Stage("write packs", stored, write_packs(&packs));
    show("backup", &[walked, read, cut, named, looked_up, compressed, sealed, hashed, written]);

    let [opened, expanded] = open(key, &packs);
    let opened = Stage("AES, Poly1305", stored, opened);
    let expanded = Stage("zstd", unique, expanded);
    let begun = Instant::now();
    new.iter().for_each(|(_, chunk)| _ = std::hint::black_box(Id::of(chunk)));
    let verified = Stage("SHA-256 of chunks", unique, begun.elapsed());
    let made = Stage("create and write", size, restore(&found, &contents));
    show("restore", &[opened, expanded, verified, made]);
}

fn show(what: &str, stages: &[Stage]) {
    println!("{what}\n  {:18} {:>8} {:>9}", "stage", "seconds", "MB/s");
    for Stage(name, bytes, took) in stages {
        let rate = if *bytes > 0 { format!("{:.0}", *bytes as f64 / 1e6 / took.as_secs_f64()) } else { String::new() };
        println!("  {name:18} {:8.2} {rate:>9}", took.as_secs_f64());
    }
    let sum: Duration = stages.iter().map(|stage| stage.2).sum();
    println!("  {:18} {:8.2}", "all of them", sum.as_secs_f64());
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder that can be listed") {
        let entry = entry.expect("a folder that can be listed");
        let meta = entry.metadata().expect("an entry that can be looked at");
        if meta.is_dir() {
            found.append(&mut walk(&entry.path()));
        } else if meta.is_file() {
            found.push(entry.path());
        }
    }
    found
}

fn read(path: &Path) -> Vec<u8> {
    let mut file = File::open(path).expect("a file that can be read");
    let mut bytes = Vec::with_capacity(file.metadata().map_or(0, |meta| meta.size() as usize + 1));
    file.read_to_end(&mut bytes).expect("a file that can be read");
    bytes
}

fn cut(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut cutter, mut rest, mut chunks) = (Cutter::gear(&[5; 32]), bytes, Vec::new());
    while let Some(len) = cutter.cut(rest, true) {
        let (chunk, after) = rest.split_at(len);
        chunks.push(chunk);
        rest = after;
    }
    chunks
}

fn pack(sealer: &mut Sealer, chunks: &[(Id, &[u8])]) -> Vec<FinishedPack> {
    let (mut packs, mut open) = (Vec::new(), PackBuilder::to_fill(BlobType::Data, PACK));
    for (id, chunk) in chunks {
        open.add(sealer, *id, chunk).expect("a chunk fits into a pack");
        if open.is_full(PACK) {
            let full = std::mem::replace(&mut open, PackBuilder::to_fill(BlobType::Data, PACK));
            packs.push(full.finish(sealer).expect("a pack with blobs in it"));
        }
    }
    if !open.is_empty() {
        packs.push(open.finish(sealer).expect("a pack with blobs in it"));
    }
    packs
}

fn bytes(pack: &FinishedPack) -> &[u8] {
    pack.bytes().expect("it was filled in memory")
}

fn blobs(pack: &FinishedPack) -> impl Iterator<Item = (&[u8], Id, Option<NonZeroU32>)> {
    pack.blobs.iter().map(|(id, at)| {
        let start = at.offset as usize;
        (&bytes(pack)[start..start + at.length as usize], *id, at.uncompressed)
    })
}

fn seal(key: &MasterKey, packs: &[FinishedPack]) -> Duration {
    let (mut out, mut took) = (Vec::new(), Duration::ZERO);
    for (blob, _, _) in packs.iter().flat_map(blobs) {
        out.clear();
        // As long as what was sealed into it; its IV is as good as any.
        out.extend_from_slice(&blob[..blob.len() - 16]);
        let begun = Instant::now();
        key.seal_from(&mut out, 0).expect("an IV that is not zero");
        took += begun.elapsed();
    }
    took
}

/// How long it takes to open every blob, and to expand those that were compressed; each while it is at hand.
fn open(key: &MasterKey, packs: &[FinishedPack]) -> [Duration; 2] {
    let mut zstd = zstd::bulk::Decompressor::new().expect("a context of zstd's");
    let (mut out, mut plain, mut took) = (Vec::new(), Vec::new(), [Duration::ZERO; 2]);
    for (sealed, _, uncompressed) in packs.iter().flat_map(blobs) {
        let begun = Instant::now();
        let opened = key.open_to(sealed, &mut out).expect("what was sealed just now");
        took[0] += begun.elapsed();
        if let Some(size) = uncompressed {
            let begun = Instant::now();
            plain.clear();
            plain.reserve(size.get() as usize);
            zstd.decompress_to_buffer(opened, &mut plain).expect("what was compressed just now");
            took[1] += begun.elapsed();
        }
    }
    took
}

fn write_packs(packs: &[FinishedPack]) -> Duration {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let begun = Instant::now();
    for (number, pack) in packs.iter().enumerate() {
        fs::write(folder.path().join(number.to_string()), bytes(pack)).expect("room for the packs");
    }
    begun.elapsed()
}

/// Makes each file again, in one folder for each of the source's, with mode and times.
fn restore(found: &[PathBuf], contents: &[Vec<u8>]) -> Duration {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut above, mut number, mut to) = (None, 0, PathBuf::new());
    let begun = Instant::now();
    for (path, bytes) in found.iter().zip(contents) {
        if path.parent() != above {
            above = path.parent();
            number += 1;
            to = folder.path().join(number.to_string());
            fs::create_dir(&to).expect("a new folder");
        }
        let mut file = File::create_new(to.join(path.file_name().unwrap_or_default())).expect("a new file");
        file.write_all(bytes).expect("room for the files");
        file.set_permissions(fs::Permissions::from_mode(0o644)).expect("a mode can be set");
        file.set_modified(std::time::UNIX_EPOCH).expect("a time can be set");
    }
    begun.elapsed()
}
