//! Learning merges: the crate's `BpeTrainer`, merge for merge and id for id, in less time and memory.
//!
//! `words.rs` counts the words of the texts on all threads; only the table of different words stays in memory.
//! `merge.rs` then joins the most frequent pair again and again. The result does not depend on the number of threads.

mod merge;
mod words;

use rayon::iter::{ParallelBridge, ParallelIterator};

use super::split::Split;
use crate::TextError;
use words::{Counter, Words};

/// What was learned.
#[derive(Debug, PartialEq)]
pub(crate) struct Learned {
    /// The written form of each id: special tokens, the 256 bytes, then what the merges made.
    pub(crate) tokens: Vec<String>,
    /// The ids of what is joined, in the order of the ranks.
    pub(crate) merges: Vec<(u32, u32)>,
}

/// Learns up to `vocab_size` tokens from texts that are split as danlu splits ([`Split::DigitsGpt2`]). No pair seen
/// less often than `min_frequency` is merged.
pub(crate) fn learn<S: AsRef<str> + Send>(
    texts: impl Iterator<Item = S> + Send,
    vocab_size: usize,
    min_frequency: u64,
    special_tokens: &[&str],
) -> Result<Learned, TextError> {
    let words = Words::new();
    texts
        .par_bridge()
        .fold(
            || Counter::new(&words),
            |mut counter, text| {
                let (text, bytes) = (text.as_ref(), text.as_ref().as_bytes());
                Split::DigitsGpt2.words(text, |start, end| counter.add(&bytes[start..end]));
                counter.flush_if_full();
                counter
            },
        )
        .for_each(|mut counter| counter.flush());
    merge::learn(words, vocab_size, min_frequency, special_tokens)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::SPECIAL_TOKENS;
    use crate::fallback::Inner;
    use proptest::prelude::*;
    use serde_json::Value;
    use tokenizers::AddedToken;
    use tokenizers::models::TrainerWrapper;
    use tokenizers::models::bpe::BpeTrainer;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    fn ours(texts: &[&str], vocab_size: usize, min_frequency: u64) -> Learned {
        learn(texts.iter(), vocab_size, min_frequency, &SPECIAL_TOKENS).unwrap()
    }

    /// By the crate, with the same options.
    fn theirs(texts: &[&str], vocab_size: usize, min_frequency: u64) -> Learned {
        let builder = BpeTrainer::builder()
            .vocab_size(vocab_size)
            .min_frequency(min_frequency)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(SPECIAL_TOKENS.iter().map(|token| AddedToken::from(*token, true)).collect());
        let mut inner: Inner = crate::tokenizer::untrained().unwrap();
        inner.train(&mut TrainerWrapper::BpeTrainer(builder.build()), texts.iter()).unwrap();
        let json: Value = serde_json::from_str(&inner.to_string(false).unwrap()).unwrap();
        let ids: BTreeMap<String, u32> = serde_json::from_value(json["model"]["vocab"].clone()).unwrap();
        let mut tokens: Vec<String> = ids.keys().cloned().collect();
        tokens.sort_by_key(|token| ids[token]);
        let merges: Vec<(String, String)> = serde_json::from_value(json["model"]["merges"].clone()).unwrap();
        Learned { tokens, merges: merges.iter().map(|(left, right)| (ids[left], ids[right])).collect() }
    }

    fn check(texts: &[&str], vocab_size: usize, min_frequency: u64) {
        let expect = theirs(texts, vocab_size, min_frequency);
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let learned = pool.install(|| ours(texts, vocab_size, min_frequency));
            assert_eq!(learned, expect, "{threads} threads");
        }
    }

    #[test]
    fn merges_of_english_and_chinese_are_those_of_the_crate() {
        let english: Vec<&str> = include_str!("../../../../../README.md").split("\n\n").collect();
        let chinese: Vec<&str> = include_str!("../../../../../README.zh.md").split("\n\n").collect();
        let code: Vec<&str> = include_str!("merge.rs").lines().collect();
        for min_frequency in [0, 2, 5] {
            check(&english, 1200, min_frequency);
            check(&chinese, 1500, min_frequency);
            check(&[english.clone(), chinese.clone(), code.clone()].concat(), 2000, min_frequency);
        }
    }

    #[test]
    fn few_texts_end_early_and_none_give_the_bytes() {
        check(&[], 1000, 0);
        check(&["a", "1", " "], 1000, 0);
        check(&["aaaaaaaaaaaaaaaaaaaa bbbbbbb ababababab"], 1000, 0);
        check(&["once", "twice twice", "<|endoftext|> <|endoftext|>"], 1000, 2);
        assert_eq!(ours(&[], 1000, 0).tokens.len(), 259);
    }

    /// Two ways that lead to the same token bring pairs back that were merged before.
    #[test]
    fn a_word_of_many_ways_to_the_same_token() {
        check(&["abc abc abc bcd bcd bcd bcd abcd abcd xabcd xbcd abcx abcabc abcabcd bcabc abcdabcd"; 3], 400, 0);
        check(&["中中文文中文中文文中中文"; 5], 300, 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn merges_of_random_texts_are_those_of_the_crate(
            texts in prop::collection::vec("([ab]{1,9}|[abc]{1,12}|[的一是]{1,6}| |\n|1){1,12}", 1..12), min_frequency in 0u64..4,
        ) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let (ours, theirs) = (ours(&texts, 330, min_frequency), theirs(&texts, 330, min_frequency));
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn merges_of_any_texts_are_those_of_the_crate(texts in prop::collection::vec(any::<String>(), 0..8)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            prop_assert_eq!(ours(&texts, 300, 0), theirs(&texts, 300, 0));
        }
    }
}
