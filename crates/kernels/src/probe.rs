//! The machine's arithmetic peak, measured.

use crate::cpu::Level;
use crate::precision::Precision;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Independent chains of multiply-adds: more than latency times units, and few enough for the registers.
const CHAINS: usize = 12;
/// Multiply-adds per chain and round: a few milliseconds.
const LENGTH: usize = 1 << 20;

/// Rate of multiply-adds that the machine reaches from registers alone on all of rayon's threads, in GFLOP/s (10^9
/// multiplications and additions per second): the best round of about 0.2 seconds. For bfloat16 it is that of the
/// instruction for pairs where there is one, else that of f32, which then does the work. What products and training
/// steps reach is stated against this.
pub fn peak_gflops(precision: Precision) -> f64 {
    let level = Level::best();
    let mut best = 0f64;
    let start = Instant::now();
    // The first round wakes the threads and the clock.
    for round in 0.. {
        let begin = Instant::now();
        let operations: f64 = rayon::broadcast(|_| chains(level, precision)).into_iter().sum();
        if round > 0 {
            best = best.max(operations / begin.elapsed().as_secs_f64() / 1e9);
        }
        if round > 2 && start.elapsed() > Duration::from_millis(200) {
            break;
        }
    }
    best
}

/// Runs the chains on this thread; the operations done.
fn chains(level: Level, precision: Precision) -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        if precision == Precision::Bf16 && level.has_bf16_products() {
            // SAFETY: the instructions were detected.
            unsafe { avx512_bf16(black_box(1.0)) };
            return (4 * 16 * 2 * CHAINS * LENGTH) as f64;
        }
        if level.is_avx512() {
            // SAFETY: the instructions were detected.
            unsafe { avx512(black_box(1.0)) };
            return (2 * 16 * 2 * CHAINS * LENGTH) as f64;
        }
        if level.is_avx2() {
            // SAFETY: the instructions were detected.
            unsafe { avx2(black_box(1.0)) };
            return (2 * 8 * CHAINS * LENGTH) as f64;
        }
    }
    let _ = (level, precision);
    portable(black_box(1.0));
    (2 * 4 * CHAINS * LENGTH) as f64
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(x: f32) {
    use std::arch::x86_64::*;
    let x = _mm512_set1_ps(x);
    let mut sums = [_mm512_setzero_ps(); 2 * CHAINS];
    for _ in 0..LENGTH {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(x, x, *sum);
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn avx512_bf16(x: f32) {
    use std::arch::x86_64::*;
    // SAFETY: 512 bits of no structure.
    let x: __m512bh = unsafe { std::mem::transmute(_mm512_set1_ps(x)) };
    let mut sums = [_mm512_setzero_ps(); 2 * CHAINS];
    for _ in 0..LENGTH {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, x, x);
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(x: f32) {
    use std::arch::x86_64::*;
    let x = _mm256_set1_ps(x);
    let mut sums = [_mm256_setzero_ps(); CHAINS];
    for _ in 0..LENGTH {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(x, x, *sum);
        }
    }
    black_box(sums);
}

/// Four lanes are what every target has; the compiler keeps them in registers.
fn portable(x: f32) {
    let mut sums = [[0f32; 4]; CHAINS];
    let x = [x; 4];
    for _ in 0..LENGTH {
        for sum in &mut sums {
            for (sum, x) in sum.iter_mut().zip(x) {
                *sum += x * x;
            }
        }
    }
    black_box(sums);
}
