//! Tiles of 4 x 8 in plain Rust, for machines without AVX2.

use super::kernel::{Kernel, Tile};
use super::pack;

const COLS: usize = 8;

pub(super) static F32: Kernel = Kernel {
    name: "portable f32",
    cols: COLS,
    a_width: 4,
    values_per_step: 1,
    direct: None,
    tiles: &[tile::<1>, tile::<2>, tile::<3>, tile::<4>],
    pack: pack::portable::<false>,
    pack_bf16: pack::widened,
    store: pack::store_rows,
};

pub(super) static ROUNDED: Kernel = Kernel { name: "portable rounded", pack: pack::portable::<true>, ..F32 };

/// # Safety
/// See [`super::kernel::RunTile`].
unsafe fn tile<const ROWS: usize>(t: &Tile) {
    let mut sums = [[0f32; COLS]; ROWS];
    // SAFETY: the caller vouches for the panels, `steps` long.
    unsafe {
        if !t.bias.is_null() {
            for j in 0..t.cols {
                let bias = *t.bias.add(j);
                sums.iter_mut().for_each(|row| row[j] = bias);
            }
        }
        let (mut a, mut b) = (t.a.cast::<f32>(), t.b.cast::<f32>());
        for _ in 0..t.steps {
            let row = b.cast::<[f32; COLS]>().read();
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = *a.add(i);
                for (sum, y) in sums.iter_mut().zip(row) {
                    *sum += x * y;
                }
            }
            a = a.add(4);
            b = b.add(COLS);
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        // SAFETY: as above, for row i of c and of the addend.
        unsafe { finish_row(t, i, sums) };
    }
}

/// Writes row `i` of a tile, `t.cols` of the sums, after adding the addend.
///
/// # Safety
/// Row `i` must lie in `t.c` and, unless null, in `t.add`.
#[inline(always)]
pub(super) unsafe fn finish_row(t: &Tile, i: usize, sums: &[f32]) {
    // SAFETY: the caller's promise.
    unsafe {
        let c = t.c.add(i * t.c_stride);
        if t.add.is_null() {
            for (j, sum) in sums[..t.cols].iter().enumerate() {
                *c.add(j) = *sum;
            }
        } else {
            let add = t.add.add(i * t.add_stride);
            for (j, sum) in sums[..t.cols].iter().enumerate() {
                *c.add(j) = *sum + *add.add(j);
            }
        }
    }
}
