//! Passes over whole sequences, as in training and evaluation: attention within each sequence, and the backward pass
//! that computes layers again instead of keeping their activations.

use crate::body::WholePass;
use crate::dropout::Dropout;
use crate::layers::{Decoder, Layer, Pass};
use crate::{CausalLm, DropoutKey, Positions};
use burn::module::Module;
use burn::prelude::*;
use burn::tensor::Gradients;
use danlu_ops::{AttentionOptions, AttentionSegments, JoinedHeads};
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

/// What a pass over whole sequences is told besides the tokens. The default: one document a sequence, no dropout.
#[derive(Clone, Debug, Default)]
pub struct SequenceOptions {
    /// Where the pass stands in training; none means no dropout.
    pub dropout: Option<DropoutKey>,
    /// (batch * time), to which of the documents packed into its sequence each token belongs: attention stays within a
    /// document, positions begin anew with each, and so do recurrent states. A document's tokens are neighbours.
    pub documents: Option<Vec<u32>>,
}

impl From<DropoutKey> for SequenceOptions {
    fn from(key: DropoutKey) -> Self {
        SequenceOptions { dropout: Some(key), documents: None }
    }
}

/// What all layers share in one pass over (batch, time) tokens.
pub(crate) struct Sequences {
    batch: usize,
    time: usize,
    /// Of each token, (batch * time).
    positions: Vec<usize>,
    segments: Option<AttentionSegments>,
    /// cos and sin of rotary positions.
    rotary: Option<(Tensor<2>, Tensor<2>)>,
    dropout: Option<Dropout>,
}

impl Sequences {
    /// # Panics
    /// If `time` is beyond the model's context, or there is not one document number for each token.
    pub(crate) fn new(model: &CausalLm, batch: usize, time: usize, options: SequenceOptions) -> Self {
        let config = model.config();
        assert!(time <= config.max_seq_len, "{time} tokens in a context of {}", config.max_seq_len);
        let device = model.device().inner();
        // Rotary attention depends on distances alone, so that one table serves all documents of a sequence.
        let along: Vec<usize> = (0..time).collect();
        let rotary = (config.positions() == Positions::Rope).then(|| model.rotary_tables(&along, &device));
        let positions = match &options.documents {
            None => (0..batch).flat_map(|_| 0..time).collect(),
            Some(documents) => positions_within(documents, batch, time),
        };
        let segments = options.documents.map(|documents| {
            let ids: Vec<i64> = documents.into_iter().map(i64::from).collect();
            AttentionSegments::of(Tensor::from_data(TensorData::new(ids, [batch, time]), &device))
        });
        let dropout = Dropout::new(options.dropout, config.dropout, batch);
        Sequences { batch, time, positions, segments, rotary, dropout }
    }

    /// The residual stream before the first layer, (batch * time, hidden).
    pub(crate) fn embed(&self, model: &CausalLm, decoder: &Decoder, tokens: Tensor<2, Int>) -> Tensor<2> {
        let x = model.embed(decoder, tokens.reshape([self.batch * self.time]), &self.positions);
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
        let options = AttentionOptions {
            precision: model.precision,
            segments: self.segments.clone(),
            ..AttentionOptions::causal(model.attention_scale())
        };
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
        options: SequenceOptions,
        recompute: Recompute,
        take: &mut dyn FnMut(Gradients),
    ) -> Tensor<1> {
        if recompute == Recompute::None {
            let loss = self.loss_sum(tokens, targets, options);
            take(loss.backward());
            return loss.inner();
        }
        let [batch, time] = tokens.dims();
        let pass = WholePass::new(self, batch, time, options);
        let embedded = pass.embed(self, tokens);
        let (frozen, depth) = (self.model.valid(), self.model.depth());
        let mut inputs = vec![embedded.clone().inner()];
        for index in 0..depth {
            let x = inputs[index].clone();
            inputs.push(pass.layer(self, &frozen, index, x));
        }
        let leaf = |x: Option<Tensor<2>>| x.map(|x| Tensor::from_inner(x).require_grad());
        let Some(top) = leaf(inputs.pop()) else { unreachable!("the embedding is there") };
        let loss = self.head_loss(pass.finish(self, top.clone()), targets);
        let mut g = backward(&top, &loss, take);
        for index in (0..depth).rev() {
            let Some(x) = leaf(inputs.pop()) else { unreachable!("one input for each layer") };
            let y = pass.layer(self, &self.model, index, x.clone());
            g = backward(&x, &upstream(y, g), take);
        }
        take(upstream(embedded, g).backward());
        loss.inner()
    }
}

/// Of each token its place within its document.
fn positions_within(documents: &[u32], batch: usize, time: usize) -> Vec<usize> {
    assert_eq!(documents.len(), batch * time, "document numbers of {batch} x {time} tokens");
    let mut positions = vec![0; documents.len()];
    for at in (0..documents.len()).filter(|at| at % time > 0) {
        if documents[at] == documents[at - 1] {
            positions[at] = positions[at - 1] + 1;
        }
    }
    positions
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
