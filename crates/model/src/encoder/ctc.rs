//! Labels that are spelt along a sequence without an alignment (connectionist temporal classification).

use super::{Encoder, EncoderInput};
use crate::ModelError;
use crate::layers::read;
use burn::prelude::*;
use danlu_ops::losses::{Ctc, CtcTargets};

/// The class that says nothing; label number n is class n + 1.
const BLANK: usize = 0;

/// See [`danlu_ops::losses::ctc`]; a sequence too short for its labels counts 0.
///
/// * `logits`: (sequences * longest, labels + 1)
pub(super) fn ctc_loss(logits: Tensor<2>, lengths: Vec<usize>, labels: &[Vec<i32>]) -> Tensor<1> {
    let [rows, classes] = logits.dims();
    let batch = lengths.len();
    let labels = labels.iter().map(|row| row.iter().map(|label| *label as usize + 1).collect()).collect();
    let targets = CtcTargets { labels, lengths };
    let options = Ctc { blank: BLANK, zero_infinity: true };
    danlu_ops::losses::ctc(logits.reshape([batch, rows / batch, classes]), &targets, &options).sum
}

impl Encoder {
    /// The labels that a model with a CTC head reads off each sequence, by the likeliest class at each token (best path
    /// decoding, Graves et al. 2006): repetitions count once, then blanks are taken out.
    ///
    /// # Errors
    /// As [`Encoder::logits`]; [`ModelError::InvalidConfig`] if the head is another.
    pub fn spell(&self, input: &EncoderInput) -> Result<Vec<Vec<usize>>, ModelError> {
        if !matches!(self.config().head, super::HeadConfig::Ctc { .. }) {
            return Err(self.no_head("a CTC head"));
        }
        let logits = self.logits(input, None)?;
        let classes = logits.dims()[1];
        let rows = read(logits)?;
        let longest = input.longest();
        let sequences = rows.chunks(longest * classes).zip(input.lengths());
        Ok(sequences.map(|(rows, length)| best_path(&rows[..length * classes], classes)).collect())
    }
}

/// The labels of the likeliest class of each row; of equal ones the first.
fn best_path(rows: &[f32], classes: usize) -> Vec<usize> {
    let mut before = BLANK;
    let mut labels = Vec::new();
    for row in rows.chunks(classes) {
        let best = (1..classes).fold(0, |best, class| if row[class] > row[best] { class } else { best });
        if best != before && best != BLANK {
            labels.push(best - 1);
        }
        before = best;
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_count_once_unless_a_blank_parts_them() {
        let path = |classes: &[usize]| {
            let rows: Vec<f32> =
                classes.iter().flat_map(|c| (0..3).map(move |k| f32::from(u8::from(k == *c)))).collect();
            best_path(&rows, 3)
        };
        assert_eq!(path(&[0, 1, 1, 0, 1, 2, 2, 0]), [0, 0, 1]);
        assert_eq!(path(&[1, 2, 1]), [0, 1, 0]);
        assert!(path(&[0, 0]).is_empty() && path(&[]).is_empty());
    }
}
