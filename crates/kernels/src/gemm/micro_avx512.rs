//! Tiles of 14 x 32 in AVX-512: 28 accumulators, two registers of the right-hand side, one or two broadcasts.

use super::kernel::{Kernel, RunTile, Tile};
use super::pack_avx512;
use std::arch::x86_64::*;

pub(super) static F32: Kernel = Kernel {
    name: "avx512 f32",
    cols: 32,
    a_width: 16,
    values_per_step: 1,
    tiles: &F32_TILES,
    direct: Some(&F32_DIRECT),
    pack: pack_avx512::plain,
    pack_bf16: pack_avx512::widened,
    store: pack_avx512::store,
};

/// f32 products of inputs rounded to bfloat16, for CPUs without `avx512_bf16`.
pub(super) static ROUNDED: Kernel = Kernel { name: "avx512 rounded", pack: pack_avx512::rounded, direct: None, ..F32 };

pub(super) static BF16: Kernel = Kernel {
    name: "avx512 bf16",
    cols: 32,
    a_width: 16,
    values_per_step: 2,
    tiles: &BF16_TILES,
    direct: Some(&BF16_DIRECT),
    pack: pack_avx512::pairs,
    pack_bf16: pack_avx512::pairs_of_bf16,
    store: pack_avx512::store_pairs,
};

/// The mask of the first `n` of 16 lanes.
#[inline]
pub(super) fn first(n: usize) -> __mmask16 {
    if n >= 16 { 0xffff } else { (1u16 << n) - 1 }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn multiply_f32(sum: __m512, a: __m512, b: __m512) -> __m512 {
    _mm512_fmadd_ps(a, b, sum)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn multiply_pairs(sum: __m512, a: __m512, b: __m512) -> __m512 {
    // SAFETY: both are 512 bits of no structure.
    let (a, b): (__m512bh, __m512bh) = unsafe { (std::mem::transmute(a), std::mem::transmute(b)) };
    _mm512_dpbf16_ps(sum, a, b)
}

macro_rules! tiles {
    ($name:ident, $table:ident, $features:literal, $multiply:ident) => {
        /// # Safety
        /// See [`super::kernel::RunTile`].
        #[target_feature(enable = $features)]
        unsafe fn $name<const ROWS: usize>(t: &Tile) {
            // SAFETY: the caller vouches for the panels and for the tile; lanes beyond `cols` are masked out.
            unsafe {
                let masks = [first(t.cols), first(t.cols.saturating_sub(16))];
                prefetch::<ROWS>(t);
                let mut sums = [start(t, masks); ROWS];
                let (mut a, mut b) = (t.a.cast::<f32>(), t.b.cast::<f32>());
                for _ in 0..t.steps {
                    let right = [_mm512_load_ps(b), _mm512_load_ps(b.add(16))];
                    for i in 0..ROWS {
                        let x = _mm512_set1_ps(*a.add(i));
                        sums[i][0] = $multiply(sums[i][0], x, right[0]);
                        sums[i][1] = $multiply(sums[i][1], x, right[1]);
                    }
                    a = a.add(16);
                    b = b.add(32);
                }
                // By value and row: a reference to the sums would force them out of the registers.
                if t.cols == 32 {
                    for i in 0..ROWS {
                        finish_full(t, i, sums[i]);
                    }
                } else {
                    for i in 0..ROWS {
                        finish(t, i, masks, sums[i]);
                    }
                }
            }
        }

        static $table: [RunTile; 14] = [
            $name::<1>,
            $name::<2>,
            $name::<3>,
            $name::<4>,
            $name::<5>,
            $name::<6>,
            $name::<7>,
            $name::<8>,
            $name::<9>,
            $name::<10>,
            $name::<11>,
            $name::<12>,
            $name::<13>,
            $name::<14>,
        ];
    };
}

/// [`tiles`] that read the rows of the left operand as they lie. Fourteen rows are five pointers, three rows apart: what
/// addresses can express from so few registers.
macro_rules! direct_tiles {
    ($name:ident, $table:ident, $features:literal, $multiply:ident) => {
        /// # Safety
        /// See [`super::kernel::RunTile`].
        #[target_feature(enable = $features)]
        unsafe fn $name<const ROWS: usize>(t: &Tile) {
            // SAFETY: the caller vouches for the rows, the panel and the tile; lanes beyond `cols` are masked out.
            unsafe {
                let masks = [first(t.cols), first(t.cols.saturating_sub(16))];
                prefetch::<ROWS>(t);
                let mut sums = [start(t, masks); ROWS];
                let (row, mut b) = (t.a_row, t.b.cast::<f32>());
                let mut p0 = t.a.cast::<u8>();
                let (mut p3, mut p6) = (p0.wrapping_add(3 * row), p0.wrapping_add(6 * row));
                let (mut p9, mut p12) = (p0.wrapping_add(9 * row), p0.wrapping_add(12 * row));
                for step in 0..t.steps {
                    let right = [_mm512_load_ps(b), _mm512_load_ps(b.add(16))];
                    // In turn a line of each row, so early that it comes from the second cache in time.
                    _mm_prefetch::<_MM_HINT_T0>(p0.wrapping_add((step & 15) * row + 192).cast());
                    // Written out, because the sums stay in registers only if no index is computed.
                    macro_rules! row {
                        ($i:literal, $pointer:ident, $rows:literal) => {
                            if $i < ROWS {
                                let x = _mm512_set1_ps($pointer.add($rows * row).cast::<f32>().read_unaligned());
                                sums[$i][0] = $multiply(sums[$i][0], x, right[0]);
                                sums[$i][1] = $multiply(sums[$i][1], x, right[1]);
                            }
                        };
                    }
                    row!(0, p0, 0);
                    row!(1, p0, 1);
                    row!(2, p0, 2);
                    row!(3, p3, 0);
                    row!(4, p3, 1);
                    row!(5, p3, 2);
                    row!(6, p6, 0);
                    row!(7, p6, 1);
                    row!(8, p6, 2);
                    row!(9, p9, 0);
                    row!(10, p9, 1);
                    row!(11, p9, 2);
                    row!(12, p12, 0);
                    row!(13, p12, 1);
                    (p0, p3, p6) = (p0.wrapping_add(4), p3.wrapping_add(4), p6.wrapping_add(4));
                    (p9, p12) = (p9.wrapping_add(4), p12.wrapping_add(4));
                    b = b.add(32);
                }
                if t.cols == 32 {
                    for i in 0..ROWS {
                        finish_full(t, i, sums[i]);
                    }
                } else {
                    for i in 0..ROWS {
                        finish(t, i, masks, sums[i]);
                    }
                }
            }
        }

        static $table: [RunTile; 14] = [
            $name::<1>,
            $name::<2>,
            $name::<3>,
            $name::<4>,
            $name::<5>,
            $name::<6>,
            $name::<7>,
            $name::<8>,
            $name::<9>,
            $name::<10>,
            $name::<11>,
            $name::<12>,
            $name::<13>,
            $name::<14>,
        ];
    };
}

tiles!(f32_tile, F32_TILES, "avx512f", multiply_f32);
tiles!(bf16_tile, BF16_TILES, "avx512f,avx512bf16", multiply_pairs);
direct_tiles!(f32_direct, F32_DIRECT, "avx512f", multiply_f32);
direct_tiles!(bf16_direct, BF16_DIRECT, "avx512f,avx512bf16", multiply_pairs);

/// Asks for the lines that the tile will be written to (or added from): they arrive while the products run.
#[inline]
#[target_feature(enable = "avx512f")]
fn prefetch<const ROWS: usize>(t: &Tile) {
    for i in 0..ROWS {
        let row = t.c.wrapping_add(i * t.c_stride).cast::<i8>();
        _mm_prefetch::<_MM_HINT_T0>(row);
        _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(64));
        _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(124));
    }
}

/// # Safety
/// `t.bias` must be null or hold the masked values.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn start(t: &Tile, masks: [__mmask16; 2]) -> [__m512; 2] {
    if t.bias.is_null() {
        return [_mm512_setzero_ps(); 2];
    }
    // SAFETY: the caller's promise.
    unsafe { [_mm512_maskz_loadu_ps(masks[0], t.bias), _mm512_maskz_loadu_ps(masks[1], t.bias.wrapping_add(16))] }
}

/// # Safety
/// Row `i` of the tile exists and has 32 columns.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn finish_full(t: &Tile, i: usize, [mut left, mut right]: [__m512; 2]) {
    // SAFETY: the caller's promise.
    unsafe {
        if !t.add.is_null() {
            let add = t.add.add(i * t.add_stride);
            left = _mm512_add_ps(left, _mm512_loadu_ps(add));
            right = _mm512_add_ps(right, _mm512_loadu_ps(add.add(16)));
        }
        let c = t.c.add(i * t.c_stride);
        _mm512_storeu_ps(c, left);
        _mm512_storeu_ps(c.add(16), right);
    }
}

/// # Safety
/// The masked columns of row `i` of the tile exist.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn finish(t: &Tile, i: usize, masks: [__mmask16; 2], sums: [__m512; 2]) {
    for (half, (mut sum, mask)) in sums.into_iter().zip(masks).enumerate() {
        // SAFETY: only the masked lanes are touched.
        unsafe {
            if !t.add.is_null() {
                let add = t.add.wrapping_add(i * t.add_stride + half * 16);
                sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, add));
            }
            _mm512_mask_storeu_ps(t.c.wrapping_add(i * t.c_stride + half * 16), mask, sum);
        }
    }
}
