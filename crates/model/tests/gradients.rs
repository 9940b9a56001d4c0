//! Gradients of every layer's every parameter against finite differences, and dropout in training.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use burn::prelude::*;
use burn::tensor::Gradients;
use common::gradients::by_name;
use common::*;
use danlu_model::{Architecture, CausalLm, DropoutKey, ModelConfig, Precision, Recompute, SequenceOptions};
use std::collections::BTreeMap;

const BATCH: usize = 2;
const TIME: usize = 7;

fn batch(device: &Device) -> (Tensor<2, Int>, Tensor<1, Int>) {
    let inputs: Vec<i32> = tokens(BATCH * TIME, 3).iter().map(|t| *t as i32).collect();
    let mut targets: Vec<i32> = tokens(BATCH * TIME, 8).iter().map(|t| *t as i32).collect();
    targets[4] = -100;
    let inputs = Tensor::from_data(TensorData::new(inputs, [BATCH, TIME]), device);
    (inputs, Tensor::from_data(TensorData::new(targets, [BATCH * TIME]), device))
}

fn loss(model: &CausalLm, dropout: Option<DropoutKey>) -> f64 {
    let (inputs, targets) = batch(&model.device());
    f64::from(
        model
            .loss_sum(inputs, targets, SequenceOptions { dropout, ..SequenceOptions::default() })
            .into_data()
            .as_slice::<f32>()
            .unwrap()[0],
    )
}

fn gradients(model: &CausalLm, dropout: Option<DropoutKey>) -> BTreeMap<String, Vec<f32>> {
    let (inputs, targets) = batch(&model.device());
    let loss = model.loss_sum(inputs, targets, SequenceOptions { dropout, ..SequenceOptions::default() });
    let named = common::gradients::gradients(model, model.parameters(), loss).into_iter();
    all(model, named.filter_map(|(name, gradient)| Some((name, gradient?))).collect())
}

/// With zeros for the experts that no token went to: of all parameters these alone may be left without a gradient.
fn all(model: &CausalLm, mut gradients: BTreeMap<String, Vec<f32>>) -> BTreeMap<String, Vec<f32>> {
    for p in model.parameters() {
        if p.name.contains(".experts.") {
            gradients.entry(p.name).or_insert_with(|| vec![0.0; p.shape.iter().product()]);
        } else {
            assert!(gradients.contains_key(&p.name), "{} has no gradient", p.name);
        }
    }
    gradients
}

/// The loss's slope along `direction` of one parameter, by central differences of two widths (Richardson). None where the
/// two contradict each other, because a token's choice of experts changes on the way and the loss jumps.
fn slope(
    model: &CausalLm,
    values: &BTreeMap<String, TensorData>,
    name: &str,
    direction: &[f32],
    dropout: Option<DropoutKey>,
) -> Option<f64> {
    let at = |width: f32| {
        let mut moved = values.clone();
        let data = &values[name];
        let sum =
            data.as_slice::<f32>().unwrap().iter().zip(direction).map(|(x, d)| x + width * d).collect::<Vec<f32>>();
        moved.insert(name.to_string(), TensorData::new(sum, data.shape().clone()));
        loss(&model.clone().load_named(moved).unwrap(), dropout)
    };
    let central = |width: f32| (at(width) - at(-width)) / (2.0 * f64::from(width));
    let (experts, relu) = (model.config().experts().is_some(), model.config().cell() == Some(danlu_ops::Cell::Relu));
    // Near enough that hardly a token changes its expert, or a unit of a ReLU is switched on or off, on the way.
    let width = match (experts, relu) {
        (true, _) => 0.002,
        (_, true) => 0.004,
        _ => 0.02,
    };
    let (near, far) = (central(width), central(2.0 * width));
    let jumps = experts && (near - far).abs() > 0.02 * near.abs().max(far.abs()) + 0.02;
    (!jumps).then_some((4.0 * near - far) / 3.0)
}

/// Along the gradient itself, where the slope is its length, and along a fixed zigzag.
fn check(what: &str, config: &ModelConfig, dropout: Option<DropoutKey>) {
    let model = lively_on(config, 9, &Device::flex().autodiff());
    let plain = model.valid();
    let values = plain.named_parameters().unwrap();
    let gradients = gradients(&model, dropout);
    assert_eq!(gradients.len(), values.len());
    let mut jumps = 0;
    for (name, gradient) in &gradients {
        let length = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        // A bias of the keys shifts all scores of a query alike, which softmax does not see.
        if !name.ends_with("k_proj.bias") && !name.contains(".experts.") {
            assert!(length > 1e-3, "{what}: no gradient reaches {name}");
        }
        let along: Vec<f32> = gradient.iter().map(|g| (f64::from(*g) / length.max(1e-9)) as f32).collect();
        let unit = 1.0 / (gradient.len() as f32).sqrt();
        let zigzag: Vec<f32> =
            (0..gradient.len()).map(|i| if (i * 7 + i / 3) % 5 < 2 { unit } else { -unit }).collect();
        for direction in [along, zigzag] {
            let want: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            let Some(found) = slope(&plain, &values, name, &direction, dropout) else {
                jumps += 1;
                continue;
            };
            // Over a shorter way the loss's rounding weighs more.
            let noise = if plain.config().experts().is_some() { 2e-2 } else { 3e-3 };
            let near = (found - want).abs() <= 0.01 * want.abs() + noise;
            assert!(near, "{what}: {name}: slope {found}, gradient {want}");
        }
    }
    assert!(jumps * 4 <= gradients.len(), "{what}: {jumps} jumps in {} parameters", gradients.len());
}

#[test]
fn every_parameter_of_every_kind() {
    for (what, config) in all_kinds() {
        check(what, &config, None);
    }
}

/// Gradients in pieces, summed by parameter.
fn recomputed(model: &CausalLm, dropout: Option<DropoutKey>) -> (f32, BTreeMap<String, Vec<f32>>) {
    in_pieces(model, dropout, Recompute::Block)
}

fn in_pieces(model: &CausalLm, dropout: Option<DropoutKey>, recompute: Recompute) -> (f32, BTreeMap<String, Vec<f32>>) {
    let mut sums = BTreeMap::<String, Vec<f32>>::new();
    let mut take = |gradients: Gradients| {
        for (name, gradient) in by_name(model, model.parameters(), &gradients) {
            let Some(gradient) = gradient else { continue };
            match sums.get_mut(&name) {
                Some(sum) => sum.iter_mut().zip(&gradient).for_each(|(s, g)| *s += g),
                None => _ = sums.insert(name, gradient),
            }
        }
    };
    let (inputs, targets) = batch(&model.device());
    let loss = model.loss_and_gradients(
        inputs,
        targets,
        SequenceOptions { dropout, ..SequenceOptions::default() },
        recompute,
        &mut take,
    );
    (loss.into_data().as_slice::<f32>().unwrap()[0], all(model, sums))
}

/// The balance loss reaches the router, and what is before it, and is no part of the value.
#[test]
fn experts_are_trained_to_share_the_tokens() {
    let config = ModelConfig { router_aux_loss_coef: Some(0.3), ..tiny_experts() };
    let plain = ModelConfig { router_aux_loss_coef: Some(0.0), ..config.clone() };
    let device = Device::flex().autodiff();
    let (model, plain) = (lively_on(&config, 9, &device), lively_on(&plain, 9, &device));
    let (value, with) = in_pieces(&model, None, Recompute::None);
    let (again, recomputed) = recomputed(&model, None);
    let (plain_value, without) = in_pieces(&plain, None, Recompute::None);
    assert_eq!([value, again], [plain_value; 2]);
    let (inputs, _) = batch(&device);
    let balance = model.balance_loss(inputs, SequenceOptions::default()).unwrap();
    assert!(plain.balance_loss(batch(&device).0, SequenceOptions::default()).is_none());
    let balance_gradients = balance.clone().backward();
    for (name, of_balance) in &by_name(&model, model.parameters(), &balance_gradients) {
        let want: Vec<f32> =
            without[name].iter().enumerate().map(|(i, g)| g + of_balance.as_ref().map_or(0.0, |b| b[i])).collect();
        assert!(largest_difference(&with[name], &want) < 1e-4, "{name}");
        assert!(largest_difference(&with[name], &recomputed[name]) < 1e-4, "{name}, recomputed");
        let routed = name.contains("mlp.gate") || name.contains("layers.0.self_attn");
        assert!(!routed || largest_difference(&with[name], &without[name]) > 1e-3, "{name}: no balance");
    }
    // At its least it is the coefficient times two experts a token, once for each position.
    let value = balance.into_data().iter::<f32>().next().unwrap();
    assert!(value >= 0.29 * 2.0 * (BATCH * TIME) as f32, "{value}");
}

#[test]
fn layers_computed_again_give_the_same_bits() {
    let key = DropoutKey { seed: 1, step: 5, first_sequence: 0 };
    for (what, config) in all_kinds() {
        for precision in [Precision::F32, Precision::Bf16] {
            let config = ModelConfig { dropout: 0.3, ..config.clone() };
            let model = lively_on(&config, 9, &Device::flex().autodiff()).with_precision(precision);
            let (loss_again, again) = recomputed(&model, Some(key));
            assert_eq!(f64::from(loss_again), loss(&model, Some(key)), "{what}");
            let kept = gradients(&model, Some(key));
            assert_eq!(again.len(), kept.len(), "{what}");
            for (name, gradient) in kept {
                assert_eq!(again[&name], gradient, "{what}: {name}, {precision:?}");
            }
        }
    }
}

/// bf16 rounds each input by at most 2^-9 of itself, and the loss and gradients of a small model follow within a few
/// of those steps.
#[test]
fn bf16_stays_near_f32_and_is_not_f32() {
    for (what, config) in all_kinds() {
        let model = lively_on(&config, 9, &Device::flex().autodiff());
        let rounded = model.clone().with_precision(Precision::Bf16);
        let (want, found) = (loss(&model, None), loss(&rounded, None));
        assert!(want != found && (want - found).abs() < 0.02 * want, "{what}: {found}, f32 {want}");
        let (want, found) = (gradients(&model, None), gradients(&rounded, None));
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
        let all = |g: &BTreeMap<String, Vec<f32>>| g.values().flatten().map(|x| f64::from(*x)).collect::<Vec<_>>();
        let (want, found) = (all(&want), all(&found));
        let distance = norm(&mut want.iter().zip(&found).map(|(a, b)| a - b)) / norm(&mut want.iter().copied());
        assert!(distance > 0.0 && distance < 0.03, "{what}: gradients off by {distance}");
    }
}

#[test]
fn with_dropout() {
    let config = ModelConfig { dropout: 0.3, ..tiny() };
    let key = Some(DropoutKey { seed: 1, step: 5, first_sequence: 0 });
    check("dropout", &config, key);
    check("attention dropout", &ModelConfig { attention_dropout: Some(0.3), ..tiny() }, key);
    for variational in [false, true] {
        let variational_dropout = Some(variational);
        let config = ModelConfig { dropout: 0.3, variational_dropout, ..tiny_recurrent(Architecture::Lstm) };
        check(&format!("variational: {variational}"), &config, key);
    }
}

#[test]
fn a_layer_that_is_left_out_changes_nothing_and_learns_nothing() {
    let config = ModelConfig { layers: 2, layer_drop: Some(0.4), ..tiny() };
    let model = lively_on(&config, 3, &Device::flex().autodiff());
    // A layer that adds nothing to the residual stream.
    let mut values = model.valid().named_parameters().unwrap();
    for (name, data) in &mut values {
        if name.contains("layers.1.") && (name.contains("o_proj") || name.contains("down_proj")) {
            *data = TensorData::zeros::<f32, _>(data.shape().clone());
        }
    }
    let without = loss(&model.valid().load_named(values).unwrap(), None);
    let (whole, mut seen) = (loss(&model, None), [false; 2]);
    for step in 0..40 {
        let key = Some(DropoutKey { seed: 1, step, first_sequence: 0 });
        let found = loss(&model, key);
        seen[0] |= found == whole;
        if (found - without).abs() > 1e-5 {
            continue;
        }
        seen[1] = true;
        let gradients = gradients(&model, key);
        for (name, gradient) in &gradients {
            let still = gradient.iter().all(|g| *g == 0.0);
            assert_eq!(still, name.contains("layers.1."), "{name} at step {step}");
        }
        assert_eq!(recomputed(&model, key).1, gradients, "recomputed at step {step}");
    }
    assert_eq!(seen, [true; 2]);
}

#[test]
fn a_split_batch_has_the_loss_of_the_whole_dropout_included() {
    let recurrent = ModelConfig { dropout: 0.3, ..tiny_recurrent(Architecture::Gru) };
    check_split(&ModelConfig { dropout: 0.3, layer_drop: Some(0.5), ..tiny() });
    check_split(&ModelConfig { variational_dropout: Some(true), ..recurrent.clone() });
    check_split(&recurrent);
}

fn check_split(config: &ModelConfig) {
    let model = lively(config, 3);
    let key = DropoutKey { seed: 1, step: 5, first_sequence: 10 };
    let (inputs, targets) = batch(&Device::flex());
    let parts: f64 = (0..BATCH)
        .map(|i| {
            let key = DropoutKey { first_sequence: 10 + i as u64, ..key };
            let (inputs, targets) = (inputs.clone().narrow(0, i, 1), targets.clone().narrow(0, i * TIME, TIME));
            f64::from(model.loss_sum(inputs, targets, key.into()).into_data().as_slice::<f32>().unwrap()[0])
        })
        .sum();
    let whole = loss(&model, Some(key));
    assert!((parts - whole).abs() < 1e-4 * whole, "{parts} {whole}");
    assert_eq!(loss(&model, Some(key)), whole);
    assert_ne!(loss(&model, Some(DropoutKey { step: 6, ..key })), whole);
    assert_ne!(loss(&model, None), whole);
}

#[test]
fn packed_documents_have_the_losses_that_they_have_alone() {
    for (what, config) in all_kinds() {
        let model = lively(&config, 3);
        let (inputs, targets) = batch(&Device::flex());
        let options = |documents| SequenceOptions { documents, ..SequenceOptions::default() };
        let value = |loss: Tensor<1>| f64::from(loss.into_data().as_slice::<f32>().unwrap()[0]);
        // Each sequence holds a document of 2 tokens and one with the rest.
        let documents: Vec<u32> = (0..BATCH * TIME).map(|at| u32::from(at % TIME >= 2)).collect();
        let packed = value(model.loss_sum(inputs.clone(), targets.clone(), options(Some(documents.clone()))));
        let mut alone = 0.0;
        for row in 0..BATCH {
            for (from, length) in [(0, 2), (2, TIME - 2)] {
                let inputs = inputs.clone().narrow(0, row, 1).narrow(1, from, length);
                let targets = targets.clone().narrow(0, row * TIME + from, length);
                alone += value(model.loss_sum(inputs, targets, options(None)));
            }
        }
        assert!((packed - alone).abs() < 1e-5 * alone, "{what}: {packed}, alone {alone}");
        assert_ne!(packed, loss(&model, None), "{what}: the documents made no difference");
        let trainable = lively_on(&config, 3, &Device::flex().autodiff());
        let again =
            trainable.loss_and_gradients(inputs, targets, options(Some(documents)), Recompute::Block, &mut |_| {});
        assert!((value(again) - packed).abs() < 1e-6 * packed, "{what}: recomputed");
    }
}

#[test]
fn loss_is_the_cross_entropy_of_the_logits_for_every_form_of_head() {
    for (what, config) in all_kinds() {
        for model in [lively(&config, 3), lively(&config, 3).quantized().unwrap()] {
            let (inputs, targets) = batch(&Device::flex());
            let logits = model.logits(inputs).into_data();
            let targets: Vec<i32> = targets.into_data_as::<i32>().try_into_vec().unwrap();
            let rows = logits.as_slice::<f32>().unwrap().chunks(VOCAB);
            let want: f64 = rows
                .zip(targets)
                .filter(|(_, target)| *target >= 0)
                .map(|(row, target)| -f64::from(danlu_model::log_softmax(row)[target as usize]))
                .sum();
            let found = loss(&model, None);
            assert!((found - want).abs() < 1e-4 * want, "{what}: {found}, expected {want}");
        }
    }
}

#[test]
fn parameters_decay_but_for_norms_and_biases_and_count_as_computed() {
    for (what, config) in all_kinds() {
        let model = lively(&config, 1);
        let parameters = model.parameters();
        let sum: usize = parameters.iter().map(|p| p.shape.iter().product::<usize>()).sum();
        assert_eq!(sum, model.num_params(), "{what}");
        for p in &parameters {
            let undecayed = p.name.contains("bias") || p.name.contains("norm");
            assert_eq!(p.decay, !undecayed, "{what}: {}", p.name);
        }
    }
}
