//! Models and sampling of transformers, made once by scripts/golden_logits.py, and recurrent models of PyTorch, made by
//! scripts/golden_recurrent_models.py.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use burn::prelude::*;
use common::largest_difference;
use danlu_model::{Sampler, SamplingConfig, State, load};
use safetensors::SafeTensors;
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Deserialize)]
struct Golden {
    tokens: Vec<Vec<u32>>,
    logits: Vec<Vec<Vec<f32>>>,
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The logits of transformers or PyTorch, from the whole forward pass and from the cached step.
fn check(name: &str) {
    let dir = golden(name);
    let model = load(&dir, &Device::flex()).unwrap();
    let record: Golden = serde_json::from_slice(&std::fs::read(dir.join("logits.json")).unwrap()).unwrap();
    let (batch, time) = (record.tokens.len(), record.tokens[0].len());
    let ids: Vec<i32> = record.tokens.iter().flatten().map(|t| *t as i32).collect();
    let logits = model.logits(Tensor::from_data(TensorData::new(ids, [batch, time]), &Device::flex())).into_data();
    let want: Vec<f32> = record.logits.iter().flatten().flatten().copied().collect();
    let difference = largest_difference(logits.as_slice::<f32>().unwrap(), &want);
    assert!(difference <= 1e-4, "{name}: logits differ from those of the reference by {difference}");
    for (tokens, want) in record.tokens.iter().zip(&record.logits) {
        let mut state = State::new(&model);
        for (token, want) in tokens.iter().zip(want) {
            let logits = model.step(&[&[*token]], &mut [&mut state]).unwrap();
            assert!(largest_difference(&logits[0], want) <= 1e-4, "{name}: cached step");
        }
    }
    assert_eq!(model.special_tokens().bos, Some(1));
    assert_eq!(model.special_tokens().eos, [2]);
}

#[test]
fn llama_with_grouped_queries_and_tied_head() {
    check("llama_tied");
}

#[test]
fn llama_untied_with_biases_wide_heads_and_another_rope_theta() {
    check("llama_untied");
}

#[test]
fn llama_stored_in_bf16() {
    check("llama_bf16");
}

#[test]
fn gpt2() {
    check("gpt2");
}

#[test]
fn qwen2_with_biases_of_queries_keys_and_values() {
    check("qwen2");
    check("qwen2_sliding");
}

#[test]
fn qwen3_with_normalised_heads() {
    check("qwen3");
}

#[test]
fn mistral_with_a_sliding_window() {
    check("mistral");
}

#[test]
fn gemma_with_its_norms_and_scaled_embedding() {
    check("gemma");
}

#[test]
fn gemma2_with_soft_caps_and_alternating_windows() {
    check("gemma2");
}

#[test]
fn gemma3_with_two_rotary_bases_one_of_them_scaled() {
    check("gemma3");
}

#[test]
fn mixtral_with_experts() {
    check("mixtral");
}

#[test]
fn rotary_positions_scaled_in_every_way() {
    for way in ["linear", "dynamic", "yarn", "yarn_mscale", "llama3"] {
        check(&format!("rope_{way}"));
    }
}

/// Saved again, a folder has the same tensors to the bit, and config keys that are read as the same settings.
#[test]
fn folders_of_transformers_go_out_as_they_came_in() {
    let names = [
        "llama_tied",
        "llama_untied",
        "gpt2",
        "qwen2",
        "qwen2_sliding",
        "qwen3",
        "mistral",
        "mixtral",
        "gemma",
        "gemma2",
        "gemma3",
        "rope_linear",
        "rope_dynamic",
        "rope_yarn",
        "rope_yarn_mscale",
        "rope_llama3",
    ];
    for name in names {
        let model = load(&golden(name), &Device::flex()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        danlu_model::save(&model, dir.path(), &Default::default()).unwrap();
        let again = load(dir.path(), &Device::flex()).unwrap();
        assert_eq!(again.config(), model.config(), "{name}");
        let read = |dir: &std::path::Path| std::fs::read(dir.join("model.safetensors")).unwrap();
        let (theirs, ours) = (read(&golden(name)), read(dir.path()));
        let (theirs, ours) = (SafeTensors::deserialize(&theirs).unwrap(), SafeTensors::deserialize(&ours).unwrap());
        let mut names = (theirs.names(), ours.names());
        names.0.sort();
        names.1.sort();
        assert_eq!(names.0, names.1, "{name}");
        for tensor in names.0 {
            let (theirs, ours) = (theirs.tensor(tensor).unwrap(), ours.tensor(tensor).unwrap());
            assert_eq!((theirs.shape(), theirs.data()), (ours.shape(), ours.data()), "{name}: {tensor}");
        }
        let class = |dir: &std::path::Path| {
            let json = std::fs::read(dir.join("config.json")).unwrap();
            serde_json::from_slice::<serde_json::Value>(&json).unwrap()["architectures"][0].clone()
        };
        assert_eq!(class(&golden(name)), class(dir.path()));
    }
}

#[test]
fn recurrent_layers_of_pytorch() {
    ["lstm", "gru", "rnn_tanh", "rnn_relu"].into_iter().for_each(check);
}

#[derive(Deserialize)]
struct SamplingCase {
    settings: SamplingConfig,
    logits: Vec<f32>,
    history: Vec<u32>,
    probabilities: Vec<f64>,
}

#[test]
fn sampling_gives_the_probabilities_of_transformers() {
    let cases: Vec<SamplingCase> = serde_json::from_slice(&std::fs::read(golden("sampling.json")).unwrap()).unwrap();
    assert!(cases.len() >= 10);
    for case in cases {
        let mut found = vec![0.0; case.logits.len()];
        for (token, p) in Sampler::new(case.settings.clone()).distribution(&case.logits, &case.history) {
            found[token as usize] = p;
        }
        for (token, (found, want)) in found.iter().zip(&case.probabilities).enumerate() {
            assert!((found - want).abs() < 1e-5, "{:?}, token {token}: {found}, expected {want}", case.settings);
        }
    }
}
