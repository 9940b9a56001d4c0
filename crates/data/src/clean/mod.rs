//! Cleaning: collected documents pass through steps, each of which keeps or drops them with a reason; what is left is
//! split by its hash. Every document is accounted for in the [`Funnel`].

mod funnel;
mod run;
mod steps;

pub use funnel::{Count, DropRow, Funnel, FunnelShare, SplitRow, StepFunnel};
pub use run::{DROPPED_FILE, DroppedDocument, FUNNEL_FILE, clean};
pub use steps::standard_steps;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{DataError, Document};

/// One step of cleaning.
///
/// Steps are pure and run on many documents at once, unless they say that they need the documents one after another.
pub trait Step: Send + Sync {
    /// What the funnel calls it, in snake_case.
    fn name(&self) -> &str;

    /// Keeps a document, changed or not, or drops it.
    fn apply(&self, document: Document) -> Outcome;

    /// Whether the documents must come one by one in the order of the corpus, as for keeping the first of duplicates.
    fn in_order(&self) -> bool {
        false
    }
}

/// What a step decides.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Keep(Document),
    Drop { document: Document, reason: Reason },
}

/// Why a document was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What is counted, in snake_case: "too_short".
    pub code: Cow<'static, str>,
    /// The measured value: "7 characters, fewer than 20".
    pub detail: String,
}

impl Reason {
    pub fn new(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self { code: code.into(), detail: detail.into() }
    }
}

/// What to keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CleanConfig {
    /// Shorter documents are dropped (in characters, after repair).
    pub min_chars: usize,
    /// Longer ones too.
    pub max_chars: usize,
    /// The largest share of characters, white space aside, that are neither letters nor digits.
    pub max_symbol_ratio: f64,
    /// The largest share of characters in lines that repeat an earlier line of the document.
    pub max_repeated_line_ratio: f64,
    /// Keep these languages only (ISO 639-1, "und" for unknown); all when empty.
    pub languages: Vec<String>,
    /// Keep only the first of documents with the same repaired text, across all sources.
    pub dedup: bool,
    /// Keep dropped documents, with their reasons, for `danlu data show`.
    pub keep_dropped: bool,
}

impl Default for CleanConfig {
    fn default() -> Self {
        Self {
            min_chars: 10,
            max_chars: 5_000_000,
            max_symbol_ratio: 0.3,
            max_repeated_line_ratio: 0.3,
            languages: Vec::new(),
            dedup: true,
            keep_dropped: true,
        }
    }
}

impl CleanConfig {
    pub(crate) fn check(&self) -> Result<(), DataError> {
        for (key, value) in [
            ("clean.max_symbol_ratio", self.max_symbol_ratio),
            ("clean.max_repeated_line_ratio", self.max_repeated_line_ratio),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(DataError::BadConfig { key, message: format!("must lie between 0 and 1, and is {value}") });
            }
        }
        Ok(())
    }
}

/// How much of the documents to hold out. Which ones is decided by their hash alone, so that a document stays in its
/// split when others are added.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitConfig {
    /// Share of documents for validation during training.
    pub valid: f64,
    /// Share of documents for the final test.
    pub test: f64,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self { valid: 0.02, test: 0.02 }
    }
}

impl SplitConfig {
    /// The names of the splits, which are also those of their files: `train.jsonl.zst`.
    pub const NAMES: [&'static str; 3] = ["train", "valid", "test"];

    pub(crate) fn check(&self) -> Result<(), DataError> {
        let share = 0.0..1.0;
        if share.contains(&self.valid) && share.contains(&self.test) && share.contains(&(self.valid + self.test)) {
            return Ok(());
        }
        let message = format!("valid {} and test {} must be at least 0 and together below 1", self.valid, self.test);
        Err(DataError::BadConfig { key: "data.split", message })
    }

    /// The split of a document, as an index into [`NAMES`](Self::NAMES).
    pub(crate) fn of(&self, document: &Document) -> usize {
        let place = crate::document::fraction(document.id_number());
        if place < self.test {
            2
        } else if place < self.test + self.valid {
            1
        } else {
            0
        }
    }
}
