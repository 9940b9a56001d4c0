use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{RunDb, json_column};
use crate::time::{now_rfc3339, unix_seconds};
use crate::{StoreError, hash};

/// Declares an enum with the words that stand for its variants in the database and in JSON.
macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($variant),+ }

        impl $name {
            /// The word in the database and in JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            fn from_column(row: &Row<'_>, column: &str) -> rusqlite::Result<Self> {
                match row.get_ref(column)?.as_str()? {
                    $($word => Ok(Self::$variant),)+
                    // The schema's CHECK allows no other word.
                    _ => Err(rusqlite::Error::InvalidColumnName(column.to_owned())),
                }
            }
        }
    };
}

states! {
    /// How a run stands.
    RunState { Running = "running", Done = "done", Failed = "failed", Interrupted = "interrupted" }
}

states! {
    /// How a stage of a run stands; `Reused` means that its artifact was there already.
    StageState { Running = "running", Done = "done", Reused = "reused", Failed = "failed" }
}

/// One `danlu run`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    pub id: String,
    pub name: String,
    /// Hash of all that the run is made from; empty where nobody gave one.
    pub key: String,
    /// The resolved recipe as TOML.
    pub recipe: String,
    pub state: RunState,
    /// RFC 3339.
    pub started: String,
    pub ended: Option<String>,
    pub summary: Value,
}

/// One stage of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageRecord {
    pub stage: String,
    /// The artifact's key.
    pub key: String,
    pub state: StageState,
    pub seconds: f64,
    /// Why it ran or was reused, or how it failed.
    pub reason: String,
    /// RFC 3339.
    pub started: String,
}

impl RunDb {
    /// Adds a run in state `running` and returns its id: `<date>-<time>-<name>-<4 digits>`.
    ///
    /// [`crate::Workspace::begin_run`] does the same and holds the run as well.
    pub fn begin_run(&self, name: &str, recipe: &str) -> Result<String, StoreError> {
        let id = self.new_run_id(name)?;
        self.insert_run(&id, name, recipe)?;
        Ok(id)
    }

    /// An id that no run has yet.
    pub(crate) fn new_run_id(&self, name: &str) -> Result<String, StoreError> {
        loop {
            let id = run_id(name);
            let taken = self.with(|db| {
                db.query_row("SELECT EXISTS (SELECT 1 FROM runs WHERE id = ?1)", [&id], |row| row.get::<_, bool>(0))
            })?;
            if !taken {
                return Ok(id);
            }
        }
    }

    pub(crate) fn insert_run(&self, id: &str, name: &str, recipe: &str) -> Result<(), StoreError> {
        self.with(|db| {
            db.execute(
                "INSERT INTO runs (id, name, recipe, state, started) VALUES (?1, ?2, ?3, 'running', ?4)",
                params![id, name, recipe, now_rfc3339()],
            )
        })?;
        Ok(())
    }

    /// The newest run of this name and key.
    pub(crate) fn run_of_key(&self, name: &str, key: &str) -> Result<Option<Run>, StoreError> {
        self.with(|db| {
            let mut statement = db.prepare_cached(
                "SELECT * FROM runs WHERE name = ?1 AND key = ?2 ORDER BY started DESC, rowid DESC LIMIT 1",
            )?;
            statement.query_map([name, key], read_run)?.next().transpose()
        })
    }

    pub(crate) fn set_key(&self, id: &str, key: &str) -> Result<(), StoreError> {
        self.with(|db| db.execute("UPDATE runs SET key = ?2 WHERE id = ?1", [id, key]))?;
        Ok(())
    }

    /// Puts a run back into state `running`; what it had recorded stays.
    pub(crate) fn reopen_run(&self, id: &str) -> Result<(), StoreError> {
        self.with(|db| db.execute("UPDATE runs SET state = 'running', ended = NULL WHERE id = ?1", [id]))?;
        Ok(())
    }

    /// Sets the run's end, state and summary.
    pub fn end_run(&self, id: &str, state: RunState, summary: &Value) -> Result<(), StoreError> {
        let changed = self.with(|db| {
            db.execute(
                "UPDATE runs SET state = ?2, ended = ?3, summary = ?4 WHERE id = ?1",
                params![id, state.as_str(), now_rfc3339(), summary.to_string()],
            )
        })?;
        if changed == 0 { Err(self.run_not_found(id)) } else { Ok(()) }
    }

    /// Adds the stage to the run, or replaces what was recorded of it.
    pub fn record_stage(&self, run_id: &str, record: &StageRecord) -> Result<(), StoreError> {
        self.with(|db| {
            db.execute(
                "INSERT INTO stages (run_id, stage, key, state, seconds, reason, started)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (run_id, stage) DO UPDATE SET key = excluded.key, state = excluded.state,
                     seconds = excluded.seconds, reason = excluded.reason, started = excluded.started",
                params![
                    run_id,
                    record.stage,
                    record.key,
                    record.state.as_str(),
                    record.seconds,
                    record.reason,
                    record.started
                ],
            )
        })?;
        Ok(())
    }

    /// All runs, newest first.
    pub fn runs(&self) -> Result<Vec<Run>, StoreError> {
        self.with(|db| {
            let mut statement = db.prepare_cached("SELECT * FROM runs ORDER BY started DESC, rowid DESC")?;
            statement.query_map([], read_run)?.collect()
        })
    }

    /// The run of this id, or the only one whose id begins so; `latest` names the newest.
    pub fn run(&self, id_or_prefix: &str) -> Result<Run, StoreError> {
        let mut found: Vec<Run> = self.with(|db| {
            let mut statement = db.prepare_cached(
                "SELECT * FROM runs WHERE substr(id, 1, length(?1)) = ?1 ORDER BY started DESC, rowid DESC",
            )?;
            let prefix = if id_or_prefix == "latest" { "" } else { id_or_prefix };
            statement.query_map([prefix], read_run)?.collect()
        })?;
        let exact = match id_or_prefix {
            "" => return Err(self.run_not_found("")),
            "latest" => (!found.is_empty()).then_some(0),
            id => found.iter().position(|run| run.id == id),
        };
        match (exact, found.len()) {
            (Some(at), _) => Ok(found.swap_remove(at)),
            (None, 1) => Ok(found.swap_remove(0)),
            (None, 0) => Err(self.run_not_found(id_or_prefix)),
            (None, _) => Err(StoreError::RunAmbiguous {
                given: id_or_prefix.to_owned(),
                matches: found.into_iter().map(|run| run.id).collect(),
            }),
        }
    }

    /// The run's stages in the order in which they were first recorded.
    pub fn stages(&self, run_id: &str) -> Result<Vec<StageRecord>, StoreError> {
        self.with(|db| {
            let mut statement = db.prepare_cached("SELECT * FROM stages WHERE run_id = ?1 ORDER BY rowid")?;
            statement.query_map([run_id], read_stage)?.collect()
        })
    }

    fn run_not_found(&self, given: &str) -> StoreError {
        StoreError::RunNotFound { given: given.to_owned(), path: self.path().to_owned() }
    }
}

fn read_run(row: &Row<'_>) -> rusqlite::Result<Run> {
    Ok(Run {
        id: row.get("id")?,
        name: row.get("name")?,
        key: row.get("key")?,
        recipe: row.get("recipe")?,
        state: RunState::from_column(row, "state")?,
        started: row.get("started")?,
        ended: row.get("ended")?,
        summary: json_column(row.get("summary")?),
    })
}

fn read_stage(row: &Row<'_>) -> rusqlite::Result<StageRecord> {
    Ok(StageRecord {
        stage: row.get("stage")?,
        key: row.get("key")?,
        state: StageState::from_column(row, "state")?,
        seconds: row.get("seconds")?,
        reason: row.get("reason")?,
        started: row.get("started")?,
    })
}

/// A readable id that sorts by time; the last digits keep runs of the same second apart.
fn run_id(name: &str) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let moment = now_rfc3339();
    let date: String = moment.chars().take(10).filter(char::is_ascii_digit).collect();
    let clock: String = moment.chars().skip(11).take(8).filter(char::is_ascii_digit).collect();
    let seed = format!("{} {} {}", std::process::id(), unix_seconds(), COUNTER.fetch_add(1, Ordering::Relaxed));
    let digits = hash::of_bytes(seed.as_bytes());
    let name = slug(name);
    let separator = if name.is_empty() { "" } else { "-" };
    format!("{date}-{clock}-{name}{separator}{}", &digits.short()[..4])
}

/// At most 32 lower-case letters, digits and hyphens of `name`, fit for a folder name.
fn slug(name: &str) -> String {
    let words = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect::<Vec<_>>()
        .join("-");
    words.chars().take(32).collect::<String>().trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn db() -> (tempfile::TempDir, RunDb) {
        let dir = tempfile::tempdir().unwrap();
        let db = RunDb::open(&dir.path().join("danlu.db")).unwrap();
        (dir, db)
    }

    #[test]
    fn the_life_of_a_run() {
        let (_dir, db) = db();
        let id = db.begin_run("Quick Start!", "[train]\nsteps = 1\n").unwrap();
        assert!(id.contains("-quick-start-"), "{id}");
        let run = db.run(&id).unwrap();
        assert_eq!((run.state, run.ended, run.summary), (RunState::Running, None, Value::Null));
        db.end_run(&id, RunState::Done, &json!({"bits_per_byte": 2.5})).unwrap();
        let run = db.run(&id).unwrap();
        assert_eq!(run.state, RunState::Done);
        assert_eq!(run.summary["bits_per_byte"], 2.5);
        assert!(run.ended.unwrap() >= run.started);
        assert_eq!(run.recipe, "[train]\nsteps = 1\n");
        assert!(matches!(db.end_run("none", RunState::Done, &Value::Null), Err(StoreError::RunNotFound { .. })));
    }

    #[test]
    fn stages_keep_their_order_and_are_replaced() {
        let (_dir, db) = db();
        let id = db.begin_run("a", "").unwrap();
        let record = |stage: &str, state| StageRecord {
            stage: stage.into(),
            key: "k".into(),
            state,
            seconds: 1.0,
            reason: "inputs changed".into(),
            started: now_rfc3339(),
        };
        db.record_stage(&id, &record("collect", StageState::Running)).unwrap();
        db.record_stage(&id, &record("clean", StageState::Running)).unwrap();
        let done = record("collect", StageState::Done);
        db.record_stage(&id, &done).unwrap();
        let stages = db.stages(&id).unwrap();
        assert_eq!(stages.iter().map(|s| s.stage.as_str()).collect::<Vec<_>>(), ["collect", "clean"]);
        assert_eq!(stages[0], done);
        assert!(db.record_stage("no such run", &done).is_err());
        assert_eq!(serde_json::to_value(&stages[0]).unwrap()["state"], "done");
    }

    #[test]
    fn runs_are_found_by_unique_prefix() {
        let (_dir, db) = db();
        assert!(matches!(db.run("latest"), Err(StoreError::RunNotFound { .. })));
        for id in ["20260101-a", "20260101-ab", "20260202-c"] {
            db.insert_run(id, "n", "").unwrap();
        }
        assert_eq!(db.run("202602").unwrap().id, "20260202-c");
        assert_eq!(db.run("20260101-a").unwrap().id, "20260101-a", "an exact id wins over a prefix");
        assert_eq!(db.run("latest").unwrap().id, "20260202-c");
        assert_eq!(db.runs().unwrap().len(), 3);
        let error = db.run("20260101").unwrap_err();
        assert!(matches!(&error, StoreError::RunAmbiguous { matches, .. } if matches.len() == 2), "{error}");
        for none in ["", "%", "_", "x'; DROP TABLE runs; --"] {
            assert!(matches!(db.run(none), Err(StoreError::RunNotFound { .. })), "{none}");
        }
    }

    #[test]
    fn ids_are_fit_for_folder_names() {
        for name in ["../../etc", "丹炉", "", "a b/c\\d", &"long ".repeat(40)] {
            let id = run_id(name);
            assert!(id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{id}");
            assert!(id.len() <= 60 && !id.ends_with('-') && !id.contains("--"), "{id}");
        }
        assert_ne!(run_id("a"), run_id("a"));
    }
}
