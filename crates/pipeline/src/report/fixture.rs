//! A report for tests only: every figure in it is made up and looks it.

use std::collections::BTreeMap;

use danlu_data::{Count, Document, DropRow, MixtureRow, MixtureSummary, SourceSummary, SplitRow, StepFunnel};
use danlu_eval::{Baseline, Baselines, Coverage, Evaluation, Scores, WindowSize, XzSize};

use super::*;

/// Every part present, with round made-up figures.
pub fn full() -> RunReport {
    RunReport {
        run: run(),
        stages: stages(),
        data: Some(data()),
        mixture: Some(mixture()),
        tokenizer: Some(tokenizer()),
        model: Some(model()),
        training: Some(training()),
        evaluation: Some(evaluation()),
        compression: Some(compression()),
        samples: samples(),
        recipe: "# a recipe for tests\n[run]\nname = \"fixture\"\nseed = 7\n\n[model]\nlayers = 4\n".into(),
        environment: serde_json::from_str(
            r#"{"os":"test-os","cpu":"test <cpu> & co","cores":2,"memory_bytes":1000000000,"danlu":"0.0.0"}"#,
        )
        .unwrap_or_default(),
        commands: vec![
            CommandFacts {
                command: "danlu show 0123 --json".into(),
                prints_en: "every figure of this run".into(),
                prints_zh: "本次运行的全部数字".into(),
            },
            CommandFacts {
                command: "danlu eval runs/model --data test.jsonl --json".into(),
                prints_en: "the evaluation again".into(),
                prints_zh: "重新评估".into(),
            },
        ],
    }
}

fn run() -> RunFacts {
    RunFacts {
        id: "0123456789ab".into(),
        name: "fixture".into(),
        state: "done".into(),
        started: "2001-02-03T04:05:06Z".into(),
        ended: Some("2001-02-03T04:15:06Z".into()),
        seconds: 600.0,
        seed: 7,
        danlu_version: "0.0.0".into(),
        model_dir: Some("runs/model".into()),
        license: Some("CC0-1.0".into()),
    }
}

fn stages() -> Vec<StageFacts> {
    let names = ["collect", "clean", "tokenizer", "train", "evaluate", "compress", "report"];
    let mut all: Vec<StageFacts> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let inputs = all.last().map(|before| (before.stage.clone(), before.key.clone())).into_iter();
        all.push(StageFacts {
            stage: (*name).into(),
            key: format!("{index}{index}{index}{index}aaaabbbbccccdddd"),
            state: if index < 2 { "reused" } else { "done" }.into(),
            seconds: [1.0, 2.0, 10.0, 400.0, 50.0, 20.0, 1.0][index],
            reason: (index == 2).then(|| "the [tokenizer] section changed".into()),
            inputs: inputs.collect(),
        });
    }
    all
}

fn count(documents: u64, bytes: u64) -> Count {
    Count { documents, bytes }
}

fn data() -> DataFacts {
    let source = |name: &str, path: &str, license: Option<&str>| SourceFacts {
        name: name.into(),
        path: path.into(),
        license: license.map(Into::into),
    };
    let read =
        |documents, bytes, problems| SourceSummary { files: 1, documents, bytes, problems, ..Default::default() };
    let split = |split: &str, source: &str, language: &str, count| SplitRow {
        split: split.into(),
        source: source.into(),
        language: language.into(),
        count,
    };
    let dropped = |step: &str, reason: &str, detail: &str, text: &str| DroppedDocument {
        document: Document::new(text, "speeches"),
        step: step.into(),
        reason: reason.into(),
        detail: detail.into(),
    };
    DataFacts {
        sources: vec![
            source("speeches", "corpora/speeches/*.txt", Some("public domain")),
            source("poems", "corpora/poems.jsonl.zst", None),
        ],
        collected: CollectSummary {
            total: count(1000, 6_400_000),
            sources: BTreeMap::from([
                ("speeches".into(), read(600, 6_000_000, 0)),
                ("poems".into(), read(400, 400_000, 3)),
            ]),
            problem_count: 3,
            problems: Vec::new(),
            forgotten: 0,
        },
        funnel: Funnel {
            collected: count(1000, 6_400_000),
            kept: count(900, 6_000_000),
            steps: steps(),
            splits: vec![
                split("train", "speeches", "en", count(510, 5_430_000)),
                split("train", "poems", "zh", count(330, 330_000)),
                split("valid", "speeches", "en", count(20, 110_000)),
                split("valid", "poems", "zh", count(10, 10_000)),
                split("test", "speeches", "en", count(20, 110_000)),
                split("test", "poems", "zh", count(10, 10_000)),
            ],
            ..Funnel::default()
        },
        copies: None,
        tokens: [("train", 1_440_000), ("valid", 30_000), ("test", 30_000)].map(|(s, n)| (s.to_owned(), n)).into(),
        dropped_samples: vec![
            dropped("length", "too_short", "2 characters, fewer than 10", "无题"),
            dropped("duplicates", "duplicate", "the same text", "<script>alert('a text is never markup')</script>"),
        ],
    }
}

fn steps() -> Vec<StepFunnel> {
    let step = |step: &str, entered, kept, changed, dropped: &[(&str, &str, &str, Count)]| StepFunnel {
        step: step.into(),
        entered,
        kept,
        changed,
        dropped: dropped
            .iter()
            .map(|&(reason, source, language, count)| DropRow {
                reason: reason.into(),
                source: source.into(),
                language: language.into(),
                count,
            })
            .collect(),
    };
    vec![
        step("repair", count(1000, 6_400_000), count(1000, 6_390_000), 120, &[]),
        step(
            "length",
            count(1000, 6_390_000),
            count(950, 6_380_000),
            0,
            &[
                ("too_short", "poems", "zh", count(30, 1_500)),
                ("too_short", "speeches", "en", count(10, 500)),
                ("too_long", "speeches", "en", count(10, 8_000)),
            ],
        ),
        step(
            "language",
            count(950, 6_380_000),
            count(930, 6_300_000),
            0,
            &[("unwanted_language", "speeches", "und", count(20, 80_000))],
        ),
        step(
            "duplicates",
            count(930, 6_300_000),
            count(900, 6_000_000),
            0,
            &[("duplicate", "speeches", "en", count(10, 250_000)), ("duplicate", "poems", "zh", count(20, 50_000))],
        ),
    ]
}

fn mixture() -> MixtureFacts {
    let row = |name: &str, available: u64, target, tokens: u64, capped| MixtureRow {
        name: name.into(),
        available_documents: 400,
        available_tokens: available,
        target,
        realised: tokens as f64 / 1_500_000.0,
        documents: 500,
        tokens,
        epochs: tokens as f64 / available as f64,
        capped,
    };
    let groups = vec![row("speeches", 1_200_000, 0.5, 1_125_000, false), row("poems", 93_750, 0.5, 375_000, true)];
    let realised = MixtureSummary {
        groups,
        tokens_wanted: 2_000_000,
        tokens: 1_500_000,
        documents: 1000,
        without_key: 0,
        stages: 1,
    };
    MixtureFacts { by: "source".into(), realised }
}

fn tokenizer() -> TokenizerFacts {
    let row = |documents, bytes, tokens| TokenizerRow { documents, bytes, tokens };
    TokenizerFacts {
        vocab_size: 4096,
        hash: "feedfacefeedfacefeedface".into(),
        measured_on: "train".into(),
        by_language: BTreeMap::from([
            ("en".into(), row(530, 5_400_000, 1_350_000)),
            ("zh".into(), row(330, 360_000, 90_000)),
        ]),
        unknown_tokens: 0,
        round_trip_failures: 0,
    }
}

fn model() -> ModelFacts {
    let config = r#"{"architecture":"llama","layers":4,"hidden_size":100,"heads":4,"kv_heads":2,"tied":true}"#;
    ModelFacts {
        architecture: "llama".into(),
        parameters: 1_000_000,
        embedding_parameters: 409_600,
        context: 256,
        vocab_size: 4096,
        flops_per_token: 6_000_000.0,
        config: serde_json::from_str(config).unwrap_or_default(),
        memory: [
            ("weights", 4_000_000),
            ("gradients", 4_000_000),
            ("optimizer", 8_000_000),
            ("activations", 50_000_000),
        ]
        .map(|(name, bytes)| (name.to_owned(), bytes))
        .to_vec(),
    }
}

fn training() -> TrainingFacts {
    let curve = |every: usize, f: &dyn Fn(f64) -> f64| -> Vec<(f64, f64)> {
        (1..=1000).step_by(every).map(|step| (step as f64, f(step as f64))).collect()
    };
    TrainingFacts {
        steps: 1000,
        steps_planned: 1000,
        ended_because: "all steps done".into(),
        tokens_seen: 4_000_000,
        epochs: 2.8,
        best_step: 900,
        best_valid_loss: 4.0,
        final_train_loss: 3.9,
        seconds: 400.0,
        tokens_per_second: 10_000.0,
        mfu: Some(0.5),
        threads: 2,
        device: "flex".into(),
        curves: Curves {
            train_loss: curve(5, &|s| 3.8 + 4.0 * (-s / 150.0).exp() + 0.1 * (s * 0.7).sin()),
            valid_loss: curve(100, &|s| 4.0 + 4.0 * (-s / 150.0).exp()),
            learning_rate: curve(5, &|s| if s < 100.0 { s * 1e-5 } else { 1e-3 * (1.0 - (s - 100.0) / 1000.0) }),
            gradient_norm: curve(5, &|s| 1.0 + 3.0 * (-s / 50.0).exp() + if s == 501.0 { 9.0 } else { 0.0 }),
            tokens_per_second: curve(5, &|s| 10_000.0 + 300.0 * (s * 1.3).cos()),
        },
        events: vec![EventFacts {
            step: 501,
            message: "loss spike (z = 9.9): rolled back to step 500, batch skipped".into(),
        }],
    }
}

fn scores(bits_per_byte: f64, tokens: u64, bytes: u64, documents: u64) -> Scores {
    let loss = bits_per_byte * std::f64::consts::LN_2 * bytes as f64 / tokens as f64;
    Scores { loss, perplexity: loss.exp(), bits_per_byte, top1: 0.3, top5: 0.5, tokens, bytes, documents }
}

fn baseline(xz: u64, unigram: f64, bytes: u64, documents: u64) -> Baseline {
    let xz = XzSize { stream_bytes: bytes + documents - 1, compressed_bytes: xz };
    Baseline { xz_bits_per_byte: xz.bits_per_byte(), unigram_bits_per_byte: Some(unigram), xz, documents, bytes }
}

fn evaluation() -> EvaluationFacts {
    let groups = |first: &str, second: &str| {
        BTreeMap::from([
            (first.to_owned(), scores(1.4, 28_000, 112_000, 12)),
            (second.to_owned(), scores(2.9, 2_000, 8_000, 8)),
        ])
    };
    let baselines = |first: &str, second: &str| {
        BTreeMap::from([
            (first.to_owned(), baseline(33_000, 2.4, 112_000, 12)),
            (second.to_owned(), baseline(4_000, 3.2, 8_000, 8)),
        ])
    };
    EvaluationFacts {
        scores: Evaluation {
            overall: scores(1.5, 30_000, 120_000, 20),
            by_language: groups("en", "zh"),
            by_source: groups("speeches", "poems"),
            window: WindowSize { seq_len: 256, stride: 128 },
            coverage: Coverage {
                documents_offered: 20,
                bytes_offered: 120_000,
                documents_scored: 20,
                bytes_scored: 120_000,
                ..Coverage::default()
            },
            tokenizer: "feedface".into(),
        },
        baselines: Some(Baselines {
            overall: baseline(37_500, 2.45, 120_000, 20),
            by_language: baselines("en", "zh"),
            by_source: baselines("speeches", "poems"),
        }),
    }
}

fn compression() -> CompressionFacts {
    CompressionFacts {
        method: "int8, weights only, one scale per output channel".into(),
        model_dir: Some("runs/model-int8".into()),
        bytes_before: 4_000_000,
        bytes_after: 1_200_000,
        bits_per_byte_before: 1.5,
        bits_per_byte_after: 1.503,
        decode_tokens_per_second_before: 500.0,
        decode_tokens_per_second_after: 800.0,
    }
}

fn samples() -> Vec<SampleFacts> {
    let sample = |prompt: &str, continuation: &str| SampleFacts {
        prompt: prompt.into(),
        continuation: continuation.into(),
        settings: "temperature 0.8, top-p 0.95, seed 7".into(),
        model: "f32".into(),
    };
    vec![
        sample(
            "It's a test",
            " <b>sentence</b> that no model wrote, only the fixture, to see how a longer line breaks on a narrow screen.",
        ),
        sample("白日依山尽", "，测试入海流。欲穷千里目，\n更上一层楼。"),
    ]
}
