//! Connectionist temporal classification: the loss of a sequence of labels of which only the order is known, and its
//! gradient.
//!
//! Graves et al. 2006, "Connectionist Temporal Classification". The labels are laid out with a blank before, between and
//! after them, `l' = _ a _ b _`; a path goes through l' from left to right, stays or moves on at each step of time, and may
//! pass over a blank between different labels. With `p(t, k)` the probability of symbol k at time t,
//!
//! ```text
//! alpha(t, s) = p(t, l'_s) (alpha(t-1, s) + alpha(t-1, s-1) + [l'_s not blank, l'_s != l'_(s-2)] alpha(t-1, s-2))
//! loss = -ln(alpha(T-1, last) + alpha(T-1, last - 1))
//! d loss / d ln p(t, k) = -sum over l'_s = k of alpha(t, s) beta(t, s) / exp(-loss)
//! ```
//!
//! All in logarithms and f64, whatever the lengths.

use rayon::prelude::*;

/// What the loss is told beside its inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ctc {
    /// Index of the symbol that stands for no label.
    pub blank: usize,
    /// Whether a sequence that no path can spell counts as 0 instead of infinity.
    pub zero_infinity: bool,
}

/// Losses in nats, one for each sequence, and the gradient of their sum to the log-probabilities. Where a loss is infinite
/// its gradient is 0.
#[derive(Clone, Debug, PartialEq)]
pub struct CtcResult {
    pub losses: Vec<f64>,
    pub d_log_probs: Vec<f32>,
}

/// The losses of a batch of sequences.
///
/// * `log_probs`: (batch, time, classes), logarithms of probabilities
/// * `lengths`: (batch), steps of time that count, each at most `time`
/// * `labels`: (batch), the labels of each sequence, none of them the blank; may be empty
///
/// A sequence of fewer steps than labels (and one more step for each pair of equal neighbours) is impossible: its loss is
/// infinite.
///
/// # Panics
/// If slices contradict the sizes, or a label is not a class or is the blank.
pub fn ctc<L: AsRef<[usize]> + Sync>(
    options: &Ctc,
    log_probs: &[f32],
    lengths: &[usize],
    labels: &[L],
    time: usize,
    classes: usize,
) -> CtcResult {
    let batch = lengths.len();
    assert!(labels.len() == batch && log_probs.len() == batch * time * classes, "ctc: {batch} x {time} x {classes}");
    assert!(options.blank < classes && lengths.iter().all(|&length| length <= time), "ctc: blank or lengths");
    let legal = |&label: &usize| label < classes && label != options.blank;
    assert!(labels.iter().all(|labels| labels.as_ref().iter().all(legal)), "ctc: a label outside the classes");
    let mut d_log_probs = vec![0f32; log_probs.len()];
    let size = (time * classes).max(1);
    let losses = d_log_probs
        .par_chunks_mut(size)
        .zip(log_probs.par_chunks(size))
        .zip(lengths.par_iter().zip(labels))
        .map(|((gradient, rows), (&length, labels))| {
            let sequence = Sequence::new(options.blank, labels.as_ref(), &rows[..length * classes], classes);
            sequence.loss(options, gradient)
        })
        .collect::<Vec<_>>();
    // Without a step of time there are no chunks to go through.
    let losses = match time * classes {
        0 => labels
            .iter()
            .map(|l| impossible(options, if l.as_ref().is_empty() { 0.0 } else { f64::INFINITY }))
            .collect(),
        _ => losses,
    };
    CtcResult { losses, d_log_probs }
}

/// Labels with their blanks, and the rows of log-probabilities that count.
struct Sequence<'a> {
    symbols: Vec<usize>,
    rows: &'a [f32],
    classes: usize,
    steps: usize,
    blank: usize,
}

impl<'a> Sequence<'a> {
    fn new(blank: usize, labels: &[usize], rows: &'a [f32], classes: usize) -> Self {
        let symbols = std::iter::once(blank).chain(labels.iter().flat_map(|&label| [label, blank])).collect();
        Self { symbols, rows, classes, steps: rows.len() / classes, blank }
    }

    fn log_p(&self, t: usize, s: usize) -> f64 {
        f64::from(self.rows[t * self.classes + self.symbols[s]])
    }

    /// Whether a path may come to `s` from two places before it.
    fn skips(&self, s: usize) -> bool {
        s >= 2 && self.symbols[s] != self.blank && self.symbols[s] != self.symbols[s - 2]
    }

    /// (steps, symbols)
    fn alpha(&self) -> Vec<f64> {
        let width = self.symbols.len();
        let mut alpha = vec![f64::NEG_INFINITY; self.steps * width];
        for s in 0..width.min(2) {
            alpha[s] = self.log_p(0, s);
        }
        for t in 1..self.steps {
            let (before, now) = alpha[(t - 1) * width..(t + 1) * width].split_at_mut(width);
            for s in 0..width {
                let one = if s >= 1 { before[s - 1] } else { f64::NEG_INFINITY };
                let two = if self.skips(s) { before[s - 2] } else { f64::NEG_INFINITY };
                now[s] = self.log_p(t, s) + log_sum([before[s], one, two]);
            }
        }
        alpha
    }

    /// The loss; adds its gradient to `gradient`, (time, classes).
    fn loss(&self, options: &Ctc, gradient: &mut [f32]) -> f64 {
        let width = self.symbols.len();
        if self.steps == 0 {
            return impossible(options, if width == 1 { 0.0 } else { f64::INFINITY });
        }
        let alpha = self.alpha();
        let last = &alpha[(self.steps - 1) * width..];
        let before_last = if width >= 2 { last[width - 2] } else { f64::NEG_INFINITY };
        let total = log_sum([last[width - 1], before_last, f64::NEG_INFINITY]);
        if total == f64::NEG_INFINITY {
            return impossible(options, f64::INFINITY);
        }
        // What is to come after step t at s, without the symbol of t itself.
        let mut beta = vec![f64::NEG_INFINITY; width];
        beta[width.saturating_sub(2)..].fill(0.0);
        for t in (0..self.steps).rev() {
            for s in 0..width {
                let posterior = (alpha[t * width + s] + beta[s] - total).exp();
                gradient[t * self.classes + self.symbols[s]] -= posterior as f32;
            }
            if t > 0 {
                let after: Vec<f64> = (0..width).map(|s| beta[s] + self.log_p(t, s)).collect();
                for s in 0..width {
                    let one = if s + 1 < width { after[s + 1] } else { f64::NEG_INFINITY };
                    let two = if s + 2 < width && self.skips(s + 2) { after[s + 2] } else { f64::NEG_INFINITY };
                    beta[s] = log_sum([after[s], one, two]);
                }
            }
        }
        -total
    }
}

fn impossible(options: &Ctc, loss: f64) -> f64 {
    if options.zero_infinity && loss.is_infinite() { 0.0 } else { loss }
}

/// `ln(exp(a) + exp(b) + exp(c))`; NaN where one is NaN.
fn log_sum([a, b, c]: [f64; 3]) -> f64 {
    let most = a.max(b).max(c);
    if most == f64::NEG_INFINITY {
        return a + b + c;
    }
    most + ((a - most).exp() + (b - most).exp() + (c - most).exp()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, gradient, matrix, to_f64};
    use proptest::prelude::*;

    /// By its definition: the probabilities of all paths that spell the labels.
    fn reference(blank: usize, log_probs: &[f64], labels: &[usize], classes: usize) -> f64 {
        let steps = log_probs.len() / classes;
        let mut sum = 0.0;
        for path in 0..classes.pow(steps as u32) {
            let symbols: Vec<usize> = (0..steps).map(|t| path / classes.pow(t as u32) % classes).collect();
            let mut spelt = symbols.clone();
            spelt.dedup();
            spelt.retain(|&symbol| symbol != blank);
            if spelt == labels {
                sum += symbols.iter().enumerate().map(|(t, k)| log_probs[t * classes + k]).sum::<f64>().exp();
            }
        }
        -sum.ln()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn it_is_the_sum_over_all_paths(
            time in 1usize..6, classes in 2usize..4, blank in 0usize..2, seed: u64,
            raw in prop::collection::vec(prop::collection::vec(0usize..9, 0..4), 1..4),
        ) {
            let labels: Vec<Vec<usize>> = raw.iter().map(|labels| {
                labels.iter().map(|l| (blank + 1 + l % (classes - 1)) % classes).collect()
            }).collect();
            let lengths: Vec<usize> = (0..labels.len()).map(|b| time - b % 2 * (time - 1)).collect();
            let log_probs: Vec<f32> = matrix(labels.len() * time * classes, seed).iter().map(|x| 4.0 * x - 1.0).collect();
            let got = ctc(&Ctc { blank, zero_infinity: false }, &log_probs, &lengths, &labels, time, classes);
            for (b, labels) in labels.iter().enumerate() {
                let from = b * time * classes;
                let rows = to_f64(&log_probs[from..from + lengths[b] * classes]);
                let want = reference(blank, &rows, labels, classes);
                let mut slopes = vec![0.0; time * classes];
                if want.is_finite() {
                    prop_assert!((got.losses[b] - want).abs() < 1e-9 * want.abs().max(1.0), "{} {want}", got.losses[b]);
                    let exact = gradient(&rows, |x| reference(blank, x, labels, classes));
                    slopes[..exact.len()].copy_from_slice(&exact);
                } else {
                    prop_assert_eq!(got.losses[b], f64::INFINITY);
                }
                assert_close(&got.d_log_probs[from..from + time * classes], &slopes, 1e-5);
            }
            let zeroed = ctc(&Ctc { blank, zero_infinity: true }, &log_probs, &lengths, &labels, time, classes);
            for (z, l) in zeroed.losses.iter().zip(&got.losses) {
                prop_assert_eq!(*z, if l.is_finite() { *l } else { 0.0 });
            }
            prop_assert_eq!(zeroed.d_log_probs, got.d_log_probs);
        }
    }

    #[test]
    fn no_time_long_sequences_and_nan() {
        let none: [Vec<usize>; 2] = [vec![], vec![1]];
        let options = Ctc::default();
        assert_eq!(ctc(&options, &[], &[0, 0], &none, 0, 3).losses, [0.0, f64::INFINITY]);
        assert_eq!(ctc(&options, &[0.0; 6], &[0, 0], &none, 1, 3).losses, [0.0, f64::INFINITY]);
        // 2,000 steps at a probability of e^-9 each: no underflow.
        let long = ctc(&options, &[-9.0; 2000 * 2], &[2000], &[vec![1; 900]], 2000, 2);
        assert!(long.losses[0].is_finite() && long.losses[0] > 0.0, "{:?}", long.losses);
        assert!(long.d_log_probs.iter().all(|x| x.is_finite()));
        assert!(ctc(&options, &[f32::NAN; 4], &[2], &[vec![1]], 2, 2).losses[0].is_nan());
    }
}
