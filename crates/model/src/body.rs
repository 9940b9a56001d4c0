//! What a language model has below its head: a Transformer, or a stack of recurrent layers; and one pass of either over
//! whole sequences.

use crate::layers::{Attention, Decoder, Embedding};
use crate::recurrent::{CellState, RecurrentStack, Unrolled};
use crate::sequences::{SequenceOptions, Sequences};
use crate::truncated::Piece;
use crate::{CausalLm, ModelError};
use burn::module::Module;
use burn::prelude::*;

/// Embedding and layers. Parameters are named the same way in both: `model.embed_tokens.weight`, `model.layers.0...`.
#[derive(Module, Debug)]
pub enum Body {
    Transformer(Decoder),
    Recurrent(RecurrentStack),
}

impl Body {
    /// Of each token a vector.
    pub fn embed_tokens(&self) -> &Embedding {
        match self {
            Body::Transformer(decoder) => &decoder.embed_tokens,
            Body::Recurrent(stack) => &stack.embed_tokens,
        }
    }

    /// The Transformer, if it is one.
    pub fn transformer(&self) -> Option<&Decoder> {
        match self {
            Body::Transformer(decoder) => Some(decoder),
            Body::Recurrent(_) => None,
        }
    }

    /// The recurrent layers, if it has such.
    pub fn recurrent(&self) -> Option<&RecurrentStack> {
        match self {
            Body::Transformer(_) => None,
            Body::Recurrent(stack) => Some(stack),
        }
    }

    /// Layers.
    pub(crate) fn depth(&self) -> usize {
        match self {
            Body::Transformer(decoder) => decoder.layers.len(),
            Body::Recurrent(stack) => stack.layers.len(),
        }
    }

    /// This body with every matrix but the embedding in int8.
    pub(crate) fn quantized(self) -> Result<Self, ModelError> {
        let mut decoder = match self {
            Body::Transformer(decoder) => decoder,
            Body::Recurrent(stack) => return Ok(Body::Recurrent(stack.quantized()?)),
        };
        let layers = decoder.layers.into_iter().map(|mut layer| {
            let attention = layer.self_attn;
            layer.self_attn = Attention {
                q_proj: attention.q_proj.quantized()?,
                k_proj: attention.k_proj.quantized()?,
                v_proj: attention.v_proj.quantized()?,
                o_proj: attention.o_proj.quantized()?,
                q_norm: attention.q_norm,
                k_norm: attention.k_norm,
            };
            layer.mlp = layer.mlp.quantized()?;
            Ok(layer)
        });
        decoder.layers = layers.collect::<Result<_, ModelError>>()?;
        Ok(Body::Transformer(decoder))
    }
}

/// One pass over (batch, time) tokens, as rows (batch * time, width). The body is given to each part, as it may be the
/// model's or a copy with its own place on the tape.
pub(crate) enum WholePass {
    Transformer(Sequences),
    Recurrent(Unrolled),
}

impl WholePass {
    /// # Panics
    /// If `time` is beyond a Transformer's context, there is not one document number for each token, or recurrent layers are
    /// given vectors.
    pub(crate) fn new(model: &CausalLm, batch: usize, time: usize, options: SequenceOptions) -> Self {
        Self::piece(model, [batch, time], options, Piece::default())
    }

    /// As [`WholePass::new`], over (batch, time) tokens that are a piece of their sequences.
    ///
    /// # Panics
    /// As there, and of a Transformer if anything went before.
    pub(crate) fn piece(model: &CausalLm, dims: [usize; 2], options: SequenceOptions, piece: Piece) -> Self {
        match &model.model {
            Body::Transformer(_) => {
                assert!(piece.index == 0, "a Transformer has no state to carry from piece to piece");
                WholePass::Transformer(Sequences::new(model, dims[0], dims[1], options))
            }
            Body::Recurrent(_) => {
                assert!(options.vectors.is_none(), "recurrent layers read tokens alone");
                WholePass::Recurrent(Unrolled::new(model, dims, options, piece))
            }
        }
    }

    /// Each recurrent layer's state after the last step, on no tape.
    pub(crate) fn into_states(self) -> Vec<CellState> {
        match self {
            WholePass::Transformer(_) => Vec::new(),
            WholePass::Recurrent(pass) => pass.into_states(),
        }
    }

    /// What the first layer reads.
    pub(crate) fn embed(&self, model: &CausalLm, tokens: Tensor<2, Int>) -> Tensor<2> {
        match (self, &model.model) {
            (WholePass::Transformer(pass), Body::Transformer(decoder)) => pass.embed(model, decoder, tokens),
            (WholePass::Recurrent(pass), Body::Recurrent(stack)) => pass.embed(stack, tokens),
            _ => unreachable!("a pass belongs to its model"),
        }
    }

    /// Layer number `index` of `body`.
    pub(crate) fn layer(&self, model: &CausalLm, body: &Body, index: usize, x: Tensor<2>) -> Tensor<2> {
        match (self, body) {
            (WholePass::Transformer(pass), Body::Transformer(decoder)) => {
                pass.layer(model, index, &decoder.layers[index], x)
            }
            (WholePass::Recurrent(pass), Body::Recurrent(stack)) => pass.layer(index, &stack.layers[index], x),
            _ => unreachable!("a pass belongs to its model"),
        }
    }

    /// What the layers passed since the last call add to the loss (mixtures of experts); none where there is nothing.
    pub(crate) fn balance_loss(&self, model: &CausalLm) -> Option<Tensor<1>> {
        match self {
            WholePass::Transformer(pass) => pass.balance_loss(model),
            WholePass::Recurrent(_) => None,
        }
    }

    /// From the last layer to what the head reads.
    pub(crate) fn finish(&self, model: &CausalLm, x: Tensor<2>) -> Tensor<2> {
        match &model.model {
            Body::Transformer(decoder) => decoder.norm.forward(x),
            Body::Recurrent(stack) => stack.project(x, model.precision),
        }
    }
}
