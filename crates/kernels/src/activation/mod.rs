//! Activations, forward and backward, element by element: GELU, SiLU, ReLU² ([`pointwise`]) and SwiGLU ([`gated`]).

use crate::math::exp;

mod gated;
mod pointwise;
#[cfg(test)]
mod tests;

pub use gated::{swiglu, swiglu_grad, swiglu_joined, swiglu_joined_grad};
pub use pointwise::{
    gelu_erf, gelu_erf_grad, gelu_tanh, gelu_tanh_grad, relu_squared, relu_squared_grad, silu, silu_grad,
};

pub(crate) use pointwise::{gelu_erf_chunk, gelu_tanh_chunk, relu_squared_chunk, silu_chunk};

#[inline(always)]
pub(crate) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}
