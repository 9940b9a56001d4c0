//! A model's folder: the files in it, read and written.

use std::path::{Path, PathBuf};

use danlu_weights::safetensors::Planned;
use serde_json::Value;

use crate::{ConvertError, Precision};

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const GENERATION: &str = "generation_config.json";
pub(crate) const TOKENIZER: &str = "tokenizer.json";
pub(crate) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub(crate) const TEMPLATE: &str = "chat_template.jinja";

pub(crate) fn read_json(path: &Path) -> Result<Value, ConvertError> {
    let text = std::fs::read(path).map_err(|e| ConvertError::io("read", path, e))?;
    serde_json::from_slice(&text).map_err(|e| ConvertError::malformed(path, e.to_string()))
}

/// Null where there is no such file.
pub(crate) fn optional_json(path: &Path) -> Result<Value, ConvertError> {
    if path.exists() { read_json(path) } else { Ok(Value::Null) }
}

pub(crate) fn write_json(path: &Path, value: &Value) -> Result<(), ConvertError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| ConvertError::malformed(path, e.to_string()))?;
    std::fs::write(path, text + "\n").map_err(|e| ConvertError::io("write", path, e))
}

/// A tensor to be written in a precision.
pub(crate) fn planned(name: String, shape: Vec<u64>, precision: Precision) -> Planned {
    let bytes = shape.iter().product::<u64>() * precision.kind().block_bytes() as u64;
    Planned { name, shape, dtype: precision.kind().name().into(), bytes }
}

/// An empty folder beside `out`, to be published as it.
pub(crate) fn beside(out: &Path) -> Result<PathBuf, ConvertError> {
    if out.exists() {
        let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(ConvertError::io("write", out, source));
    }
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let work = out.with_file_name(name);
    match std::fs::remove_dir_all(&work) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(ConvertError::io("remove", &work, e)),
        _ => {}
    }
    std::fs::create_dir_all(&work).map_err(|e| ConvertError::io("create", &work, e))?;
    Ok(work)
}
