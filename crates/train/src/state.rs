//! All of a run that is not a tensor: what `state.json` of a checkpoint holds.

use crate::exact;
use crate::schedule::Plateau;
use crate::watchdog::Watchdog;
use danlu_store::ContentHash;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Version of the checkpoint's format; a newer one is refused.
pub const FORMAT: u32 = 1;

/// The lowest validation loss and where it was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub step: u64,
    #[serde(with = "exact")]
    pub loss: f64,
}

/// Why a run has no further step to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// All steps are done.
    AllSteps,
    /// `patience` validations brought no better loss.
    EarlyStop,
    /// `time_limit_seconds` is over.
    TimeLimit,
}

/// What identifies a run: a checkpoint of another run is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Hash of everything that decides the weights: settings, architecture, seed.
    pub config: ContentHash,
    /// Hash of the tokenizer.
    pub tokenizer: String,
    /// Hash of the sizes of the training and validation text.
    pub data: ContentHash,
}

impl Identity {
    /// What differs from `other`, in words; `None` where nothing does.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let parts = [
            (self.config != other.config, "the settings"),
            (self.tokenizer != other.tokenizer, "the tokenizers"),
            (self.data != other.data, "the texts"),
        ];
        let names: Vec<_> = parts.iter().filter(|part| part.0).map(|part| part.1).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

/// The state of a run after `step` updates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    pub format: u32,
    pub identity: Identity,
    /// Updates made.
    pub step: u64,
    /// Tokens whose loss was trained on.
    pub tokens: u64,
    pub best: Option<Best>,
    /// Validations since the best one.
    pub without_improvement: u32,
    pub watchdog: Watchdog,
    #[serde(default, skip_serializing_if = "Plateau::is_new")]
    pub plateau: Plateau,
    /// Groups of micro-batches that the watchdog has put aside (see [`crate::order`]).
    pub skipped: BTreeSet<u64>,
    /// Failed steps since the last regular checkpoint.
    pub failures: u32,
    pub finished: Option<Finish>,
    /// Training time of all sessions. Decides nothing, except under `time_limit_seconds`.
    #[serde(with = "exact")]
    pub seconds: f64,
    /// Checksums of the checkpoint's other files.
    pub files: BTreeMap<String, ContentHash>,
}

impl TrainState {
    /// The state before the first step.
    pub fn new(identity: Identity) -> Self {
        Self {
            format: FORMAT,
            identity,
            step: 0,
            tokens: 0,
            best: None,
            without_improvement: 0,
            watchdog: Watchdog::default(),
            plateau: Plateau::default(),
            skipped: BTreeSet::new(),
            failures: 0,
            finished: None,
            seconds: 0.0,
            files: BTreeMap::new(),
        }
    }
}
