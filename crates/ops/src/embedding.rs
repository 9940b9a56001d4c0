//! Rows of a table by number.

use crate::composed;
use crate::flex::embedding::Embedding;
use crate::flex::view::integers;
use crate::flex::{apply, suits};
use burn::prelude::*;

/// Rows of `weight` (vocabulary, dim) by `ids` (batch, time), each in 0..vocabulary. Returns (batch, time, dim).
///
/// # Panics
/// On the CPU, if an id is outside the vocabulary.
pub fn embedding(weight: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    if !suits(&weight) {
        return composed::embedding(weight, ids);
    }
    let dims = ids.dims().to_vec();
    apply(Embedding { ids: integers(ids), dims }, vec![weight.into_dispatch()])
}
