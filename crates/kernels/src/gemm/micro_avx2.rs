//! Tiles of 6 x 16 in AVX2 with FMA: 12 accumulators, two registers of the right-hand side, one or two broadcasts.

use super::kernel::{Kernel, Tile};
use super::micro_portable::finish_row;
use super::pack_avx2;
use std::arch::x86_64::*;

pub(super) static F32: Kernel = Kernel {
    name: "avx2 f32",
    cols: 16,
    a_width: 8,
    values_per_step: 1,
    direct: None,
    tiles: &[tile::<1>, tile::<2>, tile::<3>, tile::<4>, tile::<5>, tile::<6>],
    pack: pack_avx2::plain,
    pack_bf16: pack_avx2::widened,
    store: pack_avx2::store,
};

/// f32 products of inputs rounded to bfloat16.
pub(super) static ROUNDED: Kernel = Kernel { name: "avx2 rounded", pack: pack_avx2::rounded, ..F32 };

/// # Safety
/// See [`super::kernel::RunTile`].
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const ROWS: usize>(t: &Tile) {
    // SAFETY: the caller vouches for the panels, `steps` long, and for the tile.
    unsafe {
        prefetch::<ROWS>(t);
        let mut sums = [start(t); ROWS];
        let (mut a, mut b) = (t.a.cast::<f32>(), t.b.cast::<f32>());
        for _ in 0..t.steps {
            let right = [_mm256_load_ps(b), _mm256_load_ps(b.add(8))];
            for i in 0..ROWS {
                let x = _mm256_broadcast_ss(&*a.add(i));
                sums[i][0] = _mm256_fmadd_ps(x, right[0], sums[i][0]);
                sums[i][1] = _mm256_fmadd_ps(x, right[1], sums[i][1]);
            }
            a = a.add(8);
            b = b.add(16);
        }
        for (i, [left, right]) in sums.into_iter().enumerate() {
            if t.cols == 16 {
                finish_full_row(t, i, left, right);
            } else {
                let mut row = [0f32; 16];
                _mm256_storeu_ps(row.as_mut_ptr(), left);
                _mm256_storeu_ps(row.as_mut_ptr().add(8), right);
                finish_row(t, i, &row);
            }
        }
    }
}

/// Asks for the lines that the tile will be written to (or added from): they arrive while the products run.
#[inline]
#[target_feature(enable = "avx2")]
fn prefetch<const ROWS: usize>(t: &Tile) {
    for i in 0..ROWS {
        let row = t.c.wrapping_add(i * t.c_stride).cast::<i8>();
        _mm_prefetch::<_MM_HINT_T0>(row);
        _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(60));
    }
}

/// # Safety
/// `t.bias` must be null or hold `t.cols` values.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn start(t: &Tile) -> [__m256; 2] {
    let mut bias = [0f32; 16];
    if !t.bias.is_null() {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(t.bias, bias.as_mut_ptr(), t.cols) };
    }
    // SAFETY: two halves of a local array.
    unsafe { [_mm256_loadu_ps(bias.as_ptr()), _mm256_loadu_ps(bias.as_ptr().add(8))] }
}

/// # Safety
/// Row `i` of the tile must exist and have 16 columns.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn finish_full_row(t: &Tile, i: usize, mut left: __m256, mut right: __m256) {
    // SAFETY: the caller's promise.
    unsafe {
        if !t.add.is_null() {
            let add = t.add.add(i * t.add_stride);
            left = _mm256_add_ps(left, _mm256_loadu_ps(add));
            right = _mm256_add_ps(right, _mm256_loadu_ps(add.add(8)));
        }
        let c = t.c.add(i * t.c_stride);
        _mm256_storeu_ps(c, left);
        _mm256_storeu_ps(c.add(8), right);
    }
}
