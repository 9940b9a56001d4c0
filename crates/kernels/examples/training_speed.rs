//! Times what surrounds the products of a training step: the loss over the output layer, norms, activations, dropout
//! and optimisers. Best of many runs.
//!
//! `cargo run --release -p danlu-kernels --example training_speed`
#![allow(clippy::print_stdout)]

use danlu_kernels::cross_entropy::{Options, Wanted, chunk_rows, linear_cross_entropy};
use danlu_kernels::optimizer::{self, AdamW, Lion, Muon, Sgd};
use danlu_kernels::random::DropoutMask;
use danlu_kernels::{Level, Precision, activation, dropout, elementwise, norm, peak_gflops, softmax};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// The allocator of the program: with the system's, fresh pages cost more than most of these kernels.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Best time of one run, in milliseconds, over about a third of a second.
fn best<R>(mut run: impl FnMut() -> R) -> f64 {
    let mut best = Duration::MAX;
    let begun = Instant::now();
    let mut rounds = 0;
    while rounds < 3 || begun.elapsed() < Duration::from_millis(300) {
        let begun = Instant::now();
        black_box(run());
        best = best.min(begun.elapsed());
        rounds += 1;
    }
    best.as_secs_f64() * 1e3
}

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 % 101) as f32) / 50.0 - 1.0).collect()
}

fn main() {
    let peak = peak_gflops(Precision::F32);
    println!("level {}, {} threads, peak {peak:.0} GFLOP/s in f32", Level::best().name(), rayon::current_num_threads());
    losses();
    rows();
    optimizers();
}

fn losses() {
    for (name, tokens, vocab, dim) in [("S", 4096, 8192, 384), ("M", 1024, 50257, 768), ("L", 4096, 32000, 512)] {
        let (x, weight) = (values(tokens * dim), values(vocab * dim));
        let targets: Vec<i64> = (0..tokens).map(|i| (i * 7 % vocab) as i64).collect();
        for precision in [Precision::F32, Precision::Bf16] {
            let options = Options { precision, ..Options::default() };
            let wanted = Wanted { x: true, weight: true };
            let ms = best(|| linear_cross_entropy(&x, &weight, &targets, dim, vocab, &options, wanted));
            let gflops = 6.0 * (tokens * vocab * dim) as f64 / ms / 1e6;
            println!(
                "loss {name} {precision:?} {:5} rows a chunk {ms:8.1} ms {gflops:5.0} GFLOP/s",
                chunk_rows(tokens, vocab)
            );
        }
        let logits = values(chunk_rows(tokens, vocab) * vocab);
        let ms = best(|| softmax::softmax(&logits, vocab)) * (tokens * vocab) as f64 / logits.len() as f64;
        println!("     {name} softmax of as many logits, chunk by chunk {ms:8.1} ms");
    }
}

/// Rows of one layer of a small model: 16 sequences of 256 tokens, width 384, feed-forward 1024.
fn rows() {
    let (rows, dim, ffn) = (4096, 384, 1024);
    let (x, r, w, wide) = (values(rows * dim), values(rows * dim), values(dim), values(rows * 2 * ffn));
    let n = rows * dim;
    let report = |name: &str, ms: f64, bytes: usize| {
        println!("{name:28} {:8.0} us {:6.1} GB/s", ms * 1e3, bytes as f64 / ms / 1e6);
    };
    report("add", best(|| elementwise::add(&x, &r)), 12 * n);
    report("rms_norm", best(|| norm::rms_norm(&x, &w, 1e-5)), 8 * n);
    report("add_rms_norm", best(|| norm::add_rms_norm(&x, &r, &w, 1e-5)), 16 * n);
    let (_, stats) = norm::rms_norm(&x, &w, 1e-5);
    report("rms_norm_grad", best(|| norm::rms_norm_grad(&x, &w, &stats, &r)), 12 * n);
    report("add_rms_norm_grad", best(|| norm::add_rms_norm_grad(&x, &w, &stats, &r, &r)), 16 * n);
    let (_, stats) = norm::layer_norm(&x, &w, &w, 1e-5);
    report("layer_norm", best(|| norm::layer_norm(&x, &w, &w, 1e-5)), 8 * n);
    report("layer_norm_grad", best(|| norm::layer_norm_grad(&x, &w, &stats, &r)), 12 * n);
    let mask = DropoutMask { key: 1, stream: 2, probability: 0.1 };
    report("dropout", best(|| dropout::dropout(&x, dim, &mask, 0)), 8 * n);
    report("add_dropout", best(|| dropout::add_dropout(&x, &r, dim, &mask, 0)), 12 * n);
    let (half, n) = (&wide[..rows * ffn], rows * ffn);
    report("swiglu_joined", best(|| activation::swiglu_joined(&wide, ffn)), 12 * n);
    report("swiglu_joined_grad", best(|| activation::swiglu_joined_grad(&wide, ffn, half)), 20 * n);
    report("gelu_tanh", best(|| activation::gelu_tanh(half)), 8 * n);
    report("gelu_tanh_grad", best(|| activation::gelu_tanh_grad(half, half.to_vec())), 12 * n);
    report("gelu_erf", best(|| activation::gelu_erf(half)), 8 * n);
    report("silu", best(|| activation::silu(half)), 8 * n);
    report("relu_squared", best(|| activation::relu_squared(half)), 8 * n);
    report("softmax", best(|| softmax::softmax(half, ffn)), 8 * n);
}

fn optimizers() {
    let n = 1 << 25;
    let (mut p, g, mut m, mut v) = (values(n), values(n), vec![0.1; n], vec![0.1; n]);
    let report = |name: &str, ms: f64, bytes: usize| {
        println!("{name:28} {ms:8.1} ms {:6.1} GB/s, {n} values", bytes as f64 / ms / 1e6);
    };
    report("sum_squares", best(|| optimizer::sum_squares(&g)), 4 * n);
    report("adamw", best(|| optimizer::adamw(&AdamW::default(), &mut p, &g, &mut m, &mut v)), 28 * n);
    let sgd = Sgd { momentum: 0.9, ..Sgd::default() };
    report("sgd with momentum", best(|| optimizer::sgd(&sgd, &mut p, &g, &mut m)), 20 * n);
    report("lion", best(|| optimizer::lion(&Lion::default(), &mut p, &g, &mut m)), 20 * n);
    let (rows, cols) = (768, 3072);
    let size = rows * cols;
    for precision in [Precision::F32, Precision::Bf16] {
        let h = Muon { precision, ..Muon::default() };
        let ms = best(|| optimizer::muon(&h, &mut p[..size], &g[..size], &mut m[..size], rows, cols));
        let flops = 5.0 * 2.0 * (2 * rows * rows * cols + rows * rows * rows) as f64;
        println!("muon {rows} x {cols} {precision:?} {ms:8.1} ms {:5.0} GFLOP/s", flops / ms / 1e6);
    }
}
