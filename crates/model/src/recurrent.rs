//! The recurrent body: embedding, stacked layers (LSTM, GRU or plain), and a projection back to the embedding's width
//! where the two differ. Weights have PyTorch's names, shapes and gate order (`torch.nn.LSTM`, one layer each).

use crate::dropout::Dropout;
use crate::init::{Source, Start};
use crate::layers::{Builder, Embedding, Form, Int8, Linear, read};
use crate::sequences::SequenceOptions;
use crate::truncated::Piece;
use crate::{CausalLm, ModelConfig, ModelError};
use burn::module::{Module, Param};
use burn::prelude::*;
use danlu_ops::{Cell, Int8RecurrentWeights, Nonlinearity, Precision, RecurrentOptions, RecurrentWeights};
use std::cell::RefCell;

/// Everything below the head.
#[derive(Module, Debug)]
pub struct RecurrentStack {
    pub embed_tokens: Embedding,
    pub layers: Vec<RecurrentLayer>,
    /// (embedding_size, hidden_size), where the two differ.
    pub projection: Option<Linear>,
}

/// One recurrent layer in one direction. gates is 4 for LSTM (i, f, g, o), 3 for GRU (r, z, n) and 1 for the plain layer.
#[derive(Module, Debug)]
pub struct RecurrentLayer {
    #[module(skip)]
    pub cell: Cell,
    /// (gates * hidden, in)
    pub weight_ih: Form,
    /// (gates * hidden, hidden)
    pub weight_hh: Form,
    /// (gates * hidden)
    pub bias_ih: Option<Param<Tensor<1>>>,
    /// (gates * hidden)
    pub bias_hh: Option<Param<Tensor<1>>>,
}

/// A layer's state between two steps, (batch, hidden) each; zero where absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct CellState {
    h: Option<Tensor<2>>,
    /// LSTM's cell.
    c: Option<Tensor<2>>,
}

impl CellState {
    /// The same numbers on no tape.
    fn kept(self) -> Self {
        let inner = |x: Tensor<2>| if x.device().is_autodiff() { x.inner() } else { x };
        CellState { h: self.h.map(inner), c: self.c.map(inner) }
    }

    /// The same numbers where `device` computes, as constants.
    fn on(&self, device: &Device) -> Self {
        let on = |x: &Tensor<2>| if device.is_autodiff() { Tensor::from_inner(x.clone()) } else { x.clone() };
        CellState { h: self.h.as_ref().map(on), c: self.c.as_ref().map(on) }
    }
}

impl RecurrentLayer {
    /// From (batch, time, in) to all states (batch, time, hidden) and the last.
    pub(crate) fn forward(&self, x: Tensor<3>, state: CellState, options: &RecurrentOptions) -> (Tensor<3>, CellState) {
        let [input_bias, hidden_bias] = [&self.bias_ih, &self.bias_hh].map(|bias| bias.as_ref().map(Param::val));
        let (input, hidden) = match (&self.weight_ih, &self.weight_hh) {
            (Form::Dense(input), Form::Dense(hidden)) => (input.val(), hidden.val()),
            (Form::Int8(input), Form::Int8(hidden)) => {
                let (input, hidden) = (input.weight.as_ref(), hidden.weight.as_ref());
                let weights = Int8RecurrentWeights { input, hidden, input_bias, hidden_bias };
                let (y, [h, c]) = danlu_ops::recurrent_int8(self.cell, x, weights, [state.h, state.c], options);
                return (y, CellState { h, c });
            }
            _ => unreachable!("a layer is quantised as a whole"),
        };
        let weights = RecurrentWeights { input, hidden, input_bias, hidden_bias };
        let (y, h) = match self.cell {
            Cell::Lstm => {
                let (y, (h, c)) = danlu_ops::lstm(x, weights, state.h.zip(state.c), options);
                return (y, CellState { h: Some(h), c: Some(c) });
            }
            Cell::Gru => danlu_ops::gru(x, weights, state.h, options),
            Cell::Tanh => danlu_ops::rnn(x, weights, state.h, Nonlinearity::Tanh, options),
            Cell::Relu => danlu_ops::rnn(x, weights, state.h, Nonlinearity::Relu, options),
        };
        (y, CellState { h: Some(h), c: None })
    }

    /// All steps of sequences from a state, which is zero again at every cut, and the state after them.
    fn sequences(
        &self,
        x: Tensor<3>,
        mut state: CellState,
        cuts: &[Cut],
        options: &RecurrentOptions,
    ) -> (Tensor<3>, CellState) {
        if let [cut] = cuts {
            return self.forward(x, cut.kept(state), options);
        }
        let mut parts = Vec::with_capacity(cuts.len());
        for cut in cuts {
            let part = x.clone().narrow(1, cut.start, cut.length);
            let (y, last) = self.forward(part, cut.kept(state), options);
            parts.push(y);
            state = last;
        }
        (Tensor::cat(parts, 1), state)
    }
}

impl RecurrentStack {
    /// Every matrix but the embedding in int8.
    pub(crate) fn quantized(mut self) -> Result<Self, ModelError> {
        for layer in &mut self.layers {
            layer.weight_ih = layer.weight_ih.clone().quantized()?;
            layer.weight_hh = layer.weight_hh.clone().quantized()?;
        }
        self.projection = self.projection.map(Linear::quantized).transpose()?;
        Ok(self)
    }

    /// From the last layer's states to the embedding's width.
    pub(crate) fn project(&self, x: Tensor<2>, precision: Precision) -> Tensor<2> {
        match &self.projection {
            Some(projection) => projection.forward(x, precision),
            None => x,
        }
    }
}

/// A stretch of steps within which no document begins.
#[derive(Clone, Debug, PartialEq)]
struct Cut {
    start: usize,
    length: usize,
    /// Of each sequence 0 where a document begins at `start`, else 1; empty where none does.
    keep: Vec<f32>,
}

impl Cut {
    /// Where documents begin, in whichever of the sequences; `keep` is that of the first step.
    fn all(documents: Option<&[u32]>, batch: usize, time: usize, keep: Vec<f32>) -> Vec<Cut> {
        let Some(documents) = documents else { return vec![Cut { start: 0, length: time, keep }] };
        assert_eq!(documents.len(), batch * time, "document numbers of {batch} x {time} tokens");
        let begins = |row: usize, t: usize| documents[row * time + t] != documents[row * time + t - 1];
        let mut cuts = vec![Cut { start: 0, length: 0, keep }];
        for t in 1..time {
            if (0..batch).any(|row| begins(row, t)) {
                let keep = (0..batch).map(|row| if begins(row, t) { 0.0 } else { 1.0 }).collect();
                cuts.push(Cut { start: t, length: 0, keep });
            }
        }
        let ends: Vec<usize> = cuts.iter().skip(1).map(|cut| cut.start).chain([time]).collect();
        for (cut, end) in cuts.iter_mut().zip(ends) {
            cut.length = end - cut.start;
        }
        cuts
    }

    /// The state without what went before a document's beginning.
    fn kept(&self, state: CellState) -> CellState {
        let kept = |x: Tensor<2>| {
            let keep = TensorData::new(self.keep.clone(), [self.keep.len(), 1]);
            x.clone() * Tensor::from_data(keep, &x.device())
        };
        match self.keep.is_empty() {
            true => state,
            false => CellState { h: state.h.map(kept), c: state.c.map(kept) },
        }
    }
}

/// What all layers share in one pass over (batch, time) tokens.
pub(crate) struct Unrolled {
    batch: usize,
    time: usize,
    cuts: Vec<Cut>,
    dropout: Option<Dropout>,
    /// Whether a mask holds for all steps of a sequence.
    variational: bool,
    options: RecurrentOptions,
    /// The number of the piece that is read, of sequences that are read in pieces.
    piece: usize,
    /// Each layer's state before the first step; zero where there is none.
    before: Vec<CellState>,
    /// Each layer's state after the last step, once it was passed.
    after: RefCell<Vec<CellState>>,
}

impl Unrolled {
    /// # Panics
    /// If there is not one document number for each token.
    pub(crate) fn new(model: &CausalLm, [batch, time]: [usize; 2], options: SequenceOptions, piece: Piece) -> Self {
        let config = model.config();
        let Piece { index, before, keep } = piece;
        Unrolled {
            batch,
            time,
            cuts: Cut::all(options.documents.as_deref(), batch, time, keep),
            piece: index,
            before,
            after: RefCell::new(vec![CellState::default(); config.layers]),
            dropout: Dropout::new(options.dropout, config.dropout, batch),
            variational: config.variational_dropout.unwrap_or(false),
            options: RecurrentOptions { precision: model.precision, ..RecurrentOptions::default() },
        }
    }

    /// Each layer's state after the last step, on no tape.
    pub(crate) fn into_states(self) -> Vec<CellState> {
        self.after.into_inner()
    }

    /// Vectors of all tokens, (batch * time, embedding_size).
    pub(crate) fn embed(&self, stack: &RecurrentStack, tokens: Tensor<2, Int>) -> Tensor<2> {
        self.drop(0, stack.embed_tokens.rows(tokens.reshape([self.batch * self.time])))
    }

    /// One layer over (batch * time, in), with dropout on its output.
    pub(crate) fn layer(&self, index: usize, layer: &RecurrentLayer, x: Tensor<2>) -> Tensor<2> {
        let (width, device) = (x.dims()[1], x.device());
        let state = self.before.get(index).map(|state| state.on(&device)).unwrap_or_default();
        let x = x.reshape([self.batch, self.time, width]);
        let (y, state) = layer.sequences(x, state, &self.cuts, &self.options);
        self.after.borrow_mut()[index] = state.kept();
        let width = y.dims()[2];
        self.drop(index + 1, y.reshape([self.batch * self.time, width]))
    }

    fn drop(&self, site: usize, x: Tensor<2>) -> Tensor<2> {
        match &self.dropout {
            None => x,
            Some(dropout) if self.variational => dropout.apply_to_sequences(site, x),
            // Each piece of a sequence has masks of its own.
            Some(dropout) => dropout.apply(self.piece * self.sites() + site, x),
        }
    }

    /// Sites of dropout in one pass: the embedding and each layer.
    fn sites(&self) -> usize {
        1 + self.after.borrow().len()
    }
}

/// What a recurrent body remembers of one sequence: its layers' states as plain f32. Of one size, however long the
/// sequence.
#[derive(Clone, Debug)]
pub(crate) struct RecurrentMemory {
    layers: Vec<Remembered>,
}

/// One layer's hidden state and, for LSTM, cell, (hidden) each.
#[derive(Clone, Debug)]
struct Remembered {
    h: Vec<f32>,
    c: Option<Vec<f32>>,
}

impl RecurrentMemory {
    /// The zero state.
    pub(crate) fn new(cell: Cell, config: &ModelConfig) -> Self {
        let zeros = || vec![0.0; config.hidden_size];
        let layer = || Remembered { h: zeros(), c: (cell == Cell::Lstm).then(zeros) };
        RecurrentMemory { layers: (0..config.layers).map(|_| layer()).collect() }
    }

    /// Whether it is of such a model.
    pub(crate) fn fits(&self, cell: Cell, config: &ModelConfig) -> bool {
        let fits =
            |layer: &Remembered| layer.h.len() == config.hidden_size && layer.c.is_some() == (cell == Cell::Lstm);
        self.layers.len() == config.layers && self.layers.iter().all(fits)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        let numbers = |layer: &Remembered| layer.h.len() + layer.c.as_ref().map_or(0, Vec::len);
        self.layers.iter().map(numbers).sum::<usize>() * size_of::<f32>()
    }

    /// Back to the zero state.
    pub(crate) fn clear(&mut self) {
        for layer in &mut self.layers {
            layer.h.fill(0.0);
            if let Some(c) = &mut layer.c {
                c.fill(0.0);
            }
        }
    }
}

impl RecurrentStack {
    /// Continues each sequence by its new tokens.
    ///
    /// Sequences of different lengths run side by side, padded; a state stands still where its sequence is over.
    pub(crate) fn step(
        &self,
        tokens: &[&[u32]],
        memories: &[&RecurrentMemory],
    ) -> Result<SteppedRecurrent, ModelError> {
        let (batch, device) = (tokens.len(), self.embed_tokens.weight.val().device());
        let time = tokens.iter().map(|tokens| tokens.len()).max().unwrap_or(0);
        let padded = |tokens: &[u32]| (0..time).map(|t| tokens.get(t).map_or(0, |id| *id as i32)).collect::<Vec<_>>();
        let ids: Vec<i32> = tokens.iter().flat_map(|tokens| padded(tokens)).collect();
        let lengths: Vec<usize> = tokens.iter().map(|tokens| tokens.len()).collect();
        let ragged = lengths.iter().any(|length| *length != time);
        let options = RecurrentOptions { lengths: ragged.then_some(lengths), ..RecurrentOptions::default() };
        let rows = self.embed_tokens.rows(Tensor::from_data(TensorData::new(ids, [batch * time]), &device));
        let width = rows.dims()[1];
        let mut x = rows.reshape([batch, time, width]);
        let mut after: Vec<RecurrentMemory> = memories.iter().map(|memory| (*memory).clone()).collect();
        let mut top = None;
        for (index, layer) in self.layers.iter().enumerate() {
            let (y, state) = layer.forward(x, gathered(&after, index, &device), &options);
            scatter(&state, &mut after, index)?;
            (x, top) = (y, state.h);
        }
        let Some(top) = top else { unreachable!("a model has at least one layer") };
        Ok(SteppedRecurrent { top: self.project(top, Precision::F32), after, outputs: x })
    }

    /// What the head reads at each new token of each sequence, (new tokens, embedding_size) in row-major order.
    pub(crate) fn outputs(&self, stepped: &SteppedRecurrent, tokens: &[&[u32]]) -> Result<Vec<Vec<f32>>, ModelError> {
        let [batch, time, width] = stepped.outputs.dims();
        let rows = self.project(stepped.outputs.clone().reshape([batch * time, width]), Precision::F32);
        let width = rows.dims()[1];
        let rows = read(rows)?;
        let own = |(sequence, tokens): (usize, &&[u32])| {
            let first = sequence * time * width;
            rows[first..first + tokens.len() * width].to_vec()
        };
        Ok(tokens.iter().enumerate().map(own).collect())
    }
}

/// What a step over the recurrent layers gives.
pub(crate) struct SteppedRecurrent {
    /// What the head reads after each sequence's last token, (sequences, embedding_size).
    pub top: Tensor<2>,
    /// The memories then.
    pub after: Vec<RecurrentMemory>,
    /// Of the last layer at every step, (sequences, time, hidden), padded.
    pub outputs: Tensor<3>,
}

/// The states of one layer of all sequences as rows.
fn gathered(memories: &[RecurrentMemory], layer: usize, device: &Device) -> CellState {
    let rows = |part: &dyn Fn(&Remembered) -> Option<Vec<f32>>| {
        let rows: Option<Vec<Vec<f32>>> = memories.iter().map(|memory| part(&memory.layers[layer])).collect();
        rows.map(|rows| {
            let shape = [rows.len(), rows.first().map_or(0, Vec::len)];
            Tensor::from_data(TensorData::new(rows.concat(), shape), device)
        })
    };
    CellState { h: rows(&|layer| Some(layer.h.clone())), c: rows(&|layer| layer.c.clone()) }
}

/// The rows of a state to the sequences that they belong to.
fn scatter(state: &CellState, memories: &mut [RecurrentMemory], layer: usize) -> Result<(), ModelError> {
    let values = |part: &Option<Tensor<2>>| part.clone().map(read).transpose();
    let (h, c) = (values(&state.h)?, values(&state.c)?);
    let width = h.as_ref().map_or(0, |h| h.len() / memories.len().max(1));
    for (row, memory) in memories.iter_mut().enumerate() {
        let part = |values: &Option<Vec<f32>>| values.as_ref().map(|v| v[row * width..(row + 1) * width].to_vec());
        let remembered = &mut memory.layers[layer];
        (remembered.h, remembered.c) = (part(&h).unwrap_or_default(), part(&c));
    }
    Ok(())
}

impl<S: Source> Builder<'_, S> {
    pub(crate) fn recurrent(&mut self, cell: Cell, vocab_size: usize) -> Result<RecurrentStack, ModelError> {
        let (hidden, embedding) = (self.config.hidden_size, self.config.embedding_size());
        let embed_tokens = self.embedding("model.embed_tokens", vocab_size)?;
        let layers = (0..self.config.layers).map(|i| self.recurrent_layer(cell, i)).collect::<Result<_, _>>()?;
        let projection = match embedding == hidden {
            true => None,
            false => Some(self.linear("model.projection", embedding, hidden, uniform_std(hidden), false)?),
        };
        Ok(RecurrentStack { embed_tokens, layers, projection })
    }

    fn recurrent_layer(&mut self, cell: Cell, index: usize) -> Result<RecurrentLayer, ModelError> {
        let hidden = self.config.hidden_size;
        let inp = if index == 0 { self.config.embedding_size() } else { hidden };
        self.cell_layer(&format!("model.layers.{index}"), &CellShape { cell, inp, hidden, bias: self.config.bias() })
    }
}

/// What a recurrent layer is made of.
pub(crate) struct CellShape {
    pub cell: Cell,
    /// Width of what it reads.
    pub inp: usize,
    pub hidden: usize,
    pub bias: bool,
}

impl<S: Source, C> Builder<'_, S, C> {
    /// One recurrent layer in one direction, whose parameters' names begin with `name`.
    pub(crate) fn cell_layer(&mut self, name: &str, shape: &CellShape) -> Result<RecurrentLayer, ModelError> {
        let CellShape { cell, inp, hidden, bias } = *shape;
        let (rows, std) = (cell.gates() * hidden, uniform_std(hidden));
        let at = |part: &str| format!("{name}.{part}");
        let weight_ih = self.form(&at("weight_ih"), rows, inp, std)?;
        let weight_hh = self.form(&at("weight_hh"), rows, hidden, std)?;
        let (weight_ih, weight_hh) = self.one_form(weight_ih, weight_hh);
        // An LSTM that begins by remembering learns long dependencies sooner (Jozefowicz et al. 2015).
        let start = if cell == Cell::Lstm { Start::OnesWithin(hidden, 2 * hidden) } else { Start::Zeros };
        let (bias_ih, bias_hh) = match bias {
            false => (None, None),
            true => (
                Some(self.parameter(&at("bias_ih"), [rows], start)?),
                Some(self.parameter(&at("bias_hh"), [rows], Start::Zeros)?),
            ),
        };
        Ok(RecurrentLayer { cell, weight_ih, weight_hh, bias_ih, bias_hh })
    }

    /// A layer's matrices have one form: f32 where a file has one of them in int8.
    fn one_form(&self, a: Form, b: Form) -> (Form, Form) {
        if matches!(a, Form::Int8(_)) == matches!(b, Form::Int8(_)) {
            return (a, b);
        }
        let dense = |form| match form {
            Form::Int8(Int8 { weight }) => {
                let data = TensorData::new(weight.dequantize(), [weight.out, weight.inp]);
                Form::Dense(Param::from_data(data, self.device))
            }
            dense => dense,
        };
        (dense(a), dense(b))
    }
}

/// The standard deviation of PyTorch's start, uniform within `1 / sqrt(hidden)` of 0.
fn uniform_std(hidden: usize) -> f64 {
    1.0 / (3.0 * hidden as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_where_a_document_begins_in_any_sequence() {
        let cut = |start, length, keep: &[f32]| Cut { start, length, keep: keep.to_vec() };
        assert_eq!(Cut::all(None, 2, 5, vec![]), [cut(0, 5, &[])]);
        assert_eq!(Cut::all(Some(&[3; 10]), 2, 5, vec![]), [cut(0, 5, &[])]);
        let documents = [0, 0, 1, 1, 1, 7, 7, 8, 8, 9];
        let want = [cut(0, 2, &[]), cut(2, 2, &[0.0, 0.0]), cut(4, 1, &[1.0, 0.0])];
        assert_eq!(Cut::all(Some(&documents), 2, 5, vec![]), want);
        let begun = Cut::all(Some(&documents), 2, 5, vec![0.0, 1.0]);
        assert_eq!((&begun[0], &begun[1..]), (&cut(0, 2, &[0.0, 1.0]), &want[1..]));
    }
}
