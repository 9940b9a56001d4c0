//! The pass from the first step to the last.

use super::cells::{self, joined_bias};
use super::{Cell, Layer, Saved, State, Weights, initial};
use crate::cpu::Level;
use crate::gemm::{FEW_ROWS, Matrix, Packed, Threads, linear, multiply, multiply_packed};
use crate::math::{Shared, filled};
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Result of [`forward`].
#[derive(Clone, Debug)]
pub struct Output {
    /// All states: (batch, time, hidden), zero beyond a sequence's length.
    pub y: Vec<f32>,
    /// State after each sequence's last step: (batch, hidden).
    pub h: Vec<f32>,
    /// Cell after each sequence's last step: (batch, hidden). Empty except for LSTM.
    pub c: Vec<f32>,
    /// For [`backward`](super::backward).
    pub saved: Saved,
}

/// Runs `layer` over `x` (batch, time, input) from `state`.
///
/// # Panics
/// If a slice's length contradicts the layer's sizes, or a sequence is longer than `time`.
pub fn forward(layer: &Layer<'_>, x: &[f32], weights: &Weights<'_>, state: &State<'_>) -> Output {
    forward_at(Level::best(), layer, x, weights, state)
}

pub(super) fn forward_at(
    level: Level,
    layer: &Layer<'_>,
    x: &[f32],
    weights: &Weights<'_>,
    state: &State<'_>,
) -> Output {
    layer.check(x, weights, state);
    let Layer { cell, batch, time, hidden, .. } = *layer;
    let mut gates = input_projection(layer, x, weights);
    let mut h = vec![0f32; batch * hidden];
    let mut c = vec![0f32; if cell == Cell::Lstm { batch * hidden } else { 0 }];
    let rows = batch * time;
    // The plain layer's gate is its state.
    let states = if cell.kept() == 1 { 0 } else { rows * hidden };
    let mut cells = Vec::new();
    // SAFETY: every group writes all steps of its sequences in all buffers, and the groups cover the batch.
    let y = unsafe {
        filled(states, |y| {
            cells = filled(if cell == Cell::Lstm { states } else { 0 }, |cells| {
                let out = Buffers {
                    gates: Shared::new(&mut gates),
                    y: Shared::filling(y),
                    cells: Shared::filling(cells),
                    h: Shared::new(&mut h),
                    c: Shared::new(&mut c),
                };
                run(level, layer, weights, state, &out);
            });
        })
    };
    if cell.kept() == 1 {
        return Output { y: gates, h, c, saved: Saved::default() };
    }
    Output { y, h, c, saved: Saved { gates, cells } }
}

/// `x * weight_ih^T` of all steps, in rows as wide as what is kept; columns beyond the product's are zero.
fn input_projection(layer: &Layer<'_>, x: &[f32], weights: &Weights<'_>) -> Vec<f32> {
    let (rows, width, stride) = (layer.batch * layer.time, layer.width(), layer.kept_stride());
    if rows < FEW_ROWS {
        let projected = linear(x, rows, weights.input, width, layer.input, None, layer.precision);
        let widened =
            |row: &[f32]| row.iter().copied().chain(std::iter::repeat_n(0.0, stride - width)).collect::<Vec<_>>();
        return if stride == width { projected } else { projected.chunks_exact(width).flat_map(widened).collect() };
    }
    let (a, b) = (Matrix::new(x, rows, layer.input), Matrix::new(weights.input, width, layer.input).transposed());
    // SAFETY: the vector holds rows * stride values of its own; the product writes the first `width` of each row, the
    // loop the rest.
    unsafe {
        filled(rows * stride, |gates| {
            multiply(gates.as_mut_ptr().cast(), stride, a, b, false, layer.precision, Threads::All);
            if stride > width {
                gates.par_chunks_exact_mut(stride).for_each(|row| row[width..].fill(MaybeUninit::new(0.0)));
            }
        })
    }
}

/// Where all groups write, each its own sequences' rows.
struct Buffers<'a> {
    gates: Shared<'a>,
    y: Shared<'a>,
    cells: Shared<'a>,
    h: Shared<'a>,
    c: Shared<'a>,
}

/// How a step multiplies the states with the recurrent weight.
enum Recurrence {
    /// The weight, packed for many steps.
    Steps(Packed),
    /// The only step's product, (batch, gates * hidden): packing the weight would cost more.
    Once(Vec<f32>),
}

fn run(level: Level, layer: &Layer<'_>, weights: &Weights<'_>, state: &State<'_>, out: &Buffers<'_>) {
    let (width, hidden) = (layer.width(), layer.hidden);
    let recurrence = match state.h {
        Some(h) if layer.time == 1 => {
            Recurrence::Once(linear(h, layer.batch, weights.hidden, width, hidden, None, layer.precision))
        }
        None if layer.time == 1 => Recurrence::Once(vec![0f32; layer.batch * width]),
        _ => Recurrence::Steps(Packed::new(Matrix::new(weights.hidden, width, hidden).transposed(), layer.precision)),
    };
    let bias = joined_bias(layer.cell, hidden, weights.input_bias, weights.hidden_bias);
    (0..layer.batch.div_ceil(layer.group())).into_par_iter().for_each(|g| {
        let first = g * layer.group();
        let rows = first..(first + layer.group()).min(layer.batch);
        // SAFETY: the groups' sequences are disjoint.
        unsafe { group(level, layer, rows, &recurrence, &bias, state, out) };
    });
}

/// All steps of the sequences `rows`.
///
/// # Safety
/// Nothing else may touch these sequences' rows of `out`.
unsafe fn group(
    level: Level,
    layer: &Layer<'_>,
    rows: Range<usize>,
    recurrence: &Recurrence,
    bias: &[f32],
    state: &State<'_>,
    out: &Buffers<'_>,
) {
    let Layer { cell, time, hidden, .. } = *layer;
    let (n, width, kept) = (rows.len(), layer.width(), layer.kept_width());
    let stride = layer.kept_stride();
    let mut h = initial(state.h, rows.clone(), hidden);
    let mut c = if cell == Cell::Lstm { initial(state.c, rows.clone(), hidden) } else { Vec::new() };
    let mut recurrent = vec![0f32; n * width];
    for step in 0..time {
        let t = layer.time_of(step);
        match recurrence {
            Recurrence::Once(product) => {
                recurrent.copy_from_slice(&product[rows.start * width..rows.end * width]);
            }
            Recurrence::Steps(packed) if step > 0 || state.h.is_some() => {
                let before = Matrix::new(&h, n, hidden);
                let to = recurrent.as_mut_ptr();
                // SAFETY: the whole of a vector of n * width values.
                unsafe { multiply_packed(to, width, before, packed, layer.precision, false, Threads::One) };
            }
            // The product with a state of zeros.
            Recurrence::Steps(_) => {}
        }
        for (r, sequence) in rows.clone().enumerate() {
            let at = sequence * time + t;
            // SAFETY: rows of this group's sequences.
            let gates = unsafe { out.gates.slice(at * stride, kept) };
            let h = &mut h[r * hidden..(r + 1) * hidden];
            let c = if cell == Cell::Lstm { &mut c[r * hidden..(r + 1) * hidden] } else { &mut [] };
            let inside = t < layer.length(sequence);
            if inside {
                let recurrent = &recurrent[r * width..(r + 1) * width];
                cells::forward(level, cell, cells::Forward { gates, recurrent, bias, h, c });
            } else if cell.kept() == 1 {
                gates.fill(0.0);
            }
            // SAFETY: as above.
            unsafe { store(&out.y, at, hidden, h, inside) };
            // SAFETY: as above.
            unsafe { store(&out.cells, at, hidden, c, inside) };
        }
    }
    // SAFETY: as above.
    unsafe { out.h.slice(rows.start * hidden, n * hidden) }.copy_from_slice(&h);
    if cell == Cell::Lstm {
        // SAFETY: as above.
        unsafe { out.c.slice(rows.start * hidden, n * hidden) }.copy_from_slice(&c);
    }
}

/// Writes `values`, or zeros, to row `at` of a buffer that may be absent.
///
/// # Safety
/// Nothing else may touch that row.
unsafe fn store(buffer: &Shared<'_>, at: usize, hidden: usize, values: &[f32], inside: bool) {
    if buffer.is_empty() {
        return;
    }
    // SAFETY: the caller's promise.
    let row = unsafe { buffer.unwritten(at * hidden, hidden) };
    if inside {
        row.write_copy_of_slice(values);
    } else {
        row.fill(MaybeUninit::new(0.0));
    }
}
