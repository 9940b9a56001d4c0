//! Ids of transformers for BERT's tokenizer, written by scripts/golden_wordpiece.py.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use danlu_text::{EncodedText, EncoderTokenizer, TextError};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    texts: Vec<Case>,
    pairs: Vec<Case>,
    cut: Vec<Case>,
    cut_pairs: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    pair: Option<String>,
    max_len: Option<usize>,
    ids: Vec<u32>,
    types: Vec<u32>,
    words: Vec<Option<u32>>,
}

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wordpiece")
}

fn golden() -> Golden {
    serde_json::from_str(&std::fs::read_to_string(dir().join("golden.json")).unwrap()).unwrap()
}

fn encode(tokenizer: &EncoderTokenizer, case: &Case) -> EncodedText {
    let max_len = case.max_len.unwrap_or(512);
    match &case.pair {
        Some(pair) => tokenizer.encode_pair(&case.text, pair, max_len).unwrap(),
        None => tokenizer.encode(&case.text, max_len).unwrap(),
    }
}

fn check(tokenizer: &EncoderTokenizer) {
    let golden = golden();
    assert!(golden.texts.len() >= 10 && golden.cut_pairs.len() >= 10);
    for case in golden.texts.iter().chain(&golden.pairs).chain(&golden.cut).chain(&golden.cut_pairs) {
        let found = encode(tokenizer, case);
        let what = format!("{:?} {:?} {:?}", case.text, case.pair, case.max_len);
        assert_eq!(found.ids, case.ids, "{what}");
        assert_eq!(found.types, case.types, "{what}");
        assert_eq!(found.words, case.words, "{what}");
        let special: Vec<bool> = case.words.iter().map(Option::is_none).collect();
        assert!(found.special.iter().zip(&special).all(|(found, outside)| !found || *outside), "{what}");
        assert_eq!(found.special.iter().filter(|special| **special).count(), 2 + usize::from(case.pair.is_some()));
        let whole = match &case.pair {
            Some(pair) => tokenizer.encode_pair(&case.text, pair, 512).unwrap(),
            None => tokenizer.encode(&case.text, 512).unwrap(),
        };
        assert_eq!((found.cut, whole.cut), (whole.ids.len() - found.ids.len(), 0), "{what}");
    }
}

#[test]
fn ids_types_words_and_cuts_are_those_of_transformers() {
    let tokenizer = EncoderTokenizer::from_dir(&dir()).unwrap();
    check(&tokenizer);
    assert_eq!((tokenizer.kind(), tokenizer.vocab_size()), ("WordPiece", 67));
    assert_eq!((tokenizer.pad_id(), tokenizer.mask_id()), (Some(0), Some(4)));
    let mut special = tokenizer.special_ids().to_vec();
    special.sort_unstable();
    assert_eq!(special, [0, 1, 2, 3, 4]);
    let ids = tokenizer.encode("Running, unwanted", 64).unwrap().ids;
    assert_eq!(tokenizer.decode(&ids).unwrap(), "running, unwanted");
}

#[test]
fn a_vocabulary_alone_makes_the_same_tokenizer() {
    let copy = tempfile::tempdir().unwrap();
    for file in ["vocab.txt", "tokenizer_config.json"] {
        std::fs::copy(dir().join(file), copy.path().join(file)).unwrap();
    }
    check(&EncoderTokenizer::from_dir(copy.path()).unwrap());
    std::fs::write(copy.path().join("tokenizer_config.json"), r#"{"do_lower_case": false}"#).unwrap();
    let cased = EncoderTokenizer::from_dir(copy.path()).unwrap();
    assert_eq!(cased.encode("The the", 8).unwrap().ids, [2, 1, 5, 3]);
}

/// Files of sentence-transformers say so, and would otherwise fill up every text.
#[test]
fn what_the_file_says_of_padding_and_lengths_is_left_to_the_caller() {
    let copy = tempfile::tempdir().unwrap();
    let mut json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir().join("tokenizer.json")).unwrap()).unwrap();
    json["truncation"] =
        serde_json::json!({"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = serde_json::json!({"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"});
    std::fs::write(copy.path().join("tokenizer.json"), json.to_string()).unwrap();
    check(&EncoderTokenizer::from_dir(copy.path()).unwrap());
}

#[test]
fn missing_and_broken_files_and_too_little_room_are_named() {
    let copy = tempfile::tempdir().unwrap();
    let fails = || EncoderTokenizer::from_dir(copy.path()).unwrap_err();
    assert!(matches!(fails(), TextError::Io { .. }), "{}", fails());
    std::fs::write(copy.path().join("vocab.txt"), "[PAD]\n[UNK]\n").unwrap();
    assert!(fails().to_string().ends_with("it has no token [SEP]"), "{}", fails());
    std::fs::write(copy.path().join("tokenizer.json"), r#"{"model": {"type": "WordPiece"}}"#).unwrap();
    assert!(matches!(fails(), TextError::BadTokenizer { .. }), "{}", fails());
    let tokenizer = EncoderTokenizer::from_dir(&dir()).unwrap();
    assert!(matches!(tokenizer.encode("a", 2), Err(TextError::NoRoom { max_len: 2, special: 2 })));
    assert!(matches!(tokenizer.encode_pair("a", "b", 3), Err(TextError::NoRoom { .. })));
}
