//! SwiGLU and GELU, forward and backward, element by element.

use crate::cpu::Level;
use crate::math::{Unwritten, exp, filled, fma};
use rayon::prelude::*;

/// Elements per task. A single task runs where it is called: waking the thread pool would cost more than the work.
const CHUNK: usize = 1 << 14;
/// sqrt(2 / pi), of the tanh form of GELU.
const ROOT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

multiversion! {
    fn swiglu_chunk(gate: &[f32], up: &[f32], y: &mut Unwritten) = swiglu_body;
    fn swiglu_grad_chunk(gate: &[f32], up: &[f32], g: &[f32], d_gate: &mut Unwritten, d_up: &mut Unwritten) = swiglu_grad_body;
    fn gelu_tanh_chunk(x: &[f32], y: &mut Unwritten) = gelu_tanh_body;
    fn gelu_tanh_grad_chunk(x: &[f32], g: &[f32], dx: &mut Unwritten) = gelu_tanh_grad_body;
    fn gelu_erf_chunk(x: &[f32], y: &mut Unwritten) = gelu_erf_body;
    fn gelu_erf_grad_chunk(x: &[f32], g: &[f32], dx: &mut Unwritten) = gelu_erf_grad_body;
}

#[inline(always)]
fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

#[inline(always)]
fn swiglu_body<const FMA: bool>(gate: &[f32], up: &[f32], y: &mut Unwritten) {
    for ((a, b), y) in gate.iter().zip(up).zip(y) {
        y.write(a * sigmoid::<FMA>(*a) * b);
    }
}

#[inline(always)]
fn swiglu_grad_body<const FMA: bool>(
    gate: &[f32],
    up: &[f32],
    g: &[f32],
    d_gate: &mut Unwritten,
    d_up: &mut Unwritten,
) {
    for ((((a, b), g), da), db) in gate.iter().zip(up).zip(g).zip(d_gate).zip(d_up) {
        let s = sigmoid::<FMA>(*a);
        let silu = a * s;
        da.write(g * b * fma::<FMA>(silu, 1.0 - s, s));
        db.write(g * silu);
    }
}

/// `x * (1 + tanh u) / 2 = x * sigmoid(2 u)`.
#[inline(always)]
fn gelu_tanh_body<const FMA: bool>(x: &[f32], y: &mut Unwritten) {
    for (x, y) in x.iter().zip(y) {
        let u = ROOT_2_OVER_PI * x * fma::<FMA>(CUBIC * x, *x, 1.0);
        y.write(x * sigmoid::<FMA>(2.0 * u));
    }
}

#[inline(always)]
fn gelu_tanh_grad_body<const FMA: bool>(x: &[f32], g: &[f32], dx: &mut Unwritten) {
    for ((x, g), dx) in x.iter().zip(g).zip(dx) {
        // Beyond 20 the slope is 0 or 1 to the last bit, and the powers below could overflow.
        let x = x.clamp(-20.0, 20.0);
        let square = x * x;
        let s = sigmoid::<FMA>(2.0 * ROOT_2_OVER_PI * x * fma::<FMA>(CUBIC, square, 1.0));
        let slope = ROOT_2_OVER_PI * fma::<FMA>(3.0 * CUBIC, square, 1.0);
        dx.write(g * fma::<FMA>(2.0 * x * slope * s, 1.0 - s, s));
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
fn gelu_erf_grad_body<const FMA: bool>(x: &[f32], g: &[f32], dx: &mut Unwritten) {
    const DENSITY: f32 = 0.398_942_3; // 1 / sqrt(2 pi)
    for ((x, g), dx) in x.iter().zip(g).zip(dx) {
        let (phi, bell) = normal::<FMA>(*x);
        dx.write(g * fma::<FMA>(x * DENSITY, bell, phi));
    }
}

/// `silu(gate) * up`.
///
/// # Panics
/// If the lengths differ (as for every function here).
pub fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    swiglu_at(Level::best(), gate, up)
}

fn swiglu_at(level: Level, gate: &[f32], up: &[f32]) -> Vec<f32> {
    assert_eq!(gate.len(), up.len(), "gate and up");
    // SAFETY: chunks of equal position and length cover all elements, and the body writes each.
    unsafe {
        filled(gate.len(), |y| {
            if y.len() <= CHUNK {
                return swiglu_chunk(level, gate, up, y);
            }
            y.par_chunks_mut(CHUNK)
                .zip(gate.par_chunks(CHUNK))
                .zip(up.par_chunks(CHUNK))
                .for_each(|((y, a), b)| swiglu_chunk(level, a, b, y));
        })
    }
}

/// Gradients of [`swiglu`] to (gate, up) from the gradient `g` of its result.
pub fn swiglu_grad(gate: &[f32], up: &[f32], g: &[f32]) -> (Vec<f32>, Vec<f32>) {
    swiglu_grad_at(Level::best(), gate, up, g)
}

fn swiglu_grad_at(level: Level, gate: &[f32], up: &[f32], g: &[f32]) -> (Vec<f32>, Vec<f32>) {
    assert!(gate.len() == up.len() && up.len() == g.len(), "gate, up and gradient");
    let mut d_up = Vec::new();
    // SAFETY: as in `swiglu_at`, for both outputs.
    let d_gate = unsafe {
        filled(gate.len(), |d_gate| {
            d_up = filled(gate.len(), |d_up| {
                d_gate
                    .par_chunks_mut(CHUNK)
                    .zip(d_up.par_chunks_mut(CHUNK))
                    .zip(gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)).zip(g.par_chunks(CHUNK)))
                    .for_each(|((da, db), ((a, b), g))| swiglu_grad_chunk(level, a, b, g, da, db));
            });
        })
    };
    (d_gate, d_up)
}

fn map(x: &[f32], f: impl Fn(&[f32], &mut Unwritten) + Sync) -> Vec<f32> {
    // SAFETY: chunks of equal position and length cover all elements, and the bodies above write each.
    unsafe {
        filled(x.len(), |y| {
            if y.len() <= CHUNK {
                return f(x, y);
            }
            y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| f(x, y));
        })
    }
}

fn map2(x: &[f32], g: &[f32], f: impl Fn(&[f32], &[f32], &mut Unwritten) + Sync) -> Vec<f32> {
    assert_eq!(x.len(), g.len(), "value and gradient");
    // SAFETY: as in `map`.
    unsafe {
        filled(x.len(), |y| {
            y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).zip(g.par_chunks(CHUNK)).for_each(|((y, x), g)| f(x, g, y))
        })
    }
}

/// GELU by its tanh approximation.
pub fn gelu_tanh(x: &[f32]) -> Vec<f32> {
    let level = Level::best();
    map(x, |x, y| gelu_tanh_chunk(level, x, y))
}

/// Gradient of [`gelu_tanh`].
pub fn gelu_tanh_grad(x: &[f32], g: &[f32]) -> Vec<f32> {
    let level = Level::best();
    map2(x, g, |x, g, y| gelu_tanh_grad_chunk(level, x, g, y))
}

/// GELU by the error function.
pub fn gelu_erf(x: &[f32]) -> Vec<f32> {
    let level = Level::best();
    map(x, |x, y| gelu_erf_chunk(level, x, y))
}

/// Gradient of [`gelu_erf`].
pub fn gelu_erf_grad(x: &[f32], g: &[f32]) -> Vec<f32> {
    let level = Level::best();
    map2(x, g, |x, g, y| gelu_erf_grad_chunk(level, x, g, y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, gradient, matrix, to_f64};
    use proptest::prelude::*;

    fn swiglu_reference(a: f64, b: f64) -> f64 {
        a / (1.0 + (-a).exp()) * b
    }

    fn gelu_tanh_reference(x: f64) -> f64 {
        0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
    }

    /// Φ by integrating the density with Simpson's rule: independent of the polynomial under test.
    fn gelu_erf_reference(x: f64) -> f64 {
        let steps = 2000;
        let h = x / f64::from(steps);
        let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let sum: f64 = (0..=steps)
            .map(|i| {
                density(h * f64::from(i))
                    * if i == 0 || i == steps {
                        1.0
                    } else if i % 2 == 1 {
                        4.0
                    } else {
                        2.0
                    }
            })
            .sum();
        x * (0.5 + sum * h / 3.0)
    }

    fn values(n: usize, seed: u64) -> Vec<f32> {
        matrix(n, seed).into_iter().map(|x| 12.0 * x).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn activations_and_gradients_at_every_level(n in 1usize..70, seed: u64) {
            let (x, b, g) = (values(n, seed), values(n, seed ^ 1), matrix(n, seed ^ 2));
            let each = |f: &dyn Fn(f64) -> f64| to_f64(&x).into_iter().map(f).collect::<Vec<_>>();
            let slopes = |f: &dyn Fn(f64) -> f64| x.iter().zip(&g).map(|(x, g)| f64::from(*g) * gradient(&[f64::from(*x)], |x| f(x[0]))[0]).collect::<Vec<_>>();
            let (a64, b64) = (to_f64(&x), to_f64(&b));
            let product: Vec<f64> = a64.iter().zip(&b64).map(|(a, b)| swiglu_reference(*a, *b)).collect();
            let d_gate: Vec<f64> = (0..n).map(|i| f64::from(g[i]) * gradient(&[a64[i]], |a| swiglu_reference(a[0], b64[i]))[0]).collect();
            let d_up: Vec<f64> = (0..n).map(|i| f64::from(g[i]) * gradient(&[b64[i]], |b| swiglu_reference(a64[i], b[0]))[0]).collect();
            for level in Level::available() {
                assert_close(&swiglu_at(level, &x, &b), &product, 1e-6);
                let (da, db) = swiglu_grad_at(level, &x, &b, &g);
                assert_close(&da, &d_gate, 1e-6);
                assert_close(&db, &d_up, 1e-6);
                assert_close(&map(&x, |x, y| gelu_tanh_chunk(level, x, y)), &each(&gelu_tanh_reference), 2e-6);
                assert_close(&map2(&x, &g, |x, g, y| gelu_tanh_grad_chunk(level, x, g, y)), &slopes(&gelu_tanh_reference), 2e-6);
                assert_close(&map(&x, |x, y| gelu_erf_chunk(level, x, y)), &each(&gelu_erf_reference), 2e-6);
                assert_close(&map2(&x, &g, |x, g, y| gelu_erf_grad_chunk(level, x, g, y)), &slopes(&gelu_erf_reference), 2e-6);
            }
        }
    }

    #[test]
    fn extremes_stay_finite() {
        let x = [-1e30f32, -200.0, -90.0, -0.0, 90.0, 200.0, 1e30];
        for y in [gelu_tanh(&x), gelu_erf(&x), swiglu(&x, &[1.0; 7])] {
            assert!(y[..4].iter().all(|y| y.abs() < 1e-6), "{y:?}");
            assert_eq!(&y[4..], &[90.0, 200.0, 1e30]);
        }
        for d in [gelu_tanh_grad(&x, &[1.0; 7]), gelu_erf_grad(&x, &[1.0; 7]), swiglu_grad(&x, &[1.0; 7], &[1.0; 7]).0]
        {
            assert!(d.iter().all(|d| d.is_finite()), "{d:?}");
        }
    }
}
