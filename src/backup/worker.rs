//! One thread's means to store blobs: hash, look up, compress, seal, pack.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded, select};

use super::chunk::Cutter;
use super::read::{self, FileJob, Parts};
use super::summary::add;
use super::{BackupError, Run, Threads};
use crate::vault::pack::{PackBuilder, PackError, Sealer};
use crate::vault::tree::{FinishedTree, TreeBody};
use crate::vault::{BlobKey, BlobType, Id, ZEROS};

/// Files that are handed over together: a worker is woken once for all of them.
const BATCH: usize = 16;
/// Bytes that are handed over together, at most, but for the last file's.
const BATCH_BYTES: u64 = 1 << 20;
/// Batches that wait for a worker. Each of their files holds its folder open.
const BATCHES_QUEUED: usize = 8;
/// Chunks of large files that wait for a worker other than the one that reads the file.
const CHUNKS_QUEUED: usize = 2;

/// A pack that all threads add to.
#[derive(Debug, Default)]
pub(super) struct SharedPack(Mutex<Option<PackBuilder>>);

/// A chunk of a large file, handed over by the thread that reads the file.
pub(super) struct ChunkJob {
    pub(super) bytes: Vec<u8>,
    pub(super) place: usize,
    pub(super) parts: Arc<Parts>,
}

/// What a worker gets at once.
type Files = Vec<FileJob>;

/// Files that a walker has found.
#[derive(Default)]
pub(super) struct Batch {
    files: Files,
    bytes: u64,
}

impl Batch {
    pub(super) fn add(&mut self, file: FileJob) {
        self.bytes = self.bytes.saturating_add(file.node.size);
        self.files.push(file);
    }

    /// Time to hand it over.
    pub(super) fn is_full(&self) -> bool {
        self.files.len() >= BATCH || self.bytes >= BATCH_BYTES
    }
}

/// The queues between the walkers and the workers.
pub(super) struct Queues {
    pub(super) files: (Mutex<Option<Sender<Files>>>, Receiver<Files>),
    pub(super) chunks: (Sender<ChunkJob>, Receiver<ChunkJob>),
    /// Workers that are reading a large file and may still hand over chunks.
    pub(super) readers: AtomicUsize,
}

impl Queues {
    pub(super) fn new() -> Self {
        let (sender, files) = bounded(BATCHES_QUEUED);
        Self { files: (Mutex::new(Some(sender)), files), chunks: bounded(CHUNKS_QUEUED), readers: AtomicUsize::new(0) }
    }

    /// Hands files to the workers; waits for room as long as any of them works.
    pub(super) fn send(&self, run: &Run, batch: &mut Batch) -> Result<(), BackupError> {
        let mut files = std::mem::take(batch).files;
        if files.is_empty() {
            return Ok(());
        }
        let sender = self.files.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(sender) = sender else { return Err(BackupError::Cancelled) };
        loop {
            match sender.send_timeout(files, Duration::from_millis(100)) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) if !run.stopping() => files = back,
                Err(_) => return Err(BackupError::Cancelled),
            }
        }
    }

    /// No further file comes: the workers end once the queue is empty.
    pub(super) fn close(&self) {
        self.files.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// One thread's zstd context, buffers and unfinished data pack.
pub(super) struct Worker<'r> {
    pub(super) run: &'r Run,
    pub(super) cutter: Cutter,
    pub(super) buffer: Vec<u8>,
    /// Where chunks of large files are offered to others; none when working inline.
    pub(super) offer: Option<Sender<ChunkJob>>,
    sealer: Sealer,
    data: PackBuilder,
    pack_size: u32,
    /// The chunk of zeros, once this thread has seen to it that it is stored.
    zeros: Option<Id>,
}

/// Since when the vault has a blob.
enum Stored {
    Now,
    Before,
}

impl<'r> Worker<'r> {
    pub(super) fn new(run: &'r Run, offer: Option<Sender<ChunkJob>>) -> Self {
        Self {
            run,
            cutter: run.cutter.clone(),
            buffer: Vec::new(),
            offer,
            sealer: run.vault.sealer(run.level),
            data: run.data_pack(),
            pack_size: run.vault.pack_size(),
            zeros: None,
        }
    }

    /// Takes files and chunks until the walkers are done and no other worker hands over chunks any more.
    pub(super) fn work(
        &mut self,
        files: &Receiver<Files>,
        chunks: &Receiver<ChunkJob>,
        readers: &AtomicUsize,
    ) -> Result<(), BackupError> {
        loop {
            // Chunks first: a file that others wait behind is in memory already.
            if let Ok(chunk) = chunks.try_recv() {
                self.take(chunk)?;
                continue;
            }
            select! {
                recv(chunks) -> chunk => if let Ok(chunk) = chunk { self.take(chunk)?; },
                recv(files) -> batch => match batch {
                    Ok(batch) => self.read(batch, chunks, readers)?,
                    Err(_) => break,
                },
            }
        }
        while readers.load(std::sync::atomic::Ordering::SeqCst) > 0 || !chunks.is_empty() {
            if self.run.stopping() {
                return Err(BackupError::Cancelled);
            }
            if let Ok(chunk) = chunks.recv_timeout(Duration::from_millis(1)) {
                self.take(chunk)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, batch: Files, chunks: &Receiver<ChunkJob>, readers: &AtomicUsize) -> Result<(), BackupError> {
        for file in batch {
            while let Ok(chunk) = chunks.try_recv() {
                self.take(chunk)?;
            }
            read::file(self, file, readers)?;
        }
        Ok(())
    }

    fn take(&mut self, chunk: ChunkJob) -> Result<(), BackupError> {
        if self.run.stopping() {
            return Err(BackupError::Cancelled);
        }
        let id = self.store_data(&chunk.bytes)?;
        // Back to the allocator before the parts are completed, which may build trees.
        drop(chunk.bytes);
        read::chunk_stored(self, &chunk.parts, chunk.place, id)
    }

    /// Stores a chunk, unless the vault or this run has it, and returns its id.
    pub(super) fn store_data(&mut self, chunk: &[u8]) -> Result<Id, BackupError> {
        let id = Id::of(chunk);
        match self.store(chunk, id)? {
            Stored::Now => add(&self.run.counts.bytes_read, chunk.len() as u64),
            Stored::Before => self.read_again(chunk),
        }
        Ok(id)
    }

    fn store(&mut self, chunk: &[u8], id: Id) -> Result<Stored, BackupError> {
        let (counts, len) = (&self.run.counts, chunk.len() as u64);
        if !self.run.index.claim(BlobKey::data(id)) {
            return Ok(Stored::Before);
        }
        let added = self.data.add(&mut self.sealer, id, chunk)?;
        add(&counts.data_blobs, 1);
        add(&counts.bytes_added, len);
        add(&counts.bytes_sealed, u64::from(added.stored));
        if self.data.is_full(self.pack_size) {
            let full = std::mem::replace(&mut self.data, self.run.data_pack());
            self.send(full)?;
        }
        Ok(Stored::Now)
    }

    /// Stores a chunk of zeros, which a run looks at once, however many there are.
    pub(super) fn store_zeros(&mut self) -> Result<Id, BackupError> {
        if let Some(id) = self.zeros {
            return Ok(id);
        }
        let id = Id::of(ZEROS);
        self.store(ZEROS, id)?;
        Ok(*self.zeros.insert(id))
    }

    /// The same for such a chunk that was read.
    pub(super) fn store_read_zeros(&mut self, chunk: &[u8]) -> Result<Id, BackupError> {
        if let Some(id) = self.zeros {
            self.read_again(chunk);
            return Ok(id);
        }
        let id = self.store_data(chunk)?;
        Ok(*self.zeros.insert(id))
    }

    /// Counts what was read and is stored already.
    fn read_again(&self, chunk: &[u8]) {
        add(&self.run.counts.bytes_read, chunk.len() as u64);
        add(&self.run.counts.bytes_deduplicated, chunk.len() as u64);
    }

    /// Stores a tree, unless the vault or this run has it, and returns its id.
    pub(super) fn store_tree(&mut self, tree: FinishedTree) -> Result<Id, BackupError> {
        let (id, counts) = (tree.id, &self.run.counts);
        if !self.run.index.claim(BlobKey::tree(id)) {
            return Ok(id);
        }
        let mut shared = self.run.trees.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pack = shared.get_or_insert_with(|| PackBuilder::new(BlobType::Tree));
        let len = tree.len;
        let added = match tree.body {
            TreeBody::Memory(json) => pack.add(&mut self.sealer, id, &json),
            TreeBody::Spilled(mut file) => {
                let len = u32::try_from(len).map_err(|_| PackError::Implausible(len))?;
                pack.add_stream(&mut self.sealer, id, len, &mut file)
            }
        };
        let added = added?;
        add(&counts.tree_blobs, 1);
        add(&counts.bytes_added, len);
        add(&counts.bytes_sealed, u64::from(added.stored));
        if pack.is_full(self.pack_size) {
            let full = shared.take();
            drop(shared);
            return full.map_or(Ok(()), |full| self.send(full)).map(|()| id);
        }
        Ok(id)
    }

    fn send(&mut self, pack: PackBuilder) -> Result<(), BackupError> {
        let finished = pack.finish(&self.sealer)?;
        self.run.uploads.send(finished)
    }

    /// Sends what is left of this thread's pack, together with what other threads have left.
    pub(super) fn finish(mut self, left: &SharedPack) -> Result<(), BackupError> {
        let mine = std::mem::replace(&mut self.data, PackBuilder::new(BlobType::Data));
        let mut shared = left.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, full) = match shared.take() {
            None => (mine, None),
            Some(other) => mine.join(other, self.pack_size)?,
        };
        *shared = (!left.is_empty()).then_some(left);
        full.map_or(Ok(()), |full| self.send(full))
    }

    /// Sends what a shared pack has left, once every thread is done.
    pub(super) fn flush(&mut self, left: &SharedPack) -> Result<(), BackupError> {
        let pack = left.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        pack.map_or(Ok(()), |pack| self.send(pack))
    }
}

/// How many threads work beside the walker.
pub(super) fn count(threads: Threads) -> usize {
    match threads {
        Threads::Inline => 0,
        Threads::Workers(count) => count.get(),
    }
}
