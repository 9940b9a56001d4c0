//! One sequence from prompt to end.

use crate::{CausalLm, ModelError, Sampler, SamplingConfig, State};
use serde::Serialize;
use std::ops::ControlFlow;

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model gave a stop token.
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
    sampling.validate()?;
    let mut sampler = Sampler::new(sampling.clone());
    let mut state = State::new(model);
    if prompt.len() >= state.capacity() {
        return Err(ModelError::ContextFull { held: prompt.len(), adding: 1, capacity: state.capacity() });
    }
    let mut logits = model.step(&[prompt], &mut [&mut state])?;
    let mut history = prompt.to_vec();
    let finish = loop {
        if history.len() - prompt.len() >= max_tokens {
            break FinishReason::Length;
        }
        let token = sampler.sample(&mut logits[0], &history);
        if stop_tokens.contains(&token) {
            break FinishReason::Stop;
        }
        history.push(token);
        if on_token(token).is_break() {
            break FinishReason::Cancelled;
        }
        if history.len() - prompt.len() >= max_tokens {
            break FinishReason::Length;
        }
        if state.len() >= state.capacity() {
            break FinishReason::ContextFull;
        }
        logits = model.step(&[&[token]], &mut [&mut state])?;
    };
    Ok(Generation { tokens: history.split_off(prompt.len()), finish })
}
