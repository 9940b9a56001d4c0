//! The stages, one file each: read the inputs' artifacts, make one library call, leave files and a summary.

mod augment;
mod clean;
mod collect;
mod compress;
mod evaluate;
mod report;
mod tokenizer;
mod train;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::PipelineError;
use crate::graph::Stage;
use crate::observer::Progress;
use crate::runner::Context;

pub(crate) use compress::CompressSummary;
pub(crate) use evaluate::{EvaluateSummary, Sample};
pub(crate) use tokenizer::TokenizerSummary;
pub(crate) use train::TrainSummary;

/// Names of files and folders inside artifacts, known to more than one stage.
pub(crate) mod files {
    pub const TOKENIZER: &str = "tokenizer";
    pub const MODEL: &str = "model";
    pub const INT8_MODEL: &str = "model-int8";
    pub const REPORT: &str = "report.html";
    pub const FACTS: &str = "report.json";
    pub const TENSORBOARD: &str = "tensorboard";

    /// The token shard of a split.
    pub fn shard(split: &str) -> String {
        format!("{split}.tokens")
    }

    /// The documents of a split.
    pub fn documents(split: &str) -> String {
        danlu_data::documents_file(split)
    }
}

/// The folder of the tokenizer in its stage's artifact.
pub const TOKENIZER_FOLDER: &str = files::TOKENIZER;

/// What a stage leaves besides its files.
pub(crate) struct Made {
    /// Goes into the manifest, from where later stages and the report read it.
    pub summary: Value,
    /// For the screen.
    pub line: String,
    /// The stage's time over all processes that worked on it; none: that of this one.
    pub seconds: Option<f64>,
}

impl Made {
    fn new(summary: &impl Serialize, line: String) -> Result<Self, PipelineError> {
        let summary = serde_json::to_value(summary)
            .map_err(|e| PipelineError::Artifact { path: "summary".into(), message: e.to_string() })?;
        Ok(Self { summary, line, seconds: None })
    }
}

/// Runs one stage into its work folder.
pub(crate) fn run(context: &mut Context<'_>, stage: Stage, work: &Path) -> Result<Made, PipelineError> {
    match stage {
        Stage::Collect => collect::run(context, work),
        Stage::Clean => clean::run(context, work),
        Stage::Augment => augment::run(context, work),
        Stage::Tokenizer => tokenizer::run(context, work),
        Stage::Train => train::run(context, work),
        Stage::Evaluate => evaluate::run(context, work),
        Stage::Compress => compress::run(context, work),
        Stage::Report => report::run(context, work),
    }
}

/// The summary that a stage left in its manifest.
pub(crate) fn summary_of<T: DeserializeOwned>(context: &Context<'_>, stage: Stage) -> Result<T, PipelineError> {
    let artifact = context.input(Stage::Report, stage)?;
    serde_json::from_value(artifact.manifest.summary).map_err(|e| PipelineError::Artifact {
        path: artifact.path.join(danlu_store::MANIFEST_FILE),
        message: format!("its summary is not what this version of danlu writes: {e}"),
    })
}

/// Passes the data room's progress on to the observer.
fn with_progress<T>(context: &mut Context<'_>, work: impl FnOnce(&danlu_data::ProgressFn<'_>) -> T) -> T {
    let observer = Mutex::new(&mut *context.observer);
    work(&|p: danlu_data::Progress<'_>| {
        // A poisoned lock means that drawing panicked; the work itself is sound.
        observer.lock().unwrap_or_else(PoisonError::into_inner).progress(&Progress {
            label: p.label.to_owned(),
            done: p.done,
            total: p.total,
            unit: p.unit,
        });
    })
}
