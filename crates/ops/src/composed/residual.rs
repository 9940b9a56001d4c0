use burn::prelude::*;

/// `x + r` and its RMS normalisation.
pub fn add_rms_norm<const D: usize>(x: Tensor<D>, r: Tensor<D>, weight: Tensor<1>, eps: f64) -> (Tensor<D>, Tensor<D>) {
    let sum = x + r;
    (sum.clone(), super::rms_norm(sum, weight, eps))
}

/// `x + r` and its layer normalisation.
pub fn add_layer_norm<const D: usize>(
    x: Tensor<D>,
    r: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> (Tensor<D>, Tensor<D>) {
    let sum = x + r;
    (sum.clone(), super::layer_norm(sum, weight, bias, eps))
}
