//! Quantised folders: how far weights and logits move, what is written, what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use burn::prelude::*;
use danlu_compress::{CompressError, decode_tokens_per_second, quantize_int8};
use danlu_model::layers::Mlp;
use danlu_model::{CausalLm, Form, Linear, ModelConfig, SaveOptions, load, save};
use std::path::Path;

const VOCAB: usize = 300;

fn config(tied: bool) -> ModelConfig {
    ModelConfig { layers: 2, hidden_size: 64, heads: 4, kv_heads: Some(2), max_seq_len: 64, tied, ..Default::default() }
}

fn saved(tied: bool) -> (tempfile::TempDir, CausalLm) {
    let dir = tempfile::tempdir().unwrap();
    let model = CausalLm::new(&config(tied), VOCAB, 3, &Device::flex()).unwrap();
    save(&model, dir.path(), &SaveOptions::default()).unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    (dir, model)
}

fn linears(model: &CausalLm) -> Vec<&Linear> {
    let layers = model.model.transformer().unwrap().layers.iter().flat_map(|l| {
        let a = &l.self_attn;
        let Mlp::Dense(mlp) = &l.mlp else { panic!("one feed-forward layer for all tokens") };
        [&a.q_proj, &a.k_proj, &a.v_proj, &a.o_proj, &mlp.up_proj, &mlp.down_proj].into_iter().chain(&mlp.gate_proj)
    });
    layers.chain(&model.lm_head).collect()
}

fn logits(model: &CausalLm) -> Vec<f32> {
    let ids: Vec<i32> = (0..40).map(|i| i * 7 % VOCAB as i32).collect();
    model.logits(Tensor::from_data(TensorData::new(ids, [1, 40]), &Device::flex())).into_data().try_into_vec().unwrap()
}

#[test]
fn each_weight_moves_by_at_most_half_a_scale_and_logits_stay_close() {
    for tied in [true, false] {
        let (dir, dense) = saved(tied);
        let out = tempfile::tempdir().unwrap();
        let report = quantize_int8(dir.path(), out.path()).unwrap();
        let small = load(out.path(), &Device::flex()).unwrap();
        let mut quantized = 0;
        for (before, after) in linears(&dense).into_iter().zip(linears(&small)) {
            let (Form::Dense(before), Form::Int8(after)) = (&before.weight, &after.weight) else { panic!("forms") };
            let before: Vec<f32> = before.val().into_data().try_into_vec().unwrap();
            let weight = &after.weight;
            quantized += before.len();
            for (i, (a, b)) in before.iter().zip(weight.dequantize()).enumerate() {
                let scale = weight.scales[i / weight.inp];
                assert!((a - b).abs() <= 0.5001 * scale, "{a} became {b} with scale {scale}");
            }
        }
        assert_eq!(report.quantized_parameters, quantized);
        assert_eq!(report.parameters, dense.num_params());
        assert_eq!(small.num_params(), dense.num_params());
        let (a, b) = (logits(&dense), logits(&small));
        let size = (a.iter().map(|x| x * x).sum::<f32>() / a.len() as f32).sqrt();
        let moved = (a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum::<f32>() / a.len() as f32).sqrt();
        assert!(moved > 0.0 && moved < 0.03 * size, "logits of {size} moved by {moved}");
    }
}

#[test]
fn the_folder_is_complete_smaller_and_in_the_stated_format() {
    let (dir, _) = saved(false);
    let out = tempfile::tempdir().unwrap();
    let report = quantize_int8(dir.path(), out.path()).unwrap();
    let size = |dir: &Path| std::fs::metadata(dir.join("model.safetensors")).unwrap().len();
    assert_eq!((report.bytes_before, report.bytes_after), (size(dir.path()), size(out.path())));
    let bytes_kept = 4 * (report.parameters - report.quantized_parameters) as u64;
    assert!(report.bytes_after < bytes_kept + report.quantized_parameters as u64 * 11 / 10 + 10_000);
    assert!(report.ratio() > 2.0, "{}", report.ratio());
    assert!(out.path().join("tokenizer.json").is_file());
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.path().join("config.json")).unwrap()).unwrap();
    assert_eq!(config["quantization_config"]["quant_method"], "compressed-tensors");
    assert_eq!(config["quantization_config"]["format"], "int-quantized");
    assert_eq!(config["architectures"][0], "LlamaForCausalLM");
}

#[test]
fn what_cannot_be_quantised_is_refused() {
    let (dir, _) = saved(true);
    let out = tempfile::tempdir().unwrap();
    quantize_int8(dir.path(), out.path()).unwrap();
    let again = tempfile::tempdir().unwrap();
    let error = quantize_int8(out.path(), again.path()).unwrap_err();
    assert!(matches!(error, CompressError::AlreadyQuantized { .. }), "{error}");
    assert!(error.hint().is_some());
    let error = quantize_int8(dir.path(), dir.path()).unwrap_err();
    assert!(matches!(error, CompressError::SameFolder { .. }), "{error}");
    let error = quantize_int8(Path::new("/nonexistent"), again.path()).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/config.json"), "{error}");
}

#[test]
fn decoding_speed_is_positive_and_survives_a_full_context() {
    let (_dir, model) = saved(true);
    assert!(decode_tokens_per_second(&model, &[1, 2, 3], 100).unwrap() > 0.0);
    let error = decode_tokens_per_second(&model, &[1; 64], 10).unwrap_err();
    assert!(matches!(error, CompressError::NothingToMeasure { capacity: 64, .. }), "{error}");
    assert!(decode_tokens_per_second(&model, &[1], 0).is_err());
}
