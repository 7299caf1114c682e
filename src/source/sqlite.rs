//! SQLite databases: a consistent copy of a live one, and questions to a restored one.
//!
//! [`copy`] takes an online backup in a single step: in WAL mode writers go on meanwhile, in rollback mode they wait. The
//! pages stay as they lie in the source (so that the next snapshot deduplicates against this one), and the header keeps
//! saying which journal mode the application chose. Invariant: a copy is handed out only after SQLite itself found every
//! page and index of it in order.
//!
//! It never writes to the source, and does not follow its WAL: what is committed after the copy waits for the next one.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, InterruptHandle, OpenFlags};
use tempfile::NamedTempFile;

/// Findings that are kept of each check.
const MOST_FINDINGS: usize = 20;

/// Why a database could not be copied or asked.
#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// The file cannot be opened as a database.
    #[error("open the database {path:?}")]
    Open {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The file is something else, or encrypted.
    #[error("read {path:?}: it is not a SQLite database")]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// Somebody held the database's lock for too long.
    #[error("copy the database {path:?}: it was locked for more than {}", crate::units::Span::round_up(*waited))]
    Locked {
        /// The database.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// SQLite finds damage in the copy, and so in the source.
    #[error("copy the database {path:?}: it is damaged: {}", findings.join("; "))]
    Damaged {
        /// The database.
        path: PathBuf,
        /// The first things that its integrity check found.
        findings: Vec<String>,
    },
    /// The copy could not be written.
    #[error("write a copy of {path:?} into {folder:?}")]
    Write {
        /// The database.
        path: PathBuf,
        /// Where to.
        folder: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// SQLite could not copy the pages.
    #[error("copy the database {path:?}")]
    Copy {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A question could not be answered.
    #[error("query the database {path:?}")]
    Query {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

impl SqliteError {
    fn of(
        source: rusqlite::Error,
        path: &Path,
        waited: Duration,
        other: impl Fn(PathBuf, rusqlite::Error) -> Self,
    ) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotADatabase { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path, waited },
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { path, findings: vec![source.to_string()] },
            Some(_) | None => other(path, source),
        }
    }
}

/// A consistent copy of a database. Its file is deleted when this is dropped.
#[derive(Debug)]
pub struct Copied {
    file: NamedTempFile,
    /// Rows that refer to rows that do not exist, described; at most the first few. Not damage: an application may not
    /// enforce its foreign keys. Worth a note in the run.
    pub dangling: Vec<String>,
}

impl Copied {
    /// Opens the copy for reading, from the start.
    pub fn open(&self) -> std::io::Result<File> {
        File::open(self.file.path())
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

/// Copies the live database at `path` into a temporary file in `folder`, waiting at most `patience` for a lock.
pub fn copy(path: &Path, folder: &Path, patience: Duration) -> Result<Copied, SqliteError> {
    // SQLite takes milliseconds as an i32
    let patience = patience.min(Duration::from_secs(86_400));
    let write = |source| SqliteError::Write { path: path.to_owned(), folder: folder.to_owned(), source };
    let file = tempfile::Builder::new().prefix(".drctl-").suffix(".sqlite").tempfile_in(folder).map_err(write)?;
    copy_pages(path, file.path(), patience)?;

    let copy = open(file.path(), Beside::Ignored).map_err(|source| open_error(path, source))?;
    let failed = |source| SqliteError::of(source, path, patience, |path, source| SqliteError::Copy { path, source });
    let findings = integrity(&copy).map_err(failed)?;
    if !findings.is_empty() {
        return Err(SqliteError::Damaged { path: path.to_owned(), findings });
    }
    let dangling = foreign_keys(&copy).map_err(failed)?;
    Ok(Copied { file, dangling })
}

fn copy_pages(path: &Path, into: &Path, patience: Duration) -> Result<(), SqliteError> {
    let failed = |source| SqliteError::of(source, path, patience, |path, source| SqliteError::Copy { path, source });
    let source = open(path, Beside::Read).map_err(|source| open_error(path, source))?;
    source.busy_timeout(patience).map_err(failed)?;
    // reads the header now, so that a file of another kind is named as such
    source.query_row("PRAGMA schema_version", [], |_| Ok(())).map_err(failed)?;
    let mut copy = Connection::open(into).map_err(failed)?;
    // the file is thrown away after any failure: neither a rollback nor a sync is worth its time
    copy.pragma_update(None, "synchronous", "OFF").map_err(failed)?;
    copy.pragma_update(None, "journal_mode", "OFF").map_err(failed)?;
    let backup = Backup::new(&source, &mut copy).map_err(failed)?;
    match backup.step(-1).map_err(failed)? {
        StepResult::Done => Ok(()),
        // StepResult is not exhaustive; whatever is not Done left the copy incomplete
        _ => Err(SqliteError::Locked { path: path.to_owned(), waited: patience }),
    }
}

fn open_error(path: &Path, source: rusqlite::Error) -> SqliteError {
    SqliteError::of(source, path, Duration::ZERO, |path, source| SqliteError::Open { path, source })
}

/// The first findings of SQLite's own check; none when the database is whole.
fn integrity(database: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = database.prepare(&format!("PRAGMA integrity_check({MOST_FINDINGS})"))?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(if lines == ["ok"] { Vec::new() } else { lines })
}

fn foreign_keys(database: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = database.prepare("PRAGMA foreign_key_check")?;
    let describe = |row: &rusqlite::Row<'_>| {
        let (table, id, parent) = (row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?, row.get::<_, String>(2)?);
        let id = id.map(|id| format!(" {id}")).unwrap_or_default();
        Ok(format!("row{id} of {table} refers to a row that {parent} does not have"))
    };
    statement.query_map([], describe)?.take(MOST_FINDINGS).collect()
}

/// A WAL or journal beside a database.
#[derive(Clone, Copy)]
enum Beside {
    /// Is part of it.
    Read,
    /// There is none, and none may appear.
    Ignored,
}

fn open(path: &Path, beside: Beside) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => uri.push(char::from(*byte)),
            other => uri += &format!("%{other:02X}"),
        }
    }
    match beside {
        Beside::Read => {}
        Beside::Ignored => uri += "?immutable=1",
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(uri, flags)
}

/// A restored database that is asked without being changed: files beside it appear only while it is open, and only when
/// it was backed up together with a WAL or a journal.
#[derive(Debug)]
pub struct Restored {
    database: Connection,
    path: PathBuf,
    _shared: Option<RemoveOnDrop>,
}

#[derive(Debug)]
struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // rebuilt by whoever opens the database next
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Restored {
    /// Opens the database at `path`.
    pub fn open(path: &Path) -> Result<Self, SqliteError> {
        let beside = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let is_filled = |path: &Path| path.metadata().is_ok_and(|file| file.len() > 0);
        let how =
            if is_filled(&beside("-wal")) || is_filled(&beside("-journal")) { Beside::Read } else { Beside::Ignored };
        let shared = beside("-shm");
        let shared = (matches!(how, Beside::Read) && !shared.exists()).then(|| RemoveOnDrop(shared));
        let database = open(path, how).map_err(|source| open_error(path, source))?;
        Ok(Self { database, path: path.to_owned(), _shared: shared })
    }

    /// Interrupts a query from another thread.
    pub fn interrupter(&self) -> InterruptHandle {
        self.database.get_interrupt_handle()
    }

    /// The first column of the first row, as text (a blob in hex). `None`: no row, or NULL.
    pub fn first(&self, query: &str) -> Result<Option<String>, SqliteError> {
        let failed = |source| {
            SqliteError::of(source, &self.path, Duration::ZERO, |path, source| SqliteError::Query { path, source })
        };
        let mut statement = self.database.prepare(query).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        let Some(row) = rows.next().map_err(failed)? else { return Ok(None) };
        Ok(match row.get_ref(0).map_err(failed)? {
            ValueRef::Null => None,
            ValueRef::Integer(number) => Some(number.to_string()),
            ValueRef::Real(number) => Some(number.to_string()),
            ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Blob(bytes) => Some(hex::encode(bytes)),
        })
    }
}

#[cfg(test)]
mod tests;
