//! What may come next in a transcript.

use std::sync::Arc;

use danlu_model::{LogitsConstraint, ModelError};

use super::timestamps::TimeTokens;

/// What a model's folder forbids, and the rules by which Whisper's own program has a text with times: each segment between
/// two of them, times that never go back, the first within a second, and a time wherever times together are likelier than
/// any word.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// `suppress_tokens`: sounds that are no speech, and marks.
    pub(super) never: Arc<[u32]>,
    /// `begin_suppress_tokens`: a text begins with neither a space nor its end.
    pub(super) not_first: Arc<[u32]>,
    pub(super) times: TimeTokens,
    /// Whether the text has times; else none may come.
    pub(super) timestamps: bool,
    /// Latest first time, in steps.
    pub(super) latest_start: u32,
    pub(super) said: Vec<u32>,
}

impl Rules {
    fn is_time(&self, tokens: TimeTokens, back: usize) -> bool {
        let at = self.said.len().checked_sub(back);
        at.and_then(|at| self.said.get(at)).is_some_and(|token| *token >= tokens.first)
    }

    /// The first time that may come: not before the last one, and behind it where that one began a segment.
    fn earliest(&self, tokens: TimeTokens) -> Option<u32> {
        let last = self.said.iter().rev().find(|token| **token >= tokens.first)?;
        let ended = self.is_time(tokens, 1) && !self.is_time(tokens, 2) && self.said.len() > 1;
        Some(if ended { *last } else { last + 1 })
    }

    fn mask_times(&self, tokens: TimeTokens, logits: &mut [f32]) {
        let vocabulary = logits.len();
        let place = |token: u32| (token as usize).min(vocabulary);
        let (first, end) = (place(tokens.first), place(tokens.end));
        forbid(logits, place(tokens.none), place(tokens.none.saturating_add(1)));
        if self.is_time(tokens, 1) {
            // Behind a pair of times, or the very first one, comes a word; behind one that ended a segment its twin, or the
            // end.
            match self.is_time(tokens, 2) || self.said.len() == 1 {
                true => forbid(logits, first, vocabulary),
                false => forbid(logits, 0, end),
            }
        }
        if let Some(earliest) = self.earliest(tokens) {
            forbid(logits, first, place(earliest));
        }
        if self.said.is_empty() {
            forbid(logits, 0, first);
            forbid(logits, place(tokens.first.saturating_add(self.latest_start + 1)), vocabulary);
        }
        if times_win(logits, first) {
            forbid(logits, 0, first);
        }
    }
}

impl LogitsConstraint for Rules {
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), ModelError> {
        let first = if self.said.is_empty() { &self.not_first[..] } else { &[] };
        for token in self.never.iter().chain(first) {
            forbid(logits, *token as usize, *token as usize + 1);
        }
        match self.timestamps {
            true => self.mask_times(self.times, logits),
            false => forbid(logits, self.times.first as usize, logits.len()),
        }
        Ok(())
    }

    fn commit(&mut self, token: u32) -> Result<(), ModelError> {
        self.said.push(token);
        Ok(())
    }

    fn is_complete(&self) -> bool {
        false
    }

    fn fork(&self) -> Box<dyn LogitsConstraint> {
        Box::new(self.clone())
    }
}

fn forbid(logits: &mut [f32], from: usize, to: usize) {
    let to = to.min(logits.len());
    if from < to {
        logits[from..to].fill(f32::NEG_INFINITY);
    }
}

/// Whether the times, from `first` on, are together likelier than the likeliest of the rest.
fn times_win(logits: &[f32], first: usize) -> bool {
    let (rest, times) = logits.split_at(first);
    let most = |logits: &[f32]| logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (word, time) = (most(rest), most(times));
    if !time.is_finite() {
        return false;
    }
    let sum: f64 = times.iter().map(|x| f64::from(x - time).exp()).sum();
    f64::from(time) + sum.ln() > f64::from(word)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Words 0 to 4, the end 5, no times 6, times from 7 on.
    const TOKENS: TimeTokens = TimeTokens { first: 7, none: 6, end: 5 };

    fn rules(timestamps: bool) -> Rules {
        let (never, not_first) = ([3].into(), [0, 5].into());
        Rules { never, not_first, times: TOKENS, timestamps, latest_start: 2, said: Vec::new() }
    }

    fn allowed(mut rules: Rules, said: &[u32], logits: &[f32]) -> Vec<usize> {
        said.iter().for_each(|token| rules.commit(*token).unwrap());
        let mut logits = logits.to_vec();
        rules.mask(&mut logits).unwrap();
        (0..logits.len()).filter(|at| logits[*at].is_finite()).collect()
    }

    #[test]
    fn what_a_folder_forbids_does_not_come() {
        assert_eq!(allowed(rules(false), &[], &[0.0; 9]), [1, 2, 4, 6]);
        assert_eq!(allowed(rules(false), &[1], &[0.0; 9]), [0, 1, 2, 4, 5, 6]);
    }

    #[test]
    fn times_come_in_pairs_and_never_go_back() {
        // Words are likelier than all times.
        let mut words = [0.0; 12];
        words[..6].fill(9.0);
        let allowed = |said: &[u32], logits: &[f32]| allowed(rules(true), said, logits);
        assert_eq!(allowed(&[], &words), [7, 8, 9]);
        assert_eq!(allowed(&[7], &words), [0, 1, 2, 4, 5]);
        assert_eq!(allowed(&[7, 1], &words), [0, 1, 2, 4, 5, 8, 9, 10, 11]);
        assert_eq!(allowed(&[7, 1, 9], &words), [5, 9, 10, 11]);
        assert_eq!(allowed(&[7, 1, 9, 9], &words), [0, 1, 2, 4, 5]);
        assert_eq!(allowed(&[7, 1, 9, 9, 2], &words), [0, 1, 2, 4, 5, 10, 11]);
        // Together the times outweigh each word.
        assert_eq!(allowed(&[7, 1], &[0.0; 12]), [8, 9, 10, 11]);
    }
}
