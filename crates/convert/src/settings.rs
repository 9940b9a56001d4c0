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
    /// Of a layer; 0 where it has none.
    pub(crate) experts: usize,
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
    if family == Family::Gpt2 {
        return gpt2(&d);
    }
    let (mut json, shape) = decoder(&d, has)?;
    let more = match family {
        Family::Llama | Family::Mistral => {
            json!({"attention_bias": has("blk.0.attn_q.bias"), "mlp_bias": has("blk.0.ffn_up.bias")})
        }
        Family::Mixtral => json!({
            "sliding_window": null, "num_local_experts": shape.experts,
            "num_experts_per_tok": d.count("expert_used_count")?,
        }),
        Family::Qwen2 => json!({"use_sliding_window": false}),
        Family::Qwen3 => json!({"use_sliding_window": false, "attention_bias": false}),
        Family::Gemma => json!({"hidden_act": GELU, "hidden_activation": GELU, "attention_bias": false}),
        _ => late_gemma(&d, &json)?,
    };
    if let (Json::Object(json), Json::Object(more)) = (&mut json, more) {
        json.extend(more);
    }
    Ok((json, shape))
}

/// The activation of every Gemma.
const GELU: &str = "gelu_pytorch_tanh";

/// What config.json of Gemma 2 and 3 has beside Llama's keys.
fn late_gemma(d: &Description<'_>, json: &Json) -> Result<Json, ConvertError> {
    let cap = |name: &str| d.metadata.number(&d.key(name)).map(shortest);
    let mut more = json!({
        "hidden_activation": GELU,
        "attention_bias": false,
        // llama.cpp has no key for it; both largest models differ.
        "query_pre_attn_scalar": query_scalar(d.family, json),
        "sliding_window": d.count("attention.sliding_window")?,
        "attn_logit_softcapping": cap("attn_logit_softcapping"),
        "final_logit_softcapping": cap("final_logit_softcapping"),
    });
    if d.family == Family::Gemma2 {
        let or = |key: &str, otherwise: f64| if more[key].is_null() { json!(otherwise) } else { more[key].clone() };
        let caps = [or("attn_logit_softcapping", 50.0), or("final_logit_softcapping", 30.0)];
        [more["attn_logit_softcapping"], more["final_logit_softcapping"]] = caps;
    } else {
        let local = d.metadata.number(&d.key("rope.freq_base_swa")).unwrap_or(10_000.0);
        more["rope_local_base_freq"] = json!(local);
        more["rope_parameters"] = json!({
            "full_attention": json["rope_parameters"],
            "sliding_attention": {"rope_type": "default", "rope_theta": local},
        });
    }
    Ok(more)
}

/// By what llama.cpp divides scores, squared: the width of a head, but for the largest Gemma 2 and 3.
fn query_scalar(family: Family, config: &Json) -> u64 {
    let count = |key: &str| config[key].as_u64().unwrap_or(0);
    let largest = match family {
        Family::Gemma2 => count("num_hidden_layers") == 46,
        _ => count("num_hidden_layers") == 62,
    };
    if largest { count("hidden_size") / count("num_attention_heads").max(1) } else { count("head_dim") }
}

/// What config.json of Llama and all that descend from it has.
fn decoder(d: &Description<'_>, has: &dyn Fn(&str) -> bool) -> Result<(Json, Shape), ConvertError> {
    let scaled = [Value::Text("none".into()), Value::Text("linear".into())];
    d.refuse("rope.scaling.type", |value| scaled.contains(value))?;
    let experts = if d.family == Family::Mixtral { d.count("expert_count")? } else { 0 };
    d.refuse("expert_count", |_| d.optional("expert_count").is_some_and(|n| n < 2 || n == experts))?;
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
    let mut rope = json!({"rope_type": "default", "rope_theta": theta});
    if d.metadata.text(&d.key("rope.scaling.type")) == Some("linear") {
        rope = json!({"rope_type": "linear", "factor": d.number("rope.scaling.factor")?, "rope_theta": theta});
    }
    let mut json = json!({
        "architectures": [d.family.class()],
        "model_type": d.family.model_type(),
        "hidden_size": hidden,
        "intermediate_size": d.count("feed_forward_length")?,
        "num_hidden_layers": d.count("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "max_position_embeddings": d.count("context_length")?,
        "rms_norm_eps": shortest(d.number("attention.layer_norm_rms_epsilon")?),
        "rope_theta": theta,
        "rope_parameters": rope,
        "tie_word_embeddings": !has("output.weight"),
    });
    if !d.family.is_gemma() {
        json["hidden_act"] = json!("silu");
    }
    Ok((json, Shape { heads: heads as usize, kv_heads: kv_heads as usize, experts: experts as usize }))
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
    Ok((json, Shape { heads: heads as usize, kv_heads: heads as usize, experts: 0 }))
}

/// GGUF keeps numbers in 32 bits: the shortest decimal that means the same, 0.00001 and not 0.0000099999997.
fn shortest(value: f64) -> f64 {
    (value as f32).to_string().parse().unwrap_or(value)
}

/// The description of a model by its config.json.
pub(crate) fn metadata(path: &Path, config: &Map<String, Json>) -> Result<(Metadata, Family, Shape), ConvertError> {
    let kind = config.get("model_type").and_then(Json::as_str).unwrap_or("(none)");
    let Some(family) = Family::from_model_type(kind) else {
        let what = format!("model_type {kind:?} cannot be written as GGUF; {} can", Family::WRITTEN);
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
            Shape { heads: heads as usize, kv_heads: heads as usize, experts: 0 }
        }
        family => {
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
            let mut experts = 0;
            if family == Family::Mixtral {
                experts = keys.optional("num_local_experts").unwrap_or(8);
                count("expert_count", experts)?;
                count("expert_used_count", keys.optional("num_experts_per_tok").unwrap_or(2))?;
            }
            let mut number = |name: &str, x: f64| out.set(format!("{}.{name}", family.name()), Value::F32(x as f32));
            number("attention.layer_norm_rms_epsilon", keys.number("rms_norm_eps", 1e-6));
            keys.variants(family, &mut number)?;
            if let Some(window) = keys.window(family, head_dim)? {
                out.set(format!("{}.attention.sliding_window", family.name()), Value::U32(window));
            }
            if keys.rope(family)?.factor.is_some() {
                out.set(format!("{}.rope.scaling.type", family.name()), Value::Text("linear".into()));
            }
            Shape { heads: heads as usize, kv_heads: kv_heads as usize, experts: experts as usize }
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

    /// Numbers that not every family has.
    fn variants(&self, family: Family, number: &mut dyn FnMut(&str, f64)) -> Result<(), ConvertError> {
        let rope = self.rope(family)?;
        number("rope.freq_base", rope.theta);
        if let Some(factor) = rope.factor {
            number("rope.scaling.factor", factor);
        }
        if family == Family::Gemma3 {
            number("rope.freq_base_swa", rope.local_theta);
        }
        for name in ["attn_logit_softcapping", "final_logit_softcapping"] {
            let cap = self.config.get(name).and_then(Json::as_f64);
            let otherwise = if name.starts_with("attn") { 50.0 } else { 30.0 };
            match (family, cap) {
                (Family::Gemma2, _) if self.config.get(name).is_some_and(Json::is_null) => {
                    return Err(self.unsupported(format!("{name} is null, which GGUF's gemma2 cannot say")));
                }
                (Family::Gemma2, cap) => number(name, cap.unwrap_or(otherwise)),
                (Family::Gemma3, Some(cap)) => number(name, cap),
                _ => {}
            }
        }
        Ok(())
    }

    /// The sliding window, where the family has one in GGUF; which layers slide is fixed there.
    fn window(&self, family: Family, head_dim: u64) -> Result<Option<u32>, ConvertError> {
        if matches!(family, Family::Mistral | Family::Mixtral) {
            // Mistral has one where nothing is said, Mixtral none.
            let left_out = if family == Family::Mistral { json!(4096) } else { Json::Null };
            let window = self.config.get("sliding_window").unwrap_or(&left_out);
            let context = self.count("max_position_embeddings")?;
            return match window.as_u64() {
                Some(window) if window < context => {
                    let what = format!("sliding_window {window}: GGUF's llama sees all of {context} positions");
                    Err(self.unsupported(what))
                }
                _ => Ok(None),
            };
        }
        if !matches!(family, Family::Gemma2 | Family::Gemma3) {
            return match self.config.get("use_sliding_window").and_then(Json::as_bool) {
                Some(true) => Err(self.unsupported("use_sliding_window: GGUF has no sliding windows here".into())),
                _ => Ok(None),
            };
        }
        let mut config = Json::Object(self.config.clone());
        config["head_dim"] = json!(head_dim);
        let (scalar, wanted) = (self.optional("query_pre_attn_scalar").unwrap_or(256), query_scalar(family, &config));
        if scalar != wanted {
            return Err(self.unsupported(format!("query_pre_attn_scalar {scalar}: here it is {wanted} in GGUF")));
        }
        let every = if family == Family::Gemma2 { 2 } else { 6 };
        let fixed = |(i, kind): (usize, &Json)| (kind == "full_attention") == (i + 1).is_multiple_of(every);
        let types = self.config.get("layer_types").and_then(Json::as_array);
        if !types.is_none_or(|types| types.iter().enumerate().all(fixed)) {
            return Err(self.unsupported(format!("layer_types: in GGUF all layers slide but one in {every}")));
        }
        let window = self.count("sliding_window")?;
        u32::try_from(window).map(Some).map_err(|_| ConvertError::malformed(self.path, format!("window {window}")))
    }

    fn unsupported(&self, what: String) -> ConvertError {
        ConvertError::unsupported(self.path, what)
    }

    /// Rotary positions: transformers 5 has them in a table, older ones beside it.
    fn rope(&self, family: Family) -> Result<Rope, ConvertError> {
        let gemma3 = family == Family::Gemma3;
        let large = gemma3 || family == Family::Mixtral;
        let mut rope = Rope {
            theta: self.number("rope_theta", if large { 1e6 } else { 1e4 }),
            local_theta: self.number("rope_local_base_freq", 1e4),
            factor: None,
        };
        for key in ["rope_parameters", "rope_scaling"] {
            let Some(table) = self.config.get(key).filter(|table| !table.is_null()) else { continue };
            let number = |table: &Json, key: &str| table.get(key).and_then(Json::as_f64);
            let full = table.get("full_attention").filter(|_| gemma3).unwrap_or(table);
            if let Some(local) = table.get("sliding_attention").filter(|_| gemma3) {
                rope.local_theta = number(local, "rope_theta").unwrap_or(rope.local_theta);
            }
            rope.theta = number(full, "rope_theta").unwrap_or(rope.theta);
            let kind = full.get("rope_type").or_else(|| full.get("type")).and_then(Json::as_str);
            match kind.unwrap_or("default") {
                "default" => {}
                "linear" => {
                    let missing = || ConvertError::malformed(self.path, format!("{key} has no factor"));
                    rope.factor = Some(number(full, "factor").ok_or_else(missing)?);
                }
                kind => return Err(self.unsupported(format!("{key}: rotary positions of type {kind:?}"))),
            }
        }
        Ok(rope)
    }
}

struct Rope {
    theta: f64,
    /// Of sliding layers, for Gemma 3.
    local_theta: f64,
    /// By which positions are divided.
    factor: Option<f64>,
}
