//! As `targets.rs`, of the files that models come in. The seeds are the golden files of crates/weights and crates/convert.

use std::io::{Cursor, Write};
use std::path::PathBuf;

use danlu_convert::tokenizer::{of_folder, tokenizer_json};
use danlu_text::{ChatTemplate, EncoderTokenizer};
use danlu_weights::{Stored, ctranslate2, gguf, pytorch, safetensors};

pub type Target = fn(&[u8]);

/// By name, as in `fuzz_targets` and `crashers`.
pub const TARGETS: &[(&str, Target)] = &[
    ("safetensors", safetensors),
    ("safetensors_index", safetensors_index),
    ("gguf", gguf),
    ("import", import),
    ("ctranslate2", ctranslate2),
    ("pytorch", pytorch),
    ("pickle", pickle),
    ("sentencepiece", sentencepiece),
    ("tiktoken", tiktoken),
    ("wordpiece", wordpiece),
    ("byte_level", byte_level),
    ("marian", marian),
    ("tokenizer_config", tokenizer_config),
    ("chat_template", chat_template),
];

/// The bytes as a file of this name, which may be in a folder.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let thread = format!("{:?}", std::thread::current().id()).replace(|c: char| !c.is_ascii_alphanumeric(), "");
    let folder = std::env::temp_dir().join(format!("danlu-fuzz-{}-{thread}", std::process::id()));
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap_or(&folder)).expect("a temporary folder");
    std::fs::write(&path, bytes).expect("a temporary file");
    path
}

/// What a small file says of its tensors is small.
fn read(tensors: Vec<Stored>, size: usize) {
    let all: u64 = tensors.iter().map(Stored::len).sum();
    assert!(all <= 4 * size as u64, "{all} bytes of tensors in {size} bytes");
    for tensor in tensors {
        let _ = tensor.bytes();
        let _ = tensor.values();
    }
}

pub fn safetensors(bytes: &[u8]) {
    read(safetensors::open(&file("x.safetensors", bytes)).unwrap_or_default(), bytes.len());
}

pub fn safetensors_index(bytes: &[u8]) {
    if let Ok(map) = danlu_weights::read_index("index".as_ref(), bytes) {
        assert!(map.values().all(|part| !part.contains(['/', '\\']) && part != ".."));
    }
}

pub fn gguf(bytes: &[u8]) {
    let Ok(file) = gguf::Gguf::open(&file("x.gguf", bytes)) else { return };
    let all: u64 = file.tensors.iter().map(gguf::Tensor::bytes).sum();
    assert!(all <= bytes.len() as u64, "{all} bytes of tensors in {} bytes", bytes.len());
    for tensor in &file.tensors {
        let _ = file.values(tensor);
    }
}

/// A GGUF file all the way to a folder.
pub fn import(bytes: &[u8]) {
    let path = file("whole.gguf", bytes);
    let out = path.with_extension("folder");
    let _ = std::fs::remove_dir_all(&out);
    let _ = danlu_convert::import(&path, &out, None, &|_, _| {});
}

pub fn ctranslate2(bytes: &[u8]) {
    let path = file("model.bin", bytes);
    ctranslate2::is(&path);
    if let Ok(model) = ctranslate2::open(&path) {
        read(model.variables, bytes.len());
    }
}

pub fn pytorch(bytes: &[u8]) {
    read(pytorch::open(&file("x.bin", bytes)).unwrap_or_default(), bytes.len());
}

/// The pickle alone, in an archive with two storages.
pub fn pickle(bytes: &[u8]) {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in [("x/data.pkl", bytes), ("x/data/0", &[1; 96]), ("x/data/1", &[2; 32])] {
        zip.start_file(name, options).expect("an entry");
        zip.write_all(bytes).expect("memory");
    }
    let archive = zip.finish().expect("an archive").into_inner();
    read(pytorch::open(&file("x.bin", &archive)).unwrap_or_default(), archive.len());
}

pub fn sentencepiece(bytes: &[u8]) {
    let _ = tokenizer_json(&file("x.model", bytes), &serde_json::Value::Null);
}

pub fn tiktoken(bytes: &[u8]) {
    let _ = tokenizer_json(&file("qwen.tiktoken", bytes), &serde_json::Value::Null);
}

/// The tokenizer of a folder with these files alone, made, read and asked for the tokens of a text.
fn tokenizer(files: &[(&str, &[u8])], model_type: &str) {
    let folder = file("tokenizer/none", b"").with_file_name("");
    let _ = std::fs::remove_dir_all(&folder);
    for (name, bytes) in files {
        file(&format!("tokenizer/{name}"), bytes);
    }
    let Ok(Some(made)) = of_folder(&folder, &serde_json::json!({ "model_type": model_type })) else { return };
    file("tokenizer/tokenizer.json", made.tokenizer.to_string().as_bytes());
    file("tokenizer/tokenizer_config.json", made.config.to_string().as_bytes());
    if let Ok(tokenizer) = EncoderTokenizer::from_dir(&folder) {
        if let Ok(encoded) = tokenizer.encode("The melting 炉 of naïve  e\u{301}\u{FDD0} 🚀<s>", 1000) {
            let _ = tokenizer.decode(&encoded.ids);
        }
        let _ = tokenizer.encode_pair("", "a", 10);
    }
}

/// Two files in one: the first up to a zero.
fn two(bytes: &[u8]) -> (&[u8], &[u8]) {
    let at = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (&bytes[..at], bytes.get(at + 1..).unwrap_or_default())
}

/// BERT's vocab.txt.
pub fn wordpiece(bytes: &[u8]) {
    tokenizer(&[("vocab.txt", bytes)], "bert");
}

/// GPT-2's vocab.json and merges.txt.
pub fn byte_level(bytes: &[u8]) {
    let (vocabulary, merges) = two(bytes);
    tokenizer(&[("vocab.json", vocabulary), ("merges.txt", merges)], "gpt2");
    tokenizer(&[("vocab.json", vocabulary), ("merges.txt", merges)], "bart");
}

/// Marian's vocab.json and source.spm.
pub fn marian(bytes: &[u8]) {
    let (vocabulary, source) = two(bytes);
    tokenizer(&[("vocab.json", vocabulary), ("source.spm", source)], "marian");
}

/// What is said of a sound vocabulary, in today's file and in those of old.
pub fn tokenizer_config(bytes: &[u8]) {
    let (one, other) = two(bytes);
    let words = ("vocab.txt", &b"[UNK]\n[CLS]\n[SEP]\na\n##b\n"[..]);
    tokenizer(&[words, ("tokenizer_config.json", one)], "bert");
    tokenizer(&[words, ("special_tokens_map.json", one), ("added_tokens.json", other)], "bert");
    let pieces =
        [("vocab.json", &br#"{"a": 0, "b": 1, "ab": 2}"#[..]), ("merges.txt", b"a b"), ("tokenizer_config.json", one)];
    tokenizer(&pieces, "qwen2");
}

/// A template, and a conversation for it.
pub fn chat_template(bytes: &[u8]) {
    let source = String::from_utf8_lossy(bytes).into_owned();
    let Ok(template) = ChatTemplate::new(source, Some("<s>".into()), None) else { return };
    let messages = [
        serde_json::json!({"role": "system", "content": " 炉 "}),
        serde_json::json!({"role": "user", "content": [{"type": "text", "text": "x"}], "tool_calls": [{"id": null, "n": 1.5e-7}]}),
    ];
    let _ = template.render_values(&messages, &messages[1..], true);
}
