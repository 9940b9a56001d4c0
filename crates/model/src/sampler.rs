//! Choosing the next token.

use crate::ModelError;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// How the next token is chosen. The defaults sample from the model's own distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingConfig {
    /// Divides the logits; 0 takes the most probable token.
    pub temperature: f32,
    /// Keep the k most probable tokens (and those tied with the last); 0 keeps all.
    pub top_k: usize,
    /// Keep the most probable tokens that together reach this probability (Holtzman et al. 2020); 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this fraction as probable as the most probable one (Nguyen et al. 2024); 0 keeps all.
    pub min_p: f32,
    /// Keep the tokens whose surprise is nearest to the distribution's entropy and that together reach this probability
    /// (Meister et al. 2023, locally typical sampling); 1 keeps all.
    pub typical_p: f32,
    /// Divides positive and multiplies negative logits of tokens that occurred (Keskar et al. 2019, "CTRL"); 1 is none.
    pub repetition_penalty: f32,
    pub seed: u64,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        SamplingConfig {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            seed: 0,
        }
    }
}

impl SamplingConfig {
    /// # Errors
    /// [`ModelError::InvalidSampling`] names the first setting out of its range.
    pub fn validate(&self) -> Result<(), ModelError> {
        let not_negative = self.temperature.is_finite() && self.temperature >= 0.0;
        check_setting(not_negative, "temperature", self.temperature, "a number of at least 0")?;
        check_setting(self.top_p > 0.0 && self.top_p <= 1.0, "top_p", self.top_p, "a number above 0, up to 1")?;
        check_setting((0.0..=1.0).contains(&self.min_p), "min_p", self.min_p, "a number from 0 to 1")?;
        let typical = self.typical_p;
        check_setting(typical > 0.0 && typical <= 1.0, "typical_p", typical, "a number above 0, up to 1")?;
        check_repetition_penalty(self.repetition_penalty)
    }
}

/// Refuses a setting by its name.
pub(crate) fn check_setting(
    fits: bool,
    key: &'static str,
    found: impl ToString,
    expected: &'static str,
) -> Result<(), ModelError> {
    match fits {
        true => Ok(()),
        false => Err(ModelError::InvalidSampling { key, found: found.to_string(), expected }),
    }
}

pub(crate) fn check_repetition_penalty(penalty: f32) -> Result<(), ModelError> {
    check_setting(penalty.is_finite() && penalty > 0.0, "repetition_penalty", penalty, "a number above 0")
}

/// The random state and settings of one sequence's sampling.
#[derive(Clone, Debug)]
pub struct Sampler {
    config: SamplingConfig,
    rng: ChaCha8Rng,
}

impl Sampler {
    /// Settings out of their range act as if they were off; see [`SamplingConfig::validate`].
    pub fn new(config: SamplingConfig) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(config.seed);
        Sampler { config, rng }
    }

    /// Chooses a token. The order is that of transformers: repetition penalty, temperature, top-k, top-p, min-p,
    /// typical-p.
    ///
    /// `logits` (vocabulary) are changed in place by the penalty; `history` holds the tokens the penalty applies to.
    /// A logit that is NaN or minus infinity is never chosen; where no other is left, the answer is 0.
    pub fn sample(&mut self, logits: &mut [f32], history: &[u32]) -> u32 {
        penalize(logits, history, self.config.repetition_penalty);
        if self.config.temperature <= 0.0 || logits.contains(&f32::INFINITY) {
            return argmax(logits);
        }
        let candidates = self.candidates(logits);
        let total: f64 = candidates.iter().map(|c| c.1).sum();
        let mut left = self.uniform() * total;
        for (token, weight) in &candidates {
            left -= weight;
            if left < 0.0 {
                return *token;
            }
        }
        candidates.last().map_or(0, |c| c.0)
    }

    /// The tokens that [`Sampler::sample`] may choose and their probabilities, in no particular order.
    pub fn distribution(&self, logits: &[f32], history: &[u32]) -> Vec<(u32, f64)> {
        let mut logits = logits.to_vec();
        penalize(&mut logits, history, self.config.repetition_penalty);
        if self.config.temperature <= 0.0 {
            return vec![(argmax(&logits), 1.0)];
        }
        let mut candidates = self.candidates(&logits);
        let total: f64 = candidates.iter().map(|c| c.1).sum();
        candidates.iter_mut().for_each(|c| c.1 /= total);
        candidates
    }

    /// Kept tokens with `exp((logit - highest) / temperature)`.
    fn candidates(&self, logits: &[f32]) -> Vec<(u32, f64)> {
        let SamplingConfig { temperature, top_k, top_p, min_p, typical_p, .. } = self.config;
        let mut kept: Vec<(u32, f32)> =
            logits.iter().enumerate().filter(|(_, x)| x.is_finite()).map(|(i, x)| (i as u32, *x)).collect();
        let highest = kept.iter().fold(f32::NEG_INFINITY, |m, (_, x)| m.max(*x));
        if (1..kept.len()).contains(&top_k) {
            let (_, last, _) = kept.select_nth_unstable_by(top_k - 1, descending);
            let threshold = last.1;
            kept.retain(|(_, x)| *x >= threshold);
        }
        let nucleus = top_p > 0.0 && top_p < 1.0;
        if nucleus || top_k > 0 {
            // Also after top-k alone, whose selection leaves an order that is not fixed.
            kept.sort_unstable_by(descending);
        }
        let weight = |x: f32| (f64::from(x - highest) / f64::from(temperature)).exp();
        let mut kept: Vec<(u32, f64)> = kept.into_iter().map(|(i, x)| (i, weight(x))).collect();
        if nucleus {
            let reach = f64::from(top_p) * kept.iter().map(|c| c.1).sum::<f64>();
            let mut before = 0.0;
            let count = kept
                .iter()
                .take_while(|c| {
                    let keep = before < reach;
                    before += c.1;
                    keep
                })
                .count();
            kept.truncate(count.max(1));
        }
        if min_p > 0.0 && min_p <= 1.0 {
            // The most probable token has weight 1.
            kept.retain(|c| c.1 >= f64::from(min_p));
        }
        if typical_p > 0.0 && typical_p < 1.0 {
            keep_typical(&mut kept, f64::from(typical_p));
        }
        kept
    }

    /// Uniform in [0, 1).
    fn uniform(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Keeps the tokens, given with weights, whose `-ln p` is nearest to the entropy and that together reach `mass`; those as
/// near as the last one too.
fn keep_typical(kept: &mut Vec<(u32, f64)>, mass: f64) {
    let total: f64 = kept.iter().map(|c| c.1).sum();
    let surprise = |weight: f64| -(weight / total).ln();
    let part = |c: &(u32, f64)| if c.1 > 0.0 { c.1 / total * surprise(c.1) } else { 0.0 };
    let entropy: f64 = kept.iter().map(part).sum();
    let distance = |weight: f64| (surprise(weight) - entropy).abs();
    let mut order: Vec<(f64, f64)> = kept.iter().map(|c| (distance(c.1), c.1)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut sum = 0.0;
    let last = order.iter().find(|(_, weight)| {
        sum += weight;
        sum >= mass * total
    });
    if let Some((threshold, _)) = last.or(order.last()).copied() {
        kept.retain(|c| distance(c.1) <= threshold);
    }
}

/// By falling logit, ties by rising token.
fn descending(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Each token that occurred is penalised once, however often it occurred.
pub(crate) fn penalize(logits: &mut [f32], history: &[u32], penalty: f32) {
    if penalty == 1.0 || !penalty.is_finite() || penalty <= 0.0 {
        return;
    }
    let mut seen = history.to_vec();
    seen.sort_unstable();
    seen.dedup();
    for token in seen {
        if let Some(x) = logits.get_mut(token as usize) {
            *x = if *x > 0.0 { *x / penalty } else { *x * penalty };
        }
    }
}

/// The first of the highest logits, NaN left out.
fn argmax(logits: &[f32]) -> u32 {
    let best =
        logits.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, x)| if *x > best.1 { (i, *x) } else { best });
    best.0 as u32
}

/// Natural logarithms of the softmax of `logits` (vocabulary).
pub fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let highest = logits.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x));
    let sum: f64 = logits.iter().map(|x| f64::from(x - highest).exp()).sum();
    let log_sum = f64::from(highest) + sum.ln();
    logits.iter().map(|x| (f64::from(*x) - log_sum) as f32).collect()
}

/// The `count` most probable tokens with their log-probabilities, most probable first.
pub fn top_log_probabilities(log_probabilities: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut tokens: Vec<(u32, f32)> =
        log_probabilities.iter().enumerate().filter(|(_, x)| !x.is_nan()).map(|(i, x)| (i as u32, *x)).collect();
    if (1..tokens.len()).contains(&count) {
        tokens.select_nth_unstable_by(count - 1, descending);
    }
    tokens.truncate(count);
    tokens.sort_unstable_by(descending);
    tokens
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(config: SamplingConfig) -> Sampler {
        config.validate().unwrap();
        Sampler::new(config)
    }

    fn greedy() -> Sampler {
        with(SamplingConfig { temperature: 0.0, ..Default::default() })
    }

    #[test]
    fn temperature_zero_takes_the_first_highest_whatever_the_masks() {
        let mut sampler =
            with(SamplingConfig { temperature: 0.0, top_k: 3, top_p: 0.2, min_p: 0.5, ..Default::default() });
        assert_eq!(sampler.sample(&mut [0.5, 2.0, -1.0, 2.0], &[]), 1);
        assert_eq!(greedy().sample(&mut [f32::NAN, -5.0, f32::NAN], &[]), 1);
    }

    #[test]
    fn nothing_to_choose_from_gives_token_0_without_a_panic() {
        let all = SamplingConfig { top_k: 2, top_p: 0.5, min_p: 0.5, repetition_penalty: 2.0, ..Default::default() };
        for config in [SamplingConfig::default(), all, SamplingConfig { temperature: 0.0, ..Default::default() }] {
            for logits in [&mut [][..], &mut [f32::NAN; 3], &mut [f32::NEG_INFINITY; 3]] {
                assert_eq!(with(config.clone()).sample(logits, &[0, 9]), 0);
            }
        }
    }

    #[test]
    fn an_infinite_logit_wins() {
        assert_eq!(with(SamplingConfig::default()).sample(&mut [1.0, f32::INFINITY, 3.0], &[]), 1);
    }

    #[test]
    fn the_penalty_counts_a_repeated_token_once_and_knows_the_sign() {
        let mut logits = [2.0, -2.0, 2.0];
        let mut sampler = with(SamplingConfig { repetition_penalty: 2.0, temperature: 0.0, ..Default::default() });
        sampler.sample(&mut logits, &[0, 0, 1, 1, 1, 77]);
        assert_eq!(logits, [1.0, -4.0, 2.0]);
    }

    #[test]
    fn frequencies_follow_the_distribution() {
        let logits = [0.0, 1.0, 2.0, -1.0, f32::NEG_INFINITY];
        let mut sampler = with(SamplingConfig { temperature: 0.8, seed: 7, ..Default::default() });
        let mut counts = [0usize; 5];
        for _ in 0..40_000 {
            counts[sampler.sample(&mut logits.clone(), &[]) as usize] += 1;
        }
        assert_eq!(counts[4], 0);
        for (token, p) in sampler.distribution(&logits, &[]) {
            let share = counts[token as usize] as f64 / 40_000.0;
            assert!((share - p).abs() < 0.01, "token {token}: {share}, expected {p}");
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let base = SamplingConfig::default;
        let cases = [
            (SamplingConfig { temperature: -1.0, ..base() }, "temperature"),
            (SamplingConfig { temperature: f32::NAN, ..base() }, "temperature"),
            (SamplingConfig { top_p: 0.0, ..base() }, "top_p"),
            (SamplingConfig { top_p: 1.1, ..base() }, "top_p"),
            (SamplingConfig { min_p: -0.1, ..base() }, "min_p"),
            (SamplingConfig { typical_p: 0.0, ..base() }, "typical_p"),
            (SamplingConfig { typical_p: 1.5, ..base() }, "typical_p"),
            (SamplingConfig { repetition_penalty: 0.0, ..base() }, "repetition_penalty"),
            (SamplingConfig { repetition_penalty: f32::INFINITY, ..base() }, "repetition_penalty"),
        ];
        for (config, expected) in cases {
            match config.validate() {
                Err(ModelError::InvalidSampling { key, .. }) => assert_eq!(key, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[test]
    fn log_probabilities_sum_to_one_and_come_in_order() {
        let log_probabilities = log_softmax(&[1000.0, 1001.0, 999.0]);
        let sum: f64 = log_probabilities.iter().map(|x| f64::from(*x).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        let top = top_log_probabilities(&log_probabilities, 2);
        assert_eq!(top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(top_log_probabilities(&log_probabilities, 99).len(), 3);
        assert_eq!(top_log_probabilities(&log_probabilities, 0), []);
        assert_eq!(log_softmax(&[]), Vec::<f32>::new());
    }

    proptest! {
        /// Each mask against its definition, straight from the softmax.
        #[test]
        fn masks_keep_what_they_promise(logits in prop::collection::vec(-6f32..6.0, 1..60), top_k in 0usize..70, top_p in 0.01f32..1.0, min_p in 0f32..1.0, temperature in 0.1f32..3.0, seed: u64) {
            let base = SamplingConfig { temperature, seed, ..Default::default() };
            let full = with(base.clone()).distribution(&logits, &[]);
            let p = |token: u32| full.iter().find(|c| c.0 == token).unwrap().1;
            let highest = full.iter().map(|c| c.1).fold(0.0, f64::max);

            let kept = with(SamplingConfig { top_k, ..base.clone() }).distribution(&logits, &[]);
            let wanted = if top_k == 0 { logits.len() } else { top_k.min(logits.len()) };
            prop_assert!(kept.len() >= wanted);
            let smallest = kept.iter().map(|c| p(c.0)).fold(1.0, f64::min);
            prop_assert!(full.iter().filter(|c| c.1 > smallest).count() < wanted);

            let kept = with(SamplingConfig { top_p, ..base.clone() }).distribution(&logits, &[]);
            let mass: f64 = kept.iter().map(|c| p(c.0)).sum();
            let smallest = kept.iter().map(|c| p(c.0)).fold(1.0, f64::min);
            prop_assert!(mass >= f64::from(top_p) - 1e-9, "{mass} kept for {top_p}");
            prop_assert!(kept.len() == 1 || mass - smallest < f64::from(top_p) + 1e-9);

            let kept = with(SamplingConfig { min_p, ..base.clone() }).distribution(&logits, &[]);
            let wanted = full.iter().filter(|c| c.1 >= f64::from(min_p) * highest * (1.0 + 1e-9)).count();
            let at_most = full.iter().filter(|c| c.1 >= f64::from(min_p) * highest * (1.0 - 1e-9)).count();
            prop_assert!((wanted..=at_most).contains(&kept.len()));

            // The same seed gives the same tokens, and only from what is kept.
            let all = SamplingConfig { top_k, top_p, min_p, ..base };
            let (mut a, mut b) = (with(all.clone()), with(all));
            let allowed: Vec<u32> = a.distribution(&logits, &[]).iter().map(|c| c.0).collect();
            for _ in 0..5 {
                let token = a.sample(&mut logits.clone(), &[]);
                prop_assert_eq!(token, b.sample(&mut logits.clone(), &[]));
                prop_assert!(allowed.contains(&token));
            }
        }
    }
}
