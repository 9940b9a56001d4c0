//! Packing in AVX2: strips of 8 lanes, transposed in registers where the inner dimension is the contiguous one.

use super::pack::{self, Lanes, Panels};
use crate::values::wide;
use half::bf16;
use std::arch::x86_64::*;

/// # Safety
/// See [`super::kernel::RunPack`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn plain(from: &Lanes<f32>, to: &Panels) {
    // SAFETY: the caller's promise.
    unsafe { pack::<false>(from, to) }
}

/// # Safety
/// See [`super::kernel::RunPack`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn rounded(from: &Lanes<f32>, to: &Panels) {
    // SAFETY: the caller's promise.
    unsafe { pack::<true>(from, to) }
}

/// Panels of f32 from bfloat16, as the compiler makes it of the plain loop.
///
/// # Safety
/// See [`super::kernel::RunPack`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn widened(from: &Lanes<bf16>, to: &Panels) {
    // SAFETY: the caller's promise.
    unsafe { pack::one_by_one(from, to, wide) }
}

/// # Safety
/// See [`super::kernel::RunStore`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn store(from: *const f32, rows: usize, cols: usize, to: *mut bf16, stride: usize) {
    // SAFETY: the caller's promise.
    unsafe { pack::store_rows(from, rows, cols, to, stride) }
}

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn pack<const ROUND: bool>(from: &Lanes<f32>, to: &Panels) {
    for start in (0..from.lanes).step_by(to.lanes) {
        let lanes = to.lanes.min(from.lanes - start);
        for strip in (0..to.width).step_by(8) {
            let lanes = lanes.saturating_sub(strip).min(8);
            let source = from.start.wrapping_add((start + strip) * from.lane_stride);
            let words = to.start.wrapping_add(start / to.lanes * to.stride + strip).cast::<f32>();
            // SAFETY: the caller vouches for the lanes that exist and for the panel.
            unsafe {
                if from.lane_stride == 1 {
                    across::<ROUND>(from, source, lanes, words, to.width);
                } else {
                    along::<ROUND>(from, source, lanes, words, to.width);
                }
            }
        }
    }
}

/// A strip whose lanes lie next to each other.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn across<const ROUND: bool>(from: &Lanes<f32>, source: *const f32, lanes: usize, to: *mut f32, width: usize) {
    let mask = first(lanes);
    for p in 0..from.depth {
        // SAFETY: the caller vouches for the masked lanes and for the strip.
        unsafe {
            let x = _mm256_maskload_ps(source.wrapping_add(p * from.depth_stride), mask);
            _mm256_store_ps(to.add(p * width), if ROUND { round(x) } else { x });
        }
    }
}

/// A strip of lanes along which the inner dimension is contiguous.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn along<const ROUND: bool>(from: &Lanes<f32>, source: *const f32, lanes: usize, to: *mut f32, width: usize) {
    for p in (0..from.depth).step_by(8) {
        let left = (from.depth - p).min(8);
        let mask = first(left);
        let mut rows = [_mm256_setzero_ps(); 8];
        for (l, row) in rows.iter_mut().enumerate() {
            if l < lanes {
                // SAFETY: the caller vouches for this lane's values.
                let x = unsafe { _mm256_maskload_ps(source.add(l * from.lane_stride + p), mask) };
                *row = if ROUND { round(x) } else { x };
            }
        }
        for (s, step) in transpose(rows).into_iter().enumerate() {
            if s < left {
                // SAFETY: the caller vouches for the strip.
                unsafe { _mm256_store_ps(to.add((p + s) * width), step) };
            }
        }
    }
}

/// The mask of the first `n` of 8 lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn first(n: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// As `round_to_bf16`, 8 at a time.
#[inline]
#[target_feature(enable = "avx2")]
fn round(x: __m256) -> __m256 {
    let bits = _mm256_castps_si256(x);
    let odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    let up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
    let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
    let nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    let chosen = _mm256_blendv_ps(_mm256_castsi256_ps(up), _mm256_castsi256_ps(quiet), nan);
    _mm256_and_ps(chosen, _mm256_castsi256_ps(_mm256_set1_epi32(0xFFFF_0000u32 as i32)))
}

/// 8 x 8 values: value s of row l becomes value l of row s.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(x: [__m256; 8]) -> [__m256; 8] {
    let mut quads = [_mm256_setzero_ps(); 8];
    for i in 0..2 {
        let [a, b, c, d] = [x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3]];
        let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        quads[4 * i] = _mm256_shuffle_ps(ab_low, cd_low, 0x44);
        quads[4 * i + 1] = _mm256_shuffle_ps(ab_low, cd_low, 0xee);
        quads[4 * i + 2] = _mm256_shuffle_ps(ab_high, cd_high, 0x44);
        quads[4 * i + 3] = _mm256_shuffle_ps(ab_high, cd_high, 0xee);
    }
    let mut out = [_mm256_setzero_ps(); 8];
    for i in 0..4 {
        out[i] = _mm256_permute2f128_ps(quads[i], quads[4 + i], 0x20);
        out[4 + i] = _mm256_permute2f128_ps(quads[i], quads[4 + i], 0x31);
    }
    out
}
