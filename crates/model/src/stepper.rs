//! What continues sequences token by token, of whatever architecture.

use crate::{CausalLm, ModelError, State};

/// A model that continues sequences: what beam search and the other ways of generating ask of it. A state is made by the
/// model itself ([`State::new`] for a language model; an encoder-decoder reads its source first) and cloned where ways part.
pub trait Stepper {
    /// Tokens that the model knows.
    fn vocab_size(&self) -> usize;

    /// Continues each sequence by its new tokens and returns the logits after its last one; see [`CausalLm::step`].
    ///
    /// # Errors
    /// As [`CausalLm::step`]; no state has changed then.
    fn step(&self, tokens: &[&[u32]], states: &mut [&mut State]) -> Result<Vec<Vec<f32>>, ModelError>;

    /// As [`Stepper::step`], with what the head read at each new token.
    ///
    /// # Errors
    /// As [`Stepper::step`]; [`ModelError::NoHiddenStates`] where a model does not give them.
    fn step_with_hidden(&self, tokens: &[&[u32]], states: &mut [&mut State]) -> Result<Vec<Stepped>, ModelError> {
        let _ = (tokens, states);
        Err(ModelError::NoHiddenStates)
    }
}

/// What a step gives for one sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Stepped {
    /// After the last token, (vocabulary).
    pub logits: Vec<f32>,
    /// What the head read at each new token, (new tokens, width) in row-major order.
    pub hidden: Vec<f32>,
}

impl Stepper for CausalLm {
    fn vocab_size(&self) -> usize {
        CausalLm::vocab_size(self)
    }

    fn step(&self, tokens: &[&[u32]], states: &mut [&mut State]) -> Result<Vec<Vec<f32>>, ModelError> {
        CausalLm::step(self, tokens, states)
    }

    fn step_with_hidden(&self, tokens: &[&[u32]], states: &mut [&mut State]) -> Result<Vec<Stepped>, ModelError> {
        CausalLm::step_with_hidden(self, tokens, states)
    }
}
