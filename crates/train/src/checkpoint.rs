//! Checkpoints on disk: `checkpoints/step-000123/{model,optimizer}.safetensors` and `state.json`.
//!
//! - A checkpoint is written aside, fsynced and renamed, so a folder `step-*` is whole. Its
//!   `state.json` holds the checksums of the other two files and of itself; what does not match is put aside as
//!   `step-*.damaged` and the one before it is used.
//! - `best-000123/` holds the weights of a validation that was the best so far. It is kept as long
//!   as it is the best, or a kept checkpoint would return to it.
//! - The files `last` and `best` name the newest of either kind, for people and other tools;
//!   resuming does not need them.

use crate::TrainError;
use crate::state::{FORMAT, Identity, TrainState};
use crate::tensors::{Incoming, OutgoingTensors, write};
use danlu_store::{ContentHash, StoreError, atomic, hash};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";
const STEP: &str = "step-";
const BEST: &str = "best-";
const PARTIAL: &str = ".partial";
const DAMAGED: &str = ".damaged";

/// The checkpoints of one run.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
}

/// A checkpoint read back.
#[derive(Debug)]
pub struct Loaded {
    pub state: TrainState,
    pub model: Incoming,
    pub optimizer: Incoming,
}

/// `state.json` of a `best-*` folder.
#[derive(Debug, Serialize, Deserialize)]
struct BestState {
    format: u32,
    step: u64,
    model: ContentHash,
}

impl Checkpoints {
    /// Opens `work_dir/checkpoints`, keeping the newest `keep`. What a killed process left
    /// half-written is removed.
    pub fn open(work_dir: &Path, keep: usize) -> Result<Self, TrainError> {
        let folder = work_dir.join("checkpoints");
        fs::create_dir_all(&folder).map_err(|e| StoreError::io("create", &folder, e))?;
        let checkpoints = Self { folder, keep: keep.max(1) };
        for name in checkpoints.names()? {
            if name.ends_with(PARTIAL) {
                checkpoints.remove(&name)?;
            }
        }
        atomic::remove_leftovers(&checkpoints.folder)?;
        Ok(checkpoints)
    }

    /// Writes the checkpoint of `state.step` and prunes older ones. After an error the checkpoints
    /// before it are as they were.
    pub fn save(
        &self,
        state: &TrainState,
        model: &OutgoingTensors,
        optimizer: &OutgoingTensors,
    ) -> Result<(), TrainError> {
        let name = folder_name(STEP, state.step);
        if self.folder.join(&name).exists() {
            // The same step of the same run has the same weights; only the state may be newer.
            return self.rewrite_state(state);
        }
        let work = self.folder.join(format!("{name}{PARTIAL}"));
        let written = self
            .fill(&work, state, model, optimizer)
            .and_then(|()| atomic::publish_dir(&work, &self.folder.join(&name)).map_err(TrainError::from));
        if let Err(source) = written {
            // Best effort: gives the space back; the first error is the one to tell.
            let _ = fs::remove_dir_all(&work);
            let source = Box::new(source);
            return Err(TrainError::CheckpointNotWritten { step: state.step, source });
        }
        atomic::write_bytes(&self.folder.join("last"), name.as_bytes())?;
        self.prune(state.best.map(|best| best.step))
    }

    fn fill(
        &self,
        work: &Path,
        state: &TrainState,
        model: &OutgoingTensors,
        optimizer: &OutgoingTensors,
    ) -> Result<(), TrainError> {
        fs::create_dir_all(work).map_err(|e| StoreError::io("create", work, e))?;
        let mut state = state.clone();
        state.files.clear();
        for (file, tensors) in [(MODEL, model), (OPTIMIZER, optimizer)] {
            state.files.insert(file.to_owned(), write(&work.join(file), tensors)?);
        }
        write_json(&work.join(STATE), &state)
    }

    /// Replaces the state of the checkpoint of `state.step`, keeping its tensors.
    pub fn rewrite_state(&self, state: &TrainState) -> Result<(), TrainError> {
        let path = self.folder.join(folder_name(STEP, state.step)).join(STATE);
        let files = read_json::<TrainState>(&path)?.files;
        write_json(&path, &TrainState { files, ..state.clone() })
    }

    /// The newest checkpoint that is whole, and a sentence for each damaged one passed over.
    /// A checkpoint of another run is an error.
    pub fn newest(&self, identity: &Identity) -> Result<(Option<Loaded>, Vec<String>), TrainError> {
        let mut notes = Vec::new();
        for step in self.steps(STEP)?.into_iter().rev() {
            let name = folder_name(STEP, step);
            let folder = self.folder.join(&name);
            match load(&folder) {
                Ok(loaded) => {
                    if let Some(what) = loaded.state.identity.difference(identity) {
                        return Err(TrainError::OtherRun { path: folder, what });
                    }
                    return Ok((Some(loaded), notes));
                }
                Err(error) if !is_damage(&error) => return Err(error),
                Err(error) => {
                    let reason = chain(&error);
                    self.put_aside(&name)?;
                    notes.push(format!("checkpoint {name} is damaged ({reason}); going back to the one before it"));
                }
            }
        }
        Ok((None, notes))
    }

    /// Keeps the weights of the best validation so far.
    pub fn save_best(&self, step: u64, model: &OutgoingTensors) -> Result<(), TrainError> {
        let name = folder_name(BEST, step);
        let work = self.folder.join(format!("{name}{PARTIAL}"));
        let done = self.folder.join(&name);
        if load_best(&done).is_err() {
            let written = self.fill_best(&work, step, model).and_then(|()| {
                if done.exists() {
                    self.remove(&name)?;
                }
                atomic::publish_dir(&work, &done).map_err(TrainError::from)
            });
            if let Err(source) = written {
                let _ = fs::remove_dir_all(&work);
                let source = Box::new(source);
                return Err(TrainError::CheckpointNotWritten { step, source });
            }
        }
        atomic::write_bytes(&self.folder.join("best"), name.as_bytes())?;
        self.prune(Some(step))
    }

    fn fill_best(&self, work: &Path, step: u64, model: &OutgoingTensors) -> Result<(), TrainError> {
        fs::create_dir_all(work).map_err(|e| StoreError::io("create", work, e))?;
        let model = write(&work.join(MODEL), model)?;
        write_json(&work.join(STATE), &BestState { format: FORMAT, step, model })
    }

    /// The weights of the best validation, at `step`.
    pub fn read_best(&self, step: u64) -> Result<Incoming, TrainError> {
        load_best(&self.folder.join(folder_name(BEST, step)))
    }

    /// Deletes checkpoints beyond the newest `keep`, and best weights that nothing refers to.
    fn prune(&self, best: Option<u64>) -> Result<(), TrainError> {
        let steps = self.steps(STEP)?;
        let (old, kept) = steps.split_at(steps.len().saturating_sub(self.keep));
        let mut wanted: BTreeSet<u64> = best.into_iter().collect();
        for &step in kept {
            let path = self.folder.join(folder_name(STEP, step)).join(STATE);
            // One that cannot be read returns to nothing.
            wanted.extend(read_json::<TrainState>(&path).ok().and_then(|s| s.best).map(|best| best.step));
        }
        for &step in old {
            self.remove(&folder_name(STEP, step))?;
        }
        for step in self.steps(BEST)? {
            if !wanted.contains(&step) {
                self.remove(&folder_name(BEST, step))?;
            }
        }
        Ok(())
    }

    /// Removes a folder so that a kill half-way leaves no whole-looking remainder.
    fn remove(&self, name: &str) -> Result<(), TrainError> {
        let path = self.folder.join(name);
        let doomed = if name.ends_with(PARTIAL) {
            path
        } else {
            let doomed = self.folder.join(format!("{name}.old{PARTIAL}"));
            if doomed.exists() {
                fs::remove_dir_all(&doomed).map_err(|e| StoreError::io("remove", &doomed, e))?;
            }
            fs::rename(&path, &doomed).map_err(|e| StoreError::io("remove", &path, e))?;
            doomed
        };
        fs::remove_dir_all(&doomed).map_err(|e| StoreError::io("remove", &doomed, e))?;
        Ok(())
    }

    fn put_aside(&self, name: &str) -> Result<(), TrainError> {
        let from = self.folder.join(name);
        let to = self.folder.join(format!("{name}{DAMAGED}"));
        if to.exists() {
            fs::remove_dir_all(&to).map_err(|e| StoreError::io("remove", &to, e))?;
        }
        Ok(fs::rename(&from, &to).map_err(|e| StoreError::io("put aside", &from, e))?)
    }

    /// The steps of the whole folders of one kind, ascending.
    fn steps(&self, kind: &str) -> Result<Vec<u64>, TrainError> {
        let mut steps: Vec<u64> =
            self.names()?.iter().filter_map(|name| name.strip_prefix(kind)?.parse().ok()).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    fn names(&self) -> Result<Vec<String>, TrainError> {
        let list = || -> std::io::Result<Vec<String>> {
            fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        };
        Ok(list().map_err(|e| StoreError::io("list", &self.folder, e))?)
    }
}

fn folder_name(kind: &str, step: u64) -> String {
    format!("{kind}{step:06}")
}

fn load(folder: &Path) -> Result<Loaded, TrainError> {
    let path = folder.join(STATE);
    let state: TrainState = read_json(&path)?;
    if state.format != FORMAT {
        let what = format!("the checkpoint formats ({} and {FORMAT})", state.format);
        return Err(TrainError::OtherRun { path, what });
    }
    let read = |name: &str| {
        let checksum = state.files.get(name).ok_or_else(|| damaged(&path, &format_args!("no checksum of {name}")))?;
        Incoming::read(&folder.join(name), checksum)
    };
    Ok(Loaded { model: read(MODEL)?, optimizer: read(OPTIMIZER)?, state: state.clone() })
}

fn load_best(folder: &Path) -> Result<Incoming, TrainError> {
    let state: BestState = read_json(&folder.join(STATE))?;
    Incoming::read(&folder.join(MODEL), &state.model)
}

/// What a `state.json` looks like: the state, and a checksum of it.
#[derive(Serialize, Deserialize)]
struct Sealed {
    checksum: ContentHash,
    state: serde_json::Value,
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), TrainError> {
    let state = serde_json::to_value(value).map_err(|error| damaged(path, &error))?;
    let sealed = Sealed { checksum: hash::of_json(&state), state };
    Ok(atomic::write_with(path, |out| serde_json::to_writer_pretty(out, &sealed).map_err(std::io::Error::from))?)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, TrainError> {
    let bytes = fs::read(path).map_err(|source| StoreError::io("read", path, source))?;
    let sealed: Sealed = serde_json::from_slice(&bytes).map_err(|error| damaged(path, &error))?;
    if hash::of_json(&sealed.state) != sealed.checksum {
        return Err(damaged(path, &"its checksum is wrong"));
    }
    serde_json::from_value(sealed.state).map_err(|error| damaged(path, &error))
}

fn damaged(path: &Path, reason: &dyn std::fmt::Display) -> TrainError {
    TrainError::Damaged { path: path.to_owned(), reason: reason.to_string() }
}

/// Whether `error` says that files are not what was written, rather than that they cannot be read
/// just now.
fn is_damage(error: &TrainError) -> bool {
    match error {
        TrainError::Damaged { .. } => true,
        TrainError::Store(StoreError::Io { source, .. }) => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::state::Best;
    use crate::tensors::Outgoing;
    use burn::prelude::*;

    fn identity() -> Identity {
        let hash = hash::of_bytes(b"x");
        Identity { config: hash.clone(), tokenizer: "t".to_owned(), data: hash }
    }

    fn state(step: u64, best: Option<u64>) -> TrainState {
        let best = best.map(|step| Best { step, loss: 1.0 / 3.0 });
        TrainState { step, best, seconds: 0.1 + 0.2, ..TrainState::new(identity()) }
    }

    fn tensors(value: f32) -> OutgoingTensors {
        let tensor = Tensor::<1>::from_floats([value, f32::MIN_POSITIVE, -0.0], &Device::flex());
        OutgoingTensors::from([("a.weight".to_owned(), Outgoing::new(tensor))])
    }

    fn open(folder: &Path, keep: usize) -> Checkpoints {
        Checkpoints::open(folder, keep).unwrap()
    }

    fn save(checkpoints: &Checkpoints, step: u64, best: Option<u64>) {
        let value = step as f32;
        checkpoints.save(&state(step, best), &tensors(value), &tensors(-value)).unwrap();
    }

    fn folders(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder.join("checkpoints"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_saved_is_read_back_to_the_bit() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = open(dir.path(), 2);
        save(&checkpoints, 7, Some(5));
        let (loaded, notes) = checkpoints.newest(&identity()).unwrap();
        let mut loaded = loaded.unwrap();
        assert!(notes.is_empty());
        let files = loaded.state.files.clone();
        assert_eq!(loaded.state, TrainState { files, ..state(7, Some(5)) });
        let read = loaded.model.take("a.weight", &[3]).unwrap();
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let got = read.as_slice::<f32>().unwrap();
        assert_eq!(bits(got), bits(&[7.0, f32::MIN_POSITIVE, -0.0]));
        let missing = loaded.model.take("a.weight", &[3]).unwrap_err();
        assert!(missing.to_string().contains("no tensor `a.weight`"));
        let wrong = loaded.optimizer.take("a.weight", &[4]).unwrap_err();
        assert!(wrong.to_string().contains("[3], not [4]"), "{wrong}");
    }

    #[test]
    fn best_weights_stay_while_a_kept_checkpoint_refers_to_them() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = open(dir.path(), 2);
        checkpoints.save_best(1, &tensors(1.0)).unwrap();
        save(&checkpoints, 2, Some(1));
        checkpoints.save_best(3, &tensors(3.0)).unwrap();
        assert_eq!(folders(dir.path()), ["best-000001", "best-000003", "step-000002"]);
        save(&checkpoints, 4, Some(3));
        save(&checkpoints, 6, Some(3));
        assert_eq!(folders(dir.path()), ["best-000003", "step-000004", "step-000006"]);
        assert!(checkpoints.read_best(3).is_ok());
        assert!(checkpoints.read_best(1).is_err());
    }

    #[test]
    fn what_a_kill_leaves_is_removed_and_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = open(dir.path(), 2);
        save(&checkpoints, 2, None);
        let folder = dir.path().join("checkpoints");
        for name in ["step-000004.partial", "best-000004.partial", "step-000001.old.partial"] {
            fs::create_dir(folder.join(name)).unwrap();
            fs::write(folder.join(name).join(MODEL), b"half").unwrap();
        }
        fs::write(folder.join(".last.1.0.danlu-tmp"), b"half").unwrap();
        let checkpoints = open(dir.path(), 2);
        assert_eq!(folders(dir.path()), ["step-000002"]);
        assert!(!folder.join(".last.1.0.danlu-tmp").exists());
        assert_eq!(checkpoints.newest(&identity()).unwrap().0.unwrap().state.step, 2);
    }

    #[test]
    fn a_rewritten_state_keeps_the_tensors() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = open(dir.path(), 2);
        save(&checkpoints, 2, None);
        let mut newer = state(2, None);
        newer.skipped.insert(9);
        newer.failures = 1;
        checkpoints.rewrite_state(&newer).unwrap();
        let loaded = checkpoints.newest(&identity()).unwrap().0.unwrap();
        assert!(loaded.state.skipped.contains(&9));
        // Saving the same step again does the same.
        checkpoints.save(&state(2, None), &tensors(0.0), &tensors(0.0)).unwrap();
        let mut loaded = checkpoints.newest(&identity()).unwrap().0.unwrap();
        assert!(loaded.state.skipped.is_empty());
        let kept = loaded.model.take("a.weight", &[3]).unwrap();
        assert_eq!(kept.as_slice::<f32>().unwrap()[0], 2.0);
    }

    #[test]
    fn another_run_is_refused_and_a_newer_format_is_not_thrown_away() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = open(dir.path(), 2);
        save(&checkpoints, 2, None);
        let other = Identity { tokenizer: "u".to_owned(), ..identity() };
        let error = checkpoints.newest(&other).unwrap_err();
        assert!(matches!(&error, TrainError::OtherRun { what, .. } if what == "the tokenizers"));

        let path = dir.path().join("checkpoints/step-000002").join(STATE);
        write_json(&path, &TrainState { format: FORMAT + 1, ..state(2, None) }).unwrap();
        let error = checkpoints.newest(&identity()).unwrap_err();
        assert!(error.to_string().contains("formats (2 and 1)"), "{error}");
        assert_eq!(folders(dir.path()), ["step-000002"]);
    }
}
