//! Resizing by bicubic interpolation, to the bit as Pillow does it: when a picture becomes smaller the filter widens, so that
//! every pixel has a say; coefficients have 22 bits, and what lies between the two passes is rounded to bytes.

/// Bits of a coefficient after the point.
const PRECISION: u32 = 32 - 8 - 2;
const SUPPORT: f64 = 2.0;

/// Keys' cubic with a = -0.5 (1981, "Cubic Convolution Interpolation for Digital Image Processing").
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// The input that an output pixel is made of: its first place and the weight of each.
struct Window {
    first: usize,
    weights: Vec<i32>,
}

impl Window {
    /// Of pixel `at` of `to`, from `from` pixels.
    fn new(at: usize, from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let filter_scale = scale.max(1.0);
        let support = SUPPORT * filter_scale;
        let center = (at as f64 + 0.5) * scale;
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(from);
        let weights = (first..end).map(|x| bicubic((x as f64 - center + 0.5) / filter_scale));
        let weights: Vec<f64> = weights.collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: f64| {
            let scaled = if sum == 0.0 { weight } else { weight / sum } * f64::from(1 << PRECISION);
            (scaled + if scaled < 0.0 { -0.5 } else { 0.5 }) as i32
        };
        Window { first, weights: weights.into_iter().map(fixed).collect() }
    }

    /// `pixel`: of a place of the input.
    fn apply(&self, pixel: impl Fn(usize) -> u8) -> u8 {
        let half = 1 << (PRECISION - 1);
        let products = self.weights.iter().enumerate().map(|(i, weight)| i32::from(pixel(self.first + i)) * weight);
        (products.fold(half, |sum, product| sum + product) >> PRECISION).clamp(0, 255) as u8
    }
}

/// What is asked for of one side: the pixels of a range of `to`.
#[derive(Clone, Copy)]
pub(super) struct Side {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) first: usize,
    pub(super) count: usize,
}

impl Side {
    fn windows(&self) -> Vec<Window> {
        (self.first..self.first + self.count).map(|at| Window::new(at, self.from, self.to)).collect()
    }
}

/// A part of a resized picture, from (height, width, channels) to (height, width, channels). Neither side is empty.
pub(super) fn resized(pixels: &[u8], channels: usize, height: Side, width: Side) -> Vec<u8> {
    // Bytes lie between the passes, so their order shows. Since version 13 Pillow begins with columns where that saves most.
    let saved = |side: Side| side.from as i64 - side.to as i64;
    if saved(height) > 0 && saved(height) > 2 * saved(width) {
        return across(&down(pixels, width.from * channels, height), channels, width);
    }
    down(&across(pixels, channels, width), width.count * channels, height)
}

/// Every row on its own.
fn across(pixels: &[u8], channels: usize, width: Side) -> Vec<u8> {
    let rows = pixels.chunks_exact(width.from * channels);
    if width.from == width.to {
        let kept = width.first * channels..(width.first + width.count) * channels;
        return rows.flat_map(|row| row[kept.clone()].iter().copied()).collect();
    }
    let windows = width.windows();
    let mut resized = Vec::with_capacity(rows.len() * width.count * channels);
    for row in rows {
        for window in &windows {
            resized.extend((0..channels).map(|c| window.apply(|x| row[x * channels + c])));
        }
    }
    resized
}

/// Every column of rows of so many bytes on its own.
fn down(pixels: &[u8], row: usize, height: Side) -> Vec<u8> {
    if height.from == height.to {
        return pixels[height.first * row..(height.first + height.count) * row].to_vec();
    }
    let mut resized = Vec::with_capacity(height.count * row);
    for window in height.windows() {
        resized.extend((0..row).map(|x| window.apply(|y| pixels[y * row + x])));
    }
    resized
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_stay_within_the_picture() {
        for (from, to) in [(1, 1), (1, 9), (7, 3), (3, 7), (1000, 13), (13, 1000), (5, 1)] {
            for at in 0..to {
                let window = Window::new(at, from, to);
                let sum: i64 = window.weights.iter().map(|w| i64::from(*w)).sum();
                assert!((sum - (1 << PRECISION)).abs() <= window.weights.len() as i64, "{from} to {to}: {sum}");
                assert!(!window.weights.is_empty() && window.first + window.weights.len() <= from);
            }
        }
    }

    #[test]
    fn a_part_is_that_of_the_whole() {
        let pixels: Vec<u8> = (0..9 * 7 * 3).map(|i| (i * i * 7 % 251) as u8).collect();
        let whole = |from, to| Side { from, to, first: 0, count: to };
        let all = resized(&pixels, 3, whole(9, 12), whole(7, 5));
        let part = resized(
            &pixels,
            3,
            Side { from: 9, to: 12, first: 4, count: 3 },
            Side { from: 7, to: 5, first: 1, count: 2 },
        );
        let want: Vec<u8> = (4..7).flat_map(|y| all[(y * 5 + 1) * 3..(y * 5 + 3) * 3].to_vec()).collect();
        assert_eq!(part, want);
        assert_eq!(resized(&pixels, 3, whole(9, 9), whole(7, 7)), pixels);
    }
}
