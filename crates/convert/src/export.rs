use std::fs::File;
use std::path::Path;

use danlu_weights::Kind;
use danlu_weights::gguf::{Value, Writer};
use serde_json::{Map, Value as Json};

use crate::folder;
use crate::names::{self, Direction};
use crate::{ConvertError, settings, vocabulary};

/// What was exported.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    pub architecture: &'static str,
    pub parameters: u64,
    /// Of the file.
    pub bytes: u64,
    /// Matrices that stay f16, because their rows are not whole blocks of the wanted kind.
    pub left_f16: Vec<String>,
}

/// Writes a model's folder as a GGUF file: matrices as `kind` (F32, F16, BF16, Q8_0 or Q4_0), vectors as f32. The file
/// appears whole or not at all. `progress` is told tensors done and in all.
///
/// # Errors
/// A folder that is broken or quantised, an architecture, tokenizer or element type that GGUF or danlu does not know.
pub fn export(model: &Path, out: &Path, kind: Kind, progress: &dyn Fn(usize, usize)) -> Result<Exported, ConvertError> {
    let config_path = model.join(folder::CONFIG);
    let config = object(&folder::read_json(&config_path)?);
    let (mut metadata, family, shape) = settings::metadata(&config_path, &config)?;
    let name = model.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
    metadata.set("general.name", Value::Text(name));
    if let Some(number) = file_type(kind) {
        metadata.set("general.file_type", Value::U32(number));
    }
    let size = config.get("vocab_size").and_then(Json::as_u64).and_then(|size| u32::try_from(size).ok());
    let size = size.ok_or_else(|| ConvertError::malformed(&config_path, "vocab_size is missing"))?;
    let tokenizer_path = model.join(folder::TOKENIZER);
    let tokenizer = folder::read_json(&tokenizer_path)?;
    let config_of_tokens = folder::optional_json(&model.join(folder::TOKENIZER_CONFIG))?;
    vocabulary::into_metadata(&tokenizer_path, &tokenizer, &config_of_tokens, size as usize, &mut metadata)?;
    if let Some(template) = template(model, &config_of_tokens)? {
        metadata.set("tokenizer.chat_template", Value::Text(template));
    }

    let tied = config.get("tie_word_embeddings").and_then(Json::as_bool).unwrap_or(family.name() == "gpt2");
    let mut left_f16 = Vec::new();
    let (mut plan, mut tensors) = (Vec::new(), Vec::new());
    for stored in folder::tensors(model)? {
        if ignored(&stored.name, tied) {
            continue;
        }
        let (name, layout) = names::in_gguf(family, &stored.name).ok_or_else(|| {
            let what = format!("GGUF's {} has no place for the tensor {:?}", family.name(), stored.name);
            ConvertError::unsupported(model, what)
        })?;
        let to = names::shape(layout, &stored.shape);
        let fitting = kind_of(&name, &to, kind);
        if to.len() > 1 && fitting != kind && fitting == Kind::F16 {
            left_f16.push(name.clone());
        }
        plan.push((name, to, fitting));
        tensors.push((stored, layout));
    }
    danlu_store::atomic::write_with(out, |file| {
        let write = || -> Result<(), ConvertError> {
            let mut writer = Writer::begin(file, out, &metadata, &plan)?;
            for (index, (stored, layout)) in tensors.iter().enumerate() {
                let values = names::laid_out(stored.values()?, &stored.shape, *layout, shape, Direction::ToGguf);
                writer.tensor(&plan[index].0, &values)?;
                progress(index + 1, plan.len());
            }
            writer.finish()?;
            Ok(())
        };
        write().map_err(std::io::Error::other)
    })?;
    let bytes = File::open(out).and_then(|file| file.metadata()).map_err(|e| ConvertError::io("read", out, e))?.len();
    let parameters = plan.iter().map(|(_, shape, _)| shape.iter().product::<u64>()).sum();
    Ok(Exported { architecture: family.name(), parameters, bytes, left_f16 })
}

/// Buffers that older versions of transformers saved, and a tied head's second copy.
fn ignored(name: &str, tied: bool) -> bool {
    [".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"].iter().any(|end| name.ends_with(end))
        || (tied && name == "lm_head.weight")
}

/// Vectors and positions stay f32, as llama.cpp's own converter leaves them.
fn kind_of(name: &str, shape: &[u64], wanted: Kind) -> Kind {
    let row = shape.last().copied().unwrap_or(1);
    match shape.len() {
        0 | 1 => Kind::F32,
        _ if name == "position_embd.weight" => Kind::F32,
        _ if row.is_multiple_of(wanted.block_len() as u64) => wanted,
        _ => Kind::F16,
    }
}

/// llama.cpp's number for a file mostly of a kind (`llama_ftype`).
fn file_type(kind: Kind) -> Option<u32> {
    match kind {
        Kind::F32 => Some(0),
        Kind::F16 => Some(1),
        Kind::Q4_0 => Some(2),
        Kind::Q8_0 => Some(7),
        Kind::Bf16 => Some(32),
        _ => None,
    }
}

/// The fields of a JSON object; none of them for anything else.
fn object(value: &Json) -> Map<String, Json> {
    value.as_object().cloned().unwrap_or_default()
}

fn template(model: &Path, config: &Json) -> Result<Option<String>, ConvertError> {
    if let Some(template) = config["chat_template"].as_str() {
        return Ok(Some(template.to_owned()));
    }
    let path = model.join(folder::TEMPLATE);
    match std::fs::read_to_string(&path) {
        Ok(template) => Ok(Some(template)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(ConvertError::io("read", &path, e)),
    }
}
