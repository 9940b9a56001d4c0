//! Language modelling: the next token, over token shards.

use crate::export::copy_tokenizer;
use crate::run::{Run, TrainOutcome};
use crate::step::{self, MicroBatch};
use crate::task::{LossSum, Task};
use crate::tensors::{self, Parameters};
use crate::{Observer, TrainConfig, TrainError};
use burn::prelude::*;
use danlu_data::{BatchConfig, Batches, Shard};
use danlu_model::{CausalLm, DropoutKey, LossOptions, ModelConfig, SaveOptions, SpecialTokens};
use danlu_store::MetricsWriter;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Everything the training of a language model needs. The same job with the same `work_dir` goes on where it stopped.
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

/// Trains a language model, or goes on training it, until the run is finished or `stop` is set.
///
/// # Errors
/// As [`crate::run()`].
pub fn train(job: &Job<'_>, hooks: &mut dyn Observer, stop: &AtomicBool) -> Result<TrainOutcome, TrainError> {
    check(job)?;
    let task = LanguageModelling {
        train: batches(job, &job.train, true)?,
        valid: match &job.valid {
            Some(shard) if job.config.valid_every > 0 => Some(batches(job, shard, false)?),
            _ => None,
        },
        job,
    };
    let run = Run {
        config: &job.config,
        seed: job.seed,
        work_dir: job.work_dir,
        device: &job.device,
        metrics: job.metrics,
        peak_flops: job.peak_flops,
    };
    crate::run(&run, &task, hooks, stop)
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
    if let (Some(bptt), None) = (job.config.bptt, job.model.cell()) {
        return Err(TrainError::Config {
            key: "bptt".to_owned(),
            value: bptt.to_string(),
            need: "it left out, as a Transformer has no state to carry".to_owned(),
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

struct LanguageModelling<'a> {
    job: &'a Job<'a>,
    train: Batches,
    valid: Option<Batches>,
}

impl LanguageModelling<'_> {
    fn micro_batch(&self, batches: &Batches, index: u64) -> MicroBatch {
        MicroBatch::from_batch(&batches.batch(index), self.job.config.seq_len, &self.job.device)
    }
}

impl Task for LanguageModelling<'_> {
    type Model = CausalLm;

    fn model(&self, device: &Device) -> Result<CausalLm, TrainError> {
        let Job { model, vocab_size, seed, config, .. } = self.job;
        let model = CausalLm::new(model, *vocab_size, *seed, device)?;
        Ok(model.with_precision(config.precision).with_loss(config.loss()))
    }

    fn parameters(&self, model: &CausalLm) -> Parameters {
        tensors::parameters(model.parameters())
    }

    fn size(&self, model: &CausalLm) -> (u64, f64) {
        (model.num_params() as u64, model.flops_per_token(self.job.config.seq_len))
    }

    fn learn(&self, model: &CausalLm, index: u64, dropout: DropoutKey, sum: &mut LossSum) -> Result<(), TrainError> {
        let batch = self.micro_batch(&self.train, index);
        let TrainConfig { recompute, bptt, .. } = self.job.config;
        step::learn(model, batch, (recompute, bptt), Some(dropout), sum)
    }

    fn valid_batches(&self) -> u64 {
        self.valid.as_ref().map_or(0, Batches::batches_per_epoch)
    }

    fn judge(&self, model: &CausalLm, index: u64, sum: &mut LossSum) -> Result<(), TrainError> {
        let Some(valid) = &self.valid else { return Ok(()) };
        // Label smoothing and z-loss are left out: a perplexity is that of the text.
        let model = model.clone().with_loss(LossOptions::default());
        step::judge(&model, self.micro_batch(valid, index), sum)
    }

    fn settings(&self) -> Map<String, Value> {
        let Job { model, vocab_size, .. } = self.job;
        Map::from_iter([("model".to_owned(), json!(model)), ("vocab_size".to_owned(), json!(vocab_size))])
    }

    fn data(&self) -> (String, Value) {
        let text = |shard: &Arc<Shard>| json!([shard.len(), shard.text_bytes(), shard.document_count()]);
        let Job { train, valid, .. } = self.job;
        (train.tokenizer_hash(), json!({ "train": text(train), "valid": valid.as_ref().map(text) }))
    }

    fn save(&self, model: &CausalLm, dir: &Path) -> Result<(), TrainError> {
        // Documents are told apart by the end-of-text token, so it also stands before the first one.
        let eos = self.job.train.eos_id();
        let special = SpecialTokens { bos: Some(eos), eos: vec![eos], ..SpecialTokens::default() };
        danlu_model::save(model, dir, &SaveOptions { special_tokens: Some(special) })?;
        self.job.tokenizer_dir.map_or(Ok(()), |from| copy_tokenizer(from, dir))
    }
}
