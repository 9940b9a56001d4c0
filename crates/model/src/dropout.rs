//! Dropout without a random state: each mask is a pure function of where it stands, so a resumed run, another device
//! and a batch split into micro-batches all see the same zeros.

use burn::prelude::*;

/// Where in the training a forward pass stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropoutKey {
    pub seed: u64,
    /// The optimiser step.
    pub step: u64,
    /// Index, within the step's whole batch, of the first sequence given: masks belong to sequences, so micro-batches
    /// see the same ones as the large batch.
    pub first_sequence: u64,
}

/// Applies dropout to (batch * time, width) activations at numbered sites of one forward pass.
pub(crate) struct Dropout {
    key: DropoutKey,
    probability: f64,
    sequences: usize,
}

impl Dropout {
    /// `None` when nothing is to be dropped.
    pub(crate) fn new(key: Option<DropoutKey>, probability: f64, sequences: usize) -> Option<Self> {
        key.filter(|_| probability > 0.0).map(|key| Dropout { key, probability, sequences })
    }

    /// Zeroes elements with the given probability and scales the rest by `1 / (1 - probability)`.
    pub(crate) fn apply(&self, site: u64, x: Tensor<2>) -> Tensor<2> {
        let [rows, width] = x.dims();
        let mask = mask(self.key, site, self.probability, self.sequences, rows / self.sequences * width);
        let device = x.device();
        x * Tensor::from_data(TensorData::new(mask, [rows, width]), &device)
    }
}

/// One 64-bit hash gives the fate of four elements, 16 bits each.
fn mask(key: DropoutKey, site: u64, probability: f64, sequences: usize, per_sequence: usize) -> Vec<f32> {
    let threshold = (probability * 65536.0).round() as u64;
    let keep = (1.0 / (1.0 - threshold as f64 / 65536.0)) as f32;
    let mut values = Vec::with_capacity(sequences * per_sequence);
    for sequence in 0..sequences as u64 {
        let stream = mix(mix(mix(key.seed) ^ key.step) ^ (key.first_sequence + sequence));
        let stream = mix(stream ^ site.wrapping_mul(0xD1B5_4A32_D192_ED03));
        for first in (0..per_sequence).step_by(4) {
            let bits = mix(stream.wrapping_add((first as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
            let count = (per_sequence - first).min(4);
            values.extend((0..count).map(|i| if (bits >> (16 * i)) & 0xFFFF < threshold { 0.0 } else { keep }));
        }
    }
    values
}

/// The finaliser of SplitMix64 (Steele et al. 2014).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: DropoutKey = DropoutKey { seed: 1, step: 2, first_sequence: 3 };

    #[test]
    fn share_of_zeros_and_mean_are_as_asked() {
        for probability in [0.1, 0.5, 0.9] {
            let values = mask(KEY, 0, probability, 4, 25_001);
            let zeros = values.iter().filter(|x| **x == 0.0).count() as f64 / values.len() as f64;
            let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len() as f64;
            assert!((zeros - probability).abs() < 0.01, "{zeros} zeros for {probability}");
            assert!((mean - 1.0).abs() < 0.05, "mean {mean}");
        }
    }

    #[test]
    fn masks_belong_to_sequences_and_differ_by_every_part_of_the_key() {
        let whole = mask(KEY, 7, 0.5, 3, 64);
        let second = mask(DropoutKey { first_sequence: 4, ..KEY }, 7, 0.5, 1, 64);
        assert_eq!(whole[64..128], second[..]);
        let others = [
            mask(DropoutKey { seed: 2, ..KEY }, 7, 0.5, 3, 64),
            mask(DropoutKey { step: 3, ..KEY }, 7, 0.5, 3, 64),
            mask(KEY, 8, 0.5, 3, 64),
        ];
        assert!(others.iter().all(|other| *other != whole));
        assert_ne!(whole[..64], whole[64..128]);
    }
}
