//! The output layer and its cross-entropy in one, chunk by chunk of tokens: all logits never exist at once.

use crate::cpu::Level;
use crate::gemm::{Matrix, Threads, multiply};
use crate::math::{LANES, exp, sum_lanes};
use crate::precision::Precision;
use rayon::prelude::*;

/// The target that counts nothing.
pub const IGNORED: i64 = -100;

/// Which gradients [`linear_cross_entropy`] is to compute along the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Gradient to the inputs.
    pub x: bool,
    /// Gradient to the weight.
    pub weight: bool,
}

/// Result of [`linear_cross_entropy`].
#[derive(Clone, Debug, PartialEq)]
pub struct CrossEntropy {
    /// Sum of the token losses in nats, added in order in f64.
    pub loss: f64,
    /// (tokens, dim), empty if not wanted.
    pub dx: Vec<f32>,
    /// (vocab, dim), empty if not wanted.
    pub d_weight: Vec<f32>,
}

/// Tokens whose logits exist at the same time: enough to keep the products efficient, about 16 MB for small
/// vocabularies.
fn chunk_rows(tokens: usize, vocab: usize) -> usize {
    ((1 << 22) / vocab.max(1)).max(256).min(tokens.max(1))
}

/// Sum over tokens of `-log softmax(x weight^T)[target]`, and if wanted its gradients.
///
/// `x` is (tokens, dim), `weight` (vocab, dim); a target is in `0..vocab` or [`IGNORED`].
///
/// # Panics
/// If a slice's length contradicts the shape or a target is outside the vocabulary.
pub fn linear_cross_entropy(
    x: &[f32],
    weight: &[f32],
    targets: &[i64],
    dim: usize,
    vocab: usize,
    wanted: Wanted,
) -> CrossEntropy {
    let tokens = targets.len();
    assert!(x.len() == tokens * dim && weight.len() == vocab * dim, "{tokens} tokens of {dim}, vocabulary of {vocab}");
    if let Some(bad) = targets.iter().find(|t| **t != IGNORED && !(0..vocab as i64).contains(t)) {
        panic_target(*bad, vocab);
    }
    let chunk = chunk_rows(tokens, vocab);
    let weight = Matrix::new(weight, vocab, dim);
    let mut logits = vec![0f32; chunk * vocab];
    let mut dx: Vec<f32> = Vec::with_capacity(if wanted.x { tokens * dim } else { 0 });
    let mut d_weight = vec![0f32; if wanted.weight { vocab * dim } else { 0 }];
    let mut loss = 0f64;
    for first in (0..tokens).step_by(chunk) {
        let rows = chunk.min(tokens - first);
        let x = Matrix::new(&x[first * dim..(first + rows) * dim], rows, dim);
        let logits = &mut logits[..rows * vocab];
        // SAFETY: logits is rows x vocab and local.
        unsafe { multiply(logits.as_mut_ptr(), vocab, x, weight.transposed(), false, Precision::F32, Threads::All) };
        let level = Level::best();
        let losses: Vec<f32> = logits
            .par_chunks_mut(vocab)
            .zip(&targets[first..first + rows])
            .map(|(row, target)| token(level, row, *target))
            .collect();
        loss += losses.into_iter().map(f64::from).sum::<f64>();
        let d_logits = Matrix::new(logits, rows, vocab);
        if wanted.x {
            // SAFETY: dx has room for all tokens; rows `first..` are written here and then counted.
            unsafe {
                multiply(dx.as_mut_ptr().add(first * dim), dim, d_logits, weight, false, Precision::F32, Threads::All);
                dx.set_len((first + rows) * dim);
            }
        }
        if wanted.weight {
            // SAFETY: d_weight is vocab x dim and local.
            unsafe {
                multiply(d_weight.as_mut_ptr(), dim, d_logits.transposed(), x, first > 0, Precision::F32, Threads::All)
            };
        }
    }
    CrossEntropy { loss, dx, d_weight }
}

#[cold]
#[allow(clippy::panic)]
fn panic_target(target: i64, vocab: usize) -> ! {
    panic!("target {target} is outside the vocabulary of {vocab}")
}

multiversion! {
    fn token(logits: &mut [f32], target: i64) -> f32 = token_body;
}

/// Turns one row of logits into the gradient of its loss and returns the loss.
#[inline(always)]
fn token_body<const FMA: bool>(logits: &mut [f32], target: i64) -> f32 {
    if target == IGNORED {
        logits.fill(0.0);
        return 0.0;
    }
    let chosen = logits[target as usize];
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = logits.chunks_exact(LANES);
    for (m, x) in lanes.iter_mut().zip(chunks.remainder()) {
        *m = *x;
    }
    for c in chunks {
        for l in 0..LANES {
            lanes[l] = if c[l] > lanes[l] { c[l] } else { lanes[l] };
        }
    }
    let top = lanes.iter().fold(f32::NEG_INFINITY, |m, x| if *x > m { *x } else { m });
    let mut lanes = [0f32; LANES];
    let mut chunks = logits.chunks_exact_mut(LANES);
    for c in &mut chunks {
        for l in 0..LANES {
            c[l] = exp::<FMA>(c[l] - top);
            lanes[l] += c[l];
        }
    }
    for (x, lane) in chunks.into_remainder().iter_mut().zip(&mut lanes) {
        *x = exp::<FMA>(*x - top);
        *lane += *x;
    }
    let sum = sum_lanes(lanes);
    let inverse = 1.0 / sum;
    logits.iter_mut().for_each(|x| *x *= inverse);
    logits[target as usize] -= 1.0;
    top - chosen + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, gradient, matrix, to_f64};
    use proptest::prelude::*;

    fn reference(x: &[f64], w: &[f64], targets: &[i64], dim: usize, vocab: usize) -> f64 {
        let mut loss = 0.0;
        for (t, x) in targets.iter().zip(x.chunks(dim)) {
            if *t == IGNORED {
                continue;
            }
            let logits: Vec<f64> = (0..vocab).map(|v| x.iter().zip(&w[v * dim..]).map(|(x, w)| x * w).sum()).collect();
            loss += logits.iter().map(|l| l.exp()).sum::<f64>().ln() - logits[*t as usize];
        }
        loss
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn loss_and_gradients(tokens in 1usize..6, dim in 1usize..6, vocab in 1usize..40, seed: u64) {
            let (x, w) = (matrix(tokens * dim, seed), matrix(vocab * dim, seed ^ 1));
            let targets: Vec<i64> = (0..tokens).map(|i| if i == 1 { IGNORED } else { ((seed >> 3) as usize + 7 * i) as i64 % vocab as i64 }).collect();
            let got = linear_cross_entropy(&x, &w, &targets, dim, vocab, Wanted { x: true, weight: true });
            let (x64, w64) = (to_f64(&x), to_f64(&w));
            prop_assert!((got.loss - reference(&x64, &w64, &targets, dim, vocab)).abs() < 1e-5);
            assert_close(&got.dx, &gradient(&x64, |x| reference(x, &w64, &targets, dim, vocab)), 1e-5);
            assert_close(&got.d_weight, &gradient(&w64, |w| reference(&x64, w, &targets, dim, vocab)), 1e-5);
            let loss_only = linear_cross_entropy(&x, &w, &targets, dim, vocab, Wanted { x: false, weight: false });
            prop_assert_eq!(loss_only.loss, got.loss);
            prop_assert!(loss_only.dx.is_empty() && loss_only.d_weight.is_empty());
        }

        #[test]
        fn one_token_at_every_level(vocab in 1usize..100, seed: u64) {
            let logits: Vec<f32> = matrix(vocab, seed).into_iter().map(|x| 60.0 * x).collect();
            let target = (seed % vocab as u64) as usize;
            let sum: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
            let want: Vec<f64> = logits.iter().enumerate().map(|(i, l)| f64::from(*l).exp() / sum - f64::from(u8::from(i == target))).collect();
            for level in Level::available() {
                let mut row = logits.clone();
                let loss = token(level, &mut row, target as i64);
                prop_assert!((f64::from(loss) - (sum.ln() - f64::from(logits[target]))).abs() < 1e-5);
                assert_close(&row, &want, 1e-6);
            }
        }
    }

    /// More tokens than a chunk: the pieces must add up to what each token gives alone.
    #[test]
    fn chunks_add_up() {
        let (dim, vocab, tokens) = (3, 20, 300);
        let (x, w) = (matrix(tokens * dim, 1), matrix(vocab * dim, 2));
        let targets: Vec<i64> = (0..tokens as i64).map(|i| i % vocab as i64).collect();
        let chunks = chunk_rows(100_000, 20_000);
        assert!(chunks < tokens, "a vocabulary of 20000 takes {chunks} tokens at a time");
        let wide_w = matrix(20_000 * dim, 3);
        for (w, vocab) in [(&w, vocab), (&wide_w, 20_000)] {
            let all = linear_cross_entropy(&x, w, &targets, dim, vocab, Wanted { x: true, weight: true });
            let (mut loss, mut d_weight) = (0f64, vec![0f64; vocab * dim]);
            for i in 0..tokens {
                let one = linear_cross_entropy(
                    &x[i * dim..(i + 1) * dim],
                    w,
                    &targets[i..=i],
                    dim,
                    vocab,
                    Wanted { x: true, weight: true },
                );
                loss += one.loss;
                d_weight.iter_mut().zip(&one.d_weight).for_each(|(s, d)| *s += f64::from(*d));
                assert_close(&all.dx[i * dim..(i + 1) * dim], &to_f64(&one.dx), 1e-5);
            }
            assert!((all.loss - loss).abs() < 1e-3, "{} {loss}", all.loss);
            assert_close(&all.d_weight, &d_weight, 1e-5);
        }
    }

    #[test]
    #[should_panic(expected = "target 5 is outside the vocabulary of 5")]
    fn a_target_outside_the_vocabulary_is_named() {
        linear_cross_entropy(&[0.0; 2], &[0.0; 10], &[5], 2, 5, Wanted { x: false, weight: false });
    }
}
