//! Dropout by masks that are computed from a key.

use crate::flex::dropout::Dropout;
use crate::flex::{apply, suits};
use crate::{DropoutMask, composed};
use burn::prelude::*;

/// Zeroes elements of `x` (rows, width) with the mask's probability and multiplies the others by its scale. Row 0 is row
/// `first_row` of the mask; an element's fate is a function of the mask, its row and its column alone, and the same on
/// every device. On the CPU the mask is computed again in the backward pass, so that only its key is kept.
pub fn dropout(x: Tensor<2>, mask: &DropoutMask, first_row: u64) -> Tensor<2> {
    if !suits(&x) {
        return composed::dropout(x, mask, first_row);
    }
    apply(Dropout { mask: *mask, first_row, residual: false }, vec![x.into_dispatch()])
}

/// `residual + dropout(x)`, both (rows, width), in one pass on the CPU.
///
/// # Panics
/// If the shapes differ.
pub fn add_dropout(residual: Tensor<2>, x: Tensor<2>, mask: &DropoutMask, first_row: u64) -> Tensor<2> {
    assert_eq!(residual.dims(), x.dims(), "add_dropout: residual and x");
    if !(suits(&x) && suits(&residual)) {
        return residual + composed::dropout(x, mask, first_row);
    }
    apply(Dropout { mask: *mask, first_row, residual: true }, vec![x.into_dispatch(), residual.into_dispatch()])
}
