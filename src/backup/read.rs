//! Reading one file: from an open descriptor to the ids of its chunks.
//!
//! A file that changes while it is read is read once more; if it changed again, what was read is stored with an error
//! mark in its node and listed as a problem. It is never stored as if whole.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::BackupError;
use super::chunk::{MAX, MIN};
use super::dir::{Dir, Done};
use super::input::Input;
use super::summary::add;
use super::worker::{ChunkJob, Worker};
use crate::source::files::{FileError, FileState, Folder, Opened, XattrMode};
use crate::vault::tree::{Content, Node, NodeKind, Run, Xattr};
use crate::vault::{Id, ZEROS, chain, is_zero};

/// Bytes asked for in one read of a large file.
const STEP: usize = 1 << 20;
/// What a worker holds of the file that it reads: the longest chunk, and room for a read.
const BUFFER: usize = MAX + STEP;
/// Files above this are cut by one thread and sealed by all.
const LARGE: u64 = BUFFER as u64;
/// A file that changed while it was read is read once more if it is not larger than this.
const READ_AGAIN: u64 = 64 << 20;
const CHANGED: &str = "changed while it was read";

/// A file to be read.
pub(super) struct FileJob {
    pub(super) folder: Arc<Folder>,
    pub(super) name: Vec<u8>,
    pub(super) path: Vec<u8>,
    /// As the walk saw it.
    pub(super) node: Node,
    pub(super) before: Before,
    pub(super) dir: Arc<Dir>,
    pub(super) place: usize,
}

/// What the parent snapshot had in a file's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    New,
    Other,
}

/// The chunks of one file, stored by any thread in any order.
pub(super) struct Parts {
    state: Mutex<PartsState>,
}

struct PartsState {
    /// A place for each chunk, and one for zeros in a row.
    runs: Vec<Run>,
    missing: usize,
    end: Option<End>,
}

struct End {
    node: Node,
    dir: Arc<Dir>,
    place: usize,
}

/// Reads a file and completes its place in the folder. What fails for this file alone is listed as a problem.
pub(super) fn file(worker: &mut Worker<'_>, mut job: FileJob, readers: &AtomicUsize) -> Result<(), BackupError> {
    let run = worker.run;
    for last_try in [false, true] {
        if run.stopping() {
            return Err(BackupError::Cancelled);
        }
        match try_file(worker, &job, readers)? {
            Ok(read) if read.changed && !last_try && read.bytes <= READ_AGAIN => {}
            Err(FileError::Replaced { .. }) if !last_try => {}
            Ok(read) => return store(worker, job, read),
            Err(error) => return fail(worker, &job, &error),
        }
        // It is looked at anew: it may be another file by now.
        match job.folder.node(&job.name, XattrMode::Skip) {
            Ok(node) if node.kind == NodeKind::File => job.node = node,
            Ok(_) => return fail(worker, &job, &FileError::Replaced { name: job.node.display_name() }),
            Err(error) => return fail(worker, &job, &error),
        }
    }
    Ok(())
}

/// What was read of a file.
struct Whole {
    parts: Arc<Parts>,
    bytes: u64,
    xattrs: Result<Vec<Xattr>, FileError>,
    /// The file is not what it was when it was opened, or was not what it had been when it was looked at.
    changed: bool,
}

fn fail(worker: &mut Worker<'_>, job: &FileJob, error: &FileError) -> Result<(), BackupError> {
    worker.run.problems.push(&*worker.run.monitor, &job.path, chain(error));
    job.dir.complete(worker, job.place, Done::Left)
}

/// The outer error ends the run, the inner one is the file's.
fn try_file(
    worker: &mut Worker<'_>,
    job: &FileJob,
    readers: &AtomicUsize,
) -> Result<Result<Whole, FileError>, BackupError> {
    let (mut file, opened) = match job.folder.open_file(&job.name, &job.node) {
        Ok(opened) => opened,
        Err(error) => return Ok(Err(error)),
    };
    let parts = Parts::new();
    let read = if opened.size > LARGE {
        readers.fetch_add(1, Ordering::SeqCst);
        let read = large(worker, Input::of(&mut file, opened.size), &parts);
        readers.fetch_sub(1, Ordering::SeqCst);
        read?
    } else {
        small(worker, &file, opened.size, &parts)?
    };
    let after = read.and_then(|bytes| Ok((bytes, file.state()?)));
    Ok(match after {
        Ok((bytes, after)) => {
            let changed = bytes != opened.size || after != opened || FileState::of_node(&job.node) != opened;
            Ok(Whole { parts, bytes, xattrs: job.folder.xattrs_of(&job.name, &file), changed })
        }
        Err(error) => Err(FileError::io("read", &job.name, error)),
    })
}

fn store(worker: &mut Worker<'_>, job: FileJob, read: Whole) -> Result<(), BackupError> {
    let (run, mut node) = (worker.run, job.node);
    match read.xattrs {
        Ok(xattrs) => node.xattrs = xattrs,
        Err(error) => run.problems.push(&*run.monitor, &job.path, chain(&error)),
    }
    node.size = read.bytes;
    if read.changed {
        run.problems.push(&*run.monitor, &job.path, CHANGED);
        node.error = Some(CHANGED.to_owned());
    }
    match job.before {
        Before::New => add(&run.counts.files_new, 1),
        Before::Other => add(&run.counts.files_changed, 1),
    }
    add(&run.counts.bytes_total, read.bytes);
    read.parts.end(worker, End { node, dir: job.dir, place: job.place })
}

/// Reads a file that fits into the buffer as a whole. The outer error ends the run, the inner one is the file's.
fn small(
    worker: &mut Worker<'_>,
    file: &Opened,
    expected: u64,
    parts: &Arc<Parts>,
) -> Result<std::io::Result<u64>, BackupError> {
    let mut buffer = std::mem::take(&mut worker.buffer);
    buffer.clear();
    let result = match read_whole(file, expected, &mut buffer) {
        Err(error) => Ok(Err(error)),
        Ok(_) => cut_whole(worker, &buffer, parts).map(|()| Ok(buffer.len() as u64)),
    };
    worker.run.monitor.advance(1, buffer.len() as u64);
    worker.buffer = buffer;
    result
}

/// Reads one byte more than expected: a file that grows is seen to have, and one that does not has ended when no more than
/// that is read at once. One that shrinks is read to its end.
fn read_whole(file: &Opened, expected: u64, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    let wanted = usize::try_from(expected).unwrap_or(usize::MAX).saturating_add(1);
    buffer.reserve(wanted);
    while buffer.len() < wanted {
        match file.read_into(buffer) {
            Ok(0) => break,
            Ok(_) if buffer.len() as u64 == expected => break,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(wanted);
    Ok(())
}

fn cut_whole(worker: &mut Worker<'_>, bytes: &[u8], parts: &Arc<Parts>) -> Result<(), BackupError> {
    let mut rest = bytes;
    worker.cutter.reset();
    while !rest.is_empty() {
        let len = if rest.len() <= MIN { rest.len() } else { worker.cutter.cut(rest, true).unwrap_or(rest.len()) };
        let (chunk, after) = rest.split_at(len);
        let place = parts.reserve();
        let id = worker.store_data(chunk)?;
        parts.put(place, id);
        rest = after;
    }
    Ok(())
}

/// Reads a file in steps; chunks are offered to other threads and sealed here when none is free.
fn large(worker: &mut Worker<'_>, input: Input<'_>, parts: &Arc<Parts>) -> Result<std::io::Result<u64>, BackupError> {
    let mut buffer = std::mem::take(&mut worker.buffer);
    buffer.resize(BUFFER, 0);
    let result = steps(worker, input, parts, &mut buffer);
    worker.buffer = buffer;
    worker.run.monitor.advance(1, 0);
    result
}

fn steps(
    worker: &mut Worker<'_>,
    mut input: Input<'_>,
    parts: &Arc<Parts>,
    buffer: &mut [u8],
) -> Result<std::io::Result<u64>, BackupError> {
    let (mut start, mut end, mut total) = (0, 0, 0);
    // How many bytes at the end of the buffer lie in a hole.
    let mut hollow = 0;
    worker.cutter.reset();
    loop {
        if worker.run.stopping() {
            return Err(BackupError::Cancelled);
        }
        let zeros = match input.zeros() {
            Ok(zeros) => zeros,
            Err(error) => return Ok(Err(error)),
        };
        if zeros >= MIN as u64 && hollow >= end - start {
            // From where the chunk begins there is nothing but zeros: they need not be looked at to be cut.
            let left_out = leave_out(worker, (end - start) as u64 + zeros, parts)? - (end - start) as u64;
            input.skip(left_out);
            total += left_out;
            (start, end, hollow) = (0, 0, 0);
            worker.cutter.reset();
            worker.run.monitor.advance(0, left_out);
            continue;
        }
        if buffer.len() - end < STEP {
            buffer.copy_within(start..end, 0);
            (start, end) = (0, end - start);
        }
        let read = match input.read(&mut buffer[end..end + STEP]) {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Err(error)),
        };
        worker.run.monitor.advance(0, read as u64);
        end += read;
        total += read as u64;
        hollow = if zeros > 0 { hollow + read } else { 0 };
        let last = read == 0;
        while start < end {
            let Some(len) = worker.cutter.cut(&buffer[start..end], last) else { break };
            store_or_offer(worker, &buffer[start..start + len], parts)?;
            start += len;
        }
        if last {
            return Ok(Ok(total));
        }
    }
}

/// Stores the chunks that so many zeros begin with. Returns their bytes.
fn leave_out(worker: &mut Worker<'_>, zeros: u64, parts: &Arc<Parts>) -> Result<u64, BackupError> {
    let chunks = zeros / ZEROS.len() as u64;
    let id = worker.store_zeros()?;
    parts.zeros(id, chunks);
    Ok(chunks * ZEROS.len() as u64)
}

fn store_or_offer(worker: &mut Worker<'_>, chunk: &[u8], parts: &Arc<Parts>) -> Result<(), BackupError> {
    if chunk.len() == ZEROS.len() && is_zero(chunk) {
        let id = worker.store_read_zeros(chunk)?;
        parts.zeros(id, 1);
        return Ok(());
    }
    let place = parts.reserve();
    if let Some(offer) = &worker.offer
        && !offer.is_full()
        && offer.try_send(ChunkJob { bytes: chunk.to_vec(), place, parts: parts.clone() }).is_ok()
    {
        return Ok(());
    }
    let id = worker.store_data(chunk)?;
    parts.put(place, id);
    Ok(())
}

/// A chunk that another thread read is stored; the last one of a file completes it.
pub(super) fn chunk_stored(worker: &mut Worker<'_>, parts: &Parts, place: usize, id: Id) -> Result<(), BackupError> {
    match parts.put(place, id) {
        Some((end, content)) => complete(worker, end, content),
        None => Ok(()),
    }
}

impl Parts {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(PartsState { runs: Vec::new(), missing: 0, end: None }) })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, PartsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserve(&self) -> usize {
        let mut state = self.lock();
        state.runs.push(Run { id: Id::default(), count: 1 });
        state.missing += 1;
        state.runs.len() - 1
    }

    /// Adds chunks of zeros, of which nothing is missing. They take no place of their own where the last chunk was one.
    fn zeros(&self, id: Id, mut chunks: u64) {
        let mut state = self.lock();
        if let Some(last) = state.runs.last_mut()
            && last.id == id
        {
            let more = u32::try_from(chunks).unwrap_or(u32::MAX).min(u32::MAX - last.count);
            last.count += more;
            chunks -= u64::from(more);
        }
        while chunks > 0 {
            let count = u32::try_from(chunks).unwrap_or(u32::MAX);
            state.runs.push(Run { id, count });
            chunks -= u64::from(count);
        }
    }

    fn put(&self, place: usize, id: Id) -> Option<(End, Content)> {
        let mut state = self.lock();
        state.runs[place].id = id;
        state.missing -= 1;
        state.whole()
    }

    fn end(&self, worker: &mut Worker<'_>, end: End) -> Result<(), BackupError> {
        let mut state = self.lock();
        state.end = Some(end);
        let whole = state.whole();
        drop(state);
        match whole {
            Some((end, content)) => complete(worker, end, content),
            None => Ok(()),
        }
    }
}

impl PartsState {
    fn whole(&mut self) -> Option<(End, Content)> {
        if self.missing > 0 {
            return None;
        }
        self.end.take().map(|end| (end, std::mem::take(&mut self.runs).into_iter().collect()))
    }
}

fn complete(worker: &mut Worker<'_>, end: End, content: Content) -> Result<(), BackupError> {
    let End { mut node, dir, place } = end;
    node.content = content;
    dir.complete(worker, place, Done::Changed(node))
}

/// Reads a stream to its end and completes its place in the folder.
pub(super) fn stream(
    worker: &mut Worker<'_>,
    reader: &mut dyn Read,
    mut node: Node,
    dir: &Arc<Dir>,
    place: usize,
) -> Result<std::io::Result<()>, BackupError> {
    let parts = Parts::new();
    let mut buffer = vec![0; BUFFER];
    let total = match steps(worker, Input::Stream(reader), &parts, &mut buffer)? {
        Ok(total) => total,
        Err(error) => return Ok(Err(error)),
    };
    node.size = total;
    add(&worker.run.counts.files_new, 1);
    add(&worker.run.counts.bytes_total, total);
    parts.end(worker, End { node, dir: dir.clone(), place })?;
    Ok(Ok(()))
}
