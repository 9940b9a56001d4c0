//! Products of a handful of rows with a weight (decoding): dot products of rows, without packing.
//!
//! Packing the weight would cost more than the arithmetic, which runs at the speed of memory anyway.

use super::pack::round_to_bf16;
use crate::cpu::Level;
use crate::math::{LANES, Shared, fma, sum_lanes};
use rayon::prelude::*;

/// Below this many rows a product with a weight is a set of dot products: packing the weight would cost more than the
/// arithmetic. Each row's result is then the same whatever other rows are in the batch.
pub(crate) const FEW_ROWS: usize = 16;

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

/// An f32 that counts as what it rounds to in bfloat16.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Rounded(f32);

impl Stored for Rounded {
    #[inline(always)]
    fn value(self) -> f32 {
        round_to_bf16(self.0)
    }
}

/// `x * weight^T + bias` for few rows, with both sides rounded to bfloat16.
pub(crate) fn few_rows_rounded(
    level: Level,
    x: &[f32],
    rows: usize,
    weight: &[f32],
    out: usize,
    inp: usize,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let x: Vec<f32> = x.iter().map(|x| round_to_bf16(*x)).collect();
    // SAFETY: `Rounded` is an f32 and nothing else.
    let weight = unsafe { std::slice::from_raw_parts(weight.as_ptr().cast::<Rounded>(), weight.len()) };
    few_rows(level, &x, rows, weight, out, inp, None, bias)
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

impl RunTile<Rounded> for Tile {
    fn run(level: Level, x: &[f32], count: usize, w: &[Rounded], width: usize, inp: usize, dots: &mut [[f32; 4]; 4]) {
        tile_rounded(level, x, count, w, width, inp, dots);
    }
}

impl RunTile<i8> for Tile {
    fn run(level: Level, x: &[f32], count: usize, w: &[i8], width: usize, inp: usize, dots: &mut [[f32; 4]; 4]) {
        tile_i8(level, x, count, w, width, inp, dots);
    }
}

multiversion! {
    fn tile_f32(x: &[f32], count: usize, w: &[f32], width: usize, inp: usize, dots: &mut [[f32; 4]; 4]) = tile_f32_body;
    fn tile_rounded(x: &[f32], count: usize, w: &[Rounded], width: usize, inp: usize, dots: &mut [[f32; 4]; 4]) = tile_rounded_body;
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
fn tile_rounded_body<const FMA: bool>(
    x: &[f32],
    count: usize,
    w: &[Rounded],
    width: usize,
    inp: usize,
    dots: &mut [[f32; 4]; 4],
) {
    tile::<FMA, Rounded>(x, count, w, width, inp, dots);
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
