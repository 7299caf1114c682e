//! Turns what a plan backs up into what a backup reads.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::backup::{self, Stream};
use crate::config::{self, FilesSource};
use crate::source::command::{CommandError, Program, Stopper};
use crate::source::files::{Case, ExcludeError, Excludes};
use crate::source::sqlite::{self, SqliteError};

/// How long a database's lock is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a plan backs up cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// Patterns.
    #[error(transparent)]
    Excludes(#[from] ExcludeError),
    /// A program.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A database.
    #[error(transparent)]
    Sqlite(#[from] SqliteError),
    /// The database's copy.
    #[error("read the copy of the database {}", path.display())]
    Copy {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A source, ready to be read.
pub(super) struct Ready {
    pub(super) source: backup::Source,
    pub(super) excludes: Excludes,
    pub(super) caches: backup::Caches,
    pub(super) mounts: backup::Mounts,
    /// Ends a program that a stopped run would wait for.
    pub(super) stopper: Option<Stopper>,
    /// Worth a word in the log: no problem of the backup.
    pub(super) notes: Vec<String>,
}

/// Makes a source ready: starts the program, copies the database. Blocks as long as the copy takes.
///
/// `scratch` is a folder for the copy of a database; a program is killed after `limit`.
pub(super) fn prepare(source: &config::Source, scratch: &Path, limit: Duration) -> Result<Ready, SourceError> {
    match source {
        config::Source::Files(files) => of_files(files),
        config::Source::Command { command, name } => of_command(command, name, limit),
        config::Source::Sqlite { path } => of_sqlite(path, scratch),
    }
}

fn of_files(files: &FilesSource) -> Result<Ready, SourceError> {
    Ok(Ready {
        source: backup::Source::Files(files.paths.clone()),
        excludes: Excludes::new(&files.exclude, &files.exclude_files, Case::Sensitive)?,
        caches: match files.caches {
            config::Caches::Include => backup::Caches::Keep,
            config::Caches::Exclude => backup::Caches::Exclude,
        },
        mounts: match files.mounts {
            config::Mounts::Cross => backup::Mounts::Cross,
            config::Mounts::Stay => backup::Mounts::Stay,
        },
        stopper: None,
        notes: Vec::new(),
    })
}

fn of_command(command: &[String], name: &str, limit: Duration) -> Result<Ready, SourceError> {
    let output = Program::new(command)?.limit(limit).start()?;
    let finish = output.finish;
    let path = Path::new("/").join(name.trim_start_matches('/'));
    let finish = Box::new(move || finish().map(drop).map_err(|error| crate::vault::chain(&error)));
    Ok(Ready { stopper: Some(output.stopper), ..of_stream(Stream { path, reader: output.reader, finish })? })
}

/// The copy's file lives as long as the stream that reads it.
fn of_sqlite(path: &Path, scratch: &Path) -> Result<Ready, SourceError> {
    let copied = sqlite::copy(path, scratch, PATIENCE)?;
    let reader = copied.open().map_err(|source| SourceError::Copy { path: path.to_owned(), source })?;
    let notes = copied.dangling.iter().map(|row| format!("{}: {row}", path.display())).collect();
    let finish = Box::new(move || {
        drop(copied);
        Ok(())
    });
    Ok(Ready { notes, ..of_stream(Stream { path: path.to_owned(), reader: Box::new(reader), finish })? })
}

fn of_stream(stream: Stream) -> Result<Ready, SourceError> {
    Ok(Ready {
        source: backup::Source::Stream(stream),
        excludes: Excludes::new(&[], &[], Case::Sensitive)?,
        caches: backup::Caches::Keep,
        mounts: backup::Mounts::Cross,
        stopper: None,
        notes: Vec::new(),
    })
}
