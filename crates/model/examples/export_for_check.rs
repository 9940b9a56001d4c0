//! Writes small models with their logits for scripts/check_transformers.py: `export_for_check FOLDER`.
//!
//! Each is trained for a few steps of plain gradient descent, so that what is checked is a model that danlu has trained
//! and not only one that it has initialised.

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::Gradients;
use danlu_model::{
    Activation, Architecture, CausalLm, LayerType, ModelConfig, RopeScaling, SaveOptions, SpecialTokens, Yarn, save,
};
use std::error::Error;
use std::path::Path;

const VOCAB: usize = 101;

struct Descent<'a>(&'a Gradients);

impl ModuleMapper for Descent<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = param.val().grad(self.0) else { return param };
        param.map(|value| Tensor::from_inner(value.inner() - gradient.mul_scalar(0.002)).require_grad())
    }
}

fn tokens(batch: usize, time: usize, seed: usize, device: &Device) -> (Vec<i32>, Tensor<2, Int>) {
    let ids: Vec<i32> = (0..batch * time).map(|i| ((i * i * 3 + i * 17 + seed * 41) % VOCAB) as i32).collect();
    (ids.clone(), Tensor::from_data(TensorData::new(ids, [batch, time]), device))
}

fn trained(config: &ModelConfig) -> Result<CausalLm, Box<dyn Error>> {
    let device = Device::flex().autodiff();
    let mut model = CausalLm::new(config, VOCAB, 1, &device)?;
    for step in 0..20 {
        let (_, inputs) = tokens(2, 16, step, &device);
        let (targets, _) = tokens(2, 16, step + 1, &device);
        let targets = Tensor::from_data(TensorData::new(targets, [32]), &device);
        let gradients = model.loss_sum(inputs, targets, Default::default()).backward();
        model = model.map(&mut Descent(&gradients));
    }
    Ok(model.valid())
}

fn export(root: &Path, name: &str, model: &CausalLm) -> Result<(), Box<dyn Error>> {
    let dir = root.join(name);
    let special = SpecialTokens { bos: Some(0), eos: vec![0], pad: None };
    save(model, &dir, &SaveOptions { special_tokens: Some(special) })?;
    let (ids, input) = tokens(2, 16, 7, &Device::flex());
    let logits: Vec<f32> = model.logits(input).into_data().try_into_vec()?;
    let rows: Vec<&[f32]> = logits.chunks(VOCAB).collect();
    let record = serde_json::json!({
        "tokens": ids.chunks(16).collect::<Vec<_>>(),
        "logits": rows.chunks(16).collect::<Vec<_>>(),
    });
    std::fs::write(dir.join("logits.json"), serde_json::to_vec(&record)?)?;
    Ok(())
}

/// The families beside Llama and GPT-2, each with what it has of its own; windows are shorter than the sequences.
fn families(llama: &ModelConfig) -> Vec<(&'static str, ModelConfig)> {
    let of = |architecture| ModelConfig { architecture, ..llama.clone() };
    let sliding = |window, config| ModelConfig { sliding_window: Some(window), ..config };
    let types = [LayerType::FullAttention, LayerType::SlidingAttention, LayerType::SlidingAttention];
    let (softcap, scalar) = (Some(2.0), Some(20.0));
    let gemma2 = ModelConfig { attention_softcap: softcap, query_pre_attn_scalar: scalar, ..of(Architecture::Gemma2) };
    let linear = Some(RopeScaling::Linear { factor: 3.0 });
    let gemma3 = ModelConfig { rope_theta: 1e5, rope_scaling: linear, head_dim: Some(12), ..of(Architecture::Gemma3) };
    let llama3 = RopeScaling::Llama3 {
        factor: 4.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: Some(12),
    };
    let yarn = Yarn { original_max_position_embeddings: Some(12), beta_fast: Some(4.0), ..Yarn::by(4.0) };
    vec![
        ("qwen2", of(Architecture::Qwen2)),
        ("qwen2_sliding", sliding(6, ModelConfig { layer_types: Some(types.into()), ..of(Architecture::Qwen2) })),
        ("qwen3", ModelConfig { head_dim: Some(12), ..of(Architecture::Qwen3) }),
        ("mistral", sliding(6, of(Architecture::Mistral))),
        ("mixtral", ModelConfig { ffn_size: Some(32), ..of(Architecture::Mixtral) }),
        ("gemma", of(Architecture::Gemma)),
        ("gemma2", sliding(5, gemma2)),
        ("gemma3", sliding(5, gemma3)),
        ("llama_llama3", ModelConfig { rope_scaling: Some(llama3), ..llama.clone() }),
        ("llama_yarn", ModelConfig { rope_scaling: Some(RopeScaling::Yarn(yarn)), ..llama.clone() }),
    ]
}

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args().nth(1).ok_or("usage: export_for_check FOLDER")?;
    let root = Path::new(&root);
    let llama =
        ModelConfig { layers: 3, hidden_size: 48, heads: 6, kv_heads: Some(2), max_seq_len: 64, ..Default::default() };
    let gpt2 = ModelConfig { architecture: Architecture::Gpt2, kv_heads: None, ..llama.clone() };
    let wide = ModelConfig { tied: false, bias: Some(true), head_dim: Some(12), rope_theta: 5e5, ..llama.clone() };
    export(root, "llama_tied", &trained(&llama)?)?;
    export(root, "llama_untied_biases", &trained(&wide)?)?;
    export(root, "gpt2_tied", &trained(&gpt2)?)?;
    let erf = ModelConfig { tied: false, activation: Some(Activation::GeluErf), ..gpt2 };
    export(root, "gpt2_untied_erf", &trained(&erf)?)?;
    for (name, config) in families(&llama) {
        export(root, name, &trained(&config)?)?;
    }
    export(root, "llama_int8", &trained(&llama)?.quantized()?)?;
    export(root, "llama_untied_int8", &trained(&wide)?.quantized()?)?;
    Ok(())
}
