//! The SQLite cache of what the vaults know.
//!
//! The vault is the truth: all but runs that are going on right now is filled from records ([`Catalog::apply`]) and from
//! the vaults' lists of snapshots ([`Catalog::list_snapshots`]), in daily work as in a rebuild, so that a rebuilt catalog
//! equals the one that was lost ([`Catalog::dump`]).
//!
//! One writer: a connection behind a mutex, every change in one immediate transaction, durable when it returns (WAL,
//! `synchronous = FULL`). Another process on the same file waits. SQL is found here and nowhere else.

mod apply;
mod arrivals;
mod damage;
mod drills;
mod dump;
mod migrate;
mod rebuild;
mod runs;
mod snapshots;
mod value;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

pub use damage::set_aside_damaged;
pub use drills::DrillRow;
pub use rebuild::{Rebuilt, VaultContents};
pub use runs::{Claim, History, NewRun, RunRow, RunState};
pub use snapshots::{Listed, SnapshotRow};

/// How long a change waits for another process.
const BUSY: Duration = Duration::from_secs(30);

/// The catalog cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The file could not be opened or set up.
    #[error("open the catalog {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A later program wrote it.
    #[error("open the catalog {}: it has version {found}, this program knows up to {known}; use the newer program, or \
        move the file away and run `drctl catalog rebuild`", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The latest that this program knows.
        known: u32,
    },
    /// A migration failed; the catalog is as it was.
    #[error("bring the catalog to version {version}")]
    Migrate {
        /// The version.
        version: u32,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A query failed.
    #[error("{op} in the catalog")]
    Query {
        /// What was asked or changed.
        op: &'static str,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A damaged catalog could not be moved out of the way.
    #[error("move the damaged catalog {} aside", path.display())]
    SetAside {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A value could not be written as JSON.
    #[error("write {what} into the catalog")]
    Json {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Names the operation that a query belonged to.
trait During<T> {
    fn during(self, op: &'static str) -> Result<T, CatalogError>;
}

impl<T> During<T> for Result<T, rusqlite::Error> {
    fn during(self, op: &'static str) -> Result<T, CatalogError> {
        self.map_err(|source| CatalogError::Query { op, source })
    }
}

/// The catalog.
#[derive(Debug)]
pub struct Catalog {
    connection: Mutex<Connection>,
}

impl Catalog {
    /// Opens the catalog in a file, made when there is none. An older one is migrated; a copy of it is kept beside it.
    pub fn open(path: &Path) -> Result<Self, CatalogError> {
        let failed = |source| CatalogError::Open { path: path.to_owned(), source };
        let connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        Self::set_up(connection, path)
    }

    /// A catalog that is gone when it is dropped.
    pub fn in_memory() -> Result<Self, CatalogError> {
        let path = Path::new(":memory:");
        let connection = Connection::open_in_memory();
        Self::set_up(connection.map_err(|source| CatalogError::Open { path: path.to_owned(), source })?, path)
    }

    fn set_up(mut connection: Connection, path: &Path) -> Result<Self, CatalogError> {
        let failed = |source| CatalogError::Open { path: path.to_owned(), source };
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        migrate::migrate(&mut connection, path)?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// A panic in another thread leaves no half-done change behind: its transaction was rolled back.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out a change: wholly and durably, or not at all.
    fn change<T>(
        &self,
        op: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).during(op)?;
        let done = change(&transaction)?;
        transaction.commit().during(op)?;
        Ok(done)
    }
}

#[cfg(test)]
mod tests;
