//! Cutting a document into windows so that every token is scored exactly once.
//!
//! The sequence of a document with tokens `t1 … tn` is `<|endoftext|> t1 … tn`.
//! A window feeds `len` neighbouring entries of it to the model; the logits at
//! entry `i` are those of entry `i + 1`. So entries `0 … n-1` are the inputs and
//! `n` predictions are paid for: the first token too, from the boundary alone.
//!
//! ```text
//! n = 10, seq_len = 4, stride = 2      (. = context only, # = scored here)
//!   window 1   # # # #
//!   window 2       . . # #
//!   window 3           . . # #
//!   window 4               . . # #
//! ```

/// One stretch of a document's sequence that the model sees at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Index of the first input in the sequence (0 = the leading boundary).
    pub start: usize,
    /// Number of inputs.
    pub len: usize,
    /// The predictions at inputs `scored_from .. len` count; those before are context.
    pub scored_from: usize,
}

/// Windows over a document of `tokens` tokens: one if it fits into `seq_len`,
/// else the first full window scored whole, then windows that end `stride`
/// tokens further (the last one less), each scoring only its new tokens, with at
/// least `seq_len - stride` tokens of context before them.
///
/// Needs `1 <= stride <= seq_len`.
pub fn windows(tokens: usize, seq_len: usize, stride: usize) -> Vec<Window> {
    debug_assert!((1..=seq_len).contains(&stride));
    if tokens == 0 {
        return Vec::new();
    }
    let first = tokens.min(seq_len);
    let mut cut = vec![Window { start: 0, len: first, scored_from: 0 }];
    let mut done = first;
    while done < tokens {
        let new = stride.min(tokens - done);
        done += new;
        cut.push(Window { start: done - seq_len, len: seq_len, scored_from: seq_len - new });
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawing_in_the_docs() {
        let starts: Vec<_> = windows(10, 4, 2).iter().map(|w| (w.start, w.scored_from)).collect();
        assert_eq!(starts, [(0, 0), (2, 2), (4, 2), (6, 2)]);
        assert_eq!(windows(3, 4, 2), [Window { start: 0, len: 3, scored_from: 0 }]);
        assert!(windows(0, 4, 2).is_empty());
    }

    #[test]
    fn every_token_is_scored_once_with_enough_context() {
        for tokens in 0..40 {
            for seq_len in 1..12 {
                for stride in 1..=seq_len {
                    let mut scored = Vec::new();
                    for w in windows(tokens, seq_len, stride) {
                        assert!(w.len <= seq_len && w.start + w.len <= tokens);
                        if w.start > 0 {
                            assert!(w.scored_from >= seq_len - stride);
                        }
                        scored.extend((w.scored_from..w.len).map(|i| w.start + i));
                    }
                    assert_eq!(scored, (0..tokens).collect::<Vec<_>>());
                }
            }
        }
    }
}
