//! Gathers all that is known of a run, from artifacts and the run database, as the plain data that the report draws.
//! Stages that have not run leave their part empty: a report can be asked for at any time.

use std::collections::BTreeMap;

use danlu_data::{AugmentSummary, CollectSummary, Funnel, ShowFilter};
use danlu_store::{Artifact, ArtifactStore, Run, RunDb, StageRecord, Workspace};
use danlu_train::Plan;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::graph::Stage;
use crate::recipe::Recipe;
use crate::report::{
    CommandFacts, CompressionFacts, Curves, DataFacts, EvaluationFacts, EventFacts, MixtureFacts, ModelFacts, RunFacts,
    RunReport, SampleFacts, SourceFacts, StageFacts, TokenizerFacts, TokenizerRow, TrainingFacts,
};
use crate::stages::{CompressSummary, EvaluateSummary, TokenizerSummary, TrainSummary, files};
use crate::{PipelineError, report};

/// So many dropped documents are shown, of each reason one after the other.
const DROPPED_SHOWN: usize = 6;

/// The page (HTML) and the model card (Markdown) of a run as it stands now.
///
/// # Errors
/// A database or artifact that cannot be read.
pub fn report_of(workspace: &Workspace, db: &RunDb, run: &Run) -> Result<(String, String), PipelineError> {
    let facts = gather(workspace, db, &run.id)?;
    Ok((report::html(&facts), report::model_card(&facts)))
}

/// Everything known of a run.
pub(crate) fn gather(workspace: &Workspace, db: &RunDb, run_id: &str) -> Result<RunReport, PipelineError> {
    let run = db.run(run_id)?;
    let stages = db.stages(&run.id)?;
    let recipe: Recipe = toml::from_str(&run.recipe)
        .map_err(|e| PipelineError::Artifact { path: workspace.run_dir(&run.id), message: e.message().to_owned() })?;
    Gatherer { store: workspace.artifacts(), workspace, db, run, stages, recipe }.gather()
}

struct Gatherer<'a> {
    workspace: &'a Workspace,
    store: ArtifactStore,
    db: &'a RunDb,
    run: Run,
    stages: Vec<StageRecord>,
    recipe: Recipe,
}

impl Gatherer<'_> {
    fn gather(&self) -> Result<RunReport, PipelineError> {
        let evaluated: Option<EvaluateSummary> = self.summary(Stage::Evaluate)?;
        let samples = evaluated.as_ref().map(|e| self.samples(e)).unwrap_or_default();
        Ok(RunReport {
            stages: self.stage_facts()?,
            data: self.data()?,
            mixture: self.mixture()?,
            tokenizer: self.tokenizer()?,
            model: self.model()?,
            training: self.training()?,
            compression: self.compression(evaluated.as_ref())?,
            evaluation: evaluated.map(|e| EvaluationFacts { scores: e.evaluation, baselines: Some(e.baselines) }),
            samples,
            recipe: self.run.recipe.clone(),
            environment: self.environment()?,
            commands: self.commands(),
            run: self.run_facts(),
        })
    }

    /// The machine that the model was trained on; before that, this one.
    fn environment(&self) -> Result<serde_json::Map<String, Value>, PipelineError> {
        let trained = self.summary::<TrainSummary>(Stage::Train)?.map(|t| t.environment);
        Ok(match trained.unwrap_or_else(danlu_store::environment) {
            Value::Object(map) => map,
            _ => serde_json::Map::new(),
        })
    }

    fn key(&self, stage: Stage) -> Option<&str> {
        self.stages.iter().find(|s| s.stage == stage.name()).map(|s| s.key.as_str())
    }

    fn artifact(&self, stage: Stage) -> Result<Option<Artifact>, PipelineError> {
        let Some(key) = self.key(stage) else { return Ok(None) };
        Ok(self.store.find(stage.name(), key)?)
    }

    fn summary<T: DeserializeOwned>(&self, stage: Stage) -> Result<Option<T>, PipelineError> {
        let Some(artifact) = self.artifact(stage)? else { return Ok(None) };
        let path = artifact.path.join(danlu_store::MANIFEST_FILE);
        serde_json::from_value(artifact.manifest.summary)
            .map(Some)
            .map_err(|e| PipelineError::Artifact { path, message: e.to_string() })
    }

    fn folder(&self, name: &str) -> String {
        self.workspace.run_dir(&self.run.id).join(name).display().to_string()
    }

    fn run_facts(&self) -> RunFacts {
        RunFacts {
            id: self.run.id.clone(),
            name: self.recipe.name.clone(),
            state: self.run.state.as_str().into(),
            started: self.run.started.clone(),
            ended: self.run.ended.clone(),
            seconds: self.stages.iter().map(|s| s.seconds).sum(),
            seed: self.recipe.seed,
            danlu_version: env!("CARGO_PKG_VERSION").into(),
            model_dir: Some(self.folder(files::MODEL)),
            license: None,
        }
    }

    fn stage_facts(&self) -> Result<Vec<StageFacts>, PipelineError> {
        let mut facts = Vec::new();
        for record in self.stages.iter().filter(|s| s.stage != Stage::Report.name()) {
            let artifact = self.store.find(&record.stage, &record.key)?;
            facts.push(StageFacts {
                stage: record.stage.clone(),
                key: record.key.clone(),
                state: record.state.as_str().into(),
                seconds: artifact.as_ref().map_or(record.seconds, |a| a.manifest.seconds),
                reason: Some(record.reason.clone()),
                inputs: artifact.map(|a| a.manifest.inputs).unwrap_or_default(),
            });
        }
        Ok(facts)
    }

    fn data(&self) -> Result<Option<DataFacts>, PipelineError> {
        let Some(collected) = self.summary::<CollectSummary>(Stage::Collect)? else { return Ok(None) };
        let funnel = self.summary::<Funnel>(Stage::Clean)?.unwrap_or_default();
        let sources = self.recipe.data.sources.iter().map(|s| SourceFacts {
            name: s.name.clone(),
            path: s.path.clone(),
            license: s.license.clone(),
        });
        let tokens: BTreeMap<String, u64> = self
            .summary::<TokenizerSummary>(Stage::Tokenizer)?
            .map(|t| t.shards.into_iter().map(|(split, s)| (split, s.total.tokens)).collect())
            .unwrap_or_default();
        let dropped_samples = self.dropped(&funnel)?;
        let copies = self.summary::<AugmentSummary>(Stage::Augment)?;
        Ok(Some(DataFacts { sources: sources.collect(), collected, funnel, copies, tokens, dropped_samples }))
    }

    /// A few dropped documents, as many of each reason.
    fn dropped(&self, funnel: &Funnel) -> Result<Vec<danlu_data::DroppedDocument>, PipelineError> {
        let Some(cleaned) = self.artifact(Stage::Clean)? else { return Ok(Vec::new()) };
        let reasons = funnel.reasons();
        let each = (DROPPED_SHOWN / reasons.len().max(1)).max(1);
        let mut samples = Vec::new();
        for reason in reasons.keys() {
            let filter = ShowFilter { reason: Some(reason.clone()), limit: Some(each), ..ShowFilter::default() };
            for shown in danlu_data::show(&cleaned.path, &filter)? {
                samples.push(danlu_data::DroppedDocument {
                    document: shown.document,
                    step: shown.step.unwrap_or_default(),
                    reason: shown.reason.unwrap_or_default(),
                    detail: shown.detail.unwrap_or_default(),
                });
            }
        }
        Ok(samples)
    }

    fn mixture(&self) -> Result<Option<MixtureFacts>, PipelineError> {
        let Some(config) = &self.recipe.mixture else { return Ok(None) };
        let made = self.summary::<TokenizerSummary>(Stage::Tokenizer)?;
        let realised = made.and_then(|made| made.shards.get("train")?.mixture.clone());
        Ok(realised.map(|realised| MixtureFacts { by: config.by.clone(), realised }))
    }

    fn tokenizer(&self) -> Result<Option<TokenizerFacts>, PipelineError> {
        let Some(made) = self.summary::<TokenizerSummary>(Stage::Tokenizer)? else { return Ok(None) };
        let by_language = made.shards.get("train").map(|train| {
            let row =
                |c: &danlu_data::ShardCount| TokenizerRow { documents: c.documents, bytes: c.bytes, tokens: c.tokens };
            train.by_language.iter().map(|(language, count)| (language.clone(), row(count))).collect()
        });
        Ok(Some(TokenizerFacts {
            vocab_size: made.vocab_size,
            hash: made.hash,
            measured_on: "train".into(),
            by_language: by_language.unwrap_or_default(),
            unknown_tokens: made.shards.values().map(|s| s.unknown_tokens).sum(),
            round_trip_failures: made.shards.values().map(|s| s.round_trip_failures).sum(),
        }))
    }

    fn model(&self) -> Result<Option<ModelFacts>, PipelineError> {
        let Some(tokenizer) = self.summary::<TokenizerSummary>(Stage::Tokenizer)? else { return Ok(None) };
        let config = &self.recipe.model;
        let counts = config.parameter_counts(tokenizer.vocab_size);
        let plan =
            self.summary::<TrainSummary>(Stage::Train)?.and_then(|t| serde_json::from_value::<Plan>(t.plan).ok());
        let settings = config.settings();
        Ok(Some(ModelFacts {
            architecture: settings.get("architecture").and_then(Value::as_str).unwrap_or_default().into(),
            parameters: counts.total() as u64,
            embedding_parameters: (counts.embedding + counts.head) as u64,
            context: config.max_seq_len,
            vocab_size: tokenizer.vocab_size,
            flops_per_token: config.flops_per_token(tokenizer.vocab_size, self.recipe.train.seq_len),
            config: settings,
            memory: plan.map(|p| p.memory.classes()).unwrap_or_default(),
        }))
    }

    fn training(&self) -> Result<Option<TrainingFacts>, PipelineError> {
        let Some(series) = self.key(Stage::Train) else { return Ok(None) };
        let curve = |name: &str| -> Result<Vec<(f64, f64)>, PipelineError> {
            Ok(self.db.metrics(series, name)?.into_iter().map(|(step, value)| (step as f64, value)).collect())
        };
        let curves = Curves {
            train_loss: curve("train/loss")?,
            valid_loss: curve("valid/loss")?,
            learning_rate: curve("train/learning_rate")?,
            gradient_norm: curve("train/gradient_norm")?,
            tokens_per_second: curve("train/tokens_per_second")?,
        };
        let Some(made) = self.summary::<TrainSummary>(Stage::Train)? else {
            let facts = TrainingFacts { curves, steps_planned: self.recipe.train.steps, ..TrainingFacts::default() };
            return Ok((!facts.curves.train_loss.is_empty()).then_some(facts));
        };
        let train_tokens = self
            .summary::<TokenizerSummary>(Stage::Tokenizer)?
            .and_then(|t| t.shards.get("train").map(|s| s.total.tokens));
        Ok(Some(TrainingFacts {
            steps: made.steps,
            steps_planned: made.steps_planned,
            ended_because: made.ending.as_str().unwrap_or_default().replace('_', " "),
            tokens_seen: made.tokens,
            epochs: train_tokens.map_or(0.0, |all| made.tokens as f64 / all.max(1) as f64),
            best_step: made.best_step.unwrap_or_default(),
            best_valid_loss: made.best_valid_loss.unwrap_or(f64::NAN),
            final_train_loss: made.last_loss.unwrap_or(f64::NAN),
            seconds: made.seconds,
            tokens_per_second: made.tokens_per_second,
            mfu: made.mfu,
            threads: made.threads,
            device: made.device,
            curves,
            events: made.events.into_iter().map(|(step, message)| EventFacts { step, message }).collect(),
        }))
    }

    fn compression(&self, evaluated: Option<&EvaluateSummary>) -> Result<Option<CompressionFacts>, PipelineError> {
        let (Some(made), Some(evaluated)) = (self.summary::<CompressSummary>(Stage::Compress)?, evaluated) else {
            return Ok(None);
        };
        Ok(Some(CompressionFacts {
            method: "int8, weights only, one scale per output channel".into(),
            model_dir: Some(self.folder(files::INT8_MODEL)),
            bytes_before: made.bytes_before,
            bytes_after: made.bytes_after,
            bits_per_byte_before: evaluated.evaluation.overall.bits_per_byte,
            bits_per_byte_after: made.evaluation.overall.bits_per_byte,
            decode_tokens_per_second_before: made.decode_tokens_per_second_before,
            decode_tokens_per_second_after: made.decode_tokens_per_second_after,
        }))
    }

    fn samples(&self, evaluated: &EvaluateSummary) -> Vec<SampleFacts> {
        let sample = |s: &crate::stages::Sample| SampleFacts {
            prompt: s.prompt.clone(),
            continuation: s.continuation.clone(),
            settings: s.settings.clone(),
            model: "f32".into(),
        };
        evaluated.samples.iter().map(sample).collect()
    }

    fn commands(&self) -> Vec<CommandFacts> {
        let id = &self.run.id;
        let model = self.folder(files::MODEL);
        let command =
            |command: String, en: &str, zh: &str| CommandFacts { command, prints_en: en.into(), prints_zh: zh.into() };
        vec![
            command(
                format!("danlu show {id}"),
                "every figure of this page, and wall time by stage",
                "本页的所有数字与各阶段用时",
            ),
            command(
                format!("danlu data show {id} --reason any"),
                "the dropped documents with their reasons",
                "被丢弃的文档及原因",
            ),
            command(format!("danlu eval {model} --data FILE"), "the same scores on any text", "在任意文本上的同样评分"),
            command(format!("danlu generate {model} --prompt TEXT"), "a continuation", "续写"),
            command(format!("danlu report {id}"), "this page, made anew", "重新生成本页"),
        ]
    }
}
