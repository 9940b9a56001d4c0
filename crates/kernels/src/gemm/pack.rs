//! Packing: copies of the operands in the order in which a micro-kernel reads them.
//!
//! A *panel* holds a few rows of the left operand, or columns of the right one (its *lanes*), step after step of the
//! inner dimension: per step one word of 32 bits for each lane, and zeros up to the panel's width. A word is an f32, or
//! two bfloat16 that follow each other in the inner dimension, the first in the low half.

use super::kernel::TILE_STRIDE;
use crate::values::{bf16_bits, short, wide};
use half::bf16;

/// Lanes of an operand over a stretch of the inner dimension: value `p` of lane `l` lies at
/// `start + l * lane_stride + p * depth_stride`. One of the strides is 1, or there is only one index along the other.
#[derive(Clone, Copy)]
pub(super) struct Lanes<T> {
    pub start: *const T,
    pub lane_stride: usize,
    pub depth_stride: usize,
    pub lanes: usize,
    pub depth: usize,
}

/// Where panels go.
#[derive(Clone, Copy)]
pub(super) struct Panels {
    pub start: *mut u32,
    /// Words from one panel to the next.
    pub stride: usize,
    /// Lanes taken up by each panel (the last may have fewer).
    pub lanes: usize,
    /// Words per step.
    pub width: usize,
}

/// Rounds to bfloat16, to nearest with ties to even; NaN stays NaN.
#[inline(always)]
pub(super) fn round_to_bf16(x: f32) -> f32 {
    f32::from_bits(bf16_bits(x) << 16)
}

/// # Safety
/// See [`super::kernel::RunPack`].
pub(super) unsafe fn portable<const ROUND: bool>(from: &Lanes<f32>, to: &Panels) {
    // SAFETY: the caller's promise.
    unsafe { one_by_one(from, to, |x| if ROUND { round_to_bf16(x) } else { x }) }
}

/// Panels of f32 from bfloat16.
///
/// # Safety
/// See [`super::kernel::RunPack`].
pub(super) unsafe fn widened(from: &Lanes<bf16>, to: &Panels) {
    // SAFETY: the caller's promise.
    unsafe { one_by_one(from, to, wide) }
}

/// # Safety
/// See [`super::kernel::RunPack`].
#[inline(always)]
pub(super) unsafe fn one_by_one<T: Copy>(from: &Lanes<T>, to: &Panels, value: impl Fn(T) -> f32) {
    for first in (0..from.lanes).step_by(to.lanes) {
        let lanes = to.lanes.min(from.lanes - first);
        // SAFETY: the caller vouches for panel `first / to.lanes` and for the lanes that go there.
        unsafe {
            let panel = to.start.add(first / to.lanes * to.stride).cast::<f32>();
            let source = from.start.add(first * from.lane_stride);
            for p in 0..from.depth {
                let step = panel.add(p * to.width);
                for l in 0..lanes {
                    let x = *source.add(l * from.lane_stride + p * from.depth_stride);
                    *step.add(l) = value(x);
                }
                for l in lanes..to.width {
                    *step.add(l) = 0.0;
                }
            }
        }
    }
}

/// # Safety
/// See [`super::kernel::RunStore`].
#[inline(always)]
pub(super) unsafe fn store_rows(from: *const f32, rows: usize, cols: usize, to: *mut bf16, stride: usize) {
    for i in 0..rows {
        for j in 0..cols {
            // SAFETY: the caller vouches for the tile and for its destination.
            unsafe { *to.add(i * stride + j) = short(*from.add(i * TILE_STRIDE + j)) };
        }
    }
}
