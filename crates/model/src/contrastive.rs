//! Contrastive search: of the likeliest tokens the one least like what came before.

use crate::constraint::Chooser;
use crate::generate::check_room;
use crate::sampler::{check_repetition_penalty, check_setting, log_softmax, penalize, top_log_probabilities};
use crate::{
    FinishReason, Generation, LogitsConstraint, LogitsRules, ModelError, Sampler, SamplingConfig, State, Stepper,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// How to search (Su et al. 2022, "A Contrastive Framework for Neural Text Generation").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContrastiveConfig {
    /// Candidates: the likeliest tokens of each step, all of which the model reads.
    pub top_k: usize,
    /// Weight of the degeneration penalty, in 0..=1; 0 is greedy search.
    pub penalty_alpha: f32,
    /// New tokens at most.
    pub max_tokens: usize,
    /// As in [`crate::SamplingConfig`].
    pub repetition_penalty: f32,
    pub rules: LogitsRules,
}

impl Default for ContrastiveConfig {
    fn default() -> Self {
        let (rules, repetition_penalty) = (LogitsRules::default(), 1.0);
        ContrastiveConfig { top_k: 4, penalty_alpha: 0.6, max_tokens: 200, repetition_penalty, rules }
    }
}

impl ContrastiveConfig {
    /// Each candidate costs a copy of the state.
    pub const MOST_CANDIDATES: usize = 256;

    /// # Errors
    /// [`ModelError::InvalidSampling`] names the first setting out of its range.
    pub fn validate(&self) -> Result<(), ModelError> {
        let (top_k, alpha) = (self.top_k, self.penalty_alpha);
        let few = (1..=Self::MOST_CANDIDATES).contains(&top_k);
        check_setting(few, "top_k", top_k, "a whole number from 1 to 256")?;
        check_setting((0.0..=1.0).contains(&alpha), "penalty_alpha", alpha, "a number from 0 to 1")?;
        check_repetition_penalty(self.repetition_penalty)?;
        self.rules.validate()
    }
}

/// Continues `state` by a prompt and then, at each step, by the candidate token `v` of the highest
/// `(1 - alpha) p(v) - alpha max_j cos(h_v, h_j)`, where `h` is what the head reads at a token and `j` runs over the
/// prompt and all tokens so far. `on_token` sees each new token and may break off.
///
/// # Errors
/// As [`crate::generate_from`]; [`ModelError::NoHiddenStates`] for a model that does not give them.
pub fn contrastive_search<M: Stepper + ?Sized>(
    model: &M,
    mut state: State,
    prompt: &[u32],
    stop_tokens: &[u32],
    config: &ContrastiveConfig,
    constraint: Option<&dyn LogitsConstraint>,
    mut on_token: impl FnMut(u32) -> ControlFlow<()>,
) -> Result<Generation, ModelError> {
    config.validate()?;
    check_room(&state, prompt.len())?;
    let mut chooser = Chooser {
        sampler: Sampler::new(SamplingConfig::default()),
        rules: config.rules.clone(),
        constraint: constraint.map(|constraint| constraint.fork()),
        stop_tokens: stop_tokens.to_vec(),
        prompt: prompt.len(),
    };
    let stepped = model.step_with_hidden(&[prompt], &mut [&mut state])?.pop();
    let Some(stepped) = stepped else { unreachable!("one sequence was given") };
    let mut logits = stepped.logits;
    let mut context = Context::new(stepped.hidden.len() / prompt.len());
    context.extend(&stepped.hidden);
    let mut sequence = prompt.to_vec();
    let finish = loop {
        if sequence.len() - prompt.len() >= config.max_tokens {
            break FinishReason::Length;
        }
        penalize(&mut logits, &sequence, config.repetition_penalty);
        if !chooser.allow(&mut logits, &sequence)? {
            break FinishReason::Stop;
        }
        if state.len() >= state.capacity() {
            break FinishReason::ContextFull;
        }
        let best = best_candidate(model, &mut state, &logits, &context, config)?;
        if stop_tokens.contains(&best.token) {
            break FinishReason::Stop;
        }
        chooser.commit(best.token)?;
        sequence.push(best.token);
        logits = best.logits;
        context.extend(&best.hidden);
        if on_token(best.token).is_break() {
            break FinishReason::Cancelled;
        }
        if chooser.is_complete() {
            break FinishReason::Stop;
        }
    };
    Ok(Generation { tokens: sequence.split_off(prompt.len()), finish })
}

/// A token that the model has read on trial.
struct Candidate {
    token: u32,
    logits: Vec<f32>,
    hidden: Vec<f32>,
}

/// Reads the likeliest tokens side by side, and leaves in `state` what it is after the best of them.
fn best_candidate<M: Stepper + ?Sized>(
    model: &M,
    state: &mut State,
    logits: &[f32],
    context: &Context,
    config: &ContrastiveConfig,
) -> Result<Candidate, ModelError> {
    let likeliest = top_log_probabilities(&log_softmax(logits), config.top_k);
    let likeliest: Vec<(u32, f32)> = likeliest.into_iter().filter(|(_, x)| x.is_finite()).collect();
    let tokens: Vec<[u32; 1]> = likeliest.iter().map(|(token, _)| [*token]).collect();
    let tokens: Vec<&[u32]> = tokens.iter().map(|token| token.as_slice()).collect();
    let mut states = vec![state.clone(); tokens.len()];
    let stepped = model.step_with_hidden(&tokens, &mut states.iter_mut().collect::<Vec<_>>())?;
    let alpha = config.penalty_alpha;
    let scores = likeliest.iter().zip(&stepped).map(|((_, log_probability), stepped)| {
        (1.0 - alpha) * log_probability.exp() - alpha * context.likeness(&stepped.hidden)
    });
    // Of equals the likelier one.
    let best = scores.enumerate().fold((0, f32::NEG_INFINITY), |best, (i, x)| if x > best.1 { (i, x) } else { best });
    *state = states.swap_remove(best.0);
    let token = likeliest[best.0].0;
    let Some(stepped) = stepped.into_iter().nth(best.0) else { unreachable!("as many results as candidates") };
    Ok(Candidate { token, logits: stepped.logits, hidden: stepped.hidden })
}

/// The directions of all hidden states so far.
struct Context {
    width: usize,
    /// (tokens, width), each row of length 1.
    rows: Vec<f32>,
}

impl Context {
    fn new(width: usize) -> Self {
        Context { width, rows: Vec::new() }
    }

    fn extend(&mut self, hidden: &[f32]) {
        for row in hidden.chunks_exact(self.width.max(1)) {
            let length = length(row);
            self.rows.extend(row.iter().map(|x| x / length));
        }
    }

    /// The largest cosine between a hidden state (width) and those so far.
    fn likeness(&self, hidden: &[f32]) -> f32 {
        let length = length(hidden);
        let dot = |row: &[f32]| row.iter().zip(hidden).map(|(a, b)| a * b).sum::<f32>() / length;
        self.rows.par_chunks(self.width.max(1)).map(dot).reduce(|| f32::NEG_INFINITY, f32::max)
    }
}

fn length(row: &[f32]) -> f32 {
    row.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE)
}
