//! A translation from pairs to scores: what it learns, what is made again, and what survives an end half-way.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::prelude::Device;
use danlu_data::SourceConfig;
use danlu_eval::Translator;
use danlu_model::{BeamConfig, EncoderDecoderConfig};
use danlu_store::{Workspace, hash};
use danlu_text::TokenizerConfig;
use danlu_train::{StepInfo, TrainConfig};
use danlu_tune::translation::{self, Outcome, PairsConfig, Recipe};
use danlu_tune::{TaskKind, TuneError, TuneOptions, TuneStage, Watch};

const WORDS: [(&str, &str); 8] = [
    ("red", "红"),
    ("house", "房子"),
    ("open", "打开"),
    ("the", "这"),
    ("old", "旧"),
    ("file", "文件"),
    ("big", "大"),
    ("door", "门"),
];

/// Sentences of three words, each word with one translation.
fn pairs() -> String {
    let line = |i: usize| {
        let words = [i % 8, i / 8 % 8, i / 64].map(|word| WORDS[word]);
        let english = words.map(|word| word.0).join(" ");
        let chinese = words.map(|word| word.1).concat();
        serde_json::json!({ "en": english, "zh": chinese }).to_string()
    };
    (0..512).map(line).collect::<Vec<_>>().join("\n")
}

fn recipe() -> Recipe {
    let source = SourceConfig {
        name: "made".into(),
        path: "pairs.jsonl".into(),
        text_field: "en".into(),
        language: Some("en".into()),
        ..SourceConfig::default()
    };
    Recipe {
        task: TaskKind::Translation,
        name: "words".into(),
        description: String::new(),
        seed: 5,
        data: PairsConfig {
            sources: vec![source],
            target_field: "zh".into(),
            target_language: "zh".into(),
            valid: 0.1,
            test: 0.1,
            ..PairsConfig::default()
        },
        from: None,
        tokenizer: TokenizerConfig { vocab_size: 280, ..TokenizerConfig::default() },
        model: EncoderDecoderConfig {
            encoder_layers: 1,
            decoder_layers: 1,
            hidden_size: 48,
            heads: 4,
            ffn_size: Some(96),
            max_seq_len: 40,
            dropout: 0.0,
            attention_dropout: 0.0,
            ..EncoderDecoderConfig::default()
        },
        train: TrainConfig {
            steps: 300,
            batch_size: 32,
            seq_len: 40,
            learning_rate: 5e-3,
            warmup_steps: 30,
            weight_decay: 0.0,
            valid_every: 100,
            valid_batches: 2,
            checkpoint_every: 20,
            ..TrainConfig::default()
        },
        translate: BeamConfig { beams: 2, max_tokens: 30, ..BeamConfig::default() },
    }
}

/// Remembers which stages ran, and stops at a step.
#[derive(Default)]
struct Seen<'a> {
    ran: Vec<&'static str>,
    reused: Vec<&'static str>,
    translated: u64,
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
}

impl Watch for Seen<'_> {
    fn stage_started(&mut self, stage: TuneStage) {
        self.ran.push(stage.name());
    }
    fn stage_reused(&mut self, stage: TuneStage) {
        self.reused.push(stage.name());
    }
    fn progress(&mut self, _stage: TuneStage, done: u64, _total: u64, _unit: &'static str) {
        self.translated = done;
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
    translation::run(recipe, &workspace, TuneOptions { base: folder, device: &device, stop }, seen)
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pairs.jsonl"), pairs()).unwrap();
    folder
}

const ALL: [&str; 4] = ["examples", "vocabulary", "tune", "score"];

#[test]
fn words_are_learnt_scored_and_made_once() {
    let (folder, go) = (folder(), AtomicBool::new(false));
    let mut seen = Seen::default();
    let outcome = run(folder.path(), "runs", &recipe(), &mut seen, &go).unwrap();
    assert_eq!(seen.ran, ALL);
    assert_eq!(outcome.pairs.train + outcome.pairs.valid + outcome.pairs.test, 512);
    assert_eq!(seen.translated, outcome.pairs.test);
    let scores = &outcome.scores;
    assert!(scores.model.bleu.score > 85.0 && scores.model.chrf > 80.0, "{scores:?}");
    assert!(scores.copy.bleu.score < 5.0, "{scores:?}");
    assert_eq!((scores.model.segments, scores.cut, scores.unfinished), (outcome.pairs.test, 0, 0));
    assert!(!scores.samples.is_empty());

    // The folder answers by itself.
    let translator = Translator::load(&outcome.model, &Device::flex()).unwrap();
    let asked = ["open the door", "the old house"].map(String::from);
    let beams = BeamConfig { results: 2, ..BeamConfig::default() };
    let said = translator.translate(&asked, &beams, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
    assert_eq!(said.iter().map(|said| said.text()).collect::<Vec<_>>(), ["打开这门", "这旧房子"]);
    assert!(said[0].results.len() == 2 && said[0].results[0].score > said[0].results[1].score, "{said:?}");

    let mut again = Seen::default();
    let same = run(folder.path(), "runs", &recipe(), &mut again, &go).unwrap();
    assert_eq!((again.ran.len(), again.reused, same.scores), (0, ALL.to_vec(), outcome.scores));

    // What only decides the search makes no new model.
    let mut greedy = recipe();
    greedy.translate.beams = 1;
    let mut other = Seen::default();
    run(folder.path(), "runs", &greedy, &mut other, &go).unwrap();
    assert_eq!(other.ran, ["score"]);
}

#[test]
fn a_stopped_training_goes_on_to_the_same_model() {
    let folder = folder();
    let mut short = recipe();
    short.train.steps = 60;
    let go = AtomicBool::new(false);
    let whole = run(folder.path(), "whole", &short, &mut Seen::default(), &go).unwrap();

    let stop = AtomicBool::new(false);
    let mut seen = Seen { stop_at: Some((30, &stop)), ..Seen::default() };
    let said = run(folder.path(), "parts", &short, &mut seen, &stop).unwrap_err();
    assert!(matches!(said, TuneError::Interrupted { .. }), "{said}");
    let parts = run(folder.path(), "parts", &short, &mut Seen::default(), &go).unwrap();
    assert_eq!(hash::of_dir(&whole.model).unwrap(), hash::of_dir(&parts.model).unwrap());
    assert_eq!(whole.scores, parts.scores);

    // From a folder: the weights go on from there.
    let mut further = short.clone();
    further.from = Some(whole.model.clone());
    let tuned = run(folder.path(), "further", &further, &mut Seen::default(), &go).unwrap();
    assert!(tuned.scores.model.chrf > whole.scores.model.chrf, "{:?} {:?}", tuned.scores, whole.scores);
}

#[test]
fn what_cannot_be_is_said_before_any_work() {
    let (folder, go) = (folder(), AtomicBool::new(false));
    let fails = |change: fn(&mut Recipe)| {
        let mut recipe = recipe();
        change(&mut recipe);
        run(folder.path(), "runs", &recipe, &mut Seen::default(), &go).unwrap_err().to_string()
    };
    assert!(fails(|r| r.task = TaskKind::Classification).contains("`task`"));
    assert!(fails(|r| r.train.seq_len = 41).contains("`train.seq_len` is 41"));
    assert!(fails(|r| r.translate.beams = 0).contains("beams"));
    assert!(fails(|r| r.data.target_field = "de".into()).contains("`de`"));
    assert!(fails(|r| r.train.seq_len = 3).contains("at most 3 tokens"));
}
