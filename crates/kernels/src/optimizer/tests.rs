use super::adafactor::{matrix_at, vector_at};
use super::adamw::adamw_at;
use super::lion::lion_at;
use super::muon::muon_at;
use super::sgd::sgd_at;
use super::terms::add_terms_at;
use super::*;
use crate::precision::Precision;
use crate::testing::{assert_close, matrix, to_f64};
use proptest::prelude::*;

/// The paper's algorithm 2, in f64.
fn reference(h: &AdamW, p: &mut f64, g: f64, m: &mut f64, v: &mut f64) {
    let g = g * h.gradient_scale;
    *m = h.beta1 * *m + (1.0 - h.beta1) * g;
    *v = h.beta2 * *v + (1.0 - h.beta2) * g * g;
    let m_hat = *m / (1.0 - h.beta1.powi(h.step as i32));
    let v_hat = *v / (1.0 - h.beta2.powi(h.step as i32));
    *p -= h.lr * (m_hat / (v_hat.sqrt() + h.eps) + h.weight_decay * *p);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn several_steps_follow_the_paper(n in 0usize..70, gradients in prop::collection::vec(-3f32..3.0, 70 * 3)) {
        for level in Level::available() {
            let (mut p, mut m, mut v) = (vec![0.5f32; n], vec![0f32; n], vec![0f32; n]);
            let mut want = vec![(0.5f64, 0f64, 0f64); n];
            for step in 0..3 {
                let h = AdamW { lr: 0.01, weight_decay: 0.1, step: step as u64 + 1, gradient_scale: 0.7, ..AdamW::default() };
                let g = &gradients[step * 70..step * 70 + n];
                adamw_at(level, &h, &mut p, g, &mut m, &mut v);
                for (w, g) in want.iter_mut().zip(g) {
                    reference(&h, &mut w.0, f64::from(*g), &mut w.1, &mut w.2);
                }
            }
            for (p, w) in p.iter().zip(&want) {
                prop_assert!((f64::from(*p) - w.0).abs() < 2e-6, "{}: {p} {}", level.name(), w.0);
            }
        }
    }

    /// PyTorch's documentation of `torch.optim.SGD`, in f64.
    #[test]
    fn sgd_follows_its_formulas(n in 0usize..70, momentum in 0f64..1.0, nesterov: bool, plain: bool, seed: u64) {
        let momentum = if plain { 0.0 } else { momentum };
        let h = Sgd { lr: 0.1, momentum, nesterov, weight_decay: 0.05, gradient_scale: 0.7 };
        for level in Level::available() {
            let (mut p, mut b) = (vec![0.5f32; n], vec![0f32; if plain { 0 } else { n }]);
            let mut want = vec![(0.5f64, 0f64); n];
            for step in 0..3 {
                let g = matrix(n, seed ^ step);
                sgd_at(level, &h, &mut p, &g, &mut b);
                for ((p, b), g) in want.iter_mut().zip(&g) {
                    let g = f64::from(*g) * h.gradient_scale + h.weight_decay * *p;
                    *b = if step == 0 { g } else { momentum * *b + g };
                    *p -= h.lr * if momentum == 0.0 { g } else if nesterov { g + momentum * *b } else { *b };
                }
            }
            assert_close(&p, &want.iter().map(|w| w.0).collect::<Vec<_>>(), 1e-6);
        }
    }

    /// Program 1 of the paper, in f64.
    #[test]
    fn lion_follows_the_paper(n in 0usize..70, seed: u64) {
        let h = Lion { lr: 0.01, weight_decay: 0.1, gradient_scale: 0.7, ..Lion::default() };
        for level in Level::available() {
            let (mut p, mut m) = (vec![0.5f32; n], vec![0f32; n]);
            let mut want = vec![(0.5f64, 0f64); n];
            for step in 0..3 {
                let mut g = matrix(n, seed ^ step);
                // A parameter without gradients moves by its decay alone.
                g.iter_mut().take(1).for_each(|g| *g = 0.0);
                lion_at(level, &h, &mut p, &g, &mut m);
                for (i, ((p, m), g)) in want.iter_mut().zip(&g).enumerate() {
                    let g = f64::from(*g) * h.gradient_scale;
                    let direction = h.beta1 * *m + (1.0 - h.beta1) * g;
                    prop_assume!(i == 0 || direction.abs() > 1e-6);
                    let sign = if direction == 0.0 { 0.0 } else { direction.signum() };
                    *p -= h.lr * (sign + h.weight_decay * *p);
                    *m = h.beta2 * *m + (1.0 - h.beta2) * g;
                }
            }
            assert_close(&p, &want.iter().map(|w| w.0).collect::<Vec<_>>(), 1e-6);
            assert_close(&m, &want.iter().map(|w| w.1).collect::<Vec<_>>(), 1e-6);
        }
    }

    /// Wide, tall and square matrices, three steps, against the iteration in f64.
    #[test]
    fn muon_follows_its_formulas(rows in 1usize..12, cols in 1usize..12, nesterov: bool, seed: u64) {
        let h = Muon { lr: 0.01, weight_decay: 0.1, gradient_scale: 0.7, nesterov, ..Muon::default() };
        for level in Level::available() {
            let (mut p, mut b) = (vec![0.5f32; rows * cols], vec![0f32; rows * cols]);
            let (mut want, mut want_b) = (to_f64(&p), to_f64(&b));
            for step in 0..3 {
                let g = matrix(rows * cols, seed ^ step);
                muon_at(level, &h, &mut p, &g, &mut b, rows, cols);
                muon_reference(&h, &mut want, &to_f64(&g), &mut want_b, rows, cols);
            }
            assert_close(&p, &want, 2e-5);
            assert_close(&b, &want_b, 1e-6);
        }
    }

    /// The paper's formulas on whole second moments, in f64; a vector is told by `rows == 0`.
    #[test]
    fn adafactor_follows_its_formulas(
        batch in 1usize..3, rows in 0usize..9, cols in 1usize..40, relative_step: bool, seed: u64,
    ) {
        let len = if rows == 0 { cols } else { batch * rows * cols };
        for level in Level::available() {
            let mut p = matrix(len, seed ^ 77);
            let mut want = to_f64(&p);
            let (mut row, mut col) = (vec![0f32; batch * rows], vec![0f32; if rows == 0 { cols } else { batch * cols }]);
            let mut moments = vec![(0f64, 0f64); len];
            for step in 1..4 {
                let h = Adafactor { lr: 0.3, step, relative_step, weight_decay: 0.1, gradient_scale: 0.7, ..Adafactor::default() };
                let mut g = matrix(len, seed ^ (4 * step));
                g.iter_mut().for_each(|g| *g = if *g == 0.0 { 0.25 } else { *g });
                match rows {
                    0 => vector_at(level, &h, &mut p, &g, &mut col),
                    _ => matrix_at(level, &h, &mut p, &g, &mut row, &mut col, [batch, rows, cols]),
                }
                adafactor_reference(&h, &mut want, &to_f64(&g), &mut moments, rows, cols);
            }
            assert_close(&p, &want, 1e-5);
        }
    }

    #[test]
    fn terms_are_added_to_gradients(len in 0usize..90, noise in 0f64..2.0, seed: u64) {
        let h = GradientTerms { gradient_scale: 0.5, l1: 0.1, l2: 0.3, noise, key: seed };
        let mut p = matrix(len, seed);
        p.iter_mut().take(1).for_each(|p| *p = 0.0);
        let random = super::noise(seed, len);
        for level in Level::available() {
            let mut g = matrix(len, seed ^ 2);
            let sign = |p: f32| if p == 0.0 { 0.0 } else { f64::from(p.signum()) };
            let want: Vec<f64> = g.iter().zip(&p).zip(&random).map(|((g, p), x)| {
                0.5 * f64::from(*g) + 0.1 * sign(*p) + 0.3 * f64::from(*p) + noise * f64::from(*x)
            }).collect();
            add_terms_at(level, &h, &mut g, &p);
            assert_close(&g, &want, 1e-6);
        }
    }

    #[test]
    fn sum_of_squares_is_exact_to_f64(x in prop::collection::vec(-9f32..9.0, 0..100)) {
        let want: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
        for level in Level::available() {
            prop_assert!((sum_squares_at(level, &x) - want).abs() <= 1e-12 * want.max(1.0));
        }
    }
}

#[test]
fn every_level_gives_the_same_bits() {
    let n = 2 * CHUNK + 17;
    let g: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
    let run = |level| {
        let (mut p, mut m, mut v) = (g.clone(), vec![0f32; n], vec![0f32; n]);
        adamw_at(level, &AdamW::default(), &mut p, &g, &mut m, &mut v);
        let (mut q, mut r, mut b, mut l) = (g.clone(), g.clone(), vec![0f32; n], vec![0f32; n]);
        sgd_at(level, &Sgd { momentum: 0.9, nesterov: true, ..Sgd::default() }, &mut q, &g, &mut b);
        lion_at(level, &Lion::default(), &mut r, &g, &mut l);
        (p, q, r, sum_squares_at(level, &g).to_bits())
    };
    let first = run(Level::available()[0]);
    for level in Level::available() {
        assert_eq!(run(level), first);
    }
}

fn times(a: &[f64], b: &[f64], inner: usize) -> Vec<f64> {
    let cols = b.len() / inner;
    let at = |i: usize| (0..inner).map(|k| a[i / cols * inner + k] * b[k * cols + i % cols]).sum();
    (0..a.len() / inner * cols).map(at).collect()
}

fn transposed(a: &[f64], cols: usize) -> Vec<f64> {
    (0..a.len()).map(|i| a[i % (a.len() / cols) * cols + i / (a.len() / cols)]).collect()
}

fn muon_reference(h: &Muon, p: &mut [f64], g: &[f64], b: &mut [f64], rows: usize, cols: usize) {
    let mut x: Vec<f64> = Vec::new();
    for (b, g) in b.iter_mut().zip(g) {
        let g = g * h.gradient_scale;
        *b = h.momentum * *b + (1.0 - h.momentum) * g;
        x.push(if h.nesterov { (1.0 - h.momentum) * g + h.momentum * *b } else { *b });
    }
    let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-7);
    x.iter_mut().for_each(|x| *x /= norm);
    for _ in 0..5 {
        // Always by x x^T: that the shorter side gives the same is part of what is tested.
        let s = times(&x, &transposed(&x, cols), cols);
        let s2 = times(&s, &s, rows);
        let q: Vec<f64> = s.iter().zip(&s2).map(|(s, s2)| -4.7750 * s + 2.0315 * s2).collect();
        let moved = times(&q, &x, rows);
        x = x.iter().zip(moved).map(|(x, m)| 3.4445 * x + m).collect();
    }
    let step = h.lr * 0.2 * (rows.max(cols) as f64).sqrt();
    p.iter_mut().zip(x).for_each(|(p, x)| *p = (1.0 - h.lr * h.weight_decay) * *p - step * x);
}

fn adafactor_reference(h: &Adafactor, p: &mut [f64], g: &[f64], moments: &mut [(f64, f64)], rows: usize, cols: usize) {
    let weight = (h.step as f64).powf(-0.8);
    let g: Vec<f64> = g.iter().map(|g| g * h.gradient_scale).collect();
    let size = if rows == 0 { cols } else { rows * cols };
    let mut updates = Vec::new();
    for (g, moments) in g.chunks(size).zip(moments.chunks_mut(size)) {
        // Each element keeps its row's and its column's mean.
        for (i, (row, col)) in moments.iter_mut().enumerate() {
            let mean = |of: &dyn Fn(usize) -> bool| {
                let squares: Vec<f64> = (0..size).filter(|j| of(*j)).map(|j| g[j] * g[j]).collect();
                squares.iter().sum::<f64>() / squares.len() as f64
            };
            if rows == 0 {
                *row += weight * (g[i] * g[i] - *row);
            } else {
                *row += weight * (mean(&|j| j / cols == i / cols) - *row);
                *col += weight * (mean(&|j| j % cols == i % cols) - *col);
            }
        }
        let mean = moments.iter().map(|m| m.0).sum::<f64>() / size as f64;
        for (g, (row, col)) in g.iter().zip(moments.iter()) {
            let v = if rows == 0 { *row } else { row * col / mean.max(h.eps1) };
            updates.push(g / v.max(h.eps1 * h.eps1).sqrt());
        }
    }
    let rms = |x: &[f64]| (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64).sqrt();
    let alpha = match h.relative_step {
        true => rms(p).max(1e-3) * h.lr.min((h.step as f64).powf(-0.5)),
        false => h.lr,
    };
    let clip = rms(&updates).max(1.0);
    p.iter_mut().zip(updates).for_each(|(p, u)| *p = (1.0 - h.lr * h.weight_decay) * *p - alpha * u / clip);
}

/// Noise has the moments of the normal distribution, and each key its own.
#[test]
fn noise_is_normal() {
    let x = to_f64(&noise(9, 40_000));
    let mean = |f: &dyn Fn(f64) -> f64| x.iter().map(|x| f(*x)).sum::<f64>() / x.len() as f64;
    assert!(mean(&|x| x).abs() < 0.02 && (mean(&|x| x * x) - 1.0).abs() < 0.03);
    assert!((mean(&|x| x.powi(4)) - 3.0).abs() < 0.15 && (mean(&|x| f64::from(x.abs() < 1.0)) - 0.6827).abs() < 0.01);
    let other = to_f64(&noise(10, 40_000));
    let correlation = x.iter().zip(&other).map(|(a, b)| a * b).sum::<f64>() / x.len() as f64;
    assert!(correlation.abs() < 0.02, "{correlation}");
    assert_eq!(noise(9, 6), noise(9, 40_000)[..6]);
}

#[test]
fn an_average_moves_by_its_share() {
    let mut a = vec![1.0, -2.0, 3.0];
    average(0.25, &mut a, &[5.0, 2.0, 3.0]);
    assert_eq!(a, [2.0, -1.0, 3.0]);
    average(1.0, &mut a, &[7.0, 8.0, 9.0]);
    assert_eq!(a, [7.0, 8.0, 9.0]);
}

/// What the iteration is for: rows of a wide matrix become nearly orthonormal, in both precisions.
#[test]
fn orthogonalised_rows_are_nearly_orthonormal() {
    let (rows, cols) = (24, 96);
    for precision in [Precision::F32, Precision::Bf16] {
        let x = to_f64(&orthogonalized(matrix(rows * cols, 3), rows, cols, precision));
        let square = times(&x, &transposed(&x, cols), cols);
        for (i, s) in square.iter().enumerate() {
            let (want, room) = if i % (rows + 1) == 0 { (1.0, 0.45) } else { (0.0, 0.25) };
            assert!((s - want).abs() < room, "{precision:?} [{i}]: {s}");
        }
        let rms = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64).sqrt() * (cols as f64).sqrt();
        assert!((rms - 1.0).abs() < 0.2, "{precision:?}: {rms}");
    }
    assert_eq!(orthogonalized(vec![0.0; 12], 3, 4, Precision::F32), vec![0.0; 12]);
}

#[test]
fn threads_change_no_bit() {
    let (rows, cols) = (300, 401);
    let g = matrix(rows * cols, 1);
    crate::testing::assert_threads_change_nothing(|| {
        let (mut p, mut m, mut v) = (g.clone(), vec![0f32; g.len()], vec![0f32; g.len()]);
        adamw(&AdamW::default(), &mut p, &g, &mut m, &mut v);
        muon(&Muon::default(), &mut p, &g, &mut m, rows, cols);
        let (mut row, mut col) = (vec![0f32; rows], vec![0f32; cols]);
        let mut noisy = g.clone();
        adafactor_matrix(&Adafactor::default(), &mut p, &g, &mut row, &mut col, [1, rows, cols]);
        add_terms(&GradientTerms { noise: 0.1, l1: 0.1, ..GradientTerms::default() }, &mut noisy, &p);
        (p, m, v, row, col, noisy, sum_squares(&g).to_bits())
    });
}
