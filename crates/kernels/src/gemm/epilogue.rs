//! What is done to a product before it leaves the registers or the cache.

use super::Matrix;
use super::kernel::TILE;
use crate::activation::{self, Activation};
use crate::cpu::Level;
use crate::math::Unwritten;
use crate::values::Values;
use std::mem::MaybeUninit;

/// What follows a product `y` of (rows, cols): `activation(y + bias + residual)`.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// One value per column.
    pub bias: Option<&'a [f32]>,
    /// (rows, cols), f32, not transposed.
    pub residual: Option<Matrix<'a>>,
    /// Applied last; one of those that work element by element.
    pub activation: Option<Activation>,
}

impl<'a> Epilogue<'a> {
    /// A bias alone.
    pub fn bias(bias: Option<&'a [f32]>) -> Self {
        Epilogue { bias, ..Epilogue::default() }
    }

    /// # Panics
    /// If a size contradicts the product's.
    pub(super) fn check(&self, rows: usize, cols: usize) {
        let gated = matches!(self.activation, Some(Activation::Swiglu | Activation::Geglu));
        assert!(!gated, "an activation of two halves in an epilogue");
        assert!(self.bias.is_none_or(|b| b.len() == cols), "bias of {cols}");
        let plain = |r: Matrix<'_>| (r.col_stride == 1 || cols < 2) && matches!(r.data, Values::F32(_));
        let fits = |r: Matrix<'_>| (r.rows, r.cols) == (rows, cols) && plain(r);
        assert!(self.residual.is_none_or(fits), "residual of {rows} x {cols}");
    }

    /// What a whole product (rows, cols) that has its bias still lacks.
    pub(super) fn finish(&self, level: Level, y: &mut [f32], cols: usize) {
        if let Some(residual) = self.residual {
            for (i, y) in y.chunks_exact_mut(cols.max(1)).enumerate() {
                if let Values::F32(row) = residual.row(i) {
                    y.iter_mut().zip(row).for_each(|(y, x)| *y += x);
                }
            }
        }
        if let Some(activation) = self.activation {
            for row in y.chunks_mut(TILE) {
                // SAFETY: one row of that many values.
                unsafe { activation.apply_rows(level, row.as_mut_ptr(), 0, 1, row.len()) };
            }
        }
    }
}

impl Activation {
    /// Applies it to `rows` rows of `cols` values in place; at most [`TILE`] values.
    ///
    /// # Safety
    /// `c` must be valid for reads and writes of these rows, `stride` apart.
    pub(super) unsafe fn apply_rows(self, level: Level, c: *mut f32, stride: usize, rows: usize, cols: usize) {
        let (mut x, mut y) = ([0f32; TILE], [MaybeUninit::uninit(); TILE]);
        let (x, y) = (&mut x[..rows * cols], &mut y[..rows * cols]);
        for (i, x) in x.chunks_exact_mut(cols).enumerate() {
            // SAFETY: the caller's promise.
            unsafe { c.add(i * stride).copy_to_nonoverlapping(x.as_mut_ptr(), cols) };
        }
        self.apply(level, x, y);
        for (i, y) in y.chunks_exact(cols).enumerate() {
            // SAFETY: the caller's promise; `apply` has written every value.
            unsafe { c.add(i * stride).copy_from_nonoverlapping(y.as_ptr().cast(), cols) };
        }
    }

    /// Writes every value of y.
    fn apply(self, level: Level, x: &[f32], y: &mut Unwritten) {
        match self {
            Activation::GeluTanh => activation::gelu_tanh_chunk(level, x, y),
            Activation::GeluErf => activation::gelu_erf_chunk(level, x, y),
            Activation::Silu => activation::silu_chunk(level, x, y),
            Activation::QuickGelu => activation::quick_gelu_chunk(level, x, y),
            Activation::Relu => activation::relu_chunk(level, x, y),
            Activation::ReluSquared => activation::relu_squared_chunk(level, x, y),
            Activation::Swiglu | Activation::Geglu => unreachable!("`Epilogue::check` refuses it"),
        }
    }
}
