//! Recurrent encoders: both directions, padding, folders, what they can learn; and the CTC head.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use burn::prelude::*;
use common::largest_difference;
use danlu_model::{
    Encoder, EncoderConfig, EncoderInput, EncoderKind, EncoderTargets, HeadConfig, ModelError, Problem,
    describe_encoder,
};

const VOCAB: usize = 20;
const KINDS: [EncoderKind; 3] = [EncoderKind::Lstm, EncoderKind::Gru, EncoderKind::Rnn];

fn config(architecture: EncoderKind, head: HeadConfig) -> EncoderConfig {
    EncoderConfig { architecture, layers: 2, hidden_size: 24, max_seq_len: 16, head, ..EncoderConfig::default() }
}

fn labels() -> Vec<String> {
    ["a", "b", "c"].map(str::to_owned).to_vec()
}

fn heads() -> Vec<HeadConfig> {
    vec![
        HeadConfig::None,
        HeadConfig::MaskedLm,
        HeadConfig::SequenceClassification { labels: labels(), problem: Problem::SingleLabel },
        HeadConfig::TokenClassification { labels: labels() },
        HeadConfig::Ctc { labels: labels() },
    ]
}

fn input() -> EncoderInput {
    EncoderInput::of(vec![vec![5, 9, 2, 14], vec![7, 3], vec![11, 1, 4, 4, 8, 13, 2]])
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

#[test]
fn every_token_hears_of_every_other_and_none_of_padding() {
    for kind in KINDS {
        let model = Encoder::new(&config(kind, HeadConfig::None), VOCAB, 3, &Device::flex()).unwrap();
        let together = numbers(model.hidden(&input(), None).unwrap());
        for (row, ids) in input().ids.iter().enumerate() {
            let alone = numbers(model.hidden(&EncoderInput::of(vec![ids.clone()]), None).unwrap());
            let padded = &together[row * 7 * 24..][..ids.len() * 24];
            assert!(largest_difference(&alone, padded) < 1e-5, "{kind:?}, {row}");
        }
        // Another last token changes the first one's row, and the other way round.
        let with = |first: u32, last: u32| {
            numbers(model.hidden(&EncoderInput::of(vec![vec![first, 9, 2, last]]), None).unwrap())
        };
        assert!(largest_difference(&with(5, 14)[..24], &with(5, 15)[..24]) > 1e-4, "{kind:?}");
        assert!(largest_difference(&with(5, 14)[72..], &with(6, 14)[72..]) > 1e-4, "{kind:?}");
    }
}

#[test]
fn a_reversed_sequence_with_the_directions_exchanged_is_the_same_reversed() {
    for kind in KINDS {
        let one = EncoderConfig { layers: 1, ..config(kind, HeadConfig::None) };
        let model = Encoder::new(&one, VOCAB, 3, &Device::flex()).unwrap();
        let values = model.named_parameters().unwrap();
        let exchanged = values.iter().map(|(name, data)| {
            let name = match name.contains(".forward.") {
                true => name.replace(".forward.", ".backward."),
                false => name.replace(".backward.", ".forward."),
            };
            (name, data.clone())
        });
        let mirror = model.clone().load_named(exchanged.collect()).unwrap();
        let hidden =
            |model: &Encoder, ids: &[u32]| numbers(model.hidden(&EncoderInput::of(vec![ids.to_vec()]), None).unwrap());
        let (there, back) = (hidden(&model, &[5, 9, 2, 14, 3]), hidden(&mirror, &[3, 14, 2, 9, 5]));
        for step in 0..5 {
            let (a, b) = (&there[step * 24..][..24], &back[(4 - step) * 24..][..24]);
            assert!(largest_difference(&a[..12], &b[12..]) < 1e-6, "{kind:?}, {step}");
            assert!(largest_difference(&a[12..], &b[..12]) < 1e-6, "{kind:?}, {step}");
        }
    }
}

#[test]
fn folders_come_back_with_identical_logits_settings_and_bytes() {
    let bert = |head| EncoderConfig { ffn_size: Some(32), ..config(EncoderKind::Bert, head) };
    let mut configs: Vec<EncoderConfig> =
        KINDS.iter().flat_map(|kind| heads().into_iter().map(|head| config(*kind, head))).collect();
    configs.push(bert(HeadConfig::Ctc { labels: labels() }));
    for config in configs {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        let model = Encoder::new(&config, VOCAB, 5, &Device::flex()).unwrap();
        model.save(&first, None).unwrap();
        let (described, vocabulary) = describe_encoder(&first).unwrap().unwrap();
        assert_eq!((&described, vocabulary), (&config, VOCAB));
        let again = Encoder::load(&first, &Device::flex()).unwrap();
        again.save(&second, None).unwrap();
        for file in ["config.json", "model.safetensors"] {
            assert!(std::fs::read(first.join(file)).unwrap() == std::fs::read(second.join(file)).unwrap(), "{file}");
        }
        let hidden = |model: &Encoder| numbers(model.hidden(&input(), None).unwrap());
        assert_eq!(hidden(&model), hidden(&again), "{config:?}");
        if config.head != HeadConfig::None {
            let logits = |model: &Encoder| numbers(model.logits(&input(), None).unwrap());
            assert_eq!(logits(&model), logits(&again));
        }
        let text = std::fs::read_to_string(first.join("config.json")).unwrap();
        assert!(text.contains("\"Danlu"), "transformers has no such model: {text}");
    }
}

#[test]
fn a_pretrained_body_takes_another_head() {
    let dir = tempfile::tempdir().unwrap();
    let masked = Encoder::new(&config(EncoderKind::Gru, HeadConfig::MaskedLm), VOCAB, 5, &Device::flex()).unwrap();
    masked.save(dir.path(), None).unwrap();
    let head = HeadConfig::Ctc { labels: labels() };
    let model = Encoder::load_with_head(dir.path(), head, 1, &Device::flex()).unwrap();
    assert_eq!(numbers(model.hidden(&input(), None).unwrap()), numbers(masked.hidden(&input(), None).unwrap()));
    assert_eq!(model.logits(&input(), None).unwrap().dims(), [21, 4]);
}

#[test]
fn settings_of_transformers_are_named() {
    let base = || config(EncoderKind::Lstm, HeadConfig::None);
    let cases = [
        (EncoderConfig { hidden_size: 25, ..base() }, "hidden_size"),
        (EncoderConfig { heads: 2, ..base() }, "heads"),
        (EncoderConfig { ffn_size: Some(8), ..base() }, "ffn_size"),
        (EncoderConfig { token_types: 3, ..base() }, "token_types"),
        (EncoderConfig { attention_dropout: 0.0, ..base() }, "attention_dropout"),
        (EncoderConfig { head: HeadConfig::Pooler, ..base() }, "head"),
        (EncoderConfig { head: HeadConfig::Ctc { labels: vec![] }, ..base() }, "head.labels"),
    ];
    for (config, expected) in cases {
        match config.validate() {
            Err(ModelError::InvalidConfig { key, .. }) => assert_eq!(key, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    base().validate().unwrap();
    // One layer's weights: two directions of 4 gates of 12 over 24 and 12.
    assert_eq!(EncoderConfig { layers: 1, ..base() }.flops_per_token(9), 6.0 * (2.0 * 48.0 * 36.0));
}

#[test]
fn labels_are_checked() {
    let model =
        Encoder::new(&config(EncoderKind::Lstm, HeadConfig::Ctc { labels: labels() }), VOCAB, 5, &Device::flex());
    let model = model.unwrap();
    let loss = |labels: Vec<Vec<i32>>| model.loss_sum(&input(), &EncoderTargets::Labels(labels), None);
    for strange in [vec![vec![3], vec![], vec![]], vec![vec![-1], vec![], vec![]], vec![vec![0], vec![1]]] {
        assert!(matches!(loss(strange.clone()), Err(ModelError::WrongInput { .. })), "{strange:?}");
    }
    // Two tokens cannot spell three labels: they count nothing, and are no infinity.
    let possible = loss(vec![vec![0], vec![], vec![1]]).unwrap().into_scalar::<f32>();
    let impossible = loss(vec![vec![0], vec![0, 1, 2], vec![1]]).unwrap().into_scalar::<f32>();
    let silent = loss(vec![vec![0], vec![1], vec![1]]).unwrap().into_scalar::<f32>();
    assert!(impossible.is_finite() && impossible < possible && impossible < silent);
    let other = Encoder::new(&config(EncoderKind::Lstm, HeadConfig::MaskedLm), VOCAB, 5, &Device::flex()).unwrap();
    assert!(matches!(other.spell(&input()), Err(ModelError::InvalidConfig { key: "head", .. })));
}
