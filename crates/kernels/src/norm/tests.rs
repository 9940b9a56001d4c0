use super::*;
use crate::testing::{assert_close, gradient, matrix, to_f64};
use proptest::prelude::*;

const EPS: f64 = 1e-5;

fn rms_reference(x: &[f64], w: &[f64]) -> Vec<f64> {
    let d = w.len();
    x.chunks(d)
        .flat_map(|row| {
            let s = 1.0 / (row.iter().map(|x| x * x).sum::<f64>() / d as f64 + EPS).sqrt();
            row.iter().zip(w).map(move |(x, w)| x * s * w).collect::<Vec<_>>()
        })
        .collect()
}

fn layer_reference(x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
    let d = w.len();
    x.chunks(d)
        .flat_map(|row| {
            let mean = row.iter().sum::<f64>() / d as f64;
            let s = 1.0 / (row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / d as f64 + EPS).sqrt();
            row.iter().zip(w.iter().zip(b)).map(move |(x, (w, b))| (x - mean) * s * w + b).collect::<Vec<_>>()
        })
        .collect()
}

fn weighted(y: Vec<f64>, g: &[f32]) -> f64 {
    y.iter().zip(g).map(|(y, g)| y * f64::from(*g)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn both_norms_and_their_gradients(rows in 1usize..40, d in 2usize..40, seed: u64) {
        let (x, w, b, g) = (matrix(rows * d, seed), matrix(d, seed ^ 1), matrix(d, seed ^ 2), matrix(rows * d, seed ^ 3));
        let (x64, w64, b64) = (to_f64(&x), to_f64(&w), to_f64(&b));
        let rms_dx = gradient(&x64[..d], |x| weighted(rms_reference(x, &w64), &g[..d]));
        let rms_dw = gradient(&w64, |w| weighted(rms_reference(&x64, w), &g));
        let layer_dx = gradient(&x64[..d], |x| weighted(layer_reference(x, &w64, &b64), &g[..d]));
        let layer_dw = gradient(&w64, |w| weighted(layer_reference(&x64, w, &b64), &g));
        let layer_db = gradient(&b64, |b| weighted(layer_reference(&x64, &w64, b), &g));
        for level in Level::available() {
            let (y, scales) = rms_norm_at(level, &x, &w, EPS as f32);
            assert_close(&y, &rms_reference(&x64, &w64), 2e-6);
            let (dx, dw) = rms_norm_grad_at(level, &x, &w, &scales, &g, None);
            assert_close(&dx[..d], &rms_dx, 1e-4);
            assert_close(&dw, &rms_dw, 1e-4);
            let (y, stats) = layer_norm_at(level, &x, &w, &b, EPS as f32);
            assert_close(&y, &layer_reference(&x64, &w64, &b64), 1e-5);
            let (dx, dw, db) = layer_norm_grad_at(level, &x, &w, &stats, &g, None);
            assert_close(&dx[..d], &layer_dx, 1e-3);
            assert_close(&dw, &layer_dw, 1e-3);
            assert_close(&db, &layer_db, 1e-4);
        }
    }
}

/// Of a sum: what the plain norm gives of the sum, to the bit, and a gradient that holds the sum's own.
#[test]
fn norms_of_sums() {
    for (rows, d) in [(0, 4), (1, 1), (3, 7), (ROWS, 16), (3 * ROWS + 5, 33)] {
        let (x, r, w, b) = (matrix(rows * d, 1), matrix(rows * d, 2), matrix(d, 3), matrix(d, 4));
        let (g, g_sum) = (matrix(rows * d, 5), matrix(rows * d, 6));
        let sum: Vec<f32> = x.iter().zip(&r).map(|(x, r)| x + r).collect();
        let plus = |dx: Vec<f32>| -> Vec<f64> {
            dx.iter().zip(&g_sum).map(|(dx, g)| f64::from(*dx) + f64::from(*g)).collect()
        };
        for level in Level::available() {
            let got = add_rms_norm_at(level, &x, &r, &w, EPS as f32);
            let (y, stats) = rms_norm_at(level, &sum, &w, EPS as f32);
            assert_eq!(got, NormOfSum { sum: sum.clone(), y, stats });
            let (dx, dw) = rms_norm_grad_at(level, &sum, &w, &got.stats, &g, Some(&g_sum));
            let (plain, want_dw) = rms_norm_grad_at(level, &sum, &w, &got.stats, &g, None);
            assert_close(&dx, &plus(plain), 1e-6);
            assert_eq!(dw, want_dw);
            let got = add_layer_norm_at(level, &x, &r, &w, &b, EPS as f32);
            let (y, stats) = layer_norm_at(level, &sum, &w, &b, EPS as f32);
            assert_eq!(got, NormOfSum { sum: sum.clone(), y, stats });
            let (dx, dw, db) = layer_norm_grad_at(level, &sum, &w, &got.stats, &g, Some(&g_sum));
            let (plain, want_dw, want_db) = layer_norm_grad_at(level, &sum, &w, &got.stats, &g, None);
            assert_close(&dx, &plus(plain), 1e-6);
            assert_eq!((dw, db), (want_dw, want_db));
        }
    }
}

#[test]
fn nan_and_infinity_stay_in_their_row() {
    let mut x = matrix(3 * 20, 1);
    (x[3], x[25]) = (f32::NAN, f32::INFINITY);
    let w = vec![1.0; 20];
    for y in [rms_norm(&x, &w, 1e-5).0, layer_norm(&x, &w, &w, 1e-5).0] {
        assert!(y[..20].iter().all(|y| y.is_nan()) && y[25].is_nan());
        assert!(y[40..].iter().all(|y| y.is_finite()));
    }
}

#[test]
fn threads_change_no_bit() {
    let (rows, d) = (1000, 129);
    let (x, w, g) = (matrix(rows * d, 1), matrix(d, 2), matrix(rows * d, 3));
    crate::testing::assert_threads_change_nothing(|| {
        let (y, stats) = layer_norm(&x, &w, &w, 1e-5);
        (y, layer_norm_grad(&x, &w, &stats, &g), add_rms_norm(&x, &g, &w, 1e-5))
    });
}

#[test]
fn norms_kept_in_bf16_are_the_f32_ones_rounded() {
    for (rows, d) in [(1, 1), (3, 17), (100, 40)] {
        let (x, weight, bias) = (matrix(rows * d, 1), matrix(d, 2), matrix(d, 3));
        let (y, stats) = rms_norm(&x, &weight, 1e-5);
        let kept = rms_norm_kept(&x, &weight, 1e-5, Precision::Bf16);
        assert_eq!(kept, (ValueVec::new(y.clone(), Precision::Bf16), stats.clone()));
        assert_eq!(rms_norm_kept(&x, &weight, 1e-5, Precision::F32), (ValueVec::F32(y), stats));
        let (y, stats) = layer_norm(&x, &weight, &bias, 1e-5);
        let kept = layer_norm_kept(&x, &weight, &bias, 1e-5, Precision::Bf16);
        assert_eq!(kept, (ValueVec::new(y, Precision::Bf16), stats));
    }
}
