//! What the families of decoders differ in: the settings that their names fill in, and which of them transformers has.

use crate::{Activation, Architecture, ModelConfig, NormKind, Positions, RopeScaling};
use serde::{Deserialize, Serialize};

/// How far a layer's attention looks back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerType {
    /// To the beginning.
    FullAttention,
    /// Over `sliding_window` positions, its own included (Beltagy et al. 2020, "Longformer").
    SlidingAttention,
}

/// The name under which a model's folder is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SavedAs {
    /// RMSNorm, rotary positions, SwiGLU: transformers' `LlamaForCausalLM`.
    Llama,
    /// LayerNorm, learned positions, GELU, biases, one key head per query head: transformers' `GPT2LMHeadModel`.
    Gpt2,
    /// Llama with biases of queries, keys and values alone, and perhaps sliding windows: `Qwen2ForCausalLM`.
    Qwen2,
    /// Llama with normalised queries and keys, and perhaps sliding windows: `Qwen3ForCausalLM`.
    Qwen3,
    /// Llama with a sliding window in every layer or none: `MistralForCausalLM`.
    Mistral,
    /// Mistral with a mixture of experts: `MixtralForCausalLM`.
    Mixtral,
    /// GeGLU, scaled embedding, norms that multiply by 1 + weight: `GemmaForCausalLM`.
    Gemma,
    /// Gemma with norms after each part too, sliding windows and soft-caps: `Gemma2ForCausalLM`.
    Gemma2,
    /// As Gemma 2 with normalised queries and keys and a rotary base of its own where windows slide, without soft-cap of
    /// attention: `Gemma3ForCausalLM`.
    Gemma3,
    /// Any other combination: `DanluForCausalLM`, which danlu loads and transformers does not.
    Danlu,
}

impl SavedAs {
    /// Those that transformers has.
    pub(crate) const FAMILIES: [SavedAs; 9] = [
        SavedAs::Llama,
        SavedAs::Gpt2,
        SavedAs::Qwen2,
        SavedAs::Qwen3,
        SavedAs::Mistral,
        SavedAs::Mixtral,
        SavedAs::Gemma,
        SavedAs::Gemma2,
        SavedAs::Gemma3,
    ];
}

impl Architecture {
    fn saved_as(self) -> SavedAs {
        match self {
            Architecture::Llama => SavedAs::Llama,
            Architecture::Gpt2 => SavedAs::Gpt2,
            Architecture::Qwen2 => SavedAs::Qwen2,
            Architecture::Qwen3 => SavedAs::Qwen3,
            Architecture::Mistral => SavedAs::Mistral,
            Architecture::Mixtral => SavedAs::Mixtral,
            Architecture::Gemma => SavedAs::Gemma,
            Architecture::Gemma2 => SavedAs::Gemma2,
            Architecture::Gemma3 => SavedAs::Gemma3,
            Architecture::Rnn | Architecture::Lstm | Architecture::Gru => SavedAs::Danlu,
        }
    }

    pub(crate) fn is_gemma(self) -> bool {
        matches!(self, Architecture::Gemma | Architecture::Gemma2 | Architecture::Gemma3)
    }

    /// Has none of the settings that are off in Llama and GPT-2 alike.
    pub(crate) fn is_plain(self) -> bool {
        matches!(self, Architecture::Llama | Architecture::Gpt2)
    }
}

/// Settings that not every family has, resolved.
impl ModelConfig {
    /// Whether queries, keys and values have biases.
    pub fn qkv_bias(&self) -> bool {
        self.qkv_bias.unwrap_or(self.bias() || self.architecture == Architecture::Qwen2)
    }

    /// Whether the heads of queries and keys are normalised before they are turned.
    pub fn qk_norm(&self) -> bool {
        self.qk_norm.unwrap_or(matches!(self.architecture, Architecture::Qwen3 | Architecture::Gemma3))
    }

    /// Whether RMSNorm multiplies by 1 + weight.
    pub fn norm_offset(&self) -> bool {
        self.norm_offset.unwrap_or(self.architecture.is_gemma())
    }

    /// Whether attention and feed-forward are normalised also before they are added to the residual stream.
    pub fn post_norms(&self) -> bool {
        self.post_norms.unwrap_or(matches!(self.architecture, Architecture::Gemma2 | Architecture::Gemma3))
    }

    /// Whether the embedding is scaled by sqrt(hidden_size).
    pub fn embedding_scale(&self) -> bool {
        self.embedding_scale.unwrap_or(self.architecture.is_gemma())
    }

    /// Scores are divided by the square root of this.
    pub fn query_pre_attn_scalar(&self) -> f64 {
        self.query_pre_attn_scalar.unwrap_or(self.head_dim() as f64)
    }

    /// Bound of the attention's scores, if any.
    pub fn attention_softcap(&self) -> Option<f64> {
        let otherwise = if self.architecture == Architecture::Gemma2 { 50.0 } else { 0.0 };
        Some(self.attention_softcap.unwrap_or(otherwise)).filter(|cap| *cap != 0.0)
    }

    /// Bound of the logits, if any.
    pub fn logit_softcap(&self) -> Option<f64> {
        let otherwise = if self.architecture == Architecture::Gemma2 { 30.0 } else { 0.0 };
        Some(self.logit_softcap.unwrap_or(otherwise)).filter(|cap| *cap != 0.0)
    }

    /// Positions that a layer of sliding attention sees, if any layer is one.
    pub fn sliding_window(&self) -> Option<usize> {
        let otherwise = match self.architecture {
            Architecture::Gemma2 => 4096,
            Architecture::Gemma3 => 512,
            _ => 0,
        };
        Some(self.sliding_window.unwrap_or(otherwise)).filter(|window| *window != 0)
    }

    /// How far layer `index` looks back.
    pub fn layer_type(&self, index: usize) -> LayerType {
        let slides = match (self.sliding_window(), &self.layer_types, self.architecture) {
            (None, ..) => false,
            (_, Some(types), _) => return types.get(index).copied().unwrap_or(LayerType::FullAttention),
            (_, None, Architecture::Gemma2) => index.is_multiple_of(2),
            (_, None, Architecture::Gemma3) => !(index + 1).is_multiple_of(6),
            _ => true,
        };
        if slides { LayerType::SlidingAttention } else { LayerType::FullAttention }
    }

    /// Of all layers.
    pub fn layer_types(&self) -> Vec<LayerType> {
        (0..self.layers).map(|index| self.layer_type(index)).collect()
    }

    /// Positions that layer `index` sees, its own included, if not all.
    pub fn window(&self, index: usize) -> Option<usize> {
        self.sliding_window().filter(|_| self.layer_type(index) == LayerType::SlidingAttention)
    }

    /// Base of the rotary angles of sliding layers, where it is one of their own.
    pub fn local_rope_theta(&self) -> Option<f64> {
        let otherwise = if self.architecture == Architecture::Gemma3 { 10_000.0 } else { 0.0 };
        Some(self.local_rope_theta.unwrap_or(otherwise)).filter(|theta| *theta != 0.0)
    }

    /// Feed-forward layers of a mixture of experts, if the model has them.
    pub fn experts(&self) -> Option<usize> {
        let otherwise = if self.architecture == Architecture::Mixtral { 8 } else { 0 };
        Some(self.experts.unwrap_or(otherwise)).filter(|experts| *experts != 0)
    }

    /// Experts that each token goes through.
    pub fn experts_per_token(&self) -> usize {
        self.experts_per_token.unwrap_or(2)
    }

    /// Whether the weights of a token's experts sum to 1.
    pub fn norm_topk_prob(&self) -> bool {
        self.norm_topk_prob.unwrap_or(true)
    }

    /// Weight of the loss that spreads tokens evenly over experts; 0 without experts.
    pub fn router_aux_loss_coef(&self) -> f64 {
        self.experts().map_or(0.0, |_| self.router_aux_loss_coef.unwrap_or(0.01))
    }

    /// The settings that only some families have with nothing left to defaults; those that are off stay left out where
    /// the family has them off, so that descriptions of plain models do not grow.
    pub(crate) fn resolved_variants(&self) -> ModelConfig {
        let plain = self.architecture.is_plain();
        let flag = |on: bool| (on || !plain).then_some(on);
        let number = |x: Option<f64>| x.or((!plain).then_some(0.0));
        let scalar = self.query_pre_attn_scalar();
        ModelConfig {
            qkv_bias: (self.qkv_bias() != self.bias() || !plain).then_some(self.qkv_bias()),
            qk_norm: flag(self.qk_norm()),
            norm_offset: flag(self.norm_offset()),
            post_norms: flag(self.post_norms()),
            embedding_scale: flag(self.embedding_scale()),
            query_pre_attn_scalar: (scalar != self.head_dim() as f64 || !plain).then_some(scalar),
            attention_softcap: number(self.attention_softcap()),
            logit_softcap: number(self.logit_softcap()),
            sliding_window: self.sliding_window().or((!plain).then_some(0)),
            layer_types: self.sliding_window().map(|_| self.layer_types()),
            local_rope_theta: number(self.local_rope_theta()),
            experts: self.experts().or((!plain).then_some(0)),
            experts_per_token: self.experts().map(|_| self.experts_per_token()),
            norm_topk_prob: self.experts().map(|_| self.norm_topk_prob()),
            router_aux_loss_coef: self.experts().map(|_| self.router_aux_loss_coef()),
            ..self.clone()
        }
    }

    /// Which model of transformers this one is, if any: the one that `architecture` names where the settings are its,
    /// else the first whose they are.
    pub fn saved_as(&self) -> SavedAs {
        if self.cell().is_some() {
            return SavedAs::Danlu;
        }
        let named = self.architecture.saved_as();
        let mut families = std::iter::once(named).chain(SavedAs::FAMILIES);
        families.find(|family| self.is(*family)).unwrap_or(SavedAs::Danlu)
    }

    /// Whether transformers' model of that name computes what this one does.
    fn is(&self, family: SavedAs) -> bool {
        if family == SavedAs::Gpt2 {
            return self.is_gpt2();
        }
        let gemma = matches!(family, SavedAs::Gemma | SavedAs::Gemma2 | SavedAs::Gemma3);
        let late_gemma = matches!(family, SavedAs::Gemma2 | SavedAs::Gemma3);
        let activation = if gemma { Activation::Geglu } else { Activation::Swiglu };
        let biases = match family {
            SavedAs::Llama => self.qkv_bias() == self.bias(),
            SavedAs::Qwen2 => self.qkv_bias() && !self.bias(),
            _ => !self.qkv_bias() && !self.bias(),
        };
        let windows = match family {
            SavedAs::Llama | SavedAs::Gemma => self.sliding_window().is_none(),
            SavedAs::Mistral | SavedAs::Mixtral => !self.layer_types().windows(2).any(|pair| pair[0] != pair[1]),
            SavedAs::Gemma2 | SavedAs::Gemma3 => self.sliding_window().is_some(),
            _ => true,
        };
        let scalar = self.query_pre_attn_scalar();
        let scale = if late_gemma { scalar.fract() == 0.0 } else { scalar == self.head_dim() as f64 };
        let stretched =
            matches!(self.rope_scaling, Some(RopeScaling::Dynamic { original_max_position_embeddings: Some(_), .. }));
        self.norm() == NormKind::Rms
            && self.positions() == Positions::Rope
            && self.activation() == activation
            && biases
            && windows
            && scale
            && !stretched
            && self.norm_offset() == gemma
            && self.embedding_scale() == gemma
            && self.post_norms() == late_gemma
            && self.qk_norm() == matches!(family, SavedAs::Qwen3 | SavedAs::Gemma3)
            && (self.attention_softcap().is_none() || family == SavedAs::Gemma2)
            && (self.logit_softcap().is_none() || late_gemma)
            && self.local_rope_theta().is_some() == (family == SavedAs::Gemma3)
            && (!late_gemma || self.hidden_size.is_multiple_of(self.heads))
            && self.experts().is_some() == (family == SavedAs::Mixtral)
            && (self.experts().is_none() || self.norm_topk_prob())
    }

    fn is_gpt2(&self) -> bool {
        self.norm() == NormKind::Layer
            && self.positions() == Positions::Learned
            && matches!(self.activation(), Activation::Gelu | Activation::GeluErf)
            && self.bias()
            && self.qkv_bias()
            && self.kv_heads() == self.heads
            && self.query_size() == self.hidden_size
            && self.query_pre_attn_scalar() == self.head_dim() as f64
            && self.sliding_window().is_none()
            && self.attention_softcap().is_none()
            && self.logit_softcap().is_none()
            && self.experts().is_none()
            && !(self.qk_norm() || self.post_norms() || self.embedding_scale())
    }
}
