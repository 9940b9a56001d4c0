//! Truncated back-propagation through time (Werbos 1990; Williams and Peng 1990): a long sequence is read in pieces, the
//! state is carried from each piece into the next, and gradients flow back within a piece alone. Activations are kept for
//! one piece at a time.

use crate::body::WholePass;
use crate::recurrent::CellState;
use crate::sequences::SequenceOptions;
use crate::{CausalLm, Recompute};
use burn::prelude::*;
use burn::tensor::Gradients;

/// Which part of its sequences a pass reads, and what went before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Piece {
    /// Its number within the sequences.
    pub index: usize,
    /// Each layer's state before its first step, on no tape; empty before the first piece.
    pub before: Vec<CellState>,
    /// Of each sequence 0 where a document begins with the piece, else 1; empty where none does.
    pub keep: Vec<f32>,
}

impl CausalLm {
    /// Pieces of `length` steps, one after the other; see [`CausalLm::loss_and_gradients`].
    pub(crate) fn truncated_gradients(
        &self,
        (tokens, targets): (Tensor<2, Int>, Tensor<1, Int>),
        options: &SequenceOptions,
        length: usize,
        recompute: Recompute,
        take: &mut dyn FnMut(Gradients),
    ) -> Tensor<1> {
        let [batch, time] = tokens.dims();
        let targets: Tensor<2, Int> = targets.reshape([batch, time]);
        let (mut before, mut sum) = (Vec::new(), None);
        for (index, start) in (0..time).step_by(length).enumerate() {
            let length = length.min(time - start);
            let part = |ids: &Tensor<2, Int>| ids.clone().narrow(1, start, length);
            let keep = options.documents.as_deref().map_or_else(Vec::new, |all| beginnings(all, batch, start));
            let documents = options.documents.as_deref().map(|all| columns(all, batch, start, length));
            let options = SequenceOptions { documents, bptt: None, ..options.clone() };
            let pass = WholePass::piece(self, [batch, length], options, Piece { index, before, keep });
            let targets = part(&targets).reshape([batch * length]);
            let loss = self.pass_gradients(&pass, part(&tokens), targets, recompute, take);
            before = pass.into_states();
            sum = Some(match sum {
                None => loss,
                Some(sum) => sum + loss,
            });
        }
        let Some(sum) = sum else { unreachable!("a sequence has at least one token") };
        sum
    }
}

/// Columns `start..start + length` of (batch, time) values.
fn columns(all: &[u32], batch: usize, start: usize, length: usize) -> Vec<u32> {
    all.chunks(all.len() / batch).flat_map(|row| row[start..start + length].iter().copied()).collect()
}

/// Of each sequence 0 where a document begins at step `start`, else 1; empty where none does, and at the first step.
fn beginnings(all: &[u32], batch: usize, start: usize) -> Vec<f32> {
    if start == 0 {
        return Vec::new();
    }
    let keep = |row: &[u32]| if row[start] == row[start - 1] { 1.0 } else { 0.0 };
    let keep: Vec<f32> = all.chunks(all.len() / batch).map(keep).collect();
    if keep.iter().all(|keep| *keep == 1.0) { Vec::new() } else { keep }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_cut_with_their_sequences() {
        let documents = [0, 0, 1, 1, 7, 7, 7, 9];
        assert_eq!(columns(&documents, 2, 1, 2), [0, 1, 7, 7]);
        assert!(beginnings(&documents, 2, 0).is_empty() && beginnings(&documents, 2, 1).is_empty());
        assert_eq!(beginnings(&documents, 2, 2), [0.0, 1.0]);
        assert_eq!(beginnings(&documents, 2, 3), [1.0, 0.0]);
    }
}
