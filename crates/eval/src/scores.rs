//! What is counted, and the figures made of the counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The figures of one group of documents (all, one language, one source).
///
/// With `N` scored tokens, `nats` the sum of `-ln p(token | context)` over them
/// and `B` the bytes of UTF-8 text they spell:
///
/// - `loss = nats / N` (nats per token), `perplexity = exp(loss)`;
/// - `bits_per_byte = nats / ln 2 / B`: the only one of them that may be compared
///   between models with different tokenizers;
/// - `top1`, `top5`: the share of tokens that the model ranked first, or among
///   its first five, before seeing them (ties go to the lower token id).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    pub loss: f64,
    pub perplexity: f64,
    pub bits_per_byte: f64,
    /// Between 0 and 1.
    pub top1: f64,
    /// Between 0 and 1.
    pub top5: f64,
    /// Scored tokens: every token of the text, no special token.
    pub tokens: u64,
    /// Bytes of the text in UTF-8.
    pub bytes: u64,
    pub documents: u64,
}

/// Exact sums from which [`Scores`] are made; merging tallies in document order
/// gives the same bits whatever the batch size was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    pub nats: f64,
    pub top1: u64,
    pub top5: u64,
    pub tokens: u64,
    pub bytes: u64,
    pub documents: u64,
}

impl Tally {
    /// Counts one token: its cost in nats and its rank (0 = the model's first guess).
    pub fn add(&mut self, nats: f64, rank: usize) {
        self.nats += nats;
        self.top1 += u64::from(rank < 1);
        self.top5 += u64::from(rank < 5);
        self.tokens += 1;
    }

    pub fn merge(&mut self, other: &Tally) {
        self.nats += other.nats;
        self.top1 += other.top1;
        self.top5 += other.top5;
        self.tokens += other.tokens;
        self.bytes += other.bytes;
        self.documents += other.documents;
    }

    /// `None` when no token was scored: there is no honest mean of nothing.
    pub fn scores(&self) -> Option<Scores> {
        if self.tokens == 0 || self.bytes == 0 {
            return None;
        }
        let tokens = self.tokens as f64;
        let loss = self.nats / tokens;
        Some(Scores {
            loss,
            perplexity: loss.exp(),
            bits_per_byte: bits_per_byte(self.nats, self.bytes),
            top1: self.top1 as f64 / tokens,
            top5: self.top5 as f64 / tokens,
            tokens: self.tokens,
            bytes: self.bytes,
            documents: self.documents,
        })
    }
}

/// `nats / ln 2 / bytes`.
pub fn bits_per_byte(nats: f64, bytes: u64) -> f64 {
    nats / std::f64::consts::LN_2 / bytes as f64
}

/// Tallies of all documents and of each language and source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    pub overall: Tally,
    pub by_language: BTreeMap<String, Tally>,
    pub by_source: BTreeMap<String, Tally>,
}

impl Groups {
    pub fn add(&mut self, language: &str, source: &str, tally: &Tally) {
        self.overall.merge(tally);
        merge_into(&mut self.by_language, language, tally);
        merge_into(&mut self.by_source, source, tally);
    }
}

fn merge_into(groups: &mut BTreeMap<String, Tally>, name: &str, tally: &Tally) {
    match groups.get_mut(name) {
        Some(group) => group.merge(tally),
        None => {
            groups.insert(name.to_owned(), *tally);
        }
    }
}

/// Scores of every group that has a token.
pub(crate) fn group_scores(groups: &BTreeMap<String, Tally>) -> BTreeMap<String, Scores> {
    groups.iter().filter_map(|(name, tally)| Some((name.clone(), tally.scores()?))).collect()
}

/// Cost in nats of `target` under `logits`, and its rank among them: the number
/// of tokens the model prefers, equal logits being ranked by id.
///
/// `-ln softmax(logits)[target]`, summed in f64. `None` if the result is not
/// finite or `target` lies outside `logits`.
pub fn token_cost(logits: &[f32], target: u32) -> Option<(f64, usize)> {
    let index = target as usize;
    let own = *logits.get(index)?;
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0f64;
    let mut rank = 0usize;
    for (id, &logit) in logits.iter().enumerate() {
        sum += f64::from((logit - greatest).exp());
        rank += usize::from(logit > own || (logit == own && id < index));
    }
    let nats = sum.ln() + f64::from(greatest) - f64::from(own);
    nats.is_finite().then_some((nats, rank))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn token_cost_of_three_logits_by_hand() {
        // softmax(ln 1, ln 2, ln 5) = (1/8, 2/8, 5/8)
        let logits = [1.0f32.ln(), 2.0f32.ln(), 5.0f32.ln()];
        for (target, share, rank) in [(0, 0.125f64, 2), (1, 0.25, 1), (2, 0.625, 0)] {
            let (nats, got) = token_cost(&logits, target).unwrap();
            assert!((nats + share.ln()).abs() < 1e-6, "{nats}");
            assert_eq!(got, rank);
        }
    }

    #[test]
    fn equal_logits_cost_ln_v_and_rank_by_id() {
        let logits = [3.5f32; 64];
        for target in [0u32, 7, 63] {
            let (nats, rank) = token_cost(&logits, target).unwrap();
            assert!((nats - 64f64.ln()).abs() < 1e-12);
            assert_eq!(rank, target as usize);
        }
    }

    #[test]
    fn large_logits_do_not_overflow_and_nan_is_refused() {
        let (nats, _) = token_cost(&[1e30, 0.0], 0).unwrap();
        assert_eq!(nats, 0.0);
        assert_eq!(token_cost(&[f32::NAN, 0.0], 1), None);
        assert_eq!(token_cost(&[f32::NEG_INFINITY, 0.0], 0), None);
        assert_eq!(token_cost(&[0.0, 0.0], 2), None);
    }

    #[test]
    fn figures_follow_from_the_sums() {
        let mut tally = Tally { bytes: 6, documents: 1, ..Tally::default() };
        // two tokens of 1 bit and 3 bits over 6 bytes
        tally.add(std::f64::consts::LN_2, 0);
        tally.add(3.0 * std::f64::consts::LN_2, 4);
        let scores = tally.scores().unwrap();
        assert!((scores.bits_per_byte - 4.0 / 6.0).abs() < 1e-15);
        assert!((scores.perplexity - 4.0).abs() < 1e-12);
        assert_eq!((scores.top1, scores.top5), (0.5, 1.0));
        assert_eq!(Tally::default().scores(), None);
    }
}
