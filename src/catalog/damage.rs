//! Catalogs that are no usable database any more: told apart from those that are only busy, unreadable or newer, and moved
//! out of the way.
//!
//! Nothing is deleted: what was moved aside keeps its name with an ending, and so do its log and its shared memory, so that
//! SQLite still finds them beside it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{BUSY, CatalogError, migrate};

/// What SQLite keeps beside a database. The database itself comes last: a crash in between leaves it in its place, still
/// damaged, for the next attempt.
const PARTS: [&str; 3] = ["-shm", "-wal", ""];

impl CatalogError {
    /// Whether SQLite takes the file for no database, or for a damaged one.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Open { source, .. } | Self::Migrate { source, .. } | Self::Query { source, .. } => is_damage(source),
            Self::Newer { .. } | Self::Json { .. } | Self::SetAside { .. } => false,
        }
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

/// Moves a catalog that is damaged out of the way, durably, and says where it is now. `None`: it is whole, or there is none.
/// A catalog that cannot be looked at is an error and stays. Nobody else may be at work with it.
pub fn set_aside_damaged(path: &Path) -> Result<Option<PathBuf>, CatalogError> {
    if !path.exists() || !is_damaged(path).map_err(|source| CatalogError::Open { path: path.to_owned(), source })? {
        return Ok(None);
    }
    let failed = |source| CatalogError::SetAside { path: path.to_owned(), source };
    let aside = free_name(path);
    for part in PARTS {
        match fs::rename(with(path, part), with(&aside, part)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !part.is_empty() => {}
            moved => moved.map_err(failed)?,
        }
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(Some(aside))
}

fn is_damaged(path: &Path) -> Result<bool, rusqlite::Error> {
    let found = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .and_then(|connection| {
            connection.busy_timeout(BUSY)?;
            // What a later program wrote is not for us to judge.
            if migrate::version(&connection)? > migrate::KNOWN {
                return Ok(false);
            }
            let said: String = connection.query_one("PRAGMA integrity_check(1)", (), |row| row.get(0))?;
            Ok(said != "ok")
        });
    match found {
        Err(error) if is_damage(&error) => Ok(true),
        other => other,
    }
}

/// `catalog.sqlite.damaged-1`, or the first number that nothing has.
fn free_name(path: &Path) -> PathBuf {
    let name = |number: u32| with(path, &format!(".damaged-{number}"));
    let is_free = |aside: &PathBuf| PARTS.iter().all(|part| with(aside, part).symlink_metadata().is_err());
    (1..u32::MAX).map(name).find(is_free).unwrap_or_else(|| name(u32::MAX))
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    /// A catalog in a file of its own, with more than one page.
    fn kept() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("catalog.sqlite");
        drop(Catalog::open(&path).expect("opened"));
        (folder, path)
    }

    #[test]
    fn garbage_and_damage_behind_the_header_are_moved_aside_and_kept() {
        let (folder, path) = kept();
        let whole = fs::read(&path).expect("read");
        let mut behind = whole.clone();
        behind[100..].fill(0xA5);
        for (number, damaged) in (1..).zip([b"garbage, and nothing but that\n".repeat(99), behind]) {
            fs::write(&path, &damaged).expect("written");
            fs::write(with(&path, "-wal"), "a log").expect("written");
            let error = Catalog::open(&path).and_then(|catalog| catalog.rebuild(&[])).expect_err("damaged");
            assert!(error.is_damage(), "{error:?}");
            fs::write(with(&path, "-wal"), "a log").expect("written");
            let aside = set_aside_damaged(&path).expect("moved").expect("it is damaged");
            assert_eq!(aside, folder.path().join(format!("catalog.sqlite.damaged-{number}")));
            assert_eq!(fs::read(&aside).expect("kept"), damaged);
            assert!(!path.exists() && !with(&path, "-wal").exists());
            Catalog::open(&path).and_then(|catalog| catalog.rebuild(&[])).expect("a new one");
        }
    }

    #[test]
    fn what_is_whole_newer_empty_or_not_there_stays() {
        let (folder, path) = kept();
        assert_eq!(set_aside_damaged(&path).expect("looked at"), None);
        let connection = Connection::open(&path).expect("opened");
        connection.pragma_update(None, "user_version", 99).expect("a later version");
        drop(connection);
        assert_eq!(set_aside_damaged(&path).expect("looked at"), None);
        let error = Catalog::open(&path).expect_err("newer");
        assert!(!error.is_damage(), "{error}");
        fs::write(&path, "").expect("written");
        assert_eq!(set_aside_damaged(&path).expect("looked at"), None);
        assert_eq!(set_aside_damaged(&folder.path().join("none")).expect("looked at"), None);
        assert!(!folder.path().join("none").exists());
    }

    #[test]
    fn what_cannot_be_opened_is_an_error_and_no_damage() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = set_aside_damaged(folder.path()).expect_err("a folder is no catalog");
        assert!(matches!(error, CatalogError::Open { .. }) && !error.is_damage(), "{error}");
    }
}
