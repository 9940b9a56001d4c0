//! As `targets.rs`, of the files that models come in. The seeds are the golden files of crates/weights and crates/convert.

use std::io::{Cursor, Write};
use std::path::PathBuf;

use danlu_convert::tokenizer::tokenizer_json;
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
];

/// The bytes as a file of this name.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let thread = format!("{:?}", std::thread::current().id()).replace(|c: char| !c.is_ascii_alphanumeric(), "");
    let folder = std::env::temp_dir().join(format!("danlu-fuzz-{}-{thread}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let path = folder.join(name);
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
