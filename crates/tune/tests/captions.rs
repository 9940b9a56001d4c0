//! A model that sees and names coloured shapes: pictures made here, learnt in seconds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::prelude::Device;
use danlu_data::SourceConfig;
use danlu_eval::{Captioner, EvalError};
use danlu_model::{BeamConfig, ModelConfig, VisionConfig, VisionLanguageConfig};
use danlu_store::{Workspace, hash};
use danlu_text::TokenizerConfig;
use danlu_train::{StepInfo, TrainConfig};
use danlu_tune::captions::{self, CaptionField, Outcome, PicturesConfig, Recipe};
use danlu_tune::{TaskKind, TuneError, TuneOptions, TuneStage, Watch};

const SIDE: usize = 16;
const COLOURS: [(&str, &str, [u8; 3]); 5] = [
    ("red", "红", [220, 30, 30]),
    ("green", "绿", [30, 200, 40]),
    ("blue", "蓝", [40, 60, 230]),
    ("yellow", "黄", [240, 220, 30]),
    ("black", "黑", [10, 10, 10]),
];
const SHAPES: [(&str, &str); 4] = [("square", "方块"), ("bar", "横条"), ("post", "竖条"), ("frame", "框")];

fn inside(shape: usize, x: usize, y: usize, at: usize) -> bool {
    let (x, y) = (x.wrapping_sub(2 + at % 4), y.wrapping_sub(2 + at / 4));
    match shape {
        0 => x < 8 && y < 8,
        1 => x < 9 && y < 3,
        2 => x < 3 && y < 9,
        _ => x < 9 && y < 9 && !((2..7).contains(&x) && (2..7).contains(&y)),
    }
}

fn draw(path: &Path, colour: [u8; 3], shape: usize, at: usize) {
    let pixel = |i: usize| if inside(shape, i % SIDE, i / SIDE, at) { colour } else { [250, 250, 250] };
    let data: Vec<u8> = (0..SIDE * SIDE).flat_map(pixel).collect();
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), SIDE as u32, SIDE as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&data).unwrap();
}

/// All colours, shapes and twelve places.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("pictures")).unwrap();
    let mut lines = String::new();
    for (at, shape, (english, chinese, colour)) in
        (0..12).flat_map(|at| (0..4).flat_map(move |shape| COLOURS.map(|colour| (at, shape, colour))))
    {
        let name = format!("{english}-{shape}-{at}.png");
        draw(&folder.path().join("pictures").join(&name), colour, shape, at);
        let (of_english, of_chinese) = SHAPES[shape];
        let record = serde_json::json!({
            "file": name, "en": format!("{english} {of_english}"), "zh": format!("{chinese}{of_chinese}"),
            "group": format!("{english} {at}"),
        });
        lines.push_str(&format!("{record}\n"));
    }
    fs::write(folder.path().join("pictures.jsonl"), lines).unwrap();
    folder
}

fn recipe() -> Recipe {
    let field =
        |field: &str, prompt: &str| CaptionField { field: field.into(), language: field.into(), prompt: prompt.into() };
    Recipe {
        task: TaskKind::Captions,
        name: "shapes".into(),
        description: String::new(),
        seed: 7,
        data: PicturesConfig {
            sources: vec![SourceConfig {
                name: "shapes".into(),
                path: "pictures.jsonl".into(),
                text_field: "file".into(),
                ..SourceConfig::default()
            }],
            folder: "pictures".into(),
            captions: vec![field("en", "<image>en:"), field("zh", "<image>zh:")],
            group_field: Some("group".into()),
            strict: false,
            valid: 0.1,
            test: 0.15,
        },
        from: None,
        tokenizer: TokenizerConfig { vocab_size: 275, ..TokenizerConfig::default() },
        model: VisionLanguageConfig {
            vision: VisionConfig {
                layers: 1,
                hidden_size: 32,
                heads: 2,
                image_size: SIDE,
                patch_size: 4,
                ..VisionConfig::default()
            },
            text: ModelConfig { layers: 1, hidden_size: 32, heads: 2, max_seq_len: 48, ..ModelConfig::default() },
            feature_layer: -1,
            ..VisionLanguageConfig::default()
        },
        train: TrainConfig {
            steps: 1000,
            batch_size: 16,
            seq_len: 40,
            learning_rate: 3e-3,
            warmup_steps: 60,
            weight_decay: 0.0,
            valid_every: 100,
            valid_batches: 2,
            checkpoint_every: 20,
            ..TrainConfig::default()
        },
        caption: BeamConfig { beams: 2, max_tokens: 20, ..BeamConfig::default() },
    }
}

/// Remembers which stages ran, and stops at a step.
#[derive(Default)]
struct Seen<'a> {
    ran: Vec<&'static str>,
    reused: Vec<&'static str>,
    captioned: u64,
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
        self.captioned = done;
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
    captions::run(recipe, &workspace, TuneOptions { base: folder, device: &device, stop }, seen)
}

const ALL: [&str; 4] = ["examples", "vocabulary", "tune", "score"];

#[test]
fn shapes_are_learnt_scored_and_made_once() {
    let (folder, go) = (folder(), AtomicBool::new(false));
    // Of what cannot be read the rest does not know.
    let path = folder.path().join("pictures.jsonl");
    let mut lines = fs::read_to_string(&path).unwrap();
    fs::write(folder.path().join("pictures/broken.png"), b"no picture").unwrap();
    lines.push_str("{\"file\": \"broken.png\", \"en\": \"x\"}\n{\"file\": \"missing.png\", \"en\": \"x\"}\n");
    lines.push_str("{\"file\": \"red-0-0.png\", \"en\": \"x\"}\n{\"file\": \"red-0-1.png\", \"de\": \"x\"}\n");
    fs::write(&path, lines).unwrap();
    let mut seen = Seen::default();
    let outcome = run(folder.path(), "runs", &recipe(), &mut seen, &go).unwrap();
    assert_eq!(seen.ran, ALL);
    let counts = &outcome.pictures;
    assert_eq!((counts.read, counts.repeated, counts.uncaptioned, counts.broken), (244, 1, 1, 2));
    assert!(counts.first_broken.as_ref().unwrap().contains("broken.png"), "{counts:?}");
    // The four shapes of a group are in one split.
    assert_eq!((counts.train + counts.valid + counts.test, counts.test % 4, counts.valid % 4), (240, 0, 0));
    assert_eq!(seen.captioned, 2 * counts.test);
    let scores = &outcome.scores;
    assert_eq!(scores.languages.len(), 2);
    for of in &scores.languages {
        assert!(of.model.chrf > 70.0 && of.model.exact > 0.6, "{of:?}");
        assert!(
            of.another_picture.exact < of.model.exact - 0.2 && of.bits_per_byte_of_another > 3.0 * of.bits_per_byte,
            "{of:?}"
        );
        assert!(of.nearest_picture.chrf > 10.0 && of.pictures == counts.test, "{of:?}");
    }
    assert!(scores.samples.iter().any(|sample| sample.language == "zh" && sample.caption == sample.reference));

    // The folder answers by itself.
    let captioner = Captioner::load(&outcome.model, &Device::flex()).unwrap();
    assert_eq!(captioner.prompts().iter().map(|of| of.language.as_str()).collect::<Vec<_>>(), ["en", "zh"]);
    let pixels = [captioner.read(&folder.path().join("pictures/blue-3-5.png")).unwrap()];
    let beams = BeamConfig { results: 2, ..BeamConfig::default() };
    let say = |prompt: &str| captioner.caption(&pixels, prompt, &beams, &mut |_| ControlFlow::Continue(()));
    let said = say("<image>en:").unwrap().unwrap();
    assert_eq!((said[0][0].text.as_str(), said[0].len()), ("blue frame", 2));
    assert_eq!(say("<image>zh:").unwrap().unwrap()[0][0].text, "蓝框");
    for prompt in ["en:", "<image><image>"] {
        assert!(matches!(say(prompt).unwrap_err(), EvalError::Setting { key: "prompt", .. }), "{prompt}");
    }
    let missing = captioner.read(&folder.path().join("missing.png")).unwrap_err().to_string();
    assert!(missing.contains("missing.png"), "{missing}");

    let mut again = Seen::default();
    let same = run(folder.path(), "runs", &recipe(), &mut again, &go).unwrap();
    assert_eq!((again.ran.len(), again.reused, same.scores), (0, ALL.to_vec(), outcome.scores));
    // What only decides the search makes no new model; another picture does.
    let mut greedy = recipe();
    greedy.caption.beams = 1;
    let mut other = Seen::default();
    run(folder.path(), "runs", &greedy, &mut other, &go).unwrap();
    assert_eq!(other.ran, ["score"]);
}

#[test]
fn a_stopped_training_goes_on_to_the_same_model() {
    let folder = folder();
    let mut short = recipe();
    short.train.steps = 60;
    short.model.vision.dropout = 0.1;
    short.model.text.dropout = 0.1;
    let go = AtomicBool::new(false);
    let whole = run(folder.path(), "whole", &short, &mut Seen::default(), &go).unwrap();

    let stop = AtomicBool::new(false);
    let mut seen = Seen { stop_at: Some((30, &stop)), ..Seen::default() };
    let said = run(folder.path(), "parts", &short, &mut seen, &stop).unwrap_err();
    assert!(matches!(said, TuneError::Interrupted { .. }), "{said}");
    let parts = run(folder.path(), "parts", &short, &mut Seen::default(), &go).unwrap();
    assert_eq!(hash::of_dir(&whole.model).unwrap(), hash::of_dir(&parts.model).unwrap());
    assert_eq!(whole.scores, parts.scores);

    // From a folder: the weights go on from there, with its tokenizer.
    let mut further = short.clone();
    further.from = Some(whole.model.clone());
    let mut seen = Seen::default();
    let tuned = run(folder.path(), "further", &further, &mut seen, &go).unwrap();
    assert_eq!(seen.ran, ["examples", "tune", "score"]);
    let bits = |outcome: &Outcome| outcome.scores.languages[0].bits_per_byte;
    assert!(bits(&tuned) < bits(&whole), "{} {}", bits(&tuned), bits(&whole));
}

#[test]
fn what_cannot_be_is_said_before_any_work() {
    let (folder, go) = (folder(), AtomicBool::new(false));
    let fails = |change: fn(&mut Recipe)| {
        let mut recipe = recipe();
        change(&mut recipe);
        run(folder.path(), "runs", &recipe, &mut Seen::default(), &go).unwrap_err().to_string()
    };
    assert!(fails(|r| r.task = TaskKind::Translation).contains("`task`"));
    assert!(fails(|r| r.data.captions.clear()).contains("`data.captions`"));
    assert!(fails(|r| r.data.captions[1].prompt = "no place".into()).contains("<image> once"));
    assert!(fails(|r| r.data.captions[1].prompt = r.data.captions[0].prompt.clone()).contains("the same twice"));
    assert!(fails(|r| r.train.seq_len = 49).contains("`train.seq_len` is 49"));
    assert!(fails(|r| r.train.seq_len = 16).contains("above the 16 places"));
    assert!(fails(|r| r.model.vision.patch_size = 5).contains("vision.patch_size"));
    assert!(fails(|r| r.caption.beams = 0).contains("beams"));
    assert!(fails(|r| r.data.captions.iter_mut().for_each(|of| of.field = "de".into())).contains("`de`"));
    assert!(fails(|r| r.train.seq_len = 17).contains("at most 17 tokens"));
    let lost = fails(|r| r.data.folder = "elsewhere".into());
    assert!(
        lost.contains("240 pictures cannot be read, the first: cannot read") && lost.contains("elsewhere"),
        "{lost}"
    );
    let strict = fails(|r| (r.data.folder, r.data.strict) = ("elsewhere".into(), true));
    assert!(strict.contains("cannot read") && strict.contains("elsewhere"), "{strict}");
}
