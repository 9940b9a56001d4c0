//! What is special to the settings of recurrent models: their keys, and what follows from them by arithmetic.

use crate::config::check;
use crate::{Architecture, ModelConfig, ModelError, ParameterCounts};
use danlu_ops::Cell;
use serde::{Deserialize, Serialize};

/// Activation of a plain recurrent layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nonlinearity {
    #[default]
    Tanh,
    Relu,
}

impl ModelConfig {
    /// What a recurrent model's layers are; `None` for Transformers.
    pub fn cell(&self) -> Option<Cell> {
        match self.architecture {
            Architecture::Lstm => Some(Cell::Lstm),
            Architecture::Gru => Some(Cell::Gru),
            Architecture::Rnn => Some(match self.nonlinearity.unwrap_or_default() {
                Nonlinearity::Tanh => Cell::Tanh,
                Nonlinearity::Relu => Cell::Relu,
            }),
            _ => None,
        }
    }

    /// Width of the embedding, resolved.
    pub fn embedding_size(&self) -> usize {
        self.embedding_size.unwrap_or(self.hidden_size)
    }

    /// The settings that this architecture has, by key, with nothing left to defaults.
    pub fn settings(&self) -> serde_json::Map<String, serde_json::Value> {
        let Ok(serde_json::Value::Object(mut settings)) = serde_json::to_value(self.resolved()) else {
            unreachable!("settings are an object of plain values")
        };
        if self.cell().is_some() {
            settings.retain(|key, _| !OF_TRANSFORMERS.contains(&key.as_str()));
        }
        settings
    }

    pub(crate) fn resolved_recurrent(&self) -> ModelConfig {
        let plain = self.architecture == Architecture::Rnn;
        ModelConfig {
            bias: Some(self.bias()),
            nonlinearity: plain.then(|| self.nonlinearity.unwrap_or_default()),
            embedding_size: Some(self.embedding_size()),
            variational_dropout: Some(self.variational_dropout.unwrap_or(false)),
            ..self.clone()
        }
    }

    /// Refuses keys that mean nothing for this architecture.
    pub(crate) fn check_architecture_has_its_keys(&self) -> Result<(), ModelError> {
        let default = ModelConfig::default();
        let name = serde_json::to_value(self.architecture).unwrap_or_default();
        let left_out = |keys: &[(&'static str, Option<String>)]| {
            keys.iter().try_for_each(|(key, found)| {
                let found = found.as_deref();
                check(found.is_none(), key, found.unwrap_or_default(), || {
                    format!("it left out, as architecture = {name} has no such thing")
                })
            })
        };
        if self.cell().is_none() {
            return left_out(&[
                ("nonlinearity", named(&self.nonlinearity)),
                ("embedding_size", named(&self.embedding_size)),
                ("variational_dropout", named(&self.variational_dropout)),
            ]);
        }
        let plain = self.architecture == Architecture::Rnn;
        left_out(&[
            ("heads", (self.heads != default.heads).then(|| self.heads.to_string())),
            ("kv_heads", named(&self.kv_heads)),
            ("head_dim", named(&self.head_dim)),
            ("ffn_size", named(&self.ffn_size)),
            ("norm", named(&self.norm)),
            ("positions", named(&self.positions)),
            ("activation", named(&self.activation)),
            ("rope_theta", (self.rope_theta != default.rope_theta).then(|| self.rope_theta.to_string())),
            ("norm_eps", (self.norm_eps != default.norm_eps).then(|| self.norm_eps.to_string())),
            ("nonlinearity", named(&self.nonlinearity).filter(|_| !plain)),
            ("attention_dropout", named(&self.attention_dropout)),
            ("layer_drop", named(&self.layer_drop)),
            ("qkv_bias", named(&self.qkv_bias)),
            ("qk_norm", named(&self.qk_norm)),
            ("norm_offset", named(&self.norm_offset)),
            ("post_norms", named(&self.post_norms)),
            ("embedding_scale", named(&self.embedding_scale)),
            ("query_pre_attn_scalar", named(&self.query_pre_attn_scalar)),
            ("attention_softcap", named(&self.attention_softcap)),
            ("logit_softcap", named(&self.logit_softcap)),
            ("sliding_window", named(&self.sliding_window)),
            ("layer_types", named(&self.layer_types)),
            ("local_rope_theta", named(&self.local_rope_theta)),
            ("rope_scaling", named(&self.rope_scaling)),
            ("experts", named(&self.experts)),
            ("experts_per_token", named(&self.experts_per_token)),
            ("norm_topk_prob", named(&self.norm_topk_prob)),
            ("router_aux_loss_coef", named(&self.router_aux_loss_coef)),
        ])
    }

    pub(crate) fn recurrent_counts(&self, cell: Cell, vocab_size: usize) -> ParameterCounts {
        let biases = if self.bias() { 2 * self.layers * cell.gates() * self.hidden_size } else { 0 };
        let embedding = vocab_size * self.embedding_size();
        ParameterCounts {
            embedding,
            recurrent: self.recurrent_matrices(cell) + biases,
            projection: self.projection_matrix(),
            head: if self.tied { 0 } else { embedding },
            ..ParameterCounts::default()
        }
    }

    /// Weights that multiply an activation in each step, the head's included.
    pub(crate) fn recurrent_products(&self, cell: Cell, vocab_size: usize) -> usize {
        self.recurrent_matrices(cell) + self.projection_matrix() + vocab_size * self.embedding_size()
    }

    fn recurrent_matrices(&self, cell: Cell) -> usize {
        let inputs = self.embedding_size() + (self.layers.saturating_sub(1)) * self.hidden_size;
        cell.gates() * self.hidden_size * (inputs + self.layers * self.hidden_size)
    }

    fn projection_matrix(&self) -> usize {
        let differ = self.embedding_size() != self.hidden_size;
        if differ { self.embedding_size() * self.hidden_size } else { 0 }
    }
}

/// Keys that recurrent models do not have.
const OF_TRANSFORMERS: [&str; 9] =
    ["heads", "kv_heads", "head_dim", "ffn_size", "norm", "positions", "activation", "rope_theta", "norm_eps"];

/// A key's value as written, where there is one.
fn named<T: Serialize>(value: &Option<T>) -> Option<String> {
    value.as_ref().map(|value| serde_json::to_value(value).unwrap_or_default().to_string())
}
