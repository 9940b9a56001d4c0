//! Masked language modelling: which tokens of a text are hidden, as a pure function of the seed and the step.

use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::permutation::mix;

/// How tokens are hidden (Devlin et al. 2019, "BERT", 3.1 and A.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskingConfig {
    /// Part of the tokens that is to be guessed; at least one token is.
    pub share: f64,
    /// Part of those that becomes the mask token.
    pub masked: f64,
    /// Part of those that becomes a random token; the rest stays as it is.
    pub random: f64,
    /// Whether all pieces of a word are guessed or none (BERT's whole-word masking, 2019).
    pub whole_words: bool,
}

impl Default for MaskingConfig {
    fn default() -> Self {
        Self { share: 0.15, masked: 0.8, random: 0.1, whole_words: false }
    }
}

impl MaskingConfig {
    /// # Errors
    /// [`DataError::BadConfig`] names the key that cannot be.
    pub fn check(&self) -> Result<(), DataError> {
        let bad = |key, message: &str| Err(DataError::BadConfig { key, message: message.into() });
        let share = |x: f64| (0.0..=1.0).contains(&x);
        match self {
            Self { share: part, .. } if !share(*part) || *part == 0.0 => bad("share", "must be above 0 and at most 1"),
            Self { masked, .. } if !share(*masked) => bad("masked", "must be from 0 to 1"),
            Self { random, .. } if !share(*random) => bad("random", "must be from 0 to 1"),
            Self { masked, random, .. } if masked + random > 1.0 + 1e-9 => bad("random", "and masked are more than 1"),
            _ => Ok(()),
        }
    }
}

/// The tokens that masking writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskingTokens {
    /// What stands for a hidden token.
    pub mask: u32,
    /// Random tokens are below this.
    pub vocab_size: u32,
    /// Tokens that no random token is.
    pub special: Vec<u32>,
}

/// Whose text it is: another epoch hides other tokens of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskingKey {
    pub seed: u64,
    /// The optimiser step, or the epoch: whatever tells one look at a text from the next.
    pub step: u64,
    /// Number of the text within the step.
    pub sequence: u64,
}

/// A text to guess the hidden tokens of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masked {
    pub ids: Vec<u32>,
    /// Of each token what it was, or -100 where nothing is to be guessed.
    pub targets: Vec<i32>,
}

/// The target of a token that is not to be guessed.
const IGNORED: i32 = -100;

/// Hides tokens of `ids`: a share of them in a random order, at least one. What is hidden depends on nothing but the
/// arguments.
///
/// * `special`: of each token whether it belongs to the model and not to the text; such ones are never hidden
/// * `words`: of each token the word that it is a piece of; neighbours of one number are one word. Read only for whole
///   words, where a word that would go over the share is passed over.
///
/// # Panics
/// If `special` or `words` (when it is read) are not as long as `ids`.
pub fn mask_tokens(
    ids: &[u32],
    special: &[bool],
    words: &[Option<u32>],
    config: &MaskingConfig,
    tokens: &MaskingTokens,
    key: MaskingKey,
) -> Masked {
    assert_eq!(ids.len(), special.len(), "masking: tokens and their marks");
    let random = Random(mix(mix(mix(key.seed) ^ key.step) ^ key.sequence));
    let mut masked = Masked { ids: ids.to_vec(), targets: vec![IGNORED; ids.len()] };
    let mut units = units(special, config.whole_words.then_some(words));
    let candidates: usize = units.iter().map(ExactSizeIterator::len).sum();
    if candidates == 0 {
        return masked;
    }
    let wanted = ((candidates as f64 * config.share).round() as usize).max(1);
    units.sort_by_key(|unit| (random.bits(unit.start, 0), unit.start));
    let mut hidden = 0;
    for unit in units {
        if hidden > 0 && hidden + unit.len() > wanted {
            continue;
        }
        hidden += unit.len();
        for at in unit {
            masked.targets[at] = ids[at] as i32;
            masked.ids[at] = match random.unit(at, 1) {
                x if x < config.masked => tokens.mask,
                x if x < config.masked + config.random => random.token(at, tokens).unwrap_or(ids[at]),
                _ => ids[at],
            };
        }
        if hidden >= wanted {
            break;
        }
    }
    masked
}

/// The tokens, or runs of tokens, that are hidden together.
fn units(special: &[bool], words: Option<&[Option<u32>]>) -> Vec<std::ops::Range<usize>> {
    let mut units: Vec<std::ops::Range<usize>> = Vec::new();
    for at in (0..special.len()).filter(|at| !special[*at]) {
        let joins = words.is_some_and(|words| at > 0 && words[at].is_some() && words[at] == words[at - 1]);
        match units.last_mut() {
            Some(last) if joins && last.end == at => last.end = at + 1,
            _ => units.push(at..at + 1),
        }
    }
    units
}

/// Random numbers by place: each a hash of the key, the place and what it is for.
struct Random(u64);

impl Random {
    fn bits(&self, at: usize, purpose: u64) -> u64 {
        mix(self.0 ^ mix((at as u64) << 8 | purpose))
    }

    /// From 0 up to, not including, 1.
    fn unit(&self, at: usize, purpose: u64) -> f64 {
        (self.bits(at, purpose) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A token that is not special; `None` if there is hardly one.
    fn token(&self, at: usize, tokens: &MaskingTokens) -> Option<u32> {
        let size = u64::from(tokens.vocab_size).max(1);
        let mut tries = (2..66).map(|purpose| (self.bits(at, purpose) % size) as u32);
        tries.find(|token| *token != tokens.mask && !tokens.special.contains(token))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const KEY: MaskingKey = MaskingKey { seed: 3, step: 4, sequence: 5 };

    fn tokens() -> MaskingTokens {
        MaskingTokens { mask: 4, vocab_size: 1000, special: (0..5).collect() }
    }

    /// Ordinary tokens between two special ones, each third beginning a word.
    fn text(length: usize) -> (Vec<u32>, Vec<bool>, Vec<Option<u32>>) {
        let special: Vec<bool> = (0..length).map(|i| i == 0 || i + 1 == length).collect();
        let ids = (0..length).map(|i| if special[i] { 2 } else { 5 + (i * 37 % 995) as u32 }).collect();
        let words = (0..length).map(|i| (!special[i]).then_some(i as u32 / 3)).collect();
        (ids, special, words)
    }

    fn masked(length: usize, config: &MaskingConfig, key: MaskingKey) -> Masked {
        let (ids, special, words) = text(length);
        mask_tokens(&ids, &special, &words, config, &tokens(), key)
    }

    fn places(masked: &Masked) -> Vec<usize> {
        (0..masked.ids.len()).filter(|at| masked.targets[*at] != IGNORED).collect()
    }

    #[test]
    fn a_function_of_the_seed_the_step_and_the_sequence() {
        let config = MaskingConfig::default();
        let one = masked(200, &config, KEY);
        assert_eq!(one, masked(200, &config, KEY));
        let others = [MaskingKey { seed: 4, ..KEY }, MaskingKey { step: 5, ..KEY }, MaskingKey { sequence: 6, ..KEY }];
        for other in others {
            assert_ne!(places(&one), places(&masked(200, &config, other)));
        }
    }

    #[test]
    fn shares_are_those_of_the_settings_and_targets_the_tokens_that_were_there() {
        let config = MaskingConfig::default();
        let (ids, special, _) = text(402);
        let (mut kinds, mut counts, mut hidden) = ([0usize; 3], vec![0usize; 402], 0);
        for sequence in 0..500 {
            let masked = masked(402, &config, MaskingKey { sequence, ..KEY });
            let places = places(&masked);
            assert_eq!(places.len(), 60, "15% of 400");
            hidden += places.len();
            for at in 0..ids.len() {
                match masked.targets[at] {
                    IGNORED => assert_eq!(masked.ids[at], ids[at]),
                    target => {
                        assert!(!special[at] && target == ids[at] as i32);
                        assert!(masked.ids[at] == 4 || masked.ids[at] >= 5, "no special token is written");
                        let kind = if masked.ids[at] == 4 { 0 } else { 1 + usize::from(masked.ids[at] == ids[at]) };
                        kinds[kind] += 1;
                        counts[at] += 1;
                    }
                }
            }
        }
        for (kind, want) in kinds.iter().zip([0.8, 0.1, 0.1]) {
            let share = *kind as f64 / hidden as f64;
            assert!((share - want).abs() < 0.01, "{share}, expected {want}");
        }
        // Each of 400 places 75 times of 500, give or take five standard deviations.
        assert!(counts[1..401].iter().all(|count| (35..=115).contains(count)), "{counts:?}");
    }

    #[test]
    fn whole_words_are_hidden_whole() {
        let config = MaskingConfig { whole_words: true, ..MaskingConfig::default() };
        let mut hidden = 0;
        for sequence in 0..100 {
            let masked = masked(302, &config, MaskingKey { sequence, ..KEY });
            let places = places(&masked);
            hidden += places.len();
            assert!(places.len() <= 45);
            for at in places {
                let word = (at / 3 * 3).max(1)..(at / 3 * 3 + 3).min(301);
                assert!(word.into_iter().all(|at| masked.targets[at] != IGNORED), "{at}");
            }
        }
        assert!(hidden > 100 * 43, "{hidden}: near 45 of 300 each time");
    }

    #[test]
    fn one_token_at_least_and_none_where_all_are_special() {
        let config = MaskingConfig::default();
        assert_eq!(places(&masked(3, &config, KEY)), [1]);
        assert!(places(&masked(2, &config, KEY)).is_empty());
        assert!(masked(0, &config, KEY).ids.is_empty());
        let whole = MaskingConfig { whole_words: true, share: 0.01, ..config };
        assert!(!places(&masked(8, &whole, KEY)).is_empty());
    }

    #[test]
    fn impossible_settings_are_named() {
        let base = MaskingConfig::default;
        for (config, expected) in [
            (MaskingConfig { share: 0.0, ..base() }, "share"),
            (MaskingConfig { share: f64::NAN, ..base() }, "share"),
            (MaskingConfig { masked: 1.1, ..base() }, "masked"),
            (MaskingConfig { random: 0.3, ..base() }, "random"),
        ] {
            assert!(matches!(config.check(), Err(DataError::BadConfig { key, .. }) if key == expected), "{expected}");
        }
        base().check().unwrap();
    }
}
