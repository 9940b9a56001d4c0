//! Activations, element by element.

use crate::composed;
use crate::flex::activation::{Activate, Swiglu};
use crate::flex::{apply, suits, suits_kept};
use burn::prelude::*;
pub use danlu_kernels::activation::Activation;

/// An activation's values over the last dimension, on their own.
///
/// # Panics
/// Gated ones: if the last dimension is odd.
pub fn activate<const D: usize>(activation: Activation, x: Tensor<D>) -> Tensor<D> {
    let width = x.dims()[D - 1];
    let gated = matches!(activation, Activation::Swiglu | Activation::Geglu);
    assert!(!gated || width % 2 == 0, "{activation:?}: a last dimension of {width}");
    if !suits_kept(&x) {
        return composed::activate(activation, x);
    }
    apply(Activate(activation), vec![x.into_dispatch()])
}

/// `silu(gate) * up` (Shazeer 2020, "GLU Variants Improve Transformer"), element by element.
///
/// # Panics
/// If the shapes differ.
pub fn swiglu<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    assert_eq!(gate.dims(), up.dims(), "swiglu: gate and up");
    if !(suits(&gate) && suits(&up)) {
        return composed::swiglu(gate, up);
    }
    apply(Swiglu, vec![gate.into_dispatch(), up.into_dispatch()])
}

/// [`swiglu`] of both halves of the last dimension, [gate | up], as one product with both weights gives them.
///
/// Returns (..., half as many).
///
/// # Panics
/// If the last dimension is odd.
pub fn swiglu_joined<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activate(Activation::Swiglu, x)
}

/// GELU by its tanh approximation, GPT-2's `gelu_new`.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activate(Activation::GeluTanh, x)
}

/// GELU by the error function, Hugging Face's `gelu`.
pub fn gelu_erf<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activate(Activation::GeluErf, x)
}

/// SiLU, also called swish (Elfwing et al. 2018): `x * sigmoid(x)`.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activate(Activation::Silu, x)
}

/// ReLU² (So et al. 2021, "Primer"): `max(x, 0)^2`.
pub fn relu_squared<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activate(Activation::ReluSquared, x)
}
