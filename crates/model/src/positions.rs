//! Position angles, computed in f64 for the positions asked for.

use crate::{ModelConfig, Positions};
use burn::prelude::*;

/// The frequencies of rotary or sinusoidal positions; empty for learned ones, which are parameters.
#[derive(Debug)]
pub(crate) struct Frequencies(Vec<f64>);

impl Frequencies {
    pub(crate) fn new(config: &ModelConfig) -> Self {
        let up_to = |width: usize, theta: f64| {
            (0..width.div_ceil(2)).map(|i| theta.powf(-2.0 * i as f64 / width as f64)).collect()
        };
        Frequencies(match config.positions() {
            Positions::Learned => Vec::new(),
            Positions::Rope => up_to(config.head_dim(), config.rope_theta),
            Positions::Sinusoidal => up_to(config.hidden_size, 10_000.0),
        })
    }

    /// cos and sin of `position * frequency`, each (positions, head_dim / 2), for `ops::rotary`.
    pub(crate) fn rotary(&self, positions: &[usize], device: &Device) -> (Tensor<2>, Tensor<2>) {
        let shape = [positions.len(), self.0.len()];
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> =
                positions.iter().flat_map(|p| self.0.iter().map(move |w| f(*p as f64 * w) as f32)).collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        (table(f64::cos), table(f64::sin))
    }

    /// Vectors to add to the embedding, (positions, hidden): sine at even, cosine at odd places.
    pub(crate) fn sinusoidal(&self, positions: &[usize], hidden: usize, device: &Device) -> Tensor<2> {
        let row = |p: usize| {
            (0..hidden).map(move |i| {
                let angle = p as f64 * self.0[i / 2];
                (if i % 2 == 0 { angle.sin() } else { angle.cos() }) as f32
            })
        };
        let values: Vec<f32> = positions.iter().flat_map(|p| row(*p)).collect();
        Tensor::from_data(TensorData::new(values, [positions.len(), hidden]), device)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(found: Tensor<2>, shape: [usize; 2], want: impl Fn(usize, usize) -> f64) {
        assert_eq!(found.dims(), shape);
        let values: Vec<f32> = found.into_data().try_into_vec().unwrap();
        for (i, x) in values.iter().enumerate() {
            let want = want(i / shape[1], i % shape[1]);
            assert!(
                (f64::from(*x) - want).abs() < 1e-6,
                "row {}, column {}: {x}, expected {want}",
                i / shape[1],
                i % shape[1]
            );
        }
    }

    #[test]
    fn sinusoidal_rows_are_those_of_the_paper_at_odd_widths_too() {
        for hidden in [6, 7] {
            let (positions, heads) = (Some(Positions::Sinusoidal), 1);
            let config = ModelConfig { positions, heads, hidden_size: hidden, ..ModelConfig::default() };
            let rows = Frequencies::new(&config).sinusoidal(&[0, 1, 499], hidden, &Device::flex());
            check(rows, [3, hidden], |row, i| {
                let angle = [0.0, 1.0, 499.0][row] / 10_000f64.powf((i - i % 2) as f64 / hidden as f64);
                if i % 2 == 0 { angle.sin() } else { angle.cos() }
            });
        }
    }

    #[test]
    fn rotary_rows_are_the_angles_of_the_positions_asked_for() {
        let config = ModelConfig { head_dim: Some(4), rope_theta: 100.0, ..ModelConfig::default() };
        let (cos, sin) = Frequencies::new(&config).rotary(&[9, 0], &Device::flex());
        let angle = |row: usize, i: usize| [9.0, 0.0][row] * [1.0, 0.1][i];
        check(cos, [2, 2], |row, i| f64::cos(angle(row, i)));
        check(sin, [2, 2], |row, i| f64::sin(angle(row, i)));
    }
}
