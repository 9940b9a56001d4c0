//! Small models of every kind, and comparisons.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod encoder_decoders;

use burn::prelude::*;
use danlu_model::{
    Activation, Architecture, CausalLm, LayerType, ModelConfig, Nonlinearity, NormKind, Positions, RopeScaling,
};

pub const VOCAB: usize = 61;

pub fn tiny() -> ModelConfig {
    ModelConfig {
        layers: 2,
        hidden_size: 24,
        heads: 4,
        kv_heads: Some(2),
        head_dim: Some(8),
        ffn_size: Some(40),
        max_seq_len: 32,
        ..ModelConfig::default()
    }
}

pub fn tiny_gpt2() -> ModelConfig {
    let (kv_heads, head_dim) = (None, None);
    ModelConfig { architecture: Architecture::Gpt2, kv_heads, head_dim, ffn_size: None, ..tiny() }
}

pub fn tiny_recurrent(architecture: Architecture) -> ModelConfig {
    ModelConfig { architecture, layers: 2, hidden_size: 24, max_seq_len: 32, ..ModelConfig::default() }
}

/// Every cell, head, width and bias of recurrent models at least once.
pub fn recurrent_kinds() -> Vec<(&'static str, ModelConfig)> {
    let (lstm, gru, rnn) = (Architecture::Lstm, Architecture::Gru, Architecture::Rnn);
    vec![
        ("lstm, tied", tiny_recurrent(lstm)),
        ("lstm, narrow embedding, tied", ModelConfig { embedding_size: Some(10), ..tiny_recurrent(lstm) }),
        ("gru, untied, one layer", ModelConfig { tied: false, layers: 1, ..tiny_recurrent(gru) }),
        ("gru, tied", tiny_recurrent(gru)),
        ("rnn, tied, no biases", ModelConfig { bias: Some(false), ..tiny_recurrent(rnn) }),
        (
            "rnn, relu, wide embedding, untied",
            ModelConfig {
                nonlinearity: Some(Nonlinearity::Relu),
                embedding_size: Some(30),
                tied: false,
                ..tiny_recurrent(rnn)
            },
        ),
    ]
}

/// Every architecture, and every kind of norm, position, activation, head and bias at least once.
pub fn all_kinds() -> Vec<(&'static str, ModelConfig)> {
    let mut kinds = transformer_kinds();
    kinds.extend(recurrent_kinds());
    kinds
}

fn transformer_kinds() -> Vec<(&'static str, ModelConfig)> {
    vec![
        ("llama, grouped queries, tied", tiny()),
        (
            "llama, one key head, untied, biases",
            ModelConfig { kv_heads: Some(1), tied: false, bias: Some(true), ..tiny() },
        ),
        ("gpt2, tied", tiny_gpt2()),
        ("gpt2, untied, erf", ModelConfig { tied: false, activation: Some(Activation::GeluErf), ..tiny_gpt2() }),
        (
            "sinusoidal, rms, gelu",
            ModelConfig { positions: Some(Positions::Sinusoidal), activation: Some(Activation::Gelu), ..tiny() },
        ),
        ("rope, layer norm, swiglu", ModelConfig { norm: Some(NormKind::Layer), ..tiny() }),
        ("learned, rms, grouped queries", ModelConfig { positions: Some(Positions::Learned), ..tiny() }),
        ("qwen2", ModelConfig { architecture: Architecture::Qwen2, ..tiny() }),
        ("qwen3", ModelConfig { architecture: Architecture::Qwen3, tied: false, ..tiny() }),
        ("mistral", ModelConfig { architecture: Architecture::Mistral, sliding_window: Some(4), ..tiny() }),
        ("gemma", ModelConfig { architecture: Architecture::Gemma, ..tiny() }),
        ("gemma2", ModelConfig { sliding_window: Some(3), ..gemma2() }),
        ("gemma3", gemma3()),
        ("alibi, window, biases of queries", alibi()),
        ("no positions, geglu", {
            ModelConfig { positions: Some(Positions::None), activation: Some(Activation::Geglu), ..tiny() }
        }),
        ("mixtral", ModelConfig { architecture: Architecture::Mixtral, ..tiny_experts() }),
        ("experts, one each, unnormalised, post norms", {
            let (experts_per_token, norm_topk_prob) = (Some(1), Some(false));
            ModelConfig { experts_per_token, norm_topk_prob, post_norms: Some(true), ..tiny_experts() }
        }),
        ("rope stretched", {
            let scaling = RopeScaling::Dynamic { factor: 2.0, original_max_position_embeddings: Some(16) };
            ModelConfig { rope_scaling: Some(scaling), qk_norm: Some(true), ..tiny() }
        }),
    ]
}

/// Without a loss for the router, which only training adds.
pub fn tiny_experts() -> ModelConfig {
    ModelConfig { experts: Some(4), ffn_size: Some(16), router_aux_loss_coef: Some(0.0), ..tiny() }
}

/// With bounds low enough to bend scores and logits.
fn gemma2() -> ModelConfig {
    let (attention_softcap, logit_softcap) = (Some(3.0), Some(8.0));
    ModelConfig { architecture: Architecture::Gemma2, attention_softcap, logit_softcap, ..tiny() }
}

fn gemma3() -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Gemma3,
        sliding_window: Some(4),
        layer_types: Some(vec![LayerType::SlidingAttention, LayerType::FullAttention]),
        rope_theta: 1e5,
        ..tiny()
    }
}

fn alibi() -> ModelConfig {
    ModelConfig {
        positions: Some(Positions::Alibi),
        sliding_window: Some(5),
        attention_softcap: Some(4.0),
        qkv_bias: Some(true),
        query_pre_attn_scalar: Some(5.0),
        ..tiny()
    }
}

/// A model whose weights are far from their start, so that every part has a say in the logits.
pub fn lively(config: &ModelConfig, seed: u64) -> CausalLm {
    lively_on(config, seed, &Device::flex())
}

pub fn lively_on(config: &ModelConfig, seed: u64, device: &Device) -> CausalLm {
    let model = CausalLm::new(config, VOCAB, seed, device).unwrap();
    let mut values = model.named_parameters().unwrap();
    for (i, (name, data)) in values.iter_mut().enumerate() {
        // Recurrent matrices and projections start near 1 / sqrt(width) already.
        let factor = if name.contains(".weight_") || name.contains("projection") { 1.5 } else { 12.0 };
        let shape = data.shape().to_vec();
        let scaled: Vec<f32> = data
            .as_slice::<f32>()
            .unwrap()
            .iter()
            .enumerate()
            .map(|(j, x)| if shape.len() == 1 { x + 0.3 * ((i * 31 + j * 17) % 13) as f32 / 13.0 } else { x * factor })
            .collect();
        *data = TensorData::new(scaled, shape);
    }
    model.load_named(values).unwrap()
}

pub fn tokens(count: usize, seed: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * i * 7 + i * 13 + seed * 29 + 5) % VOCAB) as u32).collect()
}

pub fn ids(tokens: &[u32]) -> Tensor<2, Int> {
    let ids: Vec<i32> = tokens.iter().map(|t| *t as i32).collect();
    Tensor::from_data(TensorData::new(ids, [1, tokens.len()]), &Device::flex())
}

/// Logits of every position, by the forward pass over the whole sequence.
pub fn full_logits(model: &CausalLm, tokens: &[u32]) -> Vec<Vec<f32>> {
    let data = model.logits(ids(tokens)).into_data();
    data.as_slice::<f32>().unwrap().chunks(model.vocab_size()).map(<[f32]>::to_vec).collect()
}

pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) })
}
