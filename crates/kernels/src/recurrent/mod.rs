//! Recurrent layers over whole sequences: LSTM (Hochreiter and Schmidhuber 1997, with forget gates: Gers et al. 2000),
//! GRU (Cho et al. 2014) and the plain recurrent layer (Elman 1990), forward and backward, with PyTorch's formulas,
//! gate order and weight shapes.
//!
//! One pass per sequence: the input's projection of all steps is one product. Then groups of at most [`GROUP`]
//! sequences run from the first step to the last without meeting each other, each on one thread. A step is one product
//! of the group's states with the recurrent weight, which is packed once per pass, and one loop over the gates. The
//! backward pass runs the same groups the other way, and the gradients of the weights and of the input are again one
//! product over all steps each. The groups follow from the batch alone, so results do not depend on the number of
//! threads.
//!
//! Memory: what the backward pass needs is kept in [`Saved`]: for LSTM 5 values for each state (the four gates and the
//! cell), for GRU 4 (the three gates and the hidden part of the new gate), for the plain layer none. The
//! backward pass writes the gates' gradients in their place, so it needs little more.
//!
//! Begin reading at [`forward`], then `cells` for the formulas.

mod backward;
mod cells;
mod forward;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use crate::math::spread_stride;
use crate::precision::Precision;
pub use backward::{Gradients, Upstream, Wanted, backward};
pub use forward::{Output, forward};

/// Most sequences of one group. More rows use each load of the recurrent weight better, more groups feed more threads;
/// 16 is 1% faster than 8 on two threads.
const GROUP: usize = 8;

/// The formula of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// Gates i, f, g, o; state h and cell c.
    Lstm,
    /// Gates r, z, n, the hidden part of n with its own bias inside `r * (...)`.
    Gru,
    /// `h' = tanh(...)`.
    Tanh,
    /// `h' = max(..., 0)`.
    Relu,
}

impl Cell {
    /// Rows of the weights for each state: 4 for LSTM, 3 for GRU, 1 otherwise.
    pub fn gates(self) -> usize {
        match self {
            Cell::Lstm => 4,
            Cell::Gru => 3,
            Cell::Tanh | Cell::Relu => 1,
        }
    }

    /// Values kept for each state of each step; for the plain layer this is the state itself.
    fn kept(self) -> usize {
        match self {
            Cell::Lstm | Cell::Gru => 4,
            Cell::Tanh | Cell::Relu => 1,
        }
    }
}

/// What a layer reads: sizes, direction and lengths.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// The step's formula.
    pub cell: Cell,
    /// Sequences.
    pub batch: usize,
    /// Steps.
    pub time: usize,
    /// Features of an input step.
    pub input: usize,
    /// Features of a state.
    pub hidden: usize,
    /// From the last step to the first.
    pub reversed: bool,
    /// Steps of each sequence, at most `time`; all of them where absent. Beyond its length a sequence's outputs are
    /// zero and its state stands still; a reversed one begins at its own last step.
    pub lengths: Option<&'a [usize]>,
    /// What inputs of the products are rounded to.
    pub precision: Precision,
}

impl Layer<'_> {
    fn length(&self, sequence: usize) -> usize {
        self.lengths.map_or(self.time, |lengths| lengths[sequence])
    }

    /// Columns of the weights' product.
    fn width(&self) -> usize {
        self.cell.gates() * self.hidden
    }

    /// Columns of the kept gates.
    fn kept_width(&self) -> usize {
        self.cell.kept() * self.hidden
    }

    /// From one row of kept gates to the next. The plain layer's gates are its states, which have no gaps.
    fn kept_stride(&self) -> usize {
        if self.cell.kept() == 1 { self.kept_width() } else { spread_stride(self.kept_width()) }
    }

    /// The time of the `step`-th step in the layer's direction.
    fn time_of(&self, step: usize) -> usize {
        if self.reversed { self.time - 1 - step } else { step }
    }

    /// The time before `t` in the layer's direction within a sequence of `length` steps, unless `t` comes first.
    fn before(&self, t: usize, length: usize) -> Option<usize> {
        if self.reversed { (t + 1 < length).then_some(t + 1) } else { t.checked_sub(1) }
    }

    /// Sequences of one group: equal shares of the batch, at least two of them, none above [`GROUP`].
    fn group(&self) -> usize {
        let groups = self.batch.div_ceil(GROUP).max(2);
        self.batch.div_ceil(groups).max(1)
    }

    fn check(&self, x: &[f32], weights: &Weights<'_>, state: &State<'_>) {
        let Layer { cell, batch, time, input, hidden, lengths, .. } = *self;
        assert_eq!(x.len(), batch * time * input, "x of {batch} x {time} x {input}");
        assert_eq!(weights.input.len(), self.width() * input, "{cell:?} input weight of {} x {input}", self.width());
        assert_eq!(weights.hidden.len(), self.width() * hidden, "{cell:?} weight of {} x {hidden}", self.width());
        for bias in [weights.input_bias, weights.hidden_bias].into_iter().flatten() {
            assert_eq!(bias.len(), self.width(), "{cell:?} bias of {}", self.width());
        }
        for part in [state.h, state.c].into_iter().flatten() {
            assert_eq!(part.len(), batch * hidden, "{cell:?} state of {batch} x {hidden}");
        }
        if let Some(lengths) = lengths {
            assert!(lengths.len() == batch && lengths.iter().all(|l| *l <= time), "{batch} lengths up to {time}");
        }
    }
}

/// Parameters, in PyTorch's shapes and gate order.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// `weight_ih`: (gates * hidden, input).
    pub input: &'a [f32],
    /// `weight_hh`: (gates * hidden, hidden).
    pub hidden: &'a [f32],
    /// `bias_ih`: (gates * hidden).
    pub input_bias: Option<&'a [f32]>,
    /// `bias_hh`: (gates * hidden).
    pub hidden_bias: Option<&'a [f32]>,
}

/// State before the first step, (batch, hidden) each; zero where absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct State<'a> {
    /// Hidden state.
    pub h: Option<&'a [f32]>,
    /// Cell state, of LSTM only.
    pub c: Option<&'a [f32]>,
}

/// What [`backward`] needs of [`forward`] besides its inputs and outputs.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// (batch, time, kept * hidden) with gaps between rows: LSTM i, f, g, o; GRU r, z, n and the hidden part of n. Empty
    /// for the plain layer.
    gates: Vec<f32>,
    /// (batch, time, hidden): LSTM's cells. Empty otherwise.
    cells: Vec<f32>,
}

/// A state part of one group: the caller's rows, or zeros.
fn initial(part: Option<&[f32]>, rows: std::ops::Range<usize>, hidden: usize) -> Vec<f32> {
    match part {
        Some(part) => part[rows.start * hidden..rows.end * hidden].to_vec(),
        None => vec![0f32; rows.len() * hidden],
    }
}
