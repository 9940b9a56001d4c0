//! The fast encoder's one promise: the ids of the `tokenizers` crate, for every text and every tokenizer it takes on,
//! and that it leaves the others to the crate. The vocabularies are learned here, by the crate, from the READMEs.
#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use danlu_text::{TOKENIZER_FILE, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer as Crate};

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

fn byte_level(use_regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex })
}

fn after(first: Value, use_regex: bool) -> Value {
    json!({ "type": "Sequence", "pretokenizers": [first, byte_level(use_regex)] })
}

fn by_pattern(pattern: &str) -> Value {
    after(json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false }), false)
}

/// A tokenizer.json that the crate has learned, with special tokens and added tokens of every kind.
fn learned(pre_tokenizer: Value, normalizer: Value, ignore_merges: bool) -> Value {
    let empty = json!({ "version": "1.0", "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
        "post_processor": null, "decoder": byte_level(true), "added_tokens": [], "truncation": null, "padding": null,
        "model": { "type": "BPE", "ignore_merges": ignore_merges, "vocab": {}, "merges": [] } });
    let mut tokenizer: Crate = empty.to_string().parse().unwrap();
    let special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(|token| AddedToken::from(token, true));
    let trainer = BpeTrainer::builder()
        .vocab_size(1400)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(special.to_vec());
    let lines =
        [include_str!("../../../README.md"), include_str!("../../../README.zh.md")].into_iter().flat_map(str::lines);
    tokenizer.train(&mut TrainerWrapper::BpeTrainer(trainer.build()), lines).unwrap();
    tokenizer
        .add_tokens([
            AddedToken::from("<|im_start|>user", true),
            AddedToken::from("<tool>", false).lstrip(true),
            AddedToken::from("</tool>", false).rstrip(true),
            AddedToken::from("<mask>", true).lstrip(true).rstrip(true),
            AddedToken::from("danlu", false).normalized(false),
            AddedToken::from("e\u{301}t\u{e9}", false),
            AddedToken::from("丹炉", false).normalized(true),
        ])
        .unwrap();
    serde_json::from_str(&tokenizer.to_string(false).unwrap()).unwrap()
}

struct Both {
    name: &'static str,
    danlu: Tokenizer,
    theirs: [Crate; 2],
}

fn both(name: &'static str, json: &Value) -> Both {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(TOKENIZER_FILE);
    std::fs::write(&path, json.to_string()).unwrap();
    let theirs: Crate = json.to_string().parse().unwrap();
    let mut literal = theirs.clone();
    literal.set_encode_special_tokens(true);
    Both { name, danlu: Tokenizer::from_file(&path).unwrap(), theirs: [theirs, literal] }
}

impl Both {
    fn check(&self, text: &str) {
        let expect = self.theirs.each_ref().map(|crate_| crate_.encode_fast(text, false).unwrap().get_ids().to_vec());
        assert_eq!(self.danlu.encode(text).unwrap(), expect[0], "{} {text:?}", self.name);
        assert_eq!(self.danlu.encode_literal(text).unwrap(), expect[1], "{} literally {text:?}", self.name);
    }
}

static ALL: LazyLock<Vec<Both>> = LazyLock::new(|| {
    let digits = || after(json!({ "type": "Digits", "individual_digits": true }), true);
    let nfc = || json!({ "type": "NFC" });
    vec![
        both("gpt2", &learned(byte_level(true), Value::Null, false)),
        both("digits", &learned(digits(), Value::Null, false)),
        both("digits, NFC", &learned(digits(), nfc(), false)),
        both("llama3", &learned(by_pattern(LLAMA3), Value::Null, true)),
        both("qwen2", &learned(by_pattern(QWEN2), nfc(), false)),
    ]
});

#[test]
fn all_of_these_are_fast() {
    for both in ALL.iter() {
        assert!(both.danlu.is_fast(), "{}", both.name);
    }
}

#[test]
fn hard_texts() {
    let texts = [
        "",
        " ",
        "\n",
        "a",
        "The quick brown fox",
        "  two  spaces  ",
        "I'm, you're, WE'VE, 'ſ, '",
        "1790 ²³½ ٣٤",
        "春眠不覺曉，處處聞啼鳥。丹炉里炼丹\u{3000}丹炉",
        "e\u{301}te\u{301} é\u{323} e\u{301}t\u{e9} \u{212b}",
        "🚀👩‍👩‍👧 x\u{200d}y",
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>",
        "<|im_start|><|im_start|>userx",
        "a  <tool>  b  </tool>  c",
        "x <mask> <mask> y",
        "  <mask>\u{3000}\n<tool>danlu</tool> \n\n danlu",
        "<|endoftext",
        "<<|endoftext|>>",
        "\u{feff}\0\u{1}",
    ];
    for both in ALL.iter() {
        texts.iter().for_each(|text| both.check(text));
        both.check(include_str!("../../../README.md"));
        both.check(include_str!("../../../README.zh.md"));
    }
}

#[test]
fn long_runs() {
    for both in ALL.iter() {
        for part in ["a", " ", "\n", "é", "的", "炉炼", "1", "!", "ab", "<|im_end|", "the", "\t ", "🚀", "'s"] {
            for times in [2, 7, 8, 9, 23, 24, 25, 63, 64, 65, 200, 5000] {
                both.check(&part.repeat(times));
            }
        }
    }
}

#[test]
fn a_word_of_a_megabyte() {
    let words = ["ab".repeat(1 << 19), "春眠不覺曉處處聞啼鳥".repeat(1 << 15)];
    for both in ALL.iter() {
        for word in &words {
            assert_eq!(&both.danlu.decode(&both.danlu.encode(word).unwrap()), word, "{}", both.name);
        }
    }
    words.iter().for_each(|word| ALL[0].check(word));
}

#[test]
fn threads_share_one_tokenizer() {
    let text = include_str!("../../../README.zh.md");
    for both in ALL.iter() {
        let alone = both.danlu.encode(text).unwrap();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| both.danlu.encode(text).unwrap())).collect();
            threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), alone));
        });
    }
}

#[test]
fn what_is_not_known_to_the_letter_is_left_to_the_crate() {
    let known = learned(byte_level(true), Value::Null, false);
    let changed = |path: &str, value: Value| {
        let mut json = known.clone();
        *json.pointer_mut(path).unwrap() = value;
        json
    };
    let mut without_a_byte = known.clone();
    let id = without_a_byte["model"]["vocab"].as_object_mut().unwrap().remove("\u{100}");
    assert_eq!(id.map(|id| id.is_u64()), Some(true), "the byte 0 was in the vocabulary");
    let cases = [
        ("prefix space", changed("/pre_tokenizer/add_prefix_space", json!(true))),
        ("no split", changed("/pre_tokenizer/use_regex", json!(false))),
        ("another split", changed("/pre_tokenizer", by_pattern(r"\p{L}+|\s+|[^\s\p{L}]+"))),
        ("another normalizer", changed("/normalizer", json!({ "type": "Lowercase" }))),
        ("a whole word", changed("/added_tokens/0/single_word", json!(true))),
        (
            "truncation",
            changed(
                "/truncation",
                json!({ "direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0 }),
            ),
        ),
        ("a byte is missing", without_a_byte),
    ];
    for (name, json) in cases {
        let both = both(name, &json);
        assert!(!both.danlu.is_fast(), "{name}");
        for text in ["Hello <|endoftext|>World's 12\n\n", "a<|im_start|>b 丹炉\0"] {
            both.check(text);
        }
    }
    let with_unknown = changed("/model/unk_token", json!("<|endoftext|>"));
    let both = both("unknown", &with_unknown);
    assert_eq!((both.danlu.is_fast(), both.danlu.unknown_id()), (true, Some(0)), "with all bytes nothing is unknown");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_text(text in any::<String>()) {
        ALL.iter().for_each(|both| both.check(&text));
    }

    #[test]
    fn likely_text(
        text in "([a-z]{1,8}|[A-Zé]{1,3}|[春眠不覺曉丹炉的是]{1,5}|[ \n\t\r\u{a0}\u{3000}]{1,3}|[.,!，。'’\u{301}\u{323}🚀]|'(s|T|re|VE|ll|D)|[0-9²]{1,4}|<[|](endoftext|im_start|im_end)[|]>(user)?|</?tool>|<mask>|danlu){0,40}",
    ) {
        ALL.iter().for_each(|both| both.check(&text));
    }
}
