//! AdamW.

use super::CHUNK;
use crate::cpu::Level;
use rayon::prelude::*;

/// One AdamW step with decoupled weight decay (Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization").
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled decay: each step multiplies the parameter by `1 - lr * weight_decay`.
    pub weight_decay: f64,
    /// Number of this step, counted from 1 (bias correction).
    pub step: u64,
    /// Factor on the gradient before it is used: the clipping factor, 1 for none.
    pub gradient_scale: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, step: 1, gradient_scale: 1.0 }
    }
}

/// The step's factors, computed once in f64.
#[derive(Clone, Copy)]
struct Factors {
    decay: f32,
    beta1: f32,
    beta2: f32,
    rest1: f32,
    rest2: f32,
    step_size: f32,
    root_scale: f32,
    eps: f32,
    gradient_scale: f32,
}

impl AdamW {
    fn factors(&self) -> Factors {
        let correction1 = 1.0 - self.beta1.powf(self.step as f64);
        let correction2 = 1.0 - self.beta2.powf(self.step as f64);
        Factors {
            decay: (1.0 - self.lr * self.weight_decay) as f32,
            beta1: self.beta1 as f32,
            beta2: self.beta2 as f32,
            rest1: (1.0 - self.beta1) as f32,
            rest2: (1.0 - self.beta2) as f32,
            step_size: (self.lr / correction1) as f32,
            root_scale: (1.0 / correction2.sqrt()) as f32,
            eps: self.eps as f32,
            gradient_scale: self.gradient_scale as f32,
        }
    }
}

multiversion! {
    fn adamw_chunk(h: &Factors, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) = adamw_body;
}

/// Without FMA contraction on purpose: every level gives the same bits here, at no cost in a loop bound by memory.
#[inline(always)]
fn adamw_body<const FMA: bool>(h: &Factors, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
    for (((p, g), m), v) in p.iter_mut().zip(g).zip(m.iter_mut()).zip(v.iter_mut()) {
        let g = *g * h.gradient_scale;
        *m = h.beta1 * *m + h.rest1 * g;
        *v = h.beta2 * *v + h.rest2 * g * g;
        *p = h.decay * *p - h.step_size * *m / (v.sqrt() * h.root_scale + h.eps);
    }
}

/// Update `p`, `m` and `v` in place from gradient `g`.
///
/// # Panics
/// If the four slices differ in length.
pub fn adamw(h: &AdamW, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
    adamw_at(Level::best(), h, p, g, m, v);
}

pub(super) fn adamw_at(level: Level, h: &AdamW, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
    assert!(
        p.len() == g.len() && g.len() == m.len() && m.len() == v.len(),
        "lengths {} {} {} {}",
        p.len(),
        g.len(),
        m.len(),
        v.len()
    );
    let factors = h.factors();
    if p.len() <= CHUNK {
        return adamw_chunk(level, &factors, p, g, m, v);
    }
    p.par_chunks_mut(CHUNK)
        .zip(g.par_chunks(CHUNK))
        .zip(m.par_chunks_mut(CHUNK))
        .zip(v.par_chunks_mut(CHUNK))
        .for_each(|(((p, g), m), v)| adamw_chunk(level, &factors, p, g, m, v));
}
