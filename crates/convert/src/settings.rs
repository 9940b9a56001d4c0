//! The shape of a model: the description in GGUF to config.json and back.

use std::path::Path;

use danlu_weights::gguf::{Metadata, Value};
use serde_json::{Map, Value as Json, json};

use crate::ConvertError;
use crate::names::Family;

/// What the layouts of tensors depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
}

/// A description in GGUF, with errors that name the key.
struct Description<'a> {
    path: &'a Path,
    metadata: &'a Metadata,
    family: Family,
}

impl Description<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.family.name())
    }

    fn optional(&self, name: &str) -> Option<u64> {
        self.metadata.count(&self.key(name))
    }

    fn count(&self, name: &str) -> Result<u64, ConvertError> {
        let missing = || ConvertError::malformed(self.path, format!("{} is missing", self.key(name)));
        self.optional(name).filter(|count| *count > 0).ok_or_else(missing)
    }

    fn number(&self, name: &str) -> Result<f64, ConvertError> {
        let missing = || ConvertError::malformed(self.path, format!("{} is missing", self.key(name)));
        self.metadata.number(&self.key(name)).ok_or_else(missing)
    }

    /// Refuses a setting that would change the logits and that danlu does not have.
    fn refuse(&self, name: &str, fits: impl Fn(&Value) -> bool) -> Result<(), ConvertError> {
        match self.metadata.get(&self.key(name)) {
            Some(value) if !fits(value) => {
                Err(ConvertError::unsupported(self.path, format!("{} is {value:?}", self.key(name))))
            }
            _ => Ok(()),
        }
    }
}

/// config.json of a described model. `has` says whether the file holds a tensor.
pub(crate) fn config(
    path: &Path,
    metadata: &Metadata,
    family: Family,
    has: &dyn Fn(&str) -> bool,
) -> Result<(Json, Shape), ConvertError> {
    let d = Description { path, metadata, family };
    let (json, shape) = match family {
        Family::Llama => llama(&d, has)?,
        Family::Gpt2 => gpt2(&d)?,
    };
    Ok((json, shape))
}

fn llama(d: &Description<'_>, has: &dyn Fn(&str) -> bool) -> Result<(Json, Shape), ConvertError> {
    d.refuse("rope.scaling.type", |value| *value == Value::Text("none".into()))?;
    d.refuse("expert_count", |value| [Value::U32(0), Value::U32(1)].contains(value))?;
    if has("rope_freqs.weight") {
        return Err(ConvertError::unsupported(d.path, "rotary positions scaled as in Llama 3 (rope_freqs.weight)"));
    }
    let (hidden, heads) = (d.count("embedding_length")?, d.count("attention.head_count")?);
    let kv_heads = d.optional("attention.head_count_kv").unwrap_or(heads);
    let head_dim = d.optional("attention.key_length").or(d.optional("rope.dimension_count")).unwrap_or(hidden / heads);
    d.refuse("rope.dimension_count", |_| d.optional("rope.dimension_count") == Some(head_dim))?;
    if heads > hidden || kv_heads == 0 || !heads.is_multiple_of(kv_heads) || !head_dim.is_multiple_of(2) {
        let what = format!("{heads} heads of {head_dim}, {kv_heads} for keys: these do not fit together");
        return Err(ConvertError::malformed(d.path, what));
    }
    let theta = d.metadata.number(&d.key("rope.freq_base")).unwrap_or(10_000.0);
    let json = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": d.count("feed_forward_length")?,
        "num_hidden_layers": d.count("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": d.count("context_length")?,
        "rms_norm_eps": shortest(d.number("attention.layer_norm_rms_epsilon")?),
        "rope_theta": theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "attention_bias": has("blk.0.attn_q.bias"),
        "mlp_bias": has("blk.0.ffn_up.bias"),
        "tie_word_embeddings": !has("output.weight"),
    });
    Ok((json, Shape { heads: heads as usize, kv_heads: kv_heads as usize }))
}

fn gpt2(d: &Description<'_>) -> Result<(Json, Shape), ConvertError> {
    let heads = d.count("attention.head_count")?;
    let json = json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_embd": d.count("embedding_length")?,
        "n_layer": d.count("block_count")?,
        "n_head": heads,
        "n_positions": d.count("context_length")?,
        "n_ctx": d.count("context_length")?,
        "n_inner": d.count("feed_forward_length")?,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": shortest(d.number("attention.layer_norm_epsilon")?),
        "tie_word_embeddings": true,
    });
    Ok((json, Shape { heads: heads as usize, kv_heads: heads as usize }))
}

/// GGUF keeps numbers in 32 bits: the shortest decimal that means the same, 0.00001 and not 0.0000099999997.
fn shortest(value: f64) -> f64 {
    (value as f32).to_string().parse().unwrap_or(value)
}

/// The description of a model by its config.json.
pub(crate) fn metadata(path: &Path, config: &Map<String, Json>) -> Result<(Metadata, Family, Shape), ConvertError> {
    let kind = config.get("model_type").and_then(Json::as_str).unwrap_or("(none)");
    let Some(family) = Family::from_name(kind) else {
        let what = format!("model_type {kind:?} cannot be written as GGUF; {} can", Family::KNOWN);
        return Err(ConvertError::unsupported(path, what));
    };
    let keys = Config { path, config };
    if config.get("quantization_config").is_some_and(|value| !value.is_null()) {
        return Err(ConvertError::unsupported(path, "the weights are quantised; export the model they were made from"));
    }
    let mut out = Metadata::default();
    out.set("general.architecture", Value::Text(family.name().into()));
    let mut count = |name: &str, value: u64| {
        let narrow = u32::try_from(value).map_err(|_| ConvertError::malformed(path, format!("{value} for {name}")))?;
        out.set(format!("{}.{name}", family.name()), Value::U32(narrow));
        Ok::<(), ConvertError>(())
    };
    let shape = match family {
        Family::Llama => {
            keys.plain_rope()?;
            let (hidden, heads) = (keys.count("hidden_size")?, keys.count("num_attention_heads")?);
            let kv_heads = keys.optional("num_key_value_heads").unwrap_or(heads);
            let head_dim = keys.optional("head_dim").unwrap_or(hidden / heads.max(1));
            count("context_length", keys.count("max_position_embeddings")?)?;
            count("embedding_length", hidden)?;
            count("block_count", keys.count("num_hidden_layers")?)?;
            count("feed_forward_length", keys.count("intermediate_size")?)?;
            count("attention.head_count", heads)?;
            count("attention.head_count_kv", kv_heads)?;
            count("attention.key_length", head_dim)?;
            count("attention.value_length", head_dim)?;
            count("rope.dimension_count", head_dim)?;
            count("vocab_size", keys.count("vocab_size")?)?;
            out.set("llama.attention.layer_norm_rms_epsilon", Value::F32(keys.number("rms_norm_eps", 1e-6) as f32));
            out.set("llama.rope.freq_base", Value::F32(keys.theta() as f32));
            Shape { heads: heads as usize, kv_heads: kv_heads as usize }
        }
        Family::Gpt2 => {
            let activation = config.get("activation_function").and_then(Json::as_str).unwrap_or("gelu_new");
            if !["gelu_new", "gelu_pytorch_tanh"].contains(&activation) {
                let what = format!("activation_function {activation:?}: GGUF's gpt2 has \"gelu_new\" only");
                return Err(ConvertError::unsupported(path, what));
            }
            let (hidden, heads) = (keys.count("n_embd")?, keys.count("n_head")?);
            count("context_length", keys.count("n_positions")?)?;
            count("embedding_length", hidden)?;
            count("block_count", keys.count("n_layer")?)?;
            count("feed_forward_length", keys.optional("n_inner").unwrap_or(4 * hidden))?;
            count("attention.head_count", heads)?;
            out.set("gpt2.attention.layer_norm_epsilon", Value::F32(keys.number("layer_norm_epsilon", 1e-5) as f32));
            Shape { heads: heads as usize, kv_heads: heads as usize }
        }
    };
    Ok((out, family, shape))
}

struct Config<'a> {
    path: &'a Path,
    config: &'a Map<String, Json>,
}

impl Config<'_> {
    fn optional(&self, key: &str) -> Option<u64> {
        self.config.get(key).and_then(Json::as_u64)
    }

    fn count(&self, key: &str) -> Result<u64, ConvertError> {
        let missing = || ConvertError::malformed(self.path, format!("{key} is missing or no whole number above 0"));
        self.optional(key).filter(|count| *count > 0).ok_or_else(missing)
    }

    fn number(&self, key: &str, otherwise: f64) -> f64 {
        self.config.get(key).and_then(Json::as_f64).unwrap_or(otherwise)
    }

    /// The base of the rotary angles: transformers 5 has it in a table, older ones beside it.
    fn theta(&self) -> f64 {
        let table = self.config.get("rope_parameters").and_then(|rope| rope.get("rope_theta")).and_then(Json::as_f64);
        table.unwrap_or_else(|| self.number("rope_theta", 10_000.0))
    }

    fn plain_rope(&self) -> Result<(), ConvertError> {
        for key in ["rope_parameters", "rope_scaling"] {
            let table = self.config.get(key);
            let kind = table.and_then(|rope| rope.get("rope_type").or_else(|| rope.get("type"))).and_then(Json::as_str);
            if let Some(kind) = kind.filter(|kind| *kind != "default") {
                return Err(ConvertError::unsupported(self.path, format!("{key}: rotary positions of type {kind:?}")));
            }
        }
        Ok(())
    }
}
