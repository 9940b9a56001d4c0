//! Softmax over the last dimension.

use crate::composed;
use crate::flex::softmax::Softmax;
use crate::flex::{apply, suits};
use burn::prelude::*;

/// `exp(x) / sum(exp(x))` over the last dimension.
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !suits(&x) {
        return composed::softmax(x);
    }
    apply(Softmax { logarithm: false }, vec![x.into_dispatch()])
}

/// Logarithm of [`softmax`], without the underflow of small probabilities.
pub fn log_softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !suits(&x) {
        return composed::log_softmax(x);
    }
    apply(Softmax { logarithm: true }, vec![x.into_dispatch()])
}
