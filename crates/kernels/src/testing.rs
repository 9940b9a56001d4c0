//! Values and comparisons for the tests of this crate.
#![allow(clippy::panic)]

/// `len` values in -0.5..0.5, a function of `seed`.
pub(crate) fn matrix(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 40) as f32) / (1u64 << 24) as f32 - 0.5
        })
        .collect()
}

/// Every value within `tolerance * max(1, |want|)`.
#[track_caller]
pub(crate) fn assert_close(got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*g) - w).abs() <= tolerance * w.abs().max(1.0), "[{i}]: {g}, want {w}");
    }
}

/// The derivative of `f` at `x` along each coordinate by central differences in f64.
pub(crate) fn gradient(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-5;
    (0..x.len())
        .map(|i| {
            let mut moved = x.to_vec();
            moved[i] = x[i] + step;
            let up = f(&moved);
            moved[i] = x[i] - step;
            (up - f(&moved)) / (2.0 * step)
        })
        .collect()
}

pub(crate) fn to_f64(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

/// `run` gives the same with one thread as with two and three.
#[track_caller]
#[allow(clippy::unwrap_used)]
pub(crate) fn assert_threads_change_nothing<R: PartialEq + std::fmt::Debug + Send>(run: impl Fn() -> R + Sync) {
    let with = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(&run);
    let one = with(1);
    for threads in [2, 3] {
        assert!(with(threads) == one, "{threads} threads give another result than one");
    }
}
