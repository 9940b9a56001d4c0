//! The stages of tuning, each an artifact that is made once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::prelude::Device;
use danlu_data::{MaskingTokens, Progress, collect, source_state};
use danlu_model::{EncoderConfig, HeadConfig, Problem, describe_encoder};
use danlu_store::{Artifact, Manifest, MetricsWriter, StoreError, Workspace, atomic, hash};
use danlu_text::{EncodedText, EncoderTokenizer};
use danlu_train::{Ending, Run, TrainConfig, TrainOutcome};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use crate::evaluate::{TuneScores, score};
use crate::examples::{Example, ExampleCounts};
use crate::{EncoderTask, Examples, Goal, Order, Start, TuneError, TuneRecipe};

/// Raised when a change of code makes earlier results stale.
const FORMAT: u32 = 1;
const SCORES_FILE: &str = "scores.json";
const MODEL: &str = "model";

/// One stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TuneStage {
    /// Texts with labels, in one table.
    Examples,
    /// The vocabulary.
    Vocabulary,
    /// Masked language modelling.
    Pretrain,
    /// The labels.
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
    fn stage_finished(&mut self, _stage: TuneStage, _seconds: f64, _line: &str) {}
}

/// Where and how.
#[derive(Debug)]
pub struct TuneOptions<'a> {
    /// The folder that relative paths of the recipe start from.
    pub base: &'a Path,
    pub device: &'a Device,
    /// Set: training saves a checkpoint and ends.
    pub stop: &'a AtomicBool,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct TuneOutcome {
    pub name: String,
    /// The model: a folder in Hugging Face layout.
    pub model: PathBuf,
    pub examples: ExampleCounts,
    pub scores: TuneScores,
    /// Summaries of the training stages.
    pub training: BTreeMap<&'static str, Value>,
}

/// Runs what is not there yet of a recipe.
///
/// # Errors
/// [`TuneError::Interrupted`] when stopped; what data, model, training and disk report. Finished stages stay, and
/// training goes on from its last checkpoint.
pub fn tune(
    recipe: &TuneRecipe,
    workspace: &Workspace,
    options: &TuneOptions<'_>,
    watch: &mut dyn Watch,
) -> Result<TuneOutcome, TuneError> {
    recipe.check()?;
    let mut run = Tuning { recipe, workspace, options, watch, training: BTreeMap::new() };
    let collected = run.examples()?;
    let examples = Examples::read(&collected.path, &recipe.data)?;
    let vocabulary = run.vocabulary(&collected, &examples)?;
    let pretrained = run.pretrain(&collected, &examples, vocabulary.as_ref())?;
    let tuned = run.train(&collected, &examples, vocabulary.as_ref(), pretrained.as_ref())?;
    let scores = run.score(&tuned, &examples)?;
    let training = run.training;
    let model = tuned.path.join(MODEL);
    Ok(TuneOutcome { name: recipe.name.clone(), model, examples: examples.counts, scores, training })
}

struct Tuning<'a> {
    recipe: &'a TuneRecipe,
    workspace: &'a Workspace,
    options: &'a TuneOptions<'a>,
    watch: &'a mut dyn Watch,
    training: BTreeMap<&'static str, Value>,
}

/// What a stage has to tell.
struct Made {
    summary: Value,
    line: String,
}

impl Tuning<'_> {
    fn examples(&mut self) -> Result<Artifact, TuneError> {
        let data = &self.recipe.data;
        let mut state = serde_json::Map::new();
        for source in &data.sources {
            state.insert(source.name.clone(), source_state(source, self.options.base)?.into());
        }
        let config = json!({ "sources": data.sources, "strict": data.strict, "state": state });
        self.stage(TuneStage::Examples, config, &[], |run, work, _| {
            let quiet = |_: Progress<'_>| {};
            let summary = collect(&data.sources, run.options.base, data.strict, work, &quiet)?;
            let line = format!("{} texts, {} problems", summary.total.documents, summary.problem_count);
            Ok(Made { summary: json!({ "texts": summary.total.documents, "problems": summary.problem_count }), line })
        })
    }

    /// The vocabulary of the training texts; none where a folder brings its own.
    fn vocabulary(&mut self, collected: &Artifact, examples: &Examples) -> Result<Option<Artifact>, TuneError> {
        if self.recipe.from.is_some() {
            return Ok(None);
        }
        let config = json!({ "tokenizer": self.recipe.tokenizer, "parts": self.parts() });
        let settings = &self.recipe.tokenizer;
        let made = self.stage(TuneStage::Vocabulary, config, &[collected], |_, work, _| {
            let texts = examples.train.iter().map(|example| example.text.as_str());
            let tokenizer = EncoderTokenizer::train(texts, settings)?;
            tokenizer.save(work)?;
            let size = tokenizer.vocab_size();
            Ok(Made { summary: json!({ "vocab_size": size }), line: format!("{size} tokens") })
        })?;
        Ok(Some(made))
    }

    /// What decides which example is in which split.
    fn parts(&self) -> Value {
        json!({ "valid": self.recipe.data.valid, "test": self.recipe.data.test })
    }

    fn pretrain(
        &mut self,
        collected: &Artifact,
        examples: &Examples,
        vocabulary: Option<&Artifact>,
    ) -> Result<Option<Artifact>, TuneError> {
        let Some(pretrain) = &self.recipe.pretrain else { return Ok(None) };
        let (start, from) = self.start(vocabulary, None, HeadConfig::MaskedLm)?;
        let config = json!({
            "pretrain": pretrain, "start": from, "parts": self.parts(), "seed": self.recipe.seed,
        });
        let inputs: Vec<&Artifact> = [Some(collected), vocabulary].into_iter().flatten().collect();
        let made = self.stage(TuneStage::Pretrain, config, &inputs, |run, work, series| {
            let folder = run.tokenizer_dir(vocabulary);
            let tokenizer = EncoderTokenizer::from_dir(&folder)?;
            let tokens = masking_tokens(&tokenizer, &folder)?;
            let goal = Goal::Masked { masking: pretrain.masking.clone(), tokens };
            run.fit(&pretrain.train, start, goal, examples, &folder, work, series)
        })?;
        Ok(Some(made))
    }

    fn train(
        &mut self,
        collected: &Artifact,
        examples: &Examples,
        vocabulary: Option<&Artifact>,
        pretrained: Option<&Artifact>,
    ) -> Result<Artifact, TuneError> {
        let labels = examples.labels.clone();
        let head = HeadConfig::SequenceClassification { labels, problem: Problem::SingleLabel };
        let (start, from) = self.start(vocabulary, pretrained, head)?;
        let train = &self.recipe.train;
        let config = json!({ "train": train, "start": from, "parts": self.parts(), "seed": self.recipe.seed });
        let inputs: Vec<&Artifact> = [Some(collected), vocabulary, pretrained].into_iter().flatten().collect();
        self.stage(TuneStage::Train, config, &inputs, |run, work, series| {
            let folder = run.tokenizer_dir(vocabulary);
            let classes = |split: &[Example]| split.iter().map(|example| example.label as i32).collect();
            let goal = Goal::Classes { train: classes(&examples.train), valid: classes(&examples.valid) };
            run.fit(train, start, goal, examples, &folder, work, series)
        })
    }

    fn score(&mut self, tuned: &Artifact, examples: &Examples) -> Result<TuneScores, TuneError> {
        let (seq_len, baseline) = (self.recipe.train.seq_len, &self.recipe.baseline);
        let config = json!({ "seq_len": seq_len, "baseline": baseline });
        let artifact = self.stage(TuneStage::Evaluate, config, &[tuned], |run, work, _| {
            let scores = score(&tuned.path.join(MODEL), examples, seq_len, baseline, run.options.device)?;
            let text = serde_json::to_vec_pretty(&scores).unwrap_or_default();
            atomic::write_bytes(&work.join(SCORES_FILE), &text)?;
            let bag = &scores.baseline.bag_of_words;
            let line = format!(
                "accuracy {:.4}, F1 {:.4}; bag of words {:.4}, {:.4}",
                scores.model.accuracy, scores.model.macro_.f1, bag.accuracy, bag.macro_.f1
            );
            Ok(Made { summary: json!({ "accuracy": scores.model.accuracy, "f1": scores.model.macro_.f1 }), line })
        })?;
        let path = artifact.path.join(SCORES_FILE);
        let damaged = |reason: String| TuneError::Damaged { path: path.clone(), reason };
        let bytes = fs::read(&path).map_err(|error| damaged(error.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))
    }

    /// Where the weights of a stage begin, and what of it belongs to the stage's key.
    fn start(
        &self,
        vocabulary: Option<&Artifact>,
        pretrained: Option<&Artifact>,
        head: HeadConfig,
    ) -> Result<(Start, Value), TuneError> {
        if let Some(pretrained) = pretrained {
            return Ok((Start::Folder { path: pretrained.path.join(MODEL), head }, json!("pretrained")));
        }
        if let Some(from) = &self.recipe.from {
            let path = self.options.base.join(from);
            describe_encoder(&path)?;
            let state = hash::of_dir(&path)?;
            return Ok((Start::Folder { path, head }, json!({ "folder": state })));
        }
        let folder = self.tokenizer_dir(vocabulary);
        let vocab_size = EncoderTokenizer::from_dir(&folder)?.vocab_size();
        let config = EncoderConfig { head, ..self.recipe.model.clone() };
        let value = json!({ "model": config, "vocab_size": vocab_size });
        Ok((Start::Fresh { config, vocab_size }, value))
    }

    fn tokenizer_dir(&self, vocabulary: Option<&Artifact>) -> PathBuf {
        match (vocabulary, &self.recipe.from) {
            (Some(vocabulary), _) => vocabulary.path.clone(),
            (None, from) => self.options.base.join(from.as_deref().unwrap_or(Path::new("."))),
        }
    }

    /// Trains in `work`, where the model folder then lies.
    #[expect(clippy::too_many_arguments)]
    fn fit(
        &mut self,
        config: &TrainConfig,
        start: Start,
        goal: Goal,
        examples: &Examples,
        tokenizer_dir: &Path,
        work: &Path,
        series: &str,
    ) -> Result<Made, TuneError> {
        let tokenizer = EncoderTokenizer::from_dir(tokenizer_dir)?;
        let encode = |split: &[Example]| -> Result<Vec<EncodedText>, TuneError> {
            let encoded = split.par_iter().map(|example| tokenizer.encode(&example.text, config.seq_len));
            Ok(encoded.collect::<Result<_, _>>()?)
        };
        let (train, valid) = (encode(&examples.train)?, encode(&examples.valid)?);
        let lengths = train.iter().map(|text| text.ids.len() as u32).collect();
        let cut = train.iter().filter(|text| text.cut > 0).count();
        let seed = self.recipe.seed;
        let task = EncoderTask {
            start,
            goal,
            order: Order::new(lengths, config.batch_size, seed),
            train: &train,
            valid: &valid,
            config,
            seed,
            tokenizer_dir,
        };
        let metrics = MetricsWriter::start(&self.workspace.db_path(), series, Some(&work.join("tensorboard")))?;
        let run = Run {
            config,
            seed,
            work_dir: work,
            device: self.options.device,
            metrics: Some(&metrics),
            peak_flops: None,
        };
        let outcome = danlu_train::run(&run, &task, self.watch, self.options.stop);
        let written = metrics.finish();
        let outcome = outcome?;
        written?;
        finished(outcome, config, cut)
    }

    /// The artifact of a stage: found, or made by `make` in a work folder that outlives a killed process.
    fn stage(
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
}

/// Checkpoints are of no more use; what stays is the model folder.
fn finished(outcome: TrainOutcome, config: &TrainConfig, cut: usize) -> Result<Made, TuneError> {
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
        "tokens_per_second": outcome.tokens_per_second, "seconds": outcome.seconds, "cut": cut,
    });
    let loss = best.map_or(String::new(), |(step, loss)| format!(", validation loss {loss:.4} at step {step}"));
    Ok(Made { summary, line: format!("{} steps{loss}", outcome.step) })
}

fn masking_tokens(tokenizer: &EncoderTokenizer, folder: &Path) -> Result<MaskingTokens, TuneError> {
    let mask = tokenizer.mask_id().ok_or_else(|| TuneError::NoMask { path: folder.to_owned() })?;
    let special = tokenizer.special_ids().to_vec();
    Ok(MaskingTokens { mask, vocab_size: tokenizer.vocab_size() as u32, special })
}
