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
}

impl Activation {
    /// Width of its result for rows of `width`.
    pub(crate) fn output_width(self, width: usize) -> usize {
        match self {
            Activation::GeluTanh | Activation::GeluErf => width,
        }
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

/// GELU by its tanh approximation, GPT-2's `gelu_new`.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !suits(&x) {
        return composed::gelu_tanh(x);
    }
    apply(Activate(Activation::GeluTanh), vec![x.into_dispatch()])
}

/// GELU by the error function, Hugging Face's `gelu`.
pub fn gelu_erf<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !suits(&x) {
        return composed::gelu_erf(x);
    }
    apply(Activate(Activation::GeluErf), vec![x.into_dispatch()])
}
