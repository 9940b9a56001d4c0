//! The shape of a model: its settings, their checks, and what follows from them by arithmetic.

use crate::ModelError;
use serde::{Deserialize, Serialize};

/// Which family the model belongs to. It fills in the settings that are left out: Llama means RMSNorm, rotary
/// positions, SwiGLU and no biases; GPT-2 means LayerNorm, learned positions, GELU and biases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    #[default]
    Llama,
    Gpt2,
}

/// Normalisation before attention, before the feed-forward layer and before the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NormKind {
    /// Root mean square (Zhang and Sennrich 2019).
    Rms,
    /// Mean and variance (Ba et al. 2016), always with a bias.
    Layer,
}

/// How a layer learns where in the sequence a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// Rotation of queries and keys (Su et al. 2021).
    Rope,
    /// A trained vector per position, added to the embedding.
    Learned,
    /// Fixed sines and cosines, added to the embedding scaled by sqrt(hidden_size) (Vaswani et al. 2017, 3.4 and 3.5).
    Sinusoidal,
}

/// Feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `down(silu(gate(x)) * up(x))` (Shazeer 2020).
    Swiglu,
    /// `down(gelu(up(x)))` with the tanh approximation, `gelu_new` of transformers.
    Gelu,
    /// `down(gelu(up(x)))` with the error function, `gelu` of transformers.
    GeluErf,
}

/// The name under which a model's folder is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SavedAs {
    /// RMSNorm, rotary positions, SwiGLU: transformers' `LlamaForCausalLM`.
    Llama,
    /// LayerNorm, learned positions, GELU, biases, one key head per query head: transformers' `GPT2LMHeadModel`.
    Gpt2,
    /// Any other combination: `DanluForCausalLM`, which danlu loads and transformers does not.
    Danlu,
}

/// Settings of a decoder-only Transformer. The vocabulary's size is not among them: the tokenizer decides it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    pub architecture: Architecture,
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads, a divisor of `heads`; left out: as many as `heads`.
    pub kv_heads: Option<usize>,
    /// Width of one head; left out: `hidden_size / heads`.
    pub head_dim: Option<usize>,
    /// Inner width of the feed-forward layer; left out: `8/3 hidden_size` rounded up to a multiple of 64 for SwiGLU,
    /// `4 hidden_size` for GELU.
    pub ffn_size: Option<usize>,
    /// Longest sequence, in tokens.
    pub max_seq_len: usize,
    pub norm: Option<NormKind>,
    pub positions: Option<Positions>,
    pub activation: Option<Activation>,
    /// Biases in the linear layers.
    pub bias: Option<bool>,
    /// Whether the output head is the embedding matrix.
    pub tied: bool,
    /// Base of the rotary angles.
    pub rope_theta: f64,
    pub norm_eps: f64,
    /// Probability of zeroing, in training, an element of the embedding and of each layer's two outputs.
    pub dropout: f64,
}

impl Default for ModelConfig {
    fn default() -> Self {
        ModelConfig {
            architecture: Architecture::Llama,
            layers: 6,
            hidden_size: 256,
            heads: 4,
            kv_heads: None,
            head_dim: None,
            ffn_size: None,
            max_seq_len: 512,
            norm: None,
            positions: None,
            activation: None,
            bias: None,
            tied: true,
            rope_theta: 10_000.0,
            norm_eps: 1e-5,
            dropout: 0.0,
        }
    }
}

/// Parameters by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ParameterCounts {
    /// Token embedding (also the head when tied).
    pub embedding: usize,
    /// Learned positions.
    pub positions: usize,
    pub attention: usize,
    pub feed_forward: usize,
    pub norms: usize,
    /// Untied head.
    pub head: usize,
}

impl ParameterCounts {
    /// All parameters.
    pub fn total(&self) -> usize {
        self.embedding + self.positions + self.attention + self.feed_forward + self.norms + self.head
    }
}

impl ModelConfig {
    /// Key and value heads, resolved.
    pub fn kv_heads(&self) -> usize {
        self.kv_heads.unwrap_or(self.heads)
    }

    /// Width of one head, resolved.
    pub fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size.checked_div(self.heads).unwrap_or(0))
    }

    /// Inner width of the feed-forward layer, resolved.
    pub fn ffn_size(&self) -> usize {
        self.ffn_size.unwrap_or(match self.activation() {
            Activation::Swiglu => (self.hidden_size.saturating_mul(8) / 3).div_ceil(64).saturating_mul(64),
            Activation::Gelu | Activation::GeluErf => self.hidden_size.saturating_mul(4),
        })
    }

    /// Normalisation, resolved.
    pub fn norm(&self) -> NormKind {
        self.norm.unwrap_or(match self.architecture {
            Architecture::Llama => NormKind::Rms,
            Architecture::Gpt2 => NormKind::Layer,
        })
    }

    /// Positions, resolved.
    pub fn positions(&self) -> Positions {
        self.positions.unwrap_or(match self.architecture {
            Architecture::Llama => Positions::Rope,
            Architecture::Gpt2 => Positions::Learned,
        })
    }

    /// Feed-forward activation, resolved.
    pub fn activation(&self) -> Activation {
        self.activation.unwrap_or(match self.architecture {
            Architecture::Llama => Activation::Swiglu,
            Architecture::Gpt2 => Activation::Gelu,
        })
    }

    /// Whether linear layers have biases, resolved.
    pub fn bias(&self) -> bool {
        self.bias.unwrap_or(self.architecture == Architecture::Gpt2)
    }

    /// Width of all query heads together.
    pub fn query_size(&self) -> usize {
        self.heads * self.head_dim()
    }

    /// Width of all key heads together.
    pub fn kv_size(&self) -> usize {
        self.kv_heads() * self.head_dim()
    }

    /// The same settings with nothing left to defaults.
    pub fn resolved(&self) -> ModelConfig {
        ModelConfig {
            kv_heads: Some(self.kv_heads()),
            head_dim: Some(self.head_dim()),
            ffn_size: Some(self.ffn_size()),
            norm: Some(self.norm()),
            positions: Some(self.positions()),
            activation: Some(self.activation()),
            bias: Some(self.bias()),
            ..self.clone()
        }
    }

    /// Which model of transformers this one is, if any.
    pub fn saved_as(&self) -> SavedAs {
        match (self.norm(), self.positions(), self.activation()) {
            (NormKind::Rms, Positions::Rope, Activation::Swiglu) => SavedAs::Llama,
            (NormKind::Layer, Positions::Learned, Activation::Gelu | Activation::GeluErf)
                if self.bias() && self.kv_heads() == self.heads && self.query_size() == self.hidden_size =>
            {
                SavedAs::Gpt2
            }
            _ => SavedAs::Danlu,
        }
    }

    /// Checks every setting against the others.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`] names the first setting that cannot be, and what would do.
    pub fn validate(&self) -> Result<(), ModelError> {
        let range = |key: &'static str, value: usize, highest: usize| {
            let fits = (1..=highest).contains(&value);
            check(fits, key, value, || format!("a whole number from 1 to {highest}"))
        };
        range("layers", self.layers, 1 << 12)?;
        range("hidden_size", self.hidden_size, 1 << 18)?;
        range("heads", self.heads, 1 << 12)?;
        range("kv_heads", self.kv_heads(), 1 << 12)?;
        range("max_seq_len", self.max_seq_len, 1 << 24)?;
        range("ffn_size", self.ffn_size(), 1 << 20)?;
        check(self.heads.is_multiple_of(self.kv_heads()), "kv_heads", self.kv_heads(), || {
            format!("a divisor of heads = {}", self.heads)
        })?;
        check(self.head_dim.is_some() || self.hidden_size.is_multiple_of(self.heads), "heads", self.heads, || {
            format!("a divisor of hidden_size = {}, or head_dim set", self.hidden_size)
        })?;
        range("head_dim", self.head_dim(), 1 << 14)?;
        let rotary = self.positions() == Positions::Rope;
        check(!rotary || self.head_dim().is_multiple_of(2), "head_dim", self.head_dim(), || {
            "an even number for rotary positions".to_string()
        })?;
        let positive = |x: f64| x.is_finite() && x > 0.0;
        check(positive(self.rope_theta), "rope_theta", self.rope_theta, || "a positive number".to_string())?;
        check(positive(self.norm_eps), "norm_eps", self.norm_eps, || "a positive number".to_string())?;
        check((0.0..1.0).contains(&self.dropout), "dropout", self.dropout, || {
            "a probability from 0 up to, not including, 1".to_string()
        })
    }

    /// Parameters by class for a vocabulary of `vocab_size`.
    pub fn parameter_counts(&self, vocab_size: usize) -> ParameterCounts {
        let (hidden, query, kv, ffn) = (self.hidden_size, self.query_size(), self.kv_size(), self.ffn_size());
        let gated = self.activation() == Activation::Swiglu;
        let mut attention = hidden * (2 * query + 2 * kv);
        let mut feed_forward = hidden * ffn * if gated { 3 } else { 2 };
        if self.bias() {
            attention += query + 2 * kv + hidden;
            feed_forward += if gated { 2 * ffn } else { ffn } + hidden;
        }
        let norm = if self.norm() == NormKind::Layer { 2 * hidden } else { hidden };
        ParameterCounts {
            embedding: vocab_size * hidden,
            positions: if self.positions() == Positions::Learned { self.max_seq_len * hidden } else { 0 },
            attention: self.layers * attention,
            feed_forward: self.layers * feed_forward,
            norms: (2 * self.layers + 1) * norm,
            head: if self.tied { 0 } else { vocab_size * hidden },
        }
    }

    /// Floating-point operations per trained token, forward and backward, of matrix products only: 6 for every weight
    /// that multiplies an activation (the head included, the embedding look-up not), and the attention's two products
    /// over the positions that a causal mask leaves, on average `(seq_len + 1) / 2`. A multiply-add counts as two.
    pub fn flops_per_token(&self, vocab_size: usize, seq_len: usize) -> f64 {
        let gated = self.activation() == Activation::Swiglu;
        let per_layer = self.hidden_size * (2 * self.query_size() + 2 * self.kv_size())
            + self.hidden_size * self.ffn_size() * if gated { 3 } else { 2 };
        let weights = (self.layers * per_layer + vocab_size * self.hidden_size) as f64;
        let attention = 4.0 * (self.layers * self.query_size()) as f64 * (seq_len as f64 + 1.0) / 2.0;
        6.0 * weights + 3.0 * attention
    }
}

pub(crate) fn check(
    fits: bool,
    key: &'static str,
    found: impl ToString,
    expected: impl FnOnce() -> String,
) -> Result<(), ModelError> {
    if fits {
        return Ok(());
    }
    Err(ModelError::InvalidConfig { key, found: found.to_string(), expected: expected() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn architecture_fills_in_what_is_left_out_and_nothing_else() {
        let gpt2 = ModelConfig { architecture: Architecture::Gpt2, norm: Some(NormKind::Rms), ..Default::default() };
        assert_eq!(gpt2.norm(), NormKind::Rms);
        assert_eq!(gpt2.positions(), Positions::Learned);
        assert_eq!(gpt2.ffn_size(), 1024);
        assert_eq!(gpt2.saved_as(), SavedAs::Danlu);
        assert_eq!(gpt2.resolved().saved_as(), SavedAs::Danlu);
        assert_eq!(ModelConfig::default().saved_as(), SavedAs::Llama);
        assert_eq!(ModelConfig::default().ffn_size(), 704);
    }

    #[test]
    fn each_impossible_setting_is_named() {
        let base = ModelConfig::default;
        let cases = [
            (ModelConfig { layers: 0, ..base() }, "layers"),
            (ModelConfig { hidden_size: 0, ..base() }, "hidden_size"),
            (ModelConfig { hidden_size: usize::MAX, ..base() }, "hidden_size"),
            (ModelConfig { heads: 0, ..base() }, "heads"),
            (ModelConfig { heads: 3, ..base() }, "heads"),
            (ModelConfig { kv_heads: Some(3), ..base() }, "kv_heads"),
            (ModelConfig { kv_heads: Some(0), ..base() }, "kv_heads"),
            (ModelConfig { head_dim: Some(5), ..base() }, "head_dim"),
            (ModelConfig { dropout: 1.0, ..base() }, "dropout"),
            (ModelConfig { dropout: f64::NAN, ..base() }, "dropout"),
            (ModelConfig { norm_eps: 0.0, ..base() }, "norm_eps"),
            (ModelConfig { max_seq_len: 0, ..base() }, "max_seq_len"),
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
    fn unknown_keys_are_refused() {
        assert!(serde_json::from_str::<ModelConfig>(r#"{"layer": 2}"#).is_err());
        assert_eq!(serde_json::from_str::<ModelConfig>(r#"{"layers": 2}"#).unwrap().layers, 2);
    }

    #[test]
    fn flops_of_a_worked_example() {
        let config = ModelConfig { layers: 1, hidden_size: 4, heads: 2, ffn_size: Some(8), ..Default::default() };
        // weights: 4 * 4 * 4 attention, 3 * 4 * 8 feed-forward, 10 * 4 head; attention: 2 positions on average
        assert_eq!(config.flops_per_token(10, 3), 6.0 * (64.0 + 96.0 + 40.0) + 3.0 * 4.0 * 4.0 * 2.0);
    }
}
