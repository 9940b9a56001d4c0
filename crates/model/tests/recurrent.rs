//! What only recurrent models have: states of one size, settings of their own, results that threads do not change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use burn::module::Module;
use burn::prelude::*;
use common::*;
use danlu_model::{
    Architecture, CausalLm, FinishReason, ModelConfig, ModelError, Nonlinearity, NormKind, Positions, Precision,
    Recompute, SamplingConfig, SequenceOptions, State, generate,
};
use std::ops::ControlFlow;

#[test]
fn a_state_has_one_size_and_goes_back_only_to_its_beginning_or_a_clone() {
    for (what, config) in recurrent_kinds() {
        let model = lively(&config, 4);
        let sequence = tokens(20, 1);
        let mut state = State::new(&model);
        let bytes = state.bytes();
        let first = model.step(&[&sequence[..9]], &mut [&mut state]).unwrap();
        let kept = state.clone();
        model.step(&[&sequence[9..]], &mut [&mut state]).unwrap();
        assert_eq!((state.len(), state.bytes()), (20, bytes), "{what}");
        let error = state.truncate(9).unwrap_err();
        assert!(matches!(error, ModelError::CannotRewind { held: 20, to: 9 }), "{what}: {error}");
        assert!(error.hint().is_some());
        state.truncate(20).unwrap();
        assert_eq!(state.len(), 20);

        let mut again = kept.clone();
        let other = model.step(&[&[3, 1, 4]], &mut [&mut again]).unwrap();
        let whole: Vec<u32> = sequence[..9].iter().copied().chain([3, 1, 4]).collect();
        assert!(largest_difference(&other[0], &full_logits(&model, &whole)[11]) < 1e-5, "{what}");

        state.truncate(0).unwrap();
        assert!(state.is_empty());
        assert_eq!(model.step(&[&sequence[..9]], &mut [&mut state]).unwrap(), first, "{what}");
    }
}

#[test]
fn sequences_may_be_longer_than_max_seq_len() {
    let model = lively(&tiny_recurrent(Architecture::Gru), 4);
    let sequence = tokens(50, 1);
    let mut state = State::new(&model);
    let logits = model.step(&[&sequence], &mut [&mut state]).unwrap();
    assert!(largest_difference(&logits[0], &full_logits(&model, &sequence)[49]) < 1e-5);
}

#[test]
fn states_of_other_models_are_refused() {
    let lstm = tiny_recurrent(Architecture::Lstm);
    let model = lively(&lstm, 4);
    let others = [
        tiny(),
        tiny_recurrent(Architecture::Gru),
        ModelConfig { layers: 3, ..lstm.clone() },
        ModelConfig { hidden_size: 20, ..lstm },
    ];
    for other in others {
        let mut strange = State::new(&lively(&other, 1));
        let error = model.step(&[&[1]], &mut [&mut strange]).unwrap_err();
        assert!(matches!(error, ModelError::StateMismatch { sequence: 0 }), "{error}");
        assert!(strange.is_empty());
    }
}

#[test]
fn greedy_generation_is_the_repeated_argmax_of_the_forward_pass() {
    let greedy = SamplingConfig { temperature: 0.0, ..SamplingConfig::default() };
    for (what, config) in recurrent_kinds() {
        for model in [lively(&config, 7), lively(&config, 7).quantized().unwrap()] {
            let prompt = tokens(5, 2);
            let mut sequence = prompt.clone();
            for _ in 0..12 {
                let logits = full_logits(&model, &sequence).pop().unwrap();
                let best = (0..VOCAB).max_by(|a, b| logits[*a].total_cmp(&logits[*b]).then(b.cmp(a))).unwrap();
                sequence.push(best as u32);
            }
            let found = generate(&model, &prompt, &greedy, 12, &[], |_| ControlFlow::Continue(())).unwrap();
            assert_eq!((found.finish, &found.tokens[..]), (FinishReason::Length, &sequence[5..]), "{what}");
        }
    }
}

#[test]
fn int8_logits_are_near_those_of_f32_and_not_the_same() {
    for (what, config) in recurrent_kinds() {
        let sequence = tokens(20, 1);
        let model = CausalLm::new(&config, VOCAB, 5, &Device::flex()).unwrap();
        let (dense, int8) = (full_logits(&model, &sequence), full_logits(&model.quantized().unwrap(), &sequence));
        let largest = dense.iter().flatten().fold(0f32, |m, x| m.max(x.abs()));
        let apart = largest_difference(&dense.concat(), &int8.concat());
        assert!(apart > 0.0 && apart < 0.03 * largest, "{what}: {apart} of {largest}");
    }
}

/// Bits of the loss and of every gradient.
fn trained(config: &ModelConfig, recompute: Recompute, precision: Precision) -> Vec<u32> {
    let model = lively_on(config, 9, &Device::flex().autodiff()).with_precision(precision);
    let (batch, time) = (12, 9);
    let ids = |seed| tokens(batch * time, seed).iter().map(|t| *t as i32).collect::<Vec<_>>();
    let inputs = Tensor::from_data(TensorData::new(ids(3), [batch, time]), &model.device());
    let targets = Tensor::from_data(TensorData::new(ids(8), [batch * time]), &model.device());
    let documents = Some((0..batch * time).map(|at| (at % time / 4) as u32).collect());
    let mut bits = Vec::new();
    let options = SequenceOptions { documents, ..SequenceOptions::default() };
    let loss = model.loss_and_gradients(inputs, targets, options, recompute, &mut |gradients| {
        struct Bits<'a>(&'a burn::tensor::Gradients, Vec<u32>);
        impl burn::module::ModuleVisitor for Bits<'_> {
            fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
                let gradient = param.val().grad(self.0);
                self.1.extend(
                    gradient
                        .into_iter()
                        .flat_map(|g| g.into_data().iter::<f32>().collect::<Vec<_>>())
                        .map(f32::to_bits),
                );
            }
        }
        let mut visitor = Bits(&gradients, Vec::new());
        model.visit(&mut visitor);
        bits.extend(visitor.1);
    });
    bits.push(loss.into_scalar::<f32>().to_bits());
    bits
}

#[test]
fn one_and_two_threads_give_the_same_bits() {
    for (what, config) in recurrent_kinds() {
        for recompute in [Recompute::None, Recompute::Block] {
            for precision in [Precision::F32, Precision::Bf16] {
                let [one, two] = [1, 2].map(|threads| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    pool.install(|| trained(&config, recompute, precision))
                });
                assert!(one.len() > 1000 && one == two, "{what}, {recompute:?}, {precision:?}");
            }
        }
    }
}

#[test]
fn settings_of_the_other_kind_are_named() {
    let lstm = || tiny_recurrent(Architecture::Lstm);
    let cases = [
        (ModelConfig { heads: 8, ..lstm() }, "heads"),
        (ModelConfig { kv_heads: Some(1), ..lstm() }, "kv_heads"),
        (ModelConfig { head_dim: Some(8), ..lstm() }, "head_dim"),
        (ModelConfig { ffn_size: Some(8), ..lstm() }, "ffn_size"),
        (ModelConfig { norm: Some(NormKind::Rms), ..lstm() }, "norm"),
        (ModelConfig { positions: Some(Positions::Rope), ..lstm() }, "positions"),
        (ModelConfig { rope_theta: 1e6, ..lstm() }, "rope_theta"),
        (ModelConfig { nonlinearity: Some(Nonlinearity::Relu), ..lstm() }, "nonlinearity"),
        (ModelConfig { nonlinearity: Some(Nonlinearity::Relu), ..tiny() }, "nonlinearity"),
        (ModelConfig { embedding_size: Some(24), ..tiny() }, "embedding_size"),
        (ModelConfig { variational_dropout: Some(true), ..tiny() }, "variational_dropout"),
        (ModelConfig { embedding_size: Some(0), ..lstm() }, "embedding_size"),
        (ModelConfig { dropout: 1.0, ..lstm() }, "dropout"),
    ];
    for (config, expected) in cases {
        match config.validate() {
            Err(ModelError::InvalidConfig { key, .. }) => assert_eq!(key, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    let error = ModelConfig { heads: 8, ..lstm() }.validate().unwrap_err().to_string();
    assert_eq!(error, "model setting `heads` = 8: expected it left out, as architecture = \"lstm\" has no such thing");
    lstm().validate().unwrap();
    let written = lstm().settings();
    assert!(!written.contains_key("heads") && written["embedding_size"] == 24 && written["architecture"] == "lstm");
}

#[test]
fn parameters_and_operations_of_a_worked_example() {
    let config = ModelConfig { embedding_size: Some(5), hidden_size: 3, ..tiny_recurrent(Architecture::Gru) };
    let counts = config.parameter_counts(10);
    // 3 gates of 3 over an input of 5, a state of 3 and two biases; then over 3, 3 and two biases.
    assert_eq!(counts.recurrent, 9 * (5 + 3 + 2) + 9 * (3 + 3 + 2));
    assert_eq!((counts.embedding, counts.projection, counts.head, counts.total()), (50, 15, 0, 50 + 15 + 162));
    assert_eq!(config.flops_per_token(10, 7), 6.0 * (9.0 * 8.0 + 9.0 * 6.0 + 15.0 + 50.0));
}
