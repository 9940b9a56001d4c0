use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use danlu_weights::gguf::{Value, Writer};
use danlu_weights::{Kind, Stored, tensors_of};
use serde_json::{Map, Value as Json};

use crate::names::{self, Direction, Family, Layout, Place};
use crate::settings::Shape;
use crate::{ConvertError, folder, settings, tokenizer};

/// What was exported.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    pub architecture: String,
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
    let tokens = folder::read_json(&tokenizer_path)?;
    let config_of_tokens = folder::optional_json(&model.join(folder::TOKENIZER_CONFIG))?;
    tokenizer::gguf::into_metadata(&tokenizer_path, &tokens, &config_of_tokens, size as usize, &mut metadata)?;
    if let Some(template) = danlu_text::chat_template(model)? {
        metadata.set("tokenizer.chat_template", Value::Text(template));
    }

    let tied = config.get("tie_word_embeddings").and_then(Json::as_bool).unwrap_or(family.name() == "gpt2");
    let stored = tensors_of(model)?.into_iter().filter(|stored| !ignored(&stored.name, tied));
    let placed = placed(model, family, shape, stored)?;
    let mut left_f16 = Vec::new();
    let mut plan = Vec::with_capacity(placed.len());
    for tensor in &placed {
        let to = tensor.shape();
        let fitting = kind_of(&tensor.name, &to, kind);
        if to.len() > 1 && fitting != kind && fitting == Kind::F16 {
            left_f16.push(tensor.name.clone());
        }
        plan.push((tensor.name.clone(), to, fitting));
    }
    danlu_store::atomic::write_with(out, |file| {
        let write = || -> Result<(), ConvertError> {
            let mut writer = Writer::begin(file, out, &metadata, &plan)?;
            for (index, tensor) in placed.iter().enumerate() {
                writer.tensor(&tensor.name, &tensor.values(shape)?)?;
                progress(index + 1, plan.len());
            }
            writer.finish()?;
            Ok(())
        };
        write().map_err(std::io::Error::other)
    })?;
    let bytes = File::open(out).and_then(|file| file.metadata()).map_err(|e| ConvertError::io("read", out, e))?.len();
    let parameters = plan.iter().map(|(_, shape, _)| shape.iter().product::<u64>()).sum();
    Ok(Exported { architecture: family.name().into(), parameters, bytes, left_f16 })
}

/// A tensor in GGUF and what of the folder goes into it: one tensor, or one of each expert in their order.
struct Placed {
    name: String,
    layout: Layout,
    parts: Vec<Stored>,
}

impl Placed {
    fn shape(&self) -> Vec<u64> {
        let part = self.parts.first().map(|part| part.shape.as_slice()).unwrap_or_default();
        let part = names::shape(self.layout, part);
        match self.layout {
            Layout::Expert => [&[self.parts.len() as u64], part.as_slice()].concat(),
            _ => part,
        }
    }

    fn values(&self, shape: Shape) -> Result<Vec<f32>, ConvertError> {
        let mut all = Vec::new();
        for part in &self.parts {
            let values = names::laid_out(part.values()?, &part.shape, self.layout, shape, Direction::ToGguf);
            if self.parts.len() == 1 {
                return Ok(values);
            }
            all.extend(values);
        }
        Ok(all)
    }
}

/// Where each tensor of a folder goes.
fn placed(
    model: &Path,
    family: Family,
    shape: Shape,
    stored: impl Iterator<Item = Stored>,
) -> Result<Vec<Placed>, ConvertError> {
    let mut placed: Vec<Placed> = Vec::new();
    let mut experts: Vec<(usize, usize, Stored)> = Vec::new();
    let mut known = HashMap::new();
    for stored in stored {
        let Place { name, layout, expert } = names::in_gguf(family, &stored.name).ok_or_else(|| {
            let what = format!("GGUF's {} has no place for the tensor {:?}", family.name(), stored.name);
            ConvertError::unsupported(model, what)
        })?;
        if !names::fits(&stored.shape, layout, shape) {
            let what = format!(
                "the tensor {:?} of {:?} has no whole pairs of rows for each of {} heads, {} for keys",
                stored.name, stored.shape, shape.heads, shape.kv_heads
            );
            return Err(ConvertError::malformed(model, what));
        }
        if layout != Layout::Expert {
            placed.push(Placed { name, layout, parts: vec![stored] });
            continue;
        }
        let index = *known.entry(name.clone()).or_insert_with(|| {
            placed.push(Placed { name, layout, parts: Vec::new() });
            placed.len() - 1
        });
        experts.push((index, expert, stored));
    }
    experts.sort_by_key(|(index, expert, _)| (*index, *expert));
    for (index, expert, stored) in experts {
        let parts = &mut placed[index].parts;
        let same = parts.first().is_none_or(|first| first.shape == stored.shape);
        if expert != parts.len() || !same {
            let what = format!("the tensor {:?} of {:?} is not that of the next expert", stored.name, stored.shape);
            return Err(ConvertError::malformed(model, what));
        }
        parts.push(stored);
    }
    match placed.iter().find(|p| p.layout == Layout::Expert && p.parts.len() != shape.experts) {
        Some(few) => {
            let what = format!("{} of {} experts have a matrix for {:?}", few.parts.len(), shape.experts, few.name);
            Err(ConvertError::malformed(model, what))
        }
        None => Ok(placed),
    }
}

/// Buffers that older versions of transformers saved, and a tied head's second copy.
fn ignored(name: &str, tied: bool) -> bool {
    [".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"].iter().any(|end| name.ends_with(end))
        || (tied && name == "lm_head.weight")
}

/// Vectors, positions and the choice of experts stay f32, as llama.cpp's own converter leaves them.
fn kind_of(name: &str, shape: &[u64], wanted: Kind) -> Kind {
    let row = shape.last().copied().unwrap_or(1);
    match shape.len() {
        0 | 1 => Kind::F32,
        _ if name == "position_embd.weight" || name.ends_with("ffn_gate_inp.weight") => Kind::F32,
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
