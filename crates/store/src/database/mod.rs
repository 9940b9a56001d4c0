//! The run database: one SQLite file in WAL mode that several processes read and write at once.

mod feedback;
mod metrics;
mod runs;
mod schema;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;

pub use feedback::{Feedback, FeedbackRow, NewFeedback, NewReply, Reply};
pub(crate) use metrics::MetricRow;
pub use runs::{Run, RunState, StageRecord, StageState};

use crate::StoreError;
use crate::atomic::parent;
use crate::error::At;

/// How long a statement waits for another process's transaction. Those of danlu take milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection to the run database.
///
/// `Send + Sync`; calls on one handle take turns. Give each busy thread a handle of its own ([`RunDb::open`] is cheap).
/// Calls block on the disk: in async code, wrap them in the runtime's blocking call.
#[derive(Debug)]
pub struct RunDb {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl RunDb {
    /// Opens the database, creating the file or bringing an older schema up to date.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let folder = parent(path);
        fs::create_dir_all(folder).at("create the folder", folder)?;
        let connection = schema::open(path, BUSY_TIMEOUT)?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` on the connection and puts the path on its errors.
    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        // A panic in another thread leaves at worst a rolled-back transaction, so a poisoned lock is still good.
        let mut connection: MutexGuard<'_, Connection> = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut connection).map_err(|source| StoreError::database(&self.path, source))
    }
}

/// Reads a JSON column; text that is not JSON comes back as a JSON string rather than as an error, so that one odd row
/// does not hide all others.
fn json_column(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

/// SQLite's integers are signed; steps and counts beyond `i64::MAX` do not occur.
fn to_sql_integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn from_sql_integer(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
