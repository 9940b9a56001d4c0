//! AVX2 and AVX-512 registers.

use super::{Products, Vector, exp2_fraction};
use std::arch::x86_64::*;

// SAFETY of every intrinsic below: `forms!` names these types only in functions compiled for their instruction set, which
// it calls only where that was detected. The methods are inlined into those functions.

/// A 512-bit register.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

impl Vector for Avx512 {
    const LANES: usize = 16;
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise, and see the top of the file.
        Avx512(unsafe { _mm512_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: see the top of the file; so for all that follow.
        Avx512(unsafe { _mm512_set1_ps(x) })
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        Avx512(unsafe { _mm512_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        Avx512(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        Avx512(unsafe { _mm512_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        Avx512(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: as above.
        Avx512(unsafe { _mm512_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn exp2(self) -> Self {
        // The bound keeps -infinity out of the subtraction below; 2^-200 is 0.
        let x = Self::splat(-200.0).max(self);
        // SAFETY: as above.
        unsafe {
            let n = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x.0);
            let p = exp2_fraction(Avx512(_mm512_sub_ps(x.0, n)));
            Avx512(_mm512_scalef_ps(p.0, n))
        }
    }
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: the caller's promise for the memory, and see the top of the file.
        unsafe {
            let r: [__m512; 16] = std::array::from_fn(|i| _mm512_loadu_ps(from.add(i * from_stride)));
            // Pairs of rows, then fours: u[4 g + c] holds in its 128-bit lane L column 4 L + c of rows 4 g..4 g + 4.
            let t: [__m512d; 16] = std::array::from_fn(|i| {
                let (a, b) = (r[i & !1], r[i | 1]);
                _mm512_castps_pd(if i % 2 == 0 { _mm512_unpacklo_ps(a, b) } else { _mm512_unpackhi_ps(a, b) })
            });
            let u: [__m512; 16] = std::array::from_fn(|i| {
                let (a, b) = (t[(i & !3) + i % 4 / 2], t[(i & !3) + i % 4 / 2 + 2]);
                _mm512_castpd_ps(if i % 2 == 0 { _mm512_unpacklo_pd(a, b) } else { _mm512_unpackhi_pd(a, b) })
            });
            for c in 0..4 {
                let (a, b) =
                    (_mm512_shuffle_f32x4(u[c], u[4 + c], 0x88), _mm512_shuffle_f32x4(u[8 + c], u[12 + c], 0x88));
                _mm512_storeu_ps(to.add(c * to_stride), _mm512_shuffle_f32x4(a, b, 0x88));
                _mm512_storeu_ps(to.add((8 + c) * to_stride), _mm512_shuffle_f32x4(a, b, 0xdd));
                let (a, b) =
                    (_mm512_shuffle_f32x4(u[c], u[4 + c], 0xdd), _mm512_shuffle_f32x4(u[8 + c], u[12 + c], 0xdd));
                _mm512_storeu_ps(to.add((4 + c) * to_stride), _mm512_shuffle_f32x4(a, b, 0x88));
                _mm512_storeu_ps(to.add((12 + c) * to_stride), _mm512_shuffle_f32x4(a, b, 0xdd));
            }
        }
    }
}

impl Products for Avx512 {
    type V = Self;
    const PAIRS: bool = false;
    #[inline(always)]
    unsafe fn step(acc: Self, a: *const f32, b: Self) -> Self {
        // SAFETY: the caller's promise.
        Self::splat(unsafe { *a }).mul_add(b, acc)
    }
}

/// 512-bit registers whose products take pairs of bfloat16.
pub(crate) struct Avx512Pairs;

impl Products for Avx512Pairs {
    type V = Avx512;
    const PAIRS: bool = true;
    #[inline(always)]
    unsafe fn step(acc: Avx512, a: *const f32, b: Avx512) -> Avx512 {
        // SAFETY: the caller's promise, and see the top of the file. The transmutes keep the bits.
        unsafe {
            let a: __m512bh = std::mem::transmute(_mm512_set1_epi32(a.cast::<i32>().read()));
            let b: __m512bh = std::mem::transmute(b.0);
            Avx512(_mm512_dpbf16_ps(acc.0, a, b))
        }
    }
    #[inline(always)]
    fn pair(low: Avx512, high: Avx512) -> Avx512 {
        // SAFETY: see the top of the file.
        unsafe {
            let low: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(low.0));
            let high: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(high.0));
            let high = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(high));
            Avx512(_mm512_castsi512_ps(_mm512_or_si512(_mm512_cvtepu16_epi32(low), high)))
        }
    }
    #[inline(always)]
    unsafe fn store_narrow(v: Avx512, to: *mut f32) {
        // SAFETY: the caller's promise, and see the top of the file.
        unsafe {
            let narrow: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(v.0));
            _mm256_storeu_si256(to.cast(), narrow);
        }
    }
}

/// A 256-bit register.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256);

impl Vector for Avx2 {
    const LANES: usize = 8;
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise, and see the top of the file.
        Avx2(unsafe { _mm256_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: see the top of the file; so for all that follow.
        Avx2(unsafe { _mm256_set1_ps(x) })
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        Avx2(unsafe { _mm256_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        Avx2(unsafe { _mm256_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        Avx2(unsafe { _mm256_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        Avx2(unsafe { _mm256_fmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: as above.
        Avx2(unsafe { _mm256_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn exp2(self) -> Self {
        // SAFETY: as above.
        unsafe {
            let x = Self::splat(-126.0).max(Avx2(_mm256_min_ps(_mm256_set1_ps(127.0), self.0)));
            let n = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x.0);
            let p = exp2_fraction(Avx2(_mm256_sub_ps(x.0, n)));
            let exponent = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)));
            let y = _mm256_mul_ps(p.0, _mm256_castsi256_ps(exponent));
            // Under the smallest normal power, 0.
            let under = _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, _mm256_set1_ps(-126.0));
            Avx2(_mm256_andnot_ps(under, y))
        }
    }
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: the caller's promise for the memory, and see the top of the file.
        unsafe {
            let r: [__m256; 8] = std::array::from_fn(|i| _mm256_loadu_ps(from.add(i * from_stride)));
            let t: [__m256d; 8] = std::array::from_fn(|i| {
                let (a, b) = (r[i & !1], r[i | 1]);
                _mm256_castps_pd(if i % 2 == 0 { _mm256_unpacklo_ps(a, b) } else { _mm256_unpackhi_ps(a, b) })
            });
            let u: [__m256; 8] = std::array::from_fn(|i| {
                let (a, b) = (t[(i & !3) + i % 4 / 2], t[(i & !3) + i % 4 / 2 + 2]);
                _mm256_castpd_ps(if i % 2 == 0 { _mm256_unpacklo_pd(a, b) } else { _mm256_unpackhi_pd(a, b) })
            });
            for c in 0..4 {
                _mm256_storeu_ps(to.add(c * to_stride), _mm256_permute2f128_ps(u[c], u[4 + c], 0x20));
                _mm256_storeu_ps(to.add((4 + c) * to_stride), _mm256_permute2f128_ps(u[c], u[4 + c], 0x31));
            }
        }
    }
}

impl Products for Avx2 {
    type V = Self;
    const PAIRS: bool = false;
    #[inline(always)]
    unsafe fn step(acc: Self, a: *const f32, b: Self) -> Self {
        // SAFETY: the caller's promise.
        Self::splat(unsafe { *a }).mul_add(b, acc)
    }
}
