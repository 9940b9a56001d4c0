//! Sequences from prompt to end.

use crate::sampler::check_setting;
use crate::{
    CausalLm, Choice, Chooser, LogitsConstraint, LogitsRules, ModelError, Sampler, SamplingConfig, State, Stepper,
};
use serde::Serialize;
use std::ops::ControlFlow;

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model gave a stop token, or what a constraint asks for is whole.
    Stop,
    /// As many tokens as asked for.
    Length,
    /// The model's context is full.
    ContextFull,
    /// The caller's function broke off.
    Cancelled,
}

/// What was generated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Generation {
    /// New tokens, without the prompt and without the stop token.
    pub tokens: Vec<u32>,
    pub finish: FinishReason,
}

/// How to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    pub sampling: SamplingConfig,
    pub rules: LogitsRules,
    /// New tokens at most.
    pub max_tokens: usize,
    pub stop_tokens: Vec<u32>,
    /// Continuations of the prompt. The first is sampled by the seed given, each other by the next one.
    pub samples: usize,
}

/// Continues a prompt token by token. `on_token` sees each new token as it comes, the stop token not.
///
/// # Errors
/// [`ModelError::ContextFull`] if the prompt leaves no room for a token, [`ModelError::NoTokens`] if it is empty,
/// [`ModelError::InvalidSampling`].
pub fn generate(
    model: &CausalLm,
    prompt: &[u32],
    sampling: &SamplingConfig,
    max_tokens: usize,
    stop_tokens: &[u32],
    mut on_token: impl FnMut(u32) -> ControlFlow<()>,
) -> Result<Generation, ModelError> {
    let options = GenerateOptions {
        sampling: sampling.clone(),
        rules: LogitsRules::default(),
        max_tokens,
        stop_tokens: stop_tokens.to_vec(),
        samples: 1,
    };
    let mut generations = generate_from(model, State::new(model), prompt, &options, None, |_, token| on_token(token))?;
    let Some(generation) = generations.pop() else { unreachable!("one sample was asked for") };
    Ok(generation)
}

/// Continues `state` by a prompt (of an encoder-decoder: its start token) and what the model makes of it, in as many
/// samples as asked for, which go through the model together. `on_token` sees each new token of a sample, by its number,
/// and may break that sample off.
///
/// # Errors
/// As [`generate`], and those of the constraint and of [`Stepper::step`].
pub fn generate_from<M: Stepper + ?Sized>(
    model: &M,
    mut state: State,
    prompt: &[u32],
    options: &GenerateOptions,
    constraint: Option<&dyn LogitsConstraint>,
    mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Generation>, ModelError> {
    options.validate()?;
    check_room(&state, prompt.len())?;
    let mut logits = model.step(&[prompt], &mut [&mut state])?;
    let first = logits.pop().unwrap_or_default();
    let begin = |(index, state)| {
        let chooser = options.chooser(index, prompt.len(), constraint);
        Sample { index, chooser, state, sequence: prompt.to_vec(), finish: None }
    };
    let mut samples: Vec<Sample> = vec![state; options.samples].into_iter().enumerate().map(begin).collect();
    let mut logits = vec![first; samples.len()];
    loop {
        let running = samples.iter_mut().filter(|sample| sample.finish.is_none());
        for (sample, logits) in running.zip(&mut logits) {
            sample.finish = sample.take(logits, options.max_tokens, &mut on_token)?;
        }
        let mut running: Vec<&mut Sample> = samples.iter_mut().filter(|sample| sample.finish.is_none()).collect();
        if running.is_empty() {
            break;
        }
        let (tokens, mut states): (Vec<_>, Vec<_>) = running.iter_mut().map(|sample| sample.pending()).unzip();
        logits = model.step(&tokens, &mut states)?;
    }
    let generation = |mut sample: Sample| Generation {
        tokens: sample.sequence.split_off(prompt.len()),
        finish: sample.finish.unwrap_or(FinishReason::Cancelled),
    };
    Ok(samples.into_iter().map(generation).collect())
}

/// How many tokens can follow when the state has read `unread` more: at least one.
pub(crate) fn check_room(state: &State, unread: usize) -> Result<usize, ModelError> {
    let (held, capacity) = (state.len() + unread, state.capacity());
    if held >= capacity {
        return Err(ModelError::ContextFull { held, adding: 1, capacity });
    }
    Ok(capacity - held)
}

impl GenerateOptions {
    fn validate(&self) -> Result<(), ModelError> {
        self.sampling.validate()?;
        self.rules.validate()?;
        check_setting(self.samples > 0, "samples", self.samples, "a whole number of at least 1")
    }

    fn chooser(&self, index: usize, prompt: usize, constraint: Option<&dyn LogitsConstraint>) -> Chooser {
        let sampling = SamplingConfig { seed: self.sampling.seed.wrapping_add(index as u64), ..self.sampling.clone() };
        Chooser {
            sampler: Sampler::new(sampling),
            rules: self.rules.clone(),
            constraint: constraint.map(|constraint| constraint.fork()),
            stop_tokens: self.stop_tokens.clone(),
            prompt,
        }
    }
}

/// One continuation that is being written.
struct Sample {
    index: usize,
    chooser: Chooser,
    state: State,
    /// The prompt and what was generated.
    sequence: Vec<u32>,
    finish: Option<FinishReason>,
}

impl Sample {
    /// Chooses the next token; why the sample ends, if it does.
    fn take(
        &mut self,
        logits: &mut [f32],
        max_tokens: usize,
        on_token: &mut impl FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<Option<FinishReason>, ModelError> {
        if max_tokens == 0 {
            return Ok(Some(FinishReason::Length));
        }
        let Choice::Token(token) = self.chooser.choose(logits, &self.sequence)? else {
            return Ok(Some(FinishReason::Stop));
        };
        self.sequence.push(token);
        let generated = self.sequence.len() - self.chooser.prompt;
        Ok(if on_token(self.index, token).is_break() {
            Some(FinishReason::Cancelled)
        } else if self.chooser.is_complete() {
            Some(FinishReason::Stop)
        } else if generated >= max_tokens {
            Some(FinishReason::Length)
        } else {
            (self.state.len() >= self.state.capacity()).then_some(FinishReason::ContextFull)
        })
    }

    /// The token to be read next, and the state that reads it.
    fn pending(&mut self) -> (&[u32], &mut State) {
        (&self.sequence[self.sequence.len() - 1..], &mut self.state)
    }
}
