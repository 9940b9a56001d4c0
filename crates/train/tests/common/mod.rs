//! A tiny run for the tests: a real poem and a speech as bytes, a model of a few thousand weights.
#![allow(dead_code)] // each test file uses its own part

use danlu_data::{ChatConfig, Document, DocumentWriter, Encoder, Shard, write_shards};
use danlu_model::ModelConfig;
use danlu_store::hash;
use danlu_text::{Tokenizer, TokenizerConfig};
use danlu_train::{Job, Observer, StepInfo, TrainConfig, TrainError, TrainOutcome, ValidationInfo, train};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Li Bai and Lincoln.
pub const TEXT: &str = "床前明月光，疑是地上霜。举头望明月，低头思故乡。\
Four score and seven years ago our fathers brought forth on this continent, a new nation, \
conceived in Liberty, and dedicated to the proposition that all men are created equal. \
Now we are engaged in a great civil war, testing whether that nation, or any nation so conceived \
and so dedicated, can long endure. We are met on a great battle-field of that war.";

/// The 256 bytes and three special tokens: nothing is merged.
pub const VOCAB: usize = 259;

pub fn config() -> TrainConfig {
    TrainConfig {
        steps: 40,
        batch_size: 4,
        seq_len: 16,
        learning_rate: 3e-3,
        warmup_steps: 4,
        valid_every: 10,
        valid_batches: 2,
        checkpoint_every: 10,
        ..TrainConfig::default()
    }
}

pub fn model() -> ModelConfig {
    ModelConfig {
        layers: 2,
        hidden_size: 32,
        heads: 4,
        kv_heads: Some(2),
        ffn_size: Some(64),
        max_seq_len: 32,
        dropout: 0.1,
        ..ModelConfig::default()
    }
}

/// A shard of the text, which is training and validation text at once, and a place for runs.
pub struct Fixture {
    folder: PathBuf,
    _owned: Option<tempfile::TempDir>,
    shard: Arc<Shard>,
}

impl Fixture {
    pub fn new() -> Self {
        let owned = tempfile::tempdir().unwrap();
        let fixture = Self::at(owned.path());
        Self { _owned: Some(owned), ..fixture }
    }

    /// In a folder that another process may share.
    pub fn at(folder: &Path) -> Self {
        let path = folder.join("text.tok");
        if !path.exists() {
            write_shard(folder, &path);
        }
        let shard = Arc::new(Shard::open(&path, None).unwrap());
        Self { folder: folder.to_owned(), _owned: None, shard }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn train(
        &self,
        config: TrainConfig,
        work: &Path,
        hooks: &mut dyn Observer,
    ) -> Result<TrainOutcome, TrainError> {
        self.train_until(config, work, hooks, &AtomicBool::new(false))
    }

    pub fn train_until(
        &self,
        config: TrainConfig,
        work: &Path,
        hooks: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<TrainOutcome, TrainError> {
        train(&self.job(config, work), hooks, stop)
    }

    pub fn job<'a>(&'a self, config: TrainConfig, work_dir: &'a Path) -> Job<'a> {
        Job {
            config,
            model: model(),
            vocab_size: VOCAB,
            seed: 7,
            train: Arc::clone(&self.shard),
            valid: Some(Arc::clone(&self.shard)),
            tokenizer_dir: None,
            work_dir,
            device: burn::prelude::Device::flex(),
            metrics: None,
            peak_flops: None,
        }
    }
}

fn write_shard(folder: &Path, path: &Path) {
    let documents = folder.join("documents.parquet");
    let mut writer = DocumentWriter::create(&documents).unwrap();
    writer.write(&Document::new(TEXT, "test")).unwrap();
    writer.finish().unwrap();
    let config = TokenizerConfig { vocab_size: VOCAB, ..TokenizerConfig::default() };
    let tokenizer = Tokenizer::train([TEXT].into_iter(), &config).unwrap();
    tokenizer.save(&folder.join("tokenizer")).unwrap();
    let encoder = Encoder { tokenizer: &tokenizer, template: None, chat: &ChatConfig::default() };
    write_shards(&documents, &encoder, path, &|_| {}).unwrap();
}

/// Remembers what a run tells, sets the stop flag at a step, and spoils losses.
#[derive(Default)]
pub struct Recorder<'a> {
    pub steps: Vec<StepInfo>,
    pub validations: Vec<ValidationInfo>,
    pub events: Vec<String>,
    pub stop_at: Option<(u64, &'a AtomicBool)>,
    /// Groups of micro-batches whose loss is made NaN.
    pub bad_groups: Vec<u64>,
    /// From this group on every loss is made NaN.
    pub bad_from: Option<u64>,
    /// This group's loss is made that many times as high.
    pub spike: Option<(u64, f64)>,
}

impl Observer for Recorder<'_> {
    fn on_step(&mut self, info: &StepInfo) {
        self.steps.push(info.clone());
        if let Some((at, stop)) = self.stop_at
            && info.step == at
        {
            stop.store(true, Ordering::Relaxed);
        }
    }
    fn on_validation(&mut self, info: &ValidationInfo) {
        self.validations.push(info.clone());
    }
    fn on_event(&mut self, message: &str) {
        self.events.push(message.to_owned());
    }
    fn tamper_loss(&mut self, group: u64, loss: f64) -> f64 {
        match self.spike {
            Some((at, factor)) if at == group => loss * factor,
            _ if self.bad_groups.contains(&group) => f64::NAN,
            _ if self.bad_from.is_some_and(|from| group >= from) => f64::NAN,
            _ => loss,
        }
    }
}

/// Hashes of the model folder's weights and of the tensors of the checkpoint of `step`.
pub fn weights(work: &Path, step: u64) -> Vec<String> {
    let checkpoint = work.join(format!("checkpoints/step-{step:06}"));
    [
        work.join("model/model.safetensors"),
        checkpoint.join("model.safetensors"),
        checkpoint.join("optimizer.safetensors"),
    ]
    .iter()
    .map(|path| hash::of_file(path).unwrap().to_string())
    .collect()
}

pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn flip_a_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() * 3 / 4;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

pub fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
