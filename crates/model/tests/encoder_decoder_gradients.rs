//! Gradients of every parameter of every kind of encoder-decoder against finite differences, losses against their formula,
//! padding and dropout.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::Gradients;
use common::VOCAB;
use common::encoder_decoders::{all_kinds, input, labels, lively};
use danlu_model::{
    Activation, DropoutKey, EncoderDecoder, EncoderDecoderConfig, LossOptions, ModelError, Precision, Seq2SeqInput,
};
use std::collections::BTreeMap;

const KEY: DropoutKey = DropoutKey { seed: 1, step: 5, first_sequence: 0 };

struct Collector<'a> {
    gradients: &'a Gradients,
    collected: Vec<Option<Vec<f32>>>,
}

impl ModuleVisitor for Collector<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.collected.push(param.val().grad(self.gradients).map(|g| g.into_data().try_into_vec().unwrap()));
    }
}

fn gradients(model: &EncoderDecoder, loss: Tensor<1>) -> BTreeMap<String, Option<Vec<f32>>> {
    let gradients = loss.backward();
    let mut collector = Collector { gradients: &gradients, collected: Vec::new() };
    model.visit(&mut collector);
    model.parameters().into_iter().map(|p| p.name).zip(collector.collected).collect()
}

fn value(loss: Tensor<1>) -> f64 {
    f64::from(loss.into_data().as_slice::<f32>().unwrap()[0])
}

fn loss(model: &EncoderDecoder, dropout: Option<DropoutKey>) -> Tensor<1> {
    model.loss_sum(&input(), &labels(), dropout).unwrap()
}

/// Along the gradient itself, where the slope is its length, and along a fixed zigzag; central differences of two widths
/// (Richardson).
fn check(what: &str, model: &EncoderDecoder, dropout: Option<DropoutKey>) {
    let (plain, gradients) = (model.valid(), gradients(model, loss(model, dropout)));
    let values = plain.named_parameters().unwrap();
    assert_eq!(gradients.len(), values.len());
    for (name, gradient) in &gradients {
        let gradient = gradient.as_ref().unwrap_or_else(|| panic!("{what}: no gradient of {name}"));
        let length = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        // A bias of the keys shifts all scores of a query alike, which softmax does not see.
        assert!(length > 1e-3 || name.ends_with("k_proj.bias"), "{what}: no gradient reaches {name}");
        let along: Vec<f32> = gradient.iter().map(|g| (f64::from(*g) / length.max(1e-9)) as f32).collect();
        let unit = 1.0 / (gradient.len() as f32).sqrt();
        let zigzag = (0..gradient.len()).map(|i| if (i * 7 + i / 3) % 5 < 2 { unit } else { -unit }).collect();
        for direction in [along, zigzag] {
            let want: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            let at = |width: f32| {
                let mut moved = values.clone();
                let data = &values[name];
                let sum: Vec<f32> =
                    data.as_slice::<f32>().unwrap().iter().zip(&direction).map(|(x, d)| x + width * d).collect();
                moved.insert(name.clone(), TensorData::new(sum, data.shape().clone()));
                value(loss(&plain.clone().load_named(moved).unwrap(), dropout))
            };
            let central = |width: f32| (at(width) - at(-width)) / (2.0 * f64::from(width));
            let found = (4.0 * central(0.004) - central(0.008)) / 3.0;
            assert!((found - want).abs() <= 0.01 * want.abs() + 5e-3, "{what}: {name}: slope {found}, gradient {want}");
        }
    }
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
            check(what, &model, dropout);
        }
    }
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
        let gradients = gradients(&model, loss);
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
                let flat = gradients(model, loss(model, key)).into_values().flatten().flatten();
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
