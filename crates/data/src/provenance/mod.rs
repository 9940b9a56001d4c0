//! From a document back to where it came from, and out of everything again.
//!
//! [`trace`] follows one document from its source file to the tables, token shards and models that hold it. [`forget`]
//! removes documents from the tables and shards of a workspace, names the models that saw them, and leaves tombstones so
//! that they are not collected again.
//!
//! A document changes its id when cleaning changes its text. What stays is the [`Place`] it was read from; by it the two
//! are known to be one. A changed copy names its original, and the two are forgotten together: the copy says what the
//! original said, and would be made again from it.

mod accounts;
mod forget;
mod lineage;
mod select;
mod spelling;
mod tombstones;
mod trace;

#[cfg(test)]
mod tests;

pub use forget::{ForgetPlan, Forgotten, ForgottenFile, PlannedArtifact, forget, pending_forget, plan_forget};
pub use lineage::{ArtifactRef, ModelRef};
pub use select::{Condition, Selection};
pub use spelling::Sought;
pub use tombstones::{TOMBSTONES_FILE, Tombstone, Tombstones};
pub use trace::{Fate as TraceFate, ShardPlace, Trace, trace};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Document;

/// The entry in a document's metadata that says where it was read first, when it came by a table that danlu wrote: a
/// [`Place`].
pub const COLLECTED_FROM_KEY: &str = "collected_from";

/// Where a document was read: the same through all of cleaning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    pub source: String,
    pub file: String,
    /// Line or row; `None` where the file is one document.
    pub line: Option<String>,
}

impl Place {
    /// The place that a document's metadata names, if it does.
    pub fn of(document: &Document) -> Option<Self> {
        let file = document.metadata.get("file").and_then(Self::word)?;
        let line = document.metadata.get("line").and_then(Self::word);
        Some(Self { source: document.source.clone(), file, line })
    }

    /// Where a document that came by a table of danlu was read first.
    pub fn origin_of(document: &Document) -> Option<Self> {
        serde_json::from_value(document.metadata.get(COLLECTED_FROM_KEY)?.clone()).ok()
    }

    pub(crate) fn is_place(value: &Value) -> bool {
        serde_json::from_value::<Self>(value.clone()).is_ok()
    }

    /// A file or line as it stands in the metadata.
    pub(crate) fn word(value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }

    /// An evenly distributed number, the same on every machine.
    pub(crate) fn number(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        for part in [&self.source, &self.file, self.line.as_ref().unwrap_or(&String::new())] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_le_bytes(first)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        self.line.as_ref().map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}
