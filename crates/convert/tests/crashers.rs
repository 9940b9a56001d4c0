//! Runs what once crashed a fuzz target (`fuzz/crashers/TARGET/*`) and the golden files, whole and changed, through the fuzz
//! targets of the files of models as ordinary tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../fuzz/changes.rs"]
mod changes;
#[path = "../../../fuzz/model_targets.rs"]
mod targets;

use std::path::{Path, PathBuf};

use danlu_weights::Kind;
use danlu_weights::gguf::{Array, Metadata, Value, Writer};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut all: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    all.sort();
    all
}

/// Sound files of each target.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let golden = |room: &str, end: &str| -> Vec<Vec<u8>> {
        let all = files(&root().join("crates").join(room).join("tests/golden"));
        let fits = |path: &&PathBuf| path.extension().is_some_and(|found| found == end);
        all.iter().filter(fits).map(|path| std::fs::read(path).unwrap()).collect()
    };
    match target {
        "gguf" => golden("weights", "gguf"),
        "import" => vec![llama()],
        "pytorch" => golden("weights", "bin"),
        "sentencepiece" => golden("convert", "model"),
        "tiktoken" => golden("convert", "tiktoken"),
        "wordpiece" => vec![vocabulary("bert", &["vocab.txt"])],
        "byte_level" => ["gpt2", "roberta"].map(|name| vocabulary(name, &["vocab.json", "merges.txt"])).into(),
        "marian" => ["source.spm", "target.spm"].map(|name| vocabulary("marian", &["vocab.json", name])).into(),
        "tokenizer_config" => told(),
        "chat_template" => templates(),
        "pickle" => golden("weights", "bin").iter().filter_map(|bytes| pickle_in(bytes)).collect(),
        "safetensors" => {
            let table = br#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]}}"#;
            vec![[&(table.len() as u64).to_le_bytes()[..], table, &[1; 22]].concat()]
        }
        "ctranslate2" => {
            let head = b"\x06\0\0\0\x0c\0WhisperSpec\0\x03\0\0\0\x02\0\0\0";
            let matrix = b"\x02\0a\0\x02\x03\0\0\0\x02\0\0\0\x04\x0c\0\0\0twelve bytes";
            let setting = b"\x04\0b/c\0\0\x01\x01\0\0\0\x01";
            let aliases = b"\x01\0\0\0\x02\0d\0\x02\0a\0";
            vec![[&head[..], matrix, setting, aliases].concat()]
        }
        _ => vec![
            br#"{"metadata":{"total_size":3},"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}"#
                .to_vec(),
        ],
    }
}

/// Files of a golden vocabulary, one after the other.
fn vocabulary(folder: &str, files: &[&str]) -> Vec<u8> {
    let golden = root().join("crates/convert/tests/golden/vocabularies").join(folder);
    files.iter().map(|name| std::fs::read(golden.join(name)).unwrap()).collect::<Vec<_>>().join(&0)
}

/// What golden folders say of their tokenizers.
fn told() -> Vec<Vec<u8>> {
    let path = root().join("crates/convert/tests/golden/vocabularies/golden.json");
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let files = |case: &serde_json::Value| -> Vec<u8> {
        let of = |name: &str| case["files"].get(name).map_or(String::new(), serde_json::Value::to_string).into_bytes();
        match of("tokenizer_config.json") {
            none if none.is_empty() => [of("special_tokens_map.json"), of("added_tokens.json")].join(&0),
            told => told,
        }
    };
    record["cases"].as_array().unwrap().iter().map(files).filter(|bytes| bytes.len() > 1).collect()
}

fn templates() -> Vec<Vec<u8>> {
    let path = root().join("crates/text/tests/golden/chat.json");
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let sources = record["templates"].as_object().unwrap().values();
    sources.map(|source| source.as_str().unwrap().as_bytes().to_vec()).collect()
}

/// A Llama of one layer, with a tokenizer of five tokens.
fn llama() -> Vec<u8> {
    let mut metadata = Metadata::default();
    let mut set = |name: &str, value: Value| metadata.set(name, value);
    set("general.architecture", Value::Text("llama".into()));
    for (name, n) in [
        ("context_length", 16),
        ("embedding_length", 8),
        ("block_count", 1),
        ("feed_forward_length", 16),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
    ] {
        set(&format!("llama.{name}"), Value::U32(n));
    }
    set("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    set("tokenizer.ggml.model", Value::Text("gpt2".into()));
    set("tokenizer.ggml.pre", Value::Text("gpt-2".into()));
    let texts = |all: &[&str]| Value::Array(Array::Texts(all.iter().map(|text| (*text).to_owned()).collect()));
    set("tokenizer.ggml.tokens", texts(&["a", "b", "ab", "Ġ", "<|endoftext|>"]));
    set("tokenizer.ggml.token_type", Value::Array(Array::Ints(vec![1, 1, 1, 1, 3])));
    set("tokenizer.ggml.merges", texts(&["a b"]));
    set("tokenizer.ggml.eos_token_id", Value::U32(4));
    let tensor = |name: &str, shape: &[u64]| (name.to_owned(), shape.to_vec(), Kind::F32);
    let mut plan = vec![tensor("token_embd.weight", &[5, 8]), tensor("output_norm.weight", &[8])];
    let layer: [(&str, &[u64]); 9] = [
        ("attn_q", &[8, 8]),
        ("attn_k", &[4, 8]),
        ("attn_v", &[4, 8]),
        ("attn_output", &[8, 8]),
        ("ffn_gate", &[16, 8]),
        ("ffn_up", &[16, 8]),
        ("ffn_down", &[8, 16]),
        ("attn_norm", &[8]),
        ("ffn_norm", &[8]),
    ];
    plan.extend(layer.iter().map(|(name, shape)| tensor(&format!("blk.0.{name}.weight"), shape)));
    let mut writer = Writer::begin(Vec::new(), Path::new("llama.gguf"), &metadata, &plan).unwrap();
    for (name, shape, _) in &plan {
        writer.tensor(name, &vec![0.5; shape.iter().product::<u64>() as usize]).unwrap();
    }
    writer.finish().unwrap()
}

fn pickle_in(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).ok()?;
    let name = archive.file_names().filter_map(Result::ok).find(|name| name.ends_with("data.pkl"))?.into_owned();
    let mut pickle = Vec::new();
    std::io::Read::read_to_end(&mut archive.by_name(&name).ok()?, &mut pickle).ok()?;
    Some(pickle)
}

#[test]
fn old_crashers_and_seeds_do_not_crash() {
    for (name, target) in targets::TARGETS {
        let crashers = files(&root().join("fuzz/crashers").join(name));
        crashers.iter().for_each(|path| target(&std::fs::read(path).unwrap()));
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in &seeds {
            target(seed);
            (0..seed.len()).step_by(1 + seed.len() / 40).for_each(|cut| target(&seed[..cut]));
        }
    }
}

#[test]
fn changed_files_do_not_crash() {
    for (number, (name, target)) in targets::TARGETS.iter().enumerate() {
        changes::run(number, name, *target, &seeds(name), 2000);
    }
}
