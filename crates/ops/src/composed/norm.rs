use burn::prelude::*;

/// `x / sqrt(mean(x^2) + eps) * weight` over the last dimension.
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    let scale = x.clone().square().mean_dim(D - 1).add_scalar(eps).sqrt().recip();
    x * scale * weight.unsqueeze()
}

/// `(x - mean) / sqrt(variance + eps) * weight + bias` over the last dimension.
pub fn layer_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<D> {
    let centered = x.clone() - x.mean_dim(D - 1);
    let scale = centered.clone().square().mean_dim(D - 1).add_scalar(eps).sqrt().recip();
    centered * scale * weight.unsqueeze() + bias.unsqueeze()
}
