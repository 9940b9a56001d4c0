//! Linear layers, alone and with what surrounds them.

use crate::flex::linear::{Linear, Prelude};
use crate::flex::{apply, suits, suits_kept};
use crate::{Activation, Precision, composed};
use burn::prelude::*;
use danlu_kernels::linear::Formats;

/// Linear layer over the last dimension: `x * weight^T + bias`.
///
/// * `x`: (..., in)
/// * `weight`: (out, in), as Hugging Face stores it
/// * `bias`: (out)
///
/// Returns (..., out).
///
/// # Panics
/// If the last dimension of `x` is not `in`, or the bias is not as long as `out`.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    precision: Precision,
) -> Tensor<D> {
    let (before, parts) = (Before::Nothing, vec![(weight, bias)]);
    fused_linear(FusedLinear { x, before, parts, residual: None, precision, kept: Precision::F32 })
}

/// What a [`fused_linear`] does to its input first. Its result is computed again in the backward pass, not kept.
#[derive(Debug)]
pub enum Before {
    Nothing,
    /// See [`crate::rms_norm`].
    RmsNorm {
        weight: Tensor<1>,
        eps: f64,
    },
    /// See [`crate::layer_norm`].
    LayerNorm {
        weight: Tensor<1>,
        bias: Tensor<1>,
        eps: f64,
    },
    Activation(Activation),
}

impl Before {
    /// Its result on its own.
    pub fn apply<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Before::Nothing => x,
            Before::RmsNorm { weight, eps } => crate::rms_norm(x, weight, eps),
            Before::LayerNorm { weight, bias, eps } => crate::layer_norm(x, weight, bias, eps),
            Before::Activation(activation) => crate::activate(activation, x),
        }
    }
}

/// The operands of [`fused_linear`].
#[derive(Debug)]
pub struct FusedLinear<const D: usize> {
    /// (..., in), before `before`; f32, or kept in bfloat16 where `before` is not a normalisation.
    pub x: Tensor<D>,
    pub before: Before,
    /// Weights (out, in) and biases (out) of layers that read the same input; all have a bias or none.
    pub parts: Vec<(Tensor<2>, Option<Tensor<1>>)>,
    /// (..., sum of out), added to the result.
    pub residual: Option<Tensor<D>>,
    pub precision: Precision,
    /// What the result is kept in. In bfloat16 on the CPU it is half as large, for a next operation that rounds it anyway.
    pub kept: Precision,
}

/// `residual + before(x) * [weights]^T + [biases]`: several linear layers on one input, their results side by side.
///
/// One step on the tape instead of up to eight: the input is read once for all weights, its gradients are summed where
/// they arise, and the backward pass keeps `x` alone.
///
/// Returns (..., sum of out).
///
/// # Panics
/// If the shapes do not fit each other, or there is no part or more than three.
pub fn fused_linear<const D: usize>(call: FusedLinear<D>) -> Tensor<D> {
    check(&call);
    let FusedLinear { x, before, parts, residual, precision, kept } = call;
    let (norm, tensors) = match &before {
        Before::Nothing | Before::Activation(_) => (true, vec![]),
        Before::RmsNorm { weight, .. } => (suits(weight), vec![weight.clone().into_dispatch()]),
        Before::LayerNorm { weight, bias, .. } => {
            (suits(weight) && suits(bias), vec![weight.clone().into_dispatch(), bias.clone().into_dispatch()])
        }
    };
    let fits = parts.iter().all(|(w, b)| suits(w) && b.as_ref().is_none_or(suits));
    let x_fits = match &before {
        Before::Nothing | Before::Activation(_) => suits_kept(&x),
        _ => suits(&x),
    };
    if !(norm && fits && x_fits && residual.as_ref().is_none_or(suits)) {
        return composed::fused_linear(FusedLinear { x, before, parts, residual, precision, kept });
    }
    let function = Linear {
        before: match before {
            Before::Nothing => Prelude::Nothing,
            Before::RmsNorm { eps, .. } => Prelude::RmsNorm(eps as f32),
            Before::LayerNorm { eps, .. } => Prelude::LayerNorm(eps as f32),
            Before::Activation(activation) => Prelude::Activation(activation),
        },
        parts: parts.len(),
        biased: parts.iter().any(|(_, bias)| bias.is_some()),
        residual: residual.is_some(),
        formats: Formats { inputs: precision, kept },
    };
    let (weights, biases): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let mut inputs = vec![x.into_dispatch()];
    inputs.extend(tensors);
    inputs.extend(weights.into_iter().map(Tensor::into_dispatch));
    inputs.extend(biases.into_iter().flatten().map(Tensor::into_dispatch));
    inputs.extend(residual.map(Tensor::into_dispatch));
    apply(function, inputs)
}

fn check<const D: usize>(call: &FusedLinear<D>) {
    let FusedLinear { x, before, parts, residual, .. } = call;
    let width = x.dims()[D - 1];
    let inp = match before {
        Before::Activation(activation) => activation.output_width(width),
        _ => width,
    };
    assert!((1..=3).contains(&parts.len()), "linear: {} parts", parts.len());
    let mut dims = x.dims();
    dims[D - 1] = 0;
    for (weight, bias) in parts {
        let [out, weight_inp] = weight.dims();
        let fits = weight_inp == inp && bias.as_ref().is_none_or(|b| b.dims() == [out]);
        let bias = bias.as_ref().map(|b| b.dims());
        assert!(fits, "linear: x {:?} as rows of {inp}, weight {:?}, bias {bias:?}", x.dims(), weight.dims());
        assert_eq!(bias.is_some(), parts[0].1.is_some(), "linear: a bias in every part or in none");
        dims[D - 1] += out;
    }
    if let Some(residual) = residual {
        assert_eq!(residual.dims(), dims, "linear: residual and result");
    }
    let norm = match before {
        Before::RmsNorm { weight, .. } => vec![weight.dims()],
        Before::LayerNorm { weight, bias, .. } => vec![weight.dims(), bias.dims()],
        _ => vec![],
    };
    assert!(norm.iter().all(|d| *d == [width]), "linear: normalisation of {norm:?} over x {:?}", x.dims());
}
