//! Rotary position embedding in the `rotate_half` convention; its gradient is the rotation backwards.

use crate::attention::{Heads, Joined};
use crate::cpu::Level;
use crate::math::{Unwritten, as_unwritten, filled, fma};
use crate::values::{ValuesMut, narrow, widen};
use rayon::prelude::*;

/// Positions per task; fewer than this run where they are called.
const POSITIONS: usize = 16;

/// Rotates (batch, heads, time, head_dim) by tables (time, head_dim / 2); the result lies as
/// [`time_major`](crate::attention::time_major). `backwards` turns the other way.
///
/// # Panics
/// If `head_dim` is odd or a slice is shorter than its shape says.
pub fn rotary(x: Heads<'_>, dims: [usize; 4], cos: &[f32], sin: &[f32], backwards: bool) -> Vec<f32> {
    rotary_at(Level::best(), x, dims, cos, sin, backwards)
}

fn rotary_at(level: Level, x: Heads<'_>, dims: [usize; 4], cos: &[f32], sin: &[f32], backwards: bool) -> Vec<f32> {
    let [batch, heads, time, width] = dims;
    let half = width / 2;
    assert!(width == 2 * half && cos.len() == time * half && sin.len() == cos.len(), "tables for {dims:?}");
    let row = heads * width;
    let n = batch * time * row;
    if n == 0 {
        return Vec::new();
    }
    let sign = if backwards { -1.0 } else { 1.0 };
    let data = x.data.widened();
    // SAFETY: the chunks are the (batch, time) rows, and `rotate_row` writes all of each.
    unsafe {
        filled(n, |y| {
            let position = |(i, y): (usize, &mut Unwritten)| {
                let (b, t) = (i / time, i % time);
                let from = &data[b * x.strides[0] + t * x.strides[2]..];
                rotate_row(
                    level,
                    from,
                    x.strides[1],
                    &cos[t * half..(t + 1) * half],
                    &sin[t * half..(t + 1) * half],
                    sign,
                    y,
                );
            };
            if batch * time <= POSITIONS {
                y.chunks_mut(row).enumerate().for_each(position);
            } else {
                y.par_chunks_mut(row).with_min_len(POSITIONS).enumerate().for_each(position);
            }
        })
    }
}

multiversion! {
    fn rotate_row(x: &[f32], head_stride: usize, cos: &[f32], sin: &[f32], sign: f32, y: &mut Unwritten) = rotate_body;
}

/// Rotates the queries and keys of a joined tensor in place, values not, by tables (time, head_dim / 2). `backwards` turns
/// the other way.
///
/// # Panics
/// If `head_dim` is odd or a slice is not as long as its shape says.
pub fn rotary_joined(x: ValuesMut<'_>, joined: &Joined, cos: &[f32], sin: &[f32], backwards: bool) {
    rotary_joined_at(Level::best(), x, joined, cos, sin, backwards);
}

fn rotary_joined_at(level: Level, x: ValuesMut<'_>, joined: &Joined, cos: &[f32], sin: &[f32], backwards: bool) {
    let Joined { time, heads, kv_heads, head_dim, .. } = *joined;
    let half = head_dim / 2;
    assert_eq!(x.len(), joined.len(), "{joined:?}");
    assert!(head_dim == 2 * half && cos.len() == time * half && sin.len() == cos.len(), "tables for {joined:?}");
    if x.is_empty() {
        return;
    }
    let sign = if backwards { -1.0 } else { 1.0 };
    let turned = (heads + kv_heads) * head_dim;
    let turn = |i: usize, row: &mut [f32]| {
        let angles = i % time * half..(i % time + 1) * half;
        turn_row(level, row, &cos[angles.clone()], &sin[angles], sign);
    };
    match x {
        ValuesMut::F32(x) => for_each_row(x, joined.row(), |i, row| turn(i, &mut row[..turned])),
        ValuesMut::Bf16(x) => for_each_row(x, joined.row(), |i, row| {
            let (mut wide, row) = (vec![0f32; turned], &mut row[..turned]);
            widen(level, row, &mut wide);
            turn(i, &mut wide);
            narrow(level, &wide, as_unwritten(row));
        }),
    }
}

/// Calls `f` with the number and the values of each row, on all threads where that pays.
fn for_each_row<T: Send>(x: &mut [T], row: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    if x.len() / row <= POSITIONS {
        x.chunks_mut(row).enumerate().for_each(|(i, x)| f(i, x));
    } else {
        x.par_chunks_mut(row).with_min_len(POSITIONS).enumerate().for_each(|(i, x)| f(i, x));
    }
}

multiversion! {
    fn turn_row(x: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) = turn_body;
}

/// All heads of one position, in place.
#[inline(always)]
fn turn_body<const FMA: bool>(x: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
    let half = cos.len();
    let sin = &sin[..half];
    for x in x.chunks_exact_mut(2 * half) {
        let (first, second) = x.split_at_mut(half);
        for i in 0..half {
            let (s, a, b) = (sin[i] * sign, first[i], second[i]);
            first[i] = fma::<FMA>(a, cos[i], -(b * s));
            second[i] = fma::<FMA>(b, cos[i], a * s);
        }
    }
}

/// All heads of one position. Multiplying the sine by `sign` is exact, so turning back undoes the same angles.
#[inline(always)]
fn rotate_body<const FMA: bool>(x: &[f32], head_stride: usize, cos: &[f32], sin: &[f32], sign: f32, y: &mut Unwritten) {
    let half = cos.len();
    let sin = &sin[..half];
    for (h, y) in y.chunks_exact_mut(2 * half).enumerate() {
        let (first, second) = x[h * head_stride..h * head_stride + 2 * half].split_at(half);
        let (y_first, y_second) = y.split_at_mut(half);
        for i in 0..half {
            let s = sin[i] * sign;
            y_first[i].write(fma::<FMA>(first[i], cos[i], -(second[i] * s)));
            y_second[i].write(fma::<FMA>(second[i], cos[i], first[i] * s));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::time_major;
    use crate::precision::Precision;
    use crate::testing::{assert_close, matrix, to_f64};
    use crate::values::ValueVec;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn rotates_pairs_and_back(batch in 1usize..3, heads in 1usize..4, time in 1usize..40, half in 1usize..20, seed: u64) {
            let width = 2 * half;
            let x = matrix(batch * heads * time * width, seed);
            let angles: Vec<f64> = (0..time * half).map(|i| 0.1 * i as f64).collect();
            let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|a| (a.cos() as f32, a.sin() as f32)).unzip();
            let dims = [batch, heads, time, width];
            // Head-major input, time-major output.
            let view = Heads { data: (&x).into(), strides: [heads * time * width, time * width, width] };
            let [sb, sh, st] = time_major(heads, time, width);
            for level in Level::available() {
                let y = rotary_at(level, view, dims, &cos, &sin, false);
                let mut want = vec![0f64; x.len()];
                for i in 0..batch * heads * time {
                    let (b, h, t) = (i / (heads * time), i / time % heads, i % time);
                    let (from, to) = (i * width, b * sb + h * sh + t * st);
                    for c in 0..half {
                        let (u, v, a) = (f64::from(x[from + c]), f64::from(x[from + half + c]), angles[t * half + c]);
                        want[to + c] = u * a.cos() - v * a.sin();
                        want[to + half + c] = v * a.cos() + u * a.sin();
                    }
                }
                assert_close(&y, &want, 1e-6);
                let back = rotary_at(level, Heads { data: (&y).into(), strides: [sb, sh, st] }, dims, &cos, &sin, true);
                let undone = rotary_at(level, view, dims, &vec![1.0; cos.len()], &vec![0.0; sin.len()], false);
                assert_close(&back, &to_f64(&undone), 1e-6);
            }
        }

        #[test]
        fn joined_tensors_turn_as_their_parts_do(batch in 1usize..3, kv_heads in 1usize..3, group in 1usize..3, time in 1usize..40, half in 1usize..20, backwards: bool, seed: u64) {
            let joined = Joined { batch, time, heads: kv_heads * group, kv_heads, head_dim: 2 * half };
            let x = matrix(joined.len(), seed);
            let angles: Vec<f32> = (0..time * half).map(|i| 0.1 * i as f32).collect();
            let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|a| (a.cos(), a.sin())).unzip();
            for level in Level::available() {
                let mut y = x.clone();
                rotary_joined_at(level, ValuesMut::F32(&mut y), &joined, &cos, &sin, backwards);
                for (part, heads) in [joined.heads, kv_heads].into_iter().enumerate() {
                    let dims = [batch, heads, time, 2 * half];
                    let turned = rotary_at(level, joined.split(&y)[part], dims, &vec![1.0; cos.len()], &vec![0.0; cos.len()], false);
                    prop_assert_eq!(turned, rotary_at(level, joined.split(&x)[part], dims, &cos, &sin, backwards));
                }
                let mut kept = ValueVec::new(x.clone(), Precision::Bf16);
                let mut wide = kept.clone().into_f32();
                rotary_joined_at(level, kept.as_mut(), &joined, &cos, &sin, backwards);
                rotary_joined_at(level, ValuesMut::F32(&mut wide), &joined, &cos, &sin, backwards);
                prop_assert_eq!(kept, ValueVec::new(wide, Precision::Bf16));
                for (y, x) in y.chunks(joined.row()).zip(x.chunks(joined.row())) {
                    let values = (joined.heads + kv_heads) * 2 * half;
                    prop_assert_eq!(&y[values..], &x[values..]);
                }
            }
        }
    }
}
