//! The machine's arithmetic peak, measured.

use crate::gemm::{Matrix, add_product};
use crate::precision::Precision;
use std::time::{Duration, Instant};

/// Best rate of f32 matrix products on all threads, in GFLOP/s (10^9 multiplications and additions per second), seen in
/// about 0.2 seconds. What a training step reaches is stated against this.
pub fn peak_gflops() -> f64 {
    const SIDE: usize = 768;
    let (a, b) = (vec![0.5f32; SIDE * SIDE], vec![0.25f32; SIDE * SIDE]);
    let mut c = vec![0f32; SIDE * SIDE];
    let mut round = || {
        let start = Instant::now();
        add_product(&mut c, Matrix::new(&a, SIDE, SIDE), Matrix::new(&b, SIDE, SIDE), Precision::F32);
        start.elapsed()
    };
    round();
    let (start, mut best) = (Instant::now(), Duration::MAX);
    while start.elapsed() < Duration::from_millis(200) {
        best = best.min(round());
    }
    2.0 * (SIDE as f64).powi(3) / best.as_secs_f64() / 1e9
}
