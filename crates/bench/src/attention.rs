//! Causal attention alone, in the shapes of S, M and L.

use crate::machine::{peak_gflops, wait};
use crate::timing::geometric_mean;
use crate::workload::{precision_name, values};
use crate::{BenchError, Budget, Machine, Precision, Spread, Workload, peak_rss_bytes};
use burn::prelude::*;
use danlu_ops::AttentionOptions;
use serde::Serialize;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    Forward,
    /// Forward with what the backward pass needs, and the gradients to queries, keys and values.
    ForwardBackward,
}

/// One shape.
#[derive(Clone, Debug, Serialize)]
pub struct AttentionCase {
    pub model: Workload,
    /// batch, heads, kv_heads, time, head_dim
    pub shape: [usize; 5],
    pub pass: Pass,
    #[serde(serialize_with = "precision_name")]
    pub precision: Precision,
    /// Median seconds.
    pub seconds: f64,
    /// 10^9 operations per second at the median: two products over the positions that the mask leaves, five backward.
    pub gflops: f64,
    /// Seconds.
    pub spread: Spread,
}

/// All shapes.
#[derive(Clone, Debug, Serialize)]
pub struct AttentionFigures {
    #[serde(flatten)]
    pub machine: Machine,
    pub cases: Vec<AttentionCase>,
    /// Geometric mean over the cases of their rates by the CPU's peak; none on other devices.
    pub fraction_of_peak: Option<f64>,
    pub peak_rss_bytes: Option<u64>,
}

/// Times the attention of each workload, each pass for `budget`.
///
/// # Errors
/// What the device reports.
pub fn attention(
    workloads: &[Workload],
    precisions: &[Precision],
    device: &Device,
    budget: Budget,
) -> Result<AttentionFigures, BenchError> {
    let (mut cases, mut fractions) = (Vec::new(), Vec::new());
    for precision in precisions {
        let peak = (*device == Device::flex()).then(|| peak_gflops(*precision));
        for workload in workloads {
            for pass in [Pass::Forward, Pass::ForwardBackward] {
                let Some(case) = case(*workload, pass, *precision, device, budget)? else { continue };
                fractions.extend(peak.map(|peak| case.gflops / peak));
                cases.push(case);
            }
        }
    }
    Ok(AttentionFigures {
        machine: Machine::here(),
        cases,
        fraction_of_peak: geometric_mean(&fractions),
        peak_rss_bytes: peak_rss_bytes(),
    })
}

/// None for a workload without attention.
fn case(
    model: Workload,
    pass: Pass,
    precision: Precision,
    device: &Device,
    budget: Budget,
) -> Result<Option<AttentionCase>, BenchError> {
    let config = model.config();
    if config.cell().is_some() {
        return Ok(None);
    }
    let (batch, time, head_dim) = (model.batch(), model.seq_len(), config.head_dim());
    let device = if pass == Pass::ForwardBackward { device.clone().autodiff() } else { device.clone() };
    // In memory (batch, time, heads, head_dim), as the projections leave them.
    let input = |seed: u64, heads: usize| {
        let data = TensorData::new(values(seed, batch * time * heads * head_dim), [batch, time, heads, head_dim]);
        let x = Tensor::<4>::from_data(data, &device);
        if pass == Pass::ForwardBackward { x.require_grad() } else { x }
    };
    let (q, k, v) = (input(1, config.heads), input(2, config.kv_heads()), input(3, config.kv_heads()));
    let options = AttentionOptions { precision, ..AttentionOptions::causal(1.0 / (head_dim as f64).sqrt()) };
    let seconds = budget.measure(2, || {
        let heads_first = |x: &Tensor<4>| x.clone().swap_dims(1, 2);
        let out = danlu_ops::attention(heads_first(&q), heads_first(&k), heads_first(&v), &options);
        if pass == Pass::ForwardBackward {
            let mut gradients = out.backward();
            let all = [&q, &k, &v].map(|x| x.grad_remove(&mut gradients));
            std::hint::black_box(all);
        } else {
            std::hint::black_box(out);
        }
        wait(&device)
    })?;
    let pairs = (batch * config.heads * time) as f64 * (time as f64 + 1.0) / 2.0;
    let products = if pass == Pass::Forward { 2.0 } else { 7.0 };
    let spread = Spread::of(&seconds);
    Ok(Some(AttentionCase {
        model,
        shape: [batch, config.heads, config.kv_heads(), time, head_dim],
        pass,
        precision,
        seconds: spread.median,
        gflops: products * 2.0 * pairs * head_dim as f64 / spread.median / 1e9,
        spread,
    }))
}
