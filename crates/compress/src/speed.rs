//! How fast a model decodes.

use crate::CompressError;
use danlu_model::{CausalLm, State};
use std::time::Instant;

/// Tokens per second of decoding one sequence greedily: `count` tokens after `prompt`, the prompt's own time and a few
/// tokens of warming up left out. When the context is full it goes on from the prompt again.
///
/// # Errors
/// [`CompressError::NothingToMeasure`] if there is no token to decode; what [`CausalLm::step`] gives for the prompt.
pub fn decode_tokens_per_second(model: &CausalLm, prompt: &[u32], count: usize) -> Result<f64, CompressError> {
    const WARM_UP: usize = 4;
    let mut state = State::new(model);
    let capacity = state.capacity();
    if count == 0 || prompt.len() >= capacity {
        return Err(CompressError::NothingToMeasure { tokens: count, prompt: prompt.len(), capacity });
    }
    let mut token = best(&model.step(&[prompt], &mut [&mut state])?);
    let (mut start, after_prompt) = (Instant::now(), state.clone());
    for i in 0..WARM_UP + count {
        if i == WARM_UP {
            start = Instant::now();
        }
        if state.len() >= capacity {
            state = after_prompt.clone();
        }
        token = best(&model.step(&[&[token]], &mut [&mut state])?);
    }
    Ok(count as f64 / start.elapsed().as_secs_f64().max(1e-9))
}

/// The most probable token of the first sequence.
fn best(logits: &[Vec<f32>]) -> u32 {
    let highest = logits
        .iter()
        .flatten()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), |a, (i, x)| if *x > a.1 { (i, *x) } else { a });
    highest.0 as u32
}
