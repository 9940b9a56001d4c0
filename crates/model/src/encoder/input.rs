//! What an encoder reads, and what it is to learn from it.

use super::{EncoderConfig, HeadConfig, Problem};
use crate::ModelError;
use burn::prelude::*;
use danlu_ops::IGNORED;

/// Sequences of any lengths, special tokens included. Shorter ones are padded where they are computed, and what pads
/// them is seen by no token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncoderInput {
    /// Token ids of each sequence.
    pub ids: Vec<Vec<u32>>,
    /// Token types of each sequence, one per token; empty: all 0.
    pub types: Vec<Vec<u32>>,
}

impl EncoderInput {
    /// Sequences of one segment each.
    pub fn of(ids: Vec<Vec<u32>>) -> Self {
        EncoderInput { ids, types: Vec::new() }
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.ids.len()
    }

    /// Tokens, padding left out.
    pub fn tokens(&self) -> usize {
        self.ids.iter().map(Vec::len).sum()
    }

    /// Tokens of the longest sequence.
    pub(crate) fn longest(&self) -> usize {
        self.ids.iter().map(Vec::len).max().unwrap_or(0)
    }

    pub(crate) fn lengths(&self) -> Vec<usize> {
        self.ids.iter().map(Vec::len).collect()
    }

    /// Refuses what the model has no row for.
    pub(crate) fn check(&self, config: &EncoderConfig, vocab_size: usize) -> Result<(), ModelError> {
        if self.ids.is_empty() {
            return Err(ModelError::NoTokens { sequence: 0 });
        }
        for (sequence, ids) in self.ids.iter().enumerate() {
            if ids.is_empty() {
                return Err(ModelError::NoTokens { sequence });
            }
            if ids.len() > config.max_seq_len {
                return Err(ModelError::ContextFull { held: 0, adding: ids.len(), capacity: config.max_seq_len });
            }
            if let Some(position) = ids.iter().position(|id| *id as usize >= vocab_size) {
                return Err(ModelError::TokenOutOfRange { sequence, position, token: ids[position], vocab_size });
            }
        }
        self.check_types(config.token_types)
    }

    fn check_types(&self, kinds: usize) -> Result<(), ModelError> {
        let wrong =
            |found: String, expected: String| Err(ModelError::WrongInput { what: "token types", found, expected });
        if self.types.is_empty() {
            return Ok(());
        }
        if self.types.len() != self.ids.len() {
            return wrong(format!("those of {} sequences", self.types.len()), format!("of {}", self.ids.len()));
        }
        for (sequence, (types, ids)) in self.types.iter().zip(&self.ids).enumerate() {
            if types.len() != ids.len() {
                return wrong(format!("{} of sequence {sequence}", types.len()), ids.len().to_string());
            }
            if let Some(kind) = types.iter().find(|kind| **kind as usize >= kinds.max(1)) {
                return wrong(format!("{kind} in sequence {sequence}"), format!("numbers below {}", kinds.max(1)));
            }
        }
        Ok(())
    }

    /// One row after the other, each filled up with zeros to the longest, (sequences * longest).
    pub(crate) fn padded(rows: &[Vec<u32>], longest: usize, device: &Device) -> Tensor<1, Int> {
        let mut values = vec![0i32; rows.len() * longest];
        for (row, ids) in values.chunks_mut(longest.max(1)).zip(rows) {
            row.iter_mut().zip(ids).for_each(|(value, id)| *value = *id as i32);
        }
        let count = values.len();
        Tensor::from_data(TensorData::new(values, [count]), device)
    }
}

/// What an encoder is to say of its input. -100 (for numbers: NaN) means that nothing is to be learnt there.
#[derive(Clone, Debug, PartialEq)]
pub enum EncoderTargets {
    /// A token's or a class's number for each token of each sequence: masked language models and token classifiers.
    Tokens(Vec<Vec<i32>>),
    /// A class's number for each sequence.
    Classes(Vec<i32>),
    /// A number for each label or output of each sequence: 0 or 1 (or between) with several labels, anything in
    /// regression.
    Values(Vec<Vec<f32>>),
    /// The labels that each sequence spells, by their numbers.
    Labels(Vec<Vec<i32>>),
}

impl EncoderTargets {
    /// How many of them have a loss: tokens, sequences, or numbers.
    pub fn counted(&self) -> usize {
        let classes = |row: &[i32]| row.iter().filter(|target| **target != IGNORED).count();
        match self {
            EncoderTargets::Tokens(rows) => rows.iter().map(|row| classes(row)).sum(),
            EncoderTargets::Classes(row) => classes(row),
            EncoderTargets::Values(rows) => rows.iter().flatten().filter(|value| !value.is_nan()).count(),
            EncoderTargets::Labels(rows) => rows.len(),
        }
    }

    /// Checks that they are of the kind, the number and the range that `head` learns from.
    pub(crate) fn check(&self, input: &EncoderInput, head: &HeadConfig, vocab_size: usize) -> Result<(), ModelError> {
        let classes = match head {
            HeadConfig::MaskedLm => vocab_size,
            _ => head.labels().len(),
        };
        match (self, head) {
            (EncoderTargets::Tokens(rows), HeadConfig::MaskedLm | HeadConfig::TokenClassification { .. }) => {
                count("sequences of targets", rows.len(), input.sequences())?;
                for (targets, ids) in rows.iter().zip(&input.ids) {
                    count("targets of a sequence", targets.len(), ids.len())?;
                    in_range(targets, classes)?;
                }
                Ok(())
            }
            (
                EncoderTargets::Classes(targets),
                HeadConfig::SequenceClassification { problem: Problem::SingleLabel, .. },
            ) => {
                count("targets", targets.len(), input.sequences())?;
                in_range(targets, classes)
            }
            (EncoderTargets::Values(rows), HeadConfig::SequenceClassification { problem, .. })
                if *problem != Problem::SingleLabel =>
            {
                count("targets", rows.len(), input.sequences())?;
                for row in rows {
                    count("values of a sequence", row.len(), classes)?;
                    let fits = |x: f32| {
                        x.is_nan() || (x.is_finite() && *problem == Problem::Regression) || (0.0..=1.0).contains(&x)
                    };
                    if let Some(value) = row.iter().find(|x| !fits(**x)) {
                        let expected = match problem {
                            Problem::Regression => "finite numbers",
                            _ => "numbers from 0 to 1",
                        };
                        return Err(wrong("targets", value.to_string(), expected));
                    }
                }
                Ok(())
            }
            (EncoderTargets::Labels(rows), HeadConfig::Ctc { .. }) => {
                count("sequences of labels", rows.len(), input.sequences())?;
                let strange = rows.iter().flatten().find(|label| !(0..classes as i32).contains(*label));
                strange
                    .map_or(Ok(()), |label| Err(wrong("targets", label.to_string(), format!("0 to {}", classes - 1))))
            }
            _ => Err(wrong("targets", self.kind().to_string(), format!("those of {}", head.name()))),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            EncoderTargets::Tokens(_) => "one for each token",
            EncoderTargets::Classes(_) => "a class for each sequence",
            EncoderTargets::Values(_) => "numbers for each sequence",
            EncoderTargets::Labels(_) => "labels along each sequence",
        }
    }
}

fn wrong(what: &'static str, found: String, expected: impl Into<String>) -> ModelError {
    ModelError::WrongInput { what, found, expected: expected.into() }
}

fn count(what: &'static str, found: usize, expected: usize) -> Result<(), ModelError> {
    match found == expected {
        true => Ok(()),
        false => Err(wrong(what, found.to_string(), expected.to_string())),
    }
}

fn in_range(targets: &[i32], classes: usize) -> Result<(), ModelError> {
    let fits = |target: i32| target == IGNORED || usize::try_from(target).is_ok_and(|at| at < classes);
    match targets.iter().find(|target| !fits(**target)) {
        None => Ok(()),
        Some(target) => Err(wrong("targets", target.to_string(), format!("0 to {}, or {IGNORED}", classes - 1))),
    }
}
