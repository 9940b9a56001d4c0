//! Normalisation over the last dimension.

use crate::composed;
use crate::flex::norm::{LayerNorm, RmsNorm};
use crate::flex::{apply, suits};
use burn::prelude::*;

/// Root-mean-square normalisation over the last dimension (Zhang and Sennrich 2019):
/// `x / sqrt(mean(x^2) + eps) * weight`.
///
/// # Panics
/// If the weight is not as long as the last dimension.
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    assert_eq!(x.dims()[D - 1], weight.dims()[0], "rms_norm: last dimension and weight");
    if !(suits(&x) && suits(&weight)) {
        return composed::rms_norm(x, weight, eps);
    }
    apply(RmsNorm(eps as f32), vec![x.into_dispatch(), weight.into_dispatch()])
}

/// Layer normalisation over the last dimension (Ba et al. 2016), with the biased variance:
/// `(x - mean) / sqrt(variance + eps) * weight + bias`.
///
/// # Panics
/// If the weight or the bias is not as long as the last dimension.
pub fn layer_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<D> {
    assert_eq!(x.dims()[D - 1], weight.dims()[0], "layer_norm: last dimension and weight");
    assert_eq!(weight.dims(), bias.dims(), "layer_norm: weight and bias");
    if !(suits(&x) && suits(&weight) && suits(&bias)) {
        return composed::layer_norm(x, weight, bias, eps);
    }
    apply(LayerNorm(eps as f32), vec![x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()])
}
