//! Holes: chunks of zeros, which are neither fetched nor written nor, where the file system knows of them, read.
//!
//! In a new file they are left out. In one that is there they are looked for, and made where something else is. Within
//! other chunks of new files longer runs of zeros are left out as well, so that an island of a few pages in a hole does
//! not come back as large as the chunk that holds it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{FallocateFlags, fallocate};

use super::fetch::{done, kept, lock, open};
use super::job::Restore;
use super::place;
use super::window::Target;
use crate::source::files::data_after;
use crate::vault::{ZEROS, is_zero};

/// Bytes of a chunk of zeros.
const CHUNK: u64 = ZEROS.len() as u64;
/// Pages are left out where at least so many zeros are in a row: each hole costs a write more, and a record.
const WORTH: usize = 32 << 10;
const PAGE: usize = 4096;

/// Chunks of zeros in a row.
#[derive(Debug, Clone)]
pub(super) struct Hole {
    pub(super) target: Arc<Target>,
    /// First byte in the file.
    pub(super) at: u64,
    pub(super) chunks: u64,
}

impl Hole {
    pub(super) fn bytes(&self) -> u64 {
        self.chunks * CHUNK
    }
}

/// Leaves those that are not zeros in the files already.
pub(super) fn compare(restore: &Restore, holes: Vec<Hole>) -> Vec<Hole> {
    let mut different = Vec::new();
    for hole in holes {
        let target = &hole.target;
        let Ok(file) = place::open_to_compare(&target.entry.folder.open, &target.entry.node.name) else {
            different.push(hole);
            continue;
        };
        let before = different.len();
        let equal = differing(&file, hole.at..hole.at + hole.bytes(), |at, more| {
            match different[before..].last_mut() {
                Some(Hole { at: from, chunks, .. }) if *from + *chunks * CHUNK == at => *chunks += more,
                Some(_) | None => different.push(Hole { target: target.clone(), at, chunks: more }),
            }
            restore.cancel.is_cancelled()
        });
        if restore.cancel.is_cancelled() {
            break;
        }
        if equal > 0 {
            kept(restore, target, &file, equal, equal * CHUNK);
        }
    }
    different
}

/// Whether the file has nothing but zeros there.
pub(super) fn is_there(file: &File, range: Range<u64>) -> bool {
    let mut differs = false;
    differing(file, range, |_, _| {
        differs = true;
        true
    });
    !differs
}

/// Goes through a range of chunks of zeros and names those that the file has not, by place and number, until told to stop.
/// Reads only what the file system calls data. Returns how many it has.
fn differing(file: &File, range: Range<u64>, mut differs: impl FnMut(u64, u64) -> bool) -> u64 {
    let end = file.metadata().map_or(0, |meta| meta.len());
    let (mut at, mut equal, mut buffer) = (range.start, 0, Vec::new());
    while at < range.end {
        if at >= end {
            differs(at, (range.end - at) / CHUNK);
            break;
        }
        // What cannot be told to be a hole has to be looked at.
        let data = data_after(file, at).unwrap_or(at..range.end);
        let holes = (data.start.min(end).min(range.end) - at) / CHUNK;
        equal += holes;
        at += holes * CHUNK;
        if at >= range.end {
            break;
        }
        buffer.resize(ZEROS.len(), 0);
        if file.read_exact_at(&mut buffer, at).is_ok() && is_zero(&buffer) {
            equal += 1;
        } else if differs(at, 1) {
            break;
        }
        at += CHUNK;
    }
    equal
}

/// Makes holes.
pub(super) fn make(restore: &Restore, holes: &[Hole]) {
    for hole in holes {
        if restore.cancel.is_cancelled() {
            return;
        }
        let target = &*hole.target;
        let mut state = lock(target);
        if let Err(error) = open(target, &mut state).and_then(|file| punch(restore, file, hole)) {
            state.lost.get_or_insert_with(|| format!("cannot be written: {error}"));
            state.lost_pieces += hole.chunks;
        }
        restore.monitor.advance(0, hole.bytes());
        done(restore, target, state, hole.chunks, None);
    }
}

fn punch(restore: &Restore, file: &File, hole: &Hole) -> io::Result<()> {
    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if fallocate(file, how, hole.at, hole.bytes()).is_err() {
        // Not every file system can.
        for n in 0..hole.chunks {
            if restore.cancel.is_cancelled() {
                return Ok(());
            }
            file.write_all_at(ZEROS, hole.at + n * CHUNK)?;
        }
    }
    restore.written.fetch_add(hole.bytes(), Ordering::Relaxed);
    Ok(())
}

/// Copies what is in a file into an empty one, but for its holes.
pub(super) fn copy(from: &File, to: &File) -> io::Result<()> {
    let (mut at, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        let data = data_after(from, at)?;
        at = data.start;
        if data.is_empty() {
            return to.set_len(data.end);
        }
        while at < data.end {
            let room = usize::try_from(data.end - at).unwrap_or(usize::MAX).min(buffer.len());
            let read = from.read_at(&mut buffer[..room], at)?;
            if read == 0 {
                return Ok(());
            }
            to.write_all_at(&buffer[..read], at)?;
            at += read as u64;
        }
    }
}

/// Writes a chunk into a new file, which has zeros there, but for longer runs of whole pages of zeros. Says how far the
/// file reaches now.
pub(super) fn write_around(file: &File, plain: &[u8], at: u64) -> io::Result<u64> {
    let first = at.next_multiple_of(PAGE as u64) - at;
    let mut page = usize::try_from(first).unwrap_or(usize::MAX);
    let mut from = 0;
    let zeros = |page: usize| plain.get(page..page + PAGE).is_some_and(is_zero);
    while page + WORTH <= plain.len() {
        let start = page;
        while zeros(page) {
            page += PAGE;
        }
        if page - start >= WORTH {
            file.write_all_at(&plain[from..start], at + from as u64)?;
            from = page;
        }
        page += PAGE;
    }
    file.write_all_at(&plain[from..], at + from as u64)?;
    Ok(if from < plain.len() { at + plain.len() as u64 } else { at })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use proptest::prelude::*;

    use super::*;

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            (1u8..255, 1usize..20_000).prop_map(|(byte, len)| vec![byte; len]),
            (1usize..200_000).prop_map(|len| vec![0; len]),
        ];
        prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn what_is_written_around_zeros_reads_as_it_was(plain in pieces(), at in 0u64..10_000) {
            let file = tempfile::tempfile().unwrap();
            let end = write_around(&file, &plain, at).unwrap();
            prop_assert!(end == at || end == at + plain.len() as u64);
            file.set_len(at + plain.len() as u64).unwrap();
            let mut read = vec![1; plain.len()];
            file.read_exact_at(&mut read, at).unwrap();
            prop_assert!(read == plain);
        }

        #[test]
        fn chunks_that_are_not_zeros_are_named(bytes in prop::collection::vec((0u64..6 * CHUNK, 0u8..2), 0..5), cut in 0..CHUNK) {
            let file = tempfile::tempfile().unwrap();
            let end = 6 * CHUNK - cut;
            file.set_len(end).unwrap();
            for (at, byte) in &bytes {
                file.write_all_at(&[*byte], *at).unwrap();
            }
            let end = file.metadata().unwrap().len();
            let (start, mut named) = (7, Vec::new());
            let equal = differing(&file, start..start + 5 * CHUNK, |at, chunks| {
                named.extend((0..chunks).map(|n| at + n * CHUNK));
                false
            });
            let other = |chunk: &Range<u64>| {
                chunk.end > end || bytes.iter().any(|(at, byte)| *byte > 0 && chunk.contains(at))
            };
            let chunks = (0..5).map(|n| start + n * CHUNK..start + (n + 1) * CHUNK);
            let expected: Vec<u64> = chunks.filter(other).map(|chunk| chunk.start).collect();
            prop_assert_eq!(equal + named.len() as u64, 5);
            prop_assert_eq!(is_there(&file, start..start + 5 * CHUNK), expected.is_empty());
            prop_assert_eq!(named, expected);
        }
    }

    #[test]
    fn an_island_takes_no_more_than_its_pages() {
        let file = tempfile::tempfile().unwrap();
        let mut plain = vec![0; 512 << 10];
        plain[200_000..200_100].fill(1);
        assert_eq!(write_around(&file, &plain, 8192).unwrap(), 8192, "what follows the island is left out as well");
        assert!(file.metadata().unwrap().blocks() * 512 <= 64 << 10);
    }
}
