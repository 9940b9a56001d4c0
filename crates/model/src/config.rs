//! The shape of a model: its settings, their checks, and what follows from them by arithmetic.

use crate::{LayerType, ModelError, Nonlinearity, RopeScaling};
use serde::{Deserialize, Serialize};

/// Which family the model belongs to. It fills in the settings that are left out: Llama means RMSNorm, rotary
/// positions, SwiGLU and no biases; GPT-2 means LayerNorm, learned positions, GELU and biases; the other Transformers are
/// Llama with changes that stand at each setting. Recurrent models have settings of their own (`recurrent_config.rs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    #[default]
    Llama,
    Gpt2,
    /// Qwen Team 2024, "Qwen2".
    Qwen2,
    /// Qwen Team 2025, "Qwen3".
    Qwen3,
    /// Jiang et al. 2023, "Mistral 7B".
    Mistral,
    /// Jiang et al. 2024, "Mixtral of Experts".
    Mixtral,
    /// Gemma Team 2024, "Gemma".
    Gemma,
    /// Gemma Team 2024, "Gemma 2".
    Gemma2,
    /// Gemma Team 2025, "Gemma 3"; text alone.
    Gemma3,
    /// Recurrent layers with one activation (Elman 1990).
    Rnn,
    /// Long short-term memory (Hochreiter and Schmidhuber 1997).
    Lstm,
    /// Gated recurrent units (Cho et al. 2014).
    Gru,
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
    /// Scores that fall with distance, more slowly in some heads than in others (Press et al. 2022, "ALiBi").
    Alibi,
    /// Nothing but the causal mask (Haviv et al. 2022, "Transformer Language Models without Positional Encodings").
    None,
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
    /// `down(max(up(x), 0))` (Vaswani et al. 2017).
    Relu,
    /// `down(silu(up(x)))`, `silu` or `swish` of transformers.
    Silu,
    /// `down(gelu(up(x)))` with the sigmoid approximation, `quick_gelu` of transformers.
    QuickGelu,
    /// `down(gelu(gate(x)) * up(x))` (Shazeer 2020) with the tanh approximation, `gelu_pytorch_tanh` of transformers.
    Geglu,
}

impl Activation {
    /// Whether a second projection of the input, the gate, is multiplied in.
    pub fn is_gated(self) -> bool {
        matches!(self, Activation::Swiglu | Activation::Geglu)
    }
}

/// Settings of a language model. The vocabulary's size is not among them: the tokenizer decides it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    pub architecture: Architecture,
    pub layers: usize,
    /// Width of the residual stream, or of a recurrent layer's state.
    pub hidden_size: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads, a divisor of `heads`; left out: as many as `heads`.
    pub kv_heads: Option<usize>,
    /// Width of one head; left out: `hidden_size / heads`.
    pub head_dim: Option<usize>,
    /// Inner width of the feed-forward layer; left out: `8/3 hidden_size` rounded up to a multiple of 64 with a gate,
    /// `4 hidden_size` without.
    pub ffn_size: Option<usize>,
    /// Longest sequence, in tokens. Recurrent layers themselves have no limit; there it bounds what evaluation and serving
    /// take at once.
    pub max_seq_len: usize,
    pub norm: Option<NormKind>,
    pub positions: Option<Positions>,
    pub activation: Option<Activation>,
    /// Biases in the linear or recurrent layers.
    pub bias: Option<bool>,
    /// Whether the output head is the embedding matrix.
    pub tied: bool,
    /// Base of the rotary angles.
    pub rope_theta: f64,
    pub norm_eps: f64,
    /// Probability of zeroing, in training, an element of the embedding and of each layer's two outputs; of recurrent
    /// layers the one output.
    pub dropout: f64,
    /// Probability of zeroing, in training, a weight of attention; left out: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_dropout: Option<f64>,
    /// Probability of leaving out, for a step of training, a whole layer (LayerDrop, Fan et al. 2020); left out: 0. Its
    /// gradients are then 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_drop: Option<f64>,
    /// Biases of queries, keys and values; left out: as `bias`, and on for Qwen2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qkv_bias: Option<bool>,
    /// RMSNorm of each head of queries and keys before rotation (Dehghani et al. 2023); left out: on for Qwen3 and
    /// Gemma 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qk_norm: Option<bool>,
    /// RMSNorm multiplies by 1 + weight, so that weight decay pulls towards 1; left out: on for Gemma 1, 2 and 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm_offset: Option<bool>,
    /// Attention and feed-forward are normalised also before they are added to the residual stream; left out: on for
    /// Gemma 2 and 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_norms: Option<bool>,
    /// The embedding is scaled by sqrt(hidden_size), with sinusoidal positions in any case; left out: on for Gemma 1, 2
    /// and 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_scale: Option<bool>,
    /// Attention divides scores by the square root of this; left out: `head_dim`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_pre_attn_scalar: Option<f64>,
    /// A score s becomes `cap * tanh(s / cap)`; 0 is off; left out: 50 for Gemma 2, else off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_softcap: Option<f64>,
    /// A logit l becomes `cap * tanh(l / cap)`; 0 is off; left out: 30 for Gemma 2, else off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logit_softcap: Option<f64>,
    /// Positions that a layer of sliding attention sees, its own included; 0 is off; left out: 4096 for Gemma 2, 512 for
    /// Gemma 3, else off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<usize>,
    /// Which layers slide, one entry for each; left out: the even ones, counted from 0, for Gemma 2, all but every sixth
    /// for Gemma 3, else all. Without `sliding_window` none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_types: Option<Vec<LayerType>>,
    /// Base of the rotary angles of sliding layers, which are then not scaled; 0 is `rope_theta`; left out: 10000 for
    /// Gemma 3, else 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_rope_theta: Option<f64>,
    /// How rotary angles are stretched for sequences longer than those first trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
    /// Feed-forward layers of which each token goes through a few; 0 is one for all; left out: 8 for Mixtral, else 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<usize>,
    /// How many of them; left out: 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts_per_token: Option<usize>,
    /// Whether the weights of a token's experts sum to 1; left out: yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm_topk_prob: Option<bool>,
    /// Weight, in training, of the loss that spreads tokens evenly over experts (Fedus et al. 2022, "Switch
    /// Transformers"); left out: 0.01.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router_aux_loss_coef: Option<f64>,
    /// Activation of an `rnn`; left out: tanh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonlinearity: Option<Nonlinearity>,
    /// Width of a recurrent model's embedding and, by a projection, of what its head reads; left out: `hidden_size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_size: Option<usize>,
    /// Whether a recurrent model's dropout has one mask for all steps of a sequence (Gal and Ghahramani 2016), on
    /// embedding and outputs; left out: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variational_dropout: Option<bool>,
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
            attention_dropout: None,
            layer_drop: None,
            qkv_bias: None,
            qk_norm: None,
            norm_offset: None,
            post_norms: None,
            embedding_scale: None,
            query_pre_attn_scalar: None,
            attention_softcap: None,
            logit_softcap: None,
            sliding_window: None,
            layer_types: None,
            local_rope_theta: None,
            rope_scaling: None,
            experts: None,
            experts_per_token: None,
            norm_topk_prob: None,
            router_aux_loss_coef: None,
            nonlinearity: None,
            embedding_size: None,
            variational_dropout: None,
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
    /// Recurrent layers.
    #[serde(skip_serializing_if = "is_zero")]
    pub recurrent: usize,
    /// From recurrent layers to the embedding's width.
    #[serde(skip_serializing_if = "is_zero")]
    pub projection: usize,
    /// Untied head.
    pub head: usize,
}

impl ParameterCounts {
    /// All parameters.
    pub fn total(&self) -> usize {
        let layers = self.attention + self.feed_forward + self.norms + self.recurrent + self.projection;
        self.embedding + self.positions + layers + self.head
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
        self.ffn_size.unwrap_or(match self.activation().is_gated() {
            true => (self.hidden_size.saturating_mul(8) / 3).div_ceil(64).saturating_mul(64),
            false => self.hidden_size.saturating_mul(4),
        })
    }

    /// Normalisation, resolved.
    pub fn norm(&self) -> NormKind {
        self.norm.unwrap_or(match self.architecture {
            Architecture::Gpt2 => NormKind::Layer,
            _ => NormKind::Rms,
        })
    }

    /// Positions, resolved.
    pub fn positions(&self) -> Positions {
        self.positions.unwrap_or(match self.architecture {
            Architecture::Gpt2 => Positions::Learned,
            _ => Positions::Rope,
        })
    }

    /// Feed-forward activation, resolved.
    pub fn activation(&self) -> Activation {
        self.activation.unwrap_or(match self.architecture {
            Architecture::Gpt2 => Activation::Gelu,
            family if family.is_gemma() => Activation::Geglu,
            _ => Activation::Swiglu,
        })
    }

    /// Whether linear or recurrent layers have biases, resolved.
    pub fn bias(&self) -> bool {
        self.bias.unwrap_or(self.architecture == Architecture::Gpt2 || self.cell().is_some())
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
        if self.cell().is_some() {
            return self.resolved_recurrent();
        }
        ModelConfig {
            kv_heads: Some(self.kv_heads()),
            head_dim: Some(self.head_dim()),
            ffn_size: Some(self.ffn_size()),
            norm: Some(self.norm()),
            positions: Some(self.positions()),
            activation: Some(self.activation()),
            bias: Some(self.bias()),
            ..self.resolved_variants()
        }
    }

    /// Probability of dropping a weight of attention, resolved.
    pub fn attention_dropout(&self) -> f64 {
        self.attention_dropout.unwrap_or(0.0)
    }

    /// Probability of leaving out a layer, resolved.
    pub fn layer_drop(&self) -> f64 {
        self.layer_drop.unwrap_or(0.0)
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
        self.check_architecture_has_its_keys()?;
        range("layers", self.layers, 1 << 12)?;
        range("hidden_size", self.hidden_size, 1 << 18)?;
        range("embedding_size", self.embedding_size(), 1 << 18)?;
        range("max_seq_len", self.max_seq_len, 1 << 24)?;
        let rates = [
            ("dropout", self.dropout),
            ("attention_dropout", self.attention_dropout()),
            ("layer_drop", self.layer_drop()),
        ];
        for (key, rate) in rates {
            let fits = (0.0..1.0).contains(&rate);
            check(fits, key, rate, || "a probability from 0 up to, not including, 1".to_string())?;
        }
        if self.cell().is_some() {
            return Ok(());
        }
        range("heads", self.heads, 1 << 12)?;
        range("kv_heads", self.kv_heads(), 1 << 12)?;
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
        self.validate_variants()
    }

    fn validate_variants(&self) -> Result<(), ModelError> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let scalar = self.query_pre_attn_scalar();
        check(positive(scalar), "query_pre_attn_scalar", scalar, || "a positive number".to_string())?;
        for (key, value) in [
            ("attention_softcap", self.attention_softcap()),
            ("logit_softcap", self.logit_softcap()),
            ("local_rope_theta", self.local_rope_theta()),
        ] {
            let value = value.unwrap_or(1.0);
            check(positive(value), key, value, || "a positive number, or 0 for none".to_string())?;
        }
        let window = self.sliding_window().unwrap_or(1);
        check(window <= 1 << 24, "sliding_window", window, || "a whole number up to 16777216".to_string())?;
        if let Some(types) = &self.layer_types {
            check(types.len() == self.layers, "layer_types", format!("{} entries", types.len()), || {
                format!("one for each of {} layers", self.layers)
            })?;
        }
        self.validate_experts()?;
        let rms = self.norm() == NormKind::Rms;
        check(rms || !self.norm_offset(), "norm_offset", "true", || "norm \"rms\" with it".to_string())?;
        match &self.rope_scaling {
            Some(_) if self.positions() != Positions::Rope => {
                check(false, "rope_scaling", "given", || "positions \"rope\" with it".to_string())
            }
            Some(scaling) => scaling.validate(),
            None => Ok(()),
        }
    }

    fn validate_experts(&self) -> Result<(), ModelError> {
        let (experts, chosen) = (self.experts().unwrap_or(0), self.experts_per_token());
        check(experts <= 1 << 12, "experts", experts, || "a whole number up to 4096".to_string())?;
        let fits = experts == 0 || (1..=experts).contains(&chosen);
        check(fits, "experts_per_token", chosen, || format!("a whole number from 1 to {experts}"))?;
        let weight = self.router_aux_loss_coef.unwrap_or(0.0);
        let fits = weight.is_finite() && weight >= 0.0;
        check(fits, "router_aux_loss_coef", weight, || "a number of at least 0".to_string())
    }

    /// Parameters by class for a vocabulary of `vocab_size`.
    pub fn parameter_counts(&self, vocab_size: usize) -> ParameterCounts {
        if let Some(cell) = self.cell() {
            return self.recurrent_counts(cell, vocab_size);
        }
        let (hidden, query, kv, ffn) = (self.hidden_size, self.query_size(), self.kv_size(), self.ffn_size());
        let gated = self.activation().is_gated();
        let mut attention = hidden * (2 * query + 2 * kv);
        let mut feed_forward = hidden * ffn * if gated { 3 } else { 2 };
        attention += if self.qkv_bias() { query + 2 * kv } else { 0 };
        if self.bias() {
            attention += hidden;
            feed_forward += if gated { 2 * ffn } else { ffn } + hidden;
        }
        if let Some(experts) = self.experts() {
            feed_forward = experts * (feed_forward + hidden);
        }
        let norm = if self.norm() == NormKind::Layer { 2 * hidden } else { hidden };
        let per_layer = if self.post_norms() { 4 } else { 2 };
        let of_heads = if self.qk_norm() { 2 * self.head_dim() } else { 0 };
        ParameterCounts {
            embedding: vocab_size * hidden,
            positions: if self.positions() == Positions::Learned { self.max_seq_len * hidden } else { 0 },
            attention: self.layers * attention,
            feed_forward: self.layers * feed_forward,
            norms: (per_layer * self.layers + 1) * norm + self.layers * of_heads,
            recurrent: 0,
            projection: 0,
            head: if self.tied { 0 } else { vocab_size * hidden },
        }
    }

    /// Floating-point operations per trained token, forward and backward, of matrix products only: 6 for every weight
    /// that multiplies an activation (the head included, the embedding look-up not), and the attention's two products
    /// over the positions that a causal mask leaves, on average `(seq_len + 1) / 2`, in sliding layers fewer. A
    /// multiply-add counts as two.
    pub fn flops_per_token(&self, vocab_size: usize, seq_len: usize) -> f64 {
        if let Some(cell) = self.cell() {
            return 6.0 * self.recurrent_products(cell, vocab_size) as f64;
        }
        let gated = self.activation().is_gated();
        let (chosen, router) = self.experts().map_or((1, 0), |experts| (self.experts_per_token(), experts));
        let per_layer = self.hidden_size * (2 * self.query_size() + 2 * self.kv_size())
            + self.hidden_size * (router + chosen * self.ffn_size() * if gated { 3 } else { 2 });
        let weights = (self.layers * per_layer + vocab_size * self.hidden_size) as f64;
        let seen = |index: usize| match self.window(index) {
            Some(window) if window < seq_len => {
                let (n, w) = (seq_len as f64, window as f64);
                (w * (w + 1.0) / 2.0 + (n - w) * w) / n
            }
            _ => (seq_len as f64 + 1.0) / 2.0,
        };
        let attention = 4.0 * self.query_size() as f64 * (0..self.layers).map(seen).sum::<f64>();
        6.0 * weights + 3.0 * attention
    }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
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
    use crate::SavedAs;

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
            (ModelConfig { attention_dropout: Some(1.5), ..base() }, "attention_dropout"),
            (ModelConfig { layer_drop: Some(-0.1), ..base() }, "layer_drop"),
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
