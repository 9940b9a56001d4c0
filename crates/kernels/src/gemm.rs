//! Matrix products: the crate `gemm` for large ones, dot products of rows for a handful of rows (decoding).
//!
//! `gemm` chooses AVX-512, AVX2 or portable code by itself at run time. It cuts the inner dimension by the shape alone
//! and threads divide only rows and columns, so results do not depend on the number of threads.

use crate::cpu::Level;
use crate::math::{LANES, Shared, fma, sum_lanes};
use crate::precision::Precision;
use rayon::prelude::*;

/// A read-only matrix over a slice. Element (i, j) lies at `i * row_stride + j * col_stride`, and one of the strides
/// is 1; construction checks that every element is inside.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
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
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "matrix of {rows} x {cols}");
        Matrix { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// Row-major with `row_stride` elements from one row to the next.
    ///
    /// # Panics
    /// If the last row would reach beyond `data`.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
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

    /// Rows `first..first + count` of a matrix that is not transposed.
    pub(crate) fn rows(self, first: usize, count: usize) -> Self {
        debug_assert!(self.col_stride == 1 && first + count <= self.rows);
        Matrix { data: &self.data[(first * self.row_stride).min(self.data.len())..], rows: count, ..self }
    }

    /// Row `i` as a slice, of a matrix that is not transposed.
    pub(crate) fn row(&self, i: usize) -> &'a [f32] {
        debug_assert!(self.col_stride == 1);
        &self.data[i * self.row_stride..i * self.row_stride + self.cols]
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
    if precision == Precision::Bf16 {
        let (x, y) = (rounded(a), rounded(b));
        let (a, b) = (Matrix::new(&x, a.rows, a.cols), Matrix::new(&y, b.rows, b.cols));
        // SAFETY: the caller's promise, for matrices of the same sizes.
        return unsafe { multiply(c, c_stride, a, b, accumulate, Precision::F32, threads) };
    }
    let parallelism = match threads {
        Threads::One => gemm::Parallelism::None,
        Threads::All => gemm::Parallelism::Rayon(rayon::current_num_threads()),
    };
    // SAFETY: the caller vouches for c; `Matrix` has checked that a and b lie inside their slices.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            c,
            1,
            c_stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// A row-major copy rounded to bfloat16.
fn rounded(m: Matrix<'_>) -> Vec<f32> {
    let round = |x: f32| {
        let bits = x.to_bits();
        // Adding just under half of the last kept place, or exactly half when that place is odd, rounds to even.
        let up = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1));
        f32::from_bits(if x.is_nan() { bits | 0x40_0000 } else { up } & 0xFFFF_0000)
    };
    let row = |i: usize| (0..m.cols).map(move |j| round(m.data[i * m.row_stride + j * m.col_stride]));
    (0..m.rows).flat_map(row).collect()
}

#[allow(dead_code)]
/// A right-hand matrix in the form that products read it in, for one that is multiplied many times.
pub(crate) struct Packed {
    data: Vec<f32>,
    rows: usize,
    cols: usize,
}

#[allow(dead_code)]
impl Packed {
    pub(crate) fn new(b: Matrix<'_>, precision: Precision) -> Self {
        let data = match precision {
            Precision::Bf16 => rounded(b),
            Precision::F32 => {
                let row = |i: usize| (0..b.cols).map(move |j| b.data[i * b.row_stride + j * b.col_stride]);
                (0..b.rows).flat_map(row).collect()
            }
        };
        Packed { data, rows: b.rows, cols: b.cols }
    }
}

#[allow(dead_code)]
/// [`multiply`] with a packed right-hand side, at the precision for which it was packed.
///
/// # Safety
/// As [`multiply`].
pub(crate) unsafe fn multiply_packed(
    c: *mut f32,
    c_stride: usize,
    a: Matrix<'_>,
    b: &Packed,
    precision: Precision,
    accumulate: bool,
    threads: Threads,
) {
    let b = Matrix::new(&b.data, b.rows, b.cols);
    // SAFETY: the caller's promise. Rounding b again changes nothing.
    unsafe { multiply(c, c_stride, a, b, accumulate, precision, threads) }
}

/// `a * b`, row-major, on all threads.
///
/// # Panics
/// If the inner sizes differ.
pub fn product(a: Matrix<'_>, b: Matrix<'_>, precision: Precision) -> Vec<f32> {
    let n = a.rows * b.cols;
    let mut c = Vec::with_capacity(n);
    // SAFETY: c has room for n values and is owned here; the product writes all of them.
    unsafe {
        multiply(c.as_mut_ptr(), b.cols, a, b, false, precision, Threads::All);
        c.set_len(n);
    }
    c
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

/// Below this many rows a product with a weight is a set of dot products: packing the weight would cost more than the
/// arithmetic. Each row's result is then the same whatever other rows are in the batch.
pub(crate) const FEW_ROWS: usize = 16;

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
    assert_eq!(x.len(), rows * inp, "x of {rows} x {inp}");
    assert_eq!(weight.len(), out * inp, "weight of {out} x {inp}");
    if rows < FEW_ROWS && precision == Precision::F32 {
        return few_rows(Level::best(), x, rows, weight, out, inp, None, bias);
    }
    let (a, b) = (Matrix::new(x, rows, inp), Matrix::new(weight, out, inp).transposed());
    match bias {
        None => product(a, b, precision),
        Some(bias) => {
            assert_eq!(bias.len(), out, "bias of {out}");
            let mut y = Vec::with_capacity(rows * out);
            (0..rows).for_each(|_| y.extend_from_slice(bias));
            add_product(&mut y, a, b, precision);
            y
        }
    }
}

/// Gradient of [`linear`] to x: `g * weight` for g (rows, out).
pub fn linear_grad_x(g: &[f32], rows: usize, weight: &[f32], out: usize, inp: usize, precision: Precision) -> Vec<f32> {
    product(Matrix::new(g, rows, out), Matrix::new(weight, out, inp), precision)
}

/// Gradient of [`linear`] to the weight: `g^T * x`.
pub fn linear_grad_weight(g: &[f32], x: &[f32], rows: usize, out: usize, inp: usize, precision: Precision) -> Vec<f32> {
    product(Matrix::new(g, rows, out).transposed(), Matrix::new(x, rows, inp), precision)
}

/// Sum of each column of g (rows, cols), the rows added in order: gradient of a bias.
pub fn column_sums(g: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    assert_eq!(g.len(), rows * cols, "matrix of {rows} x {cols}");
    const BLOCK: usize = 64;
    let mut sums = vec![0f32; cols];
    sums.par_chunks_mut(BLOCK).enumerate().for_each(|(b, sums)| {
        for row in g.chunks_exact(cols) {
            for (sum, x) in sums.iter_mut().zip(&row[b * BLOCK..]) {
                *sum += x;
            }
        }
    });
    sums
}

/// An element of a stored weight.
pub(crate) trait Stored: Copy + Sync {
    fn value(self) -> f32;
}

impl Stored for f32 {
    #[inline(always)]
    fn value(self) -> f32 {
        self
    }
}

impl Stored for i8 {
    #[inline(always)]
    fn value(self) -> f32 {
        f32::from(self)
    }
}

/// Output channels of one parallel task.
const CHANNELS: usize = 32;
/// Multiplications below which a second thread costs more than it brings: waking the pool takes 5 to 20 microseconds.
const WORTH_THREADS: usize = 1 << 20;

/// `x * (weight * scales)^T + bias` by dot products, for few rows.
pub(crate) fn few_rows<W: Stored>(
    level: Level,
    x: &[f32],
    rows: usize,
    weight: &[W],
    out: usize,
    inp: usize,
    scales: Option<&[f32]>,
    bias: Option<&[f32]>,
) -> Vec<f32>
where
    Tile: RunTile<W>,
{
    assert!(scales.is_none_or(|s| s.len() == out) && bias.is_none_or(|b| b.len() == out), "scales and bias of {out}");
    let mut y = vec![0f32; rows * out];
    let shared = Shared::new(&mut y);
    let block = |b: usize| {
        let channels = b * CHANNELS..((b + 1) * CHANNELS).min(out);
        for first in (0..rows).step_by(4) {
            let count = (rows - first).min(4);
            let x = &x[first * inp..(first + count) * inp];
            for o in channels.clone().step_by(4) {
                let width = (channels.end - o).min(4);
                let mut dots = [[0f32; 4]; 4];
                Tile::run(level, x, count, &weight[o * inp..(o + width) * inp], width, inp, &mut dots);
                for (r, dots) in dots[..count].iter().enumerate() {
                    for (c, dot) in dots[..width].iter().enumerate() {
                        let scaled = scales.map_or(*dot, |s| dot * s[o + c]);
                        // SAFETY: (row, channel) pairs of different blocks are disjoint, and inside y.
                        unsafe { shared.write((first + r) * out + o + c, bias.map_or(scaled, |b| scaled + b[o + c])) };
                    }
                }
            }
        }
    };
    let blocks = out.div_ceil(CHANNELS);
    if rows * out * inp < WORTH_THREADS {
        (0..blocks).for_each(block);
    } else {
        (0..blocks).into_par_iter().for_each(block);
    }
    y
}

/// Names the compiled tile functions by the weight's element type.
pub(crate) struct Tile;

pub(crate) trait RunTile<W> {
    /// Dot products of `count` rows of x with `width` rows of w, at most 4 each.
    fn run(level: Level, x: &[f32], count: usize, w: &[W], width: usize, inp: usize, dots: &mut [[f32; 4]; 4]);
}

impl RunTile<f32> for Tile {
    fn run(level: Level, x: &[f32], count: usize, w: &[f32], width: usize, inp: usize, dots: &mut [[f32; 4]; 4]) {
        tile_f32(level, x, count, w, width, inp, dots);
    }
}

impl RunTile<i8> for Tile {
    fn run(level: Level, x: &[f32], count: usize, w: &[i8], width: usize, inp: usize, dots: &mut [[f32; 4]; 4]) {
        tile_i8(level, x, count, w, width, inp, dots);
    }
}

multiversion! {
    fn tile_f32(x: &[f32], count: usize, w: &[f32], width: usize, inp: usize, dots: &mut [[f32; 4]; 4]) = tile_f32_body;
    fn tile_i8(x: &[f32], count: usize, w: &[i8], width: usize, inp: usize, dots: &mut [[f32; 4]; 4]) = tile_i8_body;
}

#[inline(always)]
fn tile_f32_body<const FMA: bool>(
    x: &[f32],
    count: usize,
    w: &[f32],
    width: usize,
    inp: usize,
    dots: &mut [[f32; 4]; 4],
) {
    tile::<FMA, f32>(x, count, w, width, inp, dots);
}

#[inline(always)]
fn tile_i8_body<const FMA: bool>(
    x: &[f32],
    count: usize,
    w: &[i8],
    width: usize,
    inp: usize,
    dots: &mut [[f32; 4]; 4],
) {
    tile::<FMA, i8>(x, count, w, width, inp, dots);
}

/// Rows of x are taken in pairs against pairs of weights, so that each load serves two products; a single row runs
/// against four weights. Every dot product has the same order of additions in all of these forms.
#[inline(always)]
fn tile<const FMA: bool, W: Stored>(
    x: &[f32],
    count: usize,
    w: &[W],
    width: usize,
    inp: usize,
    dots: &mut [[f32; 4]; 4],
) {
    let mut r = 0;
    while r < count {
        let pair = r + 2 <= count;
        let x0 = &x[r * inp..(r + 1) * inp];
        let mut o = 0;
        while o < width {
            let w0 = &w[o * inp..];
            if pair && o + 2 <= width {
                let d = dots_of::<FMA, W, 2, 2>([x0, &x[(r + 1) * inp..]], [w0, &w[(o + 1) * inp..]], inp);
                (dots[r][o], dots[r][o + 1], dots[r + 1][o], dots[r + 1][o + 1]) = (d[0][0], d[0][1], d[1][0], d[1][1]);
                o += 2;
            } else if pair {
                let d = dots_of::<FMA, W, 2, 1>([x0, &x[(r + 1) * inp..]], [w0], inp);
                (dots[r][o], dots[r + 1][o]) = (d[0][0], d[1][0]);
                o += 1;
            } else if o + 4 <= width {
                let d = dots_of::<FMA, W, 1, 4>(
                    [x0],
                    [w0, &w[(o + 1) * inp..], &w[(o + 2) * inp..], &w[(o + 3) * inp..]],
                    inp,
                );
                dots[r][o..o + 4].copy_from_slice(&d[0]);
                o += 4;
            } else {
                dots[r][o] = dots_of::<FMA, W, 1, 1>([x0], [w0], inp)[0][0];
                o += 1;
            }
        }
        r += if pair { 2 } else { 1 };
    }
}

#[inline(always)]
fn dots_of<const FMA: bool, W: Stored, const R: usize, const O: usize>(
    x: [&[f32]; R],
    w: [&[W]; O],
    n: usize,
) -> [[f32; O]; R] {
    let (x, w) = (x.map(|x| &x[..n]), w.map(|w| &w[..n]));
    let mut acc = [[[0f32; LANES]; O]; R];
    let mut odd = [[[0f32; LANES]; O]; R];
    let mut i = 0;
    while i + 2 * LANES <= n {
        accumulate::<FMA, W, R, O>(&x, &w, i, &mut acc);
        accumulate::<FMA, W, R, O>(&x, &w, i + LANES, &mut odd);
        i += 2 * LANES;
    }
    if i + LANES <= n {
        accumulate::<FMA, W, R, O>(&x, &w, i, &mut acc);
        i += LANES;
    }
    let mut dots = [[0f32; O]; R];
    for r in 0..R {
        for o in 0..O {
            let total: [f32; LANES] = std::array::from_fn(|l| acc[r][o][l] + odd[r][o][l]);
            // The remainder is summed apart: writing it into single lanes would force the accumulators out of registers.
            let tail = (i..n).fold(0f32, |sum, j| fma::<FMA>(x[r][j], w[o][j].value(), sum));
            dots[r][o] = sum_lanes(total) + tail;
        }
    }
    dots
}

#[inline(always)]
fn accumulate<const FMA: bool, W: Stored, const R: usize, const O: usize>(
    x: &[&[f32]; R],
    w: &[&[W]; O],
    i: usize,
    acc: &mut [[[f32; LANES]; O]; R],
) {
    for o in 0..O {
        let mut weights = [0f32; LANES];
        for (weight, w) in weights.iter_mut().zip(&w[o][i..i + LANES]) {
            *weight = w.value();
        }
        for r in 0..R {
            let x = &x[r][i..i + LANES];
            for l in 0..LANES {
                acc[r][o][l] = fma::<FMA>(x[l], weights[l], acc[r][o][l]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, matrix};
    use proptest::prelude::*;

    /// `a (m, k) * b (k, n)` in f64.
    fn reference(
        a: impl Fn(usize, usize) -> f32,
        b: impl Fn(usize, usize) -> f32,
        m: usize,
        n: usize,
        k: usize,
    ) -> Vec<f64> {
        let mut c = vec![0f64; m * n];
        for i in 0..m {
            for j in 0..n {
                c[i * n + j] = (0..k).map(|p| f64::from(a(i, p)) * f64::from(b(p, j))).sum();
            }
        }
        c
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn linear_and_its_gradients_are_the_products(rows in 1usize..40, inp in 1usize..70, out in 1usize..70, seed: u64) {
            let (x, w, g, bias) = (matrix(rows * inp, seed), matrix(out * inp, seed ^ 1), matrix(rows * out, seed ^ 2), matrix(out, seed ^ 3));
            let (xa, wa, ga) = (|r: usize, i: usize| x[r * inp + i], |o: usize, i: usize| w[o * inp + i], |r: usize, o: usize| g[r * out + o]);
            assert_close(&linear(&x, rows, &w, out, inp, None, Precision::F32), &reference(xa, |i, o| wa(o, i), rows, out, inp), 1e-5);
            let mut biased = reference(xa, |i, o| wa(o, i), rows, out, inp);
            for (i, y) in biased.iter_mut().enumerate() { *y += f64::from(bias[i % out]); }
            assert_close(&linear(&x, rows, &w, out, inp, Some(&bias), Precision::F32), &biased, 1e-5);
            assert_close(&linear_grad_x(&g, rows, &w, out, inp, Precision::F32), &reference(ga, wa, rows, inp, out), 1e-5);
            assert_close(&linear_grad_weight(&g, &x, rows, out, inp, Precision::F32), &reference(|o, r| ga(r, o), xa, out, inp, rows), 1e-5);
            assert_close(&column_sums(&g, rows, out), &reference(|_, _| 1.0, ga, 1, out, rows), 1e-5);
        }

        #[test]
        fn few_rows_agree_at_every_level_and_in_every_batch(rows in 1usize..16, inp in 1usize..150, out in 1usize..70, seed: u64) {
            let (x, w) = (matrix(rows * inp, seed), matrix(out * inp, seed ^ 1));
            let want = reference(|r, i| x[r * inp + i], |i, o| w[o * inp + i], rows, out, inp);
            for level in Level::available() {
                let y = few_rows(level, &x, rows, &w, out, inp, None, None);
                assert_close(&y, &want, 1e-5);
                let alone = few_rows(level, &x[..inp], 1, &w, out, inp, None, None);
                prop_assert_eq!(&y[..out], &alone[..], "a row's result must not depend on its company");
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let (rows, inp, out) = (257, 600, 131);
        let (x, w) = (matrix(rows * inp, 5), matrix(out * inp, 6));
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                (
                    linear(&x, rows, &w, out, inp, None, Precision::F32),
                    linear(&x[..3 * inp], 3, &w, out, inp, None, Precision::F32),
                )
            })
        };
        let one = with(1);
        for threads in 2..5 {
            assert!(with(threads) == one, "{threads} threads");
        }
    }
}
