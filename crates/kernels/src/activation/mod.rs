//! Activations, forward and backward, element by element: GELU, SiLU, ReLU, ReLU² ([`pointwise`]), SwiGLU and GeGLU ([`gated`]).

use crate::cpu::Level;
use crate::elementwise::{map_values, through_values};
use crate::math::exp;
use crate::values::{ValueVec, Values};

mod gated;
mod pointwise;
#[cfg(test)]
mod tests;

pub use gated::{swiglu, swiglu_grad, swiglu_joined, swiglu_joined_grad};
pub use pointwise::{
    gelu_erf, gelu_erf_grad, gelu_tanh, gelu_tanh_grad, quick_gelu, quick_gelu_grad, relu, relu_grad, relu_squared,
    relu_squared_grad, silu, silu_grad,
};

pub(crate) use pointwise::{
    gelu_erf_chunk, gelu_tanh_chunk, quick_gelu_chunk, relu_chunk, relu_squared_chunk, silu_chunk,
};
use pointwise::{
    gelu_erf_grad_chunk, gelu_tanh_grad_chunk, quick_gelu_grad_chunk, relu_grad_chunk, relu_squared_grad_chunk,
    silu_grad_chunk,
};

/// An activation between two linear layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// [`gelu_tanh`]
    GeluTanh,
    /// [`gelu_erf`]
    GeluErf,
    /// [`silu`]
    Silu,
    /// [`quick_gelu`]
    QuickGelu,
    /// [`relu`]
    Relu,
    /// [`relu_squared`]
    ReluSquared,
    /// [`swiglu_joined`]
    Swiglu,
    /// As [`swiglu_joined`] with [`gelu_tanh`] over the gate.
    Geglu,
}

impl Activation {
    /// Width of its result for rows of `width`.
    pub fn output_width(self, width: usize) -> usize {
        match self {
            Activation::Swiglu | Activation::Geglu => width / 2,
            _ => width,
        }
    }

    /// Its values, for rows of `width`, in the format of x.
    ///
    /// # Panics
    /// Gated ones: if `x` is not whole rows of even width.
    pub fn forward(self, x: Values<'_>, width: usize) -> ValueVec {
        let level = Level::best();
        match self {
            Activation::GeluTanh => map_values(level, x, |x, y| gelu_tanh_chunk(level, x, y)),
            Activation::GeluErf => map_values(level, x, |x, y| gelu_erf_chunk(level, x, y)),
            Activation::Silu => map_values(level, x, |x, y| silu_chunk(level, x, y)),
            Activation::QuickGelu => map_values(level, x, |x, y| quick_gelu_chunk(level, x, y)),
            Activation::Relu => map_values(level, x, |x, y| relu_chunk(level, x, y)),
            Activation::ReluSquared => map_values(level, x, |x, y| relu_squared_chunk(level, x, y)),
            Activation::Swiglu => gated::joined_values(level, x, width / 2, gated::SWIGLU),
            Activation::Geglu => gated::joined_values(level, x, width / 2, gated::GEGLU),
        }
    }

    /// Gradient of [`Activation::forward`] from the gradient `g` of its result, in the format of x, and in the memory of
    /// `g` where that fits.
    ///
    /// # Panics
    /// If the lengths do not fit each other.
    pub fn gradient(self, x: Values<'_>, width: usize, g: ValueVec) -> ValueVec {
        let level = Level::best();
        match self {
            Activation::GeluTanh => through_values(level, x, g, |x, g| gelu_tanh_grad_chunk(level, x, g)),
            Activation::GeluErf => through_values(level, x, g, |x, g| gelu_erf_grad_chunk(level, x, g)),
            Activation::Silu => through_values(level, x, g, |x, g| silu_grad_chunk(level, x, g)),
            Activation::QuickGelu => through_values(level, x, g, |x, g| quick_gelu_grad_chunk(level, x, g)),
            Activation::Relu => through_values(level, x, g, |x, g| relu_grad_chunk(level, x, g)),
            Activation::ReluSquared => through_values(level, x, g, |x, g| relu_squared_grad_chunk(level, x, g)),
            Activation::Swiglu => gated::joined_values_grad(level, x, width / 2, g.as_values(), gated::SWIGLU),
            Activation::Geglu => gated::joined_values_grad(level, x, width / 2, g.as_values(), gated::GEGLU),
        }
    }
}

#[inline(always)]
pub(crate) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}
