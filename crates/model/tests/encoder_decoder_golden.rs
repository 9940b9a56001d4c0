//! Encoder-decoders of transformers, made once by scripts/golden_encoder_decoders.py, and folders that come back the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use common::largest_difference;
use danlu_model::{
    Activation, EncoderDecoder, EncoderDecoderKind, ModelError, SaveOptions, Seq2SeqInput, Stepper,
    describe_encoder_decoder,
};
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const ALL: [&str; 6] = ["marian", "bart", "mbart", "t5", "t5_gated", "mt5"];

#[derive(Deserialize)]
struct Record {
    sources: Vec<Vec<u32>>,
    targets: Vec<Vec<u32>>,
    encoded: Vec<Vec<Vec<f32>>>,
    logits: Vec<Vec<Vec<f32>>>,
    greedy: Vec<Vec<u32>>,
    labels: Vec<Vec<i32>>,
    /// Of each tensor its gradient's length, and its product with a zigzag.
    gradients: BTreeMap<String, [f64; 2]>,
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/encoder_decoders").join(name)
}

fn record(name: &str) -> Record {
    serde_json::from_slice(&std::fs::read(golden(name).join("record.json")).unwrap()).unwrap()
}

fn load(dir: &Path) -> Result<EncoderDecoder, ModelError> {
    EncoderDecoder::load(dir, &Device::flex())
}

fn input(record: &Record) -> Seq2SeqInput {
    Seq2SeqInput { input_ids: record.sources.clone(), decoder_input_ids: record.targets.clone() }
}

/// Of each sequence the rows of its tokens alone.
fn check(what: &str, found: Tensor<3>, want: &[Vec<Vec<f32>>]) {
    let [_, time, width] = found.dims();
    let found: Vec<f32> = found.into_data().try_into_vec().unwrap();
    for (found, want) in found.chunks(time * width).zip(want) {
        let want: Vec<f32> = want.iter().flatten().copied().collect();
        let difference = largest_difference(&found[..want.len()], &want);
        assert!(difference <= 2e-5, "{what} differ from those of transformers by {difference}");
    }
}

#[test]
fn every_kind_says_what_transformers_says_of_padded_batches() {
    for name in ALL {
        let (model, record) = (load(&golden(name)).unwrap(), record(name));
        check(&format!("{name}: encoded"), model.encode(&record.sources, None).unwrap(), &record.encoded);
        check(&format!("{name}: logits"), model.logits(&input(&record), None).unwrap(), &record.logits);
    }
}

#[test]
fn every_kind_continues_as_transformers_does() {
    for name in ALL {
        let (model, record) = (load(&golden(name)).unwrap(), record(name));
        let mut states = model.start_all(&record.sources).unwrap();
        let start = model.special_tokens().decoder_start.unwrap();
        let mut written = vec![vec![start]; states.len()];
        for _ in 0..record.greedy[0].len() {
            let last: Vec<&[u32]> = written.iter().map(|row| &row[row.len() - 1..]).collect();
            let logits = model.step(&last, &mut states.iter_mut().collect::<Vec<_>>()).unwrap();
            for (row, mut logits) in written.iter_mut().zip(logits) {
                for end in &model.special_tokens().eos {
                    logits[*end as usize] = f32::NEG_INFINITY; // `min_new_tokens`
                }
                let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
                row.push(best as u32);
            }
        }
        let found: Vec<&[u32]> = written.iter().map(|row| &row[1..]).collect();
        assert_eq!(found, record.greedy, "{name}");
    }
}

/// The gradients as a model of their own, whose folder has the names of transformers.
struct Gradients<'a>(&'a burn::tensor::Gradients);

impl ModuleMapper for Gradients<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let gradient = param.val().grad(self.0).unwrap();
        param.map(|_| Tensor::from_inner(gradient))
    }
}

#[test]
fn gradients_are_those_of_transformers() {
    for name in ALL {
        let record = record(name);
        let model = EncoderDecoder::load(&golden(name), &Device::flex().autodiff()).unwrap();
        let loss = model.loss_sum(&input(&record), &record.labels, None).unwrap();
        let gradients = loss.backward();
        let dir = tempfile::tempdir().unwrap();
        model.map(&mut Gradients(&gradients)).save(dir.path(), &SaveOptions::default()).unwrap();
        let mut found = tensors(dir.path());
        // There it is no parameter.
        found.remove("final_logits_bias");
        assert_eq!(found.keys().collect::<Vec<_>>(), record.gradients.keys().collect::<Vec<_>>(), "{name}");
        for (tensor, (_, _, bytes)) in found {
            let values = bytes.chunks(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())));
            let values: Vec<f64> = values.collect();
            let signs = (0..values.len()).map(|i| if (i * 7 + i / 3) % 5 < 2 { 1.0 } else { -1.0 });
            let length = values.iter().map(|x| x * x).sum::<f64>().sqrt();
            let zigzag: f64 = values.iter().zip(signs).map(|(x, sign)| x * sign).sum();
            let [want_length, want_zigzag] = record.gradients[&tensor];
            // The sum of n numbers of this length is at most sqrt(n) times as long.
            let unit = want_length.max(1.0) * 1e-4;
            let off = [(length - want_length).abs(), (zigzag - want_zigzag).abs() / (values.len() as f64).sqrt()];
            let wanted = record.gradients[&tensor];
            assert!(off.iter().all(|x| *x < unit), "{name}: {tensor}: {length} and {zigzag}, expected {wanted:?}");
        }
    }
}

#[test]
fn settings_are_those_of_the_folders() {
    let config = |name: &str| describe_encoder_decoder(&golden(name)).unwrap().unwrap();
    let (marian, vocab_size) = config("marian");
    assert_eq!((marian.architecture, vocab_size, marian.max_seq_len), (EncoderDecoderKind::Marian, 53, 20));
    assert_eq!((marian.activation(), marian.scale_embedding()), (Activation::Silu, true));
    assert_eq!(config("mbart").0.decoder_layers, 1);
    assert_eq!(config("bart").0.activation(), Activation::GeluErf);
    let (t5, gated) = (config("t5").0, config("t5_gated").0);
    assert_eq!((t5.activation(), t5.tied(), t5.head_dim(), t5.relative_buckets), (Activation::Relu, true, 6, 8));
    assert_eq!((gated.activation(), gated.tied(), gated.decoder_layers), (Activation::Geglu, false, 1));
    for (name, bias, tied) in [("marian", true, true), ("bart", false, true), ("mt5", false, false)] {
        let model = load(&golden(name)).unwrap();
        assert_eq!((model.logits_bias.is_some(), model.lm_head.is_none()), (bias, tied), "{name}");
    }
    let special = load(&golden("marian")).unwrap().special_tokens().clone();
    assert_eq!((special.decoder_start, special.pad, special.eos), (Some(52), Some(52), vec![0]));
    for other in ["../gpt2", "../encoders/bert_masked"] {
        assert!(describe_encoder_decoder(&golden(other)).unwrap().is_none(), "{other}");
    }
}

/// Names, types, shapes and bytes.
type Tensors = BTreeMap<String, (String, Vec<usize>, Vec<u8>)>;

fn tensors(dir: &Path) -> Tensors {
    let bytes = std::fs::read(dir.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let one = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        (name, (format!("{:?}", view.dtype()), view.shape().to_vec(), view.data().to_vec()))
    };
    file.tensors().into_iter().map(one).collect()
}

#[test]
fn tensors_are_saved_again_as_transformers_saved_them() {
    for name in ALL {
        let dir = tempfile::tempdir().unwrap();
        load(&golden(name)).unwrap().save(dir.path(), &SaveOptions::default()).unwrap();
        let (found, want) = (tensors(dir.path()), tensors(&golden(name)));
        assert_eq!(found.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>(), "{name}");
        assert!(found == want, "{name}");
    }
}

#[test]
fn folders_come_back_with_identical_logits_settings_and_bytes() {
    for name in ALL {
        let model = load(&golden(name)).unwrap();
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        model.save(first.path(), &SaveOptions::default()).unwrap();
        let again = load(first.path()).unwrap();
        assert_eq!(again.config(), model.config(), "{name}");
        assert_eq!(again.special_tokens(), model.special_tokens(), "{name}");
        let input = input(&record(name));
        let logits = |model: &EncoderDecoder| model.logits(&input, None).unwrap().into_data();
        assert_eq!(logits(&again), logits(&model), "{name}");
        again.save(second.path(), &SaveOptions::default()).unwrap();
        for file in ["config.json", "generation_config.json", "model.safetensors"] {
            let bytes = |dir: &tempfile::TempDir| std::fs::read(dir.path().join(file)).unwrap();
            assert_eq!(bytes(&first), bytes(&second), "{name}: {file}");
        }
    }
}

/// A copy of a golden folder with changed settings and tensors.
fn changed(name: &str, settings: &[(&str, Value)], change: impl FnOnce(&mut Tensors)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut json: Value = serde_json::from_slice(&std::fs::read(golden(name).join("config.json")).unwrap()).unwrap();
    for (key, value) in settings {
        json[*key] = value.clone();
    }
    std::fs::write(dir.path().join("config.json"), json.to_string()).unwrap();
    let mut tensors = tensors(&golden(name));
    change(&mut tensors);
    let views = tensors.iter().map(|(name, (_, shape, bytes))| {
        (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
    dir
}

#[test]
fn settings_that_mean_another_model_are_refused_by_name() {
    let cases = [
        ("marian", "share_encoder_decoder_embeddings", json!(false)),
        ("marian", "decoder_vocab_size", json!(54)),
        ("marian", "normalize_before", json!(true)),
        ("marian", "static_position_embeddings", json!(false)),
        ("marian", "activation_function", json!("tanh")),
        ("bart", "tie_word_embeddings", json!(false)),
        ("bart", "decoder_ffn_dim", json!(32)),
        ("bart", "decoder_attention_heads", json!(4)),
        ("bart", "decoder_layerdrop", json!(0.1)),
        ("mbart", "add_final_layer_norm", json!(false)),
        ("mbart", "normalize_embedding", json!(false)),
        ("t5", "is_encoder_decoder", json!(false)),
        ("t5", "feed_forward_proj", json!("gated-relu")),
        ("t5", "d_kv", json!("six")),
    ];
    for (name, key, value) in cases {
        let dir = changed(name, &[(key, value)], |_| {});
        match load(dir.path()) {
            Err(ModelError::UnsupportedConfig { key: found, .. }) => assert_eq!(found, key, "{name}"),
            other => panic!("{name}, {key}: {:?}", other.err()),
        }
    }
    let dir = changed("t5", &[("architectures", json!(["UMT5ForConditionalGeneration"]))], |_| {});
    let error = load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("UMT5") && error.contains("T5ForConditionalGeneration"), "{error}");
}

#[test]
fn copies_of_the_embedding_must_be_copies() {
    let logits = |dir: &Path| load(dir).unwrap().logits(&input(&record("bart")), None).unwrap().into_data();
    let want = logits(&golden("bart"));
    let copied = changed("bart", &[], |tensors| {
        let shared = tensors["model.shared.weight"].clone();
        for name in ["model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"] {
            tensors.insert(name.into(), shared.clone());
        }
    });
    assert_eq!(logits(copied.path()), want);
    let moved = changed("bart", &[], |tensors| {
        let shared = tensors.remove("model.shared.weight").unwrap();
        tensors.insert("model.decoder.embed_tokens.weight".into(), shared);
    });
    assert_eq!(logits(moved.path()), want);
    let bare = changed("bart", &[("architectures", json!(["BartModel"]))], |tensors| {
        tensors.remove("final_logits_bias");
        *tensors = tensors.iter().map(|(k, v)| (k.trim_start_matches("model.").to_string(), v.clone())).collect();
    });
    assert_eq!(logits(bare.path()), want);
    let other = changed("bart", &[], |tensors| {
        let mut head = tensors["model.shared.weight"].clone();
        head.2[0] ^= 1;
        tensors.insert("lm_head.weight".into(), head);
    });
    match load(other.path()) {
        Err(ModelError::UnexpectedTensor { tensor, .. }) => assert_eq!(tensor, "lm_head.weight"),
        other => panic!("{:?}", other.err()),
    }
    let headless = changed("t5_gated", &[], |tensors| {
        tensors.remove("lm_head.weight");
    });
    match load(headless.path()) {
        Err(ModelError::MissingTensor { tensor, .. }) => assert_eq!(tensor, "lm_head.weight"),
        other => panic!("{:?}", other.err()),
    }
}

/// Marian's table of sinusoids lies in older folders; it is computed all the same.
#[test]
fn a_table_of_sinusoids_is_left_alone() {
    let dir = changed("marian", &[], |tensors| {
        for name in ["model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"] {
            tensors.insert(name.into(), ("F32".into(), vec![1], vec![0; 4]));
        }
    });
    let logits = |dir: &Path| load(dir).unwrap().logits(&input(&record("marian")), None).unwrap().into_data();
    assert_eq!(logits(dir.path()), logits(&golden("marian")));
}
