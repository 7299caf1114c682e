//! Making what was restored durable, while more is restored.
//!
//! One call for the whole file system costs less than one for each of many small files. The system by itself begins to
//! write only when a tenth of the memory waits to be written: left to the end, the disk would idle first and everybody
//! would wait for it then.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use rustix::fs::syncfs;

use super::RestoreError;
use super::job::Restore;

/// Bytes written since the last time that are worth a sync.
const STEP: u64 = 128 << 20;
/// How often that is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Does the work, and syncs the file system of `target` along with it and, when it was done, at its end.
///
/// `target` must have been opened before: a failure to write is reported to those who had the file system open then. One
/// that was reported once is not taken back by a later sync that succeeds.
pub(super) fn alongside<T>(
    restore: &Restore,
    target: impl AsFd + Sync,
    work: impl FnOnce() -> Result<T, RestoreError>,
) -> Result<T, RestoreError> {
    let sync = || syncfs(&target).map_err(|error| restore.target_failed(error.into()));
    if restore.options.workers < 2 {
        let done = work()?;
        return sync().map(|()| done);
    }
    std::thread::scope(|scope| {
        let (tell, done) = crossbeam_channel::bounded(0);
        let syncer = scope.spawn(move || {
            let mut synced = 0;
            loop {
                match done.recv_timeout(TICK) {
                    Err(RecvTimeoutError::Timeout) => {
                        let written = restore.written.load(Ordering::Relaxed);
                        if written >= synced + STEP {
                            synced = written;
                            sync()?;
                        }
                    }
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                    Ok(()) => return sync(),
                }
            }
        });
        let worked = work();
        if worked.is_ok() {
            restore.monitor.stage("sync");
            // It has ended if a sync failed.
            let _ = tell.send(());
        }
        drop(tell);
        let synced = syncer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        worked.and_then(|done| synced.map(|()| done))
    })
}
