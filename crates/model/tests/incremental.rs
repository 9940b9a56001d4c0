//! The cached step gives what the forward pass over the whole sequence gives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use common::*;
use danlu_model::{ModelError, State};
use proptest::prelude::*;

/// Feeds `sequence` in pieces of the given sizes and compares the logits after each with the whole forward pass.
fn check_splits(model: &danlu_model::CausalLm, sequence: &[u32], pieces: &[usize], what: &str) {
    let want = full_logits(model, sequence);
    let mut state = State::new(model);
    let mut at = 0;
    for piece in pieces {
        let end = (at + piece).min(sequence.len());
        if at == end {
            break;
        }
        let logits = model.step(&[&sequence[at..end]], &mut [&mut state]).unwrap();
        let difference = largest_difference(&logits[0], &want[end - 1]);
        assert!(difference < 1e-5, "{what}: {difference} after {end} tokens");
        at = end;
        assert_eq!(state.len(), end);
    }
}

#[test]
fn any_split_equals_the_whole_for_every_kind() {
    for (what, config) in all_kinds() {
        let model = lively(&config, 1);
        let sequence = tokens(32, 3);
        check_splits(&model, &sequence, &[32], what);
        check_splits(&model, &sequence, &[1; 32], what);
        check_splits(&model, &sequence, &[7, 1, 1, 12, 3, 8], what);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn ragged_batches_equal_each_sequence_alone(lengths in prop::collection::vec((1usize..12, 1usize..9), 1..5), kind in 0..all_kinds().len()) {
        let (what, config) = all_kinds().swap_remove(kind);
        let model = lively(&config, 2);
        let sequences: Vec<Vec<u32>> = lengths.iter().enumerate().map(|(i, (a, b))| tokens(a + b, i)).collect();
        let mut states: Vec<State> = lengths.iter().map(|_| State::new(&model)).collect();
        for half in 0..2 {
            let news: Vec<&[u32]> = sequences.iter().zip(&lengths).map(|(s, (a, _))| if half == 0 { &s[..*a] } else { &s[*a..] }).collect();
            let mut borrowed: Vec<&mut State> = states.iter_mut().collect();
            let logits = model.step(&news, &mut borrowed).unwrap();
            for (i, (sequence, (a, b))) in sequences.iter().zip(&lengths).enumerate() {
                let end = if half == 0 { *a } else { a + b };
                let want = full_logits(&model, &sequence[..end]);
                let difference = largest_difference(&logits[i], &want[end - 1]);
                prop_assert!(difference < 1e-5, "{}: {} in sequence {}", what, difference, i);
            }
        }
    }
}

#[test]
fn truncation_takes_back_what_was_said() {
    let model = lively(&tiny(), 4);
    let sequence = tokens(20, 1);
    let mut state = State::new(&model);
    model.step(&[&sequence], &mut [&mut state]).unwrap();
    state.truncate(30).unwrap();
    assert_eq!(state.len(), 20);
    state.truncate(9).unwrap();
    let other = [3, 1, 4];
    let logits = model.step(&[&other], &mut [&mut state]).unwrap();
    let whole: Vec<u32> = sequence[..9].iter().copied().chain(other).collect();
    assert!(largest_difference(&logits[0], &full_logits(&model, &whole)[11]) < 1e-5);
}

#[test]
fn wrong_arguments_are_named_and_change_nothing() {
    let model = lively(&tiny(), 4);
    let (mut state, mut other) = (State::new(&model), State::new(&model));
    let before = tokens(30, 0);
    model.step(&[&before], &mut [&mut state]).unwrap();

    let error = model.step(&[&[1], &[1, 2, 3]], &mut [&mut other, &mut state]).unwrap_err();
    assert!(matches!(error, ModelError::ContextFull { held: 30, adding: 3, capacity: 32 }), "{error}");
    assert_eq!(error.to_string(), "context full: 30 tokens held and 3 to add, but the model's context is 32 tokens");
    assert!(error.hint().unwrap().contains("32 tokens"));
    let error = model.step(&[&[1, VOCAB as u32]], &mut [&mut other]).unwrap_err();
    assert!(matches!(error, ModelError::TokenOutOfRange { position: 1, token: 61, vocab_size: 61, .. }), "{error}");
    let error = model.step(&[&[]], &mut [&mut other]).unwrap_err();
    assert!(matches!(error, ModelError::NoTokens { sequence: 0 }), "{error}");
    let error = model.step(&[&[1]], &mut []).unwrap_err();
    assert!(matches!(error, ModelError::StateCount { sequences: 1, states: 0 }), "{error}");
    let mut strange = State::new(&lively(&tiny_gpt2(), 1));
    let error = model.step(&[&[1]], &mut [&mut strange]).unwrap_err();
    assert!(matches!(error, ModelError::StateMismatch { sequence: 0 }), "{error}");

    assert!(other.is_empty());
    assert_eq!(state.len(), 30);
    let logits = model.step(&[&[7, 8]], &mut [&mut state]).unwrap();
    let whole: Vec<u32> = before.iter().copied().chain([7, 8]).collect();
    assert!(largest_difference(&logits[0], &full_logits(&model, &whole)[31]) < 1e-5);
    assert_eq!(model.step(&[], &mut []).unwrap(), Vec::<Vec<f32>>::new());
}
