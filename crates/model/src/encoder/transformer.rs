//! The layers of BERT and what is built like it, and one pass over padded sequences.

use super::{Encoder, EncoderConfig, EncoderInput};
use crate::dropout::Dropout;
use crate::init::Source;
use crate::layers::{Builder, Embedding, Linear, Norm, Pass, project};
use crate::{DropoutKey, ModelError};
use burn::module::Module;
use burn::prelude::*;
use danlu_ops::{AttentionOptions, Before, JoinedHeads, KeyPadding};

/// The layers of BERT and what they read.
#[derive(Module, Debug)]
pub struct EncoderTransformer {
    pub embed_tokens: Embedding,
    pub embed_positions: Embedding,
    /// Token types.
    pub embed_types: Option<Embedding>,
    pub embed_norm: Norm,
    pub layers: Vec<EncoderLayer>,
}

/// One layer: attention and feed-forward, each added to the residual stream and normalised after.
#[derive(Module, Debug)]
pub struct EncoderLayer {
    pub self_attn: EncoderAttention,
    pub post_attention_layernorm: Norm,
    pub mlp: EncoderFeedForward,
    pub post_feedforward_layernorm: Norm,
}

/// Projections into and out of the attention core.
#[derive(Module, Debug)]
pub struct EncoderAttention {
    pub q_proj: Linear,
    pub k_proj: Linear,
    pub v_proj: Linear,
    pub o_proj: Linear,
}

/// `down(activation(up(x)))`.
#[derive(Module, Debug)]
pub struct EncoderFeedForward {
    pub up_proj: Linear,
    pub down_proj: Linear,
}

/// What all layers share in one pass over padded sequences.
pub(super) struct EncoderPass {
    batch: usize,
    time: usize,
    padding: KeyPadding,
    key: Option<DropoutKey>,
    dropout: Option<Dropout>,
}

impl EncoderPass {
    pub(super) fn new(model: &Encoder, input: &EncoderInput, key: Option<DropoutKey>) -> Self {
        let (batch, time, lengths) = (input.sequences(), input.longest(), input.lengths());
        let full = lengths.iter().all(|length| *length == time);
        let padding = if full { KeyPadding::None } else { KeyPadding::Lengths(lengths) };
        EncoderPass { batch, time, padding, key, dropout: Dropout::new(key, model.config().dropout, batch) }
    }

    /// Sum of the three embeddings, normalised, (batch * time, hidden). It has dropout site 0.
    pub(super) fn embed(&self, model: &Encoder, body: &EncoderTransformer, input: &EncoderInput) -> Tensor<2> {
        let device = model.device().inner();
        let mut x = body.embed_tokens.rows(EncoderInput::padded(&input.ids, self.time, &device));
        if let Some(types) = &body.embed_types {
            let kinds = match input.types.is_empty() {
                true => EncoderInput::padded(&vec![vec![]; self.batch], self.time, &device),
                false => EncoderInput::padded(&input.types, self.time, &device),
            };
            x = x + types.rows(kinds);
        }
        let first = model.config().position_offset as u32;
        let places = vec![(first..first + self.time as u32).collect(); self.batch];
        let x = x + body.embed_positions.rows(EncoderInput::padded(&places, self.time, &device));
        let x = body.embed_norm.forward(x);
        match &self.dropout {
            Some(dropout) => dropout.apply(0, x),
            None => x,
        }
    }

    /// Layer number `index`, with the dropout sites 3 index + 1 (attention), + 2 and + 3.
    pub(super) fn layer(&self, model: &Encoder, index: usize, layer: &EncoderLayer, x: Tensor<2>) -> Tensor<2> {
        let precision = model.precision;
        let pass = Pass { precision, dropout: self.dropout.as_ref(), imbalance: None };
        let EncoderAttention { q_proj, k_proj, v_proj, o_proj } = &layer.self_attn;
        let heads = project(x.clone(), Before::Nothing, &[q_proj, k_proj, v_proj], None, precision, precision);
        let mixed = self.attend(model, 3 * index + 1, heads);
        let x = pass.add(3 * index + 2, x, mixed, Before::Nothing, o_proj, None);
        let x = layer.post_attention_layernorm.forward(x);
        let EncoderFeedForward { up_proj, down_proj } = &layer.mlp;
        let up = project(x.clone(), Before::Nothing, &[up_proj], None, precision, precision);
        let x = pass.add(3 * index + 3, x, up, Before::Activation(model.activation()), down_proj, None);
        layer.post_feedforward_layernorm.forward(x)
    }

    fn attend(&self, model: &Encoder, site: usize, heads: Tensor<2>) -> Tensor<2> {
        let config = model.config();
        let (head_dim, batch, time) = (config.head_dim(), self.batch, self.time);
        let shape = JoinedHeads { batch, time, heads: config.heads, kv_heads: config.heads, head_dim };
        let options = AttentionOptions {
            precision: model.precision,
            padding: self.padding.clone(),
            dropout: self.key.and_then(|key| key.attention_mask(site as u32, config.attention_dropout)),
            ..AttentionOptions::full(1.0 / (head_dim as f64).sqrt())
        };
        danlu_ops::self_attention(heads, None, shape, &options)
    }
}

impl<S: Source> Builder<'_, S, EncoderConfig> {
    pub(super) fn transformer(&mut self, vocab_size: usize) -> Result<EncoderTransformer, ModelError> {
        let c = self.config;
        let (hidden, eps) = (c.hidden_size, c.norm_eps);
        Ok(EncoderTransformer {
            embed_tokens: self.vectors("model.embed_tokens", vocab_size, hidden)?,
            embed_positions: self.vectors("model.embed_positions", c.max_seq_len + c.position_offset, hidden)?,
            embed_types: match c.token_types {
                0 => None,
                kinds => Some(self.vectors("model.embed_types", kinds, hidden)?),
            },
            embed_norm: self.layer_norm("model.embed_norm", hidden, eps)?,
            layers: (0..c.layers).map(|index| self.encoder_layer(index)).collect::<Result<_, _>>()?,
        })
    }

    fn encoder_layer(&mut self, index: usize) -> Result<EncoderLayer, ModelError> {
        let (hidden, ffn, eps) = (self.config.hidden_size, self.config.ffn_size(), self.config.norm_eps);
        let at = |part: &str| format!("model.layers.{index}.{part}");
        Ok(EncoderLayer {
            self_attn: EncoderAttention {
                q_proj: self.biased(&at("self_attn.q_proj"), hidden, hidden)?,
                k_proj: self.biased(&at("self_attn.k_proj"), hidden, hidden)?,
                v_proj: self.biased(&at("self_attn.v_proj"), hidden, hidden)?,
                o_proj: self.biased(&at("self_attn.o_proj"), hidden, hidden)?,
            },
            post_attention_layernorm: self.layer_norm(&at("post_attention_layernorm"), hidden, eps)?,
            mlp: EncoderFeedForward {
                up_proj: self.biased(&at("mlp.up_proj"), ffn, hidden)?,
                down_proj: self.biased(&at("mlp.down_proj"), hidden, ffn)?,
            },
            post_feedforward_layernorm: self.layer_norm(&at("post_feedforward_layernorm"), hidden, eps)?,
        })
    }
}
