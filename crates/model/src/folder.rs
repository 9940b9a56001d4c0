//! A model as a folder: config.json, generation_config.json and model.safetensors.

use crate::layers::{Decoder, FeedForward, Linear, Mlp, Norm, read};
use crate::weights::{Layout, Stored, WeightFiles, gpt2_place, mixtral_name, to_safetensors, transposed};
use crate::{Body, CausalLm, Form, ModelError, RecurrentStack, SavedAs, SpecialTokens, hf_config};
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
/// It is a `LlamaForCausalLM`, `GPT2LMHeadModel`, ... of transformers where the settings are theirs
/// ([`crate::ModelConfig::saved_as`]), else, and for GPT-2 and Mixtral in int8, a `DanluForCausalLM`, which only danlu loads.
///
/// # Errors
/// [`ModelError::Io`], [`ModelError::Write`], [`ModelError::Device`].
pub fn save(model: &CausalLm, dir: &Path, options: &SaveOptions) -> Result<(), ModelError> {
    create(dir)?;
    let tensors = named_tensors(model)?;
    let int8 = tensors.values().any(|t| t.dtype == safetensors::Dtype::I8);
    let saved_as = match model.config().saved_as() {
        SavedAs::Gpt2 | SavedAs::Mixtral if int8 => SavedAs::Danlu,
        other => other,
    };
    let tensors = match saved_as {
        SavedAs::Gpt2 => gpt2_tensors(model)?,
        SavedAs::Mixtral => tensors.into_iter().map(|(name, tensor)| (mixtral_name(&name), tensor)).collect(),
        _ => tensors,
    };
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
    let special = with_generation_config(description.special, dir)?;
    let files = WeightFiles::read(dir)?;
    let mut source = files.source(description.saved_as, description.int8)?;
    let model = CausalLm::build(&description.config, description.vocab_size, special, &mut source, device)?;
    source.finish(description.config.tied)?;
    Ok(model)
}

/// Makes a folder, if it is missing.
pub(crate) fn create(dir: &Path) -> Result<(), ModelError> {
    std::fs::create_dir_all(dir).map_err(|source| ModelError::Io { action: "create", path: dir.to_path_buf(), source })
}

/// What generation_config.json says of special tokens, if there is one, before what config.json says.
pub(crate) fn with_generation_config(special: SpecialTokens, dir: &Path) -> Result<SpecialTokens, ModelError> {
    let path = dir.join(GENERATION_CONFIG_FILE);
    if path.exists() { Ok(special.updated(&read_json(&path)?)) } else { Ok(special) }
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
    writer.tensor("model.embed_tokens.weight", model.model.embed_tokens().weight.val())?;
    match &model.model {
        Body::Transformer(decoder) => writer.transformer(decoder)?,
        Body::Recurrent(stack) => writer.recurrent(stack)?,
    }
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

    fn transformer(&mut self, decoder: &Decoder) -> Result<(), ModelError> {
        if let Some(positions) = &decoder.embed_positions {
            self.tensor("model.embed_positions.weight", positions.weight.val())?;
        }
        for (i, layer) in decoder.layers.iter().enumerate() {
            let at = |part: &str| format!("model.layers.{i}.{part}");
            self.norm(&at("input_layernorm"), &layer.input_layernorm)?;
            self.norm(&at("post_attention_layernorm"), &layer.post_attention_layernorm)?;
            let (attention, mlp) = (&layer.self_attn, &layer.mlp);
            self.linear(&at("self_attn.q_proj"), &attention.q_proj)?;
            self.linear(&at("self_attn.k_proj"), &attention.k_proj)?;
            self.linear(&at("self_attn.v_proj"), &attention.v_proj)?;
            self.linear(&at("self_attn.o_proj"), &attention.o_proj)?;
            self.norm_if(&at("self_attn.q_norm"), attention.q_norm.as_ref())?;
            self.norm_if(&at("self_attn.k_norm"), attention.k_norm.as_ref())?;
            self.norm_if(&at("pre_feedforward_layernorm"), layer.pre_feedforward_layernorm.as_ref())?;
            self.norm_if(&at("post_feedforward_layernorm"), layer.post_feedforward_layernorm.as_ref())?;
            match mlp {
                Mlp::Dense(mlp) => self.feed_forward(&at("mlp"), mlp)?,
                Mlp::Experts(mixture) => {
                    self.linear(&at("mlp.gate"), &mixture.gate)?;
                    for (e, expert) in mixture.experts.iter().enumerate() {
                        self.feed_forward(&at(&format!("mlp.experts.{e}")), expert)?;
                    }
                }
            }
        }
        self.norm("model.norm", &decoder.norm)
    }

    fn recurrent(&mut self, stack: &RecurrentStack) -> Result<(), ModelError> {
        for (i, layer) in stack.layers.iter().enumerate() {
            let at = |part: &str| format!("model.layers.{i}.{part}");
            self.form(at("weight_ih"), &layer.weight_ih)?;
            self.form(at("weight_hh"), &layer.weight_hh)?;
            for (part, bias) in [("bias_ih", &layer.bias_ih), ("bias_hh", &layer.bias_hh)] {
                if let Some(bias) = bias {
                    self.tensor(&at(part), bias.val())?;
                }
            }
        }
        match &stack.projection {
            Some(projection) => self.linear("model.projection", projection),
            None => Ok(()),
        }
    }

    fn norm(&mut self, name: &str, norm: &Norm) -> Result<(), ModelError> {
        if let Some(bias) = &norm.bias {
            self.tensor(&format!("{name}.bias"), bias.val())?;
        }
        self.tensor(&format!("{name}.weight"), norm.weight.val())
    }

    fn norm_if(&mut self, name: &str, norm: Option<&Norm>) -> Result<(), ModelError> {
        norm.map_or(Ok(()), |norm| self.norm(name, norm))
    }

    fn feed_forward(&mut self, name: &str, mlp: &FeedForward) -> Result<(), ModelError> {
        if let Some(gate) = &mlp.gate_proj {
            self.linear(&format!("{name}.gate_proj"), gate)?;
        }
        self.linear(&format!("{name}.up_proj"), &mlp.up_proj)?;
        self.linear(&format!("{name}.down_proj"), &mlp.down_proj)
    }

    fn linear(&mut self, name: &str, linear: &Linear) -> Result<(), ModelError> {
        if let Some(bias) = &linear.bias {
            self.tensor(&format!("{name}.bias"), bias.val())?;
        }
        self.form(format!("{name}.weight"), &linear.weight)
    }

    fn form(&mut self, name: String, form: &Form) -> Result<(), ModelError> {
        match form {
            Form::Dense(weight) => self.tensor(&name, weight.val())?,
            Form::Int8(form) => {
                let weight = &form.weight;
                self.0.insert(format!("{name}_scale"), Stored::f32(vec![weight.out, 1], &weight.scales));
                self.0.insert(name, Stored::i8(vec![weight.out, weight.inp], &weight.data));
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
