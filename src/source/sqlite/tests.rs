use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

fn ledger(path: &Path, journal_mode: &str) -> Connection {
    let database = Connection::open(path).unwrap();
    database.busy_timeout(PATIENCE).unwrap();
    database.pragma_update(None, "journal_mode", journal_mode).unwrap();
    database
        .execute_batch(
            "create table account (id integer primary key, balance integer not null);
             insert into account values (1, 1000), (2, 1000);
             create table entry (id integer primary key, note text);",
        )
        .unwrap();
    database
}

fn header(path: &Path) -> Vec<u8> {
    let mut header = vec![0; 100];
    File::open(path).unwrap().read_exact(&mut header).unwrap();
    header
}

/// Moves money back and forth until told to stop. The sum of both accounts never changes.
fn write_until(path: &Path, stop: &AtomicBool) -> u64 {
    let mut database = Connection::open(path).unwrap();
    database.busy_timeout(PATIENCE).unwrap();
    let mut commits = 0;
    while !stop.load(Ordering::SeqCst) {
        let amount = i64::try_from(commits % 7).unwrap() - 3;
        let all = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
        all.execute("update account set balance = balance - ?1 where id = 1", [amount]).unwrap();
        all.execute("insert into entry (note) values (hex(randomblob(400)))", []).unwrap();
        all.execute("update account set balance = balance + ?1 where id = 2", [amount]).unwrap();
        all.commit().unwrap();
        commits += 1;
        // A writer that never lets go of the lock of a rollback journal can starve everybody else, on a busy machine for as
        // long as it likes: an application does something between two commits.
        std::thread::park_timeout(Duration::from_millis(1));
    }
    commits
}

/// Tells the writer to end when it goes out of scope, be it by a panic.
struct EndsWriter<'s>(&'s AtomicBool);

impl Drop for EndsWriter<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_copy_is_consistent_while_the_database_is_written() {
    for mode in ["wal", "delete"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("led ger?#%.db");
        let database = ledger(&path, mode);
        database.pragma_update(None, "wal_autocheckpoint", 50).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| write_until(&path, &stop));
            // a failed assertion must not leave the writer running for ever
            let ends = EndsWriter(&stop);
            let mut seen: Vec<u64> = Vec::new();
            // until at least three copies differ: the writer was at work between them
            while seen.len() < 12 || seen.iter().collect::<std::collections::BTreeSet<_>>().len() < 3 {
                assert!(seen.len() < 5000, "the writer never gets through");
                // on a busy machine the writer needs its turn
                std::thread::park_timeout(std::time::Duration::from_millis(2));
                let copied = copy(&path, folder.path(), PATIENCE).unwrap();
                assert_eq!(copied.dangling, [""; 0]);
                let restored = Restored::open(copied.path()).unwrap();
                assert_eq!(restored.first("select sum(balance) from account").unwrap().as_deref(), Some("2000"));
                seen.push(restored.first("select count(*) from entry").unwrap().unwrap().parse().unwrap());
                assert_eq!(header(copied.path())[16..20], header(&path)[16..20], "page size and journal mode");
            }
            drop(ends);
            let commits = writer.join().unwrap();
            assert!(seen.is_sorted(), "{seen:?}");
            assert!(
                seen[0] < commits && *seen.last().unwrap() <= commits,
                "it was written meanwhile: {seen:?}, {commits}"
            );
        });
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".drctl-")), "{left:?}");
    }
}

#[test]
fn pages_lie_where_they_lay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let database = ledger(&path, "wal");
    for _ in 0..2000 {
        database.execute("insert into entry (note) values (hex(randomblob(100)))", []).unwrap();
    }
    database.execute("delete from entry where id % 3 = 0", []).unwrap();
    database.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())).unwrap();
    let copied = copy(&path, folder.path(), PATIENCE).unwrap();
    let (source, copy) = (std::fs::read(&path).unwrap(), std::fs::read(copied.path()).unwrap());
    assert_eq!(source.len(), copy.len());
    assert!(source[4096..] == copy[4096..], "only the header's counters may differ");
    let mut through = Vec::new();
    copied.open().unwrap().read_to_end(&mut through).unwrap();
    assert!(through == copy);
}

#[test]
fn what_is_no_database_or_damaged_or_missing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    std::fs::write(&path, "these are no pages".repeat(500)).unwrap();
    let error = copy(&path, folder.path(), PATIENCE).unwrap_err();
    assert!(matches!(error, SqliteError::NotADatabase { .. }), "{error:?}");

    std::fs::remove_file(&path).unwrap();
    assert!(matches!(copy(&path, folder.path(), PATIENCE), Err(SqliteError::Open { .. })));
    assert!(!path.exists(), "looking must not create it");

    let database = ledger(&path, "delete");
    for _ in 0..500 {
        database.execute("insert into entry (note) values (hex(randomblob(100)))", []).unwrap();
    }
    database.execute("create index by_note on entry (note)", []).unwrap();
    database.close().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0x55);
    std::fs::write(&path, bytes).unwrap();
    let error = copy(&path, folder.path(), PATIENCE).unwrap_err();
    assert!(matches!(error, SqliteError::Damaged { .. }), "{error:?}");

    let nowhere = folder.path().join("gone");
    assert!(matches!(copy(&path, &nowhere, PATIENCE), Err(SqliteError::Write { .. })));
}

#[test]
fn a_lock_is_waited_for_and_then_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let database = ledger(&path, "delete");
    database.execute_batch("begin exclusive").unwrap();
    let error = copy(&path, folder.path(), Duration::from_millis(100)).unwrap_err();
    assert!(matches!(error, SqliteError::Locked { .. }), "{error:?}");
    assert!(error.to_string().ends_with("it was locked for more than 100ms"), "{error}");
    database.execute_batch("rollback").unwrap();
    copy(&path, folder.path(), Duration::MAX).unwrap();
}

#[test]
fn dangling_rows_are_noted_and_do_not_stop_the_copy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "pragma foreign_keys = off;
             create table parent (id integer primary key);
             create table child (id integer primary key, parent integer references parent);
             insert into child values (7, 99);",
        )
        .unwrap();
    let copied = copy(&path, folder.path(), PATIENCE).unwrap();
    assert_eq!(copied.dangling, ["row 7 of child refers to a row that parent does not have"]);
}

#[test]
fn asking_a_restored_database_changes_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let live = folder.path().join("live.db");
    let database = ledger(&live, "wal");
    // a file backup takes the database and its WAL, not the shared memory
    let restored = tempfile::tempdir().unwrap();
    let path = restored.path().join("live.db");
    for suffix in ["", "-wal"] {
        let from = folder.path().join(format!("live.db{suffix}"));
        std::fs::copy(from, restored.path().join(format!("live.db{suffix}"))).unwrap();
    }
    drop(database);
    let asked = Restored::open(&path).unwrap();
    assert_eq!(asked.first("select count(*) from account").unwrap().as_deref(), Some("2"));
    assert_eq!(asked.first("select null").unwrap(), None);
    assert_eq!(asked.first("select 1 where 0").unwrap(), None);
    assert_eq!(asked.first("select x'00ff'").unwrap().as_deref(), Some("00ff"));
    assert!(matches!(asked.first("delete from account"), Err(SqliteError::Query { .. })));
    assert!(matches!(asked.first("select * from nothing"), Err(SqliteError::Query { .. })));
    drop(asked);
    let mut names: Vec<_> = std::fs::read_dir(restored.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["live.db", "live.db-wal"]);
}
