//! A task from examples to scores: what it learns, what is made again, and what survives an end half-way.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::prelude::Device;
use danlu_data::SourceConfig;
use danlu_eval::{EncoderRun, EncoderRunConfig, Prediction};
use danlu_model::EncoderConfig;
use danlu_store::{Workspace, hash};
use danlu_text::{ClassifierConfig, WordPieceConfig};
use danlu_train::{StepInfo, TrainConfig};
use danlu_tune::classification::{self, ExamplesConfig, Outcome, PretrainConfig, Recipe};
use danlu_tune::{TaskKind, TuneError, TuneOptions, TuneStage, Watch};

/// Sentences whose first word is the label; all else is the same for both.
fn examples() -> String {
    let fillers = ["the lamp", "a book", "旅馆", "这本书", "the room", "那件衣服"];
    let (firsts, lasts) = (["never", "always"], ["bad", "good"]);
    let mut lines = Vec::new();
    for i in 0..480usize {
        let (first, last, k) = (i % 2, i / 2 % 2, i / 4);
        // The same words between for all four, so that they tell nothing.
        let middle = (0..4).map(|j| fillers[(k + j * 5 + k * j) % 6]).collect::<Vec<_>>().join(" ");
        let label = ["down", "up"][first];
        let text = format!("{} {middle} {k} {}", firsts[first], lasts[last]);
        lines.push(serde_json::json!({ "text": text, "label": label }));
    }
    lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn recipe() -> Recipe {
    let train = TrainConfig {
        steps: 300,
        batch_size: 16,
        seq_len: 32,
        learning_rate: 3e-3,
        warmup_steps: 20,
        weight_decay: 0.0,
        valid_every: 50,
        valid_batches: 4,
        checkpoint_every: 20,
        ..TrainConfig::default()
    };
    let pretrain = PretrainConfig { train: TrainConfig { steps: 40, ..train.clone() }, ..PretrainConfig::default() };
    let source = SourceConfig {
        name: "made".into(),
        path: "examples.jsonl".into(),
        label_field: Some("label".into()),
        ..SourceConfig::default()
    };
    Recipe {
        task: TaskKind::Classification,
        name: "words".into(),
        description: String::new(),
        seed: 3,
        data: ExamplesConfig { sources: vec![source], strict: true, valid: 0.1, test: 0.2 },
        from: None,
        tokenizer: WordPieceConfig { vocab_size: 200, lowercase: true },
        model: EncoderConfig {
            layers: 2,
            hidden_size: 32,
            heads: 4,
            max_seq_len: 32,
            dropout: 0.0,
            attention_dropout: 0.0,
            ..EncoderConfig::default()
        },
        pretrain: Some(pretrain),
        train,
        baseline: ClassifierConfig { buckets: 1 << 12, dim: 8, ..ClassifierConfig::default() },
    }
}

/// Remembers which stages ran, and stops at a step.
#[derive(Default)]
struct Seen<'a> {
    ran: Vec<&'static str>,
    reused: Vec<&'static str>,
    events: Vec<String>,
    stop_at: Option<(u64, &'a AtomicBool)>,
}

impl danlu_train::Observer for Seen<'_> {
    fn on_step(&mut self, info: &StepInfo) {
        if let Some((step, stop)) = self.stop_at
            && info.step == step
        {
            stop.store(true, Ordering::Relaxed);
        }
    }
    fn on_event(&mut self, message: &str) {
        self.events.push(message.to_owned());
    }
}

impl Watch for Seen<'_> {
    fn stage_started(&mut self, stage: TuneStage) {
        self.ran.push(stage.name());
    }
    fn stage_reused(&mut self, stage: TuneStage) {
        self.reused.push(stage.name());
    }
}

fn run(
    folder: &Path,
    runs: &str,
    recipe: &Recipe,
    seen: &mut Seen<'_>,
    stop: &AtomicBool,
) -> Result<Outcome, TuneError> {
    let workspace = Workspace::open(&folder.join(runs)).unwrap();
    let device = Device::flex();
    classification::run(recipe, &workspace, TuneOptions { base: folder, device: &device, stop }, seen)
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("examples.jsonl"), examples()).unwrap();
    folder
}

const ALL: [&str; 5] = ["examples", "vocabulary", "pretrain", "tune", "score"];

#[test]
fn a_task_is_learnt_scored_and_made_once() {
    let (folder, go) = (folder(), AtomicBool::new(false));
    let mut seen = Seen::default();
    let outcome = run(folder.path(), "runs", &recipe(), &mut seen, &go).unwrap();
    assert_eq!(seen.ran, ALL);
    let (scores, bag) = (&outcome.scores.model, &outcome.scores.baseline.bag_of_words);
    assert!(scores.accuracy > 0.95, "{scores:?}");
    assert!(bag.accuracy > 0.9, "{bag:?}");
    assert!((0.5..0.7).contains(&outcome.scores.baseline.majority));
    assert_eq!(scores.examples, outcome.examples.test);
    assert_eq!(outcome.examples.train + outcome.examples.valid + outcome.examples.test, 480);

    // The folder answers by itself, with the names of the labels.
    let classifier = EncoderRun::load(&outcome.model, &Device::flex(), &EncoderRunConfig::default()).unwrap();
    assert_eq!(classifier.model().config().head.labels(), ["down", "up"]);
    let asked = ["always the room a book 旅馆 the lamp 8 bad", "never the room a book 旅馆 the lamp 8 bad"];
    let (said, _) = classifier.classify(&asked.map(String::from)).unwrap();
    let class = |p: &Prediction| match p {
        Prediction::Class { class, .. } => *class,
        other => panic!("{other:?}"),
    };
    assert_eq!(said.iter().map(class).collect::<Vec<_>>(), [1, 0]);

    // Nothing has changed: nothing runs, and the scores are read back.
    let mut again = Seen::default();
    let same = run(folder.path(), "runs", &recipe(), &mut again, &go).unwrap();
    assert_eq!((again.ran.len(), again.reused), (0, ALL.to_vec()));
    assert_eq!(same.scores, outcome.scores);

    // Another baseline scores anew; other settings train anew, from the same pretraining.
    let other = Recipe { baseline: ClassifierConfig { epochs: 1, ..recipe().baseline }, ..recipe() };
    let mut seen = Seen::default();
    run(folder.path(), "runs", &other, &mut seen, &go).unwrap();
    assert_eq!(seen.ran, ["score"]);
    let train = TrainConfig { steps: 5, warmup_steps: 1, learning_rate: 1e-4, ..recipe().train };
    let other = Recipe { train, ..recipe() };
    let mut seen = Seen::default();
    run(folder.path(), "runs", &other, &mut seen, &go).unwrap();
    assert_eq!(seen.ran, ["tune", "score"]);

    // A folder to begin with brings its tokenizer and its shape.
    let from = Recipe { from: Some(outcome.model.clone()), pretrain: None, ..other };
    let mut seen = Seen::default();
    let tuned = run(folder.path(), "runs", &from, &mut seen, &go).unwrap();
    assert_eq!(seen.ran, ["tune", "score"]);
    assert!(tuned.scores.model.accuracy > 0.95, "five small steps unlearn nothing: {:?}", tuned.scores.model);
}

#[test]
fn a_stopped_task_goes_on_to_the_same_weights() {
    let (folder, go) = (folder(), AtomicBool::new(false));
    let short = Recipe { train: TrainConfig { steps: 60, ..recipe().train }, pretrain: None, ..recipe() };
    let whole = run(folder.path(), "whole", &short, &mut Seen::default(), &go).unwrap();
    let stop = AtomicBool::new(false);
    let mut seen = Seen { stop_at: Some((33, &stop)), ..Seen::default() };
    let error = run(folder.path(), "parts", &short, &mut seen, &stop).unwrap_err();
    assert!(matches!(&error, TuneError::Interrupted { detail } if detail == "step 33 of 60 is saved"), "{error}");
    let mut seen = Seen::default();
    let parts = run(folder.path(), "parts", &short, &mut seen, &go).unwrap();
    assert_eq!(seen.ran, ["tune", "score"]);
    assert!(seen.events.iter().any(|event| event.contains("step 33 of 60")), "{:?}", seen.events);
    let weights = |outcome: &Outcome| hash::of_file(&outcome.model.join("model.safetensors")).unwrap();
    assert_eq!(weights(&whole), weights(&parts));
    assert_eq!(whole.scores, parts.scores);
}

#[test]
fn what_cannot_work_is_named_before_any_work() {
    let (folder, go) = (folder(), AtomicBool::new(false));
    let said = |edit: fn(&mut Recipe)| {
        let mut recipe = recipe();
        edit(&mut recipe);
        let mut seen = Seen::default();
        let error = run(folder.path(), "runs", &recipe, &mut seen, &go).unwrap_err();
        assert!(seen.ran.is_empty(), "{:?}", seen.ran);
        error.to_string()
    };
    assert!(said(|r| r.data.test = 0.0).contains("data.test"));
    assert!(said(|r| r.train.seq_len = 64).contains("train.seq_len"));
    assert!(said(|r| r.model.heads = 5).contains("heads"));
    assert!(said(|r| r.name = "a/b".into()).contains("name"));
    assert!(said(|r| r.pretrain.as_mut().unwrap().masking.share = 2.0).contains("share"));
    assert!(said(|r| r.data.sources[0].path = "nowhere.jsonl".into()).contains("nowhere.jsonl"));
}
