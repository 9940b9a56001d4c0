//! SwiGLU and GeGLU (Shazeer 2020, "GLU Variants Improve Transformer"), on one tensor that holds both halves; SwiGLU also
//! on two tensors.

use super::pointwise::gelu_tanh_parts;
use super::sigmoid;
use crate::cpu::Level;
use crate::elementwise::{CHUNK, map_rows, map2, rows_per_task};
use crate::math::{Unwritten, as_unwritten, filled, fma};
use crate::values::{ValueVec, Values, narrow, narrowed, widen};
use half::bf16;
use rayon::prelude::*;
use std::borrow::Cow;
use std::mem::MaybeUninit;

multiversion! {
    fn swiglu_chunk(gate: &[f32], up: &[f32], y: &mut Unwritten) = swiglu_body;
    fn swiglu_grad_chunk(gate: &[f32], up: &[f32], g: &[f32], d_gate: &mut Unwritten, d_up: &mut Unwritten) = swiglu_grad_body;
    fn swiglu_rows(x: &[f32], width: usize, y: &mut Unwritten) = swiglu_rows_body;
    fn swiglu_grad_rows(x: &[f32], width: usize, g: &[f32], dx: &mut Unwritten) = swiglu_grad_rows_body;
    fn geglu_rows(x: &[f32], width: usize, y: &mut Unwritten) = geglu_rows_body;
    fn geglu_grad_rows(x: &[f32], width: usize, g: &[f32], dx: &mut Unwritten) = geglu_grad_rows_body;
}

/// What a gate does to joined rows: values from (rows [gate | up], width), and gradients from these and those of values.
#[derive(Clone, Copy)]
pub(super) struct Gate {
    rows: fn(Level, &[f32], usize, &mut Unwritten),
    grad_rows: fn(Level, &[f32], usize, &[f32], &mut Unwritten),
}

pub(super) const SWIGLU: Gate = Gate { rows: swiglu_rows, grad_rows: swiglu_grad_rows };
pub(super) const GEGLU: Gate = Gate { rows: geglu_rows, grad_rows: geglu_grad_rows };

#[inline(always)]
fn swiglu_body<const FMA: bool>(gate: &[f32], up: &[f32], y: &mut Unwritten) {
    for ((a, b), y) in gate.iter().zip(up).zip(y) {
        y.write(a * sigmoid::<FMA>(*a) * b);
    }
}

#[inline(always)]
fn swiglu_grad_body<const FMA: bool>(
    gate: &[f32],
    up: &[f32],
    g: &[f32],
    d_gate: &mut Unwritten,
    d_up: &mut Unwritten,
) {
    for ((((a, b), g), da), db) in gate.iter().zip(up).zip(g).zip(d_gate).zip(d_up) {
        let s = sigmoid::<FMA>(*a);
        let silu = a * s;
        da.write(g * b * fma::<FMA>(silu, 1.0 - s, s));
        db.write(g * silu);
    }
}

#[inline(always)]
fn geglu_body<const FMA: bool>(gate: &[f32], up: &[f32], y: &mut Unwritten) {
    for ((a, b), y) in gate.iter().zip(up).zip(y) {
        y.write(a * gelu_tanh_parts::<FMA>(*a).0 * b);
    }
}

#[inline(always)]
fn geglu_grad_body<const FMA: bool>(gate: &[f32], up: &[f32], g: &[f32], d_gate: &mut Unwritten, d_up: &mut Unwritten) {
    for ((((a, b), g), da), db) in gate.iter().zip(up).zip(g).zip(d_gate).zip(d_up) {
        let (share, slope) = gelu_tanh_parts::<FMA>(*a);
        da.write(g * b * slope);
        db.write(g * a * share);
    }
}

#[inline(always)]
fn swiglu_rows_body<const FMA: bool>(x: &[f32], width: usize, y: &mut Unwritten) {
    each_row(x, width, y, swiglu_body::<FMA>);
}

#[inline(always)]
fn geglu_rows_body<const FMA: bool>(x: &[f32], width: usize, y: &mut Unwritten) {
    each_row(x, width, y, geglu_body::<FMA>);
}

#[inline(always)]
fn swiglu_grad_rows_body<const FMA: bool>(x: &[f32], width: usize, g: &[f32], dx: &mut Unwritten) {
    each_grad_row(x, width, g, dx, swiglu_grad_body::<FMA>);
}

#[inline(always)]
fn geglu_grad_rows_body<const FMA: bool>(x: &[f32], width: usize, g: &[f32], dx: &mut Unwritten) {
    each_grad_row(x, width, g, dx, geglu_grad_body::<FMA>);
}

#[inline(always)]
fn each_row(x: &[f32], width: usize, y: &mut Unwritten, body: impl Fn(&[f32], &[f32], &mut Unwritten)) {
    for (x, y) in x.chunks_exact(2 * width).zip(y.chunks_exact_mut(width)) {
        let (gate, up) = x.split_at(width);
        body(gate, up, y);
    }
}

#[inline(always)]
fn each_grad_row(
    x: &[f32],
    width: usize,
    g: &[f32],
    dx: &mut Unwritten,
    body: impl Fn(&[f32], &[f32], &[f32], &mut Unwritten, &mut Unwritten),
) {
    for ((x, g), dx) in x.chunks_exact(2 * width).zip(g.chunks_exact(width)).zip(dx.chunks_exact_mut(2 * width)) {
        let (gate, up) = x.split_at(width);
        let (d_gate, d_up) = dx.split_at_mut(width);
        body(gate, up, g, d_gate, d_up);
    }
}

/// `silu(gate) * up`.
///
/// # Panics
/// If the lengths differ.
pub fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    swiglu_at(Level::best(), gate, up)
}

pub(super) fn swiglu_at(level: Level, gate: &[f32], up: &[f32]) -> Vec<f32> {
    map2(gate, up, |gate, up, y| swiglu_chunk(level, gate, up, y))
}

/// Gradients of [`swiglu`] to (gate, up) from the gradient `g` of its result.
///
/// # Panics
/// If the lengths differ.
pub fn swiglu_grad(gate: &[f32], up: &[f32], g: &[f32]) -> (Vec<f32>, Vec<f32>) {
    swiglu_grad_at(Level::best(), gate, up, g)
}

pub(super) fn swiglu_grad_at(level: Level, gate: &[f32], up: &[f32], g: &[f32]) -> (Vec<f32>, Vec<f32>) {
    assert!(gate.len() == up.len() && up.len() == g.len(), "gate, up and gradient");
    let mut d_up = Vec::new();
    // SAFETY: chunks of equal position and length cover all elements of both outputs, and the body writes each.
    let d_gate = unsafe {
        filled(gate.len(), |d_gate| {
            d_up = filled(gate.len(), |d_up| {
                d_gate
                    .par_chunks_mut(CHUNK)
                    .zip(d_up.par_chunks_mut(CHUNK))
                    .zip(gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)).zip(g.par_chunks(CHUNK)))
                    .for_each(|((da, db), ((a, b), g))| swiglu_grad_chunk(level, a, b, g, da, db));
            });
        })
    };
    (d_gate, d_up)
}

/// [`swiglu`] of rows [gate | up] of `2 * width` values, as one product with both weights gives them: rows of `width`.
///
/// # Panics
/// If `x` is not whole rows.
pub fn swiglu_joined(x: &[f32], width: usize) -> Vec<f32> {
    joined_at(Level::best(), x, width, SWIGLU)
}

pub(super) fn joined_at(level: Level, x: &[f32], width: usize, gate: Gate) -> Vec<f32> {
    check(x, width);
    map_rows(x, 2 * width, width, |_, x, y| (gate.rows)(level, x, width, y))
}

/// Gradient of [`swiglu_joined`] to its rows [gate | up], from the gradient `g` of its result.
///
/// # Panics
/// If `x` is not whole rows, or `g` not half as long.
pub fn swiglu_joined_grad(x: &[f32], width: usize, g: &[f32]) -> Vec<f32> {
    joined_grad_at(Level::best(), x, width, g, SWIGLU)
}

pub(super) fn joined_grad_at(level: Level, x: &[f32], width: usize, g: &[f32], gate: Gate) -> Vec<f32> {
    check(x, width);
    assert_eq!(x.len(), 2 * g.len(), "values and gradient");
    let run = rows_per_task(2 * width);
    // SAFETY: the chunks cover all rows, and the body writes both halves of each.
    unsafe {
        filled(x.len(), |dx| {
            if g.len() <= run * width {
                return (gate.grad_rows)(level, x, width, g, dx);
            }
            dx.par_chunks_mut(2 * run * width)
                .zip(x.par_chunks(2 * run * width))
                .zip(g.par_chunks(run * width))
                .for_each(|((dx, x), g)| (gate.grad_rows)(level, x, width, g, dx));
        })
    }
}

/// A gate's values from joined rows of either format, to the same format.
pub(super) fn joined_values(level: Level, x: Values<'_>, width: usize, gate: Gate) -> ValueVec {
    let x = match x {
        Values::F32(x) => return ValueVec::F32(joined_at(level, x, width, gate)),
        Values::Bf16(x) => x,
    };
    assert!(width > 0 && x.len().is_multiple_of(2 * width), "{} values in rows of 2 * {width}", x.len());
    let run = rows_per_task(2 * width);
    let task = |(y, x): (&mut [MaybeUninit<bf16>], &[bf16])| {
        let (mut from, mut to) = (vec![0f32; 2 * width], vec![0f32; width]);
        for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(2 * width)) {
            widen(level, x, &mut from);
            (gate.rows)(level, &from, width, as_unwritten(&mut to));
            narrow(level, &to, y);
        }
    };
    // SAFETY: the chunks cover all rows, and each is written.
    ValueVec::Bf16(unsafe {
        filled(x.len() / 2, |y| y.par_chunks_mut(run * width).zip(x.par_chunks(2 * run * width)).for_each(task))
    })
}

/// A gate's gradient to joined rows of either format; the gradient becomes what the values are.
pub(super) fn joined_values_grad(level: Level, x: Values<'_>, width: usize, g: Values<'_>, gate: Gate) -> ValueVec {
    let (x, g) = match (x, g) {
        (Values::F32(x), g) => return ValueVec::F32(joined_grad_at(level, x, width, &g.widened(), gate)),
        (Values::Bf16(x), Values::F32(g)) => (x, Cow::Owned(narrowed(g))),
        (Values::Bf16(x), Values::Bf16(g)) => (x, Cow::Borrowed(g)),
    };
    assert!(width > 0 && x.len().is_multiple_of(2 * width), "{} values in rows of 2 * {width}", x.len());
    assert_eq!(x.len(), 2 * g.len(), "values and gradient");
    let run = rows_per_task(2 * width);
    let task = |((dx, x), g): ((&mut [MaybeUninit<bf16>], &[bf16]), &[bf16])| {
        let (mut from, mut gradient, mut to) = (vec![0f32; 2 * width], vec![0f32; width], vec![0f32; 2 * width]);
        let rows = dx.chunks_exact_mut(2 * width).zip(x.chunks_exact(2 * width)).zip(g.chunks_exact(width));
        for ((dx, x), g) in rows {
            widen(level, x, &mut from);
            widen(level, g, &mut gradient);
            (gate.grad_rows)(level, &from, width, &gradient, as_unwritten(&mut to));
            narrow(level, &to, dx);
        }
    };
    let (wide, half) = (2 * run * width, run * width);
    // SAFETY: the chunks cover all rows, and each is written.
    ValueVec::Bf16(unsafe {
        filled(x.len(), |dx| {
            dx.par_chunks_mut(wide).zip(x.par_chunks(wide)).zip(g.par_chunks(half)).for_each(task);
        })
    })
}

fn check(x: &[f32], width: usize) {
    assert!(width > 0 && x.len().is_multiple_of(2 * width), "{} values in rows of 2 * {width}", x.len());
}
