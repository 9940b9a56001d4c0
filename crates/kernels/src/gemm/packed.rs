//! A right-hand side packed once, for weights that are multiplied many times.

use super::driver::{Line, Product, Right, pack_whole, run};
use super::epilogue::Epilogue;
use super::kernel::Kernel;
use super::{Matrix, Threads};
use crate::cpu::Level;
use crate::precision::Precision;
use crate::values::Output;

/// A right-hand matrix in the form that products read it in, for one that is multiplied many times.
pub(crate) struct Packed {
    pub(super) data: Vec<Line>,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) kernel: &'static Kernel,
    precision: Precision,
}

impl Packed {
    /// Packs `b` (inner, columns) for products at `precision`.
    pub(crate) fn new(b: Matrix<'_>, precision: Precision) -> Self {
        Packed::for_kernel(Kernel::of(Level::best(), precision), b, precision)
    }

    pub(super) fn for_kernel(kernel: &'static Kernel, b: Matrix<'_>, precision: Precision) -> Self {
        Packed { data: pack_whole(kernel, b), rows: b.rows, cols: b.cols, kernel, precision }
    }
}

/// [`super::multiply`] with a packed right-hand side, at the precision for which it was packed; equal to it to the bit.
///
/// # Panics
/// If the inner sizes differ, or `precision` is not that of the packing.
///
/// # Safety
/// As [`super::multiply`].
pub(crate) unsafe fn multiply_packed(
    c: *mut f32,
    c_stride: usize,
    a: Matrix<'_>,
    b: &Packed,
    precision: Precision,
    accumulate: bool,
    threads: Threads,
) {
    assert_eq!(a.cols, b.rows, "product of {} x {} and {} x {}", a.rows, a.cols, b.rows, b.cols);
    assert_eq!(precision, b.precision, "precision of a packed matrix");
    let (right, c) = (Right::Packed(b), Output::F32(c));
    let product = Product { a, b: right, c, c_stride, accumulate, epilogue: Epilogue::default() };
    // SAFETY: the caller's promise; the kernel came from a detected level.
    unsafe { run(b.kernel, &product, threads) }
}
