//! Recurrent encoders: stacked layers that each read their sequences in both directions (Schuster and Paliwal 1997).

use super::{Encoder, EncoderConfig, EncoderInput};
use crate::dropout::Dropout;
use crate::init::Source;
use crate::layers::{Builder, Embedding};
use crate::recurrent::{CellShape, CellState, RecurrentLayer};
use crate::{DropoutKey, ModelError};
use burn::module::Module;
use burn::prelude::*;
use danlu_ops::{Cell, RecurrentOptions};

/// An embedding and layers that read it from both ends.
#[derive(Module, Debug)]
pub struct BidirectionalStack {
    pub embed_tokens: Embedding,
    pub layers: Vec<BidirectionalLayer>,
}

/// Two layers over the same sequences, whose states stand side by side, each half as wide as the encoder.
#[derive(Module, Debug)]
pub struct BidirectionalLayer {
    pub forward: RecurrentLayer,
    pub backward: RecurrentLayer,
}

/// What all layers share in one pass over padded sequences.
pub(super) struct BidirectionalPass {
    batch: usize,
    time: usize,
    lengths: Vec<usize>,
    dropout: Option<Dropout>,
    options: RecurrentOptions,
}

impl BidirectionalPass {
    pub(super) fn new(model: &Encoder, input: &EncoderInput, key: Option<DropoutKey>) -> Self {
        let (batch, time, lengths) = (input.sequences(), input.longest(), input.lengths());
        let ragged = lengths.iter().any(|length| *length != time);
        let options =
            RecurrentOptions { reversed: false, lengths: ragged.then(|| lengths.clone()), precision: model.precision };
        let dropout = Dropout::new(key, model.config().dropout, batch);
        BidirectionalPass { batch, time, lengths, dropout, options }
    }

    /// Vectors of all tokens, (batch * time, hidden). They have dropout site 0.
    pub(super) fn embed(&self, stack: &BidirectionalStack, input: &EncoderInput) -> Tensor<2> {
        let device = stack.embed_tokens.weight.val().device().inner();
        self.drop(0, stack.embed_tokens.rows(EncoderInput::padded(&input.ids, self.time, &device)))
    }

    /// Layer number `index`, with dropout site index + 1 on what it gives.
    pub(super) fn layer(&self, index: usize, layer: &BidirectionalLayer, x: Tensor<2>) -> Tensor<2> {
        let width = x.dims()[1];
        let x: Tensor<3> = x.reshape([self.batch, self.time, width]);
        let backwards = RecurrentOptions { reversed: true, ..self.options.clone() };
        let (there, _) = layer.forward.forward(x.clone(), CellState::default(), &self.options);
        let (back, _) = layer.backward.forward(x, CellState::default(), &backwards);
        let y = Tensor::cat(vec![there, back], 2);
        let width = y.dims()[2];
        self.drop(index + 1, y.reshape([self.batch * self.time, width]))
    }

    fn drop(&self, site: usize, x: Tensor<2>) -> Tensor<2> {
        match &self.dropout {
            Some(dropout) => dropout.apply(site, x),
            None => x,
        }
    }

    /// What each direction has read at its end: the one at the last token, the other at the first, (batch, hidden).
    pub(super) fn ends(&self, hidden: &Tensor<3>) -> Tensor<2> {
        let [batch, time, width] = hidden.dims();
        let half = width / 2;
        let last: Vec<i32> = self.lengths.iter().enumerate().map(|(row, n)| (row * time + n - 1) as i32).collect();
        let last = Tensor::from_data(TensorData::new(last, [batch]), &hidden.device());
        let there = hidden.clone().narrow(2, 0, half).reshape([batch * time, half]).select(0, last);
        let back = hidden.clone().narrow(1, 0, 1).narrow(2, half, half).reshape([batch, half]);
        Tensor::cat(vec![there, back], 1)
    }
}

impl<S: Source> Builder<'_, S, EncoderConfig> {
    pub(super) fn bidirectional(&mut self, cell: Cell, vocab_size: usize) -> Result<BidirectionalStack, ModelError> {
        let c = self.config;
        let shape = CellShape { cell, inp: c.hidden_size, hidden: c.hidden_size / 2, bias: true };
        let embed_tokens = self.vectors("model.embed_tokens", vocab_size, c.hidden_size)?;
        let mut layer = |index: usize| {
            Ok(BidirectionalLayer {
                forward: self.cell_layer(&format!("model.layers.{index}.forward"), &shape)?,
                backward: self.cell_layer(&format!("model.layers.{index}.backward"), &shape)?,
            })
        };
        let layers = (0..c.layers).map(&mut layer).collect::<Result<_, ModelError>>()?;
        Ok(BidirectionalStack { embed_tokens, layers })
    }
}
