//! What changes logits before a token is chosen from them: biases, penalties and bans.

use crate::ModelError;
use crate::sampler::check_setting;
use serde::{Deserialize, Serialize};

/// Changes of logits that know what came before. The defaults change nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogitsRules {
    /// Added to the logits of single tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Subtracted once from the logit of each token that was generated.
    pub presence_penalty: f32,
    /// Subtracted from a token's logit as often as it was generated.
    pub frequency_penalty: f32,
    /// No run of so many tokens comes twice, prompt included (Paulus et al. 2018); 0 allows all.
    pub no_repeat_ngram_size: usize,
    /// No stop token before so many tokens were generated.
    pub min_tokens: usize,
}

impl LogitsRules {
    /// # Errors
    /// [`ModelError::InvalidSampling`] names the first setting out of its range.
    pub fn validate(&self) -> Result<(), ModelError> {
        let finite = |key, found: f32| check_setting(found.is_finite(), key, found, "a finite number");
        finite("presence_penalty", self.presence_penalty)?;
        finite("frequency_penalty", self.frequency_penalty)?;
        self.logit_bias.iter().try_for_each(|(_, bias)| finite("logit_bias", *bias))
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == LogitsRules::default()
    }

    /// Whether tokens may be forbidden altogether.
    pub fn bans(&self) -> bool {
        self.no_repeat_ngram_size > 0 || self.min_tokens > 0
    }

    /// Changes `logits` (vocabulary) of the token after `sequence`, whose first `prompt` tokens were given. What is
    /// banned becomes minus infinity.
    pub fn apply(&self, logits: &mut [f32], sequence: &[u32], prompt: usize, stop_tokens: &[u32]) {
        for (token, bias) in &self.logit_bias {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit += bias;
            }
        }
        let generated = sequence.get(prompt..).unwrap_or_default();
        self.penalize(logits, generated);
        self.ban_repeated(logits, sequence);
        if generated.len() < self.min_tokens {
            ban(logits, stop_tokens.iter().copied());
        }
    }

    fn penalize(&self, logits: &mut [f32], generated: &[u32]) {
        if self.presence_penalty == 0.0 && self.frequency_penalty == 0.0 {
            return;
        }
        let mut generated = generated.to_vec();
        generated.sort_unstable();
        for same in generated.chunk_by(|a, b| a == b) {
            if let Some(logit) = logits.get_mut(same[0] as usize) {
                *logit -= self.presence_penalty + self.frequency_penalty * same.len() as f32;
            }
        }
    }

    /// Bans what followed each earlier occurrence of the last `no_repeat_ngram_size - 1` tokens.
    fn ban_repeated(&self, logits: &mut [f32], sequence: &[u32]) {
        let n = self.no_repeat_ngram_size;
        if n == 0 || sequence.len() < n {
            return;
        }
        let context = &sequence[sequence.len() + 1 - n..];
        let repeated = sequence.windows(n).filter(|ngram| ngram[..n - 1] == *context);
        ban(logits, repeated.map(|ngram| ngram[n - 1]));
    }
}

fn ban(logits: &mut [f32], tokens: impl Iterator<Item = u32>) {
    for token in tokens {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const OUT: f32 = f32::NEG_INFINITY;

    fn check(rules: LogitsRules, sequence: &[u32], prompt: usize, expected: [f32; 5]) {
        rules.validate().unwrap();
        let mut logits = [0.0; 5];
        rules.apply(&mut logits, sequence, prompt, &[0]);
        assert_eq!(logits, expected, "{rules:?}");
    }

    #[test]
    fn penalties_count_what_was_generated_and_biases_are_added() {
        let rules = || LogitsRules { presence_penalty: 1.0, frequency_penalty: 0.5, ..Default::default() };
        check(rules(), &[1, 1, 2, 3, 2], 2, [0.0, 0.0, -2.0, -1.5, 0.0]);
        check(rules(), &[1, 1], 2, [0.0; 5]);
        let biased = LogitsRules { logit_bias: vec![(4, -3.0), (2, 2.0), (99, 1.0)], ..rules() };
        check(biased, &[2], 0, [0.0, 0.0, 0.5, 0.0, -3.0]);
    }

    #[test]
    fn no_run_of_tokens_comes_twice() {
        let of = |n| LogitsRules { no_repeat_ngram_size: n, ..Default::default() };
        check(of(2), &[1, 2, 3, 1, 4, 1], 3, [0.0, 0.0, OUT, 0.0, OUT]);
        check(of(3), &[1, 2, 3, 1, 2], 0, [0.0, 0.0, 0.0, OUT, 0.0]);
        check(of(1), &[1, 3], 0, [0.0, OUT, 0.0, OUT, 0.0]);
        check(of(3), &[1, 2], 0, [0.0; 5]);
        check(of(2), &[], 0, [0.0; 5]);
    }

    #[test]
    fn no_end_before_the_shortest_length() {
        let rules = || LogitsRules { min_tokens: 2, ..Default::default() };
        check(rules(), &[1, 2, 3, 4], 3, [OUT, 0.0, 0.0, 0.0, 0.0]);
        check(rules(), &[1, 2, 3, 4], 2, [0.0; 5]);
    }

    #[test]
    fn settings_that_are_no_numbers_are_named() {
        let rules = LogitsRules { logit_bias: vec![(1, f32::NAN)], ..Default::default() };
        assert!(rules.validate().unwrap_err().to_string().contains("`logit_bias`"));
        let rules = LogitsRules { frequency_penalty: f32::INFINITY, ..Default::default() };
        assert!(rules.validate().unwrap_err().to_string().contains("`frequency_penalty`"));
    }
}
