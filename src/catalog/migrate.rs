//! Bringing a catalog's tables to the present version.
//!
//! The version is SQLite's `user_version`. Each migration is one transaction that ends with the new number, so a crash
//! leaves the version before. A catalog that is about to be migrated is first copied to `<file>.v<version>`.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::CatalogError;

/// In order; the n-th (from 1) makes version n. Those that were ever released are never edited.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001_start.sql")];

/// The latest version that this program knows.
pub(super) const KNOWN: u32 = MIGRATIONS.len() as u32;

/// The version of a catalog's tables; 0 where there are none yet.
pub(super) fn version(connection: &Connection) -> Result<u32, rusqlite::Error> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), CatalogError> {
    migrate_with(connection, path, &MIGRATIONS)
}

fn migrate_with(connection: &mut Connection, path: &Path, migrations: &[&str]) -> Result<(), CatalogError> {
    let failed = |source| CatalogError::Open { path: path.to_owned(), source };
    let found = version(connection).map_err(failed)?;
    let known = u32::try_from(migrations.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(CatalogError::Newer { path: path.to_owned(), found, known });
    }
    if found == known {
        return Ok(());
    }
    if found > 0 {
        let mut copy = path.as_os_str().to_owned();
        copy.push(format!(".v{found}"));
        connection.backup("main", Path::new(&copy), None::<fn(rusqlite::backup::Progress)>).map_err(failed)?;
    }
    for (next, sql) in (1..).zip(migrations) {
        let failed = |source| CatalogError::Migrate { version: next, source };
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        // Another process may have come first.
        let present = version(&transaction).map_err(failed)?;
        if present < next {
            transaction.execute_batch(sql).map_err(failed)?;
            transaction.pragma_update(None, "user_version", next).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_catalog_is_copied_then_migrated() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("catalog.db");
        let mut connection = Connection::open(&path).expect("opened");
        migrate_with(&mut connection, &path, &["CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (7);"])
            .expect("version 1");
        assert!(!folder.path().join("catalog.db.v0").exists());
        let two = ["-- version 1 is there", "ALTER TABLE a ADD COLUMN y INTEGER;"];
        migrate_with(&mut connection, &path, &two).expect("version 2");
        assert_eq!(version(&connection), Ok(2));
        let copy = Connection::open(folder.path().join("catalog.db.v1")).expect("the copy");
        assert_eq!(version(&copy), Ok(1));
        assert_eq!(copy.query_one("SELECT x FROM a", (), |row| row.get::<_, i64>(0)), Ok(7));
        assert!(copy.prepare("SELECT y FROM a").is_err());
    }

    #[test]
    fn a_failed_migration_leaves_the_version_before() {
        let mut connection = Connection::open_in_memory().expect("opened");
        let path = Path::new(":memory:");
        migrate_with(&mut connection, path, &["CREATE TABLE a (x INTEGER) STRICT;"]).expect("version 1");
        let broken = ["", "CREATE TABLE b (x INTEGER) STRICT; CREATE TABLE a (x INTEGER) STRICT;"];
        let folder = tempfile::tempdir().expect("a folder");
        let error = migrate_with(&mut connection, &folder.path().join("c"), &broken).expect_err("a exists");
        assert!(matches!(error, CatalogError::Migrate { version: 2, .. }), "{error}");
        assert_eq!(version(&connection), Ok(1));
        assert!(connection.prepare("SELECT x FROM b").is_err());
    }
}
