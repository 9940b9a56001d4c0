//! Recurrent encoders in the training loop: what has no alignment is learnt by the CTC loss.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use burn::module::Module;
use burn::prelude::*;
use danlu_model::{DropoutKey, Encoder, EncoderConfig, EncoderInput, EncoderKind, EncoderTargets, HeadConfig};
use danlu_train::tensors::{Parameters, parameters};
use danlu_train::{LossSum, Run, Silent, Task, TrainConfig, TrainError, run};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Sounds 0 and 1 are silence, 2 and 3 say "a", 4 and 5 "b", 6 and 7 "c"; each is held for one to three tokens.
struct Spelling;

const BATCH: u64 = 16;

/// What is heard and what it spells; another one for each number.
fn example(number: u64) -> (Vec<u32>, Vec<i32>) {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let (mut heard, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..2 + draw(3) {
        let letter = draw(3);
        let sounds = [2 * letter + 2, 2 * letter + 3];
        heard.extend((0..1 + draw(3)).map(|_| sounds[draw(2) as usize] as u32));
        heard.extend((0..1 + draw(2)).map(|_| draw(2) as u32));
        labels.push(letter as i32);
    }
    (heard, labels)
}

fn batch(first: u64) -> (EncoderInput, EncoderTargets) {
    let (heard, labels) = (first..first + BATCH).map(example).unzip();
    (EncoderInput::of(heard), EncoderTargets::Labels(labels))
}

impl Task for Spelling {
    type Model = Encoder;

    fn model(&self, device: &Device) -> Result<Encoder, TrainError> {
        let head = HeadConfig::Ctc { labels: ["a", "b", "c"].map(str::to_owned).to_vec() };
        let config = EncoderConfig {
            architecture: EncoderKind::Lstm,
            layers: 1,
            hidden_size: 32,
            max_seq_len: 64,
            head,
            ..EncoderConfig::default()
        };
        Ok(Encoder::new(&config, 8, 1, device)?)
    }

    fn parameters(&self, model: &Encoder) -> Parameters {
        parameters(model.parameters())
    }

    fn size(&self, model: &Encoder) -> (u64, f64) {
        (model.num_params() as u64, model.flops_per_token(8))
    }

    fn learn(&self, model: &Encoder, index: u64, dropout: DropoutKey, sum: &mut LossSum) -> Result<(), TrainError> {
        let (input, targets) = batch(1000 + index * BATCH);
        sum.units += input.tokens() as u64;
        let loss = model.loss_sum(&input, &targets, Some(dropout))?;
        sum.add_backward(model, loss, targets.counted() as u64)
    }

    fn valid_batches(&self) -> u64 {
        2
    }

    fn judge(&self, model: &Encoder, index: u64, sum: &mut LossSum) -> Result<(), TrainError> {
        let (input, targets) = batch(index * BATCH);
        sum.add(&model.loss_sum(&input, &targets, None)?, targets.counted() as u64)
    }

    fn settings(&self) -> Map<String, Value> {
        Map::new()
    }

    fn data(&self) -> (String, Value) {
        (String::new(), json!("drawn"))
    }

    fn save(&self, model: &Encoder, dir: &Path) -> Result<(), TrainError> {
        Ok(model.save(dir, None)?)
    }
}

#[test]
fn a_bidirectional_lstm_learns_to_spell_what_it_hears() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        steps: 250,
        batch_size: BATCH as usize,
        learning_rate: 1e-2,
        warmup_steps: 10,
        weight_decay: 0.0,
        valid_every: 50,
        ..TrainConfig::default()
    };
    let run_of = Run {
        config: &config,
        seed: 1,
        work_dir: folder.path(),
        device: &Device::flex(),
        metrics: None,
        peak_flops: None,
    };
    let outcome = run(&run_of, &Spelling, &mut Silent, &AtomicBool::new(false)).unwrap();
    let model = Encoder::load(&outcome.model_dir.unwrap(), &Device::flex()).unwrap();
    let (input, EncoderTargets::Labels(labels)) = batch(0) else { unreachable!() };
    let spelt = model.spell(&input).unwrap();
    let right =
        spelt.iter().zip(&labels).filter(|(found, want)| found.iter().map(|x| *x as i32).eq(want.iter().copied()));
    let right = right.count();
    assert!(right >= 15, "{right} of 16");
    let fresh = Spelling.model(&Device::flex()).unwrap().valid();
    let before = fresh.spell(&input).unwrap();
    assert!(before.iter().zip(&labels).filter(|(found, want)| found.len() == want.len()).count() < 8);
}
