//! Token shards to a model.

use std::path::Path;
use std::sync::Arc;

use danlu_data::Shard;
use danlu_store::MetricsWriter;
use danlu_train::{Ending, Job, Plan, StepInfo, TrainOutcome, ValidationInfo};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Made, TokenizerSummary, files, summary_of};
use crate::PipelineError;
use crate::graph::Stage;
use crate::observer::Observer;
use crate::runner::Context;

/// What the stage tells of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TrainSummary {
    /// Names the metrics in the run database.
    pub series: String,
    pub steps: u64,
    pub steps_planned: u64,
    /// `all_steps`, `early_stop`, ...
    pub ending: Value,
    pub tokens: u64,
    pub best_step: Option<u64>,
    pub best_valid_loss: Option<f64>,
    pub last_loss: Option<f64>,
    pub parameters: u64,
    pub tokens_per_second: f64,
    pub mfu: Option<f64>,
    pub seconds: f64,
    /// Of the process that ended the training, bytes.
    #[serde(default)]
    pub peak_memory: Option<u64>,
    pub skipped: Vec<u64>,
    pub threads: usize,
    pub device: String,
    /// The machine it was trained on.
    pub environment: Value,
    /// What happened on the way, with the step at which it did.
    pub events: Vec<(u64, String)>,
    pub plan: Value,
}

pub(super) fn run(context: &mut Context<'_>, work: &Path) -> Result<Made, PipelineError> {
    let recipe = context.file.recipe.clone();
    let tokens = context.input(Stage::Train, Stage::Tokenizer)?.path;
    let about: TokenizerSummary = summary_of(context, Stage::Tokenizer)?;
    let train = Arc::new(Shard::open(&tokens.join(files::shard("train")), Some(&about.hash))?);
    let valid = match recipe.split.valid > 0.0 {
        true => Some(Arc::new(Shard::open(&tokens.join(files::shard("valid")), Some(&about.hash))?)),
        false => None,
    };
    let peak = danlu_train::measured_peak(context.device, recipe.train.precision);
    let plan = danlu_train::plan_for(&recipe.train, &recipe.model, about.vocab_size, peak)?;
    context.observer.train_planned(&plan);

    let series = context.graph.node(Stage::Train)?.key.clone();
    let metrics = MetricsWriter::start(&context.workspace.db_path(), &series, Some(&work.join(files::TENSORBOARD)))?;
    let tokenizer_dir = tokens.join(files::TOKENIZER);
    let job = Job {
        config: recipe.train.clone(),
        model: recipe.model.clone(),
        vocab_size: about.vocab_size,
        seed: recipe.seed,
        train,
        valid,
        tokenizer_dir: Some(&tokenizer_dir),
        work_dir: work,
        device: context.device.clone(),
        metrics: Some(&metrics),
        peak_flops: Some(peak),
    };
    let stop = context.stop;
    let mut bridge = Bridge { observer: &mut *context.observer, step: 0, events: Vec::new() };
    let outcome = danlu_train::train(&job, &mut bridge, stop);
    let events = bridge.events;
    let written = metrics.finish();
    let outcome = outcome?;
    written?;
    finish(context, &recipe.train, outcome, series, events, &plan)
}

fn finish(
    context: &Context<'_>,
    config: &danlu_train::TrainConfig,
    outcome: TrainOutcome,
    series: String,
    events: Vec<(u64, String)>,
    plan: &Plan,
) -> Result<Made, PipelineError> {
    let Ending::Finished(finish) = outcome.ending else {
        let detail = format!("step {} of {} is saved", outcome.step, config.steps);
        return Err(PipelineError::Interrupted { stage: Stage::Train, detail });
    };
    let best = outcome.best.as_ref();
    let summary = TrainSummary {
        series,
        steps: outcome.step,
        steps_planned: config.steps,
        ending: serde_json::to_value(finish).unwrap_or_default(),
        tokens: outcome.tokens,
        best_step: best.map(|b| b.step),
        best_valid_loss: best.map(|b| b.loss),
        last_loss: outcome.last_loss,
        parameters: outcome.parameters,
        tokens_per_second: outcome.tokens_per_second,
        mfu: outcome.mfu,
        seconds: outcome.seconds,
        peak_memory: outcome.peak_memory,
        skipped: outcome.skipped,
        threads: rayon::current_num_threads(),
        device: format!("{:?}", context.device),
        environment: danlu_store::environment(),
        events,
        plan: serde_json::to_value(plan).unwrap_or_default(),
    };
    let loss = summary.best_valid_loss.map_or(String::new(), |l| format!(", best validation loss {l:.4}"));
    let mfu = summary.mfu.map_or(String::new(), |m| format!(", MFU {:.0}%", m * 100.0));
    let line = format!("{} steps at {:.0} tokens/s{mfu}{loss}", summary.steps, summary.tokens_per_second);
    Ok(Made { seconds: Some(summary.seconds), ..Made::new(&summary, line)? })
}

/// From the train room's hooks to the pipeline's.
struct Bridge<'a> {
    observer: &'a mut dyn Observer,
    step: u64,
    events: Vec<(u64, String)>,
}

impl danlu_train::Observer for Bridge<'_> {
    fn on_start(&mut self, _parameters: u64, first_step: u64, _peak_flops: Option<f64>) {
        self.step = first_step;
    }

    fn on_step(&mut self, info: &StepInfo) {
        self.step = info.step;
        self.observer.train_step(info);
    }

    fn on_validation(&mut self, info: &ValidationInfo) {
        self.observer.validated(info);
    }

    fn on_event(&mut self, message: &str) {
        self.events.push((self.step, message.to_owned()));
        self.observer.message(Stage::Train, message);
    }
}
