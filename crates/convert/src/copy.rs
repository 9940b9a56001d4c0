//! A folder to a folder: weights as one safetensors file, the tokenizer as tokenizer.json, all else as it is.

use std::path::Path;

use danlu_store::atomic;
use danlu_weights::safetensors::Planned;
use danlu_weights::{SAFETENSORS, Stored, encode, safetensors, tensors_of};
use serde_json::{Value, json};

use crate::export::Exported;
use crate::{ConvertError, Imported, Precision, folder, tokenizer};

/// Files of a folder beside its weights that are taken along.
const ENDINGS: [&str; 6] = ["json", "txt", "jinja", "model", "spm", "tiktoken"];
/// More than any of them has.
const LONGEST_FILE: u64 = 100 << 20;

/// Writes a model's folder as one that transformers loads, its weights in one safetensors file: as they are, or in a
/// precision. It must not be there yet and appears whole or not at all.
///
/// # Errors
/// A broken folder, a model that transformers does not have, another precision for quantised weights.
pub fn export_folder(
    model: &Path,
    out: &Path,
    precision: Option<Precision>,
    progress: &dyn Fn(usize, usize),
) -> Result<Exported, ConvertError> {
    let path = model.join(folder::CONFIG);
    let architecture = architecture(&folder::read_json(&path)?);
    if architecture.starts_with("Danlu") {
        let what = format!("a {architecture}, which transformers does not have: only danlu loads it");
        return Err(ConvertError::unsupported(&path, what));
    }
    let done = copy(model, out, precision, progress)?;
    let weights = out.join(SAFETENSORS);
    let bytes = std::fs::metadata(&weights).map_err(|e| ConvertError::io("read", &weights, e))?.len();
    Ok(Exported { architecture, parameters: done.parameters, bytes, left_f16: Vec::new() })
}

/// What [`crate::import`] does with a folder; of a model of any architecture.
pub(crate) fn copy(
    from: &Path,
    out: &Path,
    precision: Option<Precision>,
    progress: &dyn Fn(usize, usize),
) -> Result<Imported, ConvertError> {
    let config_path = from.join(folder::CONFIG);
    let mut config = folder::read_json(&config_path)?;
    let tensors = tensors_of(from)?;
    if let Some(precision) = precision {
        if !config["quantization_config"].is_null() {
            let what = "the weights are quantised; leave out the precision, or export the model they were made from";
            return Err(ConvertError::unsupported(&config_path, what));
        }
        let keys = config.as_object_mut().into_iter().flatten();
        keys.filter(|(key, _)| ["dtype", "torch_dtype"].contains(&key.as_str()))
            .for_each(|(_, value)| *value = json!(precision.torch()));
    }
    let made = match from.join(folder::TOKENIZER).exists() {
        true => None,
        false => tokenizer::of_folder(from, &config)?,
    };

    let work = folder::beside(out)?;
    take_along(from, &work)?;
    folder::write_json(&work.join(folder::CONFIG), &config)?;
    if let Some(files) = &made {
        folder::write_json(&work.join(folder::TOKENIZER), &files.tokenizer)?;
        folder::write_json(&work.join(folder::TOKENIZER_CONFIG), &files.config)?;
        if let Some(target) = &files.target {
            folder::write_json(&work.join(danlu_text::TARGET_TOKENIZER_FILE), target)?;
        }
    }
    let plan: Vec<Planned> = tensors.iter().map(|tensor| planned(tensor, precision)).collect();
    safetensors::write::<ConvertError>(&work.join(SAFETENSORS), &plan, |index| {
        let tensor = &tensors[index];
        progress(index + 1, tensors.len());
        match precision.filter(|_| tensor.is_float()) {
            Some(precision) => Ok(encode(precision.kind(), &tensor.values()?).unwrap_or_default()),
            None => Ok(tensor.bytes()?),
        }
    })?;
    let template = danlu_text::chat_template(&work)?.is_some();
    let vocabulary = match folder::optional_json(&work.join(folder::TOKENIZER))? {
        Value::Null => 0,
        tokenizer => tokenizer::size(&tokenizer),
    };
    atomic::publish_dir(&work, out)?;
    Ok(Imported {
        architecture: architecture(&config),
        parameters: tensors.iter().map(Stored::elements).sum(),
        vocabulary,
        kinds: kinds(&tensors),
        chat_template: template,
    })
}

fn architecture(config: &Value) -> String {
    let name = config["architectures"][0].as_str().or(config["model_type"].as_str());
    name.unwrap_or("a model of no name").to_owned()
}

fn planned(tensor: &Stored, precision: Option<Precision>) -> Planned {
    let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
    match precision.filter(|_| tensor.is_float()) {
        Some(precision) => folder::planned(name, shape, precision),
        None => Planned { name, shape, dtype: tensor.dtype.clone(), bytes: tensor.len() },
    }
}

fn kinds(tensors: &[Stored]) -> Vec<(String, usize)> {
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for tensor in tensors {
        match kinds.iter_mut().find(|(kind, _)| *kind == tensor.dtype) {
            Some((_, count)) => *count += 1,
            None => kinds.push((tensor.dtype.clone(), 1)),
        }
    }
    kinds
}

/// Settings, vocabularies and templates; of a folder of sentence-transformers those of its modules, too.
fn take_along(from: &Path, to: &Path) -> Result<(), ConvertError> {
    let list = |path: &Path| std::fs::read_dir(path).map_err(|e| ConvertError::io("list", path, e));
    for entry in list(from)? {
        let path = entry.map_err(|e| ConvertError::io("list", from, e))?.path();
        let Some(name) = path.file_name() else { continue };
        if path.is_dir() {
            let inner = path.join(folder::CONFIG);
            if name.to_string_lossy().starts_with(|c: char| c.is_ascii_digit()) && inner.is_file() {
                let out = to.join(name);
                std::fs::create_dir_all(&out).map_err(|e| ConvertError::io("create", &out, e))?;
                copy_file(&inner, &out.join(folder::CONFIG))?;
            }
            continue;
        }
        let ends = path.extension().and_then(|end| end.to_str()).is_some_and(|end| ENDINGS.contains(&end));
        if ends && !name.to_string_lossy().ends_with(".index.json") {
            copy_file(&path, &to.join(name))?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<(), ConvertError> {
    let size = from.metadata().map_err(|e| ConvertError::io("read", from, e))?.len();
    if size > LONGEST_FILE {
        return Err(ConvertError::unsupported(from, format!("{size} bytes beside the weights of a model")));
    }
    std::fs::copy(from, to).map(|_| ()).map_err(|e| ConvertError::io("copy", from, e))
}
