//! The pass from the last step to the first, and the gradients of what all steps share.

use super::{Cell, Layer, Saved, State, Weights, cells, initial};
use crate::cpu::Level;
use crate::gemm::{Matrix, Packed, Threads, add_product, multiply, multiply_packed, product};
use crate::math::Shared;
use rayon::prelude::*;
use std::ops::Range;

/// Gradients of what [`forward`](super::forward) returned; zero where absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Upstream<'a> {
    /// Of all states: (batch, time, hidden). What lies beyond a sequence's length is not read.
    pub y: Option<&'a [f32]>,
    /// Of the last states: (batch, hidden).
    pub h: Option<&'a [f32]>,
    /// Of the last cells: (batch, hidden).
    pub c: Option<&'a [f32]>,
}

/// Which gradients that cost a product are asked for; those of the biases and of the first state come by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The input's.
    pub x: bool,
    /// `weight_ih`'s.
    pub input_weight: bool,
    /// `weight_hh`'s.
    pub hidden_weight: bool,
}

/// Gradients, each of its operand's shape. What was not wanted is empty.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// (batch, time, input).
    pub x: Vec<f32>,
    /// (gates * hidden, input).
    pub input_weight: Vec<f32>,
    /// (gates * hidden, hidden).
    pub hidden_weight: Vec<f32>,
    /// (gates * hidden).
    pub input_bias: Vec<f32>,
    /// (gates * hidden).
    pub hidden_bias: Vec<f32>,
    /// First state: (batch, hidden).
    pub h: Vec<f32>,
    /// First cell: (batch, hidden). Empty except for LSTM.
    pub c: Vec<f32>,
}

/// Gradients of [`forward`](super::forward) called with the same layer, `x`, `weights` and `state`, where it returned
/// `y` and `saved`. Takes `saved` because the gates' gradients are written over the gates.
///
/// # Panics
/// If a slice's length contradicts the layer's sizes.
pub fn backward(
    layer: &Layer<'_>,
    x: &[f32],
    weights: &Weights<'_>,
    state: &State<'_>,
    y: &[f32],
    saved: Saved,
    upstream: &Upstream<'_>,
    wanted: Wanted,
) -> Gradients {
    backward_at(Level::best(), layer, x, weights, state, y, saved, upstream, wanted)
}

pub(super) fn backward_at(
    level: Level,
    layer: &Layer<'_>,
    x: &[f32],
    weights: &Weights<'_>,
    state: &State<'_>,
    y: &[f32],
    saved: Saved,
    upstream: &Upstream<'_>,
    wanted: Wanted,
) -> Gradients {
    layer.check(x, weights, state);
    let Layer { cell, batch, time, input, hidden, precision, .. } = *layer;
    assert!(y.len() == batch * time * hidden && upstream.y.is_none_or(|g| g.len() == y.len()), "y and its gradient");
    assert!([upstream.h, upstream.c].into_iter().flatten().all(|g| g.len() == batch * hidden), "last gradients");
    let mut gates = if cell.kept() == 1 { y.to_vec() } else { saved.gates };
    assert_eq!(gates.len(), batch * time * layer.kept_stride(), "{cell:?}: what the forward pass saved");
    let steps = Steps { level, layer, weights, state, y, cells: &saved.cells, upstream };
    let (h, c, sums) = steps.run(&mut gates);
    drop(saved.cells);

    let (rows, width) = (batch * time, layer.width());
    let (input_bias, hidden_bias) = biases(cell, hidden, sums);
    let all = Matrix::strided(&gates, rows, width, layer.kept_stride());
    let input_weight = match wanted.input_weight {
        true => product(all.transposed(), Matrix::new(x, rows, input), precision),
        false => Vec::new(),
    };
    let x = match wanted.x {
        true => product(all, Matrix::new(weights.input, width, input), precision),
        false => Vec::new(),
    };
    let hidden_weight = match wanted.hidden_weight {
        true => hidden_weight_gradient(layer, &mut gates, state, y),
        false => Vec::new(),
    };
    Gradients { x, input_weight, hidden_weight, input_bias, hidden_bias, h, c }
}

/// The columns of the gates' gradients, as (first, count) pairs, that belong to the recurrent product's, in its order:
/// all of them, but of GRU's new gate the hidden part.
fn hidden_columns(cell: Cell, hidden: usize) -> [(usize, usize); 2] {
    match cell {
        Cell::Gru => [(0, 2 * hidden), (3 * hidden, hidden)],
        _ => [(0, cell.gates() * hidden), (0, 0)],
    }
}

/// Gradients of (bias_ih, bias_hh) from the column sums of the gates' gradients.
fn biases(cell: Cell, hidden: usize, sums: Vec<f32>) -> (Vec<f32>, Vec<f32>) {
    let columns = hidden_columns(cell, hidden);
    let of_hidden = columns.into_iter().flat_map(|(first, count)| sums[first..first + count].iter().copied()).collect();
    let mut of_input = sums;
    of_input.truncate(cell.gates() * hidden);
    (of_input, of_hidden)
}

/// `sum over steps of gates' gradient^T * state before the step`.
///
/// The states before the steps are the outputs moved by one row, except at each sequence's first step, where it is the
/// initial state. The gradients of those steps are therefore taken out, which clears them in `gates`, and
/// enter by a product of their own.
fn hidden_weight_gradient(layer: &Layer<'_>, gates: &mut [f32], state: &State<'_>, y: &[f32]) -> Vec<f32> {
    let Layer { cell, batch, time, hidden, precision, reversed, .. } = *layer;
    let (kept, stride) = (layer.kept_width(), layer.kept_stride());
    let mut first = vec![0f32; batch * kept];
    for (sequence, first) in first.chunks_exact_mut(kept).enumerate() {
        if layer.length(sequence) > 0 {
            let t = if reversed { layer.length(sequence) - 1 } else { 0 };
            let row = &mut gates[(sequence * time + t) * stride..][..kept];
            first.copy_from_slice(row);
            row.fill(0.0);
        }
    }
    let mut gradient = vec![0f32; layer.width() * hidden];
    let pairs = (batch * time).saturating_sub(1);
    let (later, earlier) = if reversed { (0, 1) } else { (1, 0) };
    let mut done = 0;
    for (column, count) in hidden_columns(cell, hidden) {
        let part = &mut gradient[done * hidden..(done + count) * hidden];
        if pairs > 0 && count > 0 {
            let g = Matrix::strided(&gates[later * stride + column..], pairs, count, stride);
            let before = Matrix::new(&y[earlier * hidden..(earlier + pairs) * hidden], pairs, hidden);
            // SAFETY: the whole of a slice of count * hidden values.
            unsafe { multiply(part.as_mut_ptr(), hidden, g.transposed(), before, false, precision, Threads::All) };
        }
        if let Some(h) = state.h.filter(|_| count > 0) {
            let g = Matrix::strided(&first[column..], batch, count, kept);
            add_product(part, g.transposed(), Matrix::new(h, batch, hidden), precision);
        }
        done += count;
    }
    gradient
}

/// What the steps read.
struct Steps<'a> {
    level: Level,
    layer: &'a Layer<'a>,
    weights: &'a Weights<'a>,
    state: &'a State<'a>,
    y: &'a [f32],
    cells: &'a [f32],
    upstream: &'a Upstream<'a>,
}

impl Steps<'_> {
    /// Turns the kept gates into their gradients. Returns the gradients of the first state and cell, and the column
    /// sums of the gates' gradients.
    fn run(&self, gates: &mut [f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let Layer { cell, batch, hidden, precision, .. } = *self.layer;
        let packed = Packed::new(Matrix::new(self.weights.hidden, self.layer.width(), hidden), precision);
        let gates = Shared::new(gates);
        let size = self.layer.group();
        let parts: Vec<_> = (0..batch.div_ceil(size))
            .into_par_iter()
            // SAFETY: the groups' sequences are disjoint.
            .map(|g| unsafe { self.group(g * size..((g + 1) * size).min(batch), &packed, &gates) })
            .collect();
        let (mut h, mut c) = (Vec::with_capacity(batch * hidden), Vec::new());
        let mut sums = vec![0f32; self.layer.kept_width()];
        for (dh, dc, part) in parts {
            h.extend_from_slice(&dh);
            if cell == Cell::Lstm {
                c.extend_from_slice(&dc);
            }
            sums.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
        }
        (h, c, sums)
    }

    /// All steps of the sequences `rows`.
    ///
    /// # Safety
    /// Nothing else may touch these sequences' rows of `gates`.
    unsafe fn group(&self, rows: Range<usize>, packed: &Packed, gates: &Shared<'_>) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let layer = self.layer;
        let Layer { cell, time, hidden, precision, .. } = *layer;
        let (n, width, kept) = (rows.len(), layer.width(), layer.kept_width());
        let mut dh = initial(self.upstream.h, rows.clone(), hidden);
        let mut dc = initial(self.upstream.c, rows.clone(), hidden);
        let (first_h, first_c) =
            (initial(self.state.h, rows.clone(), hidden), initial(self.state.c, rows.clone(), hidden));
        let no_dy = vec![0f32; hidden];
        let mut sums = vec![0f32; kept];
        let mut step_gates = vec![0f32; n * width];
        for t in (0..time).rev().map(|step| layer.time_of(step)) {
            for (r, sequence) in rows.clone().enumerate() {
                // SAFETY: a row of this group's sequences.
                let gates = unsafe { gates.slice((sequence * time + t) * layer.kept_stride(), kept) };
                let state = r * hidden..(r + 1) * hidden;
                let step = &mut step_gates[r * width..(r + 1) * width];
                if t >= layer.length(sequence) {
                    gates.fill(0.0);
                    step.fill(0.0);
                    continue;
                }
                let before = layer.before(t, layer.length(sequence)).map(|t| sequence * time + t);
                let at = sequence * time + t;
                let operands = cells::Backward {
                    gates,
                    cell: if cell == Cell::Lstm { self.row(self.cells, at) } else { &[] },
                    cell_before: match before {
                        Some(at) if cell == Cell::Lstm => self.row(self.cells, at),
                        _ => &first_c[state.clone()],
                    },
                    h_before: before.map_or(&first_h[state.clone()], |at| self.row(self.y, at)),
                    dy: self.upstream.y.map_or(&no_dy, |dy| self.row(dy, at)),
                    dh: &mut dh[state.clone()],
                    dc: &mut dc[state],
                };
                cells::backward(self.level, cell, operands);
                add(self.level, &mut sums, gates);
                let mut done = 0;
                for (column, count) in hidden_columns(cell, hidden) {
                    step[done..done + count].copy_from_slice(&gates[column..column + count]);
                    done += count;
                }
            }
            let step = Matrix::new(&step_gates, n, width);
            // SAFETY: the whole of a vector of n * hidden values.
            unsafe { multiply_packed(dh.as_mut_ptr(), hidden, step, packed, precision, true, Threads::One) };
        }
        (dh, dc, sums)
    }

    fn row<'b>(&self, states: &'b [f32], at: usize) -> &'b [f32] {
        &states[at * self.layer.hidden..(at + 1) * self.layer.hidden]
    }
}

multiversion! {
    /// `sums += x`, column by column.
    fn add(sums: &mut [f32], x: &[f32]) = add_body;
}

#[inline(always)]
fn add_body<const FMA: bool>(sums: &mut [f32], x: &[f32]) {
    for (sum, x) in sums.iter_mut().zip(x) {
        *sum += x;
    }
}
