//! Fetching a window's ranges and writing their pieces.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use bytes::Bytes;
use crossbeam_channel::Receiver;

use super::job::Restore;
use super::window::{Piece, State, Target, Window};
use super::{Mode, holes, place};
use crate::vault::pack::Opener;
use crate::vault::ranges::Group;
use crate::vault::{BlobKey, Id, chain};

/// Drops the pieces that the files have already.
pub(super) fn compare(restore: &Restore, window: &mut Window) {
    let pieces = std::mem::take(&mut window.pieces);
    let (compared, mut wanted): (Vec<_>, Vec<_>) = pieces.into_iter().partition(|piece| piece.compare);
    let share = compared.len().div_ceil(restore.options.workers.max(1)).clamp(1, 256);
    let (send, receive) = crossbeam_channel::unbounded();
    compared.chunks(share).for_each(|share| send.send(share).expect("the receiver lives as long as this function"));
    drop(send);
    let files = &window.files;
    let different = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..restore.options.workers.min(compared.len().div_ceil(share)))
            .map(|_| {
                let receive: Receiver<&[Piece]> = receive.clone();
                scope.spawn(move || {
                    let mut comparer = Comparer { restore, files, open: None, buffer: Vec::new() };
                    receive.iter().flatten().filter(|piece| !comparer.equal(piece)).copied().collect::<Vec<_>>()
                })
            })
            .collect();
        let joined = threads.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.flatten().collect::<Vec<_>>()
    });
    wanted.extend(different);
    window.pieces = wanted;
}

/// Whether the file has this blob at this place.
pub(super) fn holds(file: &File, id: Id, len: u64, at: u64, buffer: &mut Vec<u8>) -> bool {
    // A blob's length is capped where indexes are read.
    buffer.resize(usize::try_from(len).unwrap_or(0), 0);
    file.read_exact_at(buffer, at).is_ok() && Id::of(buffer) == id
}

/// Compares pieces with what is there, with one file open at a time.
struct Comparer<'r> {
    restore: &'r Restore,
    files: &'r [Arc<Target>],
    open: Option<(usize, Option<File>)>,
    buffer: Vec<u8>,
}

impl Comparer<'_> {
    /// Whether the file has the piece at its place already; if so, it counts as done.
    fn equal(&mut self, piece: &Piece) -> bool {
        let (restore, target) = (self.restore, &self.files[piece.file]);
        if restore.cancel.is_cancelled() {
            return false;
        }
        if self.open.as_ref().is_none_or(|(number, _)| *number != piece.file) {
            self.open = Some((piece.file, place::open_to_compare(&target.folder.open, &target.node.name).ok()));
        }
        let Some((_, Some(file))) = &self.open else { return false };
        let len = piece.located.plain_len();
        if !holds(file, piece.id, len, piece.at, &mut self.buffer) {
            return false;
        }
        kept(restore, target, file, 1, len);
        true
    }
}

/// So many pieces with so many bytes are in the file already.
pub(super) fn kept(restore: &Restore, target: &Target, file: &File, pieces: u64, bytes: u64) {
    restore.unchanged.fetch_add(bytes, Ordering::Relaxed);
    restore.monitor.advance(0, bytes);
    let mut state = lock(target);
    state.kept += pieces;
    match restore.options.mode {
        Mode::Write => done(restore, target, state, pieces, Some(file)),
        Mode::Rehearse if state.kept == target.node.content.len() => {
            restore.files_unchanged.fetch_add(1, Ordering::Relaxed);
        }
        Mode::Rehearse => {}
    }
}

/// Writes all pieces of the window; what is lost is noted in the files' states.
pub(super) fn window(restore: &Restore, window: &mut Window) {
    let groups = window.groups();
    if groups.is_empty() {
        return;
    }
    let (send, receive) = crossbeam_channel::unbounded();
    let workers = restore.options.workers.clamp(1, groups.len());
    for group in groups {
        send.send(group).expect("the receiver lives as long as this function");
    }
    drop(send);
    let window = &*window;
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let receive: Receiver<Group<Piece>> = receive.clone();
            scope.spawn(move || {
                let mut opener = Opener::new(restore.vault.key().clone());
                for group in receive {
                    if restore.cancel.is_cancelled() {
                        return;
                    }
                    fetch(restore, window, &group, &mut opener);
                }
            });
        }
    });
}

fn fetch(restore: &Restore, window: &Window, group: &Group<Piece>, opener: &mut Opener) {
    let fetched = restore.handle.block_on(restore.vault.load_pack_range(&group.pack, group.start..group.end));
    let bytes = match fetched {
        Ok(bytes) => bytes,
        Err(error) => {
            // The range failed as a whole; each blob may lie elsewhere too, or be readable alone.
            tracing::debug!(pack = %group.pack, error = %error, "range not fetched");
            Bytes::new()
        }
    };
    restore.fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    let mut pieces = group.items.as_slice();
    while let Some(first) = pieces.first() {
        // One blob may be wanted at several places: it is opened once.
        let same = pieces.iter().take_while(|p| p.id == first.id && p.located == first.located).count();
        let (places, rest) = pieces.split_at(same);
        let sealed = group.sealed(&bytes, &first.located);
        match sealed.and_then(|sealed| opener.open(&first.id, sealed, first.located.uncompressed).ok()) {
            Some(plain) => places.iter().for_each(|piece| write(restore, window, piece, plain)),
            None => match elsewhere(restore, first) {
                Ok(plain) => places.iter().for_each(|piece| write(restore, window, piece, &plain)),
                Err(why) => places.iter().for_each(|piece| lose(restore, window, piece, &why)),
            },
        }
        pieces = rest;
    }
}

/// Tries every place of the blob, one by one.
fn elsewhere(restore: &Restore, piece: &Piece) -> Result<Vec<u8>, String> {
    let key = BlobKey::data(piece.id);
    let loaded = restore.handle.block_on(restore.vault.load_blob(&restore.index, key));
    let place = || format!("blob {} in pack {}", piece.id.short(), piece.located.pack.short());
    loaded.map_err(|error| format!("{}: {}", place(), chain(&error)))
}

fn write(restore: &Restore, window: &Window, piece: &Piece, plain: &[u8]) {
    let target = &window.files[piece.file];
    let mut state = lock(target);
    if let Err(error) = write_at(restore, target, &mut state, piece.at, plain) {
        state.lost.get_or_insert_with(|| format!("cannot be written: {error}"));
        state.lost_pieces += 1;
    }
    restore.monitor.advance(0, plain.len() as u64);
    done(restore, target, state, 1, None);
}

fn write_at(restore: &Restore, target: &Target, state: &mut State, at: u64, plain: &[u8]) -> io::Result<()> {
    let (existed, file) = (state.exists, open(target, state)?);
    if existed {
        file.write_all_at(plain, at)?;
    } else if holes::write_around(file, plain, at)? < target.size && target.node.content.len() == 1 {
        file.set_len(target.size)?;
    }
    restore.written.fetch_add(plain.len() as u64, Ordering::Relaxed);
    Ok(())
}

/// The open file; made, at its full size, by whoever comes first.
pub(super) fn open<'s>(target: &Target, state: &'s mut State) -> io::Result<&'s mut File> {
    if state.file.is_none() {
        let (folder, name) = (&target.folder.open, &target.node.name);
        let file = match state.exists {
            true => place::open_file(folder, name).or_else(|_| place::replace_file(folder, name))?,
            false => place::make_file(folder, name)?,
        };
        // A new file of one piece gets its size by being written, unless the piece is a hole.
        if state.exists || target.node.content.len() > 1 || state.missing == 0 {
            file.set_len(target.size)?;
        }
        state.file = Some(file);
    }
    state.file.as_mut().ok_or_else(|| io::Error::other("the file was not opened"))
}

fn lose(restore: &Restore, window: &Window, piece: &Piece, why: &str) {
    let target = &window.files[piece.file];
    let mut state = lock(target);
    state.lost.get_or_insert_with(|| why.to_owned());
    state.lost_pieces += 1;
    // The file gets its size all the same: what can be read of it stands at its place.
    if let Err(error) = open(target, &mut state) {
        state.lost.get_or_insert_with(|| format!("cannot be made: {error}"));
    }
    restore.monitor.advance(0, piece.located.plain_len());
    done(restore, target, state, 1, None);
}

/// So many pieces less; the last one completes the file.
pub(super) fn done(
    restore: &Restore,
    target: &Target,
    mut state: MutexGuard<'_, State>,
    pieces: u64,
    compared: Option<&File>,
) {
    state.missing = state.missing.saturating_sub(pieces);
    if state.missing == 0 {
        finish(restore, target, &mut state, compared);
    }
}

/// Gives the file its attributes and closes it. `compared` is the file as it was there before, if it has been open.
pub(super) fn finish(restore: &Restore, target: &Target, state: &mut State, compared: Option<&File>) {
    let path = || super::job::join(&target.folder.path, &target.node.name);
    let existed = state.exists;
    let kept = existed && state.kept == target.node.content.len();
    if kept {
        restore.files_unchanged.fetch_add(1, Ordering::Relaxed);
    }
    // What is whole as it is need not be open for writing. A file without pieces has not been opened yet.
    let empty = if kept && compared.is_none() {
        place::open_to_compare(&target.folder.open, &target.node.name).ok()
    } else {
        None
    };
    let whole = |file: &&File| kept && file.metadata().is_ok_and(|meta| meta.len() == target.size);
    let mut lost = state.lost.take();
    let opened = match compared.or(empty.as_ref()).filter(whole) {
        Some(file) => Ok(file),
        None => open(target, state).map(|file| &*file),
    };
    match opened {
        Ok(file) => {
            let failed = match &lost {
                None => restore.attributes.apply(file, &target.node, existed),
                Some(_) => restore.attributes.apply_but_times(file.as_fd(), &target.node, existed),
            };
            failed.into_iter().for_each(|why| restore.problem(&path(), why));
        }
        Err(error) => {
            lost.get_or_insert_with(|| format!("cannot be made: {error}"));
        }
    }
    state.file = None;
    if let Some(why) = lost {
        restore.files_lost.fetch_add(1, Ordering::Relaxed);
        let pieces = target.node.content.len();
        let how_much =
            if pieces > 1 { format!("{} of {pieces} parts lost: ", state.lost_pieces) } else { String::new() };
        restore.problem(&path(), format!("{how_much}{why}"));
    }
    if let Some(error) = &target.node.error {
        restore.problem(&path(), format!("restored as the backup has it, which says: {error}"));
    }
    restore.monitor.advance(1, 0);
}

pub(super) fn lock(target: &Target) -> MutexGuard<'_, State> {
    target.state.lock().unwrap_or_else(PoisonError::into_inner)
}
