//! Truncated back-propagation through time: the state goes on from piece to piece, gradients do not go back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use burn::prelude::*;
use common::gradients::by_name;
use common::*;
use danlu_model::{Architecture, CausalLm, DropoutKey, ModelConfig, Recompute, SequenceOptions};
use std::collections::BTreeMap;

const BATCH: usize = 2;
const TIME: usize = 11;

type Gradients = BTreeMap<String, Vec<f32>>;

fn kinds() -> Vec<(&'static str, ModelConfig)> {
    recurrent_kinds()
}

fn model(config: &ModelConfig) -> CausalLm {
    lively_on(config, 9, &Device::flex().autodiff())
}

/// Loss and summed gradients; targets outside `learnt` are left out.
fn trained(
    model: &CausalLm,
    options: &SequenceOptions,
    learnt: std::ops::Range<usize>,
    recompute: Recompute,
) -> (f64, Gradients) {
    let inputs: Vec<i32> = tokens(BATCH * TIME, 3).iter().map(|t| *t as i32).collect();
    let targets = tokens(BATCH * TIME, 8);
    let targets =
        targets.iter().enumerate().map(|(at, t)| if learnt.contains(&(at % TIME)) { *t as i32 } else { -100 });
    let inputs = Tensor::from_data(TensorData::new(inputs, [BATCH, TIME]), &model.device());
    let targets = Tensor::from_data(TensorData::new(targets.collect::<Vec<_>>(), [BATCH * TIME]), &model.device());
    let mut sum = Gradients::new();
    let loss = model.loss_and_gradients(inputs, targets, options.clone(), recompute, &mut |gradients| {
        for (name, gradient) in by_name(model, model.parameters(), &gradients) {
            let Some(gradient) = gradient else { continue };
            let sum = sum.entry(name).or_insert_with(|| vec![0.0; gradient.len()]);
            sum.iter_mut().zip(&gradient).for_each(|(sum, g)| *sum += g);
        }
    });
    (common::gradients::value(loss), sum)
}

fn of(bptt: Option<usize>) -> SequenceOptions {
    SequenceOptions { bptt, ..SequenceOptions::default() }
}

fn assert_close(what: &str, a: &Gradients, b: &Gradients) {
    assert!(a.keys().eq(b.keys()), "{what}");
    for (name, a) in a {
        let length = a.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let apart = a.iter().zip(&b[name]).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>().sqrt();
        assert!(length > 1e-3 && apart <= 1e-5 * length, "{what}: {name} is {apart} of {length} apart");
    }
}

#[test]
fn the_loss_is_that_of_whole_sequences_as_the_state_is_carried() {
    for (what, config) in kinds() {
        let model = model(&config);
        let (whole, _) = trained(&model, &of(None), 0..TIME, Recompute::None);
        for length in [1, 4, 5, TIME - 1] {
            let (pieces, _) = trained(&model, &of(Some(length)), 0..TIME, Recompute::None);
            assert!((whole - pieces).abs() < 1e-5 * whole, "{what}: {pieces} in pieces of {length}, {whole} whole");
        }
        for length in [TIME, TIME + 5] {
            let same = trained(&model, &of(Some(length)), 0..TIME, Recompute::None);
            assert_eq!(same, trained(&model, &of(None), 0..TIME, Recompute::None), "{what}");
        }
    }
}

/// Where documents begin at the borders of pieces, nothing flows over these either way.
#[test]
fn gradients_are_those_of_each_piece_from_a_state_that_is_given() {
    let documents = |border: usize| Some((0..BATCH * TIME).map(|at| u32::from(at % TIME >= border)).collect());
    for (what, config) in kinds() {
        let model = model(&config);
        // Where documents begin anew at each border, nothing flows over it either way.
        let apart = SequenceOptions { documents: documents(4), bptt: Some(4), ..of(None) };
        let whole = SequenceOptions { documents: documents(4), ..of(None) };
        let (a, b) =
            (trained(&model, &apart, 0..8, Recompute::None).1, trained(&model, &whole, 0..8, Recompute::None).1);
        let crossing = trained(&model, &of(Some(4)), 0..8, Recompute::None).1;
        assert!(
            a.keys().any(|name| crossing[name] != a[name]),
            "{what}: the state is carried where no document begins"
        );
        // Steps 4..8 are one piece of the same document as 8..11, of which nothing is learnt.
        assert_close(what, &a, &b);
    }
}

#[test]
fn what_is_learnt_of_a_later_piece_says_nothing_to_an_earlier_one() {
    // The input's own rows show which steps a gradient reaches, as the head has a matrix of its own.
    let config = ModelConfig { tied: false, layers: 2, ..tiny_recurrent(Architecture::Lstm) };
    let model = model(&config);
    let rows = |options: &SequenceOptions| {
        let gradient =
            trained(&model, options, 8..TIME, Recompute::None).1.remove("model.embed_tokens.weight").unwrap();
        let row = |token: u32| gradient[token as usize * 24..][..24].iter().any(|g| *g != 0.0);
        let inputs = tokens(BATCH * TIME, 3);
        let later: Vec<u32> = inputs.chunks(TIME).flat_map(|row| row[8..].to_vec()).collect();
        let earlier = inputs.chunks(TIME).flat_map(|row| row[..8].to_vec()).filter(|token| !later.contains(token));
        (later.iter().all(|token| row(*token)), earlier.filter(|token| row(*token)).count())
    };
    let (later, earlier) = rows(&of(Some(4)));
    assert!(later && earlier == 0, "{earlier} tokens of earlier pieces have a gradient");
    let (later, earlier) = rows(&of(None));
    assert!(later && earlier > 5, "{earlier}");
}

#[test]
fn gradients_of_the_last_piece_are_those_by_finite_differences() {
    for (what, config) in kinds() {
        let model = model(&config);
        let (_, gradients) = trained(&model, &of(Some(6)), 6..TIME, Recompute::None);
        // The head's matrix, or the projection before it, moves nothing of a state: their whole derivative is that of
        // the piece. So is that of the last layer's biases but for what went before, which a document's begin cuts off.
        let name = if config.tied { "model.projection.weight" } else { "lm_head.weight" };
        let Some(gradient) = gradients.get(name) else { continue };
        let length = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let at = |width: f64| {
            let mut values = model.named_parameters().unwrap();
            let data = &values[name];
            let moved: Vec<f32> = data
                .as_slice::<f32>()
                .unwrap()
                .iter()
                .zip(gradient)
                .map(|(x, g)| x + (width * f64::from(*g) / length) as f32)
                .collect();
            let moved = TensorData::new(moved, data.shape().clone());
            values.insert(name.to_owned(), moved);
            trained(&model.clone().load_named(values).unwrap(), &of(Some(6)), 6..TIME, Recompute::None).0
        };
        let slope = (at(0.01) - at(-0.01)) / 0.02;
        assert!((slope - length).abs() < 0.01 * length, "{what}: {slope}, {length}");
    }
}

#[test]
fn layers_computed_again_give_the_same_bits_and_dropout_has_other_masks_in_each_piece() {
    let key = DropoutKey { seed: 1, step: 2, first_sequence: 0 };
    for (what, config) in kinds() {
        let model = model(&ModelConfig { dropout: 0.3, ..config });
        let options = SequenceOptions { dropout: Some(key), ..of(Some(4)) };
        let [none, block] = [Recompute::None, Recompute::Block].map(|again| trained(&model, &options, 0..TIME, again));
        assert!(none.0 == block.0, "{what}");
        assert_close(what, &none.1, &block.1);
        let whole = trained(&model, &SequenceOptions { bptt: None, ..options }, 0..TIME, Recompute::None);
        assert!(whole.0 != none.0, "{what}");
    }
}
