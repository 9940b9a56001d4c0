//! Training steps: forward, backward, global-norm clip, AdamW, as `danlu-train` makes them.

use crate::machine::{peak_gflops, wait};
use crate::workload::precision_name;
use crate::{BenchError, Budget, Machine, Precision, Recompute, Spread, Workload, peak_rss_bytes};
use burn::prelude::*;
use danlu_model::CausalLm;
use danlu_train::TrainConfig;
use danlu_train::optimizer::{Optimizer, clip_factor};
use danlu_train::step::{MicroBatch, accumulate};
use danlu_train::tensors;
use serde::Serialize;

/// Steps that are not timed: buffers are allocated in them.
const WARM_UP: usize = 2;
const LEARNING_RATE: f64 = 3e-4;
const GRADIENT_CLIP: f64 = 1.0;

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct TrainSettings {
    pub workload: Workload,
    pub precision: Precision,
    pub recompute: Recompute,
    pub budget: Budget,
}

/// What a training process reached.
#[derive(Clone, Debug, Serialize)]
pub struct TrainFigures {
    #[serde(flatten)]
    pub machine: Machine,
    pub model: Workload,
    #[serde(serialize_with = "precision_name")]
    pub precision: Precision,
    pub recompute: Recompute,
    pub parameters: usize,
    pub tokens_per_step: usize,
    /// Of the median step.
    pub tokens_per_second: f64,
    /// Tokens per second over all timed steps.
    pub spread: Spread,
    /// Seconds of each timed step.
    pub step_seconds: Vec<f64>,
    /// Mean loss of a token, in nats, before the first update.
    pub first_loss: f64,
    /// The same batch's at the last step.
    pub last_loss: f64,
    pub flops_per_token: f64,
    /// 10^9 model operations per second at the median step.
    pub gflops: f64,
    /// The CPU's measured arithmetic peak, 10^9 operations per second; none on other devices.
    pub peak_gflops: Option<f64>,
    /// `gflops / peak_gflops`
    pub fraction_of_peak: Option<f64>,
    /// Of the whole process.
    pub peak_rss_bytes: Option<u64>,
}

/// Trains a workload from its first step on, always on the same random batch, so that the loss must fall.
///
/// # Errors
/// What the device reports.
pub fn train(settings: &TrainSettings, device: &Device) -> Result<TrainFigures, BenchError> {
    let _kept = danlu_memory::keep_pages();
    let workload = settings.workload;
    let peak = (*device == Device::flex()).then(|| peak_gflops(settings.precision));
    let trained = device.clone().autodiff();
    let model = CausalLm::new(&workload.config(), workload.vocab_size(), 1, &trained)?;
    let run = run(model.with_precision(settings.precision), settings, device)?;
    let spread = Spread::of_rates(workload.tokens_per_step() as f64, &run.seconds);
    let gflops = spread.median * workload.flops_per_token() / 1e9;
    Ok(TrainFigures {
        machine: Machine::here(),
        model: workload,
        precision: settings.precision,
        recompute: settings.recompute,
        parameters: run.parameters,
        tokens_per_step: workload.tokens_per_step(),
        tokens_per_second: spread.median,
        spread,
        step_seconds: run.seconds,
        first_loss: run.first_loss,
        last_loss: run.last_loss,
        flops_per_token: workload.flops_per_token(),
        gflops,
        peak_gflops: peak,
        fraction_of_peak: peak.map(|peak| gflops / peak),
        peak_rss_bytes: peak_rss_bytes(),
    })
}

struct Run {
    parameters: usize,
    seconds: Vec<f64>,
    first_loss: f64,
    last_loss: f64,
}

fn run(model: CausalLm, settings: &TrainSettings, device: &Device) -> Result<Run, BenchError> {
    let workload = settings.workload;
    let parameters = model.num_params();
    let mut optimizer = Optimizer::new(tensors::parameters(model.parameters()));
    let config = TrainConfig { weight_decay: 0.1, ..TrainConfig::default() };
    let inputs = workload.tokens(1);
    let targets: Vec<i64> = workload.tokens(2).into_iter().map(i64::from).collect();
    let mut losses = Vec::new();
    let mut model = Some(model);
    let seconds = settings.budget.measure(WARM_UP, || {
        // Given up to the update, which then works in place.
        let Some(current) = model.take() else { return Ok(()) };
        let batch = MicroBatch::new(&inputs, &targets, workload.seq_len(), device);
        let group = accumulate(&current, [batch], settings.recompute, |_| None)?;
        losses.push(group.mean());
        let tokens = group.counted as f64;
        let scale = clip_factor(group.gradients.norm(&current) / tokens, GRADIENT_CLIP) / tokens;
        let step = losses.len() as u64;
        model = Some(optimizer.update(current, group.gradients, scale, step, LEARNING_RATE, &config));
        wait(device)
    })?;
    let (first_loss, last_loss) = (losses.first().copied(), losses.last().copied());
    Ok(Run {
        parameters,
        seconds,
        first_loss: first_loss.unwrap_or(f64::NAN),
        last_loss: last_loss.unwrap_or(f64::NAN),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn figures(precision: Precision, recompute: Recompute) -> TrainFigures {
        let settings = TrainSettings { workload: Workload::Xs, precision, recompute, budget: Budget::Runs(5) };
        train(&settings, &Device::flex()).unwrap()
    }

    #[test]
    fn a_small_run_learns_its_batch_and_adds_up() {
        let figures = figures(Precision::F32, Recompute::None);
        assert_eq!((figures.step_seconds.len(), figures.tokens_per_step), (5, 32));
        let uniform = (Workload::Xs.vocab_size() as f64).ln();
        assert!((figures.first_loss - uniform).abs() < 0.02 * uniform, "{}", figures.first_loss);
        assert!(figures.last_loss < figures.first_loss);
        assert_eq!(figures.parameters, Workload::Xs.config().parameter_counts(Workload::Xs.vocab_size()).total());
        let expected = figures.tokens_per_second * figures.flops_per_token / 1e9;
        assert!((figures.gflops - expected).abs() <= 1e-9 * expected);
        assert!(figures.fraction_of_peak.is_some_and(|fraction| fraction > 0.0 && fraction < 1.5));
    }

    #[test]
    fn precision_and_recomputation_reach_the_model() {
        let [plain, rounded, again] = [
            figures(Precision::F32, Recompute::None),
            figures(Precision::Bf16, Recompute::None),
            figures(Precision::F32, Recompute::Block),
        ];
        assert_eq!(plain.last_loss, again.last_loss);
        assert_ne!(plain.last_loss, rounded.last_loss);
        assert!((plain.last_loss - rounded.last_loss).abs() < 0.01 * plain.last_loss);
    }
}
