//! config.json of the families that descend from Llama, both ways.

use crate::hf_config::{Keys, only_in_training};
use crate::{Activation, Architecture, LayerType, ModelConfig, ModelError, NormKind, Positions, RopeScaling, SavedAs};
use serde_json::{Map, Value, json};

/// The `model_type` and the class that transformers knows a family by.
pub(crate) const NAMES: &[(SavedAs, &str, &str)] = &[
    (SavedAs::Llama, "llama", "LlamaForCausalLM"),
    (SavedAs::Gpt2, "gpt2", "GPT2LMHeadModel"),
    (SavedAs::Qwen2, "qwen2", "Qwen2ForCausalLM"),
    (SavedAs::Qwen3, "qwen3", "Qwen3ForCausalLM"),
    (SavedAs::Mistral, "mistral", "MistralForCausalLM"),
    (SavedAs::Mixtral, "mixtral", "MixtralForCausalLM"),
    (SavedAs::Gemma, "gemma", "GemmaForCausalLM"),
    (SavedAs::Gemma2, "gemma2", "Gemma2ForCausalLM"),
    (SavedAs::Gemma3, "gemma3_text", "Gemma3ForCausalLM"),
    (SavedAs::Danlu, "danlu", "DanluForCausalLM"),
];

/// Families that have no key for biases and do not read it.
const WITHOUT_BIAS_KEY: [SavedAs; 3] = [SavedAs::Qwen2, SavedAs::Mistral, SavedAs::Mixtral];

/// Writes the rotary positions where transformers 4 and where transformers 5 look for them.
pub(crate) fn insert_rope(json: &mut Map<String, Value>, c: &ModelConfig) {
    let mut table = Map::new();
    if let Some(Value::Object(scaling)) = c.rope_scaling.as_ref().and_then(|s| serde_json::to_value(s).ok()) {
        table = scaling;
        if !matches!(c.rope_scaling, Some(RopeScaling::Linear { .. } | RopeScaling::Dynamic { .. })) {
            table.entry("original_max_position_embeddings").or_insert(json!(c.max_seq_len));
        }
        json.insert("rope_scaling".into(), Value::Object(table.clone()));
    }
    table.entry("rope_type").or_insert(json!("default"));
    table.insert("rope_theta".into(), json!(c.rope_theta));
    json.insert("rope_theta".into(), json!(c.rope_theta));
    let parameters = match c.local_rope_theta() {
        None => Value::Object(table),
        Some(local) => {
            json.insert("rope_local_base_freq".into(), json!(local));
            json!({"full_attention": table, "sliding_attention": {"rope_type": "default", "rope_theta": local}})
        }
    };
    json.insert("rope_parameters".into(), parameters);
}

/// config.json of a family other than Llama and GPT-2.
pub(crate) fn to_json(c: &ModelConfig, family: SavedAs) -> Map<String, Value> {
    let mut json = Map::new();
    let mut set = |key: &str, value: Value| drop(json.insert(key.into(), value));
    if let Some((_, model_type, class)) = NAMES.iter().find(|(of, ..)| *of == family) {
        set("architectures", json!([class]));
        set("model_type", json!(model_type));
    }
    set("hidden_size", json!(c.hidden_size));
    set("intermediate_size", json!(c.ffn_size()));
    set("num_hidden_layers", json!(c.layers));
    set("num_attention_heads", json!(c.heads));
    set("num_key_value_heads", json!(c.kv_heads()));
    set("head_dim", json!(c.head_dim()));
    set("max_position_embeddings", json!(c.max_seq_len));
    set("rms_norm_eps", json!(c.norm_eps));
    set("initializer_range", json!(0.02));
    set("attention_dropout", json!(c.attention_dropout()));
    set("tie_word_embeddings", json!(c.tied));
    set("danlu", only_in_training(c));
    match family {
        SavedAs::Gemma => {
            set("hidden_act", json!("gelu_pytorch_tanh"));
            set("hidden_activation", json!("gelu_pytorch_tanh"));
        }
        SavedAs::Gemma2 | SavedAs::Gemma3 => set("hidden_activation", json!("gelu_pytorch_tanh")),
        _ => set("hidden_act", json!("silu")),
    }
    let slides = c.layer_types().contains(&LayerType::SlidingAttention);
    match family {
        SavedAs::Qwen2 | SavedAs::Qwen3 => {
            set("use_sliding_window", json!(slides));
            set("sliding_window", json!(c.sliding_window().filter(|_| slides)));
            set("max_window_layers", json!(if slides { 0 } else { c.layers }));
            set("layer_types", json!(c.layer_types()));
        }
        SavedAs::Mistral | SavedAs::Mixtral => set("sliding_window", json!(c.sliding_window().filter(|_| slides))),
        SavedAs::Gemma2 | SavedAs::Gemma3 => {
            set("sliding_window", json!(c.sliding_window()));
            set("layer_types", json!(c.layer_types()));
            // A whole number, as transformers insists.
            set("query_pre_attn_scalar", json!(c.query_pre_attn_scalar() as u64));
            set("attn_logit_softcapping", json!(c.attention_softcap()));
            set("final_logit_softcapping", json!(c.logit_softcap()));
        }
        _ => {}
    }
    if let Some(experts) = c.experts() {
        set("num_local_experts", json!(experts));
        set("num_experts_per_tok", json!(c.experts_per_token()));
        set("router_aux_loss_coef", json!(c.router_aux_loss_coef()));
        set("router_jitter_noise", json!(0.0));
        set("output_router_logits", json!(false));
    }
    if !WITHOUT_BIAS_KEY.contains(&family) {
        set("attention_bias", json!(false));
    }
    insert_rope(&mut json, c);
    json
}

/// What config.json says of rotary positions.
struct Rope {
    theta: f64,
    local_theta: Option<f64>,
    scaling: Option<RopeScaling>,
}

impl Keys<'_> {
    /// Settings of a family whose config.json has Llama's keys.
    pub(crate) fn descendant(&self, family: SavedAs) -> Result<ModelConfig, ModelError> {
        let architecture = match family {
            SavedAs::Qwen2 => Architecture::Qwen2,
            SavedAs::Qwen3 => Architecture::Qwen3,
            SavedAs::Mistral => Architecture::Mistral,
            SavedAs::Mixtral => Architecture::Mixtral,
            SavedAs::Gemma => Architecture::Gemma,
            SavedAs::Gemma2 => Architecture::Gemma2,
            SavedAs::Gemma3 => Architecture::Gemma3,
            _ => Architecture::Llama,
        };
        let (gemma, late_gemma) = (architecture.is_gemma(), matches!(family, SavedAs::Gemma2 | SavedAs::Gemma3));
        self.activation(family)?;
        let bias = self.biases(family)?;
        let rope = self.rope(family)?;
        let head_dim = match family {
            SavedAs::Gemma | SavedAs::Gemma2 | SavedAs::Gemma3 => Some(256),
            SavedAs::Qwen3 => Some(128),
            _ => None,
        };
        let kv_heads = self.optional_count("num_key_value_heads")?;
        if kv_heads.is_none() && family != SavedAs::Llama {
            return Err(self.wrong("num_key_value_heads", "a whole number"));
        }
        let (sliding_window, layer_types) = self.windows(family)?;
        let scalar = if late_gemma { Some(self.number("query_pre_attn_scalar", 256.0)?) } else { None };
        let soft_caps = self.soft_caps(family)?;
        let mixtral = family == SavedAs::Mixtral;
        let experts = |key: &str, otherwise: usize| match mixtral {
            true => self.optional_count(key).map(|count| Some(count.unwrap_or(otherwise))),
            false => Ok(None),
        };
        let danlu = |key: &str| self.given("danlu").and_then(|danlu| danlu.get(key)).and_then(Value::as_f64);
        Ok(ModelConfig {
            architecture,
            layers: self.count("num_hidden_layers")?,
            hidden_size: self.count("hidden_size")?,
            heads: self.count("num_attention_heads")?,
            kv_heads,
            head_dim: self.optional_count("head_dim")?.or(head_dim),
            ffn_size: Some(self.count("intermediate_size")?),
            max_seq_len: self.count("max_position_embeddings")?,
            norm: Some(NormKind::Rms),
            positions: Some(Positions::Rope),
            activation: Some(if gemma { Activation::Geglu } else { Activation::Swiglu }),
            bias: Some(bias),
            tied: self.flag("tie_word_embeddings", gemma)?,
            rope_theta: rope.theta,
            norm_eps: self.number("rms_norm_eps", if mixtral { 1e-5 } else { 1e-6 })?,
            dropout: danlu("dropout").unwrap_or(0.0),
            attention_dropout: self.rate("attention_dropout")?,
            layer_drop: danlu("layer_drop"),
            query_pre_attn_scalar: scalar,
            attention_softcap: soft_caps.0,
            logit_softcap: soft_caps.1,
            sliding_window,
            layer_types,
            local_rope_theta: rope.local_theta,
            rope_scaling: rope.scaling,
            experts: experts("num_local_experts", 8)?,
            experts_per_token: experts("num_experts_per_tok", 2)?,
            router_aux_loss_coef: if mixtral { Some(self.number("router_aux_loss_coef", 0.001)?) } else { None },
            ..ModelConfig::default()
        })
    }

    fn activation(&self, family: SavedAs) -> Result<(), ModelError> {
        let tanh = json!("gelu_pytorch_tanh");
        match family {
            // The first release said "gelu" and meant this.
            SavedAs::Gemma if self.given("hidden_act") == Some(&json!("gelu")) => self.only("hidden_activation", tanh),
            SavedAs::Gemma => {
                self.only("hidden_activation", tanh.clone())?;
                self.only("hidden_act", tanh)
            }
            SavedAs::Gemma2 | SavedAs::Gemma3 => self.only("hidden_activation", tanh),
            _ => self.only("hidden_act", json!("silu")),
        }
    }

    /// Whether all linear layers have biases.
    fn biases(&self, family: SavedAs) -> Result<bool, ModelError> {
        if family == SavedAs::Llama {
            let bias = self.flag("attention_bias", false)?;
            self.only("mlp_bias", json!(bias))?;
            return Ok(bias);
        }
        if !WITHOUT_BIAS_KEY.contains(&family) {
            self.only("attention_bias", json!(false))?;
        }
        self.only("use_bidirectional_attention", json!(false))?;
        Ok(false)
    }

    /// Of attention and of logits, for Gemma 2 and 3; 0 where config.json says null.
    fn soft_caps(&self, family: SavedAs) -> Result<(Option<f64>, Option<f64>), ModelError> {
        let cap = |key: &str, otherwise: f64| match self.json.get(key) {
            Some(Value::Null) => Ok(Some(0.0)),
            _ => self.number(key, otherwise).map(Some),
        };
        match family {
            SavedAs::Gemma2 => Ok((cap("attn_logit_softcapping", 50.0)?, cap("final_logit_softcapping", 30.0)?)),
            SavedAs::Gemma3 => {
                // transformers has the key and does nothing with it.
                if self.given("attn_logit_softcapping").is_some() {
                    return Err(self.wrong("attn_logit_softcapping", "null"));
                }
                Ok((Some(0.0), cap("final_logit_softcapping", 0.0)?))
            }
            _ => Ok((None, None)),
        }
    }

    fn windows(&self, family: SavedAs) -> Result<(Option<usize>, Option<Vec<LayerType>>), ModelError> {
        let default_window = match family {
            SavedAs::Llama | SavedAs::Gemma => return Ok((None, None)),
            SavedAs::Qwen2 | SavedAs::Qwen3 if !self.flag("use_sliding_window", false)? => return Ok((Some(0), None)),
            SavedAs::Mixtral => 0,
            _ => 4096,
        };
        let window = match self.json.get("sliding_window") {
            Some(Value::Null) => 0,
            _ => self.optional_count("sliding_window")?.unwrap_or(default_window),
        };
        if window == 0 && matches!(family, SavedAs::Gemma2 | SavedAs::Gemma3) {
            return Err(self.wrong("sliding_window", "a whole number above 0"));
        }
        let types = match self.given("layer_types") {
            None => self.layer_types_of(family)?,
            // These have no such key and do not read it.
            Some(_) if matches!(family, SavedAs::Mistral | SavedAs::Mixtral) => None,
            Some(types) => {
                let types = serde_json::from_value(types.clone());
                let expected = "a list of \"full_attention\" and \"sliding_attention\"";
                Some(types.map_err(|_| self.wrong("layer_types", expected))?)
            }
        };
        Ok((Some(window), types))
    }

    /// Which layers slide where no list says so.
    fn layer_types_of(&self, family: SavedAs) -> Result<Option<Vec<LayerType>>, ModelError> {
        let layers = self.count("num_hidden_layers")?.min(1 << 12);
        let slide = |f: &dyn Fn(usize) -> bool| {
            let of = |i| if f(i) { LayerType::SlidingAttention } else { LayerType::FullAttention };
            Some((0..layers).map(of).collect())
        };
        Ok(match family {
            SavedAs::Qwen2 | SavedAs::Qwen3 => {
                let full = self.optional_count("max_window_layers")?.unwrap_or(28);
                slide(&|i| i >= full)
            }
            SavedAs::Gemma3 => match self.optional_count("sliding_window_pattern")?.unwrap_or(6) {
                0 => return Err(self.wrong("sliding_window_pattern", "a whole number above 0")),
                pattern => slide(&|i| !(i + 1).is_multiple_of(pattern)),
            },
            _ => None,
        })
    }

    fn rope(&self, family: SavedAs) -> Result<Rope, ModelError> {
        self.only("partial_rotary_factor", json!(1.0))?;
        let gemma3 = family == SavedAs::Gemma3;
        let mut rope = Rope {
            theta: self.number("rope_theta", if gemma3 || family == SavedAs::Mixtral { 1e6 } else { 1e4 })?,
            local_theta: if gemma3 { Some(self.number("rope_local_base_freq", 1e4)?) } else { None },
            scaling: None,
        };
        for key in ["rope_parameters", "rope_scaling"] {
            let Some(table) = self.given(key) else { continue };
            let full = table.get("full_attention").filter(|_| gemma3);
            if let Some(local) = table.get("sliding_attention").filter(|_| gemma3) {
                let (theta, scaling) = self.rope_table(key, local)?;
                if scaling.is_some() {
                    return Err(self.wrong(key, "sliding_attention with rope_type \"default\""));
                }
                rope.local_theta = theta.or(rope.local_theta);
            }
            let (theta, scaling) = self.rope_table(key, full.unwrap_or(table))?;
            rope.theta = theta.unwrap_or(rope.theta);
            rope.scaling = scaling.or(rope.scaling);
        }
        Ok(rope)
    }

    /// Base and scaling of one table of rotary positions.
    fn rope_table(&self, key: &str, table: &Value) -> Result<(Option<f64>, Option<RopeScaling>), ModelError> {
        let Value::Object(table) = table else { return Err(self.wrong(key, RopeScaling::KINDS)) };
        // Null is what transformers writes for "not given".
        let mut table: Map<String, Value> = table.clone().into_iter().filter(|(_, value)| !value.is_null()).collect();
        let theta = match table.remove("rope_theta") {
            Some(theta) => Some(theta.as_f64().ok_or_else(|| self.wrong(key, "a number as rope_theta"))?),
            None => None,
        };
        let older = table.remove("type");
        let kind = table.remove("rope_type").or(older).unwrap_or(json!("default"));
        if table.remove("partial_rotary_factor").is_some_and(|factor| factor.as_f64() != Some(1.0)) {
            return Err(self.wrong(key, "a partial_rotary_factor of 1"));
        }
        if kind == json!("default") {
            return match table.contains_key("full_attention") || table.contains_key("sliding_attention") {
                true => Err(self.wrong(key, "one table for all layers")),
                false => Ok((theta, None)),
            };
        }
        table.insert("rope_type".into(), kind);
        let scaling = serde_json::from_value(Value::Object(table));
        Ok((theta, Some(scaling.map_err(|_| self.wrong(key, RopeScaling::KINDS))?)))
    }
}
