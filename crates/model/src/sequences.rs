//! Passes over whole sequences, as in training and evaluation: attention within each sequence, and the backward pass
//! that computes layers again instead of keeping their activations.

use crate::dropout::Dropout;
use crate::layers::{Layer, Pass};
use crate::{CausalLm, DropoutKey, Positions};
use burn::module::Module;
use burn::prelude::*;
use burn::tensor::Gradients;
use danlu_ops::{AttentionOptions, JoinedHeads};
use serde::{Deserialize, Serialize};

/// What is computed again in the backward pass rather than kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// Nothing; fastest.
    #[default]
    None,
    /// Every layer from its input (Chen et al. 2016): memory for one layer's activations and each layer's input, at the
    /// price of a second forward pass.
    Block,
}

/// What all layers share in one pass over (batch, time) tokens.
pub(crate) struct Sequences {
    batch: usize,
    time: usize,
    /// cos and sin of rotary positions.
    rotary: Option<(Tensor<2>, Tensor<2>)>,
    dropout: Option<Dropout>,
}

impl Sequences {
    /// # Panics
    /// If `time` is beyond the model's context.
    pub(crate) fn new(model: &CausalLm, batch: usize, time: usize, dropout: Option<DropoutKey>) -> Self {
        let config = model.config();
        assert!(time <= config.max_seq_len, "{time} tokens in a context of {}", config.max_seq_len);
        let positions: Vec<usize> = (0..time).collect();
        let rotary =
            (config.positions() == Positions::Rope).then(|| model.rotary_tables(&positions, &model.device().inner()));
        Sequences { batch, time, rotary, dropout: Dropout::new(dropout, config.dropout, batch) }
    }

    /// The residual stream before the first layer, (batch * time, hidden).
    pub(crate) fn embed(&self, model: &CausalLm, tokens: Tensor<2, Int>) -> Tensor<2> {
        let positions: Vec<usize> = (0..self.batch).flat_map(|_| 0..self.time).collect();
        let x = model.embed(tokens.reshape([self.batch * self.time]), &positions);
        match &self.dropout {
            Some(dropout) => dropout.apply(0, x),
            None => x,
        }
    }

    /// One layer over the residual stream; `layer` is the model's, or a copy with its own place on the tape.
    pub(crate) fn layer(&self, model: &CausalLm, index: usize, layer: &Layer, x: Tensor<2>) -> Tensor<2> {
        let mut mix = |_: usize, heads: Tensor<2>| Ok(self.attend(model, heads));
        let pass = Pass { precision: model.precision, dropout: self.dropout.as_ref() };
        match layer.forward(index, x, &mut mix, pass) {
            Ok(x) => x,
            // `mix` above cannot fail, and nothing else in a layer can.
            Err(error) => unreachable!("{error}"),
        }
    }

    /// Attention within whole sequences, from (batch * time, (heads + 2 kv_heads) * head_dim) to (batch * time, heads *
    /// head_dim).
    fn attend(&self, model: &CausalLm, heads: Tensor<2>) -> Tensor<2> {
        let config = model.config();
        let shape = JoinedHeads {
            batch: self.batch,
            time: self.time,
            heads: config.heads,
            kv_heads: config.kv_heads(),
            head_dim: config.head_dim(),
        };
        let tables = self.rotary.as_ref().map(|(cos, sin)| (cos, sin));
        let options =
            AttentionOptions { precision: model.precision, ..AttentionOptions::causal(model.attention_scale()) };
        danlu_ops::self_attention(heads, tables, shape, &options)
    }
}

impl CausalLm {
    /// Forward and backward: the value of [`CausalLm::loss_sum`], and its gradients in one or more pieces, each given to
    /// `take` as soon as it is there. A parameter's gradient is the sum over the pieces.
    ///
    /// The numbers are the same to the bit whatever is computed again.
    ///
    /// # Panics
    /// As [`CausalLm::hidden`].
    pub fn loss_and_gradients(
        &self,
        tokens: Tensor<2, Int>,
        targets: Tensor<1, Int>,
        dropout: Option<DropoutKey>,
        recompute: Recompute,
        take: &mut dyn FnMut(Gradients),
    ) -> Tensor<1> {
        if recompute == Recompute::None {
            let loss = self.loss_sum(tokens, targets, dropout);
            take(loss.backward());
            return loss.inner();
        }
        let [batch, time] = tokens.dims();
        let sequences = Sequences::new(self, batch, time, dropout);
        let embedded = sequences.embed(self, tokens);
        let frozen = self.model.layers.iter().map(Module::valid);
        let mut inputs = vec![embedded.clone().inner()];
        for (index, layer) in frozen.enumerate() {
            let x = inputs[index].clone();
            inputs.push(sequences.layer(self, index, &layer, x));
        }
        let leaf = |x: Option<Tensor<2>>| x.map(|x| Tensor::from_inner(x).require_grad());
        let Some(top) = leaf(inputs.pop()) else { unreachable!("the embedding is there") };
        let loss = self.head_loss(self.model.norm.forward(top.clone()), targets);
        let mut g = backward(&top, &loss, take);
        for (index, layer) in self.model.layers.iter().enumerate().rev() {
            let Some(x) = leaf(inputs.pop()) else { unreachable!("one input for each layer") };
            let y = sequences.layer(self, index, layer, x.clone());
            g = backward(&x, &upstream(y, g), take);
        }
        take(upstream(embedded, g).backward());
        loss.inner()
    }
}

/// A value whose gradient to `y` is `g`.
fn upstream(y: Tensor<2>, g: Tensor<2>) -> Tensor<1> {
    (y * Tensor::from_inner(g)).sum()
}

/// Hands on the gradients of `value` and returns the one to `leaf`.
fn backward(leaf: &Tensor<2>, value: &Tensor<1>, take: &mut dyn FnMut(Gradients)) -> Tensor<2> {
    let mut gradients = value.backward();
    let g = leaf.grad_remove(&mut gradients);
    take(gradients);
    g.unwrap_or_else(|| leaf.clone().inner().zeros_like())
}
