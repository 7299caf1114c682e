//! Uploading finished packs and writing the index files that name them.
//!
//! A pack is named by an index file only once the store has acknowledged it. A crash in between leaves packs that no
//! index names; the next run adopts them.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use super::pace::Pace;
use super::{BackupError, Mode, Threads};
use crate::vault::Vault;
use crate::vault::index::{Index, PackContents};
use crate::vault::index_file::BLOBS_PER_FILE;
use crate::vault::pack::FinishedPack;

/// Bytes of packs in memory between a worker and the store's acknowledgement, and how many packs that may be. With larger
/// packs than usual, one at a time goes on.
#[derive(Debug, Clone, Copy)]
struct Room {
    bytes: u32,
    packs: usize,
}

/// A disk is busy with two.
const NEAR: Room = Room { bytes: 40 << 20, packs: 2 };
const DISTANT: Room = Room { bytes: 144 << 20, packs: 8 };

/// The workers' end.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    queue: mpsc::Sender<(FinishedPack, Option<oneshot::Sender<()>>)>,
    wait: Wait,
}

#[derive(Debug, Clone, Copy)]
enum Wait {
    ForRoom,
    ForStore,
}

impl Sender {
    /// Hands over a pack; blocks while too many bytes are in flight.
    pub(super) fn send(&self, pack: FinishedPack) -> Result<(), BackupError> {
        match self.wait {
            Wait::ForRoom => self.queue.blocking_send((pack, None)).map_err(|_| BackupError::UploadStopped),
            Wait::ForStore => {
                let (stored, wait) = oneshot::channel();
                self.queue.blocking_send((pack, Some(stored))).map_err(|_| BackupError::UploadStopped)?;
                wait.blocking_recv().map_err(|_| BackupError::UploadStopped)
            }
        }
    }
}

/// What was uploaded.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Uploaded {
    pub(super) packs: u64,
    pub(super) bytes: u64,
}

/// The task's end.
pub(super) struct Uploader(JoinHandle<Result<Uploaded, BackupError>>);

impl Uploader {
    /// Waits until every pack is stored and indexed. All senders must be gone by then.
    pub(super) async fn finish(self) -> Result<Uploaded, BackupError> {
        match self.0.await {
            Ok(uploaded) => uploaded,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }
}

/// Starts the uploader.
pub(super) fn start(vault: Vault, index: Index, mode: Mode, threads: Threads) -> (Sender, Uploader) {
    let (queue, packs) = mpsc::channel(1);
    let near = vault.store().is_near();
    let (wait, room) = match threads {
        Threads::Inline => (Wait::ForStore, Room { packs: 1, ..NEAR }),
        Threads::Workers(_) => (Wait::ForRoom, if near { NEAR } else { DISTANT }),
    };
    let task = tokio::spawn(upload(vault, index, mode, room, packs));
    (Sender { queue, wait }, Uploader(task))
}

async fn upload(
    vault: Vault,
    index: Index,
    mode: Mode,
    room: Room,
    mut packs: mpsc::Receiver<(FinishedPack, Option<oneshot::Sender<()>>)>,
) -> Result<Uploaded, BackupError> {
    let budget = Arc::new(Semaphore::new(room.bytes as usize));
    // A pack stays with the worker that made it, which waits, until it can be on its way at once.
    let one = vault.pack_size().min(room.bytes) as usize;
    let clock = vault.env().clock.clone();
    let mut pace = Pace::new(room.packs.min(4), room.packs, clock.boot());
    let mut tasks: JoinSet<Result<(PackContents, u64), BackupError>> = JoinSet::new();
    let mut waiting = Vec::new();
    let mut done = Uploaded::default();
    loop {
        if tasks.len() >= pace.limit() {
            pace.full();
        }
        tokio::select! {
            biased;
            Some(stored) = tasks.join_next(), if !tasks.is_empty() => {
                pace.ended(take(stored, &mut waiting, &mut done)?, clock.boot());
                if blobs(&waiting) >= BLOBS_PER_FILE {
                    write_index(&vault, &index, mode, &mut waiting).await?;
                }
            }
            next = packs.recv(), if tasks.len() < pace.limit() && budget.available_permits() >= one => {
                let Some((pack, told)) = next else { break };
                let size = u32::try_from(pack.in_memory()).unwrap_or(u32::MAX).min(room.bytes);
                let permit = budget.clone().acquire_many_owned(size).await.expect("the semaphore is never closed");
                let vault = vault.clone();
                tasks.spawn(async move {
                    let _permit = permit;
                    let size = pack.size();
                    let contents = match mode {
                        Mode::Write => vault.put_pack(pack).await?,
                        Mode::Rehearse => PackContents::from(&pack),
                    };
                    if let Some(told) = told {
                        // The worker that waits may have given up; the pack is stored all the same.
                        let _ = told.send(());
                    }
                    Ok((contents, size))
                });
            }
        }
    }
    while let Some(stored) = tasks.join_next().await {
        take(stored, &mut waiting, &mut done)?;
    }
    write_index(&vault, &index, mode, &mut waiting).await?;
    Ok(done)
}

fn take(
    stored: Result<Result<(PackContents, u64), BackupError>, tokio::task::JoinError>,
    waiting: &mut Vec<PackContents>,
    done: &mut Uploaded,
) -> Result<u64, BackupError> {
    let (pack, bytes) = match stored {
        Ok(stored) => stored?,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    };
    done.packs += 1;
    done.bytes += bytes;
    waiting.push(pack);
    Ok(bytes)
}

fn blobs(packs: &[PackContents]) -> usize {
    packs.iter().map(|pack| pack.blobs.len()).sum()
}

async fn write_index(
    vault: &Vault,
    index: &Index,
    mode: Mode,
    waiting: &mut Vec<PackContents>,
) -> Result<(), BackupError> {
    let packs = std::mem::take(waiting);
    match mode {
        _ if packs.is_empty() => {}
        Mode::Write => drop(vault.save_index_of(packs, index).await?),
        Mode::Rehearse => vault.settle(Vec::new(), packs, index).await,
    }
    Ok(())
}
