//! SentencePiece models and files of tiktoken: the ids of their own packages (scripts/golden_sentencepiece.py), and files
//! that are broken.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use danlu_convert::tokenizer::tokenizer_json;
use danlu_text::{EncoderTokenizer, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn record() -> Json {
    serde_json::from_slice(&fs::read(golden("tokenizers.json")).unwrap()).unwrap()
}

/// A folder with the tokenizer.json of a file under a name.
fn folder(file: &str, name: &str, told: &Json) -> (TempDir, Json) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::copy(golden(file), &path).unwrap();
    let json = tokenizer_json(&path, told).unwrap();
    fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    (folder, json)
}

#[test]
fn ids_are_those_of_the_packages() {
    let record = record();
    for (name, all) in record["models"].as_object().unwrap() {
        let (file, end) = match name.ends_with(".tiktoken") || name == "tokenizer.model" {
            true => ("qwen.tiktoken".to_owned(), None),
            false => (format!("{name}.model"), Some("</s>")),
        };
        let name = if end.is_none() { name.clone() } else { file.clone() };
        let (folder, _) = folder(&file, &name, &json!({}));
        let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
        assert_eq!(tokenizer.is_fast(), end.is_none(), "{name}");
        for (text, ids) in record["texts"].as_array().unwrap().iter().zip(all.as_array().unwrap()) {
            let text = text.as_str().unwrap();
            let want: Vec<u32> = ids.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
            assert_eq!(tokenizer.encode(text).unwrap(), want, "{name} {text:?}");
            assert_eq!(tokenizer.encode_literal(text).unwrap(), want, "{name} {text:?}");
        }
    }
}

#[test]
fn what_keeps_all_of_a_text_spells_it() {
    for name in ["bpe", "bpe_plain"] {
        let file = format!("{name}.model");
        let (folder, _) = folder(&file, &file, &json!({}));
        let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
        assert_eq!(tokenizer.adds_space(), name == "bpe");
        for text in ["", " ", "Hello world", "  two  spaces ", "春眠不觉晓 🚀\n\tx", "é"] {
            let ids = tokenizer.encode(text).unwrap();
            assert!(tokenizer.spells(&ids, text), "{name} {text:?}");
            assert_eq!(tokenizer.decode(&ids), text);
        }
        assert!(!tokenizer.spells(&tokenizer.encode("a").unwrap(), "b"));
    }
}

#[test]
fn styles_put_their_own_tokens_around_a_text() {
    let ids = |told: Json| {
        let (folder, json) = folder("unigram.model", "spiece.model", &told);
        let tokenizer = EncoderTokenizer::from_dir(folder.path()).unwrap();
        let plain = Tokenizer::from_dir(folder.path()).unwrap().encode("the people").unwrap();
        (tokenizer.encode("the people", 100).unwrap().ids, plain, json)
    };
    let (whole, plain, _) = ids(json!({"tokenizer_class": "LlamaTokenizer"}));
    assert_eq!(whole, [&[1][..], &plain].concat());
    let (whole, plain, _) =
        ids(json!({"tokenizer_class": "LlamaTokenizer", "add_bos_token": false, "add_eos_token": true}));
    assert_eq!(whole, [&plain[..], &[2]].concat());
    let (whole, t5, json) = ids(json!({"tokenizer_class": "T5Tokenizer", "extra_ids": 3}));
    assert_eq!(whole, [&t5[..], &[2]].concat());
    let added = json["added_tokens"].as_array().unwrap();
    let last = added.last().unwrap();
    assert_eq!((last["content"].as_str(), last["id"].as_u64()), (Some("<extra_id_0>"), Some(652)));
    let (whole, roberta, _) = ids(json!({"tokenizer_class": "XLMRobertaTokenizer"}));
    assert_eq!((whole[0], *whole.last().unwrap()), (0, 2));
    assert_eq!(roberta, t5.iter().map(|id| id + 1).collect::<Vec<_>>());
}

fn said(name: &str, bytes: &[u8], told: &Json) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    let error = tokenizer_json(&path, told).unwrap_err().to_string();
    error.split_once(&format!("{name}: ")).unwrap().1.to_owned()
}

/// A field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 128);
    [&[number << 3 | 2, bytes.len() as u8][..], bytes].concat()
}

fn piece(text: &str, kind: u8) -> Vec<u8> {
    field(1, &[field(1, text.as_bytes()), vec![0x15, 0, 0, 0, 0, 0x18, kind]].concat())
}

#[test]
fn broken_models_are_named() {
    let sentencepiece = |bytes: &[u8]| said("x.model", bytes, &json!({}));
    let unknown = piece("<unk>", 2);
    assert!(sentencepiece(b"").contains("it has no pieces"));
    assert!(sentencepiece(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").contains("ends too early"));
    assert!(sentencepiece(&[0x0a, 100, 1]).contains("ends too early"));
    assert!(sentencepiece(&piece("a", 1)).contains("no piece for what is unknown"));
    assert!(sentencepiece(&[unknown.clone(), piece("a", 9)].concat()).contains("piece 1: there is no kind 9"));
    assert!(sentencepiece(&[unknown.clone(), piece("", 1)].concat()).contains("piece 1: it has no text"));
    assert!(sentencepiece(&[unknown.clone(), piece("a", 1), piece("a", 1)].concat()).contains("both \"a\""));
    assert!(sentencepiece(&[unknown.clone(), field(2, &[0x18, 3])].concat()).contains("of type 3"));
    let told = json!({"tokenizer_class": "NllbTokenizer"});
    assert!(said("x.model", &unknown, &told).contains("of NllbTokenizer, whose ids are not known"));
    let hole = json!({"added_tokens_decoder": {"9": {"content": "<x>"}}});
    assert!(said("x.model", &unknown, &hole).contains("an added token has the id 9, and no token the id 1"));

    let tiktoken = |text: &str| said("qwen.tiktoken", text.as_bytes(), &json!({}));
    assert!(tiktoken("IQ== 0\n!!! 1\n").contains("line 2: not a token"));
    assert!(tiktoken("IQ== 0\nIg== 0\n").contains("two tokens have the rank 0"));
    assert!(tiktoken("IQ== 0\nIQ== 1\n").contains("has another rank"));
    assert!(tiktoken("IQ== 0\n").contains("no token is the byte 0x00"));
    assert!(said("other.tiktoken", b"IQ== 0\n", &json!({})).contains("known are qwen.tiktoken"));
}

proptest! {
    #[test]
    fn no_change_does_harm(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut: prop::sample::Index) {
        let folder = tempfile::tempdir().unwrap();
        for (file, name) in [("bpe_own.model", "x.model"), ("qwen.tiktoken", "qwen.tiktoken")] {
            let mut bytes = fs::read(golden(file)).unwrap();
            for (at, byte) in &places {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            let path = folder.path().join(name);
            fs::write(&path, &bytes).unwrap();
            let _ = tokenizer_json(&path, &json!({}));
            fs::write(&path, &bytes[..cut.index(bytes.len())]).unwrap();
            let _ = tokenizer_json(&path, &json!({}));
        }
    }
}
