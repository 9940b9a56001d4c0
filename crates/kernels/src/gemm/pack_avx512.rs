//! Packing in AVX-512: strips of 16 lanes, transposed in registers where the inner dimension is the contiguous one.

use super::kernel::TILE_STRIDE;
use super::micro_avx512::first;
use super::pack::{self, Lanes, Panels};
use half::bf16;
use std::arch::x86_64::*;

/// Steps from the words that are packed to those that are asked for.
const AHEAD: usize = 8;

/// Defines a packing function for values of type `$from`. `$across(pointer, depth_stride, mask, left)` makes the words of one step from lanes that
/// lie next to each other; `$along(pointer, left)` the words of 16 steps of one lane. `left` counts the values of the
/// inner dimension from there to its end.
macro_rules! pack {
    ($name:ident, $from:ty, $features:literal, $values:literal, $across:ident, $along:ident) => {
        /// # Safety
        /// See [`super::kernel::RunPack`].
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name(from: &Lanes<$from>, to: &Panels) {
            // SAFETY: the caller's promise; masks keep reads inside the lanes.
            unsafe {
                if from.lane_stride == 1 {
                    for p in (0..from.depth).step_by($values) {
                        let (row, step) = (from.start.add(p * from.depth_stride), p / $values * to.width);
                        // Rows far apart are nothing that the CPU foresees by itself. A hint never faults.
                        let ahead = row.wrapping_add(AHEAD * $values * from.depth_stride);
                        for_each_strip(from, to, |lane, lanes, strip| {
                            for value in 0..$values {
                                let at = ahead.wrapping_add(value * from.depth_stride + lane);
                                _mm_prefetch::<_MM_HINT_T0>(at.cast());
                            }
                            let words =
                                $across(row.wrapping_add(lane), from.depth_stride, first(lanes), from.depth - p);
                            _mm512_store_si512(strip.add(step).cast(), words);
                        });
                    }
                } else {
                    for_each_strip(from, to, |lane, lanes, strip| {
                        for p in (0..from.depth).step_by(16 * $values) {
                            let left = from.depth - p;
                            let mut words = [_mm512_setzero_si512(); 16];
                            for l in 0..16 {
                                if l < lanes {
                                    words[l] = $along(from.start.add((lane + l) * from.lane_stride + p), left);
                                }
                            }
                            let words = transpose(words);
                            let steps = left.div_ceil($values);
                            for s in 0..16 {
                                if s < steps {
                                    _mm512_store_si512(strip.add((p / $values + s) * to.width).cast(), words[s]);
                                }
                            }
                        }
                    });
                }
            }
        }
    };
}

pack!(plain, f32, "avx512f,avx512bw", 1, across_plain, along_plain);
pack!(rounded, f32, "avx512f,avx512bw", 1, across_rounded, along_rounded);
pack!(pairs, f32, "avx512f,avx512bw,avx512bf16", 2, across_pairs, along_pairs);
pack!(widened, bf16, "avx512f,avx512bw,avx512vl", 1, across_widened, along_widened);
pack!(pairs_of_bf16, bf16, "avx512f,avx512bw,avx512vl", 2, across_halves, along_halves);

/// Calls `f(first lane, lanes that exist, where the strip's words of step 0 go)` for each 16 words of every panel.
#[inline(always)]
unsafe fn for_each_strip<T>(from: &Lanes<T>, to: &Panels, mut f: impl FnMut(usize, usize, *mut u32)) {
    let mut panel = to.start;
    for start in (0..from.lanes).step_by(to.lanes) {
        let lanes = to.lanes.min(from.lanes - start);
        for strip in (0..to.width).step_by(16) {
            // SAFETY: the caller vouches for the panels.
            f(start + strip, lanes.saturating_sub(strip).min(16), unsafe { panel.add(strip) });
        }
        panel = panel.wrapping_add(to.stride);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn across_plain(at: *const f32, _: usize, lanes: __mmask16, _: usize) -> __m512i {
    // SAFETY: the caller vouches for the masked lanes.
    unsafe { _mm512_castps_si512(_mm512_maskz_loadu_ps(lanes, at)) }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn along_plain(at: *const f32, left: usize) -> __m512i {
    // SAFETY: the caller vouches for `left` values.
    unsafe { _mm512_castps_si512(_mm512_maskz_loadu_ps(first(left), at)) }
}

/// As `round_to_bf16`, 16 at a time.
#[inline]
#[target_feature(enable = "avx512f")]
fn round(bits: __m512i) -> __m512i {
    let x = _mm512_castsi512_ps(bits);
    let odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    let up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
    let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
    let nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    _mm512_and_si512(_mm512_mask_blend_epi32(nan, up, quiet), _mm512_set1_epi32(0xFFFF_0000u32 as i32))
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn across_rounded(at: *const f32, stride: usize, lanes: __mmask16, left: usize) -> __m512i {
    // SAFETY: the caller's promise.
    round(unsafe { across_plain(at, stride, lanes, left) })
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn along_rounded(at: *const f32, left: usize) -> __m512i {
    // SAFETY: the caller's promise.
    round(unsafe { along_plain(at, left) })
}

/// Lane l's word: value `p` below, `p + 1` (zero beyond the end) above.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn across_pairs(at: *const f32, stride: usize, lanes: __mmask16, left: usize) -> __m512i {
    let second = if left > 1 { lanes } else { 0 };
    // SAFETY: the caller vouches for the masked lanes of the steps that are left.
    let (low, high) =
        unsafe { (_mm512_maskz_loadu_ps(lanes, at), _mm512_maskz_loadu_ps(second, at.wrapping_add(stride))) };
    // SAFETY: 512 bits of no structure.
    let apart: __m512i = unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(high, low)) };
    // 32 halves: 0..16 of the first value, 16..32 of the second, to be taken in turns.
    #[rustfmt::skip]
    let turns = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0,
    );
    _mm512_permutexvar_epi16(turns, apart)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn along_pairs(at: *const f32, left: usize) -> __m512i {
    // SAFETY: the caller vouches for `left` values.
    unsafe {
        let low = _mm512_maskz_loadu_ps(first(left), at);
        let high = _mm512_maskz_loadu_ps(first(left.saturating_sub(16)), at.wrapping_add(16));
        std::mem::transmute(_mm512_cvtne2ps_pbh(high, low))
    }
}

/// The values of 16 lanes, each in the low half of a word.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn low_halves(at: *const bf16, lanes: __mmask16) -> __m512i {
    // SAFETY: the caller vouches for the masked lanes.
    unsafe { _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, at.cast())) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn across_widened(at: *const bf16, _: usize, lanes: __mmask16, _: usize) -> __m512i {
    // SAFETY: the caller's promise.
    _mm512_slli_epi32(unsafe { low_halves(at, lanes) }, 16)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn along_widened(at: *const bf16, left: usize) -> __m512i {
    // SAFETY: the caller's promise.
    _mm512_slli_epi32(unsafe { low_halves(at, first(left)) }, 16)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn across_halves(at: *const bf16, stride: usize, lanes: __mmask16, left: usize) -> __m512i {
    let second = if left > 1 { lanes } else { 0 };
    // SAFETY: the caller vouches for the masked lanes of the steps that are left.
    let (low, high) = unsafe { (low_halves(at, lanes), low_halves(at.wrapping_add(stride), second)) };
    _mm512_or_si512(low, _mm512_slli_epi32(high, 16))
}

/// Neighbours of the inner dimension are a word as they lie.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn along_halves(at: *const bf16, left: usize) -> __m512i {
    // SAFETY: the caller vouches for `left` values.
    unsafe { _mm512_maskz_loadu_epi16(first_halves(left), at.cast()) }
}

/// The mask of the first `n` of 32 halves.
#[inline]
fn first_halves(n: usize) -> __mmask32 {
    if n >= 32 { u32::MAX } else { (1u32 << n) - 1 }
}

/// # Safety
/// See [`super::kernel::RunStore`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn store(from: *const f32, rows: usize, cols: usize, to: *mut bf16, stride: usize) {
    // SAFETY: the caller's promise.
    unsafe { pack::store_rows(from, rows, cols, to, stride) }
}

/// # Safety
/// See [`super::kernel::RunStore`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn store_pairs(from: *const f32, rows: usize, cols: usize, to: *mut bf16, stride: usize) {
    let mask = first_halves(cols);
    for i in 0..rows {
        // SAFETY: the caller vouches for the tile, whose rows have room for 32 values, and for the masked destination.
        unsafe {
            let row = from.add(i * TILE_STRIDE);
            let (low, high) = (_mm512_loadu_ps(row), _mm512_loadu_ps(row.add(16)));
            let short: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
            _mm512_mask_storeu_epi16(to.add(i * stride).cast(), mask, short);
        }
    }
}

/// 16 x 16 words: word s of row l becomes word l of row s.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(x: [__m512i; 16]) -> [__m512i; 16] {
    let (mut pairs, mut quads) = ([_mm512_setzero_si512(); 16], [_mm512_setzero_si512(); 16]);
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
    }
    for i in 0..4 {
        let [a, b, c, d] = [pairs[4 * i], pairs[4 * i + 1], pairs[4 * i + 2], pairs[4 * i + 3]];
        quads[4 * i] = _mm512_unpacklo_epi64(a, c);
        quads[4 * i + 1] = _mm512_unpackhi_epi64(a, c);
        quads[4 * i + 2] = _mm512_unpacklo_epi64(b, d);
        quads[4 * i + 3] = _mm512_unpackhi_epi64(b, d);
    }
    let mut out = [_mm512_setzero_si512(); 16];
    for i in 0..4 {
        let (even_low, odd_low) = halves(quads[i], quads[4 + i]);
        let (even_high, odd_high) = halves(quads[8 + i], quads[12 + i]);
        (out[i], out[8 + i]) = halves(even_low, even_high);
        (out[4 + i], out[12 + i]) = halves(odd_low, odd_high);
    }
    out
}

/// The even and the odd quarters of two registers.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves(a: __m512i, b: __m512i) -> (__m512i, __m512i) {
    (_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd))
}
