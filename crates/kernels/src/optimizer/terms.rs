//! What regularisation adds to a gradient before any optimiser sees it, and the average of weights over steps.

use super::{CHUNK, update_pair};
use crate::cpu::Level;
use crate::random::philox;
use rayon::prelude::*;

/// `g = gradient_scale g + l1 sign(p) + l2 p + noise N(0, 1)`: the subgradient of `l1 |p|_1`, the gradient of
/// `l2 / 2 |p|^2`, and noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradientTerms {
    /// Factor on the gradient: the clipping factor, 1 for none.
    pub gradient_scale: f64,
    pub l1: f64,
    pub l2: f64,
    /// Standard deviation of the noise.
    pub noise: f64,
    /// Decides the noise; see [`noise`].
    pub key: u64,
}

impl Default for GradientTerms {
    fn default() -> Self {
        GradientTerms { gradient_scale: 1.0, l1: 0.0, l2: 0.0, noise: 0.0, key: 0 }
    }
}

#[derive(Clone, Copy)]
struct Factors {
    scale: f32,
    l1: f32,
    l2: f32,
}

multiversion! {
    fn terms_chunk(h: &Factors, g: &mut [f32], p: &[f32]) = terms_body;
    fn average_chunk(share: f32, average: &mut [f32], p: &[f32]) = average_body;
}

#[inline(always)]
fn terms_body<const FMA: bool>(h: &Factors, g: &mut [f32], p: &[f32]) {
    for (g, p) in g.iter_mut().zip(p) {
        // `signum` has no zero; a weight of 0 stays there.
        let sign = if *p == 0.0 { 0.0 } else { p.signum() };
        *g = h.scale * *g + h.l1 * sign + h.l2 * *p;
    }
}

#[inline(always)]
fn average_body<const FMA: bool>(share: f32, average: &mut [f32], p: &[f32]) {
    for (a, p) in average.iter_mut().zip(p) {
        *a += share * (*p - *a);
    }
}

/// Changes the gradient `g` of parameter `p` in place.
///
/// # Panics
/// If the slices differ in length.
pub fn add_terms(h: &GradientTerms, g: &mut [f32], p: &[f32]) {
    add_terms_at(Level::best(), h, g, p);
}

pub(super) fn add_terms_at(level: Level, h: &GradientTerms, g: &mut [f32], p: &[f32]) {
    let factors = Factors { scale: h.gradient_scale as f32, l1: h.l1 as f32, l2: h.l2 as f32 };
    update_pair(g, p, |g, p| terms_chunk(level, &factors, g, p));
    if h.noise != 0.0 {
        let deviation = h.noise as f32;
        g.par_chunks_mut(CHUNK).enumerate().for_each(|(n, chunk)| {
            let first = (n * CHUNK / 4) as u64;
            for (block, values) in chunk.chunks_mut(4).enumerate() {
                let normal = normal(h.key, first + block as u64);
                values.iter_mut().zip(normal).for_each(|(g, x)| *g += deviation * x);
            }
        });
    }
}

/// The first `len` numbers of the standard normal distribution under `key`: what [`add_terms`] adds.
pub fn noise(key: u64, len: usize) -> Vec<f32> {
    let mut values: Vec<f32> = (0..len.div_ceil(4) as u64).flat_map(|block| normal(key, block)).collect();
    values.truncate(len);
    values
}

/// Four normal numbers from the four words of one counter (Box and Muller 1958).
fn normal(key: u64, block: u64) -> [f32; 4] {
    let words = philox(key, [block as u32, (block >> 32) as u32, 0, 0]);
    let unit = |word: u32| (f64::from(word) + 0.5) / 4_294_967_296.0;
    let pair = |a: u32, b: u32| {
        let (radius, angle) = ((-2.0 * unit(a).ln()).sqrt(), std::f64::consts::TAU * unit(b));
        [(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]
    };
    let ([a, b], [c, d]) = (pair(words[0], words[1]), pair(words[2], words[3]));
    [a, b, c, d]
}

/// `average += share (p - average)`, in place.
///
/// # Panics
/// If the slices differ in length.
pub fn average(share: f64, average: &mut [f32], p: &[f32]) {
    update_pair(average, p, |a, p| average_chunk(Level::best(), share as f32, a, p));
}
