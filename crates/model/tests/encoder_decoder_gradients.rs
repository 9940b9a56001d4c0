//! Gradients of every parameter of every kind of encoder-decoder against finite differences, losses against their formula,
//! padding and dropout.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use burn::prelude::*;
use common::VOCAB;
use common::encoder_decoders::{all_kinds, input, labels, lively, tiny};
use common::gradients::{check_slopes, gradients, value};
use danlu_model::{
    Activation, DropoutKey, EncoderDecoder, EncoderDecoderConfig, EncoderDecoderKind, LogMel, LossOptions, ModelError,
    Precision, Seq2SeqInput, SpeechInput,
};

const KEY: DropoutKey = DropoutKey { seed: 1, step: 5, first_sequence: 0 };

fn loss(model: &EncoderDecoder, dropout: Option<DropoutKey>) -> Tensor<1> {
    model.loss_sum(&input(), &labels(), dropout).unwrap()
}

fn check(what: &str, model: &EncoderDecoder, loss: &dyn Fn(&EncoderDecoder) -> Tensor<1>) {
    let (plain, gradients) = (model.valid(), gradients(model, model.parameters(), loss(model)));
    let with = |values| value(loss(&plain.clone().load_named(values).unwrap()));
    check_slopes(what, &plain.named_parameters().unwrap(), &gradients, &with, &[]);
}

#[test]
fn every_parameter_of_every_kind() {
    for (what, mut config, options) in all_kinds() {
        if config.activation() == Activation::Relu {
            // Differences over a turn of a ReLU tell nothing. Gradients through ReLU are held to those of transformers in
            // encoder_decoder_golden.rs.
            config.activation = Some(Activation::Silu);
        }
        let model = lively(&config, &Device::flex().autodiff()).with_loss(options);
        for dropout in [None, Some(KEY)] {
            check(what, &model, &|model| loss(model, dropout));
        }
    }
}

#[test]
fn every_parameter_of_what_hears() {
    let config =
        EncoderDecoderConfig { mel_bands: Some(5), source_places: Some(6), ..tiny(EncoderDecoderKind::Whisper) };
    let sound = |seed: usize| LogMel {
        bands: 5,
        values: (0..60).map(|i| ((i * 7 + i * i + seed * 5) % 13) as f32 / 6.0 - 1.0).collect(),
    };
    let sounds = (0..3).map(sound).collect();
    let input = SpeechInput { sounds, decoder_input_ids: input().decoder_input_ids };
    let model = lively(&config, &Device::flex().autodiff());
    for dropout in [None, Some(KEY)] {
        let loss = |model: &EncoderDecoder| model.speech_loss_sum(&input, &labels(), dropout).unwrap();
        check("whisper", &model, &loss);
    }
    let rounded = model.clone().with_precision(Precision::Bf16);
    let loss = |model: &EncoderDecoder| value(model.speech_loss_sum(&input, &labels(), None).unwrap());
    let (want, found) = (loss(&model), loss(&rounded));
    assert!(want != found && (want - found).abs() < 0.03 * want.abs(), "{found}, f32 {want}");
}

/// The loss from the logits by its formula in f64.
#[test]
fn losses_are_those_of_the_logits() {
    for (what, config, options) in all_kinds() {
        let model = lively(&config, &Device::flex()).with_loss(options);
        let logits = model.logits(&input(), None).unwrap();
        let [_, time, width] = logits.dims();
        let logits: Vec<f32> = logits.into_data().try_into_vec().unwrap();
        let mut want = 0.0;
        for (rows, labels) in logits.chunks(time * width).zip(labels()) {
            for (row, label) in rows.chunks(width).zip(labels).filter(|(_, label)| *label >= 0) {
                let log_sum = row.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
                let LossOptions { label_smoothing, z_loss } = options;
                let mean = row.iter().map(|x| log_sum - f64::from(*x)).sum::<f64>() / width as f64;
                let own = log_sum - f64::from(row[label as usize]);
                want += (1.0 - label_smoothing) * own + label_smoothing * mean + z_loss * log_sum.powi(2);
            }
        }
        let found = value(loss(&model, None));
        assert!((found - want).abs() < 1e-4 * want.abs(), "{what}: {found}, expected {want}");
        assert!(want.abs() > 0.1, "{what}: {want}");
    }
}

/// Also that neither padding nor a neighbour changes anything: the parts are padded to other lengths.
#[test]
fn a_split_batch_has_the_loss_of_the_whole() {
    for (what, config, options) in all_kinds() {
        let model = lively(&config, &Device::flex()).with_loss(options);
        let whole = value(loss(&model, None));
        let one = |at: usize| {
            let Seq2SeqInput { input_ids, decoder_input_ids } = input();
            let (input_ids, decoder_input_ids) = (vec![input_ids[at].clone()], vec![decoder_input_ids[at].clone()]);
            let input = Seq2SeqInput { input_ids, decoder_input_ids };
            value(model.loss_sum(&input, &[labels()[at].clone()], None).unwrap())
        };
        let parts: f64 = (0..input().pairs()).map(one).sum();
        assert!((parts - whole).abs() < 1e-5 * whole.abs(), "{what}: {parts}, whole {whole}");
    }
}

#[test]
fn nothing_to_learn_is_a_loss_of_zero_with_gradients() {
    for (what, config, options) in all_kinds() {
        let model = lively(&config, &Device::flex().autodiff()).with_loss(options);
        let none: Vec<Vec<i32>> = labels().iter().map(|row| vec![-100; row.len()]).collect();
        let loss = model.loss_sum(&input(), &none, None).unwrap();
        assert_eq!(value(loss.clone()), 0.0, "{what}");
        let gradients = gradients(&model, model.parameters(), loss);
        assert!(gradients.values().all(|g| g.as_ref().is_none_or(|g| g.iter().all(|x| *x == 0.0))), "{what}");
    }
}

#[test]
fn dropout_is_a_function_of_its_key() {
    for (what, config, options) in all_kinds() {
        let model = lively(&config, &Device::flex()).with_loss(options);
        let loss = |key| value(loss(&model, key));
        assert_eq!(loss(Some(KEY)), loss(Some(KEY)), "{what}");
        assert_ne!(loss(Some(KEY)), loss(None), "{what}");
        assert_ne!(loss(Some(KEY)), loss(Some(DropoutKey { step: 6, ..KEY })), "{what}");
        // Each of the three rates alone.
        let (dropout, attention_dropout, activation_dropout) = (0.0, 0.0, 0.0);
        let none = EncoderDecoderConfig { dropout, attention_dropout, activation_dropout, ..config.clone() };
        let alone = [
            EncoderDecoderConfig { dropout: 0.2, ..none.clone() },
            EncoderDecoderConfig { attention_dropout: 0.2, ..none.clone() },
            EncoderDecoderConfig { activation_dropout: 0.2, ..none.clone() },
        ];
        let of = |config: &EncoderDecoderConfig, key| {
            value(lively(config, &Device::flex()).loss_sum(&input(), &labels(), key).unwrap())
        };
        assert_eq!(of(&none, Some(KEY)), of(&none, None), "{what}");
        for config in alone {
            assert_ne!(of(&config, Some(KEY)), of(&config, None), "{what}: {config:?}");
        }
    }
}

#[test]
fn bf16_stays_near_f32_and_is_not_f32() {
    for (what, config, options) in all_kinds() {
        let model = lively(&config, &Device::flex().autodiff()).with_loss(options);
        let rounded = model.clone().with_precision(Precision::Bf16);
        for key in [None, Some(KEY)] {
            let (want, found) = (value(loss(&model, key)), value(loss(&rounded, key)));
            assert!(want != found && (want - found).abs() < 0.03 * want.abs(), "{what}: {found}, f32 {want}");
            let all = |model: &EncoderDecoder| {
                let flat = gradients(model, model.parameters(), loss(model, key)).into_values().flatten().flatten();
                flat.map(f64::from).collect::<Vec<_>>()
            };
            let (want, found) = (all(&model), all(&rounded));
            let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
            let distance = norm(&mut want.iter().zip(&found).map(|(a, b)| a - b)) / norm(&mut want.iter().copied());
            assert!(distance > 0.0 && distance < 0.06, "{what}: gradients off by {distance}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_before_it_is_computed() {
    let model = lively(&all_kinds()[0].1, &Device::flex());
    let refused = |change: &dyn Fn(&mut Seq2SeqInput, &mut Vec<Vec<i32>>)| {
        let (mut input, mut labels) = (input(), labels());
        change(&mut input, &mut labels);
        model.loss_sum(&input, &labels, None).unwrap_err()
    };
    let error = refused(&|_, labels| labels[0][1] = VOCAB as i32);
    assert!(matches!(error, ModelError::WrongInput { what: "labels", .. }), "{error}");
    let error = refused(&|_, labels| labels[0][1] = -1);
    assert!(matches!(error, ModelError::WrongInput { what: "labels", .. }), "{error}");
    let error = refused(&|_, labels| labels[2].push(0));
    assert!(matches!(error, ModelError::WrongInput { what: "labels of a sequence", .. }), "{error}");
    let error = refused(&|_, labels| labels.truncate(1));
    assert!(matches!(error, ModelError::WrongInput { what: "sequences of labels", .. }), "{error}");
    let error = refused(&|input, _| input.input_ids.truncate(2));
    assert!(matches!(error, ModelError::WrongInput { what: "sequences for the decoder", .. }), "{error}");
    let error = refused(&|input, _| input.input_ids[1].clear());
    assert!(matches!(error, ModelError::NoTokens { sequence: 1 }), "{error}");
    let error = refused(&|input, _| input.decoder_input_ids[1][0] = VOCAB as u32);
    assert!(matches!(error, ModelError::TokenOutOfRange { sequence: 1, position: 0, .. }), "{error}");
    let error = refused(&|input, _| input.input_ids[2] = vec![1; 100]);
    assert!(matches!(error, ModelError::ContextFull { adding: 100, .. }), "{error}");
    assert!(model.logits(&Seq2SeqInput::default(), None).is_err());
}
