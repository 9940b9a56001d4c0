//! A model against documents.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use danlu_data::{DataError, Document, SourceConfig};
use danlu_model::{CausalLm, SequenceOptions};
use danlu_text::{Tokenizer, detect_language};
use serde::{Deserialize, Serialize};

use crate::choose::{Chooser, Coverage, rule};
use crate::score::{Encoded, Inputs, Scorer, Shape};
use crate::scores::{Scores, group_scores};
use crate::{EvalConfig, EvalError, WindowSize};

/// Where an evaluation stands; `tokens_read` grows while documents stream in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub documents_read: u64,
    pub tokens_read: u64,
    pub tokens_scored: u64,
}

/// The result: the overall figures stand at the top level of its JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    #[serde(flatten)]
    pub overall: Scores,
    pub by_language: BTreeMap<String, Scores>,
    pub by_source: BTreeMap<String, Scores>,
    pub window: WindowSize,
    pub coverage: Coverage,
    /// Hash of the tokenizer the text was cut with.
    pub tokenizer: String,
}

/// Scores `model` on `documents` by the protocol of the crate's front page.
///
/// The forward pass runs on the model's device; the sums are made in f64 on the
/// host. Documents stream: memory holds a few hundred thousand tokens at a time,
/// or, under a cap of `config`, the chosen documents.
pub fn evaluate(
    model: &CausalLm,
    tokenizer: &Tokenizer,
    documents: impl IntoIterator<Item = Result<Document, DataError>>,
    config: &EvalConfig,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Evaluation, EvalError> {
    let mut intake = Intake::new(model, tokenizer, config, progress)?;
    for document in documents {
        intake.take(document?)?;
    }
    intake.finish()
}

/// Loads the model folder and evaluates it on a source the data room reads (text,
/// JSON Lines, CSV, Parquet; a file, a folder or a glob, relative to `base`).
///
/// Records with fields `source` and `language` (danlu's own documents) keep them;
/// the language of others is identified.
pub fn evaluate_source(
    model_dir: &Path,
    source: &SourceConfig,
    base: &Path,
    device: &Device,
    config: &EvalConfig,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Evaluation, EvalError> {
    let model = danlu_model::load(model_dir, device)?;
    let tokenizer = Tokenizer::from_dir(model_dir)?;
    evaluate_loaded(&model, &tokenizer, source, base, config, progress)
}

/// [`evaluate_source`] of a model that is loaded.
pub(crate) fn evaluate_loaded(
    model: &CausalLm,
    tokenizer: &Tokenizer,
    source: &SourceConfig,
    base: &Path,
    config: &EvalConfig,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Evaluation, EvalError> {
    let mut intake = Intake::new(model, tokenizer, config, progress)?;
    let mut unreadable = 0;
    // The reader's sink knows only its room's errors, so ours wait outside.
    let mut failed = None;
    danlu_data::read_source(source, base, &mut |record| match record {
        Ok(document) => match intake.take(with_own_labels(document)) {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(error) => {
                failed = Some(error);
                Ok(ControlFlow::Break(()))
            }
        },
        Err(problem) if config.strict => Err(problem.into()),
        Err(problem) => {
            tracing::warn!("skipped: {problem}");
            unreadable += 1;
            Ok(ControlFlow::Continue(()))
        }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    intake.scorer.coverage.records_unreadable = unreadable;
    intake.finish()
}

/// [`evaluate_source`] on one path, relative to the working directory, with the
/// text in the field `text`.
pub fn evaluate_path(
    model_dir: &Path,
    data: &Path,
    device: &Device,
    config: &EvalConfig,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Evaluation, EvalError> {
    let name = data.file_name().unwrap_or(data.as_os_str()).to_string_lossy().into_owned();
    let path = data.to_string_lossy().into_owned();
    let source = SourceConfig { name, path, ..SourceConfig::default() };
    evaluate_source(model_dir, &source, Path::new(""), device, config, progress)
}

/// Takes documents one by one: under a cap they are chosen first, else encoded
/// and scored as they come.
struct Intake<'a> {
    scorer: Scorer<'a, Forward<'a>>,
    tokenizer: &'a Tokenizer,
    config: &'a EvalConfig,
    window: WindowSize,
    chooser: Option<Chooser>,
}

/// A model as the scoring loop sees it.
type Forward<'a> = Box<dyn FnMut(&Inputs<'_>) -> Result<Vec<f32>, EvalError> + 'a>;

impl<'a> Intake<'a> {
    fn new(
        model: &'a CausalLm,
        tokenizer: &'a Tokenizer,
        config: &'a EvalConfig,
        progress: &'a mut dyn FnMut(&Progress),
    ) -> Result<Self, EvalError> {
        let window = config.window(model.config().max_seq_len)?;
        let shape = Shape {
            window,
            batch_size: config.batch_size,
            vocab_size: model.vocab_size(),
            boundary: tokenizer.eos_id(),
        };
        let forward: Forward<'a> = Box::new(|inputs| logits(model, inputs));
        let scorer = Scorer::new(shape, forward, progress);
        let chooser = config.is_capped().then(|| Chooser::new(config));
        Ok(Self { scorer, tokenizer, config, window, chooser })
    }

    fn take(&mut self, document: Document) -> Result<(), EvalError> {
        if let Some(chooser) = &mut self.chooser {
            chooser.push(document);
            return Ok(());
        }
        self.scorer.coverage.documents_offered += 1;
        self.scorer.coverage.bytes_offered += document.text.len() as u64;
        self.score(document)
    }

    fn score(&mut self, document: Document) -> Result<(), EvalError> {
        let tokens = self.tokenizer.encode_literal(&document.text)?;
        if self.tokenizer.decode_bytes(&tokens) != document.text.as_bytes() {
            self.scorer.coverage.documents_not_round_trip += 1;
        }
        self.scorer.push(Encoded {
            language: language(&document),
            id: document.id,
            source: document.source,
            bytes: document.text.len() as u64,
            tokens,
        })
    }

    fn finish(mut self) -> Result<Evaluation, EvalError> {
        if let Some(chooser) = self.chooser.take() {
            let chosen = chooser.finish();
            let coverage = &mut self.scorer.coverage;
            coverage.documents_offered = chosen.documents_offered;
            coverage.bytes_offered = chosen.bytes_offered;
            let all = chosen.documents.len() as u64 == chosen.documents_offered;
            coverage.rule = (!all).then(|| rule(self.config));
            for document in chosen.documents {
                self.score(document)?;
            }
        }
        self.scorer.flush()?;
        let (groups, coverage) = (self.scorer.groups, self.scorer.coverage);
        let seen = coverage.documents_offered;
        let overall = groups.overall.scores().ok_or(EvalError::NothingToScore { seen })?;
        Ok(Evaluation {
            overall,
            by_language: group_scores(&groups.by_language),
            by_source: group_scores(&groups.by_source),
            window: self.window,
            coverage,
            tokenizer: self.tokenizer.hash().to_string(),
        })
    }
}

/// A document read from a file of danlu's own documents gets back its `source`
/// and `language`, which the general reader took for metadata.
pub(crate) fn with_own_labels(mut document: Document) -> Document {
    let field = |name: &str| document.metadata.get(name).and_then(|value| value.as_str()).map(str::to_owned);
    let (source, language) = (field("source"), field("language"));
    document.source = source.unwrap_or(document.source);
    if document.language.is_empty() {
        document.language = language.unwrap_or_default();
    }
    document
}

/// The document's own language, or the identified one.
pub(crate) fn language(document: &Document) -> String {
    if document.language.is_empty() {
        detect_language(&document.text).code.to_string()
    } else {
        document.language.clone()
    }
}

/// (rows, cols) ids -> (wanted, vocab) logits as f32 on the host. Positions that
/// are context only never reach the head, the dearest layer of a small model.
pub(crate) fn logits(model: &CausalLm, inputs: &Inputs<'_>) -> Result<Vec<f32>, EvalError> {
    let device = model.device();
    let ids: Vec<i32> = inputs.ids.iter().map(|&id| id as i32).collect();
    let tokens: Tensor<2, Int> = Tensor::from_data(TensorData::new(ids, [inputs.rows, inputs.cols]), &device);
    let hidden = model.hidden(tokens, SequenceOptions::default()); // (rows, cols, hidden)
    let [rows, cols, width] = hidden.dims();
    let hidden: Tensor<2> = hidden.reshape([rows * cols, width]);
    let wanted: Vec<i32> = inputs.wanted.iter().map(|&at| at as i32).collect();
    let hidden = if wanted.len() == rows * cols {
        hidden
    } else {
        hidden.select(0, Tensor::from_data(TensorData::from(wanted.as_slice()), &device))
    };
    let unreadable = |reason: String| EvalError::Device { reason };
    let logits = model.head(hidden).try_into_data_as::<f32>().map_err(|e| unreadable(e.to_string()))?;
    logits.try_into_vec().map_err(|e| unreadable(format!("{e:?}")))
}
