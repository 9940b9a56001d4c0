use crate::Precision;
use crate::linear::{Before, FusedLinear};
use burn::prelude::*;
use burn::tensor::DType;

/// `x * weight^T + bias` over the last dimension; weight is (out, in).
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    precision: Precision,
) -> Tensor<D> {
    let mut dims = x.dims();
    let [out, inp] = weight.dims();
    let rows = dims[..D - 1].iter().product::<usize>();
    dims[D - 1] = out;
    let y = rounded(x.reshape([rows, inp]), precision).matmul(rounded(weight, precision).transpose());
    match bias {
        Some(bias) => (y + bias.unsqueeze()).reshape(dims),
        None => y.reshape(dims),
    }
}

/// The values as a product at this precision reads them; gradients pass unrounded. A device without bfloat16, such as
/// wgpu in WGSL, computes in f32: asked to convert, it returns wrong numbers rather than an error.
pub fn rounded<const D: usize>(x: Tensor<D>, precision: Precision) -> Tensor<D> {
    match precision {
        Precision::Bf16 if x.device().supports_dtype(DType::BF16) => x.cast(DType::BF16).cast(DType::F32),
        _ => x,
    }
}

/// In f32, if it was kept in bfloat16.
pub fn widened<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if x.dtype() == DType::BF16 { x.cast(DType::F32) } else { x }
}

/// Each piece by itself; see [`crate::fused_linear`].
pub fn fused_linear<const D: usize>(call: FusedLinear<D>) -> Tensor<D> {
    let FusedLinear { x, before, parts, residual, precision, kept } = call;
    let x = if parts.iter().all(|(weight, _)| weight.dtype() == DType::F32) { widened(x) } else { x };
    let x = match before {
        Before::Nothing => x,
        Before::RmsNorm { weight, eps } => super::rms_norm(x, weight, eps),
        Before::LayerNorm { weight, bias, eps } => super::layer_norm(x, weight, bias, eps),
        Before::Activation(activation) => super::activate(activation, x),
    };
    let y: Vec<Tensor<D>> =
        parts.into_iter().map(|(weight, bias)| linear(x.clone(), weight, bias, precision)).collect();
    let y = Tensor::cat(y, D - 1);
    let y = match residual {
        Some(residual) => residual + y,
        None => y,
    };
    rounded(y, kept)
}
