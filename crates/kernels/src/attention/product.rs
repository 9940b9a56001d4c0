//! The small products of which attention consists, on operands of its own scratch memory.

use super::QUERIES;
use crate::vector::{Form, Products, Vector};

/// Sizes of `c (rows, cols) += a (rows, inner) * b (inner, cols)`; rows and cols are multiples of 16. An element of `a`
/// or `b` is a value, or a pair of bfloat16 along the inner dimension.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Elements, so half as many where they are pairs.
    pub(super) inner: usize,
    /// Elements of a between rows, and between inner positions: one of the two is 1.
    pub(super) a_row: usize,
    pub(super) a_inner: usize,
    /// Elements between rows of b.
    pub(super) b_row: usize,
    /// Values between rows of c.
    pub(super) c_row: usize,
}

impl Product {
    /// Scores of a piece: (keys, head_dim) * (head_dim, queries). Rows of keys are `width` values long, `unit` of which
    /// are an element.
    pub(super) fn scores(keys: usize, queries: usize, head_dim: usize, width: usize, unit: usize) -> Self {
        let (inner, a_row) = (head_dim.div_ceil(unit), width / unit);
        Product { rows: keys, cols: queries, inner, a_row, a_inner: 1, b_row: QUERIES, c_row: QUERIES }
    }

    /// What a piece gives its queries: (queries, keys) * (keys, head_dim), with the left side as [`Self::scores`] lie.
    pub(super) fn by_query(keys: usize, queries: usize, width: usize, unit: usize) -> Self {
        let inner = keys / unit;
        Product { rows: queries, cols: width, inner, a_row: 1, a_inner: QUERIES, b_row: width, c_row: width }
    }
}

/// What a product does with what is in c.
#[derive(Clone, Copy)]
pub(super) enum Start<'a> {
    Overwrite,
    Add,
    /// Multiplies row r by the factor r and adds to that.
    Scale(&'a [f32]),
}

/// Computes the product.
pub(super) fn multiply(form: Form, p: &Product, a: &[f32], b: &[f32], c: &mut [f32], start: Start<'_>) {
    let Product { rows, cols, inner, a_row, a_inner, b_row, c_row } = *p;
    assert!(rows.is_multiple_of(16) && cols.is_multiple_of(16) && (a_row == 1 || a_inner == 1));
    if rows == 0 || cols == 0 {
        return;
    }
    let last = inner.saturating_sub(1);
    assert!((rows - 1) * a_row + last * a_inner < a.len() && last * b_row + cols <= b.len());
    assert!((rows - 1) * c_row + cols <= c.len());
    let factors = match start {
        Start::Scale(factors) => {
            assert!(factors.len() >= rows);
            factors.as_ptr()
        }
        _ => std::ptr::null(),
    };
    run(form, p, a.as_ptr(), b.as_ptr(), c.as_mut_ptr(), !matches!(start, Start::Overwrite), factors);
}

forms! {
    fn run(p: &Product, a: *const f32, b: *const f32, c: *mut f32, add: bool, factors: *const f32) = product_body;
}

/// Called by [`multiply`] alone, which has checked that all is inside.
#[inline(always)]
fn product_body<P: Products>(p: &Product, a: *const f32, b: *const f32, c: *mut f32, add: bool, factors: *const f32) {
    // SAFETY: checked in `multiply`, for whole tiles: rows and columns are multiples of 16.
    unsafe {
        if P::V::LANES == 16 {
            if p.a_row == 1 {
                panels::<P, 8, true>(p, a, b, c, add, factors);
            } else {
                panels::<P, 8, false>(p, a, b, c, add, factors);
            }
        } else if p.a_row == 1 {
            panels::<P, 4, true>(p, a, b, c, add, factors);
        } else {
            panels::<P, 4, false>(p, a, b, c, add, factors);
        }
    }
}

#[inline(always)]
unsafe fn panels<P: Products, const R: usize, const DOWN: bool>(
    p: &Product,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    add: bool,
    factors: *const f32,
) {
    let lanes = P::V::LANES;
    let mut col = 0;
    while col < p.cols {
        let wide = col + 2 * lanes <= p.cols;
        for row in (0..p.rows).step_by(R) {
            let a = a.wrapping_add(row * p.a_row);
            let (b, c) = (b.wrapping_add(col), c.wrapping_add(row * p.c_row + col));
            let factors = if factors.is_null() { factors } else { factors.wrapping_add(row) };
            // SAFETY: the caller's promise.
            unsafe {
                if wide {
                    tile::<P, R, 2, DOWN>(p, a, b, c, add, factors);
                } else {
                    tile::<P, R, 1, DOWN>(p, a, b, c, add, factors);
                }
            }
        }
        col += if wide { 2 * lanes } else { lanes };
    }
}

/// R rows by N registers, the sums in registers. `DOWN`: the rows of a are neighbours (a_row is 1), else its inner
/// positions are.
#[inline(always)]
unsafe fn tile<P: Products, const R: usize, const N: usize, const DOWN: bool>(
    p: &Product,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    add: bool,
    factors: *const f32,
) {
    let lanes = P::V::LANES;
    // SAFETY: the caller's promise: the tile lies inside c, and the inner positions inside a and b.
    unsafe {
        let mut acc = [[P::V::splat(0.0); N]; R];
        for i in 0..p.inner {
            let b = b.add(i * p.b_row);
            let mut columns = [P::V::splat(0.0); N];
            for n in 0..N {
                columns[n] = P::V::load(b.add(n * lanes));
            }
            for r in 0..R {
                let a = if DOWN { a.add(i * p.a_inner + r) } else { a.add(r * p.a_row + i) };
                for n in 0..N {
                    acc[r][n] = P::step(acc[r][n], a, columns[n]);
                }
            }
        }
        for r in 0..R {
            for n in 0..N {
                let to = c.add(r * p.c_row + n * lanes);
                let mut sum = acc[r][n];
                if !factors.is_null() {
                    sum = P::V::load(to).mul_add(P::V::splat(*factors.add(r)), sum);
                } else if add {
                    sum = P::V::load(to).add(sum);
                }
                sum.store(to);
            }
        }
    }
}
