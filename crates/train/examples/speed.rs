//! Tokens a second of the training step, and where the time goes.
//!
//!     cargo run --release -p danlu-train --example speed -- layers=6 hidden=384 heads=6 \
//!         vocab=8192 seq=256 batch=16 steps=8 dropout=0
//!
//! Random ids; what is timed is forward, backward, the gradient's norm and the update, as in a
//! run. `RAYON_NUM_THREADS` sets the threads; the steps' lines must be the same in every process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use burn::prelude::*;
use danlu_model::{Architecture, CausalLm, DropoutKey, ModelConfig};
use danlu_train::optimizer::{GradientSum, Optimizer, clip_factor};
use danlu_train::step::MicroBatch;
use danlu_train::tensors::ParameterSpec;
use danlu_train::{TrainConfig, measured_peak};
use std::collections::HashMap;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let given: HashMap<String, f64> = std::env::args()
        .skip(1)
        .filter_map(|arg| {
            let (key, value) = arg.split_once('=')?;
            Some((key.to_owned(), value.parse().ok()?))
        })
        .collect();
    let get = |key: &str, default: f64| given.get(key).copied().unwrap_or(default);
    let (seq, batch) = (get("seq", 256.0) as usize, get("batch", 16.0) as usize);
    let (vocab, steps) = (get("vocab", 8192.0) as usize, get("steps", 8.0) as usize);
    let config = ModelConfig {
        layers: get("layers", 6.0) as usize,
        hidden_size: get("hidden", 384.0) as usize,
        heads: get("heads", 6.0) as usize,
        architecture: if get("gpt2", 0.0) > 0.0 { Architecture::Gpt2 } else { Architecture::Llama },
        tied: get("tied", 1.0) > 0.0,
        kv_heads: given.get("kv").map(|kv| *kv as usize),
        ffn_size: given.get("ffn").map(|ffn| *ffn as usize),
        max_seq_len: seq,
        dropout: get("dropout", 0.0),
        ..ModelConfig::default()
    };
    let device = Device::flex();
    let peak = measured_peak(&device);
    let word = |key: &str| std::env::args().find_map(|arg| arg.strip_prefix(&format!("{key}=")).map(str::to_owned));
    let precision = word("precision").and_then(|name| danlu_model::Precision::named(&name)).unwrap_or_default();
    let recompute = if word("recompute").as_deref() == Some("block") {
        danlu_model::Recompute::Block
    } else {
        danlu_model::Recompute::None
    };
    let mut model = CausalLm::new(&config, vocab, 1, &device.clone().autodiff()).unwrap().with_precision(precision);
    let specs = model.parameters().into_iter();
    let specs = specs.map(|p| (p.id, ParameterSpec { name: p.name, decay: p.decay }));
    let mut optimizer = Optimizer::new(specs.collect());
    let flops = model.flops_per_token(seq);
    println!(
        "{:.1} M parameters, {:.1} MFLOP a token, GEMM peak {:.0} GFLOP/s",
        model.num_params() as f64 / 1e6,
        flops / 1e6,
        peak / 1e9
    );
    let mut times: Vec<[f64; 5]> = Vec::new();
    for step in 0..steps + 2 {
        let ids: Vec<u32> = (0..batch * seq).map(|i| random(step, i, vocab)).collect();
        let targets: Vec<i64> = (0..batch * seq).map(|i| random(step, i + 1, vocab).into()).collect();
        let begun = Instant::now();
        let data = MicroBatch::new(&ids, &targets, seq, &device);
        let key = DropoutKey { seed: 1, step: step as u64, first_sequence: 0 };
        let mut sum = GradientSum::default();
        let mut forward = 0.0;
        let mut take = |gradients| sum.add(gradients, &model);
        let loss = if recompute == danlu_model::Recompute::None {
            let loss = model.loss_sum(data.inputs, data.targets, Some(key));
            forward = begun.elapsed().as_secs_f64();
            take(loss.backward());
            loss.inner()
        } else {
            model.loss_and_gradients(data.inputs, data.targets, Some(key), recompute, &mut take)
        };
        let value = loss.into_scalar::<f32>();
        let backward = begun.elapsed().as_secs_f64();
        let tokens = data.tokens as f64;
        let norm = sum.norm(&model) / tokens;
        let scale = clip_factor(norm, 1.0) / tokens;
        let normed = begun.elapsed().as_secs_f64();
        let settings = TrainConfig::default();
        model = optimizer.update(model, sum, scale, step as u64 + 1, 3e-4, &settings);
        let whole = begun.elapsed().as_secs_f64();
        // All digits: two processes with the same threads must print the same.
        println!("step {step}: loss {}, norm {norm}", f64::from(value) / tokens);
        if step >= 2 {
            times.push([forward, backward - forward, normed - backward, whole - normed, whole]);
        }
    }
    let median = |part: usize| {
        let mut column: Vec<f64> = times.iter().map(|row| row[part]).collect();
        column.sort_by(f64::total_cmp);
        column[column.len() / 2]
    };
    let speed = (batch * seq) as f64 / median(4);
    println!(
        "median: {speed:.0} tokens/s, MFU {:.3}; forward {:.0} ms, backward {:.0} ms, norm {:.0} ms, \
         update {:.0} ms",
        speed * flops / peak,
        median(0) * 1e3,
        median(1) * 1e3,
        median(2) * 1e3,
        median(3) * 1e3
    );
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        for line in status.lines().filter(|line| line.starts_with("VmHWM")) {
            println!("peak memory {line}");
        }
    }
}

fn random(step: usize, index: usize, vocab: usize) -> u32 {
    let x = (step as u64 * 1_000_003 + index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33) as u32 % vocab as u32
}
