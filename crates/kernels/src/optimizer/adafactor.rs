//! Adafactor.

use super::{CHUNK, sum_squares_at};
use crate::cpu::Level;
use rayon::prelude::*;

/// One Adafactor step (Shazeer and Stern 2018, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost"), in the form
/// of PyTorch's `torch.optim.Adafactor`, whose second moment of a matrix is a row and a column:
///
/// ```text
/// w = step^-0.8
/// R += w (mean over columns of g^2 - R),  C += w (mean over rows of g^2 - C)
/// V = R C / mean(R)                       of a vector: V += w (g^2 - V)
/// u = g / sqrt(V)
/// p = (1 - lr weight_decay) p - alpha u / max(1, rms(u) / clip)
/// alpha = max(eps2, rms(p)) min(lr, 1 / sqrt(step)), or lr where the step is not relative
/// ```
///
/// A tensor of more than two dimensions is a batch of matrices, the last two being theirs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adafactor {
    /// Learning rate of this step: with a relative step the part by which a parameter changes at most.
    pub lr: f64,
    /// Whether steps are a part of the parameter's own root mean square.
    pub relative_step: bool,
    /// How fast the second moment forgets less: its weight is `step^-beta2_decay`.
    pub beta2_decay: f64,
    /// Least second moment (its square) and least mean of R.
    pub eps1: f64,
    /// Least root mean square of a parameter.
    pub eps2: f64,
    /// Greatest root mean square of an update.
    pub clip: f64,
    /// Decoupled decay: each step multiplies the parameter by `1 - lr * weight_decay`.
    pub weight_decay: f64,
    /// Number of this step, counted from 1.
    pub step: u64,
    /// Factor on the gradient before it is used: the clipping factor, 1 for none.
    pub gradient_scale: f64,
}

impl Default for Adafactor {
    fn default() -> Self {
        Adafactor {
            lr: 1e-2,
            relative_step: true,
            beta2_decay: 0.8,
            eps1: f64::from(f32::EPSILON),
            eps2: 1e-3,
            clip: 1.0,
            weight_decay: 0.0,
            step: 1,
            gradient_scale: 1.0,
        }
    }
}

impl Adafactor {
    /// Shapes of the states of a parameter of these sizes: the variance of a vector; else a row's, then a column's.
    pub fn state_dims(dims: &[usize]) -> Vec<Vec<usize>> {
        if dims.len() < 2 {
            return vec![dims.to_vec()];
        }
        let (mut rows, mut columns) = (dims.to_vec(), dims.to_vec());
        rows[dims.len() - 1] = 1;
        columns[dims.len() - 2] = 1;
        vec![rows, columns]
    }

    /// Weight of this step's squares in the second moment.
    pub fn weight(&self) -> f64 {
        (self.step as f64).powf(-self.beta2_decay)
    }

    /// The step's size for a parameter of root mean square `rms`, before the update is clipped.
    pub fn step_size(&self, rms: f64) -> f64 {
        match self.relative_step {
            true => rms.max(self.eps2) * self.lr.min(1.0 / (self.step as f64).sqrt()),
            false => self.lr,
        }
    }
}

/// What a step multiplies by.
#[derive(Clone, Copy)]
struct Factors {
    decay: f32,
    step: f32,
    gradient_scale: f32,
    floor: f32,
}

multiversion! {
    fn squares_row(scale: f32, g: &[f32], columns: &mut [f64]) -> f64 = squares_row_body;
    fn update_squares(h: &Factors, row: f32, g: &[f32], columns: &[f32]) -> f64 = update_squares_body;
    fn step_row(h: &Factors, row: f32, p: &mut [f32], g: &[f32], columns: &[f32]) = step_row_body;
}

/// Adds a row's squares to `columns`, and returns their sum.
#[inline(always)]
fn squares_row_body<const FMA: bool>(scale: f32, g: &[f32], columns: &mut [f64]) -> f64 {
    let mut sum = 0.0;
    for (g, c) in g.iter().zip(columns) {
        let g = f64::from(*g * scale);
        *c += g * g;
        sum += g * g;
    }
    sum
}

#[inline(always)]
fn update(h: &Factors, row: f32, g: f32, column: f32) -> f32 {
    g * h.gradient_scale / (row * column).max(h.floor).sqrt()
}

#[inline(always)]
fn update_squares_body<const FMA: bool>(h: &Factors, row: f32, g: &[f32], columns: &[f32]) -> f64 {
    let mut sum = 0.0;
    for (g, c) in g.iter().zip(columns) {
        let u = f64::from(update(h, row, *g, *c));
        sum += u * u;
    }
    sum
}

#[inline(always)]
fn step_row_body<const FMA: bool>(h: &Factors, row: f32, p: &mut [f32], g: &[f32], columns: &[f32]) {
    for ((p, g), c) in p.iter_mut().zip(g).zip(columns) {
        *p = h.decay * *p - h.step * update(h, row, *g, *c);
    }
}

/// Update a batch of matrices `p` (batch, rows, cols) and their states `row_var` (batch, rows) and `col_var` (batch, cols),
/// 0 at first, in place from gradient `g`.
///
/// # Panics
/// If a slice's length contradicts the shape.
pub fn adafactor_matrix(
    h: &Adafactor,
    p: &mut [f32],
    g: &[f32],
    row_var: &mut [f32],
    col_var: &mut [f32],
    [batch, rows, cols]: [usize; 3],
) {
    matrix_at(Level::best(), h, p, g, row_var, col_var, [batch, rows, cols]);
}

pub(super) fn matrix_at(
    level: Level,
    h: &Adafactor,
    p: &mut [f32],
    g: &[f32],
    row_var: &mut [f32],
    col_var: &mut [f32],
    [batch, rows, cols]: [usize; 3],
) {
    let fits = p.len() == batch * rows * cols && p.len() == g.len();
    assert!(
        fits && row_var.len() == batch * rows && col_var.len() == batch * cols,
        "adafactor {batch} x {rows} x {cols}"
    );
    if p.is_empty() {
        return;
    }
    let weight = h.weight() as f32;
    let mut row_factors = vec![0f32; batch * rows];
    for b in 0..batch {
        let g = &g[b * rows * cols..(b + 1) * rows * cols];
        let (row_var, col_var) = (&mut row_var[b * rows..(b + 1) * rows], &mut col_var[b * cols..(b + 1) * cols]);
        let (row_sums, col_sums) = squares(level, h.gradient_scale as f32, g, cols);
        for (v, sum) in row_var.iter_mut().zip(row_sums) {
            *v += weight * ((sum / cols as f64) as f32 - *v);
        }
        for (v, sum) in col_var.iter_mut().zip(col_sums) {
            *v += weight * ((sum / rows as f64) as f32 - *v);
        }
        let mean = row_var.iter().map(|v| f64::from(*v)).sum::<f64>() / rows as f64;
        let mean = mean.max(h.eps1);
        for (factor, v) in row_factors[b * rows..].iter_mut().zip(row_var.iter()) {
            *factor = (f64::from(*v) / mean) as f32;
        }
    }
    finish(level, h, p, g, &row_factors, col_var, rows, cols);
}

/// Update a vector `p` and its variance, 0 at first, in place from gradient `g`.
///
/// # Panics
/// If the slices differ in length.
pub fn adafactor_vector(h: &Adafactor, p: &mut [f32], g: &[f32], variance: &mut [f32]) {
    vector_at(Level::best(), h, p, g, variance);
}

pub(super) fn vector_at(level: Level, h: &Adafactor, p: &mut [f32], g: &[f32], variance: &mut [f32]) {
    assert!(p.len() == g.len() && p.len() == variance.len(), "lengths {} {} {}", p.len(), g.len(), variance.len());
    if p.is_empty() {
        return;
    }
    let (weight, scale) = (h.weight() as f32, h.gradient_scale as f32);
    for (v, g) in variance.iter_mut().zip(g) {
        let g = g * scale;
        *v += weight * (g * g - *v);
    }
    finish(level, h, p, g, &[1.0], variance, 1, p.len());
}

/// Sums of squares of each row and of each column.
fn squares(level: Level, scale: f32, g: &[f32], cols: usize) -> (Vec<f64>, Vec<f64>) {
    let block = (CHUNK / cols).max(1) * cols;
    let parts: Vec<(Vec<f64>, Vec<f64>)> = g
        .par_chunks(block)
        .map(|block| {
            let mut columns = vec![0f64; cols];
            let rows = block.chunks(cols).map(|row| squares_row(level, scale, row, &mut columns)).collect();
            (rows, columns)
        })
        .collect();
    let mut columns = vec![0f64; cols];
    for (_, part) in &parts {
        columns.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    (parts.into_iter().flat_map(|(rows, _)| rows).collect(), columns)
}

/// The step itself, the second moment of element (i, j) of matrix b being `row_factors[b, i] * columns[b, j]`.
fn finish(
    level: Level,
    h: &Adafactor,
    p: &mut [f32],
    g: &[f32],
    row_factors: &[f32],
    columns: &[f32],
    rows: usize,
    cols: usize,
) {
    let count = p.len() as f64;
    let rms = (sum_squares_at(level, p) / count).sqrt();
    let mut factors = Factors {
        decay: (1.0 - h.lr * h.weight_decay) as f32,
        step: 0.0,
        gradient_scale: h.gradient_scale as f32,
        floor: (h.eps1 * h.eps1) as f32,
    };
    let columns_of = |row: usize| &columns[row / rows * cols..(row / rows + 1) * cols];
    let in_block = (CHUNK / cols).max(1);
    let parts: Vec<f64> = g
        .par_chunks(in_block * cols)
        .enumerate()
        .map(|(n, block)| {
            let of = |(i, g)| {
                let row = n * in_block + i;
                update_squares(level, &factors, row_factors[row], g, columns_of(row))
            };
            block.chunks(cols).enumerate().map(of).sum()
        })
        .collect();
    let update_rms = (parts.iter().sum::<f64>() / count).sqrt();
    factors.step = (h.step_size(rms) / (update_rms / h.clip).max(1.0)) as f32;
    p.par_chunks_mut(in_block * cols).zip(g.par_chunks(in_block * cols)).enumerate().for_each(|(n, (p, g))| {
        for (i, (p, g)) in p.chunks_mut(cols).zip(g.chunks(cols)).enumerate() {
            let row = n * in_block + i;
            step_row(level, &factors, row_factors[row], p, g, columns_of(row));
        }
    });
}
