//! What a run will need, before it starts: parameters, memory by class, time.

use crate::memory::{MemoryPlan, memory};
use crate::schedule::learning_rate;
use crate::{ScheduleKind, TrainConfig, TrainError};
use burn::prelude::*;
use danlu_model::ModelConfig;
use danlu_ops::Precision;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The part of the machine's measured peak that a plan expects training to reach. Small
/// models and other machines may reach less; [`Plan::basis`] says when this stands behind an
/// estimate.
pub const ASSUMED_MFU: f64 = 0.6;

/// What the estimated time rests on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The machine's peak, measured just now, times an assumed MFU.
    PeakTimesAssumedMfu { peak_flops: f64, assumed_mfu: f64 },
    /// A speed that the caller measured.
    MeasuredSpeed,
}

/// What the schedule will do, as far as the steps alone decide it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    pub schedule: ScheduleKind,
    /// At the first update.
    pub first: f64,
    pub highest: f64,
    /// The first update, from 1, that has the highest.
    pub highest_at: u64,
    /// At the last update.
    pub last: f64,
}

impl Rates {
    fn of(config: &TrainConfig) -> Self {
        let at = |step: u64| learning_rate(config, step - 1);
        let highest_at = (1..=config.steps).fold(1, |best, step| if at(step) > at(best) { step } else { best });
        let (first, highest, last) = (at(1), at(highest_at), at(config.steps));
        Self { schedule: config.schedule, first, highest, highest_at, last }
    }
}

/// What a run will need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub parameters: u64,
    pub memory: MemoryPlan,
    pub memory_total: u64,
    /// Forward and backward.
    pub flops_per_token: f64,
    pub tokens_per_step: u64,
    pub tokens: u64,
    /// Not in plans that were recorded before there were several schedules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<Rates>,
    pub tokens_per_second: f64,
    /// Training steps only.
    pub estimated_seconds: f64,
    pub basis: Basis,
}

/// Plans a run on the CPU. Measures the machine for about half a second.
pub fn plan(config: &TrainConfig, model: &ModelConfig, vocab_size: usize) -> Result<Plan, TrainError> {
    plan_for(config, model, vocab_size, measured_peak(&Device::flex(), config.precision))
}

/// Plans a run on a machine with the peak `peak_flops` (see [`measured_peak`]).
pub fn plan_for(
    config: &TrainConfig,
    model: &ModelConfig,
    vocab_size: usize,
    peak_flops: f64,
) -> Result<Plan, TrainError> {
    config.check()?;
    model.validate()?;
    let parameters = model.parameter_counts(vocab_size).total() as u64;
    let memory = memory(config, model, vocab_size);
    let flops_per_token = model.flops_per_token(vocab_size, config.seq_len);
    let plan = Plan {
        parameters,
        memory,
        memory_total: memory.total(),
        flops_per_token,
        tokens_per_step: config.tokens_per_step(),
        tokens: config.tokens_per_step() * config.steps,
        learning_rate: Some(Rates::of(config)),
        tokens_per_second: 0.0,
        estimated_seconds: 0.0,
        basis: Basis::PeakTimesAssumedMfu { peak_flops, assumed_mfu: ASSUMED_MFU },
    };
    Ok(plan.at_speed(peak_flops * ASSUMED_MFU / flops_per_token))
}

impl Plan {
    /// The same plan at a measured speed in tokens a second.
    pub fn with_measured_speed(self, tokens_per_second: f64) -> Self {
        Self { basis: Basis::MeasuredSpeed, ..self }.at_speed(tokens_per_second)
    }

    fn at_speed(self, tokens_per_second: f64) -> Self {
        let estimated_seconds = self.tokens as f64 / tokens_per_second;
        Self { tokens_per_second, estimated_seconds, ..self }
    }
}

/// What `device` can do at `precision` in FLOP/s, measured for up to half a second: on the CPU the rate of its
/// multiply-adds from registers ([`danlu_ops::peak_gflops`]), elsewhere the fastest of many products of 1024 x 1024.
pub fn measured_peak(device: &Device, precision: Precision) -> f64 {
    if *device == Device::flex() {
        return danlu_ops::peak_gflops(precision) * 1e9;
    }
    const SIZE: usize = 1024;
    let ones = Tensor::<2>::ones([SIZE, SIZE], device);
    let begun = Instant::now();
    let mut best = Duration::MAX;
    while begun.elapsed() < Duration::from_millis(500) {
        let product_begun = Instant::now();
        let product = danlu_ops::linear(ones.clone(), ones.clone(), None, precision);
        // Reading one value waits for the device.
        let read = product.slice([0..1, 0..1]).into_data();
        std::hint::black_box(read);
        best = best.min(product_begun.elapsed());
    }
    2.0 * (SIZE as f64).powi(3) / best.as_secs_f64()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn small() -> (TrainConfig, ModelConfig) {
        let model = ModelConfig { layers: 2, hidden_size: 32, heads: 2, ..ModelConfig::default() };
        (TrainConfig { steps: 10, batch_size: 2, seq_len: 8, ..TrainConfig::default() }, model)
    }

    #[test]
    fn time_is_flops_over_the_assumed_part_of_the_peak() {
        let (mut config, model) = small();
        config.warmup_steps = 1;
        let plan = plan_for(&config, &model, 100, 1e9).unwrap();
        let flops = model.flops_per_token(100, 8) * 10.0 * 16.0;
        assert!((plan.estimated_seconds - flops / (0.6 * 1e9)).abs() < 1e-9);
        assert_eq!(plan.tokens, 160);
        let measured = plan.with_measured_speed(16.0);
        assert_eq!((measured.estimated_seconds, measured.basis), (10.0, Basis::MeasuredSpeed));
    }

    #[test]
    fn the_schedule_is_told_by_its_ends_and_its_peak() {
        let (mut config, model) = small();
        (config.warmup_steps, config.learning_rate, config.schedule) = (4, 1.0, ScheduleKind::OneCycle);
        let rates = plan_for(&config, &model, 100, 1e9).unwrap().learning_rate.unwrap();
        assert_eq!((rates.highest, rates.highest_at), (1.0, 4));
        assert!((rates.first - 0.04).abs() < 1e-12 && (rates.last - 0.1).abs() < 1e-12, "{rates:?}");
    }

    #[test]
    fn a_peak_is_measured() {
        let peak = measured_peak(&Device::flex(), Precision::F32);
        assert!(peak.is_finite() && peak > 0.0);
    }
}
