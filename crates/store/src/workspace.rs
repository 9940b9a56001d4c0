use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::database::{RunDb, RunState};
use crate::error::At;
use crate::lock::Lock;
use crate::{ArtifactStore, StoreError};

/// The run database's file name inside the workspace.
pub const DATABASE_FILE: &str = "danlu.db";

/// What a database of SQLite begins with.
const SQLITE: &[u8; 16] = b"SQLite format 3\0";

/// The folder under which danlu keeps everything it writes: `runs/`, or what `--runs-dir` says.
///
/// ```text
/// runs/
///   danlu.db                      the run database
///   artifacts/<stage>/<key>/      finished results of stages
///   <run id>/                     one folder a run: recipe, report, lock
/// ```
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Opens the workspace, creating its folders where missing.
    pub fn open(runs_dir: &Path) -> Result<Self, StoreError> {
        let workspace = Self { root: runs_dir.to_owned() };
        let artifacts = workspace.artifacts();
        fs::create_dir_all(artifacts.root()).at("create the folder", artifacts.root())?;
        Ok(workspace)
    }

    /// Whether a folder is a workspace, as its database and its folder of artifacts tell, whatever it is called.
    pub fn is_at(folder: &Path) -> bool {
        let mut begins = [0; SQLITE.len()];
        let database = fs::File::open(folder.join(DATABASE_FILE));
        let is_database = database.and_then(|mut file| file.read_exact(&mut begins)).is_ok() && begins == *SQLITE;
        is_database && folder.join("artifacts").is_dir()
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn artifacts(&self) -> ArtifactStore {
        ArtifactStore::new(self.root.join("artifacts"))
    }

    /// Opens the run database; each call gives a connection of its own.
    pub fn db(&self) -> Result<RunDb, StoreError> {
        RunDb::open(&self.db_path())
    }

    pub fn db_path(&self) -> PathBuf {
        self.root.join(DATABASE_FILE)
    }

    /// Where the run's own files (recipe, report) lie. Not created.
    pub fn run_dir(&self, run_id: &str) -> PathBuf {
        self.root.join(run_id)
    }

    /// Begins a run and holds it: as [`RunDb::begin_run`] with [`Workspace::hold_run`], without a moment between the
    /// two in which another process would take the run for abandoned.
    pub fn begin_run(&self, db: &RunDb, name: &str, recipe: &str) -> Result<(String, Lock), StoreError> {
        let id = db.new_run_id(name)?;
        let lock = self.hold_run(&id)?;
        db.insert_run(&id, name, recipe)?;
        Ok((id, lock))
    }

    /// As [`Workspace::begin_run`], unless there is a run of the same name and key: then that one goes on, or, where a
    /// process is at work on it, it is [`StoreError::Busy`]. The same recipe on the same data so stays one run, however
    /// often it was stopped.
    pub fn begin_or_resume_run(
        &self,
        db: &RunDb,
        name: &str,
        recipe: &str,
        key: &str,
    ) -> Result<(String, Lock), StoreError> {
        if let Some(run) = db.run_of_key(name, key)? {
            let lock = self.hold_run(&run.id)?;
            db.reopen_run(&run.id)?;
            return Ok((run.id, lock));
        }
        let (id, lock) = self.begin_run(db, name, recipe)?;
        db.set_key(&id, key)?;
        Ok((id, lock))
    }

    /// Shows that a process is at work on the run, as long as the lock lives. [`Workspace::mark_interrupted`] in any
    /// process then leaves the run alone.
    pub fn hold_run(&self, run_id: &str) -> Result<Lock, StoreError> {
        Lock::acquire(&self.run_dir(run_id).join("lock"), &format!("run {run_id}"))
    }

    /// Marks runs as interrupted that still say `running` although no process holds them (killed, or the machine went
    /// down), and returns their ids.
    pub fn mark_interrupted(&self, db: &RunDb) -> Result<Vec<String>, StoreError> {
        let mut marked = Vec::new();
        for run in db.runs()? {
            if run.state != RunState::Running {
                continue;
            }
            // A run whose folder is gone cannot be held by anyone; do not bring the folder back.
            let claim = if self.run_dir(&run.id).is_dir() { self.hold_run(&run.id).map(Some) } else { Ok(None) };
            match claim {
                Ok(_claim) => {
                    db.end_run(&run.id, RunState::Interrupted, &run.summary)?;
                    marked.push(run.id);
                }
                Err(StoreError::Busy { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(marked)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_workspace_is_known_by_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let named = dir.path().join("runs");
        fs::create_dir_all(named.join("artifacts")).unwrap();
        fs::write(named.join(DATABASE_FILE), "notes about a database").unwrap();
        assert!(!Workspace::is_at(&named));
        let other = dir.path().join("experiments");
        drop(Workspace::open(&other).unwrap().db().unwrap());
        assert!(Workspace::is_at(&other) && !Workspace::is_at(dir.path()));
    }

    #[test]
    fn creates_its_folders_and_reopens() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("deep/runs");
        let workspace = Workspace::open(&root).unwrap();
        assert_eq!(workspace.root(), root);
        assert!(workspace.artifacts().root().is_dir());
        let id = workspace.db().unwrap().begin_run("quick", "[train]").unwrap();
        let again = Workspace::open(&root).unwrap();
        assert_eq!(again.db().unwrap().runs().unwrap()[0].id, id);
        assert_eq!(again.run_dir(&id), root.join(&id));
    }

    #[test]
    fn the_same_key_goes_on_as_the_same_run() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(dir.path()).unwrap();
        let db = workspace.db().unwrap();
        let (first, lock) = workspace.begin_or_resume_run(&db, "a", "", "k1").unwrap();
        let beside = workspace.begin_or_resume_run(&db, "a", "", "k1").unwrap_err();
        assert!(matches!(beside, StoreError::Busy { .. }), "a run that is at work is not taken over");
        drop(lock);
        db.end_run(&first, RunState::Failed, &serde_json::Value::Null).unwrap();
        let (again, _lock) = workspace.begin_or_resume_run(&db, "a", "", "k1").unwrap();
        assert_eq!(again, first);
        assert_eq!(db.run(&again).unwrap().state, RunState::Running);
        assert_ne!(workspace.begin_or_resume_run(&db, "a", "", "k2").unwrap().0, again);
    }

    #[test]
    fn only_abandoned_runs_are_interrupted() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(dir.path()).unwrap();
        let db = workspace.db().unwrap();
        let (held, claim) = workspace.begin_run(&db, "held", "").unwrap();
        let (abandoned, lost) = workspace.begin_run(&db, "abandoned", "").unwrap();
        drop(lost);
        let folderless = db.begin_run("folderless", "").unwrap();
        let mut marked = workspace.mark_interrupted(&db).unwrap();
        marked.sort();
        let mut expected = [abandoned.clone(), folderless.clone()];
        expected.sort();
        assert_eq!(marked, expected);
        assert_eq!(db.run(&abandoned).unwrap().state, RunState::Interrupted);
        assert!(!workspace.run_dir(&folderless).exists());
        assert_eq!(db.run(&held).unwrap().state, RunState::Running);
        drop(claim);
        assert_eq!(workspace.mark_interrupted(&db).unwrap(), [held]);
        assert!(workspace.mark_interrupted(&db).unwrap().is_empty());
    }
}
