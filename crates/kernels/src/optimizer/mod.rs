//! Optimisers: one step on one parameter, in place and in one pass over its values; sums of squares for gradient
//! clipping.
//!
//! Each takes the gradient times `gradient_scale`: the division by the number of tokens and the clipping factor are
//! folded into the update, so that the gradients of a step are read once for their norm and once for the update, and
//! never written. Loops bound by memory leave out FMA contraction on purpose: every level then gives the same bits, at
//! no cost.

use crate::cpu::Level;
use rayon::prelude::*;

mod adafactor;
mod adamw;
mod lion;
mod muon;
mod sgd;
mod terms;
#[cfg(test)]
mod tests;

pub use adafactor::{Adafactor, adafactor_matrix, adafactor_vector};
pub use adamw::{AdamW, adamw};
pub use lion::{Lion, lion};
pub use muon::{Muon, muon, orthogonalized};
pub use sgd::{Sgd, sgd};
pub use terms::{GradientTerms, add_terms, average, noise};

/// Elements per task: a shape of the problem, not of the machine, so results never depend on threads. A single task
/// runs where it is called.
const CHUNK: usize = 1 << 15;

multiversion! {
    fn sum_squares_chunk(x: &[f32]) -> f64 = sum_squares_body;
    fn scale_chunk(x: &mut [f32], factor: f32) = scale_body;
}

/// Runs `update(chunk of p, chunk of g, chunk of m)` over three slices of one length.
fn update_in_place(p: &mut [f32], g: &[f32], m: &mut [f32], update: impl Fn(&mut [f32], &[f32], &mut [f32]) + Sync) {
    assert!(p.len() == g.len() && g.len() == m.len(), "lengths {} {} {}", p.len(), g.len(), m.len());
    if p.len() <= CHUNK {
        return update(p, g, m);
    }
    p.par_chunks_mut(CHUNK)
        .zip(g.par_chunks(CHUNK))
        .zip(m.par_chunks_mut(CHUNK))
        .for_each(|((p, g), m)| update(p, g, m));
}

/// Runs `update(chunk of p, chunk of g)` over two slices of one length.
fn update_pair(p: &mut [f32], g: &[f32], update: impl Fn(&mut [f32], &[f32]) + Sync) {
    assert_eq!(p.len(), g.len(), "parameter and gradient");
    if p.len() <= CHUNK {
        return update(p, g);
    }
    p.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK)).for_each(|(p, g)| update(p, g));
}

/// Sum of squares in f64, in a fixed order.
pub fn sum_squares(x: &[f32]) -> f64 {
    sum_squares_at(Level::best(), x)
}

fn sum_squares_at(level: Level, x: &[f32]) -> f64 {
    if x.len() <= CHUNK {
        return sum_squares_chunk(level, x);
    }
    let parts: Vec<f64> = x.par_chunks(CHUNK).map(|c| sum_squares_chunk(level, c)).collect();
    parts.iter().sum()
}

#[inline(always)]
fn sum_squares_body<const FMA: bool>(x: &[f32]) -> f64 {
    let mut acc = [0f64; 32];
    let chunks = x.chunks_exact(32);
    let tail = chunks.remainder();
    for c in chunks {
        for (acc, x) in acc.iter_mut().zip(c) {
            *acc += f64::from(*x) * f64::from(*x);
        }
    }
    for (acc, x) in acc.iter_mut().zip(tail) {
        *acc += f64::from(*x) * f64::from(*x);
    }
    acc.iter().sum()
}

/// `x *= factor`.
pub fn scale(x: &mut [f32], factor: f32) {
    x.par_chunks_mut(CHUNK).for_each(|c| scale_chunk(Level::best(), c, factor));
}

#[inline(always)]
fn scale_body<const FMA: bool>(x: &mut [f32], factor: f32) {
    x.iter_mut().for_each(|x| *x *= factor);
}
