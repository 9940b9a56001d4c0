//! Packing: copies of the operands in the order in which a micro-kernel reads them.
//!
//! A *panel* holds a few rows of the left operand, or columns of the right one (its *lanes*), step after step of the
//! inner dimension: per step one word of 32 bits for each lane, and zeros up to the panel's width. A word is an f32, or
//! two bfloat16 that follow each other in the inner dimension, the first in the low half.

/// Lanes of an operand over a stretch of the inner dimension: value `p` of lane `l` lies at
/// `start + l * lane_stride + p * depth_stride`. One of the strides is 1, or there is only one index along the other.
#[derive(Clone, Copy)]
pub(super) struct Lanes {
    pub start: *const f32,
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
    let bits = x.to_bits();
    // Adding just under half of the last kept place, or exactly half when that place is odd, rounds to even.
    let up = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1));
    f32::from_bits(if x.is_nan() { bits | 0x40_0000 } else { up } & 0xFFFF_0000)
}

/// # Safety
/// See [`super::kernel::RunPack`].
pub(super) unsafe fn portable<const ROUND: bool>(from: &Lanes, to: &Panels) {
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
                    *step.add(l) = if ROUND { round_to_bf16(x) } else { x };
                }
                for l in lanes..to.width {
                    *step.add(l) = 0.0;
                }
            }
        }
    }
}
