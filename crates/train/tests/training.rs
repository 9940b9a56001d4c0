//! What a run does while nothing interrupts it: it learns, validates, keeps, stops and complains.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Fixture, Recorder};
use danlu_data::{BatchConfig, Batches};
use danlu_model::{ModelConfig, Precision};
use danlu_store::{MetricsWriter, Workspace};
use danlu_train::schedule::learning_rate;
use danlu_train::step::{MicroBatch, evaluate};
use danlu_train::{Ending, Finish, ScheduleKind, Silent, TrainConfig, TrainError, train};
use std::sync::atomic::AtomicBool;

#[test]
fn a_tiny_text_is_learnt_by_heart() {
    let fixture = Fixture::new();
    let work = fixture.path("w");
    let config = TrainConfig {
        steps: 400,
        warmup_steps: 20,
        learning_rate: 4e-3,
        valid_every: 100,
        valid_batches: 100,
        ..common::config()
    };
    let mut job = fixture.job(config, &work);
    job.model = ModelConfig { hidden_size: 96, ffn_size: Some(192), dropout: 0.0, ..common::model() };
    let mut recorder = Recorder::default();
    let outcome = train(&job, &mut recorder, &AtomicBool::new(false)).unwrap();
    // ln(259) = 5.6 nats is chance. Known by heart, what is left is the beginning of each window,
    // where the place in the text cannot be known yet.
    let last = recorder.validations.last().unwrap();
    assert!((recorder.steps[0].loss - 259f64.ln()).abs() < 0.5, "{:?}", recorder.steps[0]);
    assert!(last.loss < 0.8, "{:?}", recorder.validations);
    let best = outcome.best.unwrap();
    let lowest = recorder.validations.iter().map(|v| v.loss).fold(f64::INFINITY, f64::min);
    assert_eq!(best.loss, lowest);
    assert_eq!((outcome.step, outcome.tokens), (400, 400 * 64));

    // The folder holds the best weights: they have the loss of the best validation.
    let model = danlu_model::load(&outcome.model_dir.unwrap(), &job.device).unwrap();
    assert_eq!(model.num_params() as u64, outcome.parameters);
    let order = BatchConfig { batch_size: 4, seq_len: 16, shuffle: false, ..Default::default() };
    let batches = Batches::new(job.valid.clone().unwrap(), order).unwrap();
    let all = (0..batches.batches_per_epoch()).map(|n| MicroBatch::from_batch(&batches.batch(n), 16, &job.device));
    assert_eq!(evaluate(&model, all).unwrap(), (best.loss, last.tokens));
}

/// Work is cut by shapes and partial sums are added in a fixed order, so threads change nothing.
#[test]
fn two_hundred_steps_have_the_same_losses_with_one_and_with_two_threads() {
    let fixture = Fixture::new();
    for precision in [Precision::F32, Precision::Bf16] {
        let losses = |threads: usize| {
            let work = fixture.path(&format!("{threads}{}", precision.name()));
            let config = TrainConfig { steps: 200, precision, ..common::config() };
            let mut job = fixture.job(config, &work);
            job.model = ModelConfig { hidden_size: 96, ffn_size: Some(192), dropout: 0.1, ..common::model() };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut recorder = Recorder::default();
                train(&job, &mut recorder, &AtomicBool::new(false)).unwrap();
                recorder.steps.iter().map(|step| (step.loss, step.gradient_norm)).collect::<Vec<_>>()
            })
        };
        let one = losses(1);
        assert_eq!(one.len(), 200);
        assert!(one == losses(2), "{precision:?}");
    }
}

#[test]
fn steps_report_what_the_settings_say() {
    let fixture = Fixture::new();
    use ScheduleKind::{Constant, Cosine, Linear, Noam, OneCycle, Polynomial, Wsd};
    for schedule in [Cosine, Wsd, Constant, Linear, Noam, Polynomial, OneCycle] {
        let config = TrainConfig { steps: 12, schedule, ..common::config() };
        let mut recorder = Recorder::default();
        let work = fixture.path(&format!("{schedule:?}"));
        fixture.train(config.clone(), &work, &mut recorder).unwrap();
        assert_eq!(recorder.steps.len(), 12);
        for (index, info) in recorder.steps.iter().enumerate() {
            assert_eq!(info.step, index as u64 + 1);
            assert_eq!(info.learning_rate, learning_rate(&config, index as u64));
            assert!(info.gradient_norm > 0.0 && info.tokens_per_second > 0.0);
            assert_eq!(info.tokens, info.step * 64);
        }
        assert_eq!(recorder.steps[11].seconds_left, 0.0);
        let validated: Vec<u64> = recorder.validations.iter().map(|v| v.step).collect();
        assert_eq!(validated, [10, 12]);
    }
}

#[test]
fn accumulated_steps_make_the_large_batchs_model() {
    let fixture = Fixture::new();
    let run = |name: &str, batch_size: usize, accumulate: usize| {
        let work = fixture.path(name);
        let config = TrainConfig { steps: 8, batch_size, accumulate, ..common::config() };
        let mut job = fixture.job(config, &work);
        job.model.dropout = 0.0;
        let mut recorder = Recorder::default();
        train(&job, &mut recorder, &AtomicBool::new(false)).unwrap();
        recorder.steps.iter().map(|s| (s.loss, s.gradient_norm)).collect::<Vec<_>>()
    };
    let (large, small) = (run("large", 8, 1), run("small", 2, 4));
    for (step, (a, b)) in large.iter().zip(&small).enumerate() {
        // Rounding grows from step to step; the first must agree to 1e-6.
        let bound = if step == 0 { 1e-6 } else { 1e-4 };
        assert!((a.0 - b.0).abs() <= bound * a.0, "loss at {step}: {a:?} {b:?}");
        assert!((a.1 - b.1).abs() <= bound * a.1, "norm at {step}: {a:?} {b:?}");
    }
}

#[test]
fn without_progress_it_stops_early_and_keeps_the_best() {
    let fixture = Fixture::new();
    let config = TrainConfig { learning_rate: 0.0, valid_every: 3, patience: 2, ..common::config() };
    let mut recorder = Recorder::default();
    let outcome = fixture.train(config, &fixture.path("w"), &mut recorder).unwrap();
    assert_eq!(outcome.ending, Ending::Finished(Finish::EarlyStop));
    // The first validation is the best; two more are no better.
    assert_eq!((outcome.step, outcome.best.unwrap().step), (9, 3));
    assert!(recorder.events.iter().any(|e| e.contains("stopped early at step 9")));
    assert!(outcome.model_dir.unwrap().join("model.safetensors").exists());
}

#[test]
fn a_time_limit_ends_the_run_with_a_model() {
    let fixture = Fixture::new();
    let config = TrainConfig { time_limit_seconds: Some(0.0), ..common::config() };
    let mut recorder = Recorder::default();
    let outcome = fixture.train(config, &fixture.path("w"), &mut recorder).unwrap();
    assert_eq!(outcome.ending, Ending::Finished(Finish::TimeLimit));
    assert_eq!((outcome.step, recorder.validations.len()), (1, 1));
    assert!(outcome.model_dir.unwrap().is_dir());
}

#[test]
fn the_last_checkpoints_and_the_best_are_kept() {
    let fixture = Fixture::new();
    let work = fixture.path("w");
    let config = TrainConfig { checkpoint_every: 4, keep_checkpoints: 3, valid_every: 5, ..common::config() };
    let outcome = fixture.train(config, &work, &mut Silent).unwrap();
    let best = outcome.best.unwrap().step;
    let names = common::names(&work.join("checkpoints"));
    let steps: Vec<_> = names.iter().filter(|n| n.starts_with("step-")).collect();
    assert_eq!(steps, ["step-000032", "step-000036", "step-000040"]);
    assert!(names.contains(&format!("best-{best:06}")), "{names:?}");
    let read = |name: &str| std::fs::read_to_string(work.join("checkpoints").join(name)).unwrap();
    assert_eq!(read("last"), "step-000040");
    assert_eq!(read("best"), format!("best-{best:06}"));
}

#[test]
fn a_bad_batch_is_skipped_from_the_last_checkpoint() {
    let fixture = Fixture::new();
    let mut recorder = Recorder { bad_groups: vec![13], ..Recorder::default() };
    let outcome = fixture.train(common::config(), &fixture.path("w"), &mut recorder).unwrap();
    assert_eq!(outcome.skipped, [13]);
    assert_eq!((outcome.step, outcome.tokens), (40, 40 * 64));
    // Steps 1 to 13, then again from 11 on.
    let steps: Vec<u64> = recorder.steps.iter().map(|s| s.step).collect();
    let want: Vec<u64> = (1..=13).chain(11..=40).collect();
    assert_eq!(steps, want);
    assert_eq!(recorder.steps[10].loss, recorder.steps[13].loss, "step 11 is the same again");
    let told = &recorder.events[0];
    for part in ["step 14", "NaN", "back to step 10", "group 13 is skipped", "failure 1"] {
        assert!(told.contains(part), "{told:?} does not say {part:?}");
    }
}

#[test]
fn a_bad_batch_before_the_first_checkpoint_goes_back_to_the_beginning() {
    let fixture = Fixture::new();
    let mut recorder = Recorder { bad_groups: vec![0, 2], ..Recorder::default() };
    let outcome = fixture.train(common::config(), &fixture.path("w"), &mut recorder).unwrap();
    assert_eq!((outcome.skipped, outcome.step), (vec![0, 2], 40));
}

#[test]
fn a_loss_spike_is_skipped() {
    let fixture = Fixture::new();
    let config = TrainConfig { spike_window: 8, ..common::config() };
    let mut recorder = Recorder { spike: Some((22, 3.0)), ..Recorder::default() };
    let outcome = fixture.train(config.clone(), &fixture.path("w"), &mut recorder).unwrap();
    assert_eq!(outcome.skipped, [22]);
    assert!(recorder.events[0].contains("loss spike"), "{:?}", recorder.events);

    let config = TrainConfig { spike_zscore: 0.0, ..config };
    let mut recorder = Recorder { spike: Some((22, 3.0)), ..Recorder::default() };
    let outcome = fixture.train(config, &fixture.path("off"), &mut recorder).unwrap();
    assert!(outcome.skipped.is_empty());
}

#[test]
fn repeated_failures_stop_the_run_and_leave_the_checkpoint() {
    let fixture = Fixture::new();
    let work = fixture.path("w");
    let config = TrainConfig { max_failures: 3, ..common::config() };
    let mut recorder = Recorder { bad_from: Some(12), ..Recorder::default() };
    let error = fixture.train(config, &work, &mut recorder).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { step: 13, failures: 3, .. }), "{error:?}");
    assert!(error.to_string().contains("NaN"));
    assert!(error.hint().unwrap().contains("learning_rate"));
    assert_eq!(recorder.events.len(), 2);
    assert!(work.join("checkpoints/step-000010/state.json").exists());
}

#[test]
fn metrics_reach_the_database() {
    let fixture = Fixture::new();
    let work = fixture.path("w");
    let workspace = Workspace::open(&fixture.path("runs")).unwrap();
    let db = workspace.db().unwrap();
    let metrics = MetricsWriter::start(db.path(), "series", None).unwrap();
    let config = TrainConfig { log_every: 2, ..common::config() };
    let mut job = fixture.job(config, &work);
    job.metrics = Some(&metrics);
    job.peak_flops = Some(1e11);
    let mut recorder = Recorder::default();
    let outcome = train(&job, &mut recorder, &AtomicBool::new(false)).unwrap();
    metrics.finish().unwrap();
    let losses = db.metrics("series", "train/loss").unwrap();
    assert_eq!(losses.len(), 20);
    let want = recorder.steps.iter().filter(|s| s.step % 2 == 0).map(|s| (s.step, s.loss));
    assert_eq!(losses, want.collect::<Vec<_>>());
    assert_eq!(db.metrics("series", "valid/loss").unwrap().len(), 4);
    assert!(outcome.mfu.unwrap() > 0.0 && outcome.mfu.unwrap() < 1.0);
}

#[test]
fn a_shard_of_a_larger_vocabulary_is_refused() {
    let fixture = Fixture::new();
    let work = fixture.path("w");
    let mut job = fixture.job(common::config(), &work);
    job.vocab_size = 100;
    let error = train(&job, &mut Silent, &AtomicBool::new(false)).unwrap_err();
    assert!(matches!(error, TrainError::Vocabulary { model: 100, .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("tokenizer"));
}
