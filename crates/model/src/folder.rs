//! A model as a folder: config.json, generation_config.json and model.safetensors.

use crate::layers::{Linear, Norm, read};
use crate::weights::{Layout, Stored, WeightFiles, gpt2_place, to_safetensors, transposed};
use crate::{CausalLm, Form, ModelError, SavedAs, SpecialTokens, hf_config};
use burn::prelude::*;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

pub const CONFIG_FILE: &str = "config.json";
pub const GENERATION_CONFIG_FILE: &str = "generation_config.json";
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// What a folder says beside the weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SaveOptions {
    /// Begin, end and padding tokens; `None` keeps those that the model was loaded with.
    pub special_tokens: Option<SpecialTokens>,
}

/// Writes the model into `dir`, which is created if missing. Each file appears whole or not at all. The same model
/// gives the same bytes.
///
/// It is a `LlamaForCausalLM` or `GPT2LMHeadModel` of transformers where the settings are theirs
/// ([`crate::ModelConfig::saved_as`]), else, and for GPT-2 in int8, a `DanluForCausalLM`, which only danlu loads.
///
/// # Errors
/// [`ModelError::Io`], [`ModelError::Write`], [`ModelError::Device`].
pub fn save(model: &CausalLm, dir: &Path, options: &SaveOptions) -> Result<(), ModelError> {
    std::fs::create_dir_all(dir).map_err(|source| ModelError::Io {
        action: "create",
        path: dir.to_path_buf(),
        source,
    })?;
    let tensors = named_tensors(model)?;
    let int8 = tensors.values().any(|t| t.dtype == safetensors::Dtype::I8);
    let saved_as = match model.config().saved_as() {
        SavedAs::Gpt2 if int8 => SavedAs::Danlu,
        other => other,
    };
    let tensors = if saved_as == SavedAs::Gpt2 { gpt2_tensors(model)? } else { tensors };
    let special = options.special_tokens.as_ref().unwrap_or(model.special_tokens());
    let config = hf_config::to_json(model.config(), model.vocab_size(), special, saved_as, int8);
    let weights = dir.join(WEIGHTS_FILE);
    write(&weights, &to_safetensors(&weights, &tensors)?)?;
    write_json(&dir.join(GENERATION_CONFIG_FILE), &hf_config::generation_json(special))?;
    write_json(&dir.join(CONFIG_FILE), &config)
}

/// Reads a model from `dir` to `device`: weights in f32 (from F32, F16 or BF16), or int8 as danlu's `compress` and the
/// `int-quantized` format of compressed-tensors write them.
///
/// # Errors
/// Each names the file, and the key or tensor with what was expected and what was found.
pub fn load(dir: &Path, device: &Device) -> Result<CausalLm, ModelError> {
    let path = dir.join(CONFIG_FILE);
    let description = hf_config::from_json(&path, &read_json(&path)?)?;
    let mut special = description.special;
    let path = dir.join(GENERATION_CONFIG_FILE);
    if path.exists() {
        special = special.updated(&read_json(&path)?);
    }
    let files = WeightFiles::read(dir)?;
    let mut source = files.source(description.saved_as, description.int8)?;
    let model = CausalLm::build(&description.config, description.vocab_size, special, &mut source, device)?;
    source.finish(description.config.tied)?;
    Ok(model)
}

pub(crate) fn read_json(path: &Path) -> Result<Map<String, Value>, ModelError> {
    let bytes =
        std::fs::read(path).map_err(|source| ModelError::Io { action: "read", path: path.to_path_buf(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| ModelError::Json { path: path.to_path_buf(), source })
}

pub(crate) fn write_json(path: &Path, json: &Value) -> Result<(), ModelError> {
    let mut text =
        serde_json::to_vec_pretty(json).map_err(|source| ModelError::Json { path: path.to_path_buf(), source })?;
    text.push(b'\n');
    write(path, &text)
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    danlu_store::atomic::write_bytes(path, bytes)
        .map_err(|source| ModelError::Write { path: path.to_path_buf(), source })
}

/// All tensors by danlu's names.
fn named_tensors(model: &CausalLm) -> Result<BTreeMap<String, Stored>, ModelError> {
    let mut writer = Writer(BTreeMap::new());
    let decoder = &model.model;
    writer.tensor("model.embed_tokens.weight", decoder.embed_tokens.weight.val())?;
    if let Some(positions) = &decoder.embed_positions {
        writer.tensor("model.embed_positions.weight", positions.weight.val())?;
    }
    for (i, layer) in decoder.layers.iter().enumerate() {
        let at = |part: &str| format!("model.layers.{i}.{part}");
        writer.norm(&at("input_layernorm"), &layer.input_layernorm)?;
        writer.norm(&at("post_attention_layernorm"), &layer.post_attention_layernorm)?;
        let (attention, mlp) = (&layer.self_attn, &layer.mlp);
        writer.linear(&at("self_attn.q_proj"), &attention.q_proj)?;
        writer.linear(&at("self_attn.k_proj"), &attention.k_proj)?;
        writer.linear(&at("self_attn.v_proj"), &attention.v_proj)?;
        writer.linear(&at("self_attn.o_proj"), &attention.o_proj)?;
        if let Some(gate) = &mlp.gate_proj {
            writer.linear(&at("mlp.gate_proj"), gate)?;
        }
        writer.linear(&at("mlp.up_proj"), &mlp.up_proj)?;
        writer.linear(&at("mlp.down_proj"), &mlp.down_proj)?;
    }
    writer.norm("model.norm", &decoder.norm)?;
    if let Some(head) = &model.lm_head {
        writer.linear("lm_head", head)?;
    }
    Ok(writer.0)
}

struct Writer(BTreeMap<String, Stored>);

impl Writer {
    fn tensor<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) -> Result<(), ModelError> {
        let shape = tensor.dims().to_vec();
        self.0.insert(name.to_string(), Stored::f32(shape, &read(tensor)?));
        Ok(())
    }

    fn norm(&mut self, name: &str, norm: &Norm) -> Result<(), ModelError> {
        if let Some(bias) = &norm.bias {
            self.tensor(&format!("{name}.bias"), bias.val())?;
        }
        self.tensor(&format!("{name}.weight"), norm.weight.val())
    }

    fn linear(&mut self, name: &str, linear: &Linear) -> Result<(), ModelError> {
        if let Some(bias) = &linear.bias {
            self.tensor(&format!("{name}.bias"), bias.val())?;
        }
        match &linear.weight {
            Form::Dense(weight) => self.tensor(&format!("{name}.weight"), weight.val())?,
            Form::Int8(form) => {
                let weight = &form.weight;
                self.0.insert(format!("{name}.weight"), Stored::i8(vec![weight.out, weight.inp], &weight.data));
                self.0.insert(format!("{name}.weight_scale"), Stored::f32(vec![weight.out, 1], &weight.scales));
            }
        }
        Ok(())
    }
}

/// All tensors of a dense model by GPT-2's names and in its layouts.
fn gpt2_tensors(model: &CausalLm) -> Result<BTreeMap<String, Stored>, ModelError> {
    let mut placed: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
    // q, k and v are met in this order, because (out, in) rows of the three are joined before they are transposed.
    let mut parameters: Vec<_> = model.named_parameters()?.into_iter().collect();
    parameters.sort_by_key(|(name, _)| match gpt2_place(name).1 {
        Layout::Third(part) => part,
        Layout::Same | Layout::Transposed => 0,
    });
    for (name, data) in parameters {
        let (place, _) = gpt2_place(&name);
        let shape = data.shape().to_vec();
        let values = data.try_into_vec::<f32>().map_err(|e| ModelError::Device { message: format!("{e:?}") })?;
        match placed.get_mut(&place) {
            Some((joined, all)) => {
                joined[0] += shape[0];
                all.extend(values);
            }
            None => {
                placed.insert(place, (shape, values));
            }
        }
    }
    let conv1d = |name: &str| name.starts_with("transformer.h.") && name.contains(".c_") && name.ends_with(".weight");
    let store = |(name, (shape, values)): (String, (Vec<usize>, Vec<f32>))| match shape[..] {
        [out, inp] if conv1d(&name) => (name, Stored::f32(vec![inp, out], &transposed(&values, out, inp))),
        _ => (name, Stored::f32(shape, &values)),
    };
    Ok(placed.into_iter().map(store).collect())
}
