//! Gradients of an encoder and of each head against finite differences, losses against their formulas, and dropout.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use burn::prelude::*;
use common::VOCAB;
use common::gradients::{check_slopes, gradients, value};
use danlu_model::{
    Activation, DropoutKey, Encoder, EncoderConfig, EncoderInput, EncoderKind, EncoderTargets, HeadConfig, HeadLoss,
    Pooling, Precision, Problem,
};

const KEY: DropoutKey = DropoutKey { seed: 1, step: 5, first_sequence: 0 };

fn tiny(head: HeadConfig) -> EncoderConfig {
    EncoderConfig {
        layers: 2,
        hidden_size: 16,
        heads: 2,
        ffn_size: Some(24),
        max_seq_len: 12,
        dropout: 0.2,
        attention_dropout: 0.2,
        head,
        ..EncoderConfig::default()
    }
}

fn labels(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn sequence(problem: Problem) -> HeadConfig {
    HeadConfig::SequenceClassification { labels: labels(&["a", "b", "c"]), problem }
}

fn input(config: &EncoderConfig) -> EncoderInput {
    let row =
        |length: usize, seed: usize| (0..length).map(move |i| ((i * i * 7 + i * 13 + seed * 29 + 5) % VOCAB) as u32);
    let lengths = [7, 3, 5];
    let types = if config.token_types == 0 { vec![] } else { lengths.to_vec() };
    EncoderInput {
        ids: lengths.iter().enumerate().map(|(seed, length)| row(*length, seed).collect()).collect(),
        types: types.iter().map(|length| (0..*length).map(|i| u32::from(i > 2)).collect()).collect(),
    }
}

/// Every kind of encoder, every head and every loss at least once.
fn all_kinds() -> Vec<(&'static str, EncoderConfig, EncoderTargets, HeadLoss)> {
    let tokens = EncoderTargets::Tokens(vec![vec![-100, 3, 9, -100, 60, 0, 1], vec![-100; 3], vec![5, -100, 7, 8, 8]]);
    let marks = EncoderTargets::Tokens(vec![vec![-100, 0, 1, 2, 2, 1, -100], vec![-100, 1, -100], vec![0, 0, 2, 1, 2]]);
    let values = EncoderTargets::Values(vec![vec![1.0, 0.0, 0.3], vec![f32::NAN, 1.0, 1.0], vec![0.0, 0.0, 1.0]]);
    let classes = EncoderTargets::Classes(vec![2, -100, 0]);
    let weighted = HeadLoss { class_weights: Some(vec![0.5, 2.0, 1.5]), label_smoothing: 0.0 };
    let smoothed = HeadLoss { label_smoothing: 0.1, ..weighted.clone() };
    let roberta = |config| EncoderConfig {
        architecture: EncoderKind::Roberta,
        position_offset: 2,
        token_types: 2,
        classifier_dropout: Some(0.3),
        ..config
    };
    let distil = |config| EncoderConfig { architecture: EncoderKind::DistilBert, token_types: 0, ..config };
    let token = HeadConfig::TokenClassification { labels: labels(&["a", "b", "c"]) };
    let ctc = HeadConfig::Ctc { labels: labels(&["a", "b", "c"]) };
    let spelt = EncoderTargets::Labels(vec![vec![0, 0, 2], vec![], vec![1, 2]]);
    let recurrent = |architecture, config: EncoderConfig| EncoderConfig {
        architecture,
        heads: 4,
        ffn_size: None,
        attention_dropout: 0.1,
        ..config
    };
    let (lstm, gru, rnn) = (EncoderKind::Lstm, EncoderKind::Gru, EncoderKind::Rnn);
    let plain = HeadLoss::default();
    vec![
        ("bert, masked", tiny(HeadConfig::MaskedLm), tokens.clone(), plain.clone()),
        (
            "roberta, masked, gelu, smoothed",
            EncoderConfig { activation: Activation::Gelu, ..roberta(tiny(HeadConfig::MaskedLm)) },
            tokens.clone(),
            HeadLoss { label_smoothing: 0.1, class_weights: None },
        ),
        ("distilbert, masked", distil(tiny(HeadConfig::MaskedLm)), tokens.clone(), plain.clone()),
        ("bert, classes", tiny(sequence(Problem::SingleLabel)), classes.clone(), smoothed),
        ("roberta, several labels", roberta(tiny(sequence(Problem::MultiLabel))), values.clone(), weighted.clone()),
        ("distilbert, regression", distil(tiny(sequence(Problem::Regression))), values, plain),
        ("bert, tokens", tiny(token.clone()), marks.clone(), weighted),
        ("distilbert, classes", distil(tiny(sequence(Problem::SingleLabel))), classes.clone(), HeadLoss::default()),
        ("roberta, tokens", roberta(tiny(token.clone())), marks.clone(), HeadLoss::default()),
        ("bert, ctc", tiny(ctc.clone()), spelt.clone(), HeadLoss::default()),
        ("lstm, ctc", recurrent(lstm, tiny(ctc)), spelt, HeadLoss::default()),
        ("lstm, masked", recurrent(lstm, tiny(HeadConfig::MaskedLm)), tokens.clone(), HeadLoss::default()),
        ("gru, classes", recurrent(gru, tiny(sequence(Problem::SingleLabel))), classes, HeadLoss::default()),
        ("rnn, tokens", recurrent(rnn, tiny(token)), marks, HeadLoss::default()),
    ]
}

/// A model whose weights are far from their start, so that every part has a say.
fn lively(config: &EncoderConfig, loss: &HeadLoss, device: &Device) -> Encoder {
    let model = Encoder::new(config, VOCAB, 9, device).unwrap().with_loss(loss.clone()).unwrap();
    let mut values = model.named_parameters().unwrap();
    for (i, (name, data)) in values.iter_mut().enumerate() {
        let shape = data.shape().to_vec();
        let of = |(j, x): (usize, &f32)| match shape.len() {
            1 => x + 0.3 * ((i * 31 + j * 17) % 13) as f32 / 13.0,
            // Recurrent matrices start near 1 / sqrt(width) already.
            _ if name.contains(".weight_") => x * 1.5,
            _ => x * 12.0,
        };
        let changed: Vec<f32> = data.as_slice::<f32>().unwrap().iter().enumerate().map(of).collect();
        *data = TensorData::new(changed, shape);
    }
    model.load_named(values).unwrap()
}

fn check(what: &str, model: &Encoder, loss: &dyn Fn(&Encoder) -> Tensor<1>, unreached: &[&str]) {
    let (plain, gradients) = (model.valid(), gradients(model, model.parameters(), loss(model)));
    let with = |values| value(loss(&plain.clone().load_named(values).unwrap()));
    check_slopes(what, &plain.named_parameters().unwrap(), &gradients, &with, unreached);
}

#[test]
fn every_parameter_of_every_head() {
    let device = Device::flex().autodiff();
    for (what, config, targets, options) in all_kinds() {
        let model = lively(&config, &options, &device);
        for dropout in [None, Some(KEY)] {
            check(what, &model, &|model| model.loss_sum(&input(&config), &targets, dropout).unwrap(), &[]);
        }
    }
}

#[test]
fn every_parameter_under_an_embedding() {
    let device = Device::flex().autodiff();
    let model = lively(&tiny(HeadConfig::Pooler), &HeadLoss::default(), &device);
    for (pooling, normalize) in [(Pooling::Mean, true), (Pooling::Cls, true), (Pooling::Mean, false)] {
        let weights = |x: &Tensor<2>| {
            let [rows, width] = x.dims();
            let values: Vec<f32> = (0..rows * width).map(|i| ((i * 7 + i * i) % 11) as f32 / 5.0 - 1.0).collect();
            Tensor::<2>::from_data(TensorData::new(values, [rows, width]), &x.device())
        };
        let loss = |model: &Encoder| {
            let x = model.embed(&input(model.config()), pooling, normalize, None).unwrap();
            (x.clone() * weights(&x)).sum()
        };
        check(&format!("{pooling:?}, {normalize}"), &model, &loss, &["head."]);
    }
}

/// The probability that a path spells `labels`, summed over each path there is; class 0 is the blank.
fn all_paths(rows: &[Vec<f64>], labels: &[i32]) -> f64 {
    let classes = rows[0].len();
    let softmax = |row: &Vec<f64>| {
        let total: f64 = row.iter().map(|x| x.exp()).sum();
        row.iter().map(|x| x.exp() / total).collect::<Vec<_>>()
    };
    let rows: Vec<Vec<f64>> = rows.iter().map(softmax).collect();
    let path =
        |mut number: usize| -> Vec<usize> { rows.iter().map(|_| (number % classes, number /= classes).0).collect() };
    let spells = |path: &[usize]| {
        let mut path = path.to_vec();
        path.dedup();
        path.into_iter().filter(|class| *class > 0).map(|class| class as i32 - 1).collect::<Vec<_>>()
    };
    (0..classes.pow(rows.len() as u32))
        .map(path)
        .filter(|path| spells(path) == labels)
        .map(|path| path.iter().zip(&rows).map(|(class, row)| row[*class]).product::<f64>())
        .sum()
}

/// The losses from the logits by their formulas in f64.
#[test]
fn losses_are_those_of_the_logits() {
    for (what, config, targets, options) in all_kinds() {
        let model = lively(&config, &options, &Device::flex());
        let logits = model.logits(&input(&config), None).unwrap();
        let [_, width] = logits.dims();
        let logits: Vec<f32> = logits.into_data().try_into_vec().unwrap();
        let rows: Vec<Vec<f64>> = logits.chunks(width).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
        let weight = |class: usize| options.class_weights.as_ref().map_or(1.0, |w| f64::from(w[class]));
        let cross_entropy = |row: &[f64], target: i32| {
            let log_sum = row.iter().map(|x| x.exp()).sum::<f64>().ln();
            let share = |class: usize| {
                let own = if class == target as usize { 1.0 - options.label_smoothing } else { 0.0 };
                weight(class) * (own + options.label_smoothing / row.len() as f64)
            };
            if target < 0 { 0.0 } else { (0..row.len()).map(|class| share(class) * (log_sum - row[class])).sum() }
        };
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let number = |class: usize, x: f64, y: f64| match &config.head {
            _ if y.is_nan() => 0.0,
            HeadConfig::SequenceClassification { problem: Problem::Regression, .. } => (x - y).powi(2),
            _ => -(weight(class) * y * sigmoid(x).ln() + (1.0 - y) * sigmoid(-x).ln()),
        };
        let want: f64 = match &targets {
            EncoderTargets::Classes(classes) => rows.iter().zip(classes).map(|(row, t)| cross_entropy(row, *t)).sum(),
            EncoderTargets::Tokens(targets) => rows
                .chunks(7)
                .zip(targets)
                .flat_map(|(rows, targets)| rows.iter().zip(targets).map(|(row, t)| cross_entropy(row, *t)))
                .sum(),
            EncoderTargets::Labels(labels) => rows
                .chunks(7)
                .zip([7, 3, 5])
                .zip(labels)
                .map(|((rows, length), labels)| -all_paths(&rows[..length], labels).ln())
                .sum(),
            EncoderTargets::Values(values) => {
                let row = |(row, y): (&Vec<f64>, &Vec<f32>)| -> f64 {
                    row.iter().zip(y).enumerate().map(|(i, (x, y))| number(i, *x, f64::from(*y))).sum()
                };
                rows.iter().zip(values).map(row).sum()
            }
        };
        let found = value(model.loss_sum(&input(&config), &targets, None).unwrap());
        assert!((found - want).abs() < 1e-4 * want.abs(), "{what}: {found}, expected {want}");
        assert!(want.abs() > 0.1, "{what}: {want}");
    }
}

/// Also that neither padding nor a neighbour changes anything: the parts are padded to other lengths.
#[test]
fn a_split_batch_has_the_loss_of_the_whole() {
    for (what, config, targets, options) in all_kinds() {
        let model = lively(&config, &options, &Device::flex());
        let whole = value(model.loss_sum(&input(&config), &targets, None).unwrap());
        let one = |row: usize| {
            let EncoderInput { ids, types } = input(&config);
            let types = types.get(row).into_iter().cloned().collect();
            let input = EncoderInput { ids: vec![ids[row].clone()], types };
            let targets = match &targets {
                EncoderTargets::Tokens(all) => EncoderTargets::Tokens(vec![all[row].clone()]),
                EncoderTargets::Classes(all) => EncoderTargets::Classes(vec![all[row]]),
                EncoderTargets::Values(all) => EncoderTargets::Values(vec![all[row].clone()]),
                EncoderTargets::Labels(all) => EncoderTargets::Labels(vec![all[row].clone()]),
            };
            value(model.loss_sum(&input, &targets, None).unwrap())
        };
        let parts: f64 = (0..3).map(one).sum();
        assert!((parts - whole).abs() < 1e-5 * whole.abs(), "{what}: {parts}, whole {whole}");
    }
}

#[test]
fn dropout_is_a_function_of_its_key() {
    for (what, config, targets, options) in all_kinds() {
        let model = lively(&config, &options, &Device::flex());
        let loss = |key| value(model.loss_sum(&input(&config), &targets, key).unwrap());
        assert_eq!(loss(Some(KEY)), loss(Some(KEY)), "{what}");
        assert_ne!(loss(Some(KEY)), loss(None), "{what}");
        assert_ne!(loss(Some(KEY)), loss(Some(DropoutKey { step: 6, ..KEY })), "{what}");
    }
    // Each of the three rates alone.
    for (dropout, attention_dropout, classifier_dropout) in [(0.2, 0.0, 0.0), (0.0, 0.2, 0.0), (0.0, 0.0, 0.2)] {
        let classifier_dropout = Some(classifier_dropout);
        let config = tiny(sequence(Problem::SingleLabel));
        let config = EncoderConfig { dropout, attention_dropout, classifier_dropout, ..config };
        let model = lively(&config, &HeadLoss::default(), &Device::flex());
        let targets = EncoderTargets::Classes(vec![2, 1, 0]);
        let loss = |key| value(model.loss_sum(&input(&config), &targets, key).unwrap());
        assert_ne!(loss(Some(KEY)), loss(None), "{config:?}");
    }
}

#[test]
fn bf16_stays_near_f32_and_is_not_f32() {
    for (what, config, targets, options) in all_kinds() {
        let model = lively(&config, &options, &Device::flex().autodiff());
        let rounded = model.clone().with_precision(Precision::Bf16);
        let loss = |model: &Encoder| model.loss_sum(&input(&config), &targets, None).unwrap();
        let (want, found) = (value(loss(&model)), value(loss(&rounded)));
        assert!(want != found && (want - found).abs() < 0.03 * want.abs(), "{what}: {found}, f32 {want}");
        let all = |model: &Encoder| {
            let flat = gradients(model, model.parameters(), loss(model)).into_values().flatten().flatten();
            flat.map(f64::from).collect::<Vec<_>>()
        };
        let (want, found) = (all(&model), all(&rounded));
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
        let distance = norm(&mut want.iter().zip(&found).map(|(a, b)| a - b)) / norm(&mut want.iter().copied());
        assert!(distance > 0.0 && distance < 0.06, "{what}: gradients off by {distance}");
    }
}
