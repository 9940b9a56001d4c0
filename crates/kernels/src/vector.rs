//! Registers of f32 as one type per instruction set, for the loops that must stay in registers to be fast: written once
//! over [`Products`] and compiled by `forms!` for each instruction set.
//!
//! Where the CPU multiplies pairs of bfloat16 in one instruction (`avx512_bf16`), that is one more form: an operand's
//! 32-bit element then holds two neighbours along the inner dimension of the product. Elsewhere bfloat16 inputs are
//! rounded and stay f32.

use crate::cpu::Level;
use crate::precision::Precision;

/// One register (or two) of f32. Values of a type exist only in code that `forms!` compiles for its instruction set.
pub(crate) trait Vector: Copy {
    const LANES: usize;
    /// # Safety
    /// `LANES` values must be readable at `from`.
    unsafe fn load(from: *const f32) -> Self;
    /// # Safety
    /// `LANES` values must be writable at `to`.
    unsafe fn store(self, to: *mut f32);
    fn splat(x: f32) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// `self * b + c`
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// The larger; `other` where either is NaN.
    fn max(self, other: Self) -> Self;
    /// `2^self` to about a unit in the last place; 0 for -infinity.
    fn exp2(self) -> Self;
    /// Writes the transpose of the `LANES` x `LANES` block at `from` to `to`.
    ///
    /// # Safety
    /// Both blocks must be in memory, and must not overlap.
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize);
}

/// What one step of a product does with a pair of 32-bit elements.
pub(crate) trait Products {
    type V: Vector;
    /// An element holds two bfloat16 values, the earlier in its low half.
    const PAIRS: bool;
    /// `acc + a * b` for the element at `a` and the elements of `b`.
    ///
    /// # Safety
    /// `a` must be readable.
    unsafe fn step(acc: Self::V, a: *const f32, b: Self::V) -> Self::V;
    /// Elements of `low` and `high` rounded to bfloat16, side by side in one element.
    fn pair(low: Self::V, _high: Self::V) -> Self::V {
        low
    }
    /// Stores the lanes as bfloat16, `LANES / 2` elements.
    ///
    /// # Safety
    /// They must be writable at `to`.
    unsafe fn store_narrow(_v: Self::V, _to: *mut f32) {}
}

/// The form of a kernel that `forms!` runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) level: Level,
    pairs: bool,
}

impl Form {
    /// The fastest form at `level` for products of this precision.
    pub(crate) fn new(level: Level, precision: Precision) -> Form {
        Form { level, pairs: precision == Precision::Bf16 && has_pairs(level) }
    }

    /// Whether operands are pairs of bfloat16.
    pub(crate) fn pairs(self) -> bool {
        self.pairs
    }
}

#[cfg(target_arch = "x86_64")]
fn has_pairs(level: Level) -> bool {
    level.has_bf16_products()
}

#[cfg(not(target_arch = "x86_64"))]
fn has_pairs(_level: Level) -> bool {
    false
}

/// `forms! { fn name(a: A, ...) = body; }` defines `name(form, a, ...)`, which runs `body::<P>(a, ...)` compiled for
/// `form`. `body` must be `#[inline(always)]` and generic over `P: Products`.
macro_rules! forms {
    ($(fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident;)*) => {$(
        fn $name(form: $crate::vector::Form, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
                fn compiled_for_pairs($($arg: $ty),*) { $body::<$crate::vector::x86::Avx512Pairs>($($arg),*) }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($arg: $ty),*) { $body::<$crate::vector::x86::Avx512>($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) { $body::<$crate::vector::x86::Avx2>($($arg),*) }
                if form.pairs() {
                    // SAFETY: a `Form` has pairs only where `avx512bf16` was detected at an AVX-512 level.
                    return unsafe { compiled_for_pairs($($arg),*) };
                }
                if form.level.is_avx512() {
                    // SAFETY: a `Level` exists only for instruction sets that were detected on this machine.
                    return unsafe { avx512($($arg),*) };
                }
                if form.level.is_avx2() {
                    // SAFETY: as above.
                    return unsafe { avx2($($arg),*) };
                }
            }
            let _ = form;
            $body::<$crate::vector::Portable>($($arg),*)
        }
    )*};
}

/// Cephes' `exp2f`: 2^r for r in [-0.5, 0.5], from the highest power down to the first.
const EXP2: [f32; 6] = [1.535_336_2e-4, 1.339_887_4e-3, 9.618_437e-3, 5.550_332_5e-2, 2.402_264_8e-1, 6.931_472e-1];

#[inline(always)]
fn exp2_fraction<V: Vector>(r: V) -> V {
    let mut p = V::splat(EXP2[0]);
    for c in &EXP2[1..] {
        p = p.mul_add(r, V::splat(*c));
    }
    p.mul_add(r, V::splat(1.0))
}

/// Plain arrays, which LLVM maps to whatever registers there are.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Portable(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Vector for Portable {
    const LANES: usize = 8;
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise; arrays of f32 need no more alignment than an f32.
        Portable(unsafe { *from.cast::<[f32; 8]>() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { *to.cast::<[f32; 8]>() = self.0 }
    }
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Portable([x; 8])
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Portable(std::array::from_fn(|i| self.0[i] * b.0[i] + c.0[i]))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn exp2(self) -> Self {
        // 1.5 * 2^23: adding it rounds to the nearest integer, which then sits in the low bits of the mantissa.
        const ROUND: f32 = 12_582_912.0;
        let x = Portable::splat(-126.0).max(Portable(self.0.map(|x| if x > 127.0 { 127.0 } else { x })));
        let shifted = x.add(Portable::splat(ROUND));
        let p = exp2_fraction(x.sub(shifted.sub(Portable::splat(ROUND))));
        let power =
            shifted.0.map(|s| f32::from_bits((s.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23));
        let y = p.mul(Portable(power));
        self.zip(y, |x, y| if x < -126.0 { 0.0 } else { y })
    }
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        for i in 0..8 {
            for j in 0..8 {
                // SAFETY: the caller's promise.
                unsafe { *to.add(j * to_stride + i) = *from.add(i * from_stride + j) }
            }
        }
    }
}

impl Products for Portable {
    type V = Self;
    const PAIRS: bool = false;
    #[inline(always)]
    unsafe fn step(acc: Self, a: *const f32, b: Self) -> Self {
        // SAFETY: the caller's promise.
        Portable::splat(unsafe { *a }).mul_add(b, acc)
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

#[cfg(test)]
mod tests {
    use super::*;

    fn exp2_body<P: Products>(x: &[f32], y: &mut [f32]) {
        for (x, y) in x.chunks_exact(P::V::LANES).zip(y.chunks_exact_mut(P::V::LANES)) {
            // SAFETY: chunks of that many values.
            unsafe { P::V::load(x.as_ptr()).exp2().store(y.as_mut_ptr()) };
        }
    }

    fn transpose_body<P: Products>(x: &[f32], y: &mut [f32]) {
        let n = P::V::LANES;
        for (i, j) in (0..16).step_by(n).flat_map(|i| (0..16).step_by(n).map(move |j| (i, j))) {
            // SAFETY: both hold 16 rows of 17.
            unsafe { P::V::transpose(x[i * 17 + j..].as_ptr(), 17, y[j * 17 + i..].as_mut_ptr(), 17) };
        }
    }

    forms! {
        fn exp2(x: &[f32], y: &mut [f32]) = exp2_body;
        fn transpose(x: &[f32], y: &mut [f32]) = transpose_body;
    }

    #[test]
    fn exp2_is_close_to_the_library_over_its_range() {
        let x: Vec<f32> = (0..16_000).map(|i| -125.0 + i as f32 * 0.0155).collect();
        for level in Level::available() {
            let mut y = vec![f32::NAN; x.len()];
            exp2(Form::new(level, Precision::F32), &x, &mut y);
            for (x, y) in x.iter().zip(&y) {
                let want = f64::from(*x).exp2();
                assert!((f64::from(*y) / want - 1.0).abs() < 3e-7, "{} exp2({x}) = {y}, want {want}", level.name());
            }
            let mut special = [f32::NEG_INFINITY, f32::NAN, -1e9, 0.0, -160.0, f32::NEG_INFINITY, 1.0, -1.0].repeat(2);
            exp2(Form::new(level, Precision::F32), &special.clone(), &mut special);
            assert!(special[1].is_nan());
            special[1] = 7.0;
            assert_eq!(special[..8], [0.0, 7.0, 0.0, 1.0, 0.0, 0.0, 2.0, 0.5]);
        }
    }

    #[test]
    fn transposes_blocks() {
        let x: Vec<f32> = (0..16 * 17).map(|i| i as f32).collect();
        for level in Level::available() {
            let mut y = vec![-1.0; x.len()];
            transpose(Form::new(level, Precision::F32), &x, &mut y);
            for (i, y) in y.iter().enumerate() {
                let (row, col) = (i / 17, i % 17);
                assert_eq!(*y, if col == 16 { -1.0 } else { x[col * 17 + row] }, "{}", level.name());
            }
        }
    }
}
