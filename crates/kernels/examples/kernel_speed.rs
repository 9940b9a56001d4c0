//! Times kernels on this machine: best of many runs, so that a busy machine disturbs little.
//!
//! `cargo run --release -p danlu-kernels --example kernel_speed`
//!
//! The first table is what int8 weights are for: one row (a decoding step) or a few against weights that fit the cache
//! and weights that do not.
#![allow(clippy::print_stdout)]

use danlu_kernels::attention::{Attention, Heads, Mask, Saved, time_major};
use danlu_kernels::int8::{Int8Weight, linear_int8};
use danlu_kernels::linear::{self, Part};
use danlu_kernels::{Level, Precision, activation, gemm, norm, peak_gflops};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Best time of one run, in microseconds, over about a fifth of a second.
fn best<R>(mut run: impl FnMut() -> R) -> f64 {
    let mut best = Duration::MAX;
    let start = Instant::now();
    let mut rounds = 0;
    while rounds < 3 || start.elapsed() < Duration::from_millis(200) {
        let start = Instant::now();
        black_box(run());
        best = best.min(start.elapsed());
        rounds += 1;
    }
    best.as_secs_f64() * 1e6
}

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 % 101) as f32) / 50.0 - 1.0).collect()
}

fn main() {
    println!(
        "level {}, {} threads, peak {:.0} GFLOP/s",
        Level::best().name(),
        rayon::current_num_threads(),
        peak_gflops(Precision::F32)
    );
    println!("rows    out     in   f32 us  int8 us  ratio   int8 GB/s");
    for (out, inp) in [(384, 384), (1024, 384), (4096, 1024), (8192, 2048), (16384, 4096)] {
        let dense = values(out * inp);
        let weight = Int8Weight::quantize(&dense, out, inp);
        for rows in [1, 4, 15, 64] {
            let x = values(rows * inp);
            let f32_time = best(|| gemm::linear(&x, rows, &dense, out, inp, None, Precision::F32));
            let int8_time = best(|| linear_int8(&x, rows, &weight, None));
            let rate = (out * inp) as f64 / int8_time / 1e3;
            println!(
                "{rows:4} {out:6} {inp:6} {f32_time:8.0} {int8_time:8.0} {:6.2} {rate:11.1}",
                f32_time / int8_time
            );
        }
    }
    training();
}

/// Shapes of one layer of a small model: 16 sequences of 256 tokens, width 384, 6 heads, feed-forward 1024.
fn training() {
    let (batch, time, heads, head_dim) = (16, 256, 6, 64);
    let (rows, dim) = (batch * time, heads * head_dim);
    println!("{rows} rows of {dim}");
    let (x, w, g) = (values(rows * dim), values(dim * 1024), values(rows * 1024));
    let gflops = |us: f64| 2.0 * (rows * dim * 1024) as f64 / us / 1e3;
    let report = |name: &str, us: f64, note: String| println!("{name:24} {us:8.0} us {note}");
    let t = best(|| gemm::linear(&x, rows, &w, 1024, dim, None, Precision::F32));
    report("linear", t, format!("{:.0} GFLOP/s", gflops(t)));
    let part = [Part { weight: &w, bias: None, out: 1024 }];
    let t = best(|| linear::grad_x((&g).into(), rows, dim, &part, Precision::F32.into()));
    report("linear, gradient of x", t, format!("{:.0} GFLOP/s", gflops(t)));
    let t = best(|| linear::grad_weight((&g).into(), (&x).into(), rows, 0, 1024, 1024, Precision::F32));
    report("linear, gradient of w", t, format!("{:.0} GFLOP/s", gflops(t)));
    let attention = Attention {
        batch,
        heads,
        kv_heads: heads,
        queries: time,
        keys: time,
        head_dim,
        scale: 0.125,
        precision: Precision::F32,
        mask: Mask::causal(),
        dropout: None,
        alibi: None,
        softcap: None,
    };
    let view = Heads { data: (&x).into(), strides: time_major(heads, time, head_dim) };
    report("attention", best(|| attention.forward(view, view, view)), String::new());
    let (out, sums) = attention.forward(view, view, view);
    let saved =
        Saved { q: view, k: view, v: view, out: Heads { data: (&out).into(), strides: view.strides }, sums: &sums };
    report("attention, gradient", best(|| attention.backward(&saved, view)), String::new());
    report("swiglu", best(|| activation::swiglu(&g, &g)), String::new());
    report("swiglu, gradient", best(|| activation::swiglu_grad(&g, &g, &g)), String::new());
    let scale = values(dim);
    report("rms_norm", best(|| norm::rms_norm(&x, &scale, 1e-5)), String::new());
    let (_, scales) = norm::rms_norm(&x, &scale, 1e-5);
    report("rms_norm, gradient", best(|| norm::rms_norm_grad(&x, &scale, &scales, &x)), String::new());
}
