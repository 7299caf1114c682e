//! Threads that move blobs within a folder of this machine, each into packs of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Receiver;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::PruneError;
use crate::monitor::{Cancel, Monitor};
use crate::vault::pack::{FinishedPack, PackBuilder, Sealer};
use crate::vault::ranges::{Group, coalesce_near};
use crate::vault::{BlobKey, BlobType, Id, Located, Vault, VaultError, chain};

/// Threads, at most: each holds packs open, and they share one disk.
const MOST: usize = 4;
/// zstd is not used when blobs move: they are copied as they are.
pub(super) const LEVEL: i32 = 3;

/// A blob that moves, and where it lies.
pub(super) type Blob = (BlobKey, Located);
/// A pack, its size for the monitor, and the blobs that are wanted of it, ascending by offset.
pub(super) type Wanted = (Id, u64, Vec<Blob>);
/// Packs that are being filled.
pub(super) type Open = BTreeMap<BlobType, PackBuilder>;

/// The threads at work.
pub(super) struct Movers {
    threads: Vec<JoinHandle<Result<Open, PruneError>>>,
    stopped: Arc<AtomicBool>,
}

/// Begins to move what is wanted, going on with these packs. Whoever gets the finished ones has to take them.
pub(super) fn begin(
    vault: &Vault,
    mut open: Vec<Open>,
    wanted: Vec<Wanted>,
    monitor: &Arc<dyn Monitor>,
    cancel: &Cancel,
) -> (Movers, mpsc::Receiver<FinishedPack>) {
    let (queue, left) = crossbeam_channel::unbounded();
    wanted.into_iter().for_each(|wanted| queue.send(wanted).expect("its receiver is here"));
    let (sender, full) = mpsc::channel(1);
    let stopped = Arc::new(AtomicBool::new(false));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST);
    open.resize_with(threads, Open::new);
    let begin = |open: Open| {
        let mover = Mover {
            vault: vault.clone(),
            sealer: vault.sealer(LEVEL),
            wanted: left.clone(),
            full: sender.clone(),
            stopped: stopped.clone(),
            monitor: monitor.clone(),
            cancel: cancel.clone(),
            on: Handle::current(),
        };
        tokio::task::spawn_blocking(move || mover.run(open))
    };
    let threads = open.into_iter().map(begin).collect();
    (Movers { threads, stopped }, full)
}

impl Movers {
    /// Has them stop at their next range.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Waits for all of them; returns the packs that are not full, or what stopped the first of them that failed.
    pub(super) async fn end(self) -> Result<Vec<Open>, PruneError> {
        let mut ended = Ok(Vec::new());
        for thread in self.threads {
            let moved = thread.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
            ended = match (ended, moved) {
                (Ok(mut all), Ok(open)) => {
                    all.push(open);
                    Ok(all)
                }
                // The others were only stopped.
                (Ok(_) | Err(PruneError::Cancelled), Err(error)) => Err(error),
                (Err(error), _) => Err(error),
            };
        }
        ended
    }
}

/// A thread that moves blobs within a folder of this machine: what it has read is verified, copied, hashed and written while
/// it is near the processor.
struct Mover {
    vault: Vault,
    sealer: Sealer,
    wanted: Receiver<Wanted>,
    full: mpsc::Sender<FinishedPack>,
    /// Another one has failed, or a pack could not be stored.
    stopped: Arc<AtomicBool>,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
    on: Handle,
}

impl Mover {
    /// Moves what nobody else has taken; returns the packs that are not full.
    fn run(self, mut open: Open) -> Result<Open, PruneError> {
        let moved = self.work(&mut open);
        if moved.is_err() {
            self.stopped.store(true, Ordering::Relaxed);
        }
        moved.map(|()| open)
    }

    fn work(&self, open: &mut Open) -> Result<(), PruneError> {
        let mut buffer = Vec::new();
        while let Ok((_, size, blobs)) = self.wanted.try_recv() {
            for group in coalesce_near(blobs, |(_, at)| *at) {
                if self.cancel.is_cancelled() || self.stopped.load(Ordering::Relaxed) {
                    return Err(PruneError::Cancelled);
                }
                let range = group.start..group.end;
                let bytes = self.vault.read_pack_range(&self.on, &group.pack, range, &mut buffer)?;
                verify(&self.vault, &group, bytes)?;
                for pack in add(&self.vault, open, &group, bytes)? {
                    let finished = pack.finish(&self.sealer).map_err(VaultError::pack)?;
                    // Nobody takes it any more when storing another one failed.
                    self.full.blocking_send(finished).map_err(|_| PruneError::Cancelled)?;
                }
            }
            self.monitor.advance(1, size);
        }
        Ok(())
    }
}

/// The seal proves that a blob is what was once stored, whatever that is; to open it would take several times as long.
pub(super) fn verify(vault: &Vault, group: &Group<Blob>, bytes: &[u8]) -> Result<(), PruneError> {
    for (blob, at) in &group.items {
        let damaged = |why: String| PruneError::DamagedBlob { blob: blob.id, pack: group.pack, why };
        let sealed = group.sealed(bytes, at).ok_or_else(|| damaged("it lies beyond the pack's end".to_owned()))?;
        vault.key().prove(sealed).map_err(|error| damaged(chain(&error)))?;
    }
    Ok(())
}

/// Adds the blobs of a range, and returns the packs that are full.
pub(super) fn add(
    vault: &Vault,
    open: &mut Open,
    group: &Group<Blob>,
    bytes: &[u8],
) -> Result<Vec<PackBuilder>, VaultError> {
    let mut full = Vec::new();
    for (key, at) in &group.items {
        let Some(sealed) = group.sealed(bytes, at) else { continue };
        let builder = open.entry(key.kind).or_insert_with(|| vault.pack_to_fill(key.kind));
        builder.add_sealed(key.id, sealed, at.uncompressed).map_err(VaultError::pack)?;
        if builder.is_full(vault.pack_size()) {
            full.extend(open.remove(&key.kind));
        }
    }
    Ok(full)
}
