//! Distances between distributions, for distillation.

use super::Loss;
use crate::log_softmax;
use burn::prelude::*;

/// Kullback-Leibler divergence from a teacher (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network"): with
/// `p = softmax(teacher / T)` and `q = softmax(student / T)` a row has
///
/// ```text
/// T^2 sum_c p_c (ln p_c - ln q_c)
/// ```
///
/// The factor keeps gradients as large at every temperature. At T = 1 the mean is PyTorch's `kl_div` with `batchmean`.
///
/// * `student`, `teacher`: logits (rows, classes), finite; no gradient flows to the teacher
///
/// # Panics
/// If the shapes differ.
pub fn kl_divergence(student: Tensor<2>, teacher: Tensor<2>, temperature: f64) -> Loss {
    let (log_q, log_p) = distributions(student, teacher, temperature);
    let rows = log_q.dims()[0];
    let sum = (log_p.clone().exp() * (log_p - log_q)).sum();
    Loss { sum: sum.mul_scalar(temperature * temperature), count: rows as f64 }
}

/// Jensen-Shannon divergence (Lin 1991): with p and q as in [`kl_divergence`] and `m = (p + q) / 2` a row has
///
/// ```text
/// T^2 (KL(p || m) + KL(q || m)) / 2
/// ```
///
/// It is symmetric and at most `T^2 ln 2`: softer than [`kl_divergence`] on classes that the student gives no probability.
/// Shapes and panics as there.
pub fn js_divergence(student: Tensor<2>, teacher: Tensor<2>, temperature: f64) -> Loss {
    let (log_q, log_p) = distributions(student, teacher, temperature);
    let rows = log_q.dims()[0];
    let (q, p) = (log_q.clone().exp(), log_p.clone().exp());
    // Where both are 0 nothing is added, whatever the logarithm of m.
    let log_m = (q.clone() + p.clone()).mul_scalar(0.5).clamp_min(f32::MIN_POSITIVE).log();
    let sum = (p * (log_p - log_m.clone()) + q * (log_q - log_m)).sum();
    Loss { sum: sum.mul_scalar(0.5 * temperature * temperature), count: rows as f64 }
}

/// Log-probabilities of the student and of the teacher.
fn distributions(student: Tensor<2>, teacher: Tensor<2>, temperature: f64) -> (Tensor<2>, Tensor<2>) {
    assert_eq!(student.dims(), teacher.dims(), "student and teacher");
    let at = |logits: Tensor<2>| log_softmax(logits.div_scalar(temperature));
    (at(student), at(teacher.detach()))
}
