//! Activations of one input.

use super::sigmoid;
use crate::cpu::Level;
use crate::elementwise::{map, through};
use crate::math::{Unwritten, exp, fma};

/// sqrt(2 / pi), of the tanh form of GELU.
const ROOT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;
/// Of GELU's sigmoid form.
const QUICK: f32 = 1.702;

multiversion! {
    pub(crate) fn gelu_tanh_chunk(x: &[f32], y: &mut Unwritten) = gelu_tanh_body;
    pub(super) fn gelu_tanh_grad_chunk(x: &[f32], g: &mut [f32]) = gelu_tanh_grad_body;
    pub(crate) fn gelu_erf_chunk(x: &[f32], y: &mut Unwritten) = gelu_erf_body;
    pub(super) fn gelu_erf_grad_chunk(x: &[f32], g: &mut [f32]) = gelu_erf_grad_body;
    pub(crate) fn silu_chunk(x: &[f32], y: &mut Unwritten) = silu_body;
    pub(super) fn silu_grad_chunk(x: &[f32], g: &mut [f32]) = silu_grad_body;
    pub(crate) fn quick_gelu_chunk(x: &[f32], y: &mut Unwritten) = quick_gelu_body;
    pub(super) fn quick_gelu_grad_chunk(x: &[f32], g: &mut [f32]) = quick_gelu_grad_body;
    pub(crate) fn relu_chunk(x: &[f32], y: &mut Unwritten) = relu_body;
    pub(super) fn relu_grad_chunk(x: &[f32], g: &mut [f32]) = relu_grad_body;
    pub(crate) fn relu_squared_chunk(x: &[f32], y: &mut Unwritten) = relu_squared_body;
    pub(super) fn relu_squared_grad_chunk(x: &[f32], g: &mut [f32]) = relu_squared_grad_body;
}

/// `x * (1 + tanh u) / 2 = x * sigmoid(2 u)`.
#[inline(always)]
fn gelu_tanh_body<const FMA: bool>(x: &[f32], y: &mut Unwritten) {
    for (x, y) in x.iter().zip(y) {
        let u = ROOT_2_OVER_PI * x * fma::<FMA>(CUBIC * x, *x, 1.0);
        y.write(x * sigmoid::<FMA>(2.0 * u));
    }
}

/// GELU's tanh form is `x * share`; its slope.
#[inline(always)]
pub(super) fn gelu_tanh_parts<const FMA: bool>(x: f32) -> (f32, f32) {
    // Beyond 20 the slope is 0 or 1 to the last bit, and the powers below could overflow.
    let x = x.clamp(-20.0, 20.0);
    let square = x * x;
    let share = sigmoid::<FMA>(2.0 * ROOT_2_OVER_PI * x * fma::<FMA>(CUBIC, square, 1.0));
    let slope = ROOT_2_OVER_PI * fma::<FMA>(3.0 * CUBIC, square, 1.0);
    (share, fma::<FMA>(2.0 * x * slope * share, 1.0 - share, share))
}

#[inline(always)]
fn gelu_tanh_grad_body<const FMA: bool>(x: &[f32], g: &mut [f32]) {
    for (x, g) in x.iter().zip(g) {
        *g *= gelu_tanh_parts::<FMA>(*x).1;
    }
}

/// The normal distribution's Φ(x) and `exp(-x^2 / 2)`. The error function is formula 7.1.26 of Abramowitz and Stegun,
/// absolute error below 1.5e-7.
#[inline(always)]
fn normal<const FMA: bool>(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let bell = exp::<FMA>(-z * z);
    let t = 1.0 / fma::<FMA>(0.327_591_1, z, 1.0);
    let p = fma::<FMA>(1.061_405_4, t, -1.453_152);
    let p = fma::<FMA>(p, t, 1.421_413_7);
    let p = fma::<FMA>(p, t, -0.284_496_74);
    let p = fma::<FMA>(p, t, 0.254_829_6);
    let upper_tail = 0.5 * p * t * bell;
    (if x < 0.0 { upper_tail } else { 1.0 - upper_tail }, bell)
}

#[inline(always)]
fn gelu_erf_body<const FMA: bool>(x: &[f32], y: &mut Unwritten) {
    for (x, y) in x.iter().zip(y) {
        y.write(x * normal::<FMA>(*x).0);
    }
}

#[inline(always)]
fn gelu_erf_grad_body<const FMA: bool>(x: &[f32], g: &mut [f32]) {
    const DENSITY: f32 = 0.398_942_3; // 1 / sqrt(2 pi)
    for (x, g) in x.iter().zip(g) {
        let (phi, bell) = normal::<FMA>(*x);
        *g *= fma::<FMA>(x * DENSITY, bell, phi);
    }
}

#[inline(always)]
fn silu_body<const FMA: bool>(x: &[f32], y: &mut Unwritten) {
    for (x, y) in x.iter().zip(y) {
        y.write(x * sigmoid::<FMA>(*x));
    }
}

#[inline(always)]
fn silu_grad_body<const FMA: bool>(x: &[f32], g: &mut [f32]) {
    for (x, g) in x.iter().zip(g) {
        let s = sigmoid::<FMA>(*x);
        *g *= fma::<FMA>(x * s, 1.0 - s, s);
    }
}

#[inline(always)]
fn quick_gelu_body<const FMA: bool>(x: &[f32], y: &mut Unwritten) {
    for (x, y) in x.iter().zip(y) {
        y.write(x * sigmoid::<FMA>(QUICK * x));
    }
}

#[inline(always)]
fn quick_gelu_grad_body<const FMA: bool>(x: &[f32], g: &mut [f32]) {
    for (x, g) in x.iter().zip(g) {
        let s = sigmoid::<FMA>(QUICK * x);
        *g *= fma::<FMA>(QUICK * x * s, 1.0 - s, s);
    }
}

/// Positive part; written so that a NaN stays one.
#[inline(always)]
fn positive(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

#[inline(always)]
fn relu_body<const FMA: bool>(x: &[f32], y: &mut Unwritten) {
    for (x, y) in x.iter().zip(y) {
        y.write(positive(*x));
    }
}

#[inline(always)]
fn relu_grad_body<const FMA: bool>(x: &[f32], g: &mut [f32]) {
    for (x, g) in x.iter().zip(g) {
        *g = if *x > 0.0 { *g } else { 0.0 };
    }
}

#[inline(always)]
fn relu_squared_body<const FMA: bool>(x: &[f32], y: &mut Unwritten) {
    for (x, y) in x.iter().zip(y) {
        let x = positive(*x);
        y.write(x * x);
    }
}

#[inline(always)]
fn relu_squared_grad_body<const FMA: bool>(x: &[f32], g: &mut [f32]) {
    for (x, g) in x.iter().zip(g) {
        *g *= 2.0 * positive(*x);
    }
}

/// GELU by its tanh approximation.
pub fn gelu_tanh(x: &[f32]) -> Vec<f32> {
    let level = Level::best();
    map(x, |x, y| gelu_tanh_chunk(level, x, y))
}

/// Gradient of [`gelu_tanh`], in the place of the gradient `g` of its result (as for every gradient here).
///
/// # Panics
/// If the lengths differ.
pub fn gelu_tanh_grad(x: &[f32], g: Vec<f32>) -> Vec<f32> {
    let level = Level::best();
    through(x, g, |x, g| gelu_tanh_grad_chunk(level, x, g))
}

/// GELU by the error function.
pub fn gelu_erf(x: &[f32]) -> Vec<f32> {
    let level = Level::best();
    map(x, |x, y| gelu_erf_chunk(level, x, y))
}

/// Gradient of [`gelu_erf`].
pub fn gelu_erf_grad(x: &[f32], g: Vec<f32>) -> Vec<f32> {
    let level = Level::best();
    through(x, g, |x, g| gelu_erf_grad_chunk(level, x, g))
}

/// SiLU, also called swish (Elfwing et al. 2018): `x * sigmoid(x)`.
pub fn silu(x: &[f32]) -> Vec<f32> {
    let level = Level::best();
    map(x, |x, y| silu_chunk(level, x, y))
}

/// Gradient of [`silu`].
pub fn silu_grad(x: &[f32], g: Vec<f32>) -> Vec<f32> {
    let level = Level::best();
    through(x, g, |x, g| silu_grad_chunk(level, x, g))
}

/// GELU by its sigmoid form, CLIP's `quick_gelu`: `x * sigmoid(1.702 x)` (Hendrycks and Gimpel 2016).
pub fn quick_gelu(x: &[f32]) -> Vec<f32> {
    let level = Level::best();
    map(x, |x, y| quick_gelu_chunk(level, x, y))
}

/// Gradient of [`quick_gelu`].
pub fn quick_gelu_grad(x: &[f32], g: Vec<f32>) -> Vec<f32> {
    let level = Level::best();
    through(x, g, |x, g| quick_gelu_grad_chunk(level, x, g))
}

/// ReLU: `max(x, 0)`.
pub fn relu(x: &[f32]) -> Vec<f32> {
    let level = Level::best();
    map(x, |x, y| relu_chunk(level, x, y))
}

/// Gradient of [`relu`]; at 0 it is 0.
pub fn relu_grad(x: &[f32], g: Vec<f32>) -> Vec<f32> {
    let level = Level::best();
    through(x, g, |x, g| relu_grad_chunk(level, x, g))
}

/// ReLU² (So et al. 2021, "Primer"): `max(x, 0)^2`.
pub fn relu_squared(x: &[f32]) -> Vec<f32> {
    let level = Level::best();
    map(x, |x, y| relu_squared_chunk(level, x, y))
}

/// Gradient of [`relu_squared`].
pub fn relu_squared_grad(x: &[f32], g: Vec<f32>) -> Vec<f32> {
    let level = Level::best();
    through(x, g, |x, g| relu_squared_grad_chunk(level, x, g))
}
