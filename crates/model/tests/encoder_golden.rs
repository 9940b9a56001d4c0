//! Encoders of transformers, made once by scripts/golden_encoders.py, and folders that come back the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use burn::prelude::*;
use common::largest_difference;
use danlu_model::{Encoder, EncoderConfig, EncoderInput, EncoderKind, HeadConfig, Problem, describe_encoder};
use serde::Deserialize;
use std::path::PathBuf;

const ALL: [&str; 9] = [
    "bert_pooler",
    "bert_masked",
    "bert_sequence",
    "bert_tokens",
    "roberta_masked",
    "roberta_sequence",
    "roberta_tokens",
    "distilbert_masked",
    "distilbert_sequence",
];

#[derive(Deserialize)]
struct Record {
    ids: Vec<Vec<u32>>,
    types: Vec<Vec<u32>>,
    hidden: Vec<Vec<Vec<f32>>>,
    logits: Vec<Vec<Vec<f32>>>,
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/encoders").join(name)
}

fn record(name: &str) -> Record {
    serde_json::from_slice(&std::fs::read(golden(name).join("record.json")).unwrap()).unwrap()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// Of each sequence the rows of its tokens alone, from rows that are `per` to a sequence.
fn check(name: &str, what: &str, found: &[f32], per: usize, width: usize, want: &[Vec<Vec<f32>>]) {
    for (found, want) in found.chunks(per * width).zip(want) {
        let want: Vec<f32> = want.iter().flatten().copied().collect();
        let difference = largest_difference(&found[..want.len()], &want);
        assert!(difference <= 2e-5, "{name}: {what} differ from those of transformers by {difference}");
    }
}

#[test]
fn every_architecture_says_what_transformers_says_of_padded_batches() {
    for name in ALL {
        let model = Encoder::load(&golden(name), &Device::flex()).unwrap();
        let Record { ids, types, hidden, logits } = record(name);
        let longest = ids.iter().map(Vec::len).max().unwrap();
        let input = EncoderInput { ids, types };
        check(name, "hidden states", &values(model.hidden(&input, None).unwrap()), longest, 16, &hidden);
        let found = model.logits(&input, None).unwrap();
        let [rows, width] = found.dims();
        check(name, "logits", &values(found), rows / input.sequences(), width, &logits);
    }
}

#[test]
fn settings_are_those_of_the_folders() {
    let config = |name: &str| describe_encoder(&golden(name)).unwrap().unwrap().0;
    let bert = config("bert_sequence");
    assert_eq!((bert.architecture, bert.token_types, bert.max_seq_len), (EncoderKind::Bert, 2, 20));
    assert_eq!(bert.head.labels(), ["bad", "fair", "good"]);
    let roberta = config("roberta_sequence");
    assert_eq!((roberta.position_offset, roberta.max_seq_len), (2, 18));
    let problem = |config: EncoderConfig| match config.head {
        HeadConfig::SequenceClassification { problem, .. } => problem,
        other => panic!("{other:?}"),
    };
    assert_eq!(problem(bert), Problem::SingleLabel);
    assert_eq!(problem(roberta), Problem::Regression);
    assert_eq!(problem(config("distilbert_sequence")), Problem::MultiLabel);
    let decoder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gpt2");
    assert!(describe_encoder(&decoder).unwrap().is_none());
}

#[test]
fn folders_come_back_with_identical_logits_settings_and_bytes() {
    for name in ALL {
        let model = Encoder::load(&golden(name), &Device::flex()).unwrap();
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        model.save(first.path(), None).unwrap();
        let again = Encoder::load(first.path(), &Device::flex()).unwrap();
        assert_eq!(again.config(), model.config(), "{name}");
        assert_eq!(again.special_tokens(), model.special_tokens(), "{name}");
        let Record { ids, types, .. } = record(name);
        let input = EncoderInput { ids, types };
        let logits = |model: &Encoder| values(model.logits(&input, None).unwrap());
        assert_eq!(logits(&again), logits(&model), "{name}");
        again.save(second.path(), None).unwrap();
        for file in ["config.json", "model.safetensors"] {
            let bytes = |dir: &tempfile::TempDir| std::fs::read(dir.path().join(file)).unwrap();
            assert_eq!(bytes(&first), bytes(&second), "{name}: {file}");
        }
    }
}
