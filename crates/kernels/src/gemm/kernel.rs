//! What a micro-kernel is, and which one serves a level and a precision.

use super::{micro_portable, pack};
use crate::cpu::Level;
use crate::precision::Precision;
use half::bf16;

/// One tile of the result, `rows x cols`: what a micro-kernel computes over one block of the inner dimension.
///
/// `c = a * b + bias + add`: the products are summed in registers over all `steps`, in order, starting from `bias`;
/// `add` comes last.
pub(super) struct Tile {
    /// Packed rows: per step, [`Kernel::a_width`] words. For a [`Kernel::direct`] tile the first of rows as they lie.
    pub a: *const u32,
    /// Bytes from row to row for a [`Kernel::direct`] tile.
    pub a_row: usize,
    /// Packed columns: per step, [`Kernel::cols`] words.
    pub b: *const u32,
    pub steps: usize,
    pub c: *mut f32,
    pub c_stride: usize,
    /// Columns of `c` to write, 1 to [`Kernel::cols`].
    pub cols: usize,
    /// `cols` values, or null for zeros.
    pub bias: *const f32,
    /// As many rows and columns as the tile has, or null for zeros. May be `c` itself.
    pub add: *const f32,
    pub add_stride: usize,
}

/// Computes one tile.
///
/// # Safety
/// The CPU must have the kernel's instructions, and every pointer of the tile must be valid for what it says.
pub(super) type RunTile = unsafe fn(&Tile);

/// Packs rows of the left operand or columns of the right one.
///
/// # Safety
/// The CPU must have the kernel's instructions; every lane must be readable, and the panels writable.
pub(super) type RunPack<T> = unsafe fn(&pack::Lanes<T>, &pack::Panels);

/// Rounds a finished tile, rows of [`TILE_STRIDE`] values at `from`, into rows of `cols` values, `stride` apart, at `to`.
///
/// # Safety
/// The CPU must have the kernel's instructions; the tile must be readable and its destination writable.
pub(super) type RunStore = unsafe fn(from: *const f32, rows: usize, cols: usize, to: *mut bf16, stride: usize);

/// Values from row to row of a tile that is not computed in its place: no kernel has wider tiles.
pub(super) const TILE_STRIDE: usize = 32;
/// Values of such a tile.
pub(super) const TILE: usize = 16 * TILE_STRIDE;

/// A micro-kernel with the packing that it reads.
pub(super) struct Kernel {
    pub name: &'static str,
    /// Columns of a full tile, and words per step of a packed right-hand panel.
    pub cols: usize,
    /// Words per step of a packed left-hand panel; at least the number of rows.
    pub a_width: usize,
    /// Values of the inner dimension in one word: 2 for pairs of bfloat16.
    pub values_per_step: usize,
    /// By number of rows, from 1.
    pub tiles: &'static [RunTile],
    /// The same where the left operand's rows are read as they lie, if there are such tiles: words that follow each other
    /// are steps of one row.
    pub direct: Option<&'static [RunTile]>,
    pub pack: RunPack<f32>,
    /// The same words from values that are bfloat16 already.
    pub pack_bf16: RunPack<bf16>,
    pub store: RunStore,
}

impl Kernel {
    /// Rows of a full tile.
    pub fn rows(&self) -> usize {
        self.tiles.len()
    }

    /// The kernel for `level` at `precision`. Without the instruction for products of bfloat16, inputs are rounded
    /// while packing and multiplied as f32.
    pub fn of(level: Level, precision: Precision) -> &'static Kernel {
        #[cfg(target_arch = "x86_64")]
        {
            use super::{micro_avx2, micro_avx512};
            if level.is_avx512() {
                return match precision {
                    Precision::F32 => &micro_avx512::F32,
                    Precision::Bf16 if level.has_bf16_products() => &micro_avx512::BF16,
                    Precision::Bf16 => &micro_avx512::ROUNDED,
                };
            }
            if level.is_avx2() {
                return match precision {
                    Precision::F32 => &micro_avx2::F32,
                    Precision::Bf16 => &micro_avx2::ROUNDED,
                };
            }
        }
        let _ = level;
        match precision {
            Precision::F32 => &micro_portable::F32,
            Precision::Bf16 => &micro_portable::ROUNDED,
        }
    }

    /// Every kernel that this machine can run at `precision`.
    #[cfg(test)]
    pub fn available(precision: Precision) -> Vec<&'static Kernel> {
        let mut kernels: Vec<_> = Level::available().into_iter().map(|level| Kernel::of(level, precision)).collect();
        #[cfg(target_arch = "x86_64")]
        if precision == Precision::Bf16 && Level::available().into_iter().any(Level::has_bf16_products) {
            kernels.push(&super::micro_avx512::ROUNDED);
        }
        kernels
    }
}
