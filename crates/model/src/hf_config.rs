//! config.json and generation_config.json: to and from the keys of transformers.

use crate::hf_families::{self, NAMES};
use crate::{Activation, Architecture, ModelConfig, ModelError, NormKind, Positions, SavedAs};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::Path;

pub(crate) const KNOWN: &[&str] = &{
    let mut known = [""; NAMES.len()];
    let mut i = 0;
    while i < NAMES.len() {
        known[i] = NAMES[i].2;
        i += 1;
    }
    known
};

/// Tokens with a meaning of their own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpecialTokens {
    pub bos: Option<u32>,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
    pub pad: Option<u32>,
    /// What an encoder-decoder's target begins with; other models have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder_start: Option<u32>,
}

impl SpecialTokens {
    /// As the keys of config.json and generation_config.json.
    pub(crate) fn insert_into(&self, json: &mut Map<String, Value>) {
        let eos = match self.eos.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            several => json!(several),
        };
        json.insert("bos_token_id".into(), json!(self.bos));
        json.insert("eos_token_id".into(), eos);
        json.insert("pad_token_id".into(), json!(self.pad));
        if let Some(start) = self.decoder_start {
            json.insert("decoder_start_token_id".into(), json!(start));
        }
    }

    /// What `json` says, and for the rest what `self` says.
    pub(crate) fn updated(self, json: &Map<String, Value>) -> Self {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let one = |key: &str| json.get(key).and_then(id);
        let eos: Vec<u32> = match json.get("eos_token_id") {
            Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
            Some(value) => id(value).into_iter().collect(),
            None => Vec::new(),
        };
        SpecialTokens {
            bos: one("bos_token_id").or(self.bos),
            eos: if eos.is_empty() { self.eos } else { eos },
            pad: one("pad_token_id").or(self.pad),
            decoder_start: one("decoder_start_token_id").or(self.decoder_start),
        }
    }
}

/// config.json of a model; `saved_as` may be `Danlu` for any model.
pub(crate) fn to_json(
    config: &ModelConfig,
    vocab_size: usize,
    special: &SpecialTokens,
    saved_as: SavedAs,
    int8: bool,
) -> Value {
    let mut json = match saved_as {
        SavedAs::Llama => llama(config),
        SavedAs::Gpt2 => gpt2(config),
        SavedAs::Danlu => json!({
            "architectures": ["DanluForCausalLM"],
            "model_type": "danlu",
            "max_position_embeddings": config.max_seq_len,
            "tie_word_embeddings": config.tied,
            "danlu": config.settings(),
        }),
        family => Value::Object(hf_families::to_json(config, family)),
    };
    if let Value::Object(json) = &mut json {
        json.insert("vocab_size".into(), json!(vocab_size));
        special.insert_into(json);
        // The one key is read by transformers 4, the other by 5.
        json.insert("torch_dtype".into(), json!("float32"));
        json.insert("dtype".into(), json!("float32"));
        json.insert("use_cache".into(), json!(true));
        if int8 {
            json.insert("quantization_config".into(), quantization(config.tied));
        }
    }
    json
}

/// generation_config.json.
pub(crate) fn generation_json(special: &SpecialTokens) -> Value {
    let mut json = Map::new();
    special.insert_into(&mut json);
    Value::Object(json)
}

fn llama(c: &ModelConfig) -> Value {
    let mut json = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": c.hidden_size,
        "intermediate_size": c.ffn_size(),
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads(),
        "head_dim": c.head_dim(),
        "hidden_act": "silu",
        "max_position_embeddings": c.max_seq_len,
        "rms_norm_eps": c.norm_eps,
        "initializer_range": 0.02,
        "attention_bias": c.bias(),
        "attention_dropout": c.attention_dropout(),
        "mlp_bias": c.bias(),
        "pretraining_tp": 1,
        "tie_word_embeddings": c.tied,
    });
    if let Value::Object(json) = &mut json {
        hf_families::insert_rope(json, c);
        json.insert("danlu".into(), only_in_training(c));
    }
    json
}

/// What only danlu's training asks for and transformers has no key of.
pub(crate) fn only_in_training(c: &ModelConfig) -> Value {
    match c.layer_drop {
        None => json!({"dropout": c.dropout}),
        Some(layer_drop) => json!({"dropout": c.dropout, "layer_drop": layer_drop}),
    }
}

fn gpt2(c: &ModelConfig) -> Value {
    json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_embd": c.hidden_size,
        "n_layer": c.layers,
        "n_head": c.heads,
        "n_positions": c.max_seq_len,
        "n_ctx": c.max_seq_len,
        "n_inner": c.ffn_size(),
        "activation_function": if c.activation() == Activation::GeluErf { "gelu" } else { "gelu_new" },
        "layer_norm_epsilon": c.norm_eps,
        "initializer_range": 0.02,
        "resid_pdrop": c.dropout,
        "embd_pdrop": c.dropout,
        "attn_pdrop": c.attention_dropout(),
        "scale_attn_weights": true,
        "scale_attn_by_inverse_layer_idx": false,
        "reorder_and_upcast_attn": false,
        "tie_word_embeddings": c.tied,
    })
}

/// The `int-quantized` format of compressed-tensors: int8 weights, symmetric, one scale per output channel.
fn quantization(tied: bool) -> Value {
    json!({
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": {
            "targets": ["Linear"],
            "format": "int-quantized",
            "weights": {
                "num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel",
                "dynamic": false, "group_size": null, "block_structure": null, "actorder": null,
                "observer": "minmax", "observer_kwargs": {},
            },
            "input_activations": null,
            "output_activations": null,
        }},
        "ignore": if tied { json!(["lm_head"]) } else { json!([]) },
        "kv_cache_scheme": null,
        "global_compression_ratio": null,
    })
}

/// What a config.json says.
#[derive(Debug)]
pub(crate) struct Description {
    pub(crate) config: ModelConfig,
    pub(crate) vocab_size: usize,
    pub(crate) special: SpecialTokens,
    pub(crate) saved_as: SavedAs,
    /// Whether linear layers are int8.
    pub(crate) int8: bool,
}

/// Reads the object of a config.json; `path` is for messages.
pub(crate) fn from_json(path: &Path, json: &Map<String, Value>) -> Result<Description, ModelError> {
    let keys = Keys { path, json };
    let named = json.get("architectures").and_then(|a| a.get(0)).and_then(Value::as_str);
    let kind = json.get("model_type").and_then(Value::as_str);
    let family = NAMES.iter().find(|(_, model_type, class)| match named {
        Some(named) => named == *class,
        None => kind == Some(*model_type),
    });
    let Some((saved_as, ..)) = family.copied() else {
        let found = named.or(kind).map_or("(none named)".to_string(), |name| format!("`{name}`"));
        return Err(ModelError::UnknownArchitecture { path: path.to_path_buf(), found, known: KNOWN });
    };
    let config = match saved_as {
        SavedAs::Gpt2 => keys.gpt2()?,
        SavedAs::Danlu => keys.danlu()?,
        family => keys.descendant(family)?,
    };
    config.validate()?;
    Ok(Description {
        config,
        vocab_size: keys.count("vocab_size")?,
        special: SpecialTokens::default().updated(json),
        saved_as,
        int8: keys.int8()?,
    })
}

/// Typed reading of a JSON object with errors that name the key.
pub(crate) struct Keys<'a> {
    pub(crate) path: &'a Path,
    pub(crate) json: &'a Map<String, Value>,
}

impl Keys<'_> {
    /// The error for a config.json that names none of the architectures `known`.
    pub(crate) fn unknown_architecture(&self, known: &'static [&'static str]) -> ModelError {
        let architecture = self.json.get("architectures").and_then(|a| a.get(0)).or(self.json.get("model_type"));
        let found = architecture.map_or("(none named)".to_string(), Value::to_string);
        ModelError::UnknownArchitecture { path: self.path.to_path_buf(), found, known }
    }

    pub(crate) fn wrong(&self, key: &str, expected: impl Into<String>) -> ModelError {
        let found = self.json.get(key).map_or("missing".to_string(), Value::to_string);
        ModelError::UnsupportedConfig {
            path: self.path.to_path_buf(),
            key: key.to_string(),
            found,
            expected: expected.into(),
        }
    }

    pub(crate) fn given(&self, key: &str) -> Option<&Value> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn count(&self, key: &str) -> Result<usize, ModelError> {
        self.optional_count(key)?.ok_or_else(|| self.wrong(key, "a whole number"))
    }

    pub(crate) fn optional_count(&self, key: &str) -> Result<Option<usize>, ModelError> {
        let count = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
        self.given(key).map(|value| count(value).ok_or_else(|| self.wrong(key, "a whole number"))).transpose()
    }

    pub(crate) fn number(&self, key: &str, otherwise: f64) -> Result<f64, ModelError> {
        let Some(value) = self.given(key) else { return Ok(otherwise) };
        value.as_f64().ok_or_else(|| self.wrong(key, "a number"))
    }

    /// A rate that is 0 where nothing is said, and then left out.
    pub(crate) fn rate(&self, key: &str) -> Result<Option<f64>, ModelError> {
        Ok(Some(self.number(key, 0.0)?).filter(|rate| *rate != 0.0))
    }

    pub(crate) fn flag(&self, key: &str, otherwise: bool) -> Result<bool, ModelError> {
        let Some(value) = self.given(key) else { return Ok(otherwise) };
        value.as_bool().ok_or_else(|| self.wrong(key, "true or false"))
    }

    /// Refuses a setting that would change the logits and that danlu does not have.
    pub(crate) fn only(&self, key: &str, supported: Value) -> Result<(), ModelError> {
        match self.given(key) {
            Some(value) if *value != supported => Err(self.wrong(key, supported.to_string())),
            _ => Ok(()),
        }
    }

    fn gpt2(&self) -> Result<ModelConfig, ModelError> {
        self.only("scale_attn_weights", json!(true))?;
        self.only("scale_attn_by_inverse_layer_idx", json!(false))?;
        self.only("add_cross_attention", json!(false))?;
        let activation = match self.given("activation_function").and_then(Value::as_str).unwrap_or("gelu_new") {
            "gelu_new" | "gelu_pytorch_tanh" => Activation::Gelu,
            "gelu" => Activation::GeluErf,
            _ => return Err(self.wrong("activation_function", "\"gelu_new\", \"gelu_pytorch_tanh\" or \"gelu\"")),
        };
        Ok(ModelConfig {
            architecture: Architecture::Gpt2,
            layers: self.count("n_layer")?,
            hidden_size: self.count("n_embd")?,
            heads: self.count("n_head")?,
            kv_heads: None,
            head_dim: None,
            ffn_size: self.optional_count("n_inner")?,
            max_seq_len: self.count("n_positions")?,
            norm: Some(NormKind::Layer),
            positions: Some(Positions::Learned),
            activation: Some(activation),
            bias: Some(true),
            tied: self.flag("tie_word_embeddings", true)?,
            norm_eps: self.number("layer_norm_epsilon", 1e-5)?,
            dropout: self.number("resid_pdrop", 0.0)?,
            attention_dropout: self.rate("attn_pdrop")?,
            ..ModelConfig::default()
        })
    }

    fn danlu(&self) -> Result<ModelConfig, ModelError> {
        let settings = self.given("danlu").ok_or_else(|| self.wrong("danlu", "an object of model settings"))?;
        serde_json::from_value(settings.clone())
            .map_err(|source| ModelError::Json { path: self.path.to_path_buf(), source })
    }

    /// Whether the weights are in the one quantised form that danlu knows.
    fn int8(&self) -> Result<bool, ModelError> {
        let Some(settings) = self.given("quantization_config") else { return Ok(false) };
        let text = |key: &str| settings.get(key).and_then(Value::as_str);
        let weights = settings.pointer("/config_groups/group_0/weights");
        let weights_are = |key: &str, value: Value| weights.and_then(|w| w.get(key)) == Some(&value);
        let fits = text("quant_method") == Some("compressed-tensors")
            && text("format") == Some("int-quantized")
            && weights_are("num_bits", json!(8))
            && weights_are("symmetric", json!(true))
            && weights_are("strategy", json!("channel"));
        match fits {
            true => Ok(true),
            false => {
                Err(self
                    .wrong("quantization_config", "compressed-tensors int-quantized, 8 bits, symmetric, per channel"))
            }
        }
    }
}
