use super::gated::{GEGLU, SWIGLU, joined_at, joined_grad_at, swiglu_at, swiglu_grad_at};
use super::pointwise::*;
use super::*;
use crate::cpu::Level;
use crate::elementwise::{CHUNK, map};
use crate::testing::{assert_close, gradient, matrix, to_f64};
use proptest::prelude::*;

fn swiglu_reference(a: f64, b: f64) -> f64 {
    a / (1.0 + (-a).exp()) * b
}

fn silu_reference(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn quick_gelu_reference(x: f64) -> f64 {
    x / (1.0 + (-1.702 * x).exp())
}

fn relu_squared_reference(x: f64) -> f64 {
    x.max(0.0).powi(2)
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

/// A gradient's kernel on the whole at once.
fn through(level: Level, kernel: fn(Level, &[f32], &mut [f32]), x: &[f32], g: &[f32]) -> Vec<f32> {
    let mut g = g.to_vec();
    kernel(level, x, &mut g);
    g
}

/// The public gradients, which work in place, give what their kernels give.
#[test]
fn gradients_in_place_over_several_pieces_and_tasks() {
    let (x, g) = (values(40_001, 3), matrix(40_001, 4));
    let level = Level::best();
    assert_eq!(gelu_tanh_grad(&x, g.clone()), through(level, gelu_tanh_grad_chunk, &x, &g));
    assert_eq!(gelu_erf_grad(&x, g.clone()), through(level, gelu_erf_grad_chunk, &x, &g));
    assert_eq!(silu_grad(&x, g.clone()), through(level, silu_grad_chunk, &x, &g));
    assert_eq!(quick_gelu_grad(&x, g.clone()), through(level, quick_gelu_grad_chunk, &x, &g));
    assert_eq!(relu_grad(&x, g.clone()), through(level, relu_grad_chunk, &x, &g));
    assert_eq!(relu_squared_grad(&x, g.clone()), through(level, relu_squared_grad_chunk, &x, &g));
}

/// A result kept in bfloat16 is the f32 one rounded; so is a gradient.
#[test]
fn activations_of_values_kept_in_bf16() {
    use crate::precision::Precision::Bf16;
    let kinds = [
        Activation::GeluTanh,
        Activation::GeluErf,
        Activation::Silu,
        Activation::QuickGelu,
        Activation::Relu,
        Activation::ReluSquared,
        Activation::Swiglu,
        Activation::Geglu,
    ];
    for (kind, width) in kinds.into_iter().flat_map(|kind| [(kind, 6), (kind, 4000)]) {
        let x = ValueVec::new(values(9 * width, 3), Bf16);
        let g = ValueVec::new(matrix(9 * kind.output_width(width), 4), Bf16);
        let (wide_x, wide_g) = (x.clone().into_f32(), g.clone().into_f32());
        let want = kind.forward((&wide_x).into(), width);
        assert_eq!(kind.forward((&x).into(), width), ValueVec::new(want.into_f32(), Bf16), "{kind:?}");
        let want = kind.gradient((&wide_x).into(), width, ValueVec::F32(wide_g.clone()));
        let want = ValueVec::new(want.into_f32(), Bf16);
        assert_eq!(kind.gradient((&x).into(), width, g), want, "{kind:?}");
        assert_eq!(kind.gradient((&x).into(), width, ValueVec::F32(wide_g)), want, "{kind:?}, gradient in f32");
    }
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
            // One joined row [x | b].
            let joined = [x.clone(), b.clone()].concat();
            let product: Vec<f64> = a64.iter().zip(&b64).map(|(a, b)| gelu_tanh_reference(*a) * b).collect();
            let d_gate = (0..n).map(|i| f64::from(g[i]) * gradient(&[a64[i]], |a| gelu_tanh_reference(a[0]) * b64[i])[0]);
            let d_up = (0..n).map(|i| f64::from(g[i]) * gelu_tanh_reference(a64[i]));
            assert_close(&joined_at(level, &joined, n, GEGLU), &product, 2e-6);
            assert_close(&joined_grad_at(level, &joined, n, &g, GEGLU), &d_gate.chain(d_up).collect::<Vec<_>>(), 4e-6);
            assert_close(&map(&x, |x, y| gelu_tanh_chunk(level, x, y)), &each(&gelu_tanh_reference), 2e-6);
            assert_close(&through(level, gelu_tanh_grad_chunk, &x, &g), &slopes(&gelu_tanh_reference), 2e-6);
            assert_close(&map(&x, |x, y| gelu_erf_chunk(level, x, y)), &each(&gelu_erf_reference), 2e-6);
            assert_close(&through(level, gelu_erf_grad_chunk, &x, &g), &slopes(&gelu_erf_reference), 2e-6);
            assert_close(&map(&x, |x, y| silu_chunk(level, x, y)), &each(&silu_reference), 1e-6);
            assert_close(&through(level, silu_grad_chunk, &x, &g), &slopes(&silu_reference), 1e-6);
            assert_close(&map(&x, |x, y| quick_gelu_chunk(level, x, y)), &each(&quick_gelu_reference), 2e-6);
            assert_close(&through(level, quick_gelu_grad_chunk, &x, &g), &slopes(&quick_gelu_reference), 2e-6);
            assert_close(&map(&x, |x, y| relu_squared_chunk(level, x, y)), &each(&relu_squared_reference), 1e-6);
            assert_close(&map(&x, |x, y| relu_chunk(level, x, y)), &each(&|x| x.max(0.0)), 1e-6);
            let slope: Vec<f64> = x.iter().zip(&g).map(|(x, g)| if *x > 0.0 { f64::from(*g) } else { 0.0 }).collect();
            assert_close(&through(level, relu_grad_chunk, &x, &g), &slope, 1e-6);
            // A product with f64's slope, as central differences smear the corner at 0.
            let slope: Vec<f64> = x.iter().zip(&g).map(|(x, g)| 2.0 * f64::from(x.max(0.0)) * f64::from(*g)).collect();
            assert_close(&through(level, relu_squared_grad_chunk, &x, &g), &slope, 1e-6);
        }
    }
}

#[test]
fn extremes_stay_finite() {
    let x = [-1e30f32, -200.0, -90.0, -0.0, 90.0, 200.0, 1e30];
    for y in [gelu_tanh(&x), gelu_erf(&x), quick_gelu(&x), swiglu(&x, &[1.0; 7])] {
        assert!(y[..4].iter().all(|y| y.abs() < 1e-6), "{y:?}");
        assert_eq!(&y[4..], &[90.0, 200.0, 1e30]);
    }
    for d in
        [gelu_tanh_grad(&x, vec![1.0; 7]), gelu_erf_grad(&x, vec![1.0; 7]), swiglu_grad(&x, &[1.0; 7], &[1.0; 7]).0]
    {
        assert!(d.iter().all(|d| d.is_finite()), "{d:?}");
    }
}

/// Rows [gate | up] give, to the bit, what the halves give apart; also over more than one task.
#[test]
fn joined_halves_are_the_halves() {
    for (rows, width) in [(0, 3), (1, 1), (3, 5), (7, 33), (2, CHUNK + 1), (CHUNK / 8, 17)] {
        let (gate, up, g) = (values(rows * width, 1), values(rows * width, 2), matrix(rows * width, 3));
        let join = |a: &[f32], b: &[f32]| -> Vec<f32> {
            a.chunks(width).zip(b.chunks(width)).flat_map(|(a, b)| [a, b].concat()).collect()
        };
        let joined = join(&gate, &up);
        for level in Level::available() {
            assert_eq!(joined_at(level, &joined, width, SWIGLU), swiglu_at(level, &gate, &up), "{rows} x {width}");
            let (d_gate, d_up) = swiglu_grad_at(level, &gate, &up, &g);
            assert_eq!(joined_grad_at(level, &joined, width, &g, SWIGLU), join(&d_gate, &d_up));
        }
    }
}

#[test]
fn nan_stays() {
    let x = [f32::NAN; 20];
    let results = [
        silu(&x),
        quick_gelu(&x),
        relu(&x),
        relu_squared(&x),
        gelu_tanh(&x),
        gelu_erf(&x),
        swiglu(&x, &[1.0; 20]),
        swiglu_joined(&x, 10),
    ];
    assert!(results.iter().flatten().all(|y| y.is_nan()));
    assert_eq!(relu_squared(&[f32::INFINITY, f32::NEG_INFINITY]), [f32::INFINITY, 0.0]);
}
