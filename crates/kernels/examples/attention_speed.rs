//! Times attention, forward and both ways, on queries, keys and values joined in one tensor, causal.
//!
//! `cargo run --release -p danlu-kernels --example attention_speed [NAME]`
//!
//! NAME limits it to one of the shapes. GFLOP/s count the scores that a causal mask leaves: 2 products forward, 5 more
//! backward.
#![allow(clippy::print_stdout)]

use danlu_kernels::attention::{Attention, Heads, Joined, Mask, Saved, time_major};
use danlu_kernels::random::DropoutMask;
use danlu_kernels::{Level, Precision};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// As the program itself: memory that was used before is used again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Median time of one run, in milliseconds, over about half a second.
fn median<R>(mut run: impl FnMut() -> R) -> f64 {
    black_box(run());
    let (mut times, start) = (Vec::new(), Instant::now());
    while times.len() < 5 || start.elapsed() < Duration::from_millis(500) {
        let start = Instant::now();
        black_box(run());
        times.push(start.elapsed());
    }
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 % 101) as f32) / 50.0 - 1.0).collect()
}

fn main() {
    println!("level {}, {} threads", Level::best().name(), rayon::current_num_threads());
    println!("shape                            forward ms  GFLOP/s   both ms  GFLOP/s");
    let only = std::env::args().nth(1);
    // Name, (batch, heads, key heads, time, head width), probability of dropout.
    let shapes = [
        ("S", (16, 6, 6, 256, 64), 0.0),
        ("M", (4, 12, 12, 256, 64), 0.0),
        ("L", (4, 8, 2, 1024, 64), 0.0),
        ("GPT-2", (1, 12, 12, 1024, 64), 0.0),
        ("M-dropout", (4, 12, 12, 256, 64), 0.1),
    ];
    for (name, (batch, heads, kv_heads, time, head_dim), probability) in shapes {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        for precision in [Precision::F32, Precision::Bf16] {
            let attention = Attention {
                batch,
                heads,
                kv_heads,
                queries: time,
                keys: time,
                head_dim,
                scale: 0.125,
                precision,
                mask: Mask::causal(),
                dropout: (probability > 0.0).then_some(DropoutMask { key: 1, stream: 0, probability }),
                alibi: None,
                softcap: None,
            };
            let joined = Joined::of(&attention);
            let (qkv, g) = (values(joined.len()), values(batch * heads * time * head_dim));
            let [q, k, v] = joined.split(&qkv);
            let strides = time_major(heads, time, head_dim);
            let forward = median(|| attention.forward(q, k, v));
            let both = median(|| {
                let (out, sums) = attention.forward(q, k, v);
                let saved = Saved { q, k, v, out: Heads { data: (&out).into(), strides }, sums: &sums };
                attention.backward_joined(&saved, Heads { data: (&g).into(), strides })
            });
            let product = (batch * heads * time * (time + 1) * head_dim) as f64 / 1e6;
            let shape = format!("{name} {precision:?} {batch}x{heads}/{kv_heads}x{time}x{head_dim}");
            let (forward_rate, rate) = (2.0 * product / forward, 7.0 * product / both);
            println!("{shape:32} {forward:10.2} {forward_rate:8.0} {both:9.2} {rate:8.0}");
        }
    }
}
