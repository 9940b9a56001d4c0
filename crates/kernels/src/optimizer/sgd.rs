//! Stochastic gradient descent.

use super::update_in_place;
use crate::cpu::Level;

/// One step of gradient descent with momentum (Sutskever et al. 2013), by PyTorch's formulas without dampening:
/// `g += weight_decay p; b = momentum b + g; p -= lr (g + momentum b)` with Nesterov's form, else `p -= lr b`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the momentum buffer; at 0 it is left alone.
    pub momentum: f64,
    /// Look ahead by one more momentum step.
    pub nesterov: bool,
    /// Added to the gradient as `weight_decay * p`: coupled, unlike [`super::AdamW`]'s.
    pub weight_decay: f64,
    /// Factor on the gradient before it is used: the clipping factor, 1 for none.
    pub gradient_scale: f64,
}

impl Default for Sgd {
    fn default() -> Self {
        Sgd { lr: 1e-3, momentum: 0.0, nesterov: false, weight_decay: 0.0, gradient_scale: 1.0 }
    }
}

#[derive(Clone, Copy)]
struct Factors {
    lr: f32,
    momentum: f32,
    /// Part of the momentum buffer in the step, and of the gradient.
    of_buffer: f32,
    of_gradient: f32,
    decay: f32,
    gradient_scale: f32,
}

multiversion! {
    fn momentum_chunk(h: &Factors, p: &mut [f32], g: &[f32], b: &mut [f32]) = momentum_body;
    fn plain_chunk(h: &Factors, p: &mut [f32], g: &[f32]) = plain_body;
}

#[inline(always)]
fn momentum_body<const FMA: bool>(h: &Factors, p: &mut [f32], g: &[f32], b: &mut [f32]) {
    for ((p, g), b) in p.iter_mut().zip(g).zip(b.iter_mut()) {
        let g = *g * h.gradient_scale + h.decay * *p;
        *b = h.momentum * *b + g;
        *p -= h.lr * (h.of_gradient * g + h.of_buffer * *b);
    }
}

#[inline(always)]
fn plain_body<const FMA: bool>(h: &Factors, p: &mut [f32], g: &[f32]) {
    for (p, g) in p.iter_mut().zip(g) {
        let g = *g * h.gradient_scale + h.decay * *p;
        *p -= h.lr * g;
    }
}

/// Update `p` and its momentum buffer in place from gradient `g`. The buffer starts at 0, and without momentum may be
/// empty.
///
/// # Panics
/// If the slices differ in length.
pub fn sgd(h: &Sgd, p: &mut [f32], g: &[f32], buffer: &mut [f32]) {
    sgd_at(Level::best(), h, p, g, buffer);
}

pub(super) fn sgd_at(level: Level, h: &Sgd, p: &mut [f32], g: &[f32], buffer: &mut [f32]) {
    let (of_gradient, of_buffer) = if h.nesterov { (1.0, h.momentum) } else { (0.0, 1.0) };
    let factors = Factors {
        lr: h.lr as f32,
        momentum: h.momentum as f32,
        of_buffer: of_buffer as f32,
        of_gradient,
        decay: h.weight_decay as f32,
        gradient_scale: h.gradient_scale as f32,
    };
    if h.momentum == 0.0 {
        return super::update_pair(p, g, |p, g| plain_chunk(level, &factors, p, g));
    }
    update_in_place(p, g, buffer, |p, g, b| momentum_chunk(level, &factors, p, g, b));
}
