//! From tokens to text that may be shown: whole characters only, and never a part of a stop string.

use danlu_text::DecodeStream;

/// What is known of one token besides its text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TokenScore {
    /// The token's own bytes, perhaps less than a character.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability, before temperature and cuts. Absent for a prompt's first token.
    pub logprob: Option<f32>,
    /// The likeliest tokens at its place, best first.
    pub top: Vec<(Vec<u8>, f32)>,
    /// Where its text begins, in characters from the beginning of the reply.
    pub offset: usize,
}

/// Text that is safe to show, with the scores of the tokens that begin in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Piece {
    pub text: String,
    pub scores: Vec<TokenScore>,
}

impl Piece {
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.scores.is_empty()
    }
}

/// Gathers one sequence's tokens into pieces.
pub(crate) struct Assembler<'t> {
    /// `None` once finished.
    decoder: Option<DecodeStream<'t>>,
    stops: Vec<String>,
    /// Decoded, but perhaps the beginning of a stop string.
    held: String,
    /// Scores of tokens that do not begin in shown text yet.
    held_scores: Vec<TokenScore>,
    /// Characters shown so far.
    shown: usize,
}

impl<'t> Assembler<'t> {
    pub fn new(decoder: DecodeStream<'t>, stops: Vec<String>) -> Self {
        Self { decoder: Some(decoder), stops, held: String::new(), held_scores: Vec::new(), shown: 0 }
    }

    /// Counts characters that were shown by other means, such as an echoed prompt.
    pub fn skip(&mut self, characters: usize) {
        self.shown += characters;
    }

    /// Adds a token, `None` for one that has no text to show. Returns the text that it makes safe, and whether a stop string ended the reply.
    /// The score's offset is set here.
    pub fn push(&mut self, token: Option<u32>, score: Option<TokenScore>) -> (Piece, bool) {
        let offset = self.shown + self.held.chars().count();
        self.held_scores.extend(score.map(|score| TokenScore { offset, ..score }));
        let text = token.and_then(|token| self.decoder.as_mut()?.push(token));
        let Some(text) = text else { return (Piece::default(), false) };
        self.held.push_str(&text);
        if let Some(at) = self.first_stop() {
            return (self.cut(at), true);
        }
        let safe = self.held.len() - self.longest_stop_prefix();
        (self.show(safe), false)
    }

    /// Shows what is held: the reply ends here, so that no stop string can follow.
    pub fn finish(&mut self) -> Piece {
        if let Some(rest) = self.decoder.take().and_then(DecodeStream::finish) {
            self.held.push_str(&rest);
        }
        match self.first_stop() {
            Some(at) => self.cut(at),
            None => {
                let mut piece = self.show(self.held.len());
                piece.scores.append(&mut self.held_scores);
                piece
            }
        }
    }

    /// Where the earliest stop string begins in the held text.
    fn first_stop(&self) -> Option<usize> {
        self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min()
    }

    /// Length in bytes of the longest end of the held text that may become a stop string.
    fn longest_stop_prefix(&self) -> usize {
        let longest_of = |stop: &String| {
            let ends = stop.char_indices().map(|(at, _)| at).skip(1).filter(|at| *at <= self.held.len());
            ends.filter(|at| self.held.as_bytes().ends_with(&stop.as_bytes()[..*at])).max()
        };
        self.stops.iter().filter_map(longest_of).max().unwrap_or(0)
    }

    fn cut(&mut self, at: usize) -> Piece {
        let piece = self.show(at);
        self.held.clear();
        self.held_scores.clear();
        piece
    }

    fn show(&mut self, bytes: usize) -> Piece {
        let text: String = self.held.drain(..bytes).collect();
        self.shown += text.chars().count();
        let ready = self.held_scores.iter().take_while(|score| score.offset < self.shown).count();
        Piece { text, scores: self.held_scores.drain(..ready).collect() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use danlu_text::{Tokenizer, TokenizerConfig};
    use proptest::prelude::*;

    use super::*;

    /// A tokenizer whose tokens are single bytes: every boundary is possible.
    fn bytes() -> Tokenizer {
        let config = TokenizerConfig { vocab_size: 259, ..TokenizerConfig::default() };
        Tokenizer::train(["aaaa bbbb 春眠不觉晓"].into_iter(), &config).unwrap()
    }

    fn assemble(tokenizer: &Tokenizer, text: &str, stops: &[&str]) -> (Vec<String>, bool) {
        let stops = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut assembler = Assembler::new(tokenizer.stream(), stops);
        let mut pieces = Vec::new();
        for byte in text.bytes() {
            let ids = (0..tokenizer.vocab_size() as u32).find(|id| tokenizer.token_bytes(*id) == [byte]).unwrap();
            let (piece, stopped) = assembler.push(Some(ids), None);
            pieces.push(piece.text);
            if stopped {
                return (pieces, true);
            }
        }
        pieces.push(assembler.finish().text);
        (pieces, false)
    }

    #[test]
    fn a_stop_string_never_shows_even_in_part() {
        let tokenizer = bytes();
        let check = |text: &str, stops: &[&str], shown: &str, stopped: bool| {
            let (pieces, ended) = assemble(&tokenizer, text, stops);
            assert_eq!((pieces.concat().as_str(), ended), (shown, stopped), "{text:?} {stops:?}");
        };
        check("one END two", &["END"], "one ", true);
        check("one EN two", &["END"], "one EN two", false);
        check("one EN", &["END"], "one EN", false);
        check("aab", &["aab"], "", true);
        check("aaab", &["aab"], "a", true);
        check("春眠不觉晓", &["不觉"], "春眠", true);
        check("春眠不", &["不觉"], "春眠不", false);
        check("xyz", &["yz", "xyz!"], "x", true);
        check("no stops", &[], "no stops", false);
        check(
            "

User: hi",
            &["
User:"],
            "
",
            true,
        );
    }

    #[test]
    fn scores_follow_their_text() {
        let tokenizer = bytes();
        let score = || TokenScore { bytes: vec![], logprob: Some(-1.0), top: vec![], offset: 9 };
        let mut assembler = Assembler::new(tokenizer.stream(), vec!["bc".into()]);
        let id = |byte: u8| (0..259).find(|id| tokenizer.token_bytes(*id) == [byte]).unwrap();
        let (piece, _) = assembler.push(Some(id(b'a')), Some(score()));
        assert_eq!((piece.text.as_str(), piece.scores.len(), piece.scores[0].offset), ("a", 1, 0));
        let (piece, _) = assembler.push(Some(id(b'b')), Some(score()));
        assert!(piece.is_empty(), "held with its score");
        let (piece, stopped) = assembler.push(Some(id(b'd')), Some(score()));
        let offsets: Vec<usize> = piece.scores.iter().map(|score| score.offset).collect();
        assert_eq!((piece.text.as_str(), offsets, stopped), ("bd", vec![1, 2], false));
        assembler.push(Some(id(b'b')), Some(score()));
        let (piece, stopped) = assembler.push(Some(id(b'c')), Some(score()));
        assert_eq!((piece, stopped), (Piece::default(), true), "a cut token has no score");
    }

    proptest! {
        /// Against the plain definition: the text up to the earliest-ending stop string.
        #[test]
        fn streaming_equals_searching(text in "[abc春]{0,40}", stops in prop::collection::vec("[abc春]{1,4}", 0..4)) {
            let tokenizer = bytes();
            let refs: Vec<&str> = stops.iter().map(String::as_str).collect();
            let (pieces, stopped) = assemble(&tokenizer, &text, &refs);
            let shown = pieces.concat();
            // The stop string whose end comes first wins; among those that end together, the longest.
            let end = stops.iter().filter_map(|stop| text.find(stop.as_str()).map(|at| at + stop.len())).min();
            let expected = end.map(|end| {
                let starts = stops.iter().filter(|stop| text[..end].ends_with(stop.as_str())).map(|stop| end - stop.len());
                &text[..starts.min().unwrap()]
            });
            prop_assert_eq!(stopped, expected.is_some());
            prop_assert_eq!(shown.as_str(), expected.unwrap_or(&text));
            let mut sofar = String::new();
            for piece in &pieces {
                sofar.push_str(piece);
                prop_assert!(stops.iter().all(|stop| !sofar.contains(stop.as_str())));
            }
        }
    }
}
