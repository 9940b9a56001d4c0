//! Encoders in folders: other heads, sentence embeddings' files, and what is said of bad input and damaged folders.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use burn::prelude::*;
use common::largest_difference;
use danlu_model::{
    Encoder, EncoderConfig, EncoderInput, EncoderTargets, HeadConfig, HeadLoss, ModelError, Pooling, Problem,
    SentenceConfig,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/encoders").join(name)
}

/// A copy to damage.
fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(golden(name).join(file), dir.path().join(file)).unwrap();
    }
    dir
}

fn edit(dir: &Path, change: impl FnOnce(&mut Value)) {
    let path = dir.join("config.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(&path, serde_json::to_vec(&json).unwrap()).unwrap();
}

fn failure(dir: &Path) -> String {
    Encoder::load(dir, &Device::flex()).unwrap_err().to_string()
}

fn load(name: &str) -> Encoder {
    Encoder::load(&golden(name), &Device::flex()).unwrap()
}

fn rows(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn input() -> EncoderInput {
    EncoderInput::of(vec![vec![5, 9, 2, 40], vec![7, 3], vec![11; 7]])
}

#[test]
fn another_head_keeps_the_body_and_the_pooler() {
    let labels = vec!["no".to_string(), "yes".to_string()];
    let head = HeadConfig::SequenceClassification { labels, problem: Problem::SingleLabel };
    let bare = load("bert_pooler");
    let tuned = Encoder::load_with_head(&golden("bert_pooler"), head.clone(), 4, &Device::flex()).unwrap();
    assert_eq!(tuned.config().head, head);
    let (old, new) = (bare.named_parameters().unwrap(), tuned.named_parameters().unwrap());
    for (name, values) in &old {
        assert_eq!(new[name], *values, "{name}");
    }
    assert_eq!(new.len(), old.len() + 2);
    assert_eq!(new["head.out_proj.weight"].shape().to_vec(), [2, 16]);
    // From a masked model there is no pooler, and from another classifier its labels are not taken.
    let seeded =
        |name: &str, seed| Encoder::load_with_head(&golden(name), head.clone(), seed, &Device::flex()).unwrap();
    for name in ["bert_masked", "bert_sequence", "roberta_masked", "distilbert_masked"] {
        let logits = |model: &Encoder| rows(model.logits(&input(), None).unwrap());
        assert_eq!(logits(&seeded(name, 1)), logits(&seeded(name, 1)), "{name}");
        assert_ne!(logits(&seeded(name, 1)), logits(&seeded(name, 2)), "{name}");
    }
    // The head that is there already stays.
    let masked = Encoder::load_with_head(&golden("bert_masked"), HeadConfig::MaskedLm, 1, &Device::flex()).unwrap();
    assert_eq!(masked.named_parameters().unwrap(), load("bert_masked").named_parameters().unwrap());
}

#[test]
fn names_with_a_prefix_without_one_and_of_old_are_read() {
    let path = golden("bert_pooler").join("model.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let old = |name: &str| {
        format!("bert.{name}")
            .replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta")
    };
    let renamed: Vec<_> = file.tensors().into_iter().map(|(name, view)| (old(&name), view)).collect();
    let dir = copy("bert_pooler");
    std::fs::write(dir.path().join("model.safetensors"), safetensors::serialize(renamed, None).unwrap()).unwrap();
    let again = Encoder::load(dir.path(), &Device::flex()).unwrap();
    assert_eq!(again.named_parameters().unwrap(), load("bert_pooler").named_parameters().unwrap());
}

#[test]
fn a_folder_without_a_pooler_is_a_bare_model() {
    let dir = copy("bert_masked");
    edit(dir.path(), |json| json["architectures"] = json!(["BertModel"]));
    let message = failure(dir.path());
    assert!(message.contains("cls.predictions.bias"), "{message}");
    let bytes = std::fs::read(golden("bert_masked").join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let body: Vec<_> = file.tensors().into_iter().filter(|(name, _)| name.starts_with("bert.")).collect();
    std::fs::write(dir.path().join("model.safetensors"), safetensors::serialize(body, None).unwrap()).unwrap();
    let bare = Encoder::load(dir.path(), &Device::flex()).unwrap();
    assert_eq!(bare.config().head, HeadConfig::None);
    let hidden = |model: &Encoder| model.hidden(&input(), None).unwrap().into_data();
    assert_eq!(hidden(&bare), hidden(&load("bert_masked")));
    let error = bare.logits(&input(), None).unwrap_err().to_string();
    assert_eq!(error, "model setting `head` = no head: expected a head");
}

#[test]
fn embeddings_are_the_means_of_the_tokens_or_the_first() {
    let model = load("bert_pooler");
    let hidden: Vec<f32> = model.hidden(&input(), None).unwrap().into_data().try_into_vec().unwrap();
    for (pooling, normalize) in
        [(Pooling::Mean, false), (Pooling::Mean, true), (Pooling::Cls, false), (Pooling::Cls, true)]
    {
        let found = rows(model.embed(&input(), pooling, normalize, None).unwrap());
        for (at, ids) in input().ids.iter().enumerate() {
            let of = |token: usize, i: usize| hidden[(at * 7 + token) * 16 + i];
            let mut want: Vec<f32> = match pooling {
                Pooling::Mean => {
                    (0..16).map(|i| (0..ids.len()).map(|t| of(t, i)).sum::<f32>() / ids.len() as f32).collect()
                }
                Pooling::Cls => (0..16).map(|i| of(0, i)).collect(),
            };
            if normalize {
                let length = want.iter().map(|x| x * x).sum::<f32>().sqrt();
                want.iter_mut().for_each(|x| *x /= length);
            }
            assert!(largest_difference(&found[at * 16..at * 16 + 16], &want) < 1e-5, "{pooling:?} {normalize} {at}");
        }
    }
}

#[test]
fn a_folder_says_how_it_makes_embeddings() {
    assert_eq!(SentenceConfig::load(&golden("bert_pooler")).unwrap(), None);
    let model = load("bert_pooler");
    for pooling in [Pooling::Mean, Pooling::Cls] {
        for normalize in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let config = SentenceConfig { pooling, normalize, max_seq_len: Some(9) };
            model.save(dir.path(), Some(&config)).unwrap();
            assert_eq!(SentenceConfig::load(dir.path()).unwrap(), Some(config));
        }
    }
    let dir = tempfile::tempdir().unwrap();
    model.save(dir.path(), Some(&SentenceConfig::default())).unwrap();
    let pooling = dir.path().join("1_Pooling/config.json");
    let fails_with = |dir: &Path| SentenceConfig::load(dir).unwrap_err().to_string();
    std::fs::write(&pooling, r#"{"pooling_mode_max_tokens": true}"#).unwrap();
    let message = fails_with(dir.path());
    assert!(message.ends_with("`pooling_mode` is max_tokens, expected mean or cls, one of them"), "{message}");
    std::fs::write(&pooling, r#"{"pooling_mode": "cls"}"#).unwrap();
    assert_eq!(SentenceConfig::load(dir.path()).unwrap().unwrap().pooling, Pooling::Cls);
    std::fs::write(dir.path().join("modules.json"), r#"[{"path": "../x", "type": "a.Pooling"}]"#).unwrap();
    assert!(fails_with(dir.path()).contains("a folder's name"));
    std::fs::write(dir.path().join("modules.json"), r#"[{"path": "2_Dense", "type": "a.models.Dense"}]"#).unwrap();
    assert!(fails_with(dir.path()).contains("a.models.Dense"));
    std::fs::write(dir.path().join("modules.json"), "{").unwrap();
    assert!(fails_with(dir.path()).contains("modules.json is not valid JSON"));
}

#[test]
fn input_that_the_model_has_no_row_for_is_refused() {
    let model = load("bert_sequence");
    let fails = |input: EncoderInput| model.logits(&input, None).unwrap_err().to_string();
    assert_eq!(fails(EncoderInput::default()), "sequence 0 has no tokens, expected at least one");
    assert_eq!(fails(EncoderInput::of(vec![vec![1], vec![]])), "sequence 1 has no tokens, expected at least one");
    assert!(fails(EncoderInput::of(vec![vec![53]])).contains("token id 53 at position 0 of sequence 0"));
    assert!(fails(EncoderInput::of(vec![vec![1; 21]])).contains("context is 20 tokens"));
    let typed = |types: Vec<Vec<u32>>| fails(EncoderInput { ids: vec![vec![1, 2]], types });
    assert_eq!(typed(vec![vec![0]]), "token types: 1 of sequence 0, expected 2");
    assert_eq!(typed(vec![vec![0, 2]]), "token types: 2 in sequence 0, expected numbers below 2");
    assert_eq!(typed(vec![vec![0, 0], vec![]]), "token types: those of 2 sequences, expected of 1");
}

#[test]
fn targets_that_are_not_the_heads_are_refused() {
    let fails = |name: &str, targets: EncoderTargets| {
        load(name).loss_sum(&EncoderInput::of(vec![vec![1, 2], vec![3]]), &targets, None).unwrap_err().to_string()
    };
    let classes = |targets: &[i32]| EncoderTargets::Classes(targets.to_vec());
    assert_eq!(fails("bert_sequence", classes(&[0, 3])), "targets: 3, expected 0 to 2, or -100");
    assert_eq!(fails("bert_sequence", classes(&[0])), "targets: 1, expected 2");
    assert_eq!(
        fails("bert_masked", classes(&[0, 0])),
        "targets: a class for each sequence, expected those of a masked language model's head"
    );
    let tokens = EncoderTargets::Tokens(vec![vec![1, 2], vec![3, 4]]);
    assert_eq!(fails("bert_masked", tokens), "targets of a sequence: 2, expected 1");
    let values = |rows: Vec<Vec<f32>>| EncoderTargets::Values(rows);
    assert_eq!(
        fails("distilbert_sequence", values(vec![vec![0.0; 3], vec![0.0, 2.0, 1.0]])),
        "targets: 2, expected numbers from 0 to 1"
    );
    assert_eq!(
        fails("roberta_sequence", values(vec![vec![f32::INFINITY], vec![1.0]])),
        "targets: inf, expected finite numbers"
    );
    assert_eq!(
        fails("roberta_sequence", values(vec![vec![0.0; 2], vec![0.0; 2]])),
        "values of a sequence: 2, expected 1"
    );
    assert!(fails("bert_pooler", classes(&[0, 0])).contains("those of a pooler"));
    let weights = HeadLoss { class_weights: Some(vec![1.0]), label_smoothing: 0.0 };
    let error = load("bert_sequence").with_loss(weights).unwrap_err().to_string();
    assert!(error.contains("3 positive numbers, one for each label"), "{error}");
}

/// Where nothing is to be learnt the loss is 0, and no gradient is NaN.
#[test]
fn a_batch_without_targets_has_no_loss() {
    let device = Device::flex().autodiff();
    let model = Encoder::load(&golden("bert_masked"), &device).unwrap();
    let input = EncoderInput::of(vec![vec![4, 5]]);
    let loss = model.loss_sum(&input, &EncoderTargets::Tokens(vec![vec![-100, -100]]), None).unwrap();
    let gradients = loss.backward();
    assert_eq!(loss.into_data().as_slice::<f32>().unwrap(), [0.0]);
    let g = model.model.embed_tokens().weight.val().grad(&gradients).unwrap().into_data();
    assert!(g.as_slice::<f32>().unwrap().iter().all(|x| *x == 0.0));
}

#[test]
fn damaged_folders_are_named() {
    let dir = copy("bert_sequence");
    edit(dir.path(), |json| json["num_hidden_layers"] = json!(3));
    let message = failure(dir.path());
    assert!(message.contains("tensor `bert.encoder.layer.2.attention.self.query.weight` is missing"), "{message}");
    edit(dir.path(), |json| json["num_hidden_layers"] = json!(1));
    assert!(failure(dir.path()).contains("belongs to no layer"));
    let dir = copy("bert_sequence");
    edit(dir.path(), |json| json["id2label"] = json!({"0": "a", "1": "b"}));
    let message = failure(dir.path());
    assert!(message.contains("tensor `classifier.weight` has shape [3, 16], expected [2, 16]"), "{message}");
    let cases = [
        ("id2label", json!({"0": "a", "2": "b"}), "an object of names by the numbers"),
        ("hidden_act", json!("relu"), "`hidden_act` is \"relu\", expected"),
        ("position_embedding_type", json!("relative_key"), "`position_embedding_type`"),
        ("is_decoder", json!(true), "`is_decoder` is true, expected false"),
        ("problem_type", json!("ranking"), "`problem_type`"),
        ("hidden_size", json!("big"), "`hidden_size` is \"big\", expected a whole number"),
        ("num_attention_heads", json!(3), "`heads` = 3"),
        ("architectures", json!(["BertForNextSentencePrediction"]), "unknown architecture"),
        ("architectures", json!(["LlamaForCausalLM"]), "unknown architecture"),
    ];
    for (key, value, expected) in cases {
        let dir = copy("bert_sequence");
        edit(dir.path(), |json| json[key] = value);
        let message = failure(dir.path());
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn parameters_decay_but_for_norms_and_biases() {
    let model = load("bert_masked");
    for p in model.parameters() {
        assert_eq!(p.decay, !(p.name.ends_with("bias") || p.name.contains("norm")), "{}", p.name);
    }
    assert_eq!(model.num_params(), model.parameters().iter().map(|p| p.shape.iter().product::<usize>()).sum::<usize>());
    let error = Encoder::new(&EncoderConfig { heads: 7, ..EncoderConfig::default() }, 9, 1, &Device::flex());
    assert!(matches!(error, Err(ModelError::InvalidConfig { key: "heads", .. })));
}
