//! Which runs are going on: one locked file for each, in `running/` of the state folder.
//!
//! The kernel drops the lock with the process, however that ends. So a run that the catalog has as going on, and whose
//! file nobody holds, was cut off: no process number is trusted, which another process may have got since.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::error::ServiceError;
use crate::record::RunId;

/// Held while a run goes on; the file goes when this is dropped.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    _lock: File,
}

impl Mark {
    /// Marks a run as going on.
    pub(super) fn of_run(state: &Path, run: RunId) -> Result<Self, ServiceError> {
        let folder = state.join("running");
        let failed = |source| ServiceError::State { op: "mark a run in", path: folder.clone(), source };
        std::fs::create_dir_all(&folder).map_err(failed)?;
        Self::take(folder.join(run.to_string()))
            .map_err(failed)?
            .ok_or_else(|| failed(io::ErrorKind::AlreadyExists.into()))
    }

    /// Marks this process as the state folder's only service. `None`: there is one.
    pub(super) fn of_service(state: &Path) -> Result<Option<Self>, ServiceError> {
        let path = state.join("service.lock");
        Self::take(path.clone()).map_err(|source| ServiceError::State { op: "lock", path, source })
    }

    /// Whether some process holds the mark of a run.
    pub(super) fn is_held(state: &Path, run: RunId) -> bool {
        match File::open(state.join("running").join(run.to_string())) {
            Ok(file) => flock(&file, FlockOperation::NonBlockingLockShared).is_err(),
            Err(_) => false,
        }
    }

    fn take(path: PathBuf) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { path, _lock: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // Left behind it says nothing: nobody holds it.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Env, Seeded, SetClock};
    use std::sync::Arc;

    #[test]
    fn a_mark_is_held_until_it_is_dropped() {
        let state = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(SetClock::at(jiff::Timestamp::UNIX_EPOCH));
        let run = RunId(Env { clock, random: Arc::new(Seeded::new(1)) }.ulid());
        assert!(!Mark::is_held(state.path(), run));
        let mark = Mark::of_run(state.path(), run).expect("marked");
        assert!(Mark::is_held(state.path(), run));
        drop(mark);
        assert!(!Mark::is_held(state.path(), run));
        std::fs::write(state.path().join("running").join(run.to_string()), "").expect("left behind");
        assert!(!Mark::is_held(state.path(), run));

        let first = Mark::of_service(state.path()).expect("locked");
        assert!(first.is_some());
        assert!(Mark::of_service(state.path()).expect("asked").is_none());
    }
}
