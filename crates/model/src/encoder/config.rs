//! The shape of an encoder and of its head: settings, their checks, and what follows from them by arithmetic.

use crate::config::check;
use crate::{Activation, ModelError};
use danlu_ops::Cell;
use serde::{Deserialize, Serialize};

/// What an encoder's layers are. Those of Transformers differ by names and small things alone: post-norm, learned
/// positions. Recurrent ones read from both ends; each direction has half of `hidden_size`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncoderKind {
    /// Devlin et al. 2019.
    #[default]
    Bert,
    /// Liu et al. 2019; also XLM-RoBERTa. Positions begin after the padding token's number, and the classifier has a
    /// layer of its own instead of the pooler.
    Roberta,
    /// Sanh et al. 2019. No token types; the classifier's first layer has ReLU.
    DistilBert,
    /// Long short-term memory in both directions (Graves and Schmidhuber 2005).
    Lstm,
    /// Gated recurrent units in both directions.
    Gru,
    /// The plain recurrent layer with tanh in both directions (Schuster and Paliwal 1997).
    Rnn,
}

impl EncoderKind {
    /// What recurrent layers are made of; `None` for Transformers.
    pub fn cell(self) -> Option<Cell> {
        match self {
            EncoderKind::Bert | EncoderKind::Roberta | EncoderKind::DistilBert => None,
            EncoderKind::Lstm => Some(Cell::Lstm),
            EncoderKind::Gru => Some(Cell::Gru),
            EncoderKind::Rnn => Some(Cell::Tanh),
        }
    }
}

/// What the numbers of a sequence classifier mean, and so its loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// One of the labels: softmax and cross-entropy.
    #[default]
    SingleLabel,
    /// Any of the labels: one sigmoid each and binary cross-entropy.
    MultiLabel,
    /// Numbers as they are: squared error.
    Regression,
}

/// What stands on top of the encoder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", try_from = "HeadTable")]
pub enum HeadConfig {
    /// Nothing: hidden states and embeddings.
    #[default]
    None,
    /// `tanh(dense(first token))`, which folders of BERT without a task carry along.
    Pooler,
    /// The vocabulary at every position: dense, activation, normalisation, then the embedding matrix and a bias.
    MaskedLm,
    /// Labels of the whole sequence, from its first token.
    SequenceClassification { labels: Vec<String>, problem: Problem },
    /// A label for each token.
    TokenClassification { labels: Vec<String> },
    /// Labels that are spelt along the sequence, fewer than its tokens and without an alignment (Graves et al. 2006).
    Ctc { labels: Vec<String> },
}

/// A head as a table has it. Serde's own reading of a tagged enum lets a variant without fields pass with keys that mean
/// nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadTable {
    kind: HeadName,
    labels: Option<Vec<String>>,
    problem: Option<Problem>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HeadName {
    None,
    Pooler,
    MaskedLm,
    SequenceClassification,
    TokenClassification,
    Ctc,
}

impl HeadName {
    fn has_labels(self) -> bool {
        matches!(self, HeadName::SequenceClassification | HeadName::TokenClassification | HeadName::Ctc)
    }
}

impl TryFrom<HeadTable> for HeadConfig {
    type Error = String;

    fn try_from(HeadTable { kind, labels, problem }: HeadTable) -> Result<Self, String> {
        if problem.is_some() && kind != HeadName::SequenceClassification {
            return Err("unknown field `problem`: only a head of kind `sequence_classification` has one".to_owned());
        }
        let labels = match (kind, labels) {
            (kind, Some(labels)) if kind.has_labels() => labels,
            (kind, None) if kind.has_labels() => {
                return Err("missing field `labels`: the names of the classes".to_owned());
            }
            (_, Some(_)) => return Err("unknown field `labels`: only classifiers have them".to_owned()),
            (_, None) => Vec::new(),
        };
        Ok(match kind {
            HeadName::None => HeadConfig::None,
            HeadName::Pooler => HeadConfig::Pooler,
            HeadName::MaskedLm => HeadConfig::MaskedLm,
            HeadName::SequenceClassification => {
                HeadConfig::SequenceClassification { labels, problem: problem.unwrap_or_default() }
            }
            HeadName::TokenClassification => HeadConfig::TokenClassification { labels },
            HeadName::Ctc => HeadConfig::Ctc { labels },
        })
    }
}

impl HeadConfig {
    /// Names of the classes; none for other heads.
    pub fn labels(&self) -> &[String] {
        match self {
            HeadConfig::SequenceClassification { labels, .. }
            | HeadConfig::TokenClassification { labels }
            | HeadConfig::Ctc { labels } => labels,
            _ => &[],
        }
    }

    /// As a message calls it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            HeadConfig::None => "no head",
            HeadConfig::Pooler => "a pooler",
            HeadConfig::MaskedLm => "a masked language model's head",
            HeadConfig::SequenceClassification { .. } => "a sequence classifier",
            HeadConfig::TokenClassification { .. } => "a token classifier",
            HeadConfig::Ctc { .. } => "a CTC head",
        }
    }
}

/// Settings of an encoder. The vocabulary's size is not among them: the tokenizer decides it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EncoderConfig {
    pub architecture: EncoderKind,
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    pub heads: usize,
    /// Inner width of the feed-forward layer; left out: `4 hidden_size`.
    pub ffn_size: Option<usize>,
    /// Longest sequence, in tokens.
    pub max_seq_len: usize,
    /// Row of the position table that the first token has: 0, in RoBERTa the padding token's number plus 1.
    pub position_offset: usize,
    /// Kinds of segments, as of question and answer; 0 for none.
    pub token_types: usize,
    /// `gelu` or `gelu_erf`, which is BERT's.
    pub activation: Activation,
    pub norm_eps: f64,
    /// Probability of zeroing, in training, an element of the embedding and of each layer's two outputs.
    pub dropout: f64,
    /// The same of a weight of the attention.
    pub attention_dropout: f64,
    /// The same before a classifier; left out: as `dropout`.
    pub classifier_dropout: Option<f64>,
    pub head: HeadConfig,
}

impl Default for EncoderConfig {
    fn default() -> Self {
        EncoderConfig {
            architecture: EncoderKind::Bert,
            layers: 4,
            hidden_size: 256,
            heads: 4,
            ffn_size: None,
            max_seq_len: 512,
            position_offset: 0,
            token_types: 2,
            activation: Activation::GeluErf,
            norm_eps: 1e-12,
            dropout: 0.1,
            attention_dropout: 0.1,
            classifier_dropout: None,
            head: HeadConfig::None,
        }
    }
}

impl EncoderConfig {
    /// Inner width of the feed-forward layer, resolved.
    pub fn ffn_size(&self) -> usize {
        self.ffn_size.unwrap_or(self.hidden_size.saturating_mul(4))
    }

    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size.checked_div(self.heads).unwrap_or(0)
    }

    /// Dropout before a classifier, resolved.
    pub fn classifier_dropout(&self) -> f64 {
        self.classifier_dropout.unwrap_or(self.dropout)
    }

    /// Checks every setting against the others.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`] names the first setting that cannot be, and what would do.
    pub fn validate(&self) -> Result<(), ModelError> {
        let range = |key: &'static str, value: usize, lowest: usize, highest: usize| {
            let fits = (lowest..=highest).contains(&value);
            check(fits, key, value, || format!("a whole number from {lowest} to {highest}"))
        };
        range("layers", self.layers, 1, 1 << 12)?;
        range("hidden_size", self.hidden_size, 1, 1 << 18)?;
        range("heads", self.heads, 1, 1 << 12)?;
        range("ffn_size", self.ffn_size(), 1, 1 << 20)?;
        range("max_seq_len", self.max_seq_len, 1, 1 << 24)?;
        range("token_types", self.token_types, 0, 1 << 16)?;
        let offset = usize::from(self.architecture == EncoderKind::Roberta);
        range("position_offset", self.position_offset, offset, if offset == 1 { 1 << 24 } else { 0 })?;
        match self.architecture.cell() {
            None => self.validate_transformer()?,
            Some(_) => self.validate_recurrent()?,
        }
        check(self.norm_eps.is_finite() && self.norm_eps > 0.0, "norm_eps", self.norm_eps, || {
            "a positive number".to_string()
        })?;
        let rates = [
            ("dropout", self.dropout),
            ("attention_dropout", self.attention_dropout),
            ("classifier_dropout", self.classifier_dropout()),
        ];
        for (key, rate) in rates {
            let fits = (0.0..1.0).contains(&rate);
            check(fits, key, rate, || "a probability from 0 up to, not including, 1".to_string())?;
        }
        self.validate_head()
    }

    fn validate_transformer(&self) -> Result<(), ModelError> {
        check(self.hidden_size.is_multiple_of(self.heads), "heads", self.heads, || {
            format!("a divisor of hidden_size = {}", self.hidden_size)
        })?;
        let typed = self.architecture != EncoderKind::DistilBert;
        check(typed == (self.token_types > 0), "token_types", self.token_types, || {
            (if typed { "1 or more" } else { "0, as DistilBERT has none" }).to_string()
        })?;
        let fits = matches!(self.activation, Activation::Gelu | Activation::GeluErf);
        check(fits, "activation", format!("{:?}", self.activation).to_lowercase(), || "gelu or gelu_erf".to_string())
    }

    /// Keys that only Transformers have must be as they are when left out.
    fn validate_recurrent(&self) -> Result<(), ModelError> {
        check(self.hidden_size.is_multiple_of(2), "hidden_size", self.hidden_size, || {
            "an even number, one half for each direction".to_string()
        })?;
        let usual = EncoderConfig::default();
        let left_out = [
            ("heads", self.heads.to_string(), self.heads == usual.heads),
            ("ffn_size", format!("{:?}", self.ffn_size), self.ffn_size.is_none()),
            ("token_types", self.token_types.to_string(), self.token_types == usual.token_types),
            ("activation", format!("{:?}", self.activation).to_lowercase(), self.activation == usual.activation),
            (
                "attention_dropout",
                self.attention_dropout.to_string(),
                self.attention_dropout == usual.attention_dropout,
            ),
        ];
        left_out.into_iter().try_for_each(|(key, found, fits)| {
            check(fits, key, found, || "it left out, as recurrent layers have no such thing".to_string())
        })
    }

    fn validate_head(&self) -> Result<(), ModelError> {
        let has_pooler = matches!(self.architecture, EncoderKind::Bert | EncoderKind::Roberta);
        check(has_pooler || self.head != HeadConfig::Pooler, "head", "pooler", || {
            "another head, as only BERT and RoBERTa have a pooler".to_string()
        })?;
        let (labels, least) = match &self.head {
            HeadConfig::SequenceClassification { labels, problem: Problem::SingleLabel } => (labels, 2),
            HeadConfig::SequenceClassification { labels, .. } => (labels, 1),
            HeadConfig::TokenClassification { labels } => (labels, 2),
            HeadConfig::Ctc { labels } => (labels, 1),
            _ => return Ok(()),
        };
        let fits = (least..=1 << 20).contains(&labels.len());
        check(fits, "head.labels", format!("{} labels", labels.len()), || format!("at least {least}"))?;
        let mut sorted: Vec<&String> = labels.iter().collect();
        sorted.sort();
        let twice = sorted.windows(2).find(|pair| pair[0] == pair[1]);
        check(twice.is_none(), "head.labels", format!("{:?} twice", twice.map(|pair| pair[0])), || {
            "each label once".to_string()
        })
    }

    /// Parameters of one layer's matrices.
    fn layer_weights(&self) -> usize {
        if let Some(cell) = self.architecture.cell() {
            let half = self.hidden_size / 2;
            return 2 * cell.gates() * half * (self.hidden_size + half);
        }
        4 * self.hidden_size * self.hidden_size + 2 * self.hidden_size * self.ffn_size()
    }

    /// Floating-point operations per trained token, forward and backward, of the layers' matrix products over sequences
    /// of `seq_len`: 6 for every weight, and the attention's two products over all positions. Heads are left out.
    pub fn flops_per_token(&self, seq_len: usize) -> f64 {
        let attends = self.architecture.cell().is_none();
        let attention = if attends { 4.0 * (self.layers * self.hidden_size) as f64 * seq_len as f64 } else { 0.0 };
        6.0 * (self.layers * self.layer_weights()) as f64 + 3.0 * attention
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn each_impossible_setting_is_named() {
        let base = EncoderConfig::default;
        let labels = |names: &[&str]| HeadConfig::SequenceClassification {
            labels: names.iter().map(ToString::to_string).collect(),
            problem: Problem::SingleLabel,
        };
        let cases = [
            (EncoderConfig { layers: 0, ..base() }, "layers"),
            (EncoderConfig { heads: 3, ..base() }, "heads"),
            (EncoderConfig { heads: 0, ..base() }, "heads"),
            (EncoderConfig { token_types: 0, ..base() }, "token_types"),
            (EncoderConfig { position_offset: 2, ..base() }, "position_offset"),
            (EncoderConfig { architecture: EncoderKind::Roberta, ..base() }, "position_offset"),
            (EncoderConfig { architecture: EncoderKind::DistilBert, ..base() }, "token_types"),
            (EncoderConfig { activation: Activation::Swiglu, ..base() }, "activation"),
            (EncoderConfig { activation: Activation::Relu, ..base() }, "activation"),
            (EncoderConfig { attention_dropout: 1.0, ..base() }, "attention_dropout"),
            (EncoderConfig { classifier_dropout: Some(-0.1), ..base() }, "classifier_dropout"),
            (EncoderConfig { norm_eps: f64::NAN, ..base() }, "norm_eps"),
            (EncoderConfig { head: labels(&["one"]), ..base() }, "head.labels"),
            (EncoderConfig { head: labels(&["one", "two", "one"]), ..base() }, "head.labels"),
        ];
        for (config, expected) in cases {
            match config.validate() {
                Err(ModelError::InvalidConfig { key, .. }) => assert_eq!(key, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
        base().validate().unwrap();
    }

    #[test]
    fn heads_are_read_from_a_table_and_unknown_keys_refused() {
        let text = r#"{"layers": 2, "head": {"kind": "sequence_classification", "labels": ["a", "b"]}}"#;
        let config: EncoderConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.head.labels(), ["a", "b"]);
        assert!(serde_json::from_str::<EncoderConfig>(r#"{"head": {"kind": "masked_lm", "labels": []}}"#).is_err());
        assert!(serde_json::from_str::<EncoderConfig>(r#"{"layer": 2}"#).is_err());
        let head = |text: &str| serde_json::from_str::<HeadConfig>(text);
        let unlabelled = head(r#"{"kind": "token_classification"}"#).unwrap_err().to_string();
        assert!(unlabelled.contains("`labels`"), "{unlabelled}");
        assert!(head(r#"{"kind": "token_classification", "labels": ["a", "b"], "problem": "regression"}"#).is_err());
        for kind in [HeadConfig::None, HeadConfig::MaskedLm, config.head] {
            assert_eq!(head(&serde_json::to_string(&kind).unwrap()).unwrap(), kind);
        }
    }

    #[test]
    fn flops_of_a_worked_example() {
        let config =
            EncoderConfig { layers: 1, hidden_size: 4, heads: 2, ffn_size: Some(8), ..EncoderConfig::default() };
        assert_eq!(config.flops_per_token(3), 6.0 * (64.0 + 64.0) + 3.0 * 4.0 * 4.0 * 3.0);
    }
}
