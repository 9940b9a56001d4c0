//! The training loop.

use crate::checkpoint::Checkpoints;
use crate::clock::Clock;
use crate::optimizer::{Optimizer, clip_factor};
use crate::order::group_of_step;
use crate::schedule::learning_rate;
use crate::state::{Best, Finish, Identity, TrainState};
use crate::task::{LossSum, Task};
use crate::watchdog::Verdict;
use crate::{Observer, StepInfo, TrainConfig, TrainError, ValidationInfo, export, regularize, tensors};
use burn::module::Module;
use burn::prelude::*;
use danlu_model::DropoutKey;
use danlu_store::{MetricsWriter, hash};
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where and how a task is trained.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    pub config: &'a TrainConfig,
    /// Seed of dropout.
    pub seed: u64,
    /// Holds `checkpoints/` and at the end `model/`.
    pub work_dir: &'a Path,
    /// Where to compute; a plain device, without autodiff.
    pub device: &'a Device,
    pub metrics: Option<&'a MetricsWriter>,
    /// The machine's peak in FLOP/s, for MFU (see [`crate::measured_peak`]).
    pub peak_flops: Option<f64>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The model folder is written.
    Finished(Finish),
    /// The stop flag was set; a checkpoint is written, and the same job goes on from it.
    Interrupted,
}

/// What a session did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainOutcome {
    pub ending: Ending,
    /// Updates made, over all sessions.
    pub step: u64,
    /// The step at which this session began.
    pub first_step: u64,
    pub tokens: u64,
    /// Mean loss of the last step; none before the first.
    pub last_loss: Option<f64>,
    /// Lowest validation loss and its step.
    pub best: Option<Best>,
    /// The best weights as a Hugging Face folder, where the run is finished.
    pub model_dir: Option<PathBuf>,
    pub parameters: u64,
    /// Tokens over time in training steps, of all sessions; validation and checkpoints do not
    /// count, work lost to a rollback does.
    pub tokens_per_second: f64,
    /// Model FLOP/s at that speed over the measured peak.
    pub mfu: Option<f64>,
    /// Groups of micro-batches put aside by the watchdog.
    pub skipped: Vec<u64>,
    /// Time of all sessions: the steps of the earlier ones, and the wall time of this one.
    pub seconds: f64,
    /// Resident memory of this process at its highest so far, bytes; none where the system does not tell.
    pub peak_memory: Option<u64>,
}

/// Trains, or goes on training, until the run is finished or `stop` is set. The same run of the same task with the same
/// `work_dir` goes on where it stopped.
///
/// # Errors
/// Settings that make no sense, a work folder of another run, repeated failures of the watchdog,
/// and whatever data, model and disk report. The last good checkpoint stays.
pub fn run<T: Task>(
    run: &Run<'_>,
    task: &T,
    hooks: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<TrainOutcome, TrainError> {
    run.config.check()?;
    let _kept = danlu_memory::keep_pages();
    let mut trainer = Trainer {
        checkpoints: Checkpoints::open(run.work_dir, run.config.keep_checkpoints)?,
        identity: identity(run, task),
        clock: Clock::start(),
        flops_per_unit: 0.0,
        parameters: 0,
        first_step: 0,
        seconds_before: 0.0,
        run: *run,
        task,
        hooks,
        stop,
    };
    let live = trainer.begin()?;
    trainer.train(live)
}

/// What decides the weights. Settings that only decide what is kept or shown may change between
/// sessions.
fn identity<T: Task>(run: &Run<'_>, task: &T) -> Identity {
    let defaults = TrainConfig::default();
    let config = TrainConfig {
        recompute: defaults.recompute,
        keep_checkpoints: defaults.keep_checkpoints,
        log_every: defaults.log_every,
        time_limit_seconds: None,
        ..run.config.clone()
    };
    let mut settings = task.settings();
    settings.insert("train".to_owned(), serde_json::json!(config));
    settings.insert("seed".to_owned(), serde_json::json!(run.seed));
    let (tokenizer, data) = task.data();
    Identity { config: hash::of_json(&Value::Object(settings)), tokenizer, data: hash::of_json(&data) }
}

/// What changes from step to step, and what a checkpoint holds.
pub(crate) struct Live<M> {
    pub model: M,
    pub optimizer: Optimizer,
    pub state: TrainState,
}

pub(crate) struct Trainer<'a, T> {
    pub run: Run<'a>,
    pub task: &'a T,
    pub hooks: &'a mut dyn Observer,
    stop: &'a AtomicBool,
    pub checkpoints: Checkpoints,
    identity: Identity,
    clock: Clock,
    flops_per_unit: f64,
    parameters: u64,
    first_step: u64,
    /// Time of the steps that earlier processes made.
    seconds_before: f64,
}

impl<T: Task> Trainer<'_, T> {
    /// The newest checkpoint, or the beginning.
    fn begin(&mut self) -> Result<Live<T::Model>, TrainError> {
        let live = self.load()?;
        (self.parameters, self.flops_per_unit) = self.task.size(&live.model);
        self.first_step = live.state.step;
        self.seconds_before = live.state.seconds;
        self.hooks.on_start(self.parameters, self.first_step, self.run.peak_flops);
        if self.first_step > 0 {
            self.event(&format!(
                "going on from the checkpoint of step {} of {}",
                self.first_step, self.run.config.steps
            ));
        }
        self.clock = Clock::start();
        Ok(live)
    }

    fn load(&mut self) -> Result<Live<T::Model>, TrainError> {
        let (loaded, notes) = self.checkpoints.newest(&self.identity)?;
        notes.iter().for_each(|note| self.event(note));
        let model = self.task.model(&self.run.device.clone().autodiff())?;
        let parameters = self.task.parameters(&model);
        regularize::check_groups(self.run.config, &parameters)?;
        let model = regularize::freeze(model, &parameters, self.run.config);
        let Some(mut loaded) = loaded else {
            let state = TrainState::new(self.identity.clone());
            return Ok(Live { model, optimizer: Optimizer::new(parameters).seeded(self.run.seed), state });
        };
        let model = tensors::restore(model, &parameters, &mut loaded.model)?;
        let optimizer = Optimizer::restore(parameters, &model, &mut loaded.optimizer, self.run.config)?;
        Ok(Live { model, optimizer: optimizer.seeded(self.run.seed), state: loaded.state })
    }

    fn train(mut self, mut live: Live<T::Model>) -> Result<TrainOutcome, TrainError> {
        while live.state.finished.is_none() {
            if self.stop.load(Ordering::Relaxed) {
                self.save(&live)?;
                return Ok(self.outcome(&live.state, Ending::Interrupted, None));
            }
            let begun = Instant::now();
            let group = group_of_step(live.state.step, &live.state.skipped);
            let result = self.forward_backward(&live.model, group)?;
            let norm = result.gradients.norm(&live.model) / result.counted.max(1) as f64;
            let loss = self.hooks.tamper_loss(group, result.mean());
            let config = self.run.config;
            let spike = if self.task.spikes_are_failures() { config.spike_zscore } else { 0.0 };
            let verdict = live.state.watchdog.judge(loss, norm, spike, config.spike_window);
            if verdict != Verdict::Healthy {
                live = self.roll_back(live, group, verdict)?;
                continue;
            }
            let units = result.units;
            live = self.update(live, result, loss, norm);
            self.report(&mut live.state, loss, norm, units, begun.elapsed());
            self.after_step(&mut live)?;
        }
        let ending = Ending::Finished(live.state.finished.unwrap_or(Finish::AllSteps));
        let model_dir = export::publish(&mut self, &live)?;
        Ok(self.outcome(&live.state, ending, Some(model_dir)))
    }

    fn forward_backward(&self, model: &T::Model, group: u64) -> Result<LossSum, TrainError> {
        let config = self.run.config;
        let (count, sequences) = (config.accumulate as u64, config.batch_size as u64);
        let mut sum = LossSum::default();
        for index in 0..count {
            // Masks go by the text seen, so that a batch seen again after a rollback has its own again.
            let key = DropoutKey { seed: self.run.seed, step: group, first_sequence: index * sequences };
            self.task.learn(model, group * count + index, key, &mut sum)?;
        }
        Ok(sum)
    }

    fn update(&self, live: Live<T::Model>, result: LossSum, loss: f64, norm: f64) -> Live<T::Model> {
        let Live { model, mut optimizer, mut state } = live;
        let config = self.run.config;
        let scale = clip_factor(norm, config.grad_clip) / result.counted as f64;
        let rate = learning_rate(config, state.step) * state.plateau.factor;
        state.step += 1;
        state.tokens += result.counted;
        state.watchdog.remember(loss, config.spike_window);
        let model = optimizer.update(model, result.gradients, scale, state.step, rate, config);
        Live { model, optimizer, state }
    }

    fn report(&mut self, state: &mut TrainState, loss: f64, norm: f64, units: u64, took: Duration) {
        let config = self.run.config;
        state.seconds += took.as_secs_f64();
        self.clock.step(units, took);
        let speed = self.clock.recent_speed();
        let info = StepInfo {
            step: state.step,
            steps: config.steps,
            loss,
            learning_rate: learning_rate(config, state.step - 1) * state.plateau.factor,
            gradient_norm: norm,
            tokens: state.tokens,
            tokens_per_second: speed,
            mfu: self.mfu(speed),
            seconds_left: self.clock.seconds_for(config.steps.saturating_sub(state.step)),
        };
        if let Some(metrics) = self.run.metrics.filter(|_| every(info.step, config.log_every)) {
            let mut values = vec![
                ("train/loss", info.loss),
                ("train/learning_rate", info.learning_rate),
                ("train/gradient_norm", info.gradient_norm),
                ("train/tokens_per_second", info.tokens_per_second),
            ];
            values.extend(info.mfu.map(|mfu| ("train/mfu", mfu)));
            metrics.log(info.step, &values);
        }
        self.hooks.on_step(&info);
    }

    fn mfu(&self, tokens_per_second: f64) -> Option<f64> {
        self.run.peak_flops.map(|peak| tokens_per_second * self.flops_per_unit / peak)
    }

    /// Validation, the decision to stop, and the checkpoint.
    fn after_step(&mut self, live: &mut Live<T::Model>) -> Result<(), TrainError> {
        let config = self.run.config;
        let step = live.state.step;
        let limit = config.time_limit_seconds.unwrap_or(f64::INFINITY);
        live.state.finished = if step >= config.steps {
            Some(Finish::AllSteps)
        } else if live.state.seconds >= limit {
            Some(Finish::TimeLimit)
        } else {
            None
        };
        if every(step, config.valid_every) || live.state.finished.is_some() {
            self.validate(live)?;
            let patience = config.patience;
            let tired = patience > 0 && live.state.without_improvement >= patience;
            if tired && live.state.finished.is_none() {
                live.state.finished = Some(Finish::EarlyStop);
                self.event(&format!("stopped early at step {step}: {patience} validations without a better loss"));
            }
        }
        let regular = every(step, config.checkpoint_every);
        if regular {
            live.state.failures = 0;
        }
        if regular || live.state.finished.is_some() {
            self.save(live)?;
        }
        Ok(())
    }

    fn validate(&mut self, live: &mut Live<T::Model>) -> Result<(), TrainError> {
        let count = self.run.config.valid_batches.min(self.task.valid_batches());
        if count == 0 {
            return Ok(());
        }
        let begun = Instant::now();
        let (model, mut sum) = (live.optimizer.averaged(&live.model).valid(), LossSum::default());
        for index in 0..count {
            self.task.judge(&model, index, &mut sum)?;
        }
        let (loss, tokens) = (sum.mean(), sum.counted);
        let state = &mut live.state;
        let lowered = state.plateau.observe(loss, self.run.config);
        // A NaN is never better.
        let best = state.best.is_none_or(|best| loss < best.loss) && loss.is_finite();
        if best {
            state.best = Some(Best { step: state.step, loss });
            state.without_improvement = 0;
            let weights = tensors::collect(&model, live.optimizer.parameters());
            self.checkpoints.save_best(state.step, &weights)?;
        } else {
            state.without_improvement += 1;
        }
        let seconds = begun.elapsed().as_secs_f64();
        if let Some(metrics) = self.run.metrics {
            metrics.log(state.step, &[("valid/loss", loss)]);
        }
        let (step, factor) = (state.step, state.plateau.factor);
        self.hooks.on_validation(&ValidationInfo { step, loss, tokens, best, seconds });
        if lowered {
            self.event(&format!(
                "no better loss for a while at step {step}: learning rates are now {factor} of the schedule's"
            ));
        }
        Ok(())
    }

    fn save(&self, live: &Live<T::Model>) -> Result<(), TrainError> {
        if live.state.step == 0 {
            return Ok(()); // the beginning is made from the seed
        }
        let weights = tensors::collect(&live.model, live.optimizer.parameters());
        let moments = live.optimizer.collect(&live.model);
        self.checkpoints.save(&live.state, &weights, &moments)
    }

    /// Back to the last good checkpoint, without the group that failed.
    fn roll_back(&mut self, live: Live<T::Model>, group: u64, why: Verdict) -> Result<Live<T::Model>, TrainError> {
        let most = self.run.config.max_failures;
        let Live { model, optimizer, state: failed } = live;
        drop((model, optimizer)); // their memory is needed for the checkpoint's
        let failures = failed.failures + 1;
        let step = failed.step + 1;
        if failures >= most {
            return Err(TrainError::Diverged { step, failures, last: why.to_string() });
        }
        let mut live = self.load()?;
        live.state.skipped.extend(failed.skipped);
        live.state.skipped.insert(group);
        live.state.failures = failures;
        live.state.seconds = failed.seconds;
        if live.state.step > 0 {
            self.checkpoints.rewrite_state(&live.state)?;
        }
        self.event(&format!(
            "step {step}: {why}; back to step {}, batch group {group} is skipped (failure \
             {failures}, the run stops at {most})",
            live.state.step
        ));
        Ok(live)
    }

    pub(crate) fn event(&mut self, message: &str) {
        tracing::warn!(target: "danlu_train", "{message}");
        self.hooks.on_event(message);
    }

    fn outcome(&self, state: &TrainState, ending: Ending, model_dir: Option<PathBuf>) -> TrainOutcome {
        let speed = if state.step > 0 { state.tokens as f64 / state.seconds } else { 0.0 };
        TrainOutcome {
            ending,
            step: state.step,
            first_step: self.first_step,
            tokens: state.tokens,
            last_loss: state.watchdog.last(),
            best: state.best,
            model_dir,
            parameters: self.parameters,
            tokens_per_second: speed,
            mfu: self.mfu(speed),
            skipped: state.skipped.iter().copied().collect(),
            seconds: self.seconds_before + self.clock.seconds(),
            peak_memory: danlu_memory::peak_resident_bytes(),
        }
    }
}

fn every(step: u64, period: u64) -> bool {
    period > 0 && step.is_multiple_of(period)
}
