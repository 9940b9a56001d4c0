use crate::Activation;
use burn::prelude::*;
use burn::tensor::activation;

/// The activation of that name below.
pub fn activate<const D: usize>(kind: Activation, x: Tensor<D>) -> Tensor<D> {
    match kind {
        Activation::GeluTanh => gelu_tanh(x),
        Activation::GeluErf => gelu_erf(x),
        Activation::Silu => activation::silu(x),
        Activation::QuickGelu => quick_gelu(x),
        Activation::Relu => activation::relu(x),
        Activation::ReluSquared => activation::relu(x).square(),
        Activation::Swiglu => swiglu_joined(x),
        Activation::Geglu => geglu_joined(x),
    }
}

/// `x * sigmoid(1.702 x)`.
pub fn quick_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let share = activation::sigmoid(x.clone().mul_scalar(1.702));
    x * share
}

/// `silu(gate) * up` of the halves [gate | up] of the last dimension.
pub fn swiglu_joined<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let half = x.dims()[D - 1] / 2;
    swiglu(x.clone().narrow(D - 1, 0, half), x.narrow(D - 1, half, half))
}

/// `gelu(gate) * up` of the halves [gate | up] of the last dimension, GELU by its tanh approximation.
pub fn geglu_joined<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let half = x.dims()[D - 1] / 2;
    gelu_tanh(x.clone().narrow(D - 1, 0, half)) * x.narrow(D - 1, half, half)
}

/// `silu(gate) * up`.
pub fn swiglu<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    activation::silu(gate) * up
}

/// GELU by its tanh approximation.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::gelu_approximate(x)
}

/// GELU by the error function, spelled out: the gradient that Burn 0.22 gives its own `gelu` on most devices is that of
/// the tanh form, off by up to 5e-4.
pub fn gelu_erf<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let phi = x.clone().mul_scalar(std::f64::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0).mul_scalar(0.5);
    x * phi
}
