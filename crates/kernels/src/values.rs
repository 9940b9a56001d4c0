//! Values in the format in which they are stored: f32, or bfloat16 where memory and its traffic count for more than the
//! last digits, as for what lies between two matrix products at [`Precision::Bf16`]. Arithmetic is f32 all the same:
//! kernels [`widen`] a piece that stays in the nearest cache, compute, and [`narrow`] the result.

use crate::cpu::Level;
use crate::elementwise::CHUNK;
use crate::math::{Unwritten, as_unwritten, filled};
use crate::precision::Precision;
use half::bf16;
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Values to read.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

/// Values to change in place.
#[derive(Debug)]
pub enum ValuesMut<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [bf16]),
}

/// Values of one's own.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueVec {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

impl<'a> From<&'a [f32]> for Values<'a> {
    fn from(values: &'a [f32]) -> Self {
        Values::F32(values)
    }
}

impl<'a> From<&'a mut [f32]> for Values<'a> {
    fn from(values: &'a mut [f32]) -> Self {
        Values::F32(values)
    }
}

impl<'a> From<&'a Vec<f32>> for Values<'a> {
    fn from(values: &'a Vec<f32>) -> Self {
        Values::F32(values)
    }
}

impl<'a> From<&'a [bf16]> for Values<'a> {
    fn from(values: &'a [bf16]) -> Self {
        Values::Bf16(values)
    }
}

impl<'a> From<&'a ValueVec> for Values<'a> {
    fn from(values: &'a ValueVec) -> Self {
        match values {
            ValueVec::F32(values) => Values::F32(values),
            ValueVec::Bf16(values) => Values::Bf16(values),
        }
    }
}

impl From<Vec<f32>> for ValueVec {
    fn from(values: Vec<f32>) -> Self {
        ValueVec::F32(values)
    }
}

impl<'a> Values<'a> {
    /// Number of values.
    pub fn len(self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::Bf16(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The format.
    pub fn precision(self) -> Precision {
        match self {
            Values::F32(_) => Precision::F32,
            Values::Bf16(_) => Precision::Bf16,
        }
    }

    /// Part of them.
    ///
    /// # Panics
    /// If the range reaches beyond the end.
    #[inline]
    pub fn part(self, range: Range<usize>) -> Values<'a> {
        match self {
            Values::F32(values) => Values::F32(&values[range]),
            Values::Bf16(values) => Values::Bf16(&values[range]),
        }
    }

    /// Those from `first` on; none where `first` is beyond the end.
    pub fn from(self, first: usize) -> Values<'a> {
        self.part(first.min(self.len())..self.len())
    }

    /// All of them in f32, in place or copied.
    pub fn widened(self) -> std::borrow::Cow<'a, [f32]> {
        match self {
            Values::F32(values) => values.into(),
            Values::Bf16(values) => map(values, |x, y| widen_chunk(Level::best(), x, y)).into(),
        }
    }

    /// Copies them to `to`, which they fill.
    ///
    /// # Panics
    /// If the lengths differ.
    #[inline]
    pub(crate) fn copy_to(self, level: Level, to: &mut [f32]) {
        match self {
            Values::F32(values) => to.copy_from_slice(values),
            Values::Bf16(values) => widen(level, values, to),
        }
    }
}

impl<'a> From<&'a mut [f32]> for ValuesMut<'a> {
    fn from(values: &'a mut [f32]) -> Self {
        ValuesMut::F32(values)
    }
}

impl ValuesMut<'_> {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            ValuesMut::F32(values) => values.len(),
            ValuesMut::Bf16(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ValueVec {
    /// These values in that format.
    pub fn new(values: Vec<f32>, precision: Precision) -> Self {
        match precision {
            Precision::F32 => ValueVec::F32(values),
            Precision::Bf16 => ValueVec::Bf16(narrowed(&values)),
        }
    }

    /// So many zeros.
    pub fn zeros(n: usize, precision: Precision) -> Self {
        match precision {
            Precision::F32 => ValueVec::F32(vec![0.0; n]),
            Precision::Bf16 => ValueVec::Bf16(vec![bf16::ZERO; n]),
        }
    }

    /// To read them.
    pub fn as_values(&self) -> Values<'_> {
        self.into()
    }

    /// To change them.
    pub fn as_mut(&mut self) -> ValuesMut<'_> {
        match self {
            ValueVec::F32(values) => ValuesMut::F32(values),
            ValueVec::Bf16(values) => ValuesMut::Bf16(values),
        }
    }

    /// All of them in f32.
    pub fn into_f32(self) -> Vec<f32> {
        match self {
            ValueVec::F32(values) => values,
            ValueVec::Bf16(values) => Values::Bf16(&values).widened().into_owned(),
        }
    }
}

/// Where values are to be written, by one thread or several; the pointers' users vouch for room and for disjointness.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Output {
    F32(*mut f32),
    Bf16(*mut bf16),
}

// SAFETY: writing through the pointers is unsafe, and its callers vouch for it.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    /// From value `first` on.
    pub(crate) fn from(self, first: usize) -> Output {
        match self {
            Output::F32(to) => Output::F32(to.wrapping_add(first)),
            Output::Bf16(to) => Output::Bf16(to.wrapping_add(first)),
        }
    }

    /// Writes a copy of `values`.
    ///
    /// # Safety
    /// There must be room for them, and nobody else may touch it meanwhile.
    #[inline]
    pub(crate) unsafe fn write(self, level: Level, values: &[f32]) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Output::F32(to) => to.copy_from_nonoverlapping(values.as_ptr(), values.len()),
                Output::Bf16(to) => {
                    narrow_chunk(level, values, std::slice::from_raw_parts_mut(to.cast(), values.len()));
                }
            }
        }
    }
}

impl From<ValuesMut<'_>> for Output {
    fn from(values: ValuesMut<'_>) -> Self {
        match values {
            ValuesMut::F32(values) => Output::F32(values.as_mut_ptr()),
            ValuesMut::Bf16(values) => Output::Bf16(values.as_mut_ptr()),
        }
    }
}

/// `n` values in the format `kept`, written by `fill`.
///
/// # Safety
/// `fill` must write all of them.
pub(crate) unsafe fn filled_output(n: usize, kept: Precision, fill: impl FnOnce(Output)) -> ValueVec {
    // SAFETY: the caller's promise.
    unsafe {
        match kept {
            Precision::F32 => ValueVec::F32(filled(n, |c| fill(Output::F32(c.as_mut_ptr().cast())))),
            Precision::Bf16 => ValueVec::Bf16(filled(n, |c| fill(Output::Bf16(c.as_mut_ptr().cast())))),
        }
    }
}

/// The bits of `x` rounded to bfloat16, to nearest with ties to even, in the low half; NaN stays NaN.
#[inline(always)]
pub(crate) fn bf16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    // Adding just under half of the last kept place, or exactly half when that place is odd, rounds to even.
    let up = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1));
    (if x.is_nan() { bits | 0x40_0000 } else { up }) >> 16
}

/// The value of a bfloat16.
#[inline(always)]
pub(crate) fn wide(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}

/// `x` rounded to bfloat16.
#[inline(always)]
pub(crate) fn short(x: f32) -> bf16 {
    bf16::from_bits(bf16_bits(x) as u16)
}

multiversion! {
    fn widen_chunk(x: &[bf16], y: &mut Unwritten) = widen_body;
    fn narrow_chunk(x: &[f32], y: &mut [MaybeUninit<bf16>]) = narrow_body;
}

#[inline(always)]
fn widen_body<const FMA: bool>(x: &[bf16], y: &mut Unwritten) {
    for (x, y) in x.iter().zip(y) {
        y.write(wide(*x));
    }
}

#[inline(always)]
fn narrow_body<const FMA: bool>(x: &[f32], y: &mut [MaybeUninit<bf16>]) {
    for (x, y) in x.iter().zip(y) {
        y.write(short(*x));
    }
}

/// `y = x`.
///
/// # Panics
/// If the lengths differ.
pub(crate) fn widen(level: Level, x: &[bf16], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "widened values");
    widen_chunk(level, x, as_unwritten(y));
}

/// `y = x`, rounded; writes all of y.
///
/// # Panics
/// If the lengths differ.
pub(crate) fn narrow(level: Level, x: &[f32], y: &mut [MaybeUninit<bf16>]) {
    assert_eq!(x.len(), y.len(), "narrowed values");
    narrow_chunk(level, x, y);
}

/// [`narrow`] of a row into its own first half: the result lies in the low half of the row's memory.
pub(crate) fn narrow_in_place(level: Level, row: &mut [f32]) {
    const PIECE: usize = 256;
    let mut copy = [0f32; PIECE];
    let (len, start) = (row.len(), row.as_mut_ptr());
    for first in (0..len).step_by(PIECE) {
        let count = PIECE.min(len - first);
        // SAFETY: both pieces lie within the row. Elements `first..` of two bytes lie at or before those of four bytes
        // that were just copied, so that nothing still to be read is overwritten.
        unsafe {
            copy.as_mut_ptr().copy_from_nonoverlapping(start.add(first), count);
            let to = std::slice::from_raw_parts_mut(start.cast::<MaybeUninit<bf16>>().add(first), count);
            narrow(level, &copy[..count], to);
        }
    }
}

/// Memory read as bfloat16, two for each value; see [`narrow_in_place`].
pub(crate) fn as_halves(values: &[f32]) -> &[bf16] {
    // SAFETY: the same memory, of weaker alignment; any bits are a bfloat16.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), 2 * values.len()) }
}

/// A copy in bfloat16.
pub(crate) fn narrowed(x: &[f32]) -> Vec<bf16> {
    map(x, |x, y| narrow_chunk(Level::best(), x, y))
}

/// A new vector that `f` writes chunk by chunk, all of it.
fn map<X: Sync, Y: Send>(x: &[X], f: impl Fn(&[X], &mut [MaybeUninit<Y>]) + Sync) -> Vec<Y> {
    // SAFETY: chunks of equal position and length cover all elements, and `f` writes each.
    unsafe {
        filled(x.len(), |y| {
            if y.len() <= CHUNK {
                return f(x, y);
            }
            y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| f(x, y));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::matrix;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rounding_is_that_of_the_reference(bits: u32) {
            let x = f32::from_bits(bits);
            let (ours, reference) = (short(x), bf16::from_f32(x));
            prop_assert!(ours == reference || x.is_nan() && ours.is_nan());
            prop_assert!(wide(reference) == reference.to_f32() || x.is_nan());
        }

        #[test]
        fn there_and_back_at_every_level(n in 0usize..700, seed: u64) {
            let x = matrix(n, seed);
            for level in Level::available() {
                let (mut short_x, mut back) = (vec![bf16::ZERO; n], vec![0f32; n]);
                narrow(level, &x, as_unwritten(&mut short_x));
                widen(level, &short_x, &mut back);
                let want: Vec<f32> = x.iter().map(|x| bf16::from_f32(*x).to_f32()).collect();
                prop_assert_eq!(&back, &want);
                let mut row = x.clone();
                narrow_in_place(level, &mut row);
                prop_assert_eq!(&as_halves(&row)[..n], &short_x[..]);
            }
        }
    }

    #[test]
    fn long_vectors_in_chunks() {
        let x = matrix(3 * CHUNK + 5, 1);
        let stored = ValueVec::new(x.clone(), Precision::Bf16);
        assert_eq!(stored.as_values().precision(), Precision::Bf16);
        let want: Vec<f32> = x.iter().map(|x| bf16::from_f32(*x).to_f32()).collect();
        assert_eq!(stored.into_f32(), want);
        assert_eq!(ValueVec::new(x.clone(), Precision::F32).into_f32(), x);
    }

    #[test]
    fn infinities_and_nan_stay() {
        let x = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, -0.0];
        let back = ValueVec::new(x.to_vec(), Precision::Bf16).into_f32();
        assert_eq!(back[..2], x[..2]);
        assert!(back[2].is_nan() && back[3] == f32::INFINITY && back[4].is_sign_negative());
    }
}
