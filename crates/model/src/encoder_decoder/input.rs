//! What an encoder-decoder reads and is to learn.

use super::EncoderDecoderConfig;
use crate::{LogMel, ModelError};
use danlu_ops::IGNORED;

/// Pairs of sequences of any lengths, special tokens included. Shorter ones are padded where they are computed, and what
/// pads them is seen by no token. The names are those of transformers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seq2SeqInput {
    /// Token ids of each source, which the encoder reads.
    pub input_ids: Vec<Vec<u32>>,
    /// Token ids of each target, which the decoder reads: its start token, then all but the last of the target.
    pub decoder_input_ids: Vec<Vec<u32>>,
}

impl Seq2SeqInput {
    /// Pairs for learning with the right targets in sight ("teacher forcing"): the decoder reads `start` and then the
    /// target, and at each place it is to say the target's next token.
    ///
    /// * `targets`: each with its end token and without its start token
    ///
    /// Returns the input and, for [`super::EncoderDecoder::loss_sum`], its labels.
    pub fn teacher_forcing(sources: Vec<Vec<u32>>, targets: &[Vec<u32>], start: u32) -> (Self, Vec<Vec<i32>>) {
        let shifted = |target: &Vec<u32>| {
            let before = target.len().saturating_sub(1);
            std::iter::once(start).chain(target.iter().copied().take(before)).collect()
        };
        let decoder_input_ids = targets.iter().map(shifted).collect();
        // Ids beyond i32 become negative, which `loss_sum` refuses.
        let labels = targets.iter().map(|target| target.iter().map(|id| *id as i32).collect()).collect();
        (Seq2SeqInput { input_ids: sources, decoder_input_ids }, labels)
    }

    /// Number of pairs.
    pub fn pairs(&self) -> usize {
        self.input_ids.len()
    }

    /// Tokens of both sides, padding left out.
    pub fn tokens(&self) -> usize {
        self.input_ids.iter().chain(&self.decoder_input_ids).map(Vec::len).sum()
    }

    /// Refuses what the model has no row for.
    pub(crate) fn check(&self, config: &EncoderDecoderConfig, vocab_size: usize) -> Result<(), ModelError> {
        count("sequences for the decoder", self.decoder_input_ids.len(), self.input_ids.len())?;
        check_sequences(&self.input_ids, config.max_seq_len, vocab_size)?;
        check_sequences(&self.decoder_input_ids, config.max_seq_len, vocab_size)
    }
}

/// As [`Seq2SeqInput`], of sounds and what is said in them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpeechInput {
    pub sounds: Vec<LogMel>,
    /// Token ids that the decoder reads.
    pub decoder_input_ids: Vec<Vec<u32>>,
}

impl SpeechInput {
    pub(crate) fn check(&self, config: &EncoderDecoderConfig, vocab_size: usize) -> Result<(), ModelError> {
        count("sequences for the decoder", self.decoder_input_ids.len(), self.sounds.len())?;
        check_sounds(&self.sounds, config)?;
        check_sequences(&self.decoder_input_ids, config.max_seq_len, vocab_size)
    }
}

/// Refuses sounds of other bands and lengths than the model's.
pub(crate) fn check_sounds(sounds: &[LogMel], config: &EncoderDecoderConfig) -> Result<(), ModelError> {
    let Some((bands, places)) = config.sound() else {
        return Err(wrong("sources", "sounds".to_string(), format!("texts, as {:?} reads them", config.architecture)));
    };
    if sounds.is_empty() {
        return Err(ModelError::NoTokens { sequence: 0 });
    }
    for sound in sounds {
        count("bands of a sound", sound.bands, bands)?;
        count("values of a sound", sound.values.len(), 2 * places * bands)?;
    }
    Ok(())
}

pub(crate) fn count(what: &'static str, found: usize, expected: usize) -> Result<(), ModelError> {
    match found == expected {
        true => Ok(()),
        false => Err(wrong(what, found.to_string(), expected.to_string())),
    }
}

/// Checks that there is a label for each token of the decoder.
pub(crate) fn check_labels(decoder: &[Vec<u32>], labels: &[Vec<i32>], vocab_size: usize) -> Result<(), ModelError> {
    count("sequences of labels", labels.len(), decoder.len())?;
    for (row, ids) in labels.iter().zip(decoder) {
        count("labels of a sequence", row.len(), ids.len())?;
        let fits = |label: i32| label == IGNORED || usize::try_from(label).is_ok_and(|at| at < vocab_size);
        if let Some(label) = row.iter().find(|label| !fits(**label)) {
            return Err(wrong("labels", label.to_string(), format!("0 to {}, or {IGNORED}", vocab_size - 1)));
        }
    }
    Ok(())
}

pub(crate) fn wrong(what: &'static str, found: String, expected: String) -> ModelError {
    ModelError::WrongInput { what, found, expected }
}

/// Refuses no sequences, empty and overlong ones, and tokens that the vocabulary does not have.
pub(crate) fn check_sequences(rows: &[Vec<u32>], longest: usize, vocab_size: usize) -> Result<(), ModelError> {
    if rows.is_empty() {
        return Err(ModelError::NoTokens { sequence: 0 });
    }
    for (sequence, ids) in rows.iter().enumerate() {
        if ids.is_empty() {
            return Err(ModelError::NoTokens { sequence });
        }
        if ids.len() > longest {
            return Err(ModelError::ContextFull { held: 0, adding: ids.len(), capacity: longest });
        }
        if let Some(position) = ids.iter().position(|id| *id as usize >= vocab_size) {
            return Err(ModelError::TokenOutOfRange { sequence, position, token: ids[position], vocab_size });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_shifted_by_one() {
        let (input, labels) = Seq2SeqInput::teacher_forcing(vec![vec![5], vec![6, 7]], &[vec![8, 9, 2], vec![2]], 1);
        assert_eq!(input.decoder_input_ids, [vec![1, 8, 9], vec![1]]);
        assert_eq!(labels, [vec![8, 9, 2], vec![2]]);
        assert_eq!((input.pairs(), input.tokens()), (2, 7));
    }
}
