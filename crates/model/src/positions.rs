//! Position angles, computed in f64 for the positions asked for, and ALiBi's slopes.

use crate::rope_scaling::plain;
use crate::{LayerType, ModelConfig, Positions};
use burn::prelude::*;

/// The frequencies of rotary or sinusoidal positions; empty for those that have none.
#[derive(Debug)]
pub(crate) struct Frequencies {
    main: Vec<f64>,
    /// Of sliding layers, where these have their own.
    local: Option<Vec<f64>>,
    /// Factor on cosines and sines of `main`.
    factor: f64,
}

/// cos and sin of rotary positions, each (positions, head_dim / 2), for `ops::rotary`.
pub(crate) struct RotaryTables {
    main: (Tensor<2>, Tensor<2>),
    local: Option<(Tensor<2>, Tensor<2>)>,
}

impl RotaryTables {
    /// Those of a layer.
    pub(crate) fn of(&self, layer: LayerType) -> &(Tensor<2>, Tensor<2>) {
        match &self.local {
            Some(local) if layer == LayerType::SlidingAttention => local,
            _ => &self.main,
        }
    }
}

impl Frequencies {
    pub(crate) fn new(config: &ModelConfig) -> Self {
        let width = config.head_dim();
        let main = match (config.positions(), &config.rope_scaling) {
            (Positions::Learned | Positions::Alibi | Positions::None, _) => Vec::new(),
            (Positions::Sinusoidal, _) => plain(config.hidden_size, 10_000.0),
            (Positions::Rope, None) => plain(width, config.rope_theta),
            (Positions::Rope, Some(scaling)) => scaling.frequencies(width, config.rope_theta, config.max_seq_len),
        };
        let rotary = config.positions() == Positions::Rope;
        let local = config.local_rope_theta().filter(|_| rotary).map(|theta| plain(width, theta));
        let factor = config.rope_scaling.as_ref().map_or(1.0, |scaling| scaling.attention_factor());
        Frequencies { main, local, factor }
    }

    /// Tables for these positions.
    pub(crate) fn rotary(&self, positions: &[usize], device: &Device) -> RotaryTables {
        let tables = |frequencies: &[f64], factor: f64| {
            let shape = [positions.len(), frequencies.len()];
            let table = |f: fn(f64) -> f64| {
                let values = positions.iter().flat_map(|p| frequencies.iter().map(move |w| f(*p as f64 * w) * factor));
                let values: Vec<f32> = values.map(|x| x as f32).collect();
                Tensor::from_data(TensorData::new(values, shape), device)
            };
            (table(f64::cos), table(f64::sin))
        };
        RotaryTables {
            main: tables(&self.main, self.factor),
            local: self.local.as_ref().map(|frequencies| tables(frequencies, 1.0)),
        }
    }

    /// Vectors to add to the embedding, (positions, hidden): sine at even, cosine at odd places.
    pub(crate) fn sinusoidal(&self, positions: &[usize], hidden: usize, device: &Device) -> Tensor<2> {
        let row = |p: usize| {
            (0..hidden).map(move |i| {
                let angle = p as f64 * self.main[i / 2];
                (if i % 2 == 0 { angle.sin() } else { angle.cos() }) as f32
            })
        };
        let values: Vec<f32> = positions.iter().flat_map(|p| row(*p)).collect();
        Tensor::from_data(TensorData::new(values, [positions.len(), hidden]), device)
    }
}

/// ALiBi's slopes (Press et al. 2022): the powers of `2^(-8 / heads)` where `heads` is a power of two, else those of the
/// power below it, and every other one of the power above for the heads that are left, as in the authors' code.
pub(crate) fn alibi_slopes(heads: usize) -> Vec<f32> {
    let powers = |n: usize| (1..=n).map(move |i| 2f64.powf(-8.0 * i as f64 / n as f64) as f32);
    let below = 1 << heads.max(1).ilog2();
    powers(below).chain(powers(2 * below).step_by(2)).take(heads).collect()
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
        let tables = Frequencies::new(&config).rotary(&[9, 0], &Device::flex());
        let (cos, sin) = tables.of(LayerType::SlidingAttention).clone();
        let angle = |row: usize, i: usize| [9.0, 0.0][row] * [1.0, 0.1][i];
        check(cos, [2, 2], |row, i| f64::cos(angle(row, i)));
        check(sin, [2, 2], |row, i| f64::sin(angle(row, i)));
    }

    #[test]
    fn sliding_layers_may_have_a_base_of_their_own() {
        let config = ModelConfig {
            head_dim: Some(4),
            rope_theta: 100.0,
            local_rope_theta: Some(25.0),
            rope_scaling: Some(crate::RopeScaling::Linear { factor: 2.0 }),
            ..ModelConfig::default()
        };
        let tables = Frequencies::new(&config).rotary(&[9], &Device::flex());
        check(tables.of(LayerType::FullAttention).0.clone(), [1, 2], |_, i| f64::cos(9.0 * [0.5, 0.05][i]));
        check(tables.of(LayerType::SlidingAttention).0.clone(), [1, 2], |_, i| f64::cos(9.0 * [1.0, 0.2][i]));
    }

    #[test]
    fn slopes_are_those_of_the_paper_and_of_its_code_for_other_numbers() {
        assert_eq!(alibi_slopes(8), [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]);
        assert_eq!(alibi_slopes(6), [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]);
    }
}
