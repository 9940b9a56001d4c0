use std::collections::HashSet;
use std::path::Path;

use danlu_store::atomic;
use serde::{Deserialize, Serialize};

use super::Place;
use crate::augment::original_of;
use crate::{DataError, Document};

/// The file of tombstones in a workspace.
pub const TOMBSTONES_FILE: &str = "forgotten.jsonl";

/// A document that was removed and must not come back. Its text is not kept, nor anything that it could be guessed from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tombstone {
    pub id: String,
    /// Where it was read from.
    pub place: Option<Place>,
    /// When it was forgotten, RFC 3339.
    pub time: String,
    pub reason: String,
    /// Keys of the models that had seen it.
    pub models: Vec<String>,
}

/// The ids that must not be collected again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tombstones {
    ids: HashSet<String>,
}

impl Tombstones {
    /// Reads the tombstones of a workspace; none where nothing was ever forgotten.
    ///
    /// # Errors
    /// A file that cannot be read: without it, what was forgotten would come back.
    pub fn read(runs_dir: &Path) -> Result<Self, DataError> {
        let ids = read_all(runs_dir)?.into_iter().map(|tombstone| tombstone.id).collect();
        Ok(Self { ids })
    }

    pub fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// Whether a document must not be collected: it was forgotten, or is a changed copy of one that was.
    pub(crate) fn cover(&self, document: &Document) -> bool {
        self.contains(&document.id) || original_of(document).is_some_and(|id| self.contains(&id))
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

pub(super) fn read_all(runs_dir: &Path) -> Result<Vec<Tombstone>, DataError> {
    let path = runs_dir.join(TOMBSTONES_FILE);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(|e| DataError::io("read", &path, e))?,
    };
    let parse = |(index, line): (usize, &str)| {
        let bad = |e: serde_json::Error| DataError::BadRecord {
            path: path.clone(),
            line: Some(index as u64 + 1),
            message: format!("not a tombstone: {e}"),
        };
        serde_json::from_str(line).map_err(bad)
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}

/// Adds tombstones, each id and time once: adding them again changes nothing.
pub(super) fn add(runs_dir: &Path, new: &[Tombstone]) -> Result<(), DataError> {
    let mut all = read_all(runs_dir)?;
    let known: HashSet<(String, String)> = all.iter().map(|one| (one.id.clone(), one.time.clone())).collect();
    all.extend(new.iter().filter(|one| !known.contains(&(one.id.clone(), one.time.clone()))).cloned());
    let path = runs_dir.join(TOMBSTONES_FILE);
    let mut text = String::new();
    for tombstone in &all {
        let line = serde_json::to_string(tombstone).map_err(|e| DataError::io("write", &path, e.into()))?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(atomic::write_bytes(&path, text.as_bytes())?)
}
