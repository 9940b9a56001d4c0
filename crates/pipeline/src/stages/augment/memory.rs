//! Translations made so far, so that a stage that was killed does not make them again.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use danlu_store::{StoreError, hash};
use serde::{Deserialize, Serialize};

use crate::PipelineError;

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The hash of the text that was translated.
    of: String,
    text: String,
}

/// What was said of each text, in a file that grows by a line for each.
pub(super) struct Memory {
    path: PathBuf,
    known: HashMap<String, String>,
    file: Mutex<File>,
}

impl Memory {
    /// Reads what an earlier process wrote; a last line that it did not end is cut off.
    pub(super) fn open(path: &Path) -> Result<Self, PipelineError> {
        let written = match fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            bytes => bytes.map_err(|error| StoreError::io("read", path, error))?,
        };
        let whole = written.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines = written[..whole].split(|byte| *byte == b'\n');
        let known = lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok());
        let known = known.map(|line| (line.of, line.text)).collect();
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.and_then(|file| file.set_len(whole as u64).map(|()| file));
        let file = file.map_err(|error| StoreError::io("open", path, error))?;
        Ok(Self { path: path.into(), known, file: Mutex::new(file) })
    }

    /// What is known of `text`, or else what `make` says of it, which is known from then on. Failures are not kept: they
    /// may pass.
    pub(super) fn recall(&self, text: &str, make: impl FnOnce() -> Result<String, String>) -> Result<String, String> {
        let of = hash::of_bytes(text.as_bytes()).to_string();
        if let Some(known) = self.known.get(&of) {
            return Ok(known.clone());
        }
        let made = make()?;
        let line = Line { of, text: made.clone() };
        let line = serde_json::to_string(&line).map_err(|error| error.to_string())?;
        // In one piece: a line of which only a part was written is cut off when the file is opened again.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(format!("{line}\n").as_bytes()).map_err(|error| format!("{}: {error}", self.path.display()))?;
        Ok(made)
    }

    /// The stage has ended: nothing is left to go on with.
    pub(super) fn remove(self) -> Result<(), PipelineError> {
        drop(self.file);
        Ok(fs::remove_file(&self.path).map_err(|error| StoreError::io("remove", &self.path, error))?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_before_a_kill_is_not_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("translations.jsonl");
        let memory = Memory::open(&path).unwrap();
        assert_eq!(memory.recall("one", || Ok("eins\n".into())), Ok("eins\n".into()));
        assert_eq!(memory.recall("two", || Err("not there".into())), Err("not there".into()));
        drop(memory);
        let mut torn = fs::read(&path).unwrap();
        torn.extend_from_slice(b"{\"of\": \"ab");
        fs::write(&path, torn).unwrap();

        let memory = Memory::open(&path).unwrap();
        let never = || Err("made again".to_owned());
        assert_eq!(memory.recall("one", never), Ok("eins\n".into()));
        assert_eq!(memory.recall("two", || Ok("zwei".into())), Ok("zwei".into()));
        drop(memory);
        let memory = Memory::open(&path).unwrap();
        assert_eq!(
            (memory.recall("one", never), memory.recall("two", never)),
            (Ok("eins\n".into()), Ok("zwei".into()))
        );
        memory.remove().unwrap();
        assert!(!path.exists());
    }
}
