//! Activations, element by element.

use crate::composed;
use crate::flex::activation::{Activate, Swiglu};
use crate::flex::{apply, suits};
use burn::prelude::*;

/// An activation that [`crate::fused_linear`] can do first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// [`gelu_tanh`]
    GeluTanh,
    /// [`gelu_erf`]
    GeluErf,
    /// [`silu`]
    Silu,
    /// [`relu_squared`]
    ReluSquared,
    /// [`swiglu_joined`]
    Swiglu,
}

impl Activation {
    /// Width of its result for rows of `width`.
    pub(crate) fn output_width(self, width: usize) -> usize {
        match self {
            Activation::Swiglu => width / 2,
            _ => width,
        }
    }

    /// Its values over the last dimension, on their own.
    ///
    /// # Panics
    /// [`Activation::Swiglu`]: if the last dimension is odd.
    pub fn apply<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        let width = x.dims()[D - 1];
        assert!(self != Activation::Swiglu || width % 2 == 0, "swiglu_joined: a last dimension of {width}");
        if !suits(&x) {
            return composed::activate(self, x);
        }
        apply(Activate(self), vec![x.into_dispatch()])
    }
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
    Activation::Swiglu.apply(x)
}

/// GELU by its tanh approximation, GPT-2's `gelu_new`.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Activation::GeluTanh.apply(x)
}

/// GELU by the error function, Hugging Face's `gelu`.
pub fn gelu_erf<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Activation::GeluErf.apply(x)
}

/// SiLU, also called swish (Elfwing et al. 2018): `x * sigmoid(x)`.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Activation::Silu.apply(x)
}

/// ReLU² (So et al. 2021, "Primer"): `max(x, 0)^2`.
pub fn relu_squared<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Activation::ReluSquared.apply(x)
}
