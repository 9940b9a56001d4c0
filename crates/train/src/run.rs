//! The training loop.

use crate::checkpoint::Checkpoints;
use crate::clock::Clock;
use crate::optimizer::{Optimizer, clip_factor};
use crate::order::group_of_step;
use crate::schedule::learning_rate;
use crate::state::{Best, Finish, Identity, TrainState};
use crate::step::{GroupResult, MicroBatch, accumulate, evaluate};
use crate::watchdog::Verdict;
use crate::{Observer, StepInfo, TrainConfig, TrainError, ValidationInfo, export, regularize, tensors};
use burn::prelude::*;
use danlu_data::{BatchConfig, Batches, Shard};
use danlu_model::{CausalLm, DropoutKey, ModelConfig};
use danlu_store::{MetricsWriter, hash};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Everything a run needs. The same job with the same `work_dir` goes on where it stopped.
#[derive(Debug)]
pub struct Job<'a> {
    pub config: TrainConfig,
    pub model: ModelConfig,
    pub vocab_size: usize,
    /// Seed of the first weights, of the order of the text and of dropout.
    pub seed: u64,
    pub train: Arc<Shard>,
    /// Without it there is no validation, and the last weights are the best.
    pub valid: Option<Arc<Shard>>,
    /// Its tokenizer files are copied into the model folder.
    pub tokenizer_dir: Option<&'a Path>,
    /// Holds `checkpoints/` and at the end `model/`.
    pub work_dir: &'a Path,
    /// Where to compute; a plain device, without autodiff.
    pub device: Device,
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
}

/// Trains, or goes on training, until the run is finished or `stop` is set.
///
/// # Errors
/// Settings that make no sense, a work folder of another run, repeated failures of the watchdog,
/// and whatever data, model and disk report. The last good checkpoint stays.
pub fn train(job: &Job<'_>, hooks: &mut dyn Observer, stop: &AtomicBool) -> Result<TrainOutcome, TrainError> {
    check(job)?;
    let _kept = danlu_memory::keep_pages();
    let train = batches(job, &job.train, true)?;
    let valid = match &job.valid {
        Some(shard) if job.config.valid_every > 0 => Some(batches(job, shard, false)?),
        _ => None,
    };
    let mut trainer = Trainer {
        checkpoints: Checkpoints::open(job.work_dir, job.config.keep_checkpoints)?,
        identity: identity(job),
        clock: Clock::start(),
        flops_per_token: 0.0,
        parameters: 0,
        first_step: 0,
        seconds_before: 0.0,
        job,
        hooks,
        stop,
        train,
        valid,
    };
    let live = trainer.begin()?;
    trainer.run(live)
}

fn check(job: &Job<'_>) -> Result<(), TrainError> {
    job.config.check()?;
    job.model.validate()?;
    let (seq_len, most) = (job.config.seq_len, job.model.max_seq_len);
    if seq_len > most {
        return Err(TrainError::Config {
            key: "seq_len".to_owned(),
            value: seq_len.to_string(),
            need: format!("at most the model's `max_seq_len`, {most}"),
        });
    }
    Ok(())
}

fn batches(job: &Job<'_>, shard: &Arc<Shard>, shuffle: bool) -> Result<Batches, TrainError> {
    if shard.vocab_size() > job.vocab_size {
        return Err(TrainError::Vocabulary {
            path: shard.path().to_owned(),
            shard: shard.vocab_size(),
            model: job.vocab_size,
        });
    }
    let TrainConfig { batch_size, seq_len, packing, .. } = job.config;
    let config = BatchConfig { batch_size, seq_len, seed: job.seed, shuffle, packing };
    Ok(Batches::new(Arc::clone(shard), config)?)
}

/// What decides the weights. Settings that only decide what is kept or shown may change between
/// sessions.
fn identity(job: &Job<'_>) -> Identity {
    let defaults = TrainConfig::default();
    let config = TrainConfig {
        recompute: defaults.recompute,
        keep_checkpoints: defaults.keep_checkpoints,
        log_every: defaults.log_every,
        time_limit_seconds: None,
        ..job.config.clone()
    };
    let settings = serde_json::json!({
        "train": config, "model": job.model, "vocab_size": job.vocab_size, "seed": job.seed,
    });
    let text = |shard: &Arc<Shard>| serde_json::json!([shard.len(), shard.text_bytes(), shard.document_count()]);
    let texts = serde_json::json!({ "train": text(&job.train), "valid": job.valid.as_ref().map(text) });
    Identity { config: hash::of_json(&settings), tokenizer: job.train.tokenizer_hash(), data: hash::of_json(&texts) }
}

/// What changes from step to step, and what a checkpoint holds.
pub(crate) struct Live {
    pub model: CausalLm,
    pub optimizer: Optimizer,
    pub state: TrainState,
}

pub(crate) struct Trainer<'a> {
    pub job: &'a Job<'a>,
    pub hooks: &'a mut dyn Observer,
    stop: &'a AtomicBool,
    train: Batches,
    valid: Option<Batches>,
    pub checkpoints: Checkpoints,
    identity: Identity,
    clock: Clock,
    flops_per_token: f64,
    parameters: u64,
    first_step: u64,
    /// Time of the steps that earlier processes made.
    seconds_before: f64,
}

impl Trainer<'_> {
    /// The newest checkpoint, or the beginning.
    fn begin(&mut self) -> Result<Live, TrainError> {
        let live = self.load()?;
        self.parameters = live.model.num_params() as u64;
        self.flops_per_token = live.model.flops_per_token(self.job.config.seq_len);
        self.first_step = live.state.step;
        self.seconds_before = live.state.seconds;
        self.hooks.on_start(self.parameters, self.first_step, self.job.peak_flops);
        if self.first_step > 0 {
            self.event(&format!(
                "going on from the checkpoint of step {} of {}",
                self.first_step, self.job.config.steps
            ));
        }
        self.clock = Clock::start();
        Ok(live)
    }

    fn load(&mut self) -> Result<Live, TrainError> {
        let (loaded, notes) = self.checkpoints.newest(&self.identity)?;
        notes.iter().for_each(|note| self.event(note));
        let device = self.job.device.clone().autodiff();
        let model = CausalLm::new(&self.job.model, self.job.vocab_size, self.job.seed, &device)?
            .with_precision(self.job.config.precision)
            .with_loss(self.job.config.loss());
        let parameters = export::parameters(&model);
        regularize::check_groups(&self.job.config, &parameters)?;
        let model = regularize::freeze(model, &parameters, &self.job.config);
        let Some(mut loaded) = loaded else {
            let state = TrainState::new(self.identity.clone());
            return Ok(Live { model, optimizer: Optimizer::new(parameters).seeded(self.job.seed), state });
        };
        let model = tensors::restore(model, &parameters, &mut loaded.model)?;
        let optimizer = Optimizer::restore(parameters, &model, &mut loaded.optimizer, &self.job.config)?;
        Ok(Live { model, optimizer: optimizer.seeded(self.job.seed), state: loaded.state })
    }

    fn run(mut self, mut live: Live) -> Result<TrainOutcome, TrainError> {
        while live.state.finished.is_none() {
            if self.stop.load(Ordering::Relaxed) {
                self.save(&live)?;
                return Ok(self.outcome(&live.state, Ending::Interrupted, None));
            }
            let begun = Instant::now();
            let group = group_of_step(live.state.step, &live.state.skipped);
            let result = self.forward_backward(&live.model, group)?;
            let norm = result.gradients.norm(&live.model) / result.tokens.max(1) as f64;
            let loss = self.hooks.tamper_loss(group, result.loss());
            let config = &self.job.config;
            let verdict = live.state.watchdog.judge(loss, norm, config.spike_zscore, config.spike_window);
            if verdict != Verdict::Healthy {
                live = self.roll_back(live, group, verdict)?;
                continue;
            }
            live = self.update(live, result, loss, norm);
            self.report(&mut live.state, loss, norm, begun.elapsed());
            self.after_step(&mut live)?;
        }
        let ending = Ending::Finished(live.state.finished.unwrap_or(Finish::AllSteps));
        let model_dir = export::publish(&mut self, &live)?;
        Ok(self.outcome(&live.state, ending, Some(model_dir)))
    }

    fn forward_backward(&self, model: &CausalLm, group: u64) -> Result<GroupResult, TrainError> {
        let config = &self.job.config;
        let first = group * config.accumulate as u64;
        let batches = (0..config.accumulate as u64).map(|index| self.micro_batch(&self.train, first + index));
        // Masks go by the text seen, so that a batch seen again after a rollback has its own again.
        let key = DropoutKey { seed: self.job.seed, step: group, first_sequence: 0 };
        let sequences = config.batch_size as u64;
        accumulate(model, batches, config.recompute, |index| {
            Some(DropoutKey { first_sequence: index * sequences, ..key })
        })
    }

    fn micro_batch(&self, batches: &Batches, index: u64) -> MicroBatch {
        MicroBatch::from_batch(&batches.batch(index), self.job.config.seq_len, &self.job.device)
    }

    fn update(&self, live: Live, result: GroupResult, loss: f64, norm: f64) -> Live {
        let Live { model, mut optimizer, mut state } = live;
        let config = &self.job.config;
        let scale = clip_factor(norm, config.grad_clip) / result.tokens as f64;
        let rate = learning_rate(config, state.step) * state.plateau.factor;
        state.step += 1;
        state.tokens += result.tokens;
        state.watchdog.remember(loss, config.spike_window);
        let model = optimizer.update(model, result.gradients, scale, state.step, rate, config);
        Live { model, optimizer, state }
    }

    fn report(&mut self, state: &mut TrainState, loss: f64, norm: f64, took: Duration) {
        let config = &self.job.config;
        state.seconds += took.as_secs_f64();
        self.clock.step(config.tokens_per_step(), took);
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
        if let Some(metrics) = self.job.metrics.filter(|_| every(info.step, config.log_every)) {
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
        self.job.peak_flops.map(|peak| tokens_per_second * self.flops_per_token / peak)
    }

    /// Validation, the decision to stop, and the checkpoint.
    fn after_step(&mut self, live: &mut Live) -> Result<(), TrainError> {
        let config = &self.job.config;
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

    fn validate(&mut self, live: &mut Live) -> Result<(), TrainError> {
        let Some(valid) = &self.valid else { return Ok(()) };
        let begun = Instant::now();
        let count = self.job.config.valid_batches.min(valid.batches_per_epoch()).max(1);
        let model = live.optimizer.averaged(&live.model);
        let (loss, tokens) = evaluate(&model, (0..count).map(|index| self.micro_batch(valid, index)))?;
        let state = &mut live.state;
        let lowered = state.plateau.observe(loss, &self.job.config);
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
        if let Some(metrics) = self.job.metrics {
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

    fn save(&self, live: &Live) -> Result<(), TrainError> {
        if live.state.step == 0 {
            return Ok(()); // the beginning is made from the seed
        }
        let weights = tensors::collect(&live.model, live.optimizer.parameters());
        let moments = live.optimizer.collect(&live.model);
        self.checkpoints.save(&live.state, &weights, &moments)
    }

    /// Back to the last good checkpoint, without the group that failed.
    fn roll_back(&mut self, live: Live, group: u64, why: Verdict) -> Result<Live, TrainError> {
        let most = self.job.config.max_failures;
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
        }
    }
}

fn every(step: u64, period: u64) -> bool {
    period > 0 && step.is_multiple_of(period)
}
