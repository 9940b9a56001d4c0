//! Passes over whole sequences, as in training and evaluation: attention within each sequence, and the backward pass
//! that computes layers again instead of keeping their activations.

use crate::body::WholePass;
use crate::dropout::Dropout;
use crate::layers::{Decoder, Layer, Pass};
use crate::positions::RotaryTables;
use crate::{CausalLm, DropoutKey};
use burn::module::Module;
use burn::prelude::*;
use burn::tensor::Gradients;
use danlu_ops::{AttentionMask, AttentionOptions, AttentionSegments, JoinedHeads};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;

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

/// Vectors that stand in the place of those of tokens, such as what a picture is to a language model.
#[derive(Clone, Debug)]
pub struct Vectors {
    /// (vectors, hidden)
    pub rows: Tensor<2>,
    /// Of each vector the place that it takes among all tokens, (batch * time) in row-major order; each place once.
    pub places: Vec<usize>,
}

impl Vectors {
    /// `x`, (tokens, hidden), with these rows at their places.
    pub(crate) fn put_into(&self, x: Tensor<2>) -> Tensor<2> {
        let ([tokens, _], device) = (x.dims(), x.device());
        let mut from: Vec<i32> = (0..tokens as i32).collect();
        for (at, place) in self.places.iter().enumerate() {
            from[*place] = (tokens + at) as i32;
        }
        let from = Tensor::from_data(TensorData::new(from, [tokens]), &device);
        Tensor::cat(vec![x, self.rows.clone()], 0).select(0, from)
    }
}

/// What a pass over whole sequences is told besides the tokens. The default: one document a sequence, no dropout.
#[derive(Clone, Debug, Default)]
pub struct SequenceOptions {
    /// Where the pass stands in training; none means no dropout.
    pub dropout: Option<DropoutKey>,
    /// (batch * time), to which of the documents packed into its sequence each token belongs: attention stays within a
    /// document, positions begin anew with each, and so do recurrent states. A document's tokens are neighbours.
    pub documents: Option<Vec<u32>>,
    /// What takes the place of tokens' own vectors, before positions are added; Transformers alone read such.
    pub vectors: Option<Vectors>,
    /// Steps through which gradients of a recurrent model flow back, at least 1; none stands for all. The state is carried
    /// beyond them.
    pub bptt: Option<usize>,
}

impl From<DropoutKey> for SequenceOptions {
    fn from(key: DropoutKey) -> Self {
        SequenceOptions { dropout: Some(key), ..SequenceOptions::default() }
    }
}

/// What all layers share in one pass over (batch, time) tokens.
pub(crate) struct Sequences {
    batch: usize,
    time: usize,
    /// Of each token, (batch * time).
    positions: Vec<usize>,
    segments: Option<AttentionSegments>,
    rotary: Option<RotaryTables>,
    dropout: Option<Dropout>,
    key: Option<DropoutKey>,
    vectors: Option<Vectors>,
    /// How unevenly each mixture of experts that was passed spread the tokens.
    imbalance: RefCell<Vec<Tensor<1>>>,
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
        let rotary = model.rotary_tables(&along, &device);
        let positions = match &options.documents {
            None => (0..batch).flat_map(|_| 0..time).collect(),
            Some(documents) => positions_within(documents, batch, time),
        };
        let segments = options.documents.map(|documents| {
            let ids: Vec<i64> = documents.into_iter().map(i64::from).collect();
            AttentionSegments::of(Tensor::from_data(TensorData::new(ids, [batch, time]), &device))
        });
        let SequenceOptions { dropout: key, vectors, .. } = options;
        let dropout = Dropout::new(key, config.dropout, batch);
        let imbalance = RefCell::default();
        Sequences { batch, time, positions, segments, rotary, dropout, key, vectors, imbalance }
    }

    /// The residual stream before the first layer, (batch * time, hidden).
    pub(crate) fn embed(&self, model: &CausalLm, decoder: &Decoder, tokens: Tensor<2, Int>) -> Tensor<2> {
        let ids = tokens.reshape([self.batch * self.time]);
        let x = model.embed(decoder, ids, &self.positions, self.vectors.as_ref());
        match &self.dropout {
            Some(dropout) => dropout.apply(0, x),
            None => x,
        }
    }

    /// One layer over the residual stream; `layer` is the model's, or a copy with its own place on the tape.
    pub(crate) fn layer(&self, model: &CausalLm, index: usize, layer: &Layer, x: Tensor<2>) -> Tensor<2> {
        let mut mix = |index: usize, heads: Tensor<2>| Ok(self.attend(model, index, heads));
        let imbalance = Some(&self.imbalance).filter(|_| model.config().router_aux_loss_coef() > 0.0);
        let pass = Pass { precision: model.precision, dropout: self.dropout.as_ref(), imbalance };
        let left_out = self.key.is_some_and(|key| key.leaves_out(index, model.config().layer_drop()));
        let before = left_out.then(|| x.clone());
        match layer.forward(index, x, &mut mix, pass) {
            Ok(x) => match before {
                None => x,
                // Times zero and not left uncomputed: every parameter has a gradient in every step.
                Some(before) => before.clone() + (x - before).mul_scalar(0.0),
            },
            // `mix` above cannot fail, and nothing else in a layer can but a device from which a router reads.
            Err(error) => unreachable!("{error}"),
        }
    }

    /// What the mixtures of experts passed since the last call add to the loss; none where there are none.
    pub(crate) fn balance_loss(&self, model: &CausalLm) -> Option<Tensor<1>> {
        let imbalances = std::mem::take(&mut *self.imbalance.borrow_mut());
        let sum = imbalances.into_iter().reduce(|a, b| a + b)?;
        let positions = (self.batch * self.time) as f64;
        Some(sum.mul_scalar(model.config().router_aux_loss_coef() * positions / model.config().layers as f64))
    }

    /// Attention of layer `index` within whole sequences, from (batch * time, (heads + 2 kv_heads) * head_dim) to
    /// (batch * time, heads * head_dim).
    fn attend(&self, model: &CausalLm, index: usize, heads: Tensor<2>) -> Tensor<2> {
        let config = model.config();
        let shape = JoinedHeads {
            batch: self.batch,
            time: self.time,
            heads: config.heads,
            kv_heads: config.kv_heads(),
            head_dim: config.head_dim(),
        };
        let tables = self.rotary.as_ref().map(|tables| tables.of(config.layer_type(index)));
        let tables = tables.map(|(cos, sin)| (cos, sin));
        let options = AttentionOptions {
            precision: model.precision,
            mask: config.window(index).map_or(AttentionMask::Causal, AttentionMask::CausalWindow),
            segments: self.segments.clone(),
            alibi: model.shared.slopes.clone(),
            softcap: config.attention_softcap(),
            dropout: self.key.and_then(|key| {
                // Behind the sites of the embedding and of each layer's two sums.
                key.attention_mask((2 * config.layers + 1 + index) as u32, config.attention_dropout())
            }),
            ..AttentionOptions::causal(model.attention_scale())
        };
        danlu_ops::self_attention(heads, tables, shape, &options)
    }
}

impl CausalLm {
    /// What a mixture of experts adds to the loss in training: `router_aux_loss_coef` times how unevenly its layers spread
    /// the tokens (Fedus et al. 2022), on average over layers, once for each position. None without experts or with a
    /// coefficient of 0.
    ///
    /// # Panics
    /// As [`CausalLm::hidden`].
    pub fn balance_loss(&self, tokens: Tensor<2, Int>, options: SequenceOptions) -> Option<Tensor<1>> {
        let [batch, time] = tokens.dims();
        let pass = WholePass::new(self, batch, time, options);
        let _ = self.hidden_rows(tokens, &pass);
        pass.balance_loss(self)
    }

    /// Forward and backward: the value of [`CausalLm::loss_sum`], and its gradients, with those of
    /// [`CausalLm::balance_loss`], in one or more pieces, each given to `take` as soon as it is there. A parameter's
    /// gradient is the sum over the pieces.
    ///
    /// The numbers are the same to the bit whatever is computed again, but for the sums of the two losses' gradients.
    ///
    /// With [`SequenceOptions::bptt`] they are those of truncated back-propagation, and activations are kept for so many
    /// steps alone.
    ///
    /// # Panics
    /// As [`CausalLm::hidden`]; if a Transformer's sequences are longer than `bptt`.
    pub fn loss_and_gradients(
        &self,
        tokens: Tensor<2, Int>,
        targets: Tensor<1, Int>,
        options: SequenceOptions,
        recompute: Recompute,
        take: &mut dyn FnMut(Gradients),
    ) -> Tensor<1> {
        let [batch, time] = tokens.dims();
        if let Some(length) = options.bptt.filter(|length| *length < time) {
            return self.truncated_gradients((tokens, targets), &options, length, recompute, take);
        }
        let pass = WholePass::new(self, batch, time, options);
        self.pass_gradients(&pass, tokens, targets, recompute, take)
    }

    /// [`CausalLm::loss_and_gradients`] of one pass.
    pub(crate) fn pass_gradients(
        &self,
        pass: &WholePass,
        tokens: Tensor<2, Int>,
        targets: Tensor<1, Int>,
        recompute: Recompute,
        take: &mut dyn FnMut(Gradients),
    ) -> Tensor<1> {
        if recompute == Recompute::None {
            let loss = self.head_loss(self.hidden_rows(tokens, pass), targets);
            match pass.balance_loss(self) {
                None => take(loss.backward()),
                Some(balance) => take((loss.clone() + balance).backward()),
            }
            return loss.inner();
        }
        let embedded = pass.embed(self, tokens);
        let (frozen, depth) = (self.model.valid(), self.model.depth());
        let mut inputs = vec![embedded.clone().inner()];
        for index in 0..depth {
            let x = inputs[index].clone();
            inputs.push(pass.layer(self, &frozen, index, x));
        }
        let _ = pass.balance_loss(self);
        let leaf = |x: Option<Tensor<2>>| x.map(|x| Tensor::from_inner(x).require_grad());
        let Some(top) = leaf(inputs.pop()) else { unreachable!("the embedding is there") };
        let loss = self.head_loss(pass.finish(self, top.clone()), targets);
        let mut g = backward(&top, &loss, take);
        for index in (0..depth).rev() {
            let Some(x) = leaf(inputs.pop()) else { unreachable!("one input for each layer") };
            let y = pass.layer(self, &self.model, index, x.clone());
            let value = match pass.balance_loss(self) {
                None => upstream(y, g),
                Some(balance) => upstream(y, g) + balance,
            };
            g = backward(&x, &value, take);
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
