//! Added tokens written in a text: found as the `tokenizers` crate finds them.

use aho_corasick::{AhoCorasick, MatchKind};
use tokenizers::AddedToken;

/// A stretch of text between added tokens, or one of them.
pub(super) enum Piece<'a> {
    Text(&'a str),
    Token(u32),
}

struct Added {
    id: u32,
    special: bool,
    lstrip: bool,
    rstrip: bool,
}

/// One set of added tokens: those to be found in the text as it is, or those to be found in the normalized text.
pub(super) struct AddedTokens {
    /// Its patterns are numbered as `tokens`.
    automaton: AhoCorasick,
    tokens: Vec<Added>,
    all_special: bool,
}

impl AddedTokens {
    /// `tokens` with the form in which each is written. Nothing where one must be a word of its own: what a word is, is
    /// left to the crate.
    pub(super) fn new(tokens: &[(u32, AddedToken, String)]) -> Option<Self> {
        if tokens.iter().any(|(_, token, _)| token.single_word) {
            return None;
        }
        let patterns = tokens.iter().map(|(_, _, written)| written);
        let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(patterns).ok()?;
        let added = |(id, token, _): &(u32, AddedToken, String)| Added {
            id: *id,
            special: token.special,
            lstrip: token.lstrip,
            rstrip: token.rstrip,
        };
        let all_special = tokens.iter().all(|(_, token, _)| token.special);
        Some(Self { automaton, tokens: tokens.iter().map(added).collect(), all_special })
    }

    /// The pieces of `text` in order. With `literal`, special tokens are ordinary text, and what they cover is not
    /// searched for others.
    pub(super) fn pieces<'a>(&self, text: &'a str, literal: bool, mut each: impl FnMut(Piece<'a>)) {
        let mut from = 0;
        if !(self.tokens.is_empty() || literal && self.all_special) {
            for found in self.automaton.find_iter(text) {
                let token = &self.tokens[found.pattern().as_usize()];
                if literal && token.special {
                    continue;
                }
                let (mut start, mut end) = (found.start(), found.end());
                if token.lstrip {
                    start = from.max(text[..start].trim_end().len());
                }
                if token.rstrip {
                    end = text.len() - text[end..].trim_start().len();
                }
                if from < start {
                    each(Piece::Text(&text[from..start]));
                }
                each(Piece::Token(token.id));
                from = end;
            }
        }
        if from < text.len() {
            each(Piece::Text(&text[from..]));
        }
    }
}
