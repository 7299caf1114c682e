//! Comparing pieces with what is there, fetching ranges, and writing their pieces.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::job::Restore;
use super::window::{Piece, State, Target};
use super::{Mode, holes, place};
use crate::vault::pack::Opener;
use crate::vault::ranges::{self, Group};
use crate::vault::{BlobKey, Id, chain};

/// Whether the file has this blob at this place. The buffer grows to the longest blob.
pub(super) fn holds(file: &File, id: Id, len: u64, at: u64, buffer: &mut Vec<u8>) -> bool {
    // A blob's length is capped where indexes are read.
    let len = usize::try_from(len).unwrap_or(0);
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    let there = &mut buffer[..len];
    file.read_exact_at(there, at).is_ok() && Id::of(there) == id
}

/// Leaves the pieces that differ from what is there. Holds one file open at a time: those of one file follow each other.
pub(super) fn compare(restore: &Restore, pieces: Vec<Piece>, buffer: &mut Vec<u8>) -> Vec<Piece> {
    let mut open: Option<(Arc<Target>, Option<File>)> = None;
    let mut equal = |piece: &Piece| {
        let target = &piece.target;
        if restore.cancel.is_cancelled() {
            return false;
        }
        if open.as_ref().is_none_or(|(opened, _)| !Arc::ptr_eq(opened, target)) {
            let file = place::open_to_compare(&target.entry.folder.open, &target.entry.node.name).ok();
            open = Some((target.clone(), file));
        }
        let Some((_, Some(file))) = &open else { return false };
        let len = piece.located.plain_len();
        let equal = holds(file, piece.id, len, piece.at, buffer);
        if equal {
            kept(restore, target, file, 1, len);
        }
        equal
    };
    pieces.into_iter().filter(|piece| !equal(piece)).collect()
}

/// So many pieces with so many bytes are in the file already.
pub(super) fn kept(restore: &Restore, target: &Target, file: &File, pieces: u64, bytes: u64) {
    restore.unchanged.fetch_add(bytes, Ordering::Relaxed);
    restore.monitor.advance(0, bytes);
    let mut state = lock(target);
    state.kept += pieces;
    match restore.options.mode {
        Mode::Write => done(restore, target, state, pieces, Some(file)),
        Mode::Rehearse if state.kept == target.entry.node.content.len() => {
            restore.files_unchanged.fetch_add(1, Ordering::Relaxed);
        }
        Mode::Rehearse => {}
    }
}

/// The pieces as ranges to fetch, in order of pack and offset.
pub(super) fn groups(is_near: bool, mut pieces: Vec<Piece>) -> Vec<Group<Piece>> {
    pieces.sort_by_key(|piece| (piece.located.pack, piece.located.offset, piece.at));
    let place = |piece: &Piece| piece.located;
    if is_near { ranges::coalesce_near(pieces, place) } else { ranges::coalesce(pieces, place) }
}

/// Fetches a range and writes its pieces; what is lost is noted in the files' states.
pub(super) fn fetch(restore: &Restore, group: &Group<Piece>, opener: &mut Opener, buffer: &mut Vec<u8>) {
    let range = group.start..group.end;
    let bytes = match restore.vault.read_pack_range(&restore.handle, &group.pack, range, buffer) {
        Ok(bytes) => bytes,
        Err(error) => {
            // The range failed as a whole; each blob may lie elsewhere too, or be readable alone.
            tracing::debug!(pack = %group.pack, error = %error, "range not fetched");
            &[]
        }
    };
    restore.fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    let mut pieces = group.items.as_slice();
    while let Some(first) = pieces.first() {
        // One blob may be wanted at several places: it is opened once.
        let same = pieces.iter().take_while(|p| p.id == first.id && p.located == first.located).count();
        let (places, rest) = pieces.split_at(same);
        let sealed = group.sealed(bytes, &first.located);
        match sealed.and_then(|sealed| opener.open(&first.id, sealed, first.located.uncompressed).ok()) {
            Some(plain) => places.iter().for_each(|piece| write(restore, piece, plain)),
            None => match elsewhere(restore, first) {
                Ok(plain) => places.iter().for_each(|piece| write(restore, piece, &plain)),
                Err(why) => places.iter().for_each(|piece| lose(restore, piece, &why)),
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

fn write(restore: &Restore, piece: &Piece, plain: &[u8]) {
    let target = &*piece.target;
    let mut state = lock(target);
    if let Err(error) = write_at(restore, target, &mut state, piece.at, plain) {
        state.lost.get_or_insert_with(|| format!("cannot be written: {error}"));
        state.lost_pieces += 1;
    }
    restore.monitor.advance(0, plain.len() as u64);
    done(restore, target, state, 1, None);
}

fn write_at(restore: &Restore, target: &Target, state: &mut State, at: u64, plain: &[u8]) -> io::Result<()> {
    let file = open(target, state)?;
    if target.exists {
        file.write_all_at(plain, at)?;
    } else if holes::write_around(file, plain, at)? < target.size && target.entry.node.content.len() == 1 {
        file.set_len(target.size)?;
    }
    restore.written.fetch_add(plain.len() as u64, Ordering::Relaxed);
    Ok(())
}

/// The open file; made, at its full size, by whoever comes first.
pub(super) fn open<'s>(target: &Target, state: &'s mut State) -> io::Result<&'s mut File> {
    if state.file.is_none() {
        let (folder, name) = (&target.entry.folder.open, &target.entry.node.name);
        let file = match target.exists {
            true => place::open_file(folder, name).or_else(|_| place::replace_file(folder, name))?,
            false => place::make_file(folder, name)?,
        };
        // A new file of one piece gets its size by being written, unless the piece is a hole.
        if target.exists || target.entry.node.content.len() > 1 || state.missing == 0 {
            file.set_len(target.size)?;
        }
        state.file = Some(file);
    }
    state.file.as_mut().ok_or_else(|| io::Error::other("the file was not opened"))
}

fn lose(restore: &Restore, piece: &Piece, why: &str) {
    let target = &*piece.target;
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
    let path = || path(target);
    let existed = target.exists;
    let kept = existed && state.kept == target.entry.node.content.len();
    if kept {
        restore.files_unchanged.fetch_add(1, Ordering::Relaxed);
    }
    // What is whole as it is need not be open for writing. A file without pieces has not been opened yet.
    let empty = if kept && compared.is_none() {
        place::open_to_compare(&target.entry.folder.open, &target.entry.node.name).ok()
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
                None => restore.attributes.apply(file, &target.entry.node, existed),
                Some(_) => restore.attributes.apply_but_times(file.as_fd(), &target.entry.node, existed),
            };
            failed.into_iter().for_each(|why| restore.problem(&path(), why));
        }
        Err(error) => {
            lost.get_or_insert_with(|| format!("cannot be made: {error}"));
        }
    }
    state.file = None;
    state.lost = lost;
    tell(restore, target, state);
}

/// Ends with a file: says what of it is lost, or would be, if anything is.
pub(super) fn tell(restore: &Restore, target: &Target, state: &mut State) {
    if let Some(why) = state.lost.take() {
        restore.files_lost.fetch_add(1, Ordering::Relaxed);
        let pieces = target.entry.node.content.len();
        let how_much =
            if pieces > 1 { format!("{} of {pieces} parts lost: ", state.lost_pieces) } else { String::new() };
        restore.problem(&path(target), format!("{how_much}{why}"));
    }
    if let Some(error) = &target.entry.node.error {
        restore.problem(&path(target), format!("restored as the backup has it, which says: {error}"));
    }
    restore.monitor.advance(1, 0);
}

fn path(target: &Target) -> Vec<u8> {
    super::job::join(&target.entry.folder.path, &target.entry.node.name)
}

pub(super) fn lock(target: &Target) -> MutexGuard<'_, State> {
    target.state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::window::{Entry, Folder};
    use super::*;
    use crate::vault::Located;
    use crate::vault::tree::{Node, NodeKind};

    #[test]
    fn pieces_are_taken_in_order_of_pack_and_offset() {
        let open = place::open_target(std::path::Path::new("/")).unwrap();
        let folder = Arc::new(Folder { open, path: b"/".to_vec() });
        let node = Node::new(b"file".to_vec(), NodeKind::File);
        let (entry, state) = (Arc::new(Entry { folder, node, fresh: true }), Mutex::new(State::default()));
        let target = Arc::new(Target { entry, size: 0, exists: false, state });
        let piece = |pack: u8, offset: u32, length: u32| {
            let located = Located { pack: Id([pack; 32]), offset, length, uncompressed: None };
            Piece { id: Id([offset as u8; 32]), located, target: target.clone(), at: 0 }
        };
        let pieces = vec![piece(2, 0, 10), piece(1, 100, 50), piece(1, 0, 100), piece(1, 100, 50)];
        let shape: Vec<_> =
            groups(false, pieces).iter().map(|g| (g.pack.0[0], g.start, g.end, g.items.len())).collect();
        assert_eq!(shape, [(1, 0, 150, 3), (2, 0, 10, 1)]);
    }
}
