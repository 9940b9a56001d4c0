//! Times one training step of a Llama-shaped model: forward, backward, global-norm clipping, AdamW.
//!
//! `cargo run --release -p danlu-ops --example training_step -- [kernels|composed] [steps]`
//!
//! 6 layers, width 384, 6 heads, feed-forward 1024, 16 sequences of 256 random tokens, vocabulary 8192, tied head.
//! `composed` runs the same model on Burn's own operations. Prints tokens per second of wall time (median step) and of
//! CPU time, which a busy machine disturbs less.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use burn::prelude::*;
use danlu_ops as ops;
use danlu_ops::composed;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LAYERS: usize = 6;
const WIDTH: usize = 384;
const HEADS: usize = 6;
const FFN: usize = 1024;
const BATCH: usize = 16;
const TIME: usize = 256;
const VOCAB: usize = 8192;

/// Parameters in order of use; vectors are kept as one-row matrices so that one list holds all.
struct Parameters(Vec<Tensor<2>>);

impl Parameters {
    fn new(device: &Device) -> Self {
        let matrix =
            |out: usize, inp: usize| Tensor::random([out, inp], burn::tensor::Distribution::Normal(0.0, 0.02), device);
        let ones = || Tensor::ones([1, WIDTH], device);
        let mut all = vec![matrix(VOCAB, WIDTH)];
        for _ in 0..LAYERS {
            all.extend([
                ones(),
                matrix(WIDTH, WIDTH),
                matrix(WIDTH, WIDTH),
                matrix(WIDTH, WIDTH),
                matrix(WIDTH, WIDTH),
            ]);
            all.extend([ones(), matrix(FFN, WIDTH), matrix(FFN, WIDTH), matrix(WIDTH, FFN)]);
        }
        all.push(ones());
        Parameters(all)
    }
}

struct Functions {
    linear: fn(Tensor<3>, Tensor<2>, Option<Tensor<1>>) -> Tensor<3>,
    norm: fn(Tensor<3>, Tensor<1>, f64) -> Tensor<3>,
    rotary: fn(Tensor<4>, &Tensor<2>, &Tensor<2>) -> Tensor<4>,
    attention: fn(Tensor<4>, Tensor<4>, Tensor<4>, f64) -> Tensor<4>,
    swiglu: fn(Tensor<3>, Tensor<3>) -> Tensor<3>,
    loss: fn(Tensor<2>, Tensor<2>, Tensor<1, Int>) -> Tensor<1>,
    embedding: fn(Tensor<2>, Tensor<2, Int>) -> Tensor<3>,
    adamw: fn(&ops::AdamW, Tensor<2>, Tensor<2>, Tensor<2>, Tensor<2>) -> (Tensor<2>, Tensor<2>, Tensor<2>),
}

const KERNELS: Functions = Functions {
    linear: ops::linear,
    norm: ops::rms_norm,
    rotary: ops::rotary,
    attention: ops::causal_attention,
    swiglu: ops::swiglu,
    loss: ops::linear_cross_entropy,
    embedding: ops::embedding,
    adamw: ops::adamw_update,
};

const COMPOSED: Functions = Functions {
    linear: composed::linear,
    norm: composed::rms_norm,
    rotary: composed::rotary,
    attention: composed::causal_attention,
    swiglu: composed::swiglu,
    loss: composed::linear_cross_entropy,
    embedding: composed::embedding,
    adamw: composed::adamw_update,
};

fn forward(
    f: &Functions,
    p: &[Tensor<2>],
    tables: &(Tensor<2>, Tensor<2>),
    ids: Tensor<2, Int>,
    targets: Tensor<1, Int>,
) -> Tensor<1> {
    let mut next = p.iter().cloned();
    let mut matrix = || next.next().unwrap();
    let table = matrix();
    let heads = |x: Tensor<3>| x.reshape([BATCH, TIME, HEADS, WIDTH / HEADS]).swap_dims(1, 2);
    let mut x = (f.embedding)(table.clone(), ids);
    for _ in 0..LAYERS {
        let h = (f.norm)(x.clone(), matrix().reshape([WIDTH]), 1e-5);
        let mut project = || heads((f.linear)(h.clone(), matrix(), None));
        let (q, k, v) = (project(), project(), project());
        let (q, k) = ((f.rotary)(q, &tables.0, &tables.1), (f.rotary)(k, &tables.0, &tables.1));
        let mixed = (f.attention)(q, k, v, 1.0 / (WIDTH as f64 / HEADS as f64).sqrt());
        x = x + (f.linear)(mixed.swap_dims(1, 2).reshape([BATCH, TIME, WIDTH]), matrix(), None);
        let h = (f.norm)(x.clone(), matrix().reshape([WIDTH]), 1e-5);
        let (gate, up) = ((f.linear)(h.clone(), matrix(), None), (f.linear)(h, matrix(), None));
        x = x + (f.linear)((f.swiglu)(gate, up), matrix(), None);
    }
    let x = (f.norm)(x, matrix().reshape([WIDTH]), 1e-5);
    (f.loss)(x.reshape([BATCH * TIME, WIDTH]), table, targets)
}

/// User and system time of this process in seconds.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    ticks / 100.0
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let composed = arguments.next().is_some_and(|a| a == "composed");
    let steps: usize = arguments.next().and_then(|a| a.parse().ok()).unwrap_or(8);
    let f = if composed { COMPOSED } else { KERNELS };
    let device = Device::flex();
    device.seed(1);
    let tracked = device.clone().autodiff();
    let mut p = Parameters::new(&device).0;
    let mut moments: Vec<_> = p.iter().map(|p| (p.zeros_like(), p.zeros_like())).collect();
    let tables = ops::rotary_tables(0, TIME, WIDTH / HEADS, 10000.0, &tracked);
    let random = |seed: u64| -> Vec<i32> {
        (0..BATCH * TIME)
            .map(|i| ((i as u64 + 1).wrapping_mul(seed) >> 7) as i32 % VOCAB as i32)
            .map(i32::abs)
            .collect()
    };
    let ids = Tensor::<2, Int>::from_data(TensorData::new(random(0x9E37_79B9), [BATCH, TIME]), &tracked);
    let targets = Tensor::<1, Int>::from_data(TensorData::new(random(0x85EB_CA6B), [BATCH * TIME]), &tracked);
    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    for step in 0..steps + 2 {
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let leaves: Vec<Tensor<2>> = p.drain(..).map(|p| Tensor::from_inner(p).require_grad()).collect();
        let loss = forward(&f, &leaves, &tables, ids.clone(), targets.clone()).div_scalar((BATCH * TIME) as f32);
        let value = loss.clone().into_scalar::<f32>();
        let forward_time = start.elapsed().as_secs_f64();
        let mut grads = loss.backward();
        let backward_time = start.elapsed().as_secs_f64();
        let gradients: Vec<Tensor<2>> = leaves.iter().map(|l| l.grad_remove(&mut grads).unwrap()).collect();
        drop(grads);
        let norm = gradients.iter().map(ops::sum_squares).sum::<f64>().sqrt();
        let h = ops::AdamW {
            lr: 3e-4,
            weight_decay: 0.1,
            step: step as u64 + 1,
            gradient_scale: (1.0 / norm).min(1.0),
            ..Default::default()
        };
        for ((leaf, g), moment) in leaves.into_iter().zip(gradients).zip(&mut moments) {
            let (m, v) = std::mem::replace(moment, (Tensor::zeros([1, 1], &device), Tensor::zeros([1, 1], &device)));
            let (updated, m, v) = (f.adamw)(&h, leaf.inner(), g, m, v);
            p.push(updated);
            *moment = (m, v);
        }
        let wall = start.elapsed().as_secs_f64();
        println!(
            "step {step}: loss {value:.4} norm {norm:.3}, forward {:.0} ms, backward {:.0} ms, update {:.0} ms",
            forward_time * 1e3,
            (backward_time - forward_time) * 1e3,
            (wall - backward_time) * 1e3
        );
        if step >= 2 {
            walls.push(wall);
            cpus.push(cpu_seconds() - cpu);
        }
    }
    walls.sort_by(f64::total_cmp);
    cpus.sort_by(f64::total_cmp);
    let tokens = (BATCH * TIME) as f64;
    println!(
        "{}: {:.0} tokens/s (median), {:.0} best; {:.0} tokens per CPU second; peak {:.0} GFLOP/s",
        if composed { "composed" } else { "kernels" },
        tokens / walls[walls.len() / 2],
        tokens / walls[0],
        tokens / cpus[cpus.len() / 2],
        ops::peak_gflops()
    );
}
