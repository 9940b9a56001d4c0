//! Matrix products, f32 or with inputs rounded to bfloat16 and sums in f32.
//!
//! Both operands are copied ("packed") into the order in which a micro-kernel reads them; rounding to bfloat16 happens
//! on the way. Rows of the left operand that are in the right format already may be read as they lie. The micro-kernel holds a tile of the result in registers: 14 x 32 with AVX-512 (`_mm512_dpbf16_ps` for
//! bfloat16 where the CPU has it), 6 x 16 with AVX2, 4 x 8 in plain Rust. The plan is that of Goto and van de Geijn 2008,
//! "Anatomy of high-performance matrix multiplication". Begin reading at `driver`, then `micro_avx2`.
//!
//! An element's value depends on its row, its column and the inner size alone: not on the number of threads, nor on the
//! other rows and columns. (Fewer than [`FEW_ROWS`] rows go another way in [`linear`], with the same promise.) NaN and
//! infinities propagate as in plain arithmetic. Without `avx512_bf16` the inputs are rounded the same way and multiplied
//! in f32; the instruction differs from that only in treating subnormal numbers as zero.

mod driver;
mod epilogue;
mod few_rows;
mod kernel;
#[cfg(target_arch = "x86_64")]
mod micro_avx2;
#[cfg(target_arch = "x86_64")]
mod micro_avx512;
mod micro_portable;
mod pack;
#[cfg(target_arch = "x86_64")]
mod pack_avx2;
#[cfg(target_arch = "x86_64")]
mod pack_avx512;
mod packed;
#[cfg(test)]
mod tests;

use crate::cpu::Level;
use crate::math::filled;
use crate::precision::Precision;
use crate::values::{Output, Values};
use driver::{Product, Right, run};
use kernel::Kernel;
use rayon::prelude::*;

use few_rows::few_rows_rounded;

pub use epilogue::Epilogue;
pub(crate) use few_rows::{FEW_ROWS, few_rows};
pub(crate) use packed::{Packed, multiply_packed};

/// A read-only matrix over values of either format. Element (i, j) lies at `i * row_stride + j * col_stride`, and one of the strides
/// is 1; construction checks that every element is inside.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: Values<'a>,
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major, rows next to each other.
    ///
    /// # Panics
    /// If `data` does not hold exactly `rows * cols` values.
    pub fn new(data: impl Into<Values<'a>>, rows: usize, cols: usize) -> Self {
        let data = data.into();
        assert_eq!(data.len(), rows * cols, "matrix of {rows} x {cols}");
        Matrix { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// Row-major with `row_stride` elements from one row to the next.
    ///
    /// # Panics
    /// If the last row would reach beyond `data`.
    pub fn strided(data: impl Into<Values<'a>>, rows: usize, cols: usize, row_stride: usize) -> Self {
        let data = data.into();
        assert!(
            rows == 0 || (rows - 1) * row_stride + cols <= data.len(),
            "{rows} rows of {cols}, stride {row_stride}, in {}",
            data.len()
        );
        Matrix { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The same values read as the transpose.
    pub fn transposed(self) -> Self {
        Matrix { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    /// Rows `first..first + count`.
    pub(crate) fn rows(self, first: usize, count: usize) -> Self {
        debug_assert!(first + count <= self.rows);
        Matrix { data: self.data.from(first * self.row_stride), rows: count, ..self }
    }

    /// Where element (i, j) is; outside the matrix, an address that must not be used.
    fn address(&self, i: usize, j: usize) -> *const u8 {
        let start: *const u8 = match self.data {
            Values::F32(data) => data.as_ptr().cast(),
            Values::Bf16(data) => data.as_ptr().cast(),
        };
        start.wrapping_add(self.offset(i, j) * self.data.precision().bytes())
    }

    /// How far from the first element (i, j) is.
    fn offset(&self, i: usize, j: usize) -> usize {
        i * self.row_stride + j * self.col_stride
    }

    /// Row `i`, of a matrix that is not transposed.
    #[inline]
    pub(crate) fn row(&self, i: usize) -> Values<'a> {
        debug_assert!(self.col_stride == 1);
        self.data.part(i * self.row_stride..i * self.row_stride + self.cols)
    }
}

/// Whether a product may use all threads or is itself part of a parallel task.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    One,
    All,
}

/// `c = a * b`, or `c += a * b` when `accumulate`; c is row-major with `c_stride` elements between rows.
///
/// # Safety
/// `c` must be valid for writes of `a.rows` rows of `b.cols` values at that stride (for reads too when `accumulate`),
/// and nothing else may touch those elements meanwhile.
pub(crate) unsafe fn multiply(
    c: *mut f32,
    c_stride: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    accumulate: bool,
    precision: Precision,
    threads: Threads,
) {
    assert_eq!(a.cols, b.rows, "product of {} x {} and {} x {}", a.rows, a.cols, b.rows, b.cols);
    let (b, c) = (Right::Matrix(b), Output::F32(c));
    let product = Product { a, b, c, c_stride, accumulate, epilogue: Epilogue::default() };
    // SAFETY: the caller's promise; a `Level` exists only for detected instructions.
    unsafe { run(Kernel::of(Level::best(), precision), &product, threads) }
}

/// What computes products at `precision` on this machine, for reports: `"avx512 bf16"`, `"avx2 rounded"` and so on.
pub fn kernel_name(precision: Precision) -> &'static str {
    Kernel::of(Level::best(), precision).name
}

/// `a * b`, row-major, on all threads.
///
/// # Panics
/// If the inner sizes differ.
pub fn product(a: Matrix<'_>, b: Matrix<'_>, precision: Precision) -> Vec<f32> {
    product_with(a, b, Epilogue::default(), precision)
}

fn product_with(a: Matrix<'_>, b: Matrix<'_>, epilogue: Epilogue<'_>, precision: Precision) -> Vec<f32> {
    // SAFETY: the product writes all values.
    unsafe {
        filled(a.rows * b.cols, |c| {
            let c = Output::F32(c.as_mut_ptr().cast());
            multiply_with(c, b.cols, a, b, epilogue, precision, Threads::All);
        })
    }
}

/// `c = epilogue(a * b)`; c is row-major with `c_stride` elements between rows.
///
/// # Safety
/// As [`multiply`], not accumulating.
pub(crate) unsafe fn multiply_with(
    c: Output,
    c_stride: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    epilogue: Epilogue<'_>,
    precision: Precision,
    threads: Threads,
) {
    assert_eq!(a.cols, b.rows, "product of {} x {} and {} x {}", a.rows, a.cols, b.rows, b.cols);
    epilogue.check(a.rows, b.cols);
    let product = Product { a, b: Right::Matrix(b), c, c_stride, accumulate: false, epilogue };
    // SAFETY: the caller's promise; a `Level` exists only for detected instructions.
    unsafe { run(Kernel::of(Level::best(), precision), &product, threads) }
}

/// The products `a[i] * b[i]`, one after another, row-major, for equal shapes; on all threads, a product each where they
/// are small.
///
/// # Panics
/// If there are not as many on both sides, or shapes differ or do not fit.
pub fn batched_product(a: &[Matrix<'_>], b: &[Matrix<'_>], precision: Precision) -> Vec<f32> {
    /// Multiplications from which a single product keeps all threads busy.
    const LARGE: usize = 1 << 24;
    assert_eq!(a.len(), b.len(), "as many left as right sides");
    let (Some(first), Some(second)) = (a.first(), b.first()) else { return vec![] };
    let (m, k, n) = (first.rows, first.cols, second.cols);
    let same = |(a, b): (&Matrix<'_>, &Matrix<'_>)| (a.rows, a.cols, b.rows, b.cols) == (m, k, k, n);
    assert!(a.iter().zip(b).all(same), "products of {m} x {k} and {k} x {n}");
    let size = m * n;
    let mut c = vec![0f32; a.len() * size];
    if size == 0 {
        return c;
    }
    let one = |c: &mut [f32], i: usize, threads: Threads| {
        // SAFETY: c is m x n, borrowed mutably.
        unsafe { multiply(c.as_mut_ptr(), n, a[i], b[i], false, precision, threads) }
    };
    if size * k < LARGE {
        c.par_chunks_mut(size).enumerate().for_each(|(i, c)| one(c, i, Threads::One));
    } else {
        c.chunks_mut(size).enumerate().for_each(|(i, c)| one(c, i, Threads::All));
    }
    c
}

/// `c = a * b` for row-major c without gaps, on all threads. What c held is not read.
///
/// # Panics
/// If sizes contradict each other.
pub fn product_into(c: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, precision: Precision) {
    assert_eq!(c.len(), a.rows * b.cols, "product of {} x {}", a.rows, b.cols);
    // SAFETY: c is a whole slice of that size, borrowed mutably.
    unsafe { multiply(c.as_mut_ptr(), b.cols, a, b, false, precision, Threads::All) }
}

/// `c += a * b` for row-major c without gaps, on all threads.
///
/// # Panics
/// If sizes contradict each other.
pub fn add_product(c: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, precision: Precision) {
    assert_eq!(c.len(), a.rows * b.cols, "sum of {} x {}", a.rows, b.cols);
    // SAFETY: c is a whole slice of that size, borrowed mutably.
    unsafe { multiply(c.as_mut_ptr(), b.cols, a, b, true, precision, Threads::All) }
}

/// `x * weight^T (+ bias)` for x (rows, inp) and weight (out, inp): (rows, out).
///
/// # Panics
/// If a slice's length contradicts the shape.
pub fn linear(
    x: &[f32],
    rows: usize,
    weight: &[f32],
    out: usize,
    inp: usize,
    bias: Option<&[f32]>,
    precision: Precision,
) -> Vec<f32> {
    linear_with(x, rows, weight, out, inp, Epilogue::bias(bias), precision)
}

/// [`linear`] with more done to the result before it leaves the cache.
///
/// # Panics
/// If a slice's length contradicts the shape.
pub fn linear_with(
    x: &[f32],
    rows: usize,
    weight: &[f32],
    out: usize,
    inp: usize,
    epilogue: Epilogue<'_>,
    precision: Precision,
) -> Vec<f32> {
    assert_eq!(x.len(), rows * inp, "x of {rows} x {inp}");
    assert_eq!(weight.len(), out * inp, "weight of {out} x {inp}");
    epilogue.check(rows, out);
    if rows < FEW_ROWS {
        let level = Level::best();
        let mut y = match precision {
            Precision::F32 => few_rows(level, x, rows, weight, out, inp, None, epilogue.bias),
            Precision::Bf16 => few_rows_rounded(level, x, rows, weight, out, inp, epilogue.bias),
        };
        epilogue.finish(level, &mut y, out);
        return y;
    }
    let (a, b) = (Matrix::new(x, rows, inp), Matrix::new(weight, out, inp).transposed());
    product_with(a, b, epilogue, precision)
}
