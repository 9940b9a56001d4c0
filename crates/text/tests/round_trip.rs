//! The tokenizer's two promises on arbitrary Unicode, on a vocabulary learned from a little English and Chinese.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::LazyLock;

use danlu_text::{IM_START, TextError, Tokenizer, TokenizerConfig};
use proptest::prelude::*;

const TEXTS: [&str; 3] = [
    "We the People of the United States, in Order to form a more perfect Union, establish Justice, insure domestic \
     Tranquility, provide for the common defence, promote the general Welfare, and secure the Blessings of Liberty to \
     ourselves and our Posterity, do ordain and establish this Constitution for the United States of America.",
    "床前明月光，疑是地上霜。舉頭望明月，低頭思故鄉。明月出天山，蒼茫雲海間。春眠不覺曉，處處聞啼鳥。明月何時有。",
    "In 1790 and 1791, 12 of the 13 States; the State of the Union.",
];

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| train(320).unwrap());

fn train(vocab_size: usize) -> Result<Tokenizer, TextError> {
    Tokenizer::train(TEXTS.iter(), &TokenizerConfig { vocab_size, ..Default::default() })
}

fn check_round_trip(text: &str) -> Result<(), TestCaseError> {
    let ids = TOKENIZER.encode(text).unwrap();
    let literal = TOKENIZER.encode_literal(text).unwrap();
    prop_assert!(literal.iter().all(|&id| !TOKENIZER.is_special(id)));
    for ids in [ids, literal] {
        prop_assert!(ids.iter().all(|&id| (id as usize) < TOKENIZER.vocab_size()));
        prop_assert_eq!(TOKENIZER.decode(&ids), text);
        prop_assert_eq!(streamed(&ids), text);
    }
    Ok(())
}

fn streamed(ids: &[u32]) -> String {
    let mut stream = TOKENIZER.stream();
    let mut out: String = ids.iter().filter_map(|&id| stream.push(id)).collect();
    out.push_str(&stream.finish().unwrap_or_default());
    out
}

proptest! {
    #[test]
    fn any_text(text in any::<String>()) {
        check_round_trip(&text)?;
    }

    #[test]
    fn text_with_markers(text in "(\\PC{0,8}|<\\|endoftext\\|>|<\\|im_start\\|>|<\\|im_end| |\n|[0-9]+|[的月明天a-z]+){0,12}") {
        check_round_trip(&text)?;
    }

    /// A model may emit any ids: the pieces still concatenate to `decode`.
    #[test]
    fn any_ids(ids in prop::collection::vec(0u32..330, 0..40)) {
        prop_assert_eq!(streamed(&ids), TOKENIZER.decode(&ids));
        if let Ok(whole) = String::from_utf8(TOKENIZER.decode_bytes(&ids)) {
            prop_assert_eq!(streamed(&ids), whole); // nothing replaced where nothing was broken
        }
    }
}

#[test]
fn a_character_of_many_tokens_is_held_back_until_it_is_whole() {
    let ids = TOKENIZER.encode("🚀").unwrap();
    assert!(ids.len() > 1, "the rocket is in the vocabulary: {ids:?}");
    let mut stream = TOKENIZER.stream();
    let pieces: Vec<_> = ids.iter().map(|&id| stream.push(id)).collect();
    assert_eq!(pieces.last().unwrap().as_deref(), Some("🚀"));
    assert!(pieces[..pieces.len() - 1].iter().all(Option::is_none));
    assert_eq!(stream.finish(), None);
}

#[test]
fn a_cut_off_character_shows_as_replacement() {
    let ids = TOKENIZER.encode("🚀").unwrap();
    assert_eq!(streamed(&ids[..1]), "\u{FFFD}");
}

#[test]
fn digits_stand_alone_and_words_carry_their_space() {
    let ids = TOKENIZER.encode("the 1790 the").unwrap();
    let pieces: Vec<String> = ids.iter().map(|&id| TOKENIZER.decode(&[id])).collect();
    assert!(pieces.ends_with(&[" ", "1", "7", "9", "0", " the"].map(String::from)), "{pieces:?}");
}

#[test]
fn special_tokens_have_fixed_ids_and_literal_text_cannot_forge_them() {
    assert_eq!(TOKENIZER.eos_id(), 0);
    assert_eq!(TOKENIZER.encode(IM_START).unwrap(), [1]);
    assert!(TOKENIZER.encode_literal(IM_START).unwrap().len() > 1);
    assert_eq!(TOKENIZER.unknown_id(), None);
}

#[test]
fn training_is_deterministic_and_saving_keeps_the_hash() {
    let again = train(320).unwrap();
    assert_eq!(again.hash(), TOKENIZER.hash());
    let dir = tempfile::tempdir().unwrap();
    again.save(dir.path()).unwrap();
    let loaded = Tokenizer::from_dir(dir.path()).unwrap();
    assert_eq!(loaded.hash(), TOKENIZER.hash());
    assert_eq!(loaded.eos_id(), TOKENIZER.eos_id());
    assert_eq!(loaded.encode(TEXTS[1]).unwrap(), TOKENIZER.encode(TEXTS[1]).unwrap());
    let chat = danlu_text::ChatTemplate::from_dir(dir.path()).unwrap().expect("a trained tokenizer carries ChatML");
    let prompt = chat.render(&[danlu_text::Message::new("user", "hi")], true).unwrap();
    assert_eq!(prompt, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
}

#[test]
fn a_vocabulary_that_the_text_does_not_support_names_the_largest() {
    let error = train(4096).unwrap_err();
    let TextError::VocabularyTooLarge { requested: 4096, largest, .. } = error else { panic!("{error}") };
    assert!(train(largest).is_ok(), "{largest} should be possible");
    assert!(matches!(train(largest + 1), Err(TextError::VocabularyTooLarge { .. })));
    assert!(error.hint().unwrap().contains(&largest.to_string()));
    assert!(matches!(train(100), Err(TextError::VocabularyTooSmall { smallest: 259, .. })));
    let empty = Tokenizer::train(std::iter::empty::<&str>(), &TokenizerConfig::default());
    assert!(matches!(empty, Err(TextError::NoText)));
}

#[test]
fn files_that_are_no_tokenizer_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Tokenizer::from_dir(dir.path()).unwrap_err();
    assert!(missing.to_string().contains("tokenizer.json") && missing.hint().is_some(), "{missing}");
    for content in ["", "{}", "not json", r#"{"version":"1.0","model":{"type":"BPE"}}"#] {
        std::fs::write(dir.path().join("tokenizer.json"), content).unwrap();
        let error = Tokenizer::from_dir(dir.path()).unwrap_err();
        assert!(matches!(error, TextError::BadTokenizer { .. }), "{content:?}: {error}");
    }
}
