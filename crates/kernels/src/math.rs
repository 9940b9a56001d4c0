//! Lane-wise building blocks that LLVM turns into vector code, and the two ways of writing results that need `unsafe`.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// Lanes of one accumulator: an AVX-512 register of f32, two AVX2 registers.
pub(crate) const LANES: usize = 16;

/// Output of a kernel that has not been written yet: memory fresh from the allocator need not be cleared first.
pub(crate) type Unwritten = [MaybeUninit<f32>];

/// A vector of `n` values that `fill` writes.
///
/// # Safety
/// `fill` must write every element.
pub(crate) unsafe fn filled<T>(n: usize, fill: impl FnOnce(&mut [MaybeUninit<T>])) -> Vec<T> {
    let mut values = Vec::with_capacity(n);
    fill(&mut values.spare_capacity_mut()[..n]);
    // SAFETY: the capacity is at least n, and the caller vouches that all n elements were written.
    unsafe { values.set_len(n) };
    values
}

/// For a function that writes values and nothing else.
pub(crate) fn as_unwritten<T>(values: &mut [T]) -> &mut [MaybeUninit<T>] {
    // SAFETY: `MaybeUninit<T>` has the layout of T. All functions of this crate write values only, so that the memory
    // stays initialised.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len()) }
}

/// A distance between rows of `width` values at which a column's elements spread over all sets of the caches: an odd
/// number of lines. At a power of two they share a few sets, where what is asked for ahead evicts itself before it is
/// used, and a product that packs the transpose waits for memory.
pub(crate) fn spread_stride(width: usize) -> usize {
    const LINE: usize = 16;
    (width.div_ceil(LINE) | 1) * LINE
}

/// A mutable slice into which several threads write disjoint elements that are not chunks of it.
pub(crate) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: the pointer is only used through the unsafe methods below, whose callers vouch for disjointness.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(crate) fn new(slice: &'a mut [f32]) -> Self {
        Shared { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// # Safety
    /// No other thread may touch element `i` meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn write(&self, i: usize, value: f32) {
        assert!(i < self.len);
        // SAFETY: inside the slice, and the caller vouches that nobody else is there.
        unsafe { *self.start.add(i) = value }
    }

    /// The same for a vector that is being filled: what is handed out by [`Shared::unwritten`] must be written.
    pub(crate) fn filling(slice: &'a mut Unwritten) -> Self {
        Shared { start: slice.as_mut_ptr().cast(), len: slice.len(), slice: PhantomData }
    }

    /// # Safety
    /// No other thread may touch these elements meanwhile.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn unwritten(&self, first: usize, count: usize) -> &mut Unwritten {
        assert!(first + count <= self.len, "{first}..{} of {}", first + count, self.len);
        // SAFETY: inside the slice, and the caller vouches that nobody else is there.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first).cast(), count) }
    }

    /// Pointer to element `i`, which must be inside.
    pub(crate) fn at(&self, i: usize) -> *mut f32 {
        assert!(i < self.len, "{i} of {}", self.len);
        // SAFETY: inside the slice.
        unsafe { self.start.add(i) }
    }

    /// # Safety
    /// No other thread may touch these elements meanwhile.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn slice(&self, first: usize, count: usize) -> &mut [f32] {
        assert!(first + count <= self.len, "{first}..{} of {}", first + count, self.len);
        // SAFETY: inside the slice, and the caller vouches that nobody else is there.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), count) }
    }
}

/// `a * b + c`, fused where that is one instruction.
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Sum of the lanes by halves: the order is fixed, so the result is too. Written with arrays of falling size, which
/// stay in registers; a loop over one array goes through memory.
#[inline(always)]
pub(crate) fn sum_lanes(lanes: [f32; LANES]) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|i| lanes[i] + lanes[i + 8]);
    let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

/// Elements of one round of the sums below. Rounds are slices of a length that the compiler knows, so that nothing is
/// checked within them; remainders are summed apart, because writing them into single lanes would force the
/// accumulators out of registers.
const ROUND: usize = 2 * LANES;

#[inline(always)]
fn sum_round(lanes: [[f32; LANES]; 2], tail: f32) -> f32 {
    sum_lanes(std::array::from_fn(|l| lanes[0][l] + lanes[1][l])) + tail
}

/// Sum of `f` over a slice, in lanes and in a fixed order.
#[inline(always)]
pub(crate) fn sum_map(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [[0f32; LANES]; 2];
    let rounds = x.chunks_exact(ROUND);
    let tail = rounds.remainder().iter().fold(0f32, |sum, x| sum + f(*x));
    for x in rounds {
        for (u, lanes) in lanes.iter_mut().enumerate() {
            for l in 0..LANES {
                lanes[l] += f(x[u * LANES + l]);
            }
        }
    }
    sum_round(lanes, tail)
}

/// Writes `f` over a slice and sums what is written.
#[inline(always)]
pub(crate) fn map_and_sum(x: &mut [f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [[0f32; LANES]; 2];
    let mut rounds = x.chunks_exact_mut(ROUND);
    for x in &mut rounds {
        for (u, lanes) in lanes.iter_mut().enumerate() {
            for l in 0..LANES {
                let value = f(x[u * LANES + l]);
                x[u * LANES + l] = value;
                lanes[l] += value;
            }
        }
    }
    let tail = rounds.into_remainder().iter_mut().fold(0f32, |sum, x| {
        *x = f(*x);
        sum + *x
    });
    sum_round(lanes, tail)
}

/// Sum of `f` over pairs of elements of two equally long slices.
#[inline(always)]
pub(crate) fn sum_zip(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [[0f32; LANES]; 2];
    let (rounds_a, rounds_b) = (a.chunks_exact(ROUND), b.chunks_exact(ROUND));
    let tail = rounds_a.remainder().iter().zip(rounds_b.remainder()).fold(0f32, |sum, (a, b)| sum + f(*a, *b));
    for (a, b) in rounds_a.zip(rounds_b) {
        for (u, lanes) in lanes.iter_mut().enumerate() {
            for l in 0..LANES {
                lanes[l] += f(a[u * LANES + l], b[u * LANES + l]);
            }
        }
    }
    sum_round(lanes, tail)
}

/// Sum of `f` over triples of elements of three equally long slices.
#[inline(always)]
pub(crate) fn sum_zip3(a: &[f32], b: &[f32], c: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut lanes = [[0f32; LANES]; 2];
    let (rounds_a, rounds_b, rounds_c) = (a.chunks_exact(ROUND), b.chunks_exact(ROUND), c.chunks_exact(ROUND));
    let rest = rounds_a.remainder().iter().zip(rounds_b.remainder()).zip(rounds_c.remainder());
    let tail = rest.fold(0f32, |sum, ((a, b), c)| sum + f(*a, *b, *c));
    for ((a, b), c) in rounds_a.zip(rounds_b).zip(rounds_c) {
        for (u, lanes) in lanes.iter_mut().enumerate() {
            for l in 0..LANES {
                lanes[l] += f(a[u * LANES + l], b[u * LANES + l], c[u * LANES + l]);
            }
        }
    }
    sum_round(lanes, tail)
}

/// Dot product of two equally long slices, in four independent accumulators to hide the latency of the FMA.
#[inline(always)]
pub(crate) fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut acc = [[0f32; LANES]; 4];
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let (wide_a, wide_b) = (a.chunks_exact(4 * LANES), b.chunks_exact(4 * LANES));
    let (rest_a, rest_b) = (wide_a.remainder(), wide_b.remainder());
    for (x, y) in wide_a.zip(wide_b) {
        for (u, acc) in acc.iter_mut().enumerate() {
            for l in 0..LANES {
                acc[l] = fma::<FMA>(x[u * LANES + l], y[u * LANES + l], acc[l]);
            }
        }
    }
    let (narrow_a, narrow_b) = (rest_a.chunks_exact(LANES), rest_b.chunks_exact(LANES));
    let (tail_a, tail_b) = (narrow_a.remainder(), narrow_b.remainder());
    for (x, y) in narrow_a.zip(narrow_b) {
        for l in 0..LANES {
            acc[0][l] = fma::<FMA>(x[l], y[l], acc[0][l]);
        }
    }
    // The remainder is summed apart: writing it into single lanes would force the accumulators out of registers.
    let tail = tail_a.iter().zip(tail_b).fold(0f32, |sum, (x, y)| fma::<FMA>(*x, *y, sum));
    let mut total = [0f32; LANES];
    for l in 0..LANES {
        total[l] = (acc[0][l] + acc[1][l]) + (acc[2][l] + acc[3][l]);
    }
    sum_lanes(total) + tail
}

/// `y += a * x`.
#[inline(always)]
pub(crate) fn axpy<const FMA: bool>(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = fma::<FMA>(a, *x, *y);
    }
}

/// `e^x` to about 1.5 units in the last place, for `x` in [-87.3, 88]; below it gives 0, above it stays at the top.
/// Cephes' polynomial after splitting off the power of two, without branches so that it vectorises.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // 1.5 * 2^23: adding it rounds to the nearest integer, which then sits in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    let under = x < -87.3;
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma::<FMA>(n, -0.693_359_4, x);
    let r = fma::<FMA>(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4;
    p = fma::<FMA>(p, r, 1.398_199_9e-3);
    p = fma::<FMA>(p, r, 8.333_452e-3);
    p = fma::<FMA>(p, r, 4.166_579_6e-2);
    p = fma::<FMA>(p, r, 1.666_666_5e-1);
    p = fma::<FMA>(p, r, 0.5);
    let p = fma::<FMA>(p * r, r, r) + 1.0;
    let power = f32::from_bits((shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23);
    let y = p * power;
    if under { 0.0 } else { y }
}

/// Hyperbolic tangent to about 2 units in the last place: Cephes' odd polynomial near zero, where the quotient of
/// exponentials would lose the small values' digits, and that quotient elsewhere.
#[inline(always)]
pub(crate) fn tanh<const FMA: bool>(x: f32) -> f32 {
    let square = x * x;
    let mut p = -5.704_988_7e-3;
    p = fma::<FMA>(p, square, 2.063_908e-2);
    p = fma::<FMA>(p, square, -5.373_971_6e-2);
    p = fma::<FMA>(p, square, 1.333_144_2e-1);
    p = fma::<FMA>(p, square, -3.333_328e-1);
    let near = fma::<FMA>(p * square, x, x);
    let e = exp::<FMA>(-2.0 * x.abs());
    let far = ((1.0 - e) / (1.0 + e)).copysign(x);
    if x.abs() < 0.625 { near } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_rows_have_room_and_begin_in_different_sets() {
        for (width, stride) in [(0, 16), (1, 16), (16, 16), (17, 48), (512, 528), (2048, 2064), (8192, 8208)] {
            assert_eq!(spread_stride(width), stride);
        }
    }

    #[test]
    fn tanh_is_close_to_the_library_and_saturates() {
        let mut x = -12.0f32;
        while x < 12.0 {
            for (x, y) in [x, x * 1e-4].into_iter().flat_map(|x| [(x, tanh::<true>(x)), (x, tanh::<false>(x))]) {
                let want = f64::from(x).tanh();
                assert!((f64::from(y) - want).abs() <= 3e-7 * want.abs(), "tanh({x}) = {y}, want {want}");
            }
            x += 0.0137;
        }
        assert_eq!([tanh::<true>(f32::INFINITY), tanh::<true>(-1e30), tanh::<true>(0.0)], [1.0, -1.0, 0.0]);
        assert!(tanh::<true>(f32::NAN).is_nan());
    }

    #[test]
    fn exp_is_close_to_the_library_over_its_range() {
        let mut x = -87.0f32;
        while x < 88.0 {
            for y in [exp::<true>(x), exp::<false>(x)] {
                let want = f64::from(x).exp();
                assert!((f64::from(y) / want - 1.0).abs() < 3e-7, "exp({x}) = {y}, want {want}");
            }
            x += 0.013;
        }
        assert_eq!(exp::<true>(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp::<true>(-200.0), 0.0);
        assert!(exp::<true>(f32::NAN).is_nan());
        assert_eq!(exp::<true>(0.0), 1.0);
    }

    #[test]
    fn dot_agrees_with_f64_at_every_remainder() {
        for n in 0..150 {
            let a: Vec<f32> = (0..n).map(|i| ((i * 37 % 19) as f32) - 9.0).collect();
            let b: Vec<f32> = (0..n).map(|i| ((i * 53 % 23) as f32) - 11.0).collect();
            let want: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            assert_eq!(f64::from(dot::<true>(&a, &b)), want, "n = {n}");
            assert_eq!(f64::from(dot::<false>(&a, &b)), want, "n = {n}");
        }
    }
}
