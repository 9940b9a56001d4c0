//! Optimiser arithmetic: AdamW in place, sums of squares for gradient clipping.

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

/// Elements per task: a shape of the problem, not of the machine, so results never depend on threads. A single task
/// runs where it is called.
const CHUNK: usize = 1 << 15;

/// Update `p`, `m` and `v` in place from gradient `g`.
///
/// # Panics
/// If the four slices differ in length.
pub fn adamw(h: &AdamW, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
    adamw_at(Level::best(), h, p, g, m, v);
}

fn adamw_at(level: Level, h: &AdamW, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
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

multiversion! {
    fn adamw_chunk(h: &Factors, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) = adamw_body;
    fn sum_squares_chunk(x: &[f32]) -> f64 = sum_squares_body;
    fn scale_chunk(x: &mut [f32], factor: f32) = scale_body;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The paper's algorithm 2, in f64.
    fn reference(h: &AdamW, p: &mut f64, g: f64, m: &mut f64, v: &mut f64) {
        let g = g * h.gradient_scale;
        *m = h.beta1 * *m + (1.0 - h.beta1) * g;
        *v = h.beta2 * *v + (1.0 - h.beta2) * g * g;
        let m_hat = *m / (1.0 - h.beta1.powi(h.step as i32));
        let v_hat = *v / (1.0 - h.beta2.powi(h.step as i32));
        *p -= h.lr * (m_hat / (v_hat.sqrt() + h.eps) + h.weight_decay * *p);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn several_steps_follow_the_paper(n in 0usize..70, gradients in prop::collection::vec(-3f32..3.0, 70 * 3)) {
            for level in Level::available() {
                let (mut p, mut m, mut v) = (vec![0.5f32; n], vec![0f32; n], vec![0f32; n]);
                let mut want = vec![(0.5f64, 0f64, 0f64); n];
                for step in 0..3 {
                    let h = AdamW { lr: 0.01, weight_decay: 0.1, step: step as u64 + 1, gradient_scale: 0.7, ..AdamW::default() };
                    let g = &gradients[step * 70..step * 70 + n];
                    adamw_at(level, &h, &mut p, g, &mut m, &mut v);
                    for (w, g) in want.iter_mut().zip(g) {
                        reference(&h, &mut w.0, f64::from(*g), &mut w.1, &mut w.2);
                    }
                }
                for (p, w) in p.iter().zip(&want) {
                    prop_assert!((f64::from(*p) - w.0).abs() < 2e-6, "{}: {p} {}", level.name(), w.0);
                }
            }
        }

        #[test]
        fn sum_of_squares_is_exact_to_f64(x in prop::collection::vec(-9f32..9.0, 0..100)) {
            let want: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
            for level in Level::available() {
                prop_assert!((sum_squares_at(level, &x) - want).abs() <= 1e-12 * want.max(1.0));
            }
        }
    }

    #[test]
    fn every_level_gives_the_same_bits() {
        let n = 2 * CHUNK + 17;
        let g: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
        let run = |level| {
            let (mut p, mut m, mut v) = (g.clone(), vec![0f32; n], vec![0f32; n]);
            adamw_at(level, &AdamW::default(), &mut p, &g, &mut m, &mut v);
            (p, sum_squares_at(level, &g).to_bits())
        };
        let first = run(Level::available()[0]);
        for level in Level::available() {
            assert_eq!(run(level), first);
        }
    }
}
