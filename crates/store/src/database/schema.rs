use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};

use crate::StoreError;
use crate::error::is_busy;

/// The steps from an empty file to the present schema; `PRAGMA user_version` counts those taken. Never edit a step that
/// was released: append one.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE runs (
        id      TEXT PRIMARY KEY,
        name    TEXT NOT NULL,
        key     TEXT NOT NULL DEFAULT '',
        recipe  TEXT NOT NULL,
        state   TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'interrupted')),
        started TEXT NOT NULL,
        ended   TEXT,
        summary TEXT NOT NULL DEFAULT 'null'
    ) STRICT;

    CREATE TABLE stages (
        run_id  TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        stage   TEXT NOT NULL,
        key     TEXT NOT NULL,
        state   TEXT NOT NULL CHECK (state IN ('running', 'done', 'reused', 'failed')),
        seconds REAL NOT NULL,
        reason  TEXT NOT NULL,
        started TEXT NOT NULL,
        PRIMARY KEY (run_id, stage)
    ) STRICT;

    -- A value of NULL is a NaN, which SQLite cannot hold.
    CREATE TABLE metrics (
        series TEXT NOT NULL,
        name   TEXT NOT NULL,
        step   INTEGER NOT NULL,
        value  REAL,
        time   REAL NOT NULL,
        PRIMARY KEY (series, name, step)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE replies (
        id                TEXT PRIMARY KEY,
        time              TEXT NOT NULL,
        model_hash        TEXT NOT NULL,
        endpoint          TEXT NOT NULL,
        request           TEXT NOT NULL,
        reply             TEXT NOT NULL,
        settings          TEXT NOT NULL,
        prompt_tokens     INTEGER NOT NULL,
        completion_tokens INTEGER NOT NULL,
        finish_reason     TEXT,
        latency_seconds   REAL NOT NULL
    ) STRICT;
    CREATE INDEX replies_by_time ON replies (time);

    CREATE TABLE feedback (
        id         INTEGER PRIMARY KEY,
        reply_id   TEXT NOT NULL REFERENCES replies (id) ON DELETE CASCADE,
        time       TEXT NOT NULL,
        rating     INTEGER CHECK (rating IN (-1, 1)),
        correction TEXT,
        comment    TEXT
    ) STRICT;
    CREATE INDEX feedback_by_reply ON feedback (reply_id);
"];

/// Opens a connection with the pragmas that every one of danlu's has, and the present schema.
pub(super) fn open(path: &Path, busy_timeout: Duration) -> Result<Connection, StoreError> {
    let told = |source| StoreError::database(path, source);
    let mut connection = Connection::open(path).map_err(told)?;
    connection.busy_timeout(busy_timeout).map_err(told)?;
    set_wal(&connection, path, busy_timeout).map_err(told)?;
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(told)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(told)?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// Turns write-ahead logging on. SQLite does not apply the busy timeout to this change, so that two processes that
/// create the database at once need the loop.
fn set_wal(connection: &Connection, path: &Path, busy_timeout: Duration) -> rusqlite::Result<()> {
    let deadline = Instant::now() + busy_timeout;
    loop {
        let mode = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match mode {
            Ok(mode) => {
                if mode != "wal" {
                    tracing::warn!(path = %path.display(), mode, "the file system does not allow write-ahead logging");
                }
                return Ok(());
            }
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error),
        }
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let told = |source| StoreError::database(path, source);
    let known = MIGRATIONS.len() as i64;
    let version = |connection: &Connection| connection.pragma_query_value(None, "user_version", |row| row.get(0));
    let found: i64 = version(connection).map_err(told)?;
    if found == known {
        return Ok(());
    }
    if found > known {
        return Err(StoreError::NewerDatabase { path: path.to_owned(), found, known });
    }
    // Under the write lock, look again: another process may have migrated meanwhile.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(told)?;
    let found: i64 = version(&transaction).map_err(told)?;
    for step in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(step).map_err(told)?;
    }
    transaction.pragma_update(None, "user_version", known.max(found)).map_err(told)?;
    transaction.commit().map_err(told)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::RunDb;

    #[test]
    fn reopening_keeps_rows_and_version() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("danlu.db");
        let id = RunDb::open(&path).unwrap().begin_run("a", "").unwrap();
        let again = RunDb::open(&path).unwrap();
        assert_eq!(again.run(&id).unwrap().name, "a");
        let connection = Connection::open(&path).unwrap();
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, MIGRATIONS.len() as i64);
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }

    #[test]
    fn a_newer_schema_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("danlu.db");
        drop(RunDb::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = RunDb::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::NewerDatabase { found: 99, .. }));
        assert!(error.hint().unwrap().contains("newer danlu"));
    }

    #[test]
    fn a_file_that_is_no_database_is_an_error_with_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("danlu.db");
        std::fs::write(&path, b"this is a text file, and long enough to be looked at as a header").unwrap();
        let error = RunDb::open(&path).unwrap_err();
        assert!(error.hint().unwrap().contains("move"), "{error:?}");
    }

    #[test]
    fn many_threads_create_it_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("danlu.db");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| RunDb::open(&path).unwrap().begin_run("x", "").unwrap());
            }
        });
        assert_eq!(RunDb::open(&path).unwrap().runs().unwrap().len(), 8);
    }
}
