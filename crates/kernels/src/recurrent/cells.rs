//! One step of one sequence: the formulas and their derivatives, state by state.
//!
//! Every operand is a slice argument of its own: the compiler then knows that they do not overlap, and vectorises.

use super::Cell;
use crate::activation::sigmoid;
use crate::cpu::Level;
use crate::math::{fma, tanh};

/// Operands of a step forward. `gates` holds the input's projection and receives what is kept; `recurrent` is
/// the state's projection.
pub(super) struct Forward<'a> {
    pub(super) gates: &'a mut [f32],
    pub(super) recurrent: &'a [f32],
    /// As wide as `gates`: see [`joined_bias`].
    pub(super) bias: &'a [f32],
    pub(super) h: &'a mut [f32],
    pub(super) c: &'a mut [f32],
}

/// Operands of a step backward. `gates` holds what was kept and receives its gradient.
pub(super) struct Backward<'a> {
    pub(super) gates: &'a mut [f32],
    /// The cell after the step and before it (LSTM).
    pub(super) cell: &'a [f32],
    pub(super) cell_before: &'a [f32],
    /// The state before the step (GRU).
    pub(super) h_before: &'a [f32],
    /// Gradient of this step's output.
    pub(super) dy: &'a [f32],
    /// Gradient of the state after the step; receives the part of the gradient of the state before it that does not
    /// pass through the recurrent weight.
    pub(super) dh: &'a mut [f32],
    /// The same for the cell (LSTM).
    pub(super) dc: &'a mut [f32],
}

/// The biases as the forward step adds them: their sum, except for GRU's new gate, whose hidden bias comes fourth.
pub(super) fn joined_bias(
    cell: Cell,
    hidden: usize,
    input_bias: Option<&[f32]>,
    hidden_bias: Option<&[f32]>,
) -> Vec<f32> {
    let mut joined = vec![0f32; cell.kept() * hidden];
    let width = cell.gates() * hidden;
    if let Some(bias) = input_bias {
        joined[..width].copy_from_slice(bias);
    }
    if let Some(bias) = hidden_bias {
        let summed = if cell == Cell::Gru { 2 * hidden } else { width };
        joined[..summed].iter_mut().zip(bias).for_each(|(j, b)| *j += b);
        if cell == Cell::Gru {
            joined[width..].copy_from_slice(&bias[summed..]);
        }
    }
    joined
}

pub(super) fn forward(level: Level, cell: Cell, row: Forward<'_>) {
    let Forward { gates, recurrent, bias, h, c } = row;
    let n = h.len();
    match cell {
        Cell::Lstm => {
            let [i, f, g, o] = quarters_mut(gates, n);
            let ([ri, rf, rg, ro], [bi, bf, bg, bo]) = (quarters(recurrent, n), quarters(bias, n));
            lstm(level, i, f, g, o, ri, rf, rg, ro, bi, bf, bg, bo, h, c);
        }
        Cell::Gru => {
            let [r, z, new, hidden_new] = quarters_mut(gates, n);
            let [br, bz, bn, bh] = quarters(bias, n);
            let (rr, rest) = recurrent.split_at(n);
            let (rz, rn) = rest.split_at(n);
            gru(level, r, z, new, hidden_new, rr, rz, rn, br, bz, bn, bh, h);
        }
        Cell::Tanh => plain_tanh(level, gates, recurrent, bias, h),
        Cell::Relu => plain_relu(level, gates, recurrent, bias, h),
    }
}

pub(super) fn backward(level: Level, cell: Cell, row: Backward<'_>) {
    let Backward { gates, cell: after, cell_before, h_before, dy, dh, dc } = row;
    let n = dh.len();
    match cell {
        Cell::Lstm => {
            let [i, f, g, o] = quarters_mut(gates, n);
            lstm_grad(level, i, f, g, o, after, cell_before, dy, dh, dc);
        }
        Cell::Gru => {
            let [r, z, new, hidden_new] = quarters_mut(gates, n);
            gru_grad(level, r, z, new, hidden_new, h_before, dy, dh);
        }
        Cell::Tanh => plain_tanh_grad(level, gates, dy, dh),
        Cell::Relu => plain_relu_grad(level, gates, dy, dh),
    }
}

fn quarters(x: &[f32], n: usize) -> [&[f32]; 4] {
    [&x[..n], &x[n..2 * n], &x[2 * n..3 * n], &x[3 * n..4 * n]]
}

fn quarters_mut(x: &mut [f32], n: usize) -> [&mut [f32]; 4] {
    let (first, rest) = x.split_at_mut(n);
    let (second, rest) = rest.split_at_mut(n);
    let (third, fourth) = rest.split_at_mut(n);
    [first, second, third, fourth]
}

multiversion! {
    fn lstm(
        i: &mut [f32], f: &mut [f32], g: &mut [f32], o: &mut [f32],
        ri: &[f32], rf: &[f32], rg: &[f32], ro: &[f32],
        bi: &[f32], bf: &[f32], bg: &[f32], bo: &[f32],
        h: &mut [f32], c: &mut [f32],
    ) = lstm_body;
    fn lstm_grad(
        i: &mut [f32], f: &mut [f32], g: &mut [f32], o: &mut [f32],
        cell: &[f32], cell_before: &[f32], dy: &[f32], dh: &mut [f32], dc: &mut [f32],
    ) = lstm_grad_body;
    fn gru(
        r: &mut [f32], z: &mut [f32], new: &mut [f32], hidden_new: &mut [f32],
        rr: &[f32], rz: &[f32], rn: &[f32],
        br: &[f32], bz: &[f32], bn: &[f32], bh: &[f32],
        h: &mut [f32],
    ) = gru_body;
    fn gru_grad(
        r: &mut [f32], z: &mut [f32], new: &mut [f32], hidden_new: &mut [f32],
        h_before: &[f32], dy: &[f32], dh: &mut [f32],
    ) = gru_grad_body;
    fn plain_tanh(gate: &mut [f32], recurrent: &[f32], bias: &[f32], h: &mut [f32]) = plain_tanh_body;
    fn plain_relu(gate: &mut [f32], recurrent: &[f32], bias: &[f32], h: &mut [f32]) = plain_relu_body;
    fn plain_tanh_grad(gate: &mut [f32], dy: &[f32], dh: &mut [f32]) = plain_tanh_grad_body;
    fn plain_relu_grad(gate: &mut [f32], dy: &[f32], dh: &mut [f32]) = plain_relu_grad_body;
}

/// `c' = f c + i g`, `h' = o tanh(c')` with i, f, o sigmoids and g a hyperbolic tangent.
#[inline(always)]
fn lstm_body<const FMA: bool>(
    i: &mut [f32],
    f: &mut [f32],
    g: &mut [f32],
    o: &mut [f32],
    ri: &[f32],
    rf: &[f32],
    rg: &[f32],
    ro: &[f32],
    bi: &[f32],
    bf: &[f32],
    bg: &[f32],
    bo: &[f32],
    h: &mut [f32],
    c: &mut [f32],
) {
    let n = h.len();
    let (i, f, g, o, c) = (&mut i[..n], &mut f[..n], &mut g[..n], &mut o[..n], &mut c[..n]);
    let (ri, rf, rg, ro) = (&ri[..n], &rf[..n], &rg[..n], &ro[..n]);
    let (bi, bf, bg, bo) = (&bi[..n], &bf[..n], &bg[..n], &bo[..n]);
    for k in 0..n {
        let input = sigmoid::<FMA>(i[k] + ri[k] + bi[k]);
        let forget = sigmoid::<FMA>(f[k] + rf[k] + bf[k]);
        let new = tanh::<FMA>(g[k] + rg[k] + bg[k]);
        let output = sigmoid::<FMA>(o[k] + ro[k] + bo[k]);
        let cell = fma::<FMA>(forget, c[k], input * new);
        (i[k], f[k], g[k], o[k]) = (input, forget, new, output);
        c[k] = cell;
        h[k] = output * tanh::<FMA>(cell);
    }
}

#[inline(always)]
fn lstm_grad_body<const FMA: bool>(
    i: &mut [f32],
    f: &mut [f32],
    g: &mut [f32],
    o: &mut [f32],
    cell: &[f32],
    cell_before: &[f32],
    dy: &[f32],
    dh: &mut [f32],
    dc: &mut [f32],
) {
    let n = dh.len();
    let (i, f, g, o, dc) = (&mut i[..n], &mut f[..n], &mut g[..n], &mut o[..n], &mut dc[..n]);
    let (cell, cell_before, dy) = (&cell[..n], &cell_before[..n], &dy[..n]);
    for k in 0..n {
        let (input, forget, new, output) = (i[k], f[k], g[k], o[k]);
        let bent = tanh::<FMA>(cell[k]);
        let d = dh[k] + dy[k];
        let d_cell = fma::<FMA>(d * output, fma::<FMA>(-bent, bent, 1.0), dc[k]);
        i[k] = d_cell * new * input * (1.0 - input);
        f[k] = d_cell * cell_before[k] * forget * (1.0 - forget);
        g[k] = d_cell * input * fma::<FMA>(-new, new, 1.0);
        o[k] = d * bent * output * (1.0 - output);
        dc[k] = d_cell * forget;
        dh[k] = 0.0;
    }
}

/// `n = tanh(x_n + r h_n)`, `h' = (1 - z) n + z h`, where `h_n` is the state's projection with its bias.
#[inline(always)]
fn gru_body<const FMA: bool>(
    r: &mut [f32],
    z: &mut [f32],
    new: &mut [f32],
    hidden_new: &mut [f32],
    rr: &[f32],
    rz: &[f32],
    rn: &[f32],
    br: &[f32],
    bz: &[f32],
    bn: &[f32],
    bh: &[f32],
    h: &mut [f32],
) {
    let n = h.len();
    let (r, z, new, hidden_new) = (&mut r[..n], &mut z[..n], &mut new[..n], &mut hidden_new[..n]);
    let (rr, rz, rn) = (&rr[..n], &rz[..n], &rn[..n]);
    let (br, bz, bn, bh) = (&br[..n], &bz[..n], &bn[..n], &bh[..n]);
    for k in 0..n {
        let reset = sigmoid::<FMA>(r[k] + rr[k] + br[k]);
        let update = sigmoid::<FMA>(z[k] + rz[k] + bz[k]);
        let hidden = rn[k] + bh[k];
        let candidate = tanh::<FMA>(fma::<FMA>(reset, hidden, new[k] + bn[k]));
        (r[k], z[k], new[k], hidden_new[k]) = (reset, update, candidate, hidden);
        h[k] = fma::<FMA>(update, h[k] - candidate, candidate);
    }
}

#[inline(always)]
fn gru_grad_body<const FMA: bool>(
    r: &mut [f32],
    z: &mut [f32],
    new: &mut [f32],
    hidden_new: &mut [f32],
    h_before: &[f32],
    dy: &[f32],
    dh: &mut [f32],
) {
    let n = dh.len();
    let (r, z, new, hidden_new) = (&mut r[..n], &mut z[..n], &mut new[..n], &mut hidden_new[..n]);
    let (h_before, dy) = (&h_before[..n], &dy[..n]);
    for k in 0..n {
        let (reset, update, candidate) = (r[k], z[k], new[k]);
        let d = dh[k] + dy[k];
        let d_candidate = d * (1.0 - update) * fma::<FMA>(-candidate, candidate, 1.0);
        r[k] = d_candidate * hidden_new[k] * reset * (1.0 - reset);
        z[k] = d * (h_before[k] - candidate) * update * (1.0 - update);
        new[k] = d_candidate;
        hidden_new[k] = d_candidate * reset;
        dh[k] = d * update;
    }
}

#[inline(always)]
fn plain_tanh_body<const FMA: bool>(gate: &mut [f32], recurrent: &[f32], bias: &[f32], h: &mut [f32]) {
    for (((gate, r), b), h) in gate.iter_mut().zip(recurrent).zip(bias).zip(h) {
        *h = tanh::<FMA>(*gate + r + b);
        *gate = *h;
    }
}

#[inline(always)]
fn plain_relu_body<const FMA: bool>(gate: &mut [f32], recurrent: &[f32], bias: &[f32], h: &mut [f32]) {
    for (((gate, r), b), h) in gate.iter_mut().zip(recurrent).zip(bias).zip(h) {
        let x = *gate + r + b;
        // Not `max`, which would hide a NaN.
        *h = if x < 0.0 { 0.0 } else { x };
        *gate = *h;
    }
}

#[inline(always)]
fn plain_tanh_grad_body<const FMA: bool>(gate: &mut [f32], dy: &[f32], dh: &mut [f32]) {
    for ((gate, dy), dh) in gate.iter_mut().zip(dy).zip(dh) {
        *gate = (*dh + dy) * fma::<FMA>(-*gate, *gate, 1.0);
        *dh = 0.0;
    }
}

#[inline(always)]
fn plain_relu_grad_body<const FMA: bool>(gate: &mut [f32], dy: &[f32], dh: &mut [f32]) {
    for ((gate, dy), dh) in gate.iter_mut().zip(dy).zip(dh) {
        *gate = if *gate <= 0.0 { 0.0 } else { *dh + dy };
        *dh = 0.0;
    }
}
