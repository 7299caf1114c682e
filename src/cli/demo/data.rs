//! The demo's data: a copy of a real folder, and a live database that is written to all the time.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;

use crate::clock::Clock;

/// Folders that most machines have, that anybody may read.
const CANDIDATES: [&str; 4] = ["/usr/share/doc", "/usr/share/zoneinfo", "/usr/lib/python3", "/etc"];
/// What is copied of a folder, at most.
const MOST_BYTES: u64 = 32 << 20;
const MOST_FILES: u64 = 300;
/// `TMPFS_MAGIC` of `linux/magic.h`.
const TMPFS: rustix::fs::FsWord = 0x0102_1994;
/// Several times what the demo needs.
const ROOM: u64 = 1 << 30;
/// How often the database is written to. Also the period of its canary: each write carries its time.
pub(super) const BEAT: Duration = Duration::from_millis(50);

/// The folder that is taken when none is named.
pub(super) fn candidate() -> Option<PathBuf> {
    CANDIDATES
        .iter()
        .map(PathBuf::from)
        .find(|folder| fs::read_dir(folder).is_ok_and(|mut found| found.next().is_some()))
}

/// Where the demo's folder is made: in memory where there is room, since tens of thousands of files come and go in a minute,
/// which wears a disk for nothing; else, and where TMPDIR says so, with the other temporary files.
pub(super) fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize));
    let writable = rustix::fs::access(memory, rustix::fs::Access::WRITE_OK).is_ok();
    let is_memory = rustix::fs::statfs(memory).is_ok_and(|found| found.f_type == TMPFS);
    if std::env::var_os("TMPDIR").is_none() && is_memory && writable && room >= ROOM {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

/// What was copied.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Copied {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// There was more than the demo takes, or some could not be read.
    pub(super) left_out: bool,
}

/// Copies files, folders and symbolic links, so that nothing of the user's is changed.
pub(super) fn copy_folder(from: &Path, to: &Path) -> io::Result<Copied> {
    let mut copied = Copied::default();
    let mut folders = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = folders.pop() {
        if copied.files >= MOST_FILES {
            copied.left_out = true;
            break;
        }
        fs::create_dir_all(&to)?;
        let Ok(entries) = fs::read_dir(&from) else {
            copied.left_out = true;
            continue;
        };
        let mut entries = entries.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, target) = (entry.path(), to.join(entry.file_name()));
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push((path, target));
            } else if kind.is_symlink() {
                symlink(fs::read_link(&path)?, &target)?;
            } else if kind.is_file() {
                let size = entry.metadata()?.len();
                let fits = copied.bytes + size <= MOST_BYTES && copied.files < MOST_FILES;
                if !fits || fs::copy(&path, &target).is_err() {
                    copied.left_out = true;
                    continue;
                }
                copied.files += 1;
                copied.bytes += size;
            }
        }
    }
    Ok(copied)
}

/// What a working day does to the folder: a few files are new, a few grow, one is rewritten, old ones go.
pub(super) fn work(folder: &Path, day: u64) -> io::Result<()> {
    let daily = folder.join("daily");
    fs::create_dir_all(&daily)?;
    let text = |n: u64| -> String {
        let mut state = day.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(n);
        let line = |line: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            format!("day {day}, entry {line}: {state:016x}\n")
        };
        (0..400).map(line).collect()
    };
    fs::write(daily.join(format!("journal-{day:04}.log")), text(1))?;
    fs::write(
        daily.join("state.json"),
        format!("{{\"day\":{day},\"token\":\"{:x}\"}}\n", day.wrapping_mul(2_654_435_761)),
    )?;
    let mut ledger = fs::OpenOptions::new().create(true).append(true).open(daily.join("ledger.txt"))?;
    io::Write::write_all(&mut ledger, text(2).as_bytes())?;
    if day > 14 {
        let old = daily.join(format!("journal-{:04}.log", day - 14));
        match fs::remove_file(old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// An application that writes into its database all the time, as the operator's would: what must be backed up while it is in
/// use. Each row carries the time at which it was written.
pub(super) struct Application {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), rusqlite::Error>>>,
}

struct Shared {
    stop: AtomicBool,
    rows: AtomicU64,
    /// The wall time of the newest committed row, in milliseconds.
    newest: AtomicI64,
    wake: (Mutex<()>, Condvar),
}

impl Application {
    /// Starts writing.
    pub(super) fn start(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, rusqlite::Error> {
        let database = Connection::open(path)?;
        database.execute_batch(
            "PRAGMA journal_mode = WAL;
            CREATE TABLE orders (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, item TEXT NOT NULL, cents INTEGER NOT NULL);
            CREATE INDEX orders_by_time ON orders (at);",
        )?;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            rows: AtomicU64::new(0),
            newest: AtomicI64::new(i64::MIN),
            wake: (Mutex::new(()), Condvar::new()),
        });
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name("demo-application".to_owned());
        let thread = thread.spawn(move || write(&database, &*clock, &of_thread));
        // Without threads the demo could not do anything else either.
        Ok(Self { shared, thread: thread.ok() })
    }

    /// Rows written so far.
    pub(super) fn rows(&self) -> u64 {
        self.shared.rows.load(Ordering::SeqCst)
    }

    /// Waits until a row of this time or later is committed. `false`: the application has stopped.
    pub(super) fn wait_for(&self, then: Timestamp) -> bool {
        let (lock, condition) = &self.shared.wake;
        condition.notify_all();
        let mut guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        while self.shared.newest.load(Ordering::SeqCst) < then.as_millisecond() {
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                return false;
            }
            let waited = condition.wait_timeout(guard, BEAT);
            guard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Stops writing.
    pub(super) fn stop(mut self) -> Result<(), rusqlite::Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), rusqlite::Error> {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake.1.notify_all();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        // Stopped on the way out of an error, which is what the user should see.
        let _ = self.end();
    }
}

fn write(database: &Connection, clock: &dyn Clock, shared: &Shared) -> Result<(), rusqlite::Error> {
    database.busy_timeout(Duration::from_secs(30))?;
    let mut insert = database.prepare("INSERT INTO orders (at, item, cents) VALUES (?, ?, ?)")?;
    let mut thin = database.prepare("DELETE FROM orders WHERE id < ?")?;
    let (lock, condition) = &shared.wake;
    let mut row = 0_i64;
    while !shared.stop.load(Ordering::SeqCst) {
        row += 1;
        let at = clock.now().as_millisecond();
        insert.execute((at, format!("item {}", row.wrapping_mul(7919) % 1000), row.wrapping_mul(31) % 10_000))?;
        if row % 1000 == 0 {
            thin.execute([row - 5000])?;
        }
        shared.rows.fetch_add(1, Ordering::SeqCst);
        shared.newest.store(at, Ordering::SeqCst);
        condition.notify_all();
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        drop(condition.wait_timeout(guard, BEAT));
    }
    Ok(())
}

/// The bytes of all files in a folder: what a vault takes.
pub(super) fn size(folder: &Path) -> u64 {
    let mut sum = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => folders.push(entry.path()),
                Ok(meta) => sum += meta.len(),
                Err(_) => {}
            }
        }
    }
    sum
}

/// A path as a TOML string. Paths that are not text cannot be configured.
pub(super) fn quoted(path: &Path) -> Option<String> {
    let text = std::str::from_utf8(path.as_os_str().as_bytes()).ok()?;
    Some(toml::Value::from(text).to_string())
}
