//! Generation from prompt to end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use common::*;
use danlu_model::{FinishReason, Generation, ModelError, SamplingConfig, generate};
use std::ops::ControlFlow;

fn greedy() -> SamplingConfig {
    SamplingConfig { temperature: 0.0, ..SamplingConfig::default() }
}

fn run(prompt: &[u32], sampling: &SamplingConfig, max_tokens: usize, stop: &[u32]) -> Result<Generation, ModelError> {
    generate(&lively(&tiny(), 7), prompt, sampling, max_tokens, stop, |_| ControlFlow::Continue(()))
}

/// What greedy generation must give, by whole forward passes only.
fn expected(prompt: &[u32], count: usize) -> Vec<u32> {
    let model = lively(&tiny(), 7);
    let mut sequence = prompt.to_vec();
    for _ in 0..count {
        let logits = full_logits(&model, &sequence).pop().unwrap();
        let best = (0..VOCAB).max_by(|a, b| logits[*a].total_cmp(&logits[*b]).then(b.cmp(a))).unwrap();
        sequence.push(best as u32);
    }
    sequence.split_off(prompt.len())
}

#[test]
fn greedy_generation_is_the_repeated_argmax_of_the_forward_pass() {
    let prompt = tokens(5, 2);
    let generation = run(&prompt, &greedy(), 12, &[]).unwrap();
    assert_eq!(generation, Generation { tokens: expected(&prompt, 12), finish: FinishReason::Length });
}

#[test]
fn it_ends_at_stop_tokens_limits_context_and_on_request() {
    let prompt = tokens(5, 2);
    let all = expected(&prompt, 27);
    let stop = all[6];
    let until = all.iter().position(|t| *t == stop).unwrap();
    assert_eq!(
        run(&prompt, &greedy(), 12, &[stop]).unwrap(),
        Generation { tokens: all[..until].to_vec(), finish: FinishReason::Stop }
    );
    assert_eq!(run(&prompt, &greedy(), 0, &[]).unwrap(), Generation { tokens: vec![], finish: FinishReason::Length });
    // 32 positions: 5 of the prompt, 27 new ones read back in, and one more that is only said.
    let full = run(&prompt, &greedy(), 1000, &[]).unwrap();
    assert_eq!(full.finish, FinishReason::ContextFull);
    assert_eq!(full.tokens.len(), 28);
    assert_eq!(full.tokens[..27], all[..]);
    let mut seen = Vec::new();
    let cancelled = generate(&lively(&tiny(), 7), &prompt, &greedy(), 9, &[], |token| {
        seen.push(token);
        if seen.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(cancelled.unwrap(), Generation { tokens: all[..3].to_vec(), finish: FinishReason::Cancelled });
    assert_eq!(seen, all[..3]);
}

#[test]
fn seeds_repeat_and_differ() {
    let sampling = |seed| SamplingConfig { seed, temperature: 1.2, ..SamplingConfig::default() };
    let prompt = tokens(4, 1);
    let first = run(&prompt, &sampling(1), 20, &[]).unwrap();
    assert_eq!(first, run(&prompt, &sampling(1), 20, &[]).unwrap());
    assert_ne!(first, run(&prompt, &sampling(2), 20, &[]).unwrap());
}

#[test]
fn prompts_that_cannot_be_continued_are_refused() {
    let error = run(&tokens(32, 1), &greedy(), 5, &[]).unwrap_err();
    assert!(matches!(error, ModelError::ContextFull { held: 32, adding: 1, capacity: 32 }), "{error}");
    assert!(matches!(run(&[], &greedy(), 5, &[]).unwrap_err(), ModelError::NoTokens { .. }));
    let bad = SamplingConfig { top_p: 7.0, ..greedy() };
    assert!(matches!(run(&[1], &bad, 5, &[]).unwrap_err(), ModelError::InvalidSampling { key: "top_p", .. }));
}
