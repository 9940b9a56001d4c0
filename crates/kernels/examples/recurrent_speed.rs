//! Times one recurrent layer forward and backward on this machine: best of several runs.
//!
//! `cargo run --release -p danlu-kernels --example recurrent_speed [-- BATCH TIME HIDDEN]`
#![allow(clippy::print_stdout)]

use danlu_kernels::recurrent::{Cell, Layer, State, Upstream, Wanted, Weights, backward, forward};
use danlu_kernels::{Level, Precision, peak_gflops};
use std::time::Instant;

/// As the program itself: memory that was used before is used again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn values(n: usize, scale: f32) -> Vec<f32> {
    (0..n).map(|i| (((i * 37 % 101) as f32) / 50.0 - 1.0) * scale).collect()
}

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let size = |i: usize, default: usize| sizes.get(i).copied().unwrap_or(default);
    let (batch, time, hidden) = (size(0, 32), size(1, 128), size(2, 512));
    let (threads, peak) = (rayon::current_num_threads(), peak_gflops(Precision::F32));
    println!("level {}, {threads} threads, peak {peak:.0} GFLOP/s", Level::best().name());
    println!("batch {batch}, {time} steps, {hidden} inputs and states");
    for (cell, precision) in
        [Cell::Lstm, Cell::Gru, Cell::Tanh].into_iter().flat_map(|c| [Precision::F32, Precision::Bf16].map(|p| (c, p)))
    {
        let layer = Layer { cell, batch, time, input: hidden, hidden, reversed: false, lengths: None, precision };
        let (x, dy) = (values(batch * time * hidden, 1.0), values(batch * time * hidden, 0.01));
        let width = cell.gates() * hidden;
        let (weight, bias) = (values(width * hidden, 0.04), values(width, 0.1));
        let weights = Weights { input: &weight, hidden: &weight, input_bias: Some(&bias), hidden_bias: Some(&bias) };
        let (mut ahead, mut back) = (f64::MAX, f64::MAX);
        for _ in 0..8 {
            let start = Instant::now();
            let out = forward(&layer, &x, &weights, &State::default());
            ahead = ahead.min(start.elapsed().as_secs_f64());
            let start = Instant::now();
            let wanted = Wanted { x: true, input_weight: true, hidden_weight: true };
            let up = Upstream { y: Some(&dy), ..Default::default() };
            backward(&layer, &x, &weights, &State::default(), &out.y, out.saved, &up, wanted);
            back = back.min(start.elapsed().as_secs_f64());
        }
        let flop = 4.0 * (batch * time * hidden * width) as f64;
        println!(
            "{cell:?} {precision:?}: forward {:.1} ms, {:.0} GFLOP/s; backward {:.1} ms, {:.0} GFLOP/s",
            ahead * 1e3,
            flop / ahead / 1e9,
            back * 1e3,
            2.0 * flop / back / 1e9
        );
    }
}
