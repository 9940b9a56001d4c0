//! Cleaning: collected documents pass through steps, each of which keeps or drops them with a reason; what is left is
//! split by its hash. Every document is accounted for in the [`Funnel`].
//!
//! ```text
//! repair -> missing values -> transforms -> language -> limits -> rules (SQL) -> exact duplicates    in one pass
//!        -> outliers -> near duplicates, repeated parts -> evaluation sets              passes over what is left
//!        -> train / valid / test
//! ```
//!
//! `rows.rs` is the first pass, `global.rs` what needs all documents, `output.rs` where documents go in the end. The first
//! pass can also be made in parts, on many machines (`parts.rs`).

mod config;
mod funnel;
mod global;
mod histogram;
mod outliers;
mod output;
mod parts;
mod presets;
mod rows;
mod rules;
mod steps;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::path::Path;

pub use config::{CleanConfig, Dedup, Missing, ModelsConfig, RuleConfig, SplitConfig, StatisticsKept};
pub use funnel::{Count, DropRow, Funnel, FunnelShare, SplitRow, StepFunnel};
pub use global::CONTAMINATION_FILE;
pub use histogram::OutlierHistogram;
pub use outliers::{OutlierConfig, OutlierGroup, OutlierMethod, OutlierSide, OutlierThresholds};
pub use output::{DROPPED_FILE, DroppedDocument, FUNNEL_FILE};
pub use parts::{Part, PartSummary, clean_part, clean_parts, split_documents};
pub use presets::{preset_names, preset_text};
pub use rules::sql_functions;

use self::rows::EXACT_BYTES;
use crate::storage::{remove_file, remove_folder, write_json};
use crate::{DataError, Document, ProgressFn};

/// The folder of files that live only while the stage works.
const WORK_FOLDER: &str = "clean.work";

/// One step of cleaning that looks at one document; steps run on many documents at once.
trait Step: Send + Sync {
    /// What the funnel calls it, in snake_case.
    fn name(&self) -> &str;

    /// Keeps a document, changed or not, or drops it.
    fn apply(&self, document: Document) -> Outcome;
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

/// Cleans the documents in the table `collected` into `out`: `train.parquet`, `valid.parquet`, `test.parquet`,
/// `dropped.parquet` (if kept) and `funnel.json`. The same input gives the same files, whatever the number of threads.
///
/// # Errors
/// A configuration that cannot work, such as a rule with a function that does not exist; [`DataError::NothingKept`]
/// when nothing is kept and [`DataError::EmptySplit`] when a wanted split got no document: the files are written all
/// the same, so that the reasons can be looked at.
pub fn clean(
    collected: &Path,
    config: &CleanConfig,
    split: &SplitConfig,
    out: &Path,
    progress: &ProgressFn<'_>,
) -> Result<Funnel, DataError> {
    finish(global::Begin::Documents(collected), config, split, out, EXACT_BYTES, progress)
}

/// All passes, from what they begin with; the search for exact duplicates of the first may hold `exact_bytes`.
fn finish(
    begin: global::Begin<'_>,
    config: &CleanConfig,
    split: &SplitConfig,
    out: &Path,
    exact_bytes: u64,
    progress: &ProgressFn<'_>,
) -> Result<Funnel, DataError> {
    split.check()?;
    config.check()?;
    let rules = rules::compile(config)?;
    for warning in config.transforms.iter().filter_map(|transform| transform.warning()) {
        tracing::warn!("{warning}");
    }
    let work = out.join(WORK_FOLDER);
    remove_folder(&work)?; // of a process that was killed
    // Where it is, the tables beside it are whole, whether the cleaning then failed or not.
    remove_file(&out.join(FUNNEL_FILE))?;
    let space = global::Space { out, work: &work, exact_bytes };
    let cleaned = global::run(begin, config, split, &rules, space, progress);
    let removed = remove_folder(&work);
    let funnel = cleaned?; // the first error is the one to tell
    removed?;
    write_json(&out.join(FUNNEL_FILE), &funnel)?;
    output::check_result(&funnel, split, out)?;
    Ok(funnel)
}
