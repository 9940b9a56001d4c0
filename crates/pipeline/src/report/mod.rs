//! The report of one run: plain data in, one HTML page and one model card out.
//!
//! [`RunReport`] holds every figure a page or card may print; whoever runs the
//! stages fills it from their artifacts, and nothing here reads a file. A part
//! whose stage did not run is `None` (or empty) and is left out, with a line in
//! the summary that says so. [`html`] composes the page from the `report` room's
//! blocks, [`model_card`] the Markdown card that lies in the model folder.
//!
//! Begin reading at the structs below, then `summary` (the verdict in plain
//! words), then one file for each group of sections.

mod card;
mod evaluation;
mod format;
mod life;
mod mixture;
mod names;
mod page;
mod summary;
mod text;
mod training;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use danlu_data::{AugmentSummary, CollectSummary, DroppedDocument, Funnel};
use danlu_eval::{Baselines, Evaluation};
use serde::{Deserialize, Deserializer, Serialize};

pub use card::model_card;
pub use page::html;

/// Everything that is known of a run, as plain data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunReport {
    pub run: RunFacts,
    /// In the order of the graph.
    pub stages: Vec<StageFacts>,
    pub data: Option<DataFacts>,
    pub mixture: Option<MixtureFacts>,
    pub tokenizer: Option<TokenizerFacts>,
    pub model: Option<ModelFacts>,
    pub training: Option<TrainingFacts>,
    pub evaluation: Option<EvaluationFacts>,
    pub compression: Option<CompressionFacts>,
    pub samples: Vec<SampleFacts>,
    /// The resolved recipe as TOML.
    pub recipe: String,
    /// What `danlu_store::environment()` answered on the machine of the run.
    pub environment: serde_json::Map<String, serde_json::Value>,
    /// Commands that print the figures of the report.
    pub commands: Vec<CommandFacts>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunFacts {
    pub id: String,
    /// The recipe's name.
    pub name: String,
    /// `done`, `failed`, `interrupted` or `running`.
    pub state: String,
    /// RFC 3339.
    pub started: String,
    pub ended: Option<String>,
    /// Wall time of this run, reused stages costing nothing.
    pub seconds: f64,
    pub seed: u64,
    pub danlu_version: String,
    pub model_dir: Option<String>,
    /// License of the model, as the recipe names it (SPDX or words); none = `unknown`.
    pub license: Option<String>,
}

/// One stage as this run saw it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StageFacts {
    pub stage: String,
    /// Content key of the artifact.
    pub key: String,
    /// `done`, `reused`, `failed`, `skipped`.
    pub state: String,
    /// What making the artifact cost, in this run or when it was first made.
    pub seconds: f64,
    /// Why it ran or was reused.
    pub reason: Option<String>,
    /// Stage to key: from what it was made.
    pub inputs: BTreeMap<String, String>,
}

/// From the sources to the splits, in the data room's own accounts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataFacts {
    /// In recipe order.
    pub sources: Vec<SourceFacts>,
    pub collected: CollectSummary,
    pub funnel: Funnel,
    /// Changed copies of the documents to train on, where the recipe makes some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies: Option<AugmentSummary>,
    /// Tokens of each split that was cut into tokens, copies included.
    pub tokens: BTreeMap<String, u64>,
    /// A few dropped documents with the reason.
    pub dropped_samples: Vec<DroppedDocument>,
}

/// What training was to see of each group of documents, and what it saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MixtureFacts {
    /// What makes a group: `source`, `language`, or a column of the metadata.
    pub by: String,
    pub realised: danlu_data::MixtureSummary,
}

/// A source as the recipe names it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceFacts {
    pub name: String,
    pub path: String,
    pub license: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenizerFacts {
    pub vocab_size: usize,
    pub hash: String,
    /// Where the figures below were measured, e.g. `train`.
    pub measured_on: String,
    pub by_language: BTreeMap<String, TokenizerRow>,
    pub unknown_tokens: u64,
    pub round_trip_failures: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerRow {
    pub documents: u64,
    pub bytes: u64,
    pub tokens: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelFacts {
    /// `llama` or `gpt2`.
    pub architecture: String,
    pub parameters: u64,
    /// Of the token embedding (and an untied head).
    pub embedding_parameters: u64,
    pub context: usize,
    pub vocab_size: usize,
    /// Forward and backward floating-point operations for one token.
    pub flops_per_token: f64,
    /// The `[model]` section, resolved.
    pub config: serde_json::Map<String, serde_json::Value>,
    /// Planned training memory by class, bytes.
    pub memory: Vec<(String, u64)>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainingFacts {
    pub steps: u64,
    pub steps_planned: u64,
    /// Why it ended, in the training room's words.
    pub ended_because: String,
    pub tokens_seen: u64,
    pub epochs: f64,
    pub best_step: u64,
    /// Nats per token; NaN (`null` in JSON) where there was no validation.
    #[serde(deserialize_with = "null_is_nan")]
    pub best_valid_loss: f64,
    #[serde(deserialize_with = "null_is_nan")]
    pub final_train_loss: f64,
    pub seconds: f64,
    pub tokens_per_second: f64,
    /// Model FLOPs utilisation, 0 to 1, against the peak measured on the machine.
    pub mfu: Option<f64>,
    pub threads: usize,
    pub device: String,
    pub curves: Curves,
    /// What the watchdog and the schedule had to say.
    pub events: Vec<EventFacts>,
}

/// (step, value) of each metric; empty ones are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Curves {
    pub train_loss: Vec<(f64, f64)>,
    pub valid_loss: Vec<(f64, f64)>,
    pub learning_rate: Vec<(f64, f64)>,
    pub gradient_norm: Vec<(f64, f64)>,
    pub tokens_per_second: Vec<(f64, f64)>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EventFacts {
    pub step: u64,
    pub message: String,
}

/// Scores on the test split and the baselines on the same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationFacts {
    pub scores: Evaluation,
    pub baselines: Option<Baselines>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CompressionFacts {
    /// e.g. `int8, weights only, one scale per output channel`.
    pub method: String,
    pub model_dir: Option<String>,
    pub bytes_before: u64,
    pub bytes_after: u64,
    pub bits_per_byte_before: f64,
    pub bits_per_byte_after: f64,
    pub decode_tokens_per_second_before: f64,
    pub decode_tokens_per_second_after: f64,
}

/// A text the model wrote.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SampleFacts {
    pub prompt: String,
    pub continuation: String,
    /// The sampling settings in words, e.g. `temperature 0.8, top-p 0.95, seed 1`.
    pub settings: String,
    /// Which form of the model wrote it, e.g. `f32` or `int8`.
    pub model: String,
}

/// JSON has no NaN: serde_json writes it as `null`.
fn null_is_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandFacts {
    pub command: String,
    /// What it prints.
    pub prints_en: String,
    pub prints_zh: String,
}
