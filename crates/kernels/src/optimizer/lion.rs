//! Lion.

use super::update_in_place;
use crate::cpu::Level;

/// One Lion step (Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", program 1):
/// `p -= lr (sign(beta1 m + (1 - beta1) g) + weight_decay p); m = beta2 m + (1 - beta2) g`.
/// The authors advise a learning rate 3 to 10 times below AdamW's, and a weight decay as many times above.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lion {
    /// Learning rate of this step.
    pub lr: f64,
    /// Share of the momentum in the direction of the step.
    pub beta1: f64,
    /// Decay of the momentum.
    pub beta2: f64,
    /// Decoupled decay: each step multiplies the parameter by `1 - lr * weight_decay`.
    pub weight_decay: f64,
    /// Factor on the gradient before it is used: the clipping factor, 1 for none.
    pub gradient_scale: f64,
}

impl Default for Lion {
    fn default() -> Self {
        Lion { lr: 1e-4, beta1: 0.9, beta2: 0.99, weight_decay: 0.0, gradient_scale: 1.0 }
    }
}

#[derive(Clone, Copy)]
struct Factors {
    lr: f32,
    decay: f32,
    beta1: f32,
    beta2: f32,
    rest1: f32,
    rest2: f32,
    gradient_scale: f32,
}

multiversion! {
    fn lion_chunk(h: &Factors, p: &mut [f32], g: &[f32], m: &mut [f32]) = lion_body;
}

#[inline(always)]
fn lion_body<const FMA: bool>(h: &Factors, p: &mut [f32], g: &[f32], m: &mut [f32]) {
    for ((p, g), m) in p.iter_mut().zip(g).zip(m.iter_mut()) {
        let g = *g * h.gradient_scale;
        let direction = h.beta1 * *m + h.rest1 * g;
        // `signum` has no zero; a parameter without gradient must stay, and NaN must show.
        let sign = if direction == 0.0 { 0.0 } else { direction.signum() };
        *p = h.decay * *p - h.lr * sign;
        *m = h.beta2 * *m + h.rest2 * g;
    }
}

/// Update `p` and its momentum `m` (0 at first) in place from gradient `g`.
///
/// # Panics
/// If the slices differ in length.
pub fn lion(h: &Lion, p: &mut [f32], g: &[f32], m: &mut [f32]) {
    lion_at(Level::best(), h, p, g, m);
}

pub(super) fn lion_at(level: Level, h: &Lion, p: &mut [f32], g: &[f32], m: &mut [f32]) {
    let factors = Factors {
        lr: h.lr as f32,
        decay: (1.0 - h.lr * h.weight_decay) as f32,
        beta1: h.beta1 as f32,
        beta2: h.beta2 as f32,
        rest1: (1.0 - h.beta1) as f32,
        rest2: (1.0 - h.beta2) as f32,
        gradient_scale: h.gradient_scale as f32,
    };
    update_in_place(p, g, m, |p, g, m| lion_chunk(level, &factors, p, g, m));
}
