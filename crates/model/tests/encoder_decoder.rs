//! Encoder-decoders token by token: the same as the whole pass, whatever the batch, and states that share their source.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use burn::prelude::*;
use common::encoder_decoders::{all_kinds, input, lively};
use common::{VOCAB, largest_difference};
use danlu_model::{
    EncoderDecoder, EncoderDecoderConfig, EncoderDecoderKind, ModelError, SaveOptions, Seq2SeqInput, SpecialTokens,
    State, Stepper,
};

/// Logits after each token of each target, by the pass over whole sequences.
fn whole(model: &EncoderDecoder, input: &Seq2SeqInput) -> Vec<Vec<Vec<f32>>> {
    let logits = model.logits(input, None).unwrap();
    let [_, time, width] = logits.dims();
    let logits: Vec<f32> = logits.into_data().try_into_vec().unwrap();
    let of = |rows: &[f32]| rows.chunks(width).map(<[f32]>::to_vec).collect();
    logits.chunks(time * width).map(of).collect()
}

fn close(what: &str, found: &[f32], want: &[f32]) {
    let difference = largest_difference(found, want);
    assert!(difference < 2e-5, "{what}: off by {difference}");
}

/// Targets of one batch at their own pace: some take one token, others several, others pause.
#[test]
fn steps_are_the_whole_pass() {
    for (what, config, _) in all_kinds() {
        let (model, input) = (lively(&config, &Device::flex()), input());
        let want = whole(&model, &input);
        let mut states = model.start_all(&input.input_ids).unwrap();
        for take in [1, 3, 1, 2, 1, 1] {
            let (mut rows, mut tokens, mut at): (Vec<&mut State>, Vec<&[u32]>, Vec<usize>) = Default::default();
            for (i, state) in states.iter_mut().enumerate() {
                let left = &input.decoder_input_ids[i][state.len()..];
                let count = left.len().min(take + i % 2);
                if count > 0 {
                    tokens.push(&left[..count]);
                    rows.push(state);
                    at.push(i);
                }
            }
            let logits = model.step(&tokens, &mut rows).unwrap();
            for ((state, found), i) in rows.iter().zip(&logits).zip(at) {
                close(&format!("{what}: sequence {i} of {} tokens", state.len()), found, &want[i][state.len() - 1]);
            }
        }
        assert!(states.iter().zip(&input.decoder_input_ids).all(|(state, ids)| state.len() == ids.len()), "{what}");
    }
}

#[test]
fn a_source_started_alone_is_the_same_as_in_a_batch() {
    for (what, config, _) in all_kinds() {
        let (model, input) = (lively(&config, &Device::flex()), input());
        let mut together = model.start_all(&input.input_ids).unwrap();
        for (source, state) in input.input_ids.iter().zip(&mut together) {
            let mut alone = model.start(source).unwrap();
            let step = |state: &mut State| model.step(&[&[5, 6]], &mut [state]).unwrap().remove(0);
            close(what, &step(&mut alone), &step(state));
        }
    }
}

#[test]
fn clones_part_and_states_go_back() {
    let (_, config, _) = all_kinds().remove(4);
    let model = lively(&config, &Device::flex());
    let step = |tokens: &[u32], state: &mut State| model.step(&[tokens], &mut [state]).unwrap().remove(0);
    let mut first = model.start(&[3, 4, 5, 6, 7]).unwrap();
    assert!(first.is_empty());
    let of_source = first.bytes();
    // Keys and values of 5 tokens in two layers of 18 numbers.
    assert_eq!(of_source, 5 * 2 * 2 * 18 * 4);
    step(&[1, 2], &mut first);
    let mut second = first.clone();
    let (a, b) = (step(&[8], &mut first), step(&[9], &mut second));
    assert_ne!(a, b);
    assert_eq!(first.bytes(), of_source + 3 * 2 * 2 * 18 * 4);
    second.truncate(2).unwrap();
    assert_eq!(step(&[8], &mut second), a);
    second.truncate(0).unwrap();
    let mut fresh = model.start(&[3, 4, 5, 6, 7]).unwrap();
    assert_eq!(step(&[1], &mut second), step(&[1], &mut fresh));
}

#[test]
fn wrong_steps_are_refused_and_change_nothing() {
    let kinds = all_kinds();
    let model = lively(&kinds[0].1, &Device::flex());
    let mut state = model.start(&[1, 2, 3]).unwrap();
    let refused = |tokens: &[u32], state: &mut State| model.step(&[tokens], &mut [state]).unwrap_err();
    assert!(matches!(refused(&[], &mut state), ModelError::NoTokens { sequence: 0 }));
    let out = VOCAB as u32;
    assert!(matches!(refused(&[1, out], &mut state), ModelError::TokenOutOfRange { position: 1, .. }));
    assert!(matches!(refused(&[1; 15], &mut state), ModelError::ContextFull { capacity: 14, .. }));
    assert_eq!(state.len(), 0);
    let mut other = lively(&kinds[4].1, &Device::flex()).start(&[1]).unwrap();
    assert!(matches!(refused(&[1], &mut other), ModelError::StateMismatch { sequence: 0 }));
    let decoder = common::lively(&common::tiny(), 3);
    let mut other = State::new(&decoder);
    assert!(matches!(refused(&[1], &mut other), ModelError::StateMismatch { sequence: 0 }));
    assert!(matches!(decoder.step(&[&[1]], &mut [&mut state]).unwrap_err(), ModelError::StateMismatch { sequence: 0 }));
    assert!(matches!(model.step(&[&[1]], &mut []).unwrap_err(), ModelError::StateCount { sequences: 1, states: 0 }));
    assert!(model.step(&[], &mut []).unwrap().is_empty());
    for (source, fits) in [(vec![], false), (vec![out], false), (vec![1; 15], false), (vec![1; 14], true)] {
        assert_eq!(model.start(&source).is_ok(), fits, "{source:?}");
    }
}

#[test]
fn a_seed_gives_the_same_model_and_names_are_unique() {
    for (what, config, _) in all_kinds() {
        let model = |seed| EncoderDecoder::new(&config, VOCAB, seed, &Device::flex()).unwrap();
        let (a, b, c) = (model(1), model(1), model(2));
        let values = |model: &EncoderDecoder| model.named_parameters().unwrap();
        assert_eq!(values(&a), values(&b), "{what}");
        assert_ne!(values(&a), values(&c), "{what}");
        assert_eq!(values(&a).len(), a.parameters().len(), "{what}");
        let count: usize = a.parameters().iter().map(|p| p.shape.iter().product::<usize>()).sum();
        assert_eq!(count, a.num_params(), "{what}");
    }
}

/// At their start models say of every token about the same, so that the loss begins near ln(vocabulary).
#[test]
fn losses_begin_near_chance() {
    for architecture in [EncoderDecoderKind::Marian, EncoderDecoderKind::Bart, EncoderDecoderKind::T5] {
        let config =
            EncoderDecoderConfig { architecture, hidden_size: 64, heads: 4, ..EncoderDecoderConfig::default() };
        let model = EncoderDecoder::new(&config, VOCAB, 3, &Device::flex()).unwrap();
        let targets: Vec<Vec<u32>> = (0..4).map(|i| common::tokens(30, i + 4)).collect();
        let sources = (0..4).map(|i| common::tokens(40, i)).collect();
        let (input, labels) = Seq2SeqInput::teacher_forcing(sources, &targets, 0);
        let loss = model.loss_sum(&input, &labels, None).unwrap().into_data();
        let mean = loss.as_slice::<f32>().unwrap()[0] / 120.0;
        let chance = (VOCAB as f32).ln();
        assert!((mean / chance - 1.0).abs() < 0.4, "{architecture:?}: {mean}, by chance {chance}");
    }
}

#[test]
fn special_tokens_given_to_a_folder_come_back() {
    let (_, config, _) = all_kinds().remove(0);
    let model = lively(&config, &Device::flex());
    let special = SpecialTokens { bos: None, eos: vec![2], pad: Some(1), decoder_start: Some(1) };
    let dir = tempfile::tempdir().unwrap();
    model.save(dir.path(), &SaveOptions { special_tokens: Some(special.clone()) }).unwrap();
    let again = EncoderDecoder::load(dir.path(), &Device::flex()).unwrap();
    assert_eq!(again.special_tokens(), &special);
    assert_eq!(again.named_parameters().unwrap(), model.named_parameters().unwrap());
    assert_eq!(again.config(), model.config());
}
