//! Weight-only int8: per output channel, symmetric.

use crate::CompressError;
use burn::prelude::Device;
use danlu_model::{SaveOptions, WEIGHTS_FILE, load, save};
use serde::Serialize;
use std::path::Path;

/// What quantisation did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Int8Report {
    /// Bytes of the weights file before.
    pub bytes_before: u64,
    /// Bytes of the weights file after.
    pub bytes_after: u64,
    pub parameters: usize,
    /// Parameters now in int8; the rest (embedding, norms, biases) stays in f32.
    pub quantized_parameters: usize,
}

impl Int8Report {
    /// How many times smaller the weights file became.
    pub fn ratio(&self) -> f64 {
        self.bytes_before as f64 / self.bytes_after.max(1) as f64
    }
}

/// Writes the model of `model_dir` to `out_dir` with the weights of its linear layers in int8, and its tokenizer.
///
/// Each weight `w` becomes `round(w / scale)` in -127..=127 with one `scale = max |w| / 127` per output channel, so it
/// moves by at most half a scale. An untied head is a linear layer too; the embedding, and with it a tied head, stays in
/// f32. The folder is in the `int-quantized` format of compressed-tensors: `weight` I8 (out, in) and `weight_scale` F32
/// (out, 1).
///
/// # Errors
/// [`CompressError::AlreadyQuantized`], [`CompressError::SameFolder`], and what loading and saving can give.
pub fn quantize_int8(model_dir: &Path, out_dir: &Path) -> Result<Int8Report, CompressError> {
    if let (Ok(from), Ok(to)) = (model_dir.canonicalize(), out_dir.canonicalize())
        && from == to
    {
        return Err(CompressError::SameFolder { path: out_dir.to_path_buf() });
    }
    let model = load(model_dir, &Device::flex())?;
    let parameters = model.num_params();
    let dense = |model: &danlu_model::CausalLm| -> usize {
        model.parameters().iter().map(|p| p.shape.iter().product::<usize>()).sum()
    };
    if dense(&model) < parameters {
        return Err(CompressError::AlreadyQuantized { path: model_dir.to_path_buf() });
    }
    let model = model.quantized()?;
    save(&model, out_dir, &SaveOptions::default())?;
    copy_tokenizer(model_dir, out_dir)?;
    Ok(Int8Report {
        bytes_before: weight_bytes(model_dir)?,
        bytes_after: weight_bytes(out_dir)?,
        parameters,
        quantized_parameters: parameters - dense(&model),
    })
}

/// Bytes of a folder's weights, whether in one file or in parts.
fn weight_bytes(dir: &Path) -> Result<u64, CompressError> {
    let whole = dir.join(WEIGHTS_FILE);
    let read = |source| CompressError::Io { action: "read", path: dir.to_path_buf(), source };
    if let Ok(metadata) = whole.metadata() {
        return Ok(metadata.len());
    }
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).map_err(read)? {
        let entry = entry.map_err(read)?;
        if entry.file_name().to_string_lossy().ends_with(".safetensors") {
            bytes += entry.metadata().map_err(read)?.len();
        }
    }
    Ok(bytes)
}

/// Copies what makes text of tokens and the other way round.
fn copy_tokenizer(from: &Path, to: &Path) -> Result<(), CompressError> {
    const NAMES: [&str; 8] = [
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "vocab.json",
        "merges.txt",
        "tokenizer.model",
    ];
    for name in NAMES {
        let (source, path) = (from.join(name), to.join(name));
        if source.is_file() {
            std::fs::copy(source, &path).map_err(|source| CompressError::Io { action: "write", path, source })?;
        }
    }
    Ok(())
}
