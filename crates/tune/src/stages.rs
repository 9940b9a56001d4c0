//! What all tasks' recipes share: stages, each an artifact that is made once, and training in a stage's work folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::prelude::Device;
use danlu_data::{Progress, SourceConfig, collect, source_state, without_licenses};
use danlu_store::{Artifact, Manifest, MetricsWriter, StoreError, Workspace, atomic, hash};
use danlu_train::{Ending, Run, Task, TrainConfig, TrainOutcome};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::TuneError;

/// Raised when a change of code makes earlier results stale.
const FORMAT: u32 = 2;
const SCORES_FILE: &str = "scores.json";
/// The model's folder within an artifact.
pub(crate) const MODEL: &str = "model";

/// What a recipe is for: the key `task`, which tells what the rest of it may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Texts with labels; see [`crate::classification`].
    #[default]
    Classification,
    /// Texts with their translations; see [`crate::translation`].
    Translation,
    /// Pictures with captions; see [`crate::captions`].
    Captions,
}

/// One stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TuneStage {
    /// What is learnt from, in one table.
    Examples,
    /// The vocabulary.
    Vocabulary,
    /// Masked language modelling.
    Pretrain,
    /// The task.
    Train,
    /// The test split.
    Evaluate,
}

impl TuneStage {
    /// As artifacts and listings call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Examples => "examples",
            Self::Vocabulary => "vocabulary",
            Self::Pretrain => "pretrain",
            Self::Train => "tune",
            Self::Evaluate => "score",
        }
    }
}

/// What a caller sees of tuning while it goes on, beside the training loop's own hooks.
pub trait Watch: danlu_train::Observer {
    fn stage_started(&mut self, _stage: TuneStage) {}
    fn stage_reused(&mut self, _stage: TuneStage) {}
    /// Of a stage that trains nothing: `done` of `total`.
    fn progress(&mut self, _stage: TuneStage, _done: u64, _total: u64, _unit: &'static str) {}
    fn stage_finished(&mut self, _stage: TuneStage, _seconds: f64, _line: &str) {}
}

/// Where and how.
#[derive(Clone, Copy, Debug)]
pub struct TuneOptions<'a> {
    /// The folder that relative paths of the recipe start from.
    pub base: &'a Path,
    pub device: &'a Device,
    /// Set: training saves a checkpoint and ends.
    pub stop: &'a AtomicBool,
}

/// What a stage has to tell.
pub(crate) struct Made {
    pub(crate) summary: Value,
    pub(crate) line: String,
}

/// The stages of one recipe.
pub(crate) struct Stages<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) options: TuneOptions<'a>,
    pub(crate) watch: &'a mut dyn Watch,
    /// Summaries of the training stages.
    pub(crate) training: BTreeMap<&'static str, Value>,
}

impl<'a> Stages<'a> {
    pub(crate) fn new(workspace: &'a Workspace, options: TuneOptions<'a>, watch: &'a mut dyn Watch) -> Self {
        Stages { workspace, options, watch, training: BTreeMap::new() }
    }

    /// The artifact of a stage: found, or made by `make` in a work folder that outlives a killed process. `make` is also
    /// given the name of the stage's series of metrics.
    pub(crate) fn make(
        &mut self,
        stage: TuneStage,
        config: Value,
        inputs: &[&Artifact],
        make: impl FnOnce(&mut Self, &Path, &str) -> Result<Made, TuneError>,
    ) -> Result<Artifact, TuneError> {
        let store = self.workspace.artifacts();
        let inputs: BTreeMap<String, String> =
            inputs.iter().map(|input| (input.manifest.stage.clone(), input.manifest.key.clone())).collect();
        let name = stage.name();
        let key = hash::of_json(&json!({ "stage": name, "format": FORMAT, "config": config, "inputs": inputs }));
        let key = key.to_string();
        let artifact = match store.find(name, &key)? {
            Some(artifact) => {
                self.watch.stage_reused(stage);
                artifact
            }
            None => {
                if self.options.stop.load(Ordering::Relaxed) {
                    return Err(TuneError::Interrupted { detail: format!("before the stage {name}") });
                }
                self.watch.stage_started(stage);
                let begun = Instant::now();
                let _lock = store.lock_work(name, &key)?;
                let work = store.work_dir(name, &key)?;
                let made = make(self, &work, &key)?;
                let seconds = begun.elapsed().as_secs_f64();
                let manifest = Manifest {
                    stage: name.to_owned(),
                    key,
                    inputs,
                    config,
                    created: danlu_store::now_rfc3339(),
                    seconds,
                    danlu_version: env!("CARGO_PKG_VERSION").to_owned(),
                    summary: made.summary,
                    content: String::new(),
                };
                let artifact = store.publish(&work, manifest)?;
                self.watch.stage_finished(stage, seconds, &made.line);
                artifact
            }
        };
        if matches!(stage, TuneStage::Pretrain | TuneStage::Train) {
            self.training.insert(name, artifact.manifest.summary.clone());
        }
        Ok(artifact)
    }

    /// Tells of the scores as they are made, and breaks them off when a stop is asked for.
    pub(crate) fn judging(&mut self, total: u64, unit: &'static str) -> impl FnMut(usize) -> ControlFlow<()> {
        move |done| {
            self.watch.progress(TuneStage::Evaluate, done as u64, total, unit);
            if self.options.stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }

    /// The documents of the recipe's sources, in one table.
    pub(crate) fn collect(&mut self, sources: &[SourceConfig], strict: bool) -> Result<Artifact, TuneError> {
        let mut state = serde_json::Map::new();
        for source in sources {
            state.insert(source.name.clone(), source_state(source, self.options.base)?.into());
        }
        let config = json!({ "sources": without_licenses(sources), "strict": strict, "state": state });
        self.make(TuneStage::Examples, config, &[], |stages, work, _| {
            let quiet = |_: Progress<'_>| {};
            let summary = collect(sources, stages.options.base, strict, work, &quiet)?;
            let line = format!("{} texts, {} problems", summary.total.documents, summary.problem_count);
            Ok(Made { summary: json!({ "texts": summary.total.documents, "problems": summary.problem_count }), line })
        })
    }

    /// Trains in `work`, where the model folder then lies. `counts` goes into the summary.
    pub(crate) fn fit<T: Task>(
        &mut self,
        task: &T,
        config: &TrainConfig,
        seed: u64,
        counts: Value,
        (work, series): (&Path, &str),
    ) -> Result<Made, TuneError> {
        let metrics = MetricsWriter::start(&self.workspace.db_path(), series, Some(&work.join("tensorboard")))?;
        let run = Run {
            config,
            seed,
            work_dir: work,
            device: self.options.device,
            metrics: Some(&metrics),
            peak_flops: None,
        };
        let outcome = danlu_train::run(&run, task, self.watch, self.options.stop);
        let written = metrics.finish();
        let outcome = outcome?;
        written?;
        finished(&outcome, config, counts)
    }

    /// The artifact that holds `score`'s figures, and the figures as it holds them.
    pub(crate) fn score<S: Serialize + DeserializeOwned>(
        &mut self,
        config: Value,
        tuned: &Artifact,
        score: impl FnOnce(&mut Self, &Path) -> Result<(S, Made), TuneError>,
    ) -> Result<S, TuneError> {
        let artifact = self.make(TuneStage::Evaluate, config, &[tuned], |stages, work, _| {
            let (scores, made) = score(stages, work)?;
            let text = serde_json::to_vec_pretty(&scores).unwrap_or_default();
            atomic::write_bytes(&work.join(SCORES_FILE), &text)?;
            Ok(made)
        })?;
        let path = artifact.path.join(SCORES_FILE);
        let damaged = |reason: String| TuneError::Damaged { path: path.clone(), reason };
        let bytes = fs::read(&path).map_err(|error| damaged(error.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))
    }
}

/// Writes a JSON line for each sample.
pub(crate) fn write_lines<S: Serialize>(samples: &[S], path: &Path) -> Result<(), TuneError> {
    let mut lines = Vec::new();
    for sample in samples {
        // Writing to memory cannot fail.
        let _ = writeln!(lines, "{}", json!(sample));
    }
    Ok(atomic::write_bytes(path, &lines)?)
}

/// Checkpoints are of no more use; what stays is the model folder.
fn finished(outcome: &TrainOutcome, config: &TrainConfig, counts: Value) -> Result<Made, TuneError> {
    if outcome.ending == Ending::Interrupted {
        let detail = format!("step {} of {} is saved", outcome.step, config.steps);
        return Err(TuneError::Interrupted { detail });
    }
    let model = outcome.model_dir.as_deref().and_then(Path::parent);
    if let Some(checkpoints) = model.map(|work| work.join("checkpoints"))
        && checkpoints.exists()
    {
        fs::remove_dir_all(&checkpoints).map_err(|error| StoreError::io("remove", &checkpoints, error))?;
    }
    let best = outcome.best.map(|best| (best.step, best.loss));
    let summary = json!({
        "steps": outcome.step, "tokens": outcome.tokens, "parameters": outcome.parameters,
        "best_step": best.map(|best| best.0), "best_valid_loss": best.map(|best| best.1),
        "tokens_per_second": outcome.tokens_per_second, "seconds": outcome.seconds, "examples": counts,
    });
    let loss = best.map_or(String::new(), |(step, loss)| format!(", validation loss {loss:.4} at step {step}"));
    Ok(Made { summary, line: format!("{} steps{loss}", outcome.step) })
}
