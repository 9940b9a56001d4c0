use std::borrow::Cow;
use std::ops::Range;

use danlu_text::Tokenizer;

use super::suffixes::is_end;
use super::winnow::{Sample, winnow};
use crate::DataError;
use crate::dedup::SubstringConfig;

/// What spans are made of and how long they are at least: bytes, or the tokens of a tokenizer.
///
/// A text is a sequence of units either way, and a unit spells some of its bytes: a byte itself, a token those that it
/// stands for. Where a unit is kept for the suffix array, it takes `width` bytes.
pub(in crate::dedup) struct Units {
    /// `None` for bytes.
    tokenizer: Option<Tokenizer>,
    pub(super) width: usize,
    /// The shortest span.
    pub(super) min: usize,
}

/// A part of a text.
pub(super) struct Piece {
    /// The byte at which it begins, in what the units spell.
    pub(super) at: usize,
    pub(super) units: Vec<u8>,
}

impl Units {
    /// # Errors
    /// A tokenizer that is not there, or is none.
    pub(in crate::dedup) fn open(config: &SubstringConfig) -> Result<Self, DataError> {
        let Some(path) = &config.tokenizer else {
            return Ok(Self { tokenizer: None, width: 1, min: config.min_bytes });
        };
        let tokenizer = Tokenizer::from_file(path)?;
        Ok(Self { width: width(tokenizer.vocab_size()), tokenizer: Some(tokenizer), min: config.min_tokens })
    }

    /// What units are called, and the key of the shortest span.
    pub(super) fn names(&self) -> (&'static str, &'static str) {
        if self.tokenizer.is_some() { ("tokens", "min_tokens") } else { ("bytes", "min_bytes") }
    }

    /// The text's samples; `None` where the tokens do not spell it, so that nothing could be cut at them.
    pub(super) fn samples(&self, text: &str) -> Result<Option<Vec<Sample>>, DataError> {
        match &self.tokenizer {
            None => Ok(Some(winnow(text.as_bytes(), self.min))),
            Some(tokenizer) => Ok(ids(tokenizer, text)?.map(|ids| winnow(&ids, self.min))),
        }
    }

    /// The parts of a text that some spans of its units cover, in order, with whole characters at both ends.
    pub(super) fn pieces(&self, text: &str, spans: Vec<Range<usize>>) -> Result<Vec<Piece>, DataError> {
        let all = self.packed(text)?;
        let (mut unit, mut at) = (0, 0);
        let piece = |span| {
            let Range { start, end } = self.whole_characters(&all, span);
            at += self.spelled_len(&all[unit * self.width..start * self.width]);
            unit = start;
            Piece { at, units: all[start * self.width..end * self.width].to_vec() }
        };
        Ok(spans.into_iter().map(piece).collect())
    }

    /// All units of a text, one after another.
    fn packed<'a>(&self, text: &'a str) -> Result<Cow<'a, [u8]>, DataError> {
        let Some(tokenizer) = &self.tokenizer else { return Ok(Cow::Borrowed(text.as_bytes())) };
        let ids = ids(tokenizer, text)?.unwrap_or_default();
        Ok(ids.iter().flat_map(|id| id.to_be_bytes().into_iter().skip(4 - self.width)).collect::<Vec<_>>().into())
    }

    /// Widens a span until it begins and ends with a character; one that reaches beyond the text ends with it.
    fn whole_characters(&self, all: &[u8], span: Range<usize>) -> Range<usize> {
        let count = all.len() / self.width;
        let inside = |unit: usize| unit < count && !self.begins_character(&all[unit * self.width..][..self.width]);
        let (mut start, mut end) = (span.start.min(count), span.end.min(count));
        while start > 0 && inside(start) {
            start -= 1;
        }
        while inside(end) {
            end += 1;
        }
        start..end
    }

    /// Whether a character begins with the unit, or a region ends with it.
    pub(super) fn begins_character(&self, unit: &[u8]) -> bool {
        is_end(unit) || self.spelled(unit).first().is_some_and(|first| first & 0xC0 != 0x80)
    }

    /// Bytes that some units spell.
    pub(super) fn spelled_len(&self, units: &[u8]) -> usize {
        match self.tokenizer {
            None => units.len(),
            Some(_) => units.chunks_exact(self.width).map(|unit| self.spelled(unit).len()).sum(),
        }
    }

    fn spelled<'a>(&'a self, unit: &'a [u8]) -> &'a [u8] {
        let number = || unit.iter().fold(0, |number, &byte| number << 8 | u32::from(byte));
        self.tokenizer.as_ref().map_or(unit, |tokenizer| tokenizer.token_bytes(number()))
    }

    /// The place in a text of a byte of what its units spell, which may begin with a space that the text does not have.
    pub(super) fn place(&self, spelled: usize) -> usize {
        let added = self.tokenizer.as_ref().is_some_and(Tokenizer::adds_space);
        spelled.saturating_sub(usize::from(added))
    }
}

/// The tokens of a text, if they spell exactly it.
fn ids(tokenizer: &Tokenizer, text: &str) -> Result<Option<Vec<u32>>, DataError> {
    let ids = tokenizer.encode_literal(text)?;
    Ok(tokenizer.spells(&ids, text).then_some(ids))
}

/// Bytes for a token, of which none may be the unit that ends a region.
fn width(vocab_size: usize) -> usize {
    (1..4).find(|&width| vocab_size < 1 << (8 * width)).unwrap_or(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_the_end_of_a_region() {
        assert_eq!([255, 256, 65_535, 65_536, 0xFF_FFFF, 0x100_0000].map(width), [1, 2, 2, 3, 3, 4]);
    }
}
