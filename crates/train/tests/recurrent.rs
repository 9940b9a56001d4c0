//! Recurrent models in the training loop: they learn, a resumed run ends with the same bits, and so do other threads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Fixture, Recorder, weights};
use danlu_data::Packing;
use danlu_model::{Architecture, ModelConfig, Precision, Recompute};
use danlu_train::{Ending, Silent, TrainConfig, train};
use std::path::Path;
use std::sync::atomic::AtomicBool;

const KINDS: [Architecture; 3] = [Architecture::Lstm, Architecture::Gru, Architecture::Rnn];

fn model(architecture: Architecture, dropout: f64) -> ModelConfig {
    let (embedding_size, variational_dropout) = (Some(24), Some(architecture == Architecture::Gru));
    ModelConfig {
        architecture,
        layers: 2,
        hidden_size: 64,
        embedding_size,
        variational_dropout,
        max_seq_len: 32,
        dropout,
        ..ModelConfig::default()
    }
}

/// Losses of all steps.
fn losses(fixture: &Fixture, model: &ModelConfig, config: TrainConfig, work: &Path) -> Vec<f64> {
    let mut job = fixture.job(config, work);
    job.model = model.clone();
    let mut recorder = Recorder::default();
    let outcome = train(&job, &mut recorder, &AtomicBool::new(false)).unwrap();
    assert!(outcome.peak_memory.is_none_or(|bytes| bytes > 1 << 20));
    recorder.steps.iter().map(|step| step.loss).collect()
}

#[test]
fn a_tiny_text_is_learnt() {
    let fixture = Fixture::new();
    for architecture in KINDS {
        // Without gates, gradients allow smaller steps only.
        let learning_rate = if architecture == Architecture::Rnn { 3e-3 } else { 1e-2 };
        let config = TrainConfig { steps: 300, learning_rate, warmup_steps: 10, ..common::config() };
        let work = fixture.path(&format!("{architecture:?}"));
        let losses = losses(&fixture, &model(architecture, 0.0), config, &work);
        assert!((losses[0] - 259f64.ln()).abs() < 0.5, "{architecture:?}: {}", losses[0]);
        // Single bytes of the text have an entropy of 3.37 nats: less takes what came before.
        assert!(losses[299] < 3.2, "{architecture:?}: {}", losses[299]);
    }
}

#[test]
fn stopped_and_gone_on_it_ends_with_the_same_bits() {
    let fixture = Fixture::new();
    for architecture in KINDS {
        let job = |work| {
            let mut job = fixture.job(TrainConfig { steps: 12, checkpoint_every: 3, ..common::config() }, work);
            job.model = model(architecture, 0.2);
            job
        };
        let (straight, stopped) =
            (fixture.path(&format!("{architecture:?}")), fixture.path(&format!("{architecture:?}-stopped")));
        train(&job(&straight), &mut Silent, &AtomicBool::new(false)).unwrap();
        for at in [1, 7] {
            let stop = AtomicBool::new(false);
            let mut recorder = Recorder { stop_at: Some((at, &stop)), ..Recorder::default() };
            let outcome = train(&job(&stopped), &mut recorder, &stop).unwrap();
            assert_eq!((outcome.ending, outcome.step), (Ending::Interrupted, at));
        }
        train(&job(&stopped), &mut Silent, &AtomicBool::new(false)).unwrap();
        assert_eq!(weights(&stopped, 12), weights(&straight, 12), "{architecture:?}");
    }
}

#[test]
fn threads_recomputation_and_packing_keep_the_losses() {
    let fixture = Fixture::new();
    for architecture in KINDS {
        for (precision, packing) in [(Precision::F32, Packing::Stream), (Precision::Bf16, Packing::Documents)] {
            let run = |threads: usize, recompute: Recompute| {
                let name = format!("{architecture:?}-{threads}-{recompute:?}-{precision:?}");
                let config = TrainConfig { steps: 12, precision, packing, recompute, ..common::config() };
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| losses(&fixture, &model(architecture, 0.2), config, &fixture.path(&name)))
            };
            let one = run(1, Recompute::None);
            assert_eq!(one.len(), 12);
            assert!(one == run(2, Recompute::None), "{architecture:?}, {precision:?}: threads");
            assert!(one == run(2, Recompute::Block), "{architecture:?}, {precision:?}: recomputed");
        }
    }
}

#[test]
fn long_sequences_are_learnt_in_pieces() {
    let fixture = Fixture::new();
    let pieces = |steps| TrainConfig {
        steps,
        seq_len: 32,
        bptt: Some(8),
        learning_rate: 1e-2,
        warmup_steps: 10,
        checkpoint_every: 5,
        ..common::config()
    };
    let run = |config, name: &str| losses(&fixture, &model(Architecture::Lstm, 0.0), config, &fixture.path(name));
    let learnt = run(pieces(300), "learnt");
    assert!(learnt[299] < 3.2, "{}", learnt[299]);

    // The state is carried, so that the first losses are the same; gradients are not.
    let whole = run(TrainConfig { bptt: None, ..pieces(300) }, "whole");
    assert!((learnt[0] - whole[0]).abs() < 1e-4, "{} {}", learnt[0], whole[0]);
    assert!((learnt[20] - whole[20]).abs() > 1e-4, "{} {}", learnt[20], whole[20]);
}

#[test]
fn a_transformer_has_no_state_to_carry() {
    let fixture = Fixture::new();
    let config = TrainConfig { bptt: Some(8), ..common::config() };
    let error = train(&fixture.job(config, &fixture.path("run")), &mut Silent, &AtomicBool::new(false)).unwrap_err();
    assert!(error.to_string().contains("bptt"), "{error}");
    let zero = TrainConfig { bptt: Some(0), ..common::config() };
    assert!(zero.check().unwrap_err().to_string().contains("bptt"));
}
