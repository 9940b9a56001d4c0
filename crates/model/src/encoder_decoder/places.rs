//! Where tokens stand: Marian's sinusoids, and T5's ranges of distances.

use super::EncoderDecoderConfig;
use crate::ModelError;
use crate::layers::{Embedding, read};
use burn::prelude::*;

/// Vectors to add to the embedding, (positions, hidden): all sines, then all cosines, of the same angles as in the paper
/// (Vaswani et al. 2017), which has them in turns.
pub(super) fn sinusoids(positions: &[usize], hidden: usize, device: &Device) -> Tensor<2> {
    let sines = hidden.div_ceil(2);
    let row = |p: usize| {
        (0..hidden).map(move |i| {
            let angle = |k: usize| p as f64 / 10_000f64.powf(2.0 * k as f64 / hidden as f64);
            (if i < sines { angle(i).sin() } else { angle(i - sines).cos() }) as f32
        })
    };
    let values: Vec<f32> = positions.iter().flat_map(|p| row(*p)).collect();
    Tensor::from_data(TensorData::new(values, [positions.len(), hidden]), device)
}

/// T5's numbers for distances: near ones have one each, further ones share theirs by the logarithm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buckets {
    count: usize,
    max_distance: usize,
    /// Whether keys after the query have numbers of their own, as in the encoder; else they are never seen.
    both_ways: bool,
}

impl Buckets {
    pub(super) fn new(config: &EncoderDecoderConfig, both_ways: bool) -> Self {
        Buckets { count: config.relative_buckets, max_distance: config.relative_max_distance, both_ways }
    }

    /// The number of a key that stands `distance` after its query.
    fn of(self, distance: i64) -> usize {
        let count = if self.both_ways { self.count / 2 } else { self.count };
        let after = if self.both_ways && distance > 0 { count } else { 0 };
        let distance = if self.both_ways { distance.unsigned_abs() } else { distance.min(0).unsigned_abs() } as usize;
        let exact = count / 2;
        if distance < exact {
            return after + distance;
        }
        // In f32, as the reference has it: at the edges of the ranges the rounding decides.
        let share = (distance as f32 / exact as f32).ln() / (self.max_distance as f64 / exact as f64).ln() as f32;
        after + (exact + (share * (count - exact) as f32) as usize).min(count - 1)
    }

    /// What is added to the scores, (1, heads, time, time), from `table` (buckets, heads).
    pub(super) fn bias(self, table: &Embedding, time: usize) -> Tensor<4> {
        let [_, heads] = table.weight.dims();
        let pairs = (0..time * time).map(|at| self.of((at % time) as i64 - (at / time) as i64) as i32);
        let ids = TensorData::new(pairs.collect::<Vec<_>>(), [time * time]);
        let rows = table.rows(Tensor::from_data(ids, &table.weight.val().device().inner()));
        rows.swap_dims(0, 1).reshape([1, heads, time, time])
    }

    /// The same for keys at distances before the query, (heads, distances).
    pub(super) fn by_distance(self, table: &Embedding, distances: usize) -> Result<Vec<f32>, ModelError> {
        let [_, heads] = table.weight.dims();
        let values = read(table.weight.val())?;
        let of_head = |head: usize| {
            let values = &values;
            (0..distances).map(move |d| values[self.of(-(d as i64)) * heads + head])
        };
        Ok((0..heads).flat_map(of_head).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sines_come_before_cosines_at_odd_widths_too() {
        let found: Vec<f32> = sinusoids(&[0, 3], 5, &Device::flex()).into_data().iter::<f32>().collect();
        let angle = |k: f64| 3.0 / 10_000f64.powf(2.0 * k / 5.0);
        let want = [
            0.0,
            0.0,
            0.0,
            1.0,
            1.0,
            angle(0.0).sin(),
            angle(1.0).sin(),
            angle(2.0).sin(),
            angle(0.0).cos(),
            angle(1.0).cos(),
        ];
        for (a, b) in found.iter().zip(want) {
            assert!((f64::from(*a) - b).abs() < 1e-7, "{a}, expected {b}");
        }
    }

    /// Those of transformers for all distances from -300 to 300, made by scripts/golden_encoder_decoders.py.
    #[test]
    fn ranges_are_those_of_the_reference() {
        let text = include_str!("../../tests/golden/encoder_decoders/buckets.json");
        let golden: serde_json::Value = serde_json::from_str(text).unwrap();
        let config = EncoderDecoderConfig::default();
        for (way, both) in [("both", true), ("causal", false)] {
            let buckets = Buckets::new(&config, both);
            let found: Vec<usize> = (-300..=300).map(|distance| buckets.of(distance)).collect();
            assert_eq!(serde_json::json!(found), golden[way], "{way}");
        }
    }

    #[test]
    fn near_distances_have_their_own_number_and_far_ones_the_last() {
        let config = EncoderDecoderConfig::default();
        let (both, causal) = (Buckets::new(&config, true), Buckets::new(&config, false));
        for distance in 0..8 {
            assert_eq!(both.of(-distance), distance as usize);
            assert_eq!(both.of(distance), if distance == 0 { 0 } else { 16 + distance as usize });
            assert_eq!((causal.of(-distance), causal.of(distance)), (distance as usize, 0));
        }
        assert_eq!((both.of(-1000), both.of(1000), causal.of(-128)), (15, 31, 31));
        assert!((1..2000).all(|d| both.of(-d) >= both.of(1 - d) && causal.of(-d) >= causal.of(1 - d)));
    }
}
