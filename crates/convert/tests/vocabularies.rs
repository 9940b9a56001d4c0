//! Vocabularies of transformers' older tokenizers: the ids of transformers for folders that have nothing else
//! (scripts/golden_vocabularies.py), and files that are broken.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use danlu_convert::tokenizer::{Files, of_folder};
use danlu_text::{EncoderTokenizer, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/vocabularies")
}

fn cases() -> Vec<Json> {
    let record: Json = serde_json::from_slice(&fs::read(golden().join("golden.json")).unwrap()).unwrap();
    record["cases"].as_array().unwrap().clone()
}

/// A copy of a golden folder, with other files beside its own.
fn copy_of(name: &str, files: &Json) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden().join(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    for (name, content) in files.as_object().into_iter().flatten() {
        fs::write(folder.path().join(name), content.to_string()).unwrap();
    }
    folder
}

/// Makes the tokenizer of a folder and writes it there.
fn made(folder: &Path, config: &Json) -> Files {
    let files = of_folder(folder, config).unwrap().unwrap();
    fs::write(folder.join("tokenizer.json"), files.tokenizer.to_string()).unwrap();
    fs::write(folder.join("tokenizer_config.json"), files.config.to_string()).unwrap();
    if let Some(target) = &files.target {
        fs::write(folder.join("target_tokenizer.json"), target.to_string()).unwrap();
    }
    files
}

fn ids(json: &Json) -> Vec<u32> {
    json.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn each(case: &Json, list: &str, check: impl Fn(&[Json])) -> usize {
    let list = case[list].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().for_each(|entry| check(entry.as_array().unwrap()));
    list.len()
}

#[test]
fn ids_are_those_of_transformers() {
    let cases = cases();
    assert!(cases.len() >= 18, "{}", cases.len());
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let folder = copy_of(case["folder"].as_str().unwrap(), &case["files"]);
        made(folder.path(), &case["config"]);
        let tokenizer = EncoderTokenizer::from_dir(folder.path()).unwrap();
        let texts = each(case, "texts", |entry| {
            let text = entry[0].as_str().unwrap();
            assert_eq!(tokenizer.encode(text, 1000).unwrap().ids, ids(&entry[1]), "{name} {text:?}");
        });
        let pairs = each(case, "pairs", |entry| {
            let [one, other] = [0, 1].map(|i| entry[i].as_str().unwrap());
            assert_eq!(
                tokenizer.encode_pair(one, other, 1000).unwrap().ids,
                ids(&entry[2]),
                "{name} {one:?} {other:?}"
            );
        });
        each(case, "targets", |entry| {
            let text = entry[0].as_str().unwrap();
            assert_eq!(tokenizer.encode_target(text, 1000).unwrap().ids, ids(&entry[1]), "{name}, target {text:?}");
        });
        assert!(texts >= 25 && (pairs >= 3 || ["marian", "whisper"].contains(&name)), "{name}");
    }
}

#[test]
fn byte_level_vocabularies_are_encoded_by_danlu_s_own_code_and_spell_a_text() {
    for case in cases().iter().filter(|case| ["gpt2", "qwen2"].contains(&case["folder"].as_str().unwrap())) {
        let folder = copy_of(case["folder"].as_str().unwrap(), &case["files"]);
        let files = made(folder.path(), &case["config"]);
        let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
        let spaced = case["files"]["tokenizer_config.json"]["add_prefix_space"] == true;
        assert_eq!(tokenizer.is_fast(), !spaced, "{}", case["name"]);
        let text = "It's 12 o'clock,  春眠 🚀\n";
        let found = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&found), if spaced { format!(" {text}") } else { text.to_owned() });
        assert_eq!(
            files.config["tokenizer_class"].as_str().unwrap().strip_suffix("Tokenizer").unwrap().to_lowercase(),
            { case["config"]["model_type"].as_str().unwrap() }
        );
    }
}

/// Where nothing is said of the hidden token, it takes the space before it along, as in all versions of transformers before 5.
#[test]
fn a_hidden_word_takes_its_space_along() {
    let folder = copy_of("roberta", &Json::Null);
    made(folder.path(), &json!({"model_type": "roberta"}));
    let tokenizer = EncoderTokenizer::from_dir(folder.path()).unwrap();
    let [with, without] = ["the <mask> of", "the<mask> of"].map(|text| tokenizer.encode(text, 64).unwrap().ids);
    assert_eq!(with, without);
    assert_eq!((tokenizer.mask_id(), tokenizer.pad_id()), (Some(4), Some(1)));
}

#[test]
fn marian_s_tokens_come_back_as_text_in_both_languages() {
    let folder = copy_of("marian", &Json::Null);
    let files = made(folder.path(), &json!({"model_type": "marian"}));
    assert_eq!(files.config["tokenizer_class"], "MarianTokenizer");
    let tokenizer = EncoderTokenizer::from_dir(folder.path()).unwrap();
    for text in ["the people", "It was the best of times"] {
        let ids = tokenizer.encode(text, 64).unwrap().ids;
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
    let text = "秦川雄帝宅";
    let ids = tokenizer.encode_target(text, 64).unwrap().ids;
    assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    assert_ne!(ids, tokenizer.encode(text, 64).unwrap().ids);
    // One model for both sides needs one file.
    fs::copy(folder.path().join("source.spm"), folder.path().join("target.spm")).unwrap();
    assert!(of_folder(folder.path(), &json!({})).unwrap().unwrap().target.is_none());
}

/// What is said of a golden folder with one more file or another one; `config` is the model's.
fn said(folder: &str, files: &Json, config: &Json) -> String {
    let folder = copy_of(folder, &Json::Null);
    for (name, content) in files.as_object().unwrap() {
        let content = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
        fs::write(folder.path().join(name), content).unwrap();
    }
    of_folder(folder.path(), config).unwrap_err().to_string()
}

#[test]
fn broken_vocabularies_are_named_with_what_is_wrong() {
    let none = json!({});
    let vocab = |text: &str| said("gpt2", &json!({"vocab.json": text}), &none);
    assert!(vocab("[]").contains("vocab.json") && vocab("[]").contains("no table of ids by token"), "{}", vocab("[]"));
    assert!(vocab(r#"{"a": 0, "b": 2}"#).contains("the id of \"b\" is 2"), "{}", vocab(r#"{"a": 0, "b": 2}"#));
    assert!(vocab(r#"{"a": 0, "b": 0}"#).contains("both have the id 0"));
    assert!(vocab(r#"{"a": -1}"#).contains("without a hole"));
    let merges = |text: &str| said("gpt2", &json!({"merges.txt": text}), &none);
    assert!(merges("#version: 0.2\na\n").contains("merges.txt: line 2: not two tokens"), "{}", merges("a\n"));
    assert!(merges("a b c\n").contains("line 1: not two tokens"));
    assert!(merges("q q\n").contains("vocab.json has no token \"qq\""), "{}", merges("q q\n"));

    let told = |told: Json| said("gpt2", &json!({"tokenizer_config.json": told}), &none);
    assert!(
        told(json!({"tokenizer_class": "CLIPTokenizer"})).contains("of CLIPTokenizer, whose ids are not known here")
    );
    assert!(told(json!([1])).contains("tokenizer_config.json") && told(json!([1])).contains("a table is expected"));
    let hole = json!({"added_tokens_decoder": {"900": {"content": "<x>"}}});
    assert!(told(hole).contains("an added token has the id 900, and no token the id 501"));
    let other = json!({"added_tokens_decoder": {"7": {"content": "<x>"}}});
    assert!(told(other).contains("the added token \"<x>\" has the id 7, which is another's"));
    let kind = said("gpt2", &none, &json!({"model_type": "codegen"}));
    assert!(kind.contains("a vocabulary of codegen") && kind.contains("GPT2Tokenizer, RobertaTokenizer"), "{kind}");

    let words = said("bert", &json!({"vocab.txt": "[PAD]\n[UNK]\n[SEP]\n"}), &none);
    assert!(words.contains("vocab.txt") && words.contains("it has no token [CLS]"), "{words}");
    let japanese = json!({"tokenizer_config.json": {"tokenizer_class": "BertJapaneseTokenizer"}});
    assert!(said("bert", &japanese, &none).contains("of BertJapaneseTokenizer"));

    let marian = |files: Json| said("marian", &files, &none);
    assert!(marian(json!({"tokenizer_config.json": {"separate_vocabs": true}})).contains("target_vocab.json"));
    assert!(marian(json!({"vocab.json": {"</s>": 0, "a": 1}})).contains("vocab.json: it has no unk_token"));
    assert!(marian(json!({"target.spm": "x"})).contains("target.spm: not a SentencePiece model"));
    let bpe = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bpe.model");
    let folder = copy_of("marian", &none);
    fs::copy(bpe, folder.path().join("source.spm")).unwrap();
    let said = of_folder(folder.path(), &none).unwrap_err().to_string();
    assert!(said.contains("source.spm") && said.contains("not of the kind unigram"), "{said}");
    assert!(of_folder(tempfile::tempdir().unwrap().path(), &none).unwrap().is_none());
}

proptest! {
    #[test]
    fn no_change_does_harm(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut: prop::sample::Index) {
        for (folder, name) in
            [("bert", "vocab.txt"), ("gpt2", "vocab.json"), ("gpt2", "merges.txt"), ("marian", "source.spm"), ("marian", "vocab.json")]
        {
            let copy = copy_of(folder, &Json::Null);
            let path = copy.path().join(name);
            let mut bytes = fs::read(&path).unwrap();
            for (at, byte) in &places {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            fs::write(&path, &bytes).unwrap();
            let _ = of_folder(copy.path(), &Json::Null);
            fs::write(&path, &bytes[..cut.index(bytes.len())]).unwrap();
            let _ = of_folder(copy.path(), &Json::Null);
        }
    }
}
