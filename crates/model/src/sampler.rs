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
    /// Divides positive and multiplies negative logits of tokens that occurred (Keskar et al. 2019, "CTRL"); 1 is none.
    pub repetition_penalty: f32,
    pub seed: u64,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        SamplingConfig { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 }
    }
}

impl SamplingConfig {
    /// # Errors
    /// [`ModelError::InvalidSampling`] names the first setting out of its range.
    pub fn validate(&self) -> Result<(), ModelError> {
        let check = |fits: bool, key: &'static str, found: f32, expected: &'static str| match fits {
            true => Ok(()),
            false => Err(ModelError::InvalidSampling { key, found: found.to_string(), expected }),
        };
        let not_negative = self.temperature.is_finite() && self.temperature >= 0.0;
        check(not_negative, "temperature", self.temperature, "a number of at least 0")?;
        check(self.top_p > 0.0 && self.top_p <= 1.0, "top_p", self.top_p, "a number above 0, up to 1")?;
        check((0.0..=1.0).contains(&self.min_p), "min_p", self.min_p, "a number from 0 to 1")?;
        let penalty = self.repetition_penalty;
        check(penalty.is_finite() && penalty > 0.0, "repetition_penalty", penalty, "a number above 0")
    }
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

    /// Chooses a token. The order is that of transformers: repetition penalty, temperature, top-k, top-p, min-p.
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

    /// The tokens that may be chosen after the sampler's masks, with their probabilities; for tests and inspection.
    pub fn distribution(&self, logits: &[f32]) -> Vec<(u32, f64)> {
        let mut candidates = self.candidates(logits);
        let total: f64 = candidates.iter().map(|c| c.1).sum();
        candidates.iter_mut().for_each(|c| c.1 /= total);
        candidates
    }

    /// Kept tokens with `exp((logit - highest) / temperature)`.
    fn candidates(&self, logits: &[f32]) -> Vec<(u32, f64)> {
        let SamplingConfig { temperature, top_k, top_p, min_p, .. } = self.config;
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
            let count = kept.iter().take_while(|c| { let keep = before < reach; before += c.1; keep }).count();
            kept.truncate(count.max(1));
        }
        if min_p > 0.0 && min_p <= 1.0 {
            // The most probable token has weight 1.
            kept.retain(|c| c.1 >= f64::from(min_p));
        }
        kept
    }

    /// Uniform in [0, 1).
    fn uniform(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// By falling logit, ties by rising token.
fn descending(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Each token that occurred is penalised once, however often it occurred.
fn penalize(logits: &mut [f32], history: &[u32], penalty: f32) {
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
    let best = logits.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, x)| if *x > best.1 { (i, *x) } else { best });
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
