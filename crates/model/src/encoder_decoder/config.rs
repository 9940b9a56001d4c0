//! The shape of an encoder-decoder: settings, their checks, and what follows from them by arithmetic.

use crate::config::check;
use crate::{Activation, ModelError};
use serde::{Deserialize, Serialize};

/// Which model of transformers an encoder-decoder is. The kind decides what its layers are made of; the sizes and a few
/// more settings are free.
///
/// | kind | positions | normalisation | embedding | biases | head |
/// |---|---|---|---|---|---|
/// | `marian` | sinusoidal | layer, after | | yes | the embedding |
/// | `bart` | learned | layer, after | normalised | yes | the embedding |
/// | `mbart` | learned | layer, before and at the end | normalised | yes | the embedding |
/// | `t5` | relative | root mean square, before and at the end | | no | the embedding, scaled, or its own |
/// | `mt5` | relative | root mean square, before and at the end | | no | its own, or the embedding |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncoderDecoderKind {
    /// The original Transformer (Vaswani et al. 2017), as Marian has it (Junczys-Dowmunt et al. 2018).
    #[default]
    Marian,
    /// Lewis et al. 2020.
    Bart,
    /// Liu et al. 2020, "Multilingual Denoising Pre-training for Neural Machine Translation".
    Mbart,
    /// Raffel et al. 2020: version 1.0 with ReLU and the embedding as head, 1.1 with a gate and a head of its own.
    T5,
    /// Xue et al. 2021.
    Mt5,
}

/// How a token's place is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Places {
    /// Sines in the first half of the vector, cosines in the second.
    Sinusoidal,
    /// A learned vector for each place, the first two of the table unused.
    Learned,
    /// A learned number for each head and each range of distances, added to the scores.
    Relative,
}

impl EncoderDecoderKind {
    /// T5 and mT5.
    pub(crate) fn is_t5(self) -> bool {
        matches!(self, EncoderDecoderKind::T5 | EncoderDecoderKind::Mt5)
    }

    pub(crate) fn places(self) -> Places {
        match self {
            EncoderDecoderKind::Marian => Places::Sinusoidal,
            EncoderDecoderKind::Bart | EncoderDecoderKind::Mbart => Places::Learned,
            EncoderDecoderKind::T5 | EncoderDecoderKind::Mt5 => Places::Relative,
        }
    }

    /// Whether layers normalise what they read, and the last one's result is normalised, too; else what they add to.
    pub(crate) fn pre_norm(self) -> bool {
        !matches!(self, EncoderDecoderKind::Marian | EncoderDecoderKind::Bart)
    }

    /// Whether embeddings are normalised.
    pub(crate) fn embed_norm(self) -> bool {
        matches!(self, EncoderDecoderKind::Bart | EncoderDecoderKind::Mbart)
    }
}

/// Settings of an encoder-decoder. The vocabulary's size is not among them: the tokenizer decides it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EncoderDecoderConfig {
    pub architecture: EncoderDecoderKind,
    pub encoder_layers: usize,
    pub decoder_layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    pub heads: usize,
    /// Width of one head; left out: `hidden_size / heads`. Only T5 and mT5 may have another.
    pub head_dim: Option<usize>,
    /// Inner width of the feed-forward layer; left out: `4 hidden_size`.
    pub ffn_size: Option<usize>,
    /// Longest source and longest target, in tokens. Relative positions have no limit; there it bounds what is taken at
    /// once.
    pub max_seq_len: usize,
    /// Left out: ReLU, in BART and mBART GELU by the error function, in mT5 GELU with a gate. Gates are T5's and mT5's.
    pub activation: Option<Activation>,
    /// Whether embeddings are multiplied by `sqrt(hidden_size)`; left out: in Marian and mBART.
    pub scale_embedding: Option<bool>,
    /// Whether the head is the embedding matrix; left out: yes, but in mT5. T5 then scales what the head reads by
    /// `1 / sqrt(hidden_size)`. Only T5 and mT5 may have a head of their own.
    pub tied: Option<bool>,
    /// A trained bias of the logits, `final_logits_bias`; not in T5 and mT5.
    pub logits_bias: bool,
    /// Ranges of distances with a bias of their own, where positions are relative.
    pub relative_buckets: usize,
    /// Distance from which on all are one range.
    pub relative_max_distance: usize,
    /// Left out: 1e-5, which Marian, BART and mBART must have, or in T5 and mT5 1e-6.
    pub norm_eps: Option<f64>,
    /// Of embeddings and of what is added to the residual stream.
    pub dropout: f64,
    /// Of attention's weights.
    pub attention_dropout: f64,
    /// Within the feed-forward layer.
    pub activation_dropout: f64,
}

impl Default for EncoderDecoderConfig {
    fn default() -> Self {
        EncoderDecoderConfig {
            architecture: EncoderDecoderKind::Marian,
            encoder_layers: 6,
            decoder_layers: 6,
            hidden_size: 512,
            heads: 8,
            head_dim: None,
            ffn_size: None,
            max_seq_len: 512,
            activation: None,
            scale_embedding: None,
            tied: None,
            logits_bias: false,
            relative_buckets: 32,
            relative_max_distance: 128,
            norm_eps: None,
            dropout: 0.1,
            attention_dropout: 0.1,
            activation_dropout: 0.0,
        }
    }
}

impl EncoderDecoderConfig {
    /// Width of one head, resolved.
    pub fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size.checked_div(self.heads).unwrap_or(0))
    }

    /// Width of all heads.
    pub(crate) fn heads_size(&self) -> usize {
        self.heads * self.head_dim()
    }

    /// Inner width of the feed-forward layer, resolved.
    pub fn ffn_size(&self) -> usize {
        self.ffn_size.unwrap_or(4 * self.hidden_size)
    }

    /// The activation, resolved.
    pub fn activation(&self) -> Activation {
        self.activation.unwrap_or(match self.architecture {
            EncoderDecoderKind::Marian | EncoderDecoderKind::T5 => Activation::Relu,
            EncoderDecoderKind::Bart | EncoderDecoderKind::Mbart => Activation::GeluErf,
            EncoderDecoderKind::Mt5 => Activation::Geglu,
        })
    }

    /// Whether embeddings are scaled, resolved.
    pub fn scale_embedding(&self) -> bool {
        let kinds = [EncoderDecoderKind::Marian, EncoderDecoderKind::Mbart];
        self.scale_embedding.unwrap_or(kinds.contains(&self.architecture))
    }

    /// Whether the head is the embedding matrix, resolved.
    pub fn tied(&self) -> bool {
        self.tied.unwrap_or(self.architecture != EncoderDecoderKind::Mt5)
    }

    /// Epsilon of the normalisations, resolved.
    pub fn norm_eps(&self) -> f64 {
        self.norm_eps.unwrap_or(if self.architecture.is_t5() { 1e-6 } else { 1e-5 })
    }

    /// Factor on the scores of attention.
    pub(crate) fn attention_scale(&self) -> f64 {
        if self.architecture.is_t5() { 1.0 } else { 1.0 / (self.head_dim() as f64).sqrt() }
    }

    /// Factor on what the head reads.
    pub(crate) fn head_scale(&self) -> Option<f64> {
        let scaled = self.architecture == EncoderDecoderKind::T5 && self.tied();
        scaled.then(|| 1.0 / (self.hidden_size as f64).sqrt())
    }

    /// The settings with nothing left to defaults.
    pub fn resolved(&self) -> Self {
        EncoderDecoderConfig {
            head_dim: Some(self.head_dim()),
            ffn_size: Some(self.ffn_size()),
            activation: Some(self.activation()),
            scale_embedding: Some(self.scale_embedding()),
            tied: Some(self.tied()),
            norm_eps: Some(self.norm_eps()),
            ..self.clone()
        }
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
        range("encoder_layers", self.encoder_layers, 1, 1 << 12)?;
        range("decoder_layers", self.decoder_layers, 1, 1 << 12)?;
        range("hidden_size", self.hidden_size, 1, 1 << 18)?;
        range("heads", self.heads, 1, 1 << 12)?;
        range("ffn_size", self.ffn_size(), 1, 1 << 20)?;
        range("max_seq_len", self.max_seq_len, 1, 1 << 24)?;
        let divides = self.head_dim.is_some() || self.hidden_size.is_multiple_of(self.heads);
        check(divides, "heads", self.heads, || format!("a divisor of hidden_size = {}", self.hidden_size))?;
        range("head_dim", self.head_dim(), 1, 1 << 16)?;
        let rates = [
            ("dropout", self.dropout),
            ("attention_dropout", self.attention_dropout),
            ("activation_dropout", self.activation_dropout),
        ];
        for (key, rate) in rates {
            let fits = (0.0..1.0).contains(&rate);
            check(fits, key, rate, || "a probability from 0 up to, not including, 1".to_string())?;
        }
        if self.architecture.is_t5() { self.validate_t5() } else { self.validate_bart() }
    }

    fn validate_t5(&self) -> Result<(), ModelError> {
        let (buckets, distance) = (self.relative_buckets, self.relative_max_distance);
        // A quarter of the encoder's, half of the decoder's stand for one distance each.
        let fits = buckets.is_multiple_of(4) && (4..=1 << 16).contains(&buckets);
        check(fits, "relative_buckets", buckets, || "a multiple of 4 from 4 to 65536".to_string())?;
        let fits = (buckets / 2 + 1..=1 << 24).contains(&distance);
        check(fits, "relative_max_distance", distance, || {
            format!("a whole number from relative_buckets / 2 + 1 = {} to 16777216", buckets / 2 + 1)
        })?;
        check(!self.logits_bias, "logits_bias", true, || "false in T5 and mT5".to_string())?;
        check(!self.scale_embedding(), "scale_embedding", true, || "false in T5 and mT5".to_string())?;
        check(self.norm_eps().is_finite() && self.norm_eps() > 0.0, "norm_eps", self.norm_eps(), || {
            "a positive number".to_string()
        })
    }

    fn validate_bart(&self) -> Result<(), ModelError> {
        let expected = |key: &'static str, fits: bool, found: String, expected: &str| {
            check(fits, key, found, || format!("{expected} in {:?}", self.architecture))
        };
        let head_dim = self.head_dim();
        expected("head_dim", self.heads_size() == self.hidden_size, head_dim.to_string(), "hidden_size / heads")?;
        expected("tied", self.tied(), "false".into(), "true")?;
        expected("norm_eps", self.norm_eps() == 1e-5, self.norm_eps().to_string(), "1e-5")?;
        let activation = format!("{:?}", self.activation());
        expected("activation", !self.activation().is_gated(), activation, "relu, silu, gelu or gelu_erf")
    }

    /// Floating-point operations to learn from one pair of texts, forward and backward: 6 for every weight that a token
    /// meets, and attention's two products over all pairs of positions.
    pub fn flops(&self, vocab_size: usize, source: usize, target: usize) -> f64 {
        let projection = self.hidden_size * self.heads_size();
        let matrices = if self.activation().is_gated() { 3 } else { 2 };
        let ffn = matrices * self.hidden_size * self.ffn_size();
        // Of the decoder's attention to the source, two of the four projections are over the source.
        let of_source = self.encoder_layers * (4 * projection + ffn) + 2 * self.decoder_layers * projection;
        let of_target = self.decoder_layers * (6 * projection + ffn) + vocab_size * self.hidden_size;
        let pairs = self.encoder_layers * source * source + self.decoder_layers * target * (target + source);
        6.0 * (of_source * source + of_target * target) as f64 + 12.0 * (pairs * self.heads_size()) as f64
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn each_impossible_setting_is_named() {
        let base = EncoderDecoderConfig::default;
        let t5 = || EncoderDecoderConfig { architecture: EncoderDecoderKind::T5, ..base() };
        let cases = [
            (EncoderDecoderConfig { encoder_layers: 0, ..base() }, "encoder_layers"),
            (EncoderDecoderConfig { decoder_layers: 0, ..base() }, "decoder_layers"),
            (EncoderDecoderConfig { heads: 7, ..base() }, "heads"),
            (EncoderDecoderConfig { heads: 0, ..base() }, "heads"),
            (EncoderDecoderConfig { head_dim: Some(32), ..base() }, "head_dim"),
            (EncoderDecoderConfig { head_dim: Some(0), ..t5() }, "head_dim"),
            (EncoderDecoderConfig { activation: Some(Activation::Geglu), ..base() }, "activation"),
            (EncoderDecoderConfig { tied: Some(false), ..base() }, "tied"),
            (EncoderDecoderConfig { norm_eps: Some(1e-6), ..base() }, "norm_eps"),
            (EncoderDecoderConfig { norm_eps: Some(0.0), ..t5() }, "norm_eps"),
            (EncoderDecoderConfig { logits_bias: true, ..t5() }, "logits_bias"),
            (EncoderDecoderConfig { scale_embedding: Some(true), ..t5() }, "scale_embedding"),
            (EncoderDecoderConfig { relative_buckets: 6, ..t5() }, "relative_buckets"),
            (EncoderDecoderConfig { relative_max_distance: 16, ..t5() }, "relative_max_distance"),
            (EncoderDecoderConfig { attention_dropout: 1.0, ..base() }, "attention_dropout"),
            (EncoderDecoderConfig { activation_dropout: f64::NAN, ..base() }, "activation_dropout"),
        ];
        for (config, expected) in cases {
            match config.validate() {
                Err(ModelError::InvalidConfig { key, .. }) => assert_eq!(key, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
        for architecture in [EncoderDecoderKind::Marian, EncoderDecoderKind::Bart, EncoderDecoderKind::Mbart] {
            EncoderDecoderConfig { architecture, ..base() }.validate().unwrap();
        }
        EncoderDecoderConfig { architecture: EncoderDecoderKind::Mt5, head_dim: Some(32), ..base() }
            .validate()
            .unwrap();
        assert!(serde_json::from_str::<EncoderDecoderConfig>(r#"{"layers": 2}"#).is_err());
    }

    #[test]
    fn flops_of_a_worked_example() {
        let config = EncoderDecoderConfig {
            encoder_layers: 1,
            decoder_layers: 1,
            hidden_size: 4,
            heads: 2,
            ffn_size: Some(8),
            ..EncoderDecoderConfig::default()
        };
        // Source: 4 projections, the feed-forward layer, keys and values for the decoder; target: 6 and the head.
        let weights = 3.0 * (64.0 + 64.0 + 32.0) + 2.0 * (96.0 + 64.0 + 40.0);
        let attention = 4.0 * 4.0 * (9.0 + 4.0 + 6.0);
        assert_eq!(config.flops(10, 3, 2), 6.0 * weights + 3.0 * attention);
    }
}
