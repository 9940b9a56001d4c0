//! Rates of matrix products on this machine beside its arithmetic peak: best of many runs, so that a busy machine
//! disturbs little.
//!
//! `cargo run --release -p danlu-kernels --example gemm_speed [f32|bf16 [ROWS INNER COLUMNS]]`
#![allow(clippy::print_stdout)]

use danlu_kernels::gemm::{Matrix, kernel_name, product_into};
use danlu_kernels::{Precision, peak_gflops};
use std::time::{Duration, Instant};

/// Rows, inner size, columns: products of small GPT models' training steps, their vocabularies and odd sizes.
const SHAPES: [(usize, usize, usize); 12] = [
    (4096, 384, 1152),
    (4096, 384, 1536),
    (4096, 1536, 384),
    (384, 4096, 1536),
    (4096, 384, 8192),
    (1024, 768, 3072),
    (768, 1024, 3072),
    (1024, 768, 50257),
    (1024, 50257, 768),
    (4096, 512, 2730),
    (2048, 2048, 2048),
    (1024, 256, 768),
];

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 % 101) as f32) / 50.0 - 1.0).collect()
}

fn main() {
    let wanted = std::env::args().nth(1);
    let sizes: Vec<usize> = std::env::args().skip(2).filter_map(|a| a.parse().ok()).collect();
    let shapes = match sizes[..] {
        [m, k, n] => vec![(m, k, n)],
        _ => SHAPES.to_vec(),
    };
    println!("{} threads; GFLOP/s and share of the peak", rayon::current_num_threads());
    for precision in [Precision::F32, Precision::Bf16] {
        let name = precision.name();
        if wanted.as_deref().is_some_and(|w| w != name) {
            continue;
        }
        let peak = peak_gflops(precision);
        println!(
            "{name} ({}): peak {peak:.0}\n    m     k     n        NN          NT          TN",
            kernel_name(precision)
        );
        for &(m, k, n) in &shapes {
            let (a, b, mut c) = (values(m * k), values(k * n), vec![0f32; m * n]);
            print!("{m:5} {k:5} {n:5}");
            let layouts = [
                (Matrix::new(&a, m, k), Matrix::new(&b, k, n)),
                (Matrix::new(&a, m, k), Matrix::new(&b, n, k).transposed()),
                (Matrix::new(&a, k, m).transposed(), Matrix::new(&b, k, n)),
            ];
            for (x, y) in layouts {
                let (mut best, start) = (Duration::MAX, Instant::now());
                while start.elapsed() < Duration::from_millis(250) {
                    let start = Instant::now();
                    product_into(&mut c, x, y, precision);
                    best = best.min(start.elapsed());
                }
                let rate = 2.0 * (m * k * n) as f64 / best.as_secs_f64() / 1e9;
                print!("  {rate:5.0} {:3.0}%", 100.0 * rate / peak);
            }
            println!();
        }
    }
}
