//! Encoding by the `tokenizers` crate, for the tokenizers that `bpe` does not know.

use std::sync::OnceLock;

use tokenizers::{
    DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};

use crate::TextError;
use crate::segments::{SEGMENT_BYTES, segments};

pub(crate) type Inner =
    TokenizerImpl<ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// The crate's tokenizer, and a second one where special tokens are ordinary text: made when first asked for, because
/// a vocabulary is large and most programs use only one of the two.
#[derive(Clone)]
pub(crate) struct Fallback {
    inner: Inner,
    literal: OnceLock<Inner>,
    /// Whether long texts may be cut before line ends; see `segments`.
    cut_at_newlines: bool,
    segment_bytes: usize,
}

impl Fallback {
    pub(crate) fn new(inner: Inner, cut_at_newlines: bool) -> Self {
        Self { inner, literal: OnceLock::new(), cut_at_newlines, segment_bytes: SEGMENT_BYTES }
    }

    /// Of a tokenizer that puts something before each text, or whose tokens may span what `segments` cuts.
    pub(crate) fn uncut(inner: Inner) -> Self {
        Self { segment_bytes: usize::MAX, ..Self::new(inner, false) }
    }

    pub(crate) fn encode(&self, text: &str, literal: bool) -> Result<Vec<u32>, TextError> {
        self.encode_cut(text, literal, self.segment_bytes)
    }

    fn encode_cut(&self, text: &str, literal: bool, segment_bytes: usize) -> Result<Vec<u32>, TextError> {
        let inner = match literal {
            true => self.literal.get_or_init(|| {
                let mut literal = self.inner.clone();
                literal.set_encode_special_tokens(true);
                literal
            }),
            false => &self.inner,
        };
        let mut ids = Vec::new();
        for piece in segments(text, segment_bytes, self.cut_at_newlines) {
            let encoding = inner
                .encode_fast(piece, false)
                .map_err(|e| TextError::Encode { bytes: text.len(), message: e.to_string() })?;
            ids.extend_from_slice(encoding.get_ids());
        }
        Ok(ids)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::{Tokenizer, TokenizerConfig};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// One with danlu's split, and one with Qwen's, which joins punctuation and line ends.
    static FALLBACKS: LazyLock<[Fallback; 2]> = LazyLock::new(|| {
        let texts = ["a. b春眠.\n\nzé 's a'll  a\r\n. an apple. a春眠 an apple"; 4];
        let ours = Tokenizer::train(texts.iter(), &TokenizerConfig { vocab_size: 270, ..Default::default() }).unwrap();
        let pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        let mut json: Value = serde_json::from_str(ours.json()).unwrap();
        let ours = Inner::from_bytes(json.to_string()).unwrap();
        json["pre_tokenizer"] = json!({ "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false }] });
        let qwen = Inner::from_bytes(json.to_string()).unwrap();
        [Fallback::new(ours, true), Fallback::new(qwen, false)]
    });

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn cut_texts_have_the_same_ids(
            text in "([a-zé春眠]{1,3}|[ \n\t\r]{1,3}|[.,!'\u{301}]|'s|[0-9]|<[|]endoftext[|]>){0,30}", size in 0usize..8,
        ) {
            for fallback in FALLBACKS.iter() {
                for literal in [false, true] {
                    let mut whole = fallback.inner.clone();
                    whole.set_encode_special_tokens(literal);
                    let expect = whole.encode_fast(text.as_str(), false).unwrap().get_ids().to_vec();
                    prop_assert_eq!(fallback.encode_cut(&text, literal, size).unwrap(), expect);
                }
            }
        }
    }
}
