//! The loss of one token from its row of logits, and the gradient written over them.

use crate::math::{exp, fma, map_and_sum, sum_map, sum_zip};
use crate::softmax::row_max;

/// Factors of the terms; see the module above.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coefficients {
    pub hard: f32,
    pub soft: f32,
    pub smoothing: f32,
    pub z_loss: f32,
}

multiversion! {
    /// Loss without the token's weight; where `gradient`, the row becomes the gradient of the weighted loss.
    pub(super) fn hard_row(logits: &mut [f32], target: usize, c: &Coefficients, weight: f32, gradient: bool) -> f32 = hard_body;
    /// [`hard_row`] with probabilities beside the target.
    pub(super) fn probabilities_row(logits: &mut [f32], target: usize, c: &Coefficients, weight: f32, gradient: bool, q: &[f32]) -> f32 = probabilities_body;
    /// [`hard_row`] with a teacher's logits at a temperature beside the target.
    pub(super) fn teacher_row(logits: &mut [f32], target: usize, c: &Coefficients, weight: f32, gradient: bool, teacher: &[f32], temperature: f32) -> f32 = teacher_body;
}

/// The hard term from ln Z: `(1 - s) (ln Z - l_y) + s (ln Z - mean l)`.
#[inline(always)]
fn hard_term(c: &Coefficients, log_z: f32, chosen: f32, logits: &[f32]) -> f32 {
    if c.smoothing == 0.0 {
        return log_z - chosen;
    }
    let mean = sum_map(logits, |l| l) / logits.len() as f32;
    (1.0 - c.smoothing) * (log_z - chosen) + c.smoothing * (log_z - mean)
}

/// Three passes over a row that lies in the nearest caches: the maximum, the exponentials and their sum, the scaling.
/// Forming the exponentials once is worth more than a pass less.
#[inline(always)]
fn hard_body<const FMA: bool>(logits: &mut [f32], target: usize, c: &Coefficients, weight: f32, gradient: bool) -> f32 {
    let top = row_max(logits);
    let n = logits.len();
    let chosen = logits[target];
    // The differences from the maximum are exact enough where the logits themselves are large.
    let smoothed = if c.smoothing == 0.0 { 0.0 } else { sum_map(logits, |l| l - top) / n as f32 };
    let sum =
        if gradient { map_and_sum(logits, |l| exp::<FMA>(l - top)) } else { sum_map(logits, |l| exp::<FMA>(l - top)) };
    let rest = sum.ln();
    let log_z = top + rest;
    if gradient {
        let scale = weight * (1.0 + 2.0 * c.z_loss * log_z) / sum;
        let even = weight * c.smoothing / n as f32;
        if even == 0.0 {
            logits.iter_mut().for_each(|l| *l *= scale);
        } else {
            logits.iter_mut().for_each(|l| *l = fma::<FMA>(*l, scale, -even));
        }
        logits[target] -= weight * (1.0 - c.smoothing);
    }
    let plain = top - chosen + rest;
    let hard = if c.smoothing == 0.0 { plain } else { (1.0 - c.smoothing) * plain + c.smoothing * (rest - smoothed) };
    if c.z_loss == 0.0 { hard } else { fma::<FMA>(c.z_loss * log_z, log_z, hard) }
}

#[inline(always)]
fn probabilities_body<const FMA: bool>(
    logits: &mut [f32],
    target: usize,
    c: &Coefficients,
    weight: f32,
    gradient: bool,
    q: &[f32],
) -> f32 {
    let n = logits.len();
    let q = &q[..n];
    let top = row_max(logits);
    let rest = sum_map(logits, |l| exp::<FMA>(l - top)).ln();
    let log_z = top + rest;
    let soft = sum_zip(q, logits, |q, l| q * (rest - (l - top)));
    let hard = hard_term(c, log_z, logits[target], logits);
    if gradient {
        let mass = sum_map(q, |q| q);
        let scale = weight * (c.hard + c.soft * mass + 2.0 * c.z_loss * log_z);
        let (even, soft) = (weight * c.hard * c.smoothing / n as f32, weight * c.soft);
        for (l, q) in logits.iter_mut().zip(q) {
            *l = fma::<FMA>(exp::<FMA>(*l - log_z), scale, -fma::<FMA>(soft, *q, even));
        }
        logits[target] -= weight * c.hard * (1.0 - c.smoothing);
    }
    c.hard * hard + c.soft * soft + c.z_loss * log_z * log_z
}

#[inline(always)]
fn teacher_body<const FMA: bool>(
    logits: &mut [f32],
    target: usize,
    c: &Coefficients,
    weight: f32,
    gradient: bool,
    teacher: &[f32],
    temperature: f32,
) -> f32 {
    let n = logits.len();
    let teacher = &teacher[..n];
    let cool = 1.0 / temperature;
    let (top, top_teacher) = (row_max(logits), row_max(teacher));
    let log_z = top + sum_map(logits, |l| exp::<FMA>(l - top)).ln();
    let rest = sum_map(logits, |l| exp::<FMA>((l - top) * cool)).ln();
    let rest_teacher = sum_map(teacher, |l| exp::<FMA>((l - top_teacher) * cool)).ln();
    let log_student = |l: f32| (l - top) * cool - rest;
    let log_teacher = |l: f32| (l - top_teacher) * cool - rest_teacher;
    let divergence = sum_zip(teacher, logits, |t, l| {
        let t = log_teacher(t);
        let p = exp::<FMA>(t);
        // What the teacher rules out counts nothing, also where its logarithm is infinite.
        if p == 0.0 { 0.0 } else { p * (t - log_student(l)) }
    });
    let hard = hard_term(c, log_z, logits[target], logits);
    if gradient {
        let scale = weight * (c.hard + 2.0 * c.z_loss * log_z);
        let even = weight * c.hard * c.smoothing / n as f32;
        let soft = weight * c.soft * temperature;
        for (l, t) in logits.iter_mut().zip(teacher) {
            let toward = exp::<FMA>(log_student(*l)) - exp::<FMA>(log_teacher(*t));
            *l = fma::<FMA>(exp::<FMA>(*l - log_z), scale, fma::<FMA>(soft, toward, -even));
        }
        logits[target] -= weight * c.hard * (1.0 - c.smoothing);
    }
    c.hard * hard + c.soft * temperature * temperature * divergence + c.z_loss * log_z * log_z
}
