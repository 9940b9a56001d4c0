//! What an encoder makes of texts: embeddings and predictions.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use danlu_model::{Encoder, EncoderInput, HeadConfig, Pooling, Problem, SentenceConfig, describe_encoder};
use danlu_text::{EncodedText, EncoderTokenizer};
use rayon::prelude::*;

use crate::EvalError;

/// How texts go through an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderRunConfig {
    /// Texts that are computed together.
    pub batch_size: usize,
    /// Tokens of a text beyond this are cut off; left out: what the folder says, at most the model's context.
    pub max_len: Option<usize>,
    /// Left out: what the folder says, else the mean.
    pub pooling: Option<Pooling>,
    /// Left out: what the folder says, else to length 1.
    pub normalize: Option<bool>,
}

impl Default for EncoderRunConfig {
    fn default() -> Self {
        Self { batch_size: 32, max_len: None, pooling: None, normalize: None }
    }
}

/// An encoder with its tokenizer, ready for texts.
#[derive(Debug)]
pub struct EncoderRun {
    model: Encoder,
    tokenizer: EncoderTokenizer,
    batch_size: usize,
    max_len: usize,
    pooling: Pooling,
    normalize: bool,
}

/// A row of numbers for each text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    pub rows: Vec<Vec<f32>>,
    /// Of each text how many tokens were cut off.
    pub cut: Vec<usize>,
    /// Tokens read, special ones included.
    pub tokens: u64,
}

/// What a classifier says of a text.
#[derive(Clone, Debug, PartialEq)]
pub enum Prediction {
    /// The likeliest label's number, and the probability of each.
    Class { class: usize, probabilities: Vec<f32> },
    /// Whether each label's probability is at least one half, and that probability.
    Labels { flags: Vec<bool>, probabilities: Vec<f32> },
    /// The numbers of a regression.
    Values(Vec<f32>),
}

impl EncoderRun {
    /// Reads model and tokenizer of a folder.
    ///
    /// # Errors
    /// A folder that is no encoder's, or broken; a tokenizer with more tokens than the model.
    pub fn load(dir: &Path, device: &Device, config: &EncoderRunConfig) -> Result<Self, EvalError> {
        if describe_encoder(dir)?.is_none() {
            let found = "a model that is no encoder".into();
            return Err(EvalError::WrongModel { path: dir.into(), found, expected: "an encoder" });
        }
        let model = Encoder::load(dir, device)?;
        let tokenizer = EncoderTokenizer::from_dir(dir)?;
        let told = SentenceConfig::load(dir)?;
        let context = model.config().max_seq_len;
        let longest = config.max_len.or(told.and_then(|told| told.max_seq_len)).unwrap_or(context);
        let usual = told.unwrap_or_default();
        Ok(Self {
            batch_size: config.batch_size.max(1),
            max_len: longest.min(context),
            pooling: config.pooling.unwrap_or(usual.pooling),
            normalize: config.normalize.unwrap_or(usual.normalize),
            model,
            tokenizer,
        })
    }

    pub fn model(&self) -> &Encoder {
        &self.model
    }

    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// Whether embeddings have length 1.
    pub fn normalizes(&self) -> bool {
        self.normalize
    }

    /// The most tokens of a text, special ones included.
    pub fn max_len(&self) -> usize {
        self.max_len
    }

    /// The embedding of each text, in their order.
    ///
    /// # Errors
    /// What tokenizer, model and device report.
    pub fn embed(&self, texts: &[String]) -> Result<Rows, EvalError> {
        self.rows(texts, |input| Ok(self.model.embed(input, self.pooling, self.normalize, None)?))
    }

    /// What the sequence classifier says of each text, in their order, and what was cut off.
    ///
    /// # Errors
    /// As [`EncoderRun::embed`]; [`EvalError::WrongModel`] if the model is no sequence classifier.
    pub fn classify(&self, texts: &[String]) -> Result<(Vec<Prediction>, Rows), EvalError> {
        let HeadConfig::SequenceClassification { problem, .. } = self.model.config().head else {
            let found = format!("a model with the head {:?}", self.model.config().head);
            return Err(EvalError::WrongModel { path: "the model".into(), found, expected: "a sequence classifier" });
        };
        let rows = self.rows(texts, |input| Ok(self.model.logits(input, None)?))?;
        let predictions = rows.rows.iter().map(|logits| predict(logits, problem)).collect();
        Ok((predictions, rows))
    }

    /// Texts of like length together, so that little is padded; each row back at its text's place.
    fn rows(
        &self,
        texts: &[String],
        run: impl Fn(&EncoderInput) -> Result<Tensor<2>, EvalError>,
    ) -> Result<Rows, EvalError> {
        let encode = |text: &String| self.tokenizer.encode(text, self.max_len);
        let encoded: Vec<EncodedText> = texts.par_iter().map(encode).collect::<Result<_, _>>()?;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|at| encoded[*at].ids.len());
        let mut rows = vec![Vec::new(); texts.len()];
        for batch in order.chunks(self.batch_size) {
            let typed = self.model.config().token_types > 1;
            let input = EncoderInput {
                ids: batch.iter().map(|at| encoded[*at].ids.clone()).collect(),
                types: if typed { batch.iter().map(|at| encoded[*at].types.clone()).collect() } else { Vec::new() },
            };
            let found = run(&input)?;
            let width = found.dims()[1];
            for (at, row) in batch.iter().zip(values(found)?.chunks(width)) {
                if let Some(position) = row.iter().position(|x| !x.is_finite()) {
                    return Err(EvalError::NotFinite { document: format!("number {}", at + 1), position });
                }
                rows[*at] = row.to_vec();
            }
        }
        let tokens = encoded.iter().map(|text| text.ids.len() as u64).sum();
        Ok(Rows { rows, cut: encoded.iter().map(|text| text.cut).collect(), tokens })
    }
}

fn values(rows: Tensor<2>) -> Result<Vec<f32>, EvalError> {
    let unreadable = |reason: String| EvalError::Device { reason };
    let data = rows.try_into_data_as::<f32>().map_err(|e| unreadable(e.to_string()))?;
    data.try_into_vec().map_err(|e| unreadable(format!("{e:?}")))
}

fn predict(logits: &[f32], problem: Problem) -> Prediction {
    match problem {
        Problem::Regression => Prediction::Values(logits.to_vec()),
        Problem::MultiLabel => {
            let probabilities: Vec<f32> =
                logits.iter().map(|x| (1.0 / (1.0 + (-f64::from(*x)).exp())) as f32).collect();
            Prediction::Labels { flags: probabilities.iter().map(|p| *p >= 0.5).collect(), probabilities }
        }
        Problem::SingleLabel => {
            let probabilities: Vec<f32> =
                danlu_model::log_softmax(logits).iter().map(|x| f64::from(*x).exp() as f32).collect();
            let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]).then(b.cmp(a)));
            Prediction::Class { class: best.unwrap_or(0), probabilities }
        }
    }
}
