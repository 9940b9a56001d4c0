//! What a reply may be, decided outside of the model.

use crate::{LogitsRules, ModelError, Sampler};

/// Which tokens may come next: a grammar's or a schema's view of one sequence, made where tokens are known as text.
pub trait LogitsConstraint: Send {
    /// Sets the logits (vocabulary) of what may not come next to minus infinity, of stop tokens too unless the text may end
    /// here.
    ///
    /// # Errors
    /// [`ModelError::Constraint`] when a limit of the constraint's own is reached.
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), ModelError>;

    /// Takes note of the token that came; stop tokens are not told.
    ///
    /// # Errors
    /// As [`LogitsConstraint::mask`], and for a token that was not allowed.
    fn commit(&mut self, token: u32) -> Result<(), ModelError>;

    /// Whether the text is whole and nothing but a stop token may follow.
    fn is_complete(&self) -> bool;

    /// An independent copy at the same place, for another sample.
    fn fork(&self) -> Box<dyn LogitsConstraint>;
}

/// What was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Token(u32),
    /// A stop token, or nothing that is allowed.
    Stop,
}

/// Chooses the tokens of one sequence: rules, then the constraint, then the sampler.
pub struct Chooser {
    pub sampler: Sampler,
    pub rules: LogitsRules,
    pub constraint: Option<Box<dyn LogitsConstraint>>,
    /// Tokens that end the sequence.
    pub stop_tokens: Vec<u32>,
    /// Tokens of the sequence that were given.
    pub prompt: usize,
}

impl Chooser {
    /// The token after `sequence`, whose logits are `logits` (vocabulary); they are changed. A constraint wins over what
    /// [`LogitsRules`] ban, so that a text can always be brought to its end.
    ///
    /// # Errors
    /// Those of the constraint.
    pub fn choose(&mut self, logits: &mut [f32], sequence: &[u32]) -> Result<Choice, ModelError> {
        if !self.allow(logits, sequence)? {
            return Ok(Choice::Stop);
        }
        let token = self.sampler.sample(logits, sequence);
        if self.stop_tokens.contains(&token) {
            return Ok(Choice::Stop);
        }
        self.commit(token)?;
        Ok(Choice::Token(token))
    }

    /// Applies rules and constraint. Whether any token is left.
    pub(crate) fn allow(&mut self, logits: &mut [f32], sequence: &[u32]) -> Result<bool, ModelError> {
        if self.rules.is_empty() && self.constraint.is_none() {
            return Ok(true);
        }
        let before = (self.constraint.is_some() && self.rules.bans()).then(|| logits.to_vec());
        self.rules.apply(logits, sequence, self.prompt, &self.stop_tokens);
        let Some(constraint) = &mut self.constraint else { return Ok(any(logits)) };
        constraint.mask(logits)?;
        if let Some(before) = before.filter(|_| !any(logits)) {
            logits.copy_from_slice(&before);
            constraint.mask(logits)?;
        }
        Ok(any(logits))
    }

    pub(crate) fn commit(&mut self, token: u32) -> Result<(), ModelError> {
        self.constraint.as_mut().map_or(Ok(()), |constraint| constraint.commit(token))
    }

    /// Whether the constraint has the text whole.
    pub fn is_complete(&self) -> bool {
        self.constraint.as_ref().is_some_and(|constraint| constraint.is_complete())
    }
}

fn any(logits: &[f32]) -> bool {
    logits.iter().any(|x| x.is_finite())
}
