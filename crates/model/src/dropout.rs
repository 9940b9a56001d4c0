//! Dropout without a random state: each mask is a pure function of where it stands, so a resumed run, another device
//! and a batch split into micro-batches all see the same zeros. The masks themselves are [`danlu_ops::dropout`]'s.

use burn::prelude::*;
use danlu_ops::DropoutMask;

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

impl DropoutKey {
    /// The mask of one site of the model. Its rows are those of the step's whole batch, sequence after sequence.
    pub(crate) fn mask(&self, site: u32, probability: f64) -> DropoutMask {
        DropoutMask { key: mix(mix(self.seed) ^ self.step), stream: site, probability: probability as f32 }
    }

    /// Whether a layer is left out in this step, by all sequences of its batch.
    pub(crate) fn leaves_out(&self, layer: usize, probability: f64) -> bool {
        let drawn = mix(mix(mix(self.seed) ^ self.step) ^ mix(LAYERS ^ layer as u64));
        ((drawn >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    /// The mask of attention weights at one site, `None` when nothing is to be dropped. Its rows are counted from the
    /// batch's first sequence, so that, unlike elsewhere, a batch split into parts sees other zeros.
    pub(crate) fn attention_mask(&self, site: u32, probability: f64) -> Option<DropoutMask> {
        let mask = self.mask(site, probability);
        (probability > 0.0).then(|| DropoutMask { key: mix(mask.key ^ mix(self.first_sequence)), ..mask })
    }
}

/// Sets the draws of whole layers apart from those of masks.
const LAYERS: u64 = 0x6C61_7965_7264_726F;

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
    pub(crate) fn apply(&self, site: usize, x: Tensor<2>) -> Tensor<2> {
        let first = self.first_row(&x);
        danlu_ops::dropout(x, &self.key.mask(site as u32, self.probability), first)
    }

    /// As [`Self::apply`], with one mask for all steps of a sequence (Gal and Ghahramani 2016).
    pub(crate) fn apply_to_sequences(&self, site: usize, x: Tensor<2>) -> Tensor<2> {
        let ([rows, width], sequences) = (x.dims(), self.sequences);
        let factors = self.apply(site, Tensor::ones([sequences, width], &x.device()));
        let x = x.reshape([sequences, rows / sequences, width]);
        (x * factors.reshape([sequences, 1, width])).reshape([rows, width])
    }

    /// `residual` plus [`Self::apply`].
    pub(crate) fn add(&self, site: usize, residual: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
        let first = self.first_row(&x);
        danlu_ops::add_dropout(residual, x, &self.key.mask(site as u32, self.probability), first)
    }

    /// Place of the first row of `x` in the step's whole batch.
    fn first_row(&self, x: &Tensor<2>) -> u64 {
        self.key.first_sequence * (x.dims()[0] / self.sequences) as u64
    }
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
    const TIME: usize = 8;
    const WIDTH: usize = 50;

    fn factors(key: DropoutKey, site: usize, probability: f64, sequences: usize) -> Vec<f32> {
        let dropout = Dropout { key, probability, sequences };
        let ones = Tensor::<2>::ones([sequences * TIME, WIDTH], &Device::flex());
        let dropped = dropout.apply(site, ones.clone()).into_data().iter::<f32>().collect::<Vec<_>>();
        let added = dropout.add(site, ones.clone(), ones).into_data().iter::<f32>().collect::<Vec<_>>();
        assert!(dropped.iter().zip(&added).all(|(d, a)| *a == 1.0 + d));
        dropped
    }

    #[test]
    fn share_of_zeros_and_mean_are_as_asked() {
        for probability in [0.1, 0.5, 0.9] {
            let values = factors(KEY, 0, probability, 100);
            let zeros = values.iter().filter(|x| **x == 0.0).count() as f64 / values.len() as f64;
            let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len() as f64;
            assert!((zeros - probability).abs() < 0.01, "{zeros} zeros for {probability}");
            assert!((mean - 1.0).abs() < 0.05, "mean {mean}");
        }
    }

    #[test]
    fn layers_are_left_out_as_often_as_asked() {
        let left_out = |layer: usize| {
            let drawn = (0..10_000).filter(|step| DropoutKey { step: *step, ..KEY }.leaves_out(layer, 0.3));
            drawn.collect::<Vec<_>>()
        };
        let (first, second) = (left_out(0), left_out(1));
        assert!((2_850..3_150).contains(&first.len()) && (2_850..3_150).contains(&second.len()));
        let both = first.iter().filter(|step| second.binary_search(step).is_ok()).count();
        assert!((800..1_000).contains(&both), "{both}");
        assert!(!KEY.leaves_out(0, 0.0));
    }

    #[test]
    fn variational_masks_hold_for_all_steps_of_a_sequence() {
        let dropout = Dropout { key: KEY, probability: 0.5, sequences: 3 };
        let ones = Tensor::<2>::ones([3 * TIME, WIDTH], &Device::flex());
        let values = dropout.apply_to_sequences(2, ones).into_data().iter::<f32>().collect::<Vec<_>>();
        let rows: Vec<&[f32]> = values.chunks(WIDTH).collect();
        assert!((0..3 * TIME).all(|row| rows[row] == rows[row / TIME * TIME]));
        assert!(rows[0] != rows[TIME] && rows[TIME] != rows[2 * TIME]);
        // As that of single rows, one for each sequence.
        let single = dropout.apply(2, Tensor::ones([3, WIDTH], &Device::flex()));
        let single = single.into_data().iter::<f32>().collect::<Vec<_>>();
        assert_eq!(rows[TIME], &single[WIDTH..2 * WIDTH]);
    }

    #[test]
    fn masks_belong_to_sequences_and_differ_by_every_part_of_the_key() {
        const ONE: usize = TIME * WIDTH;
        let whole = factors(KEY, 7, 0.5, 3);
        let second = factors(DropoutKey { first_sequence: 4, ..KEY }, 7, 0.5, 1);
        assert_eq!(whole[ONE..2 * ONE], second[..]);
        let others = [
            factors(DropoutKey { seed: 2, ..KEY }, 7, 0.5, 3),
            factors(DropoutKey { step: 3, ..KEY }, 7, 0.5, 3),
            factors(KEY, 8, 0.5, 3),
        ];
        assert!(others.iter().all(|other| *other != whole));
        assert_ne!(whole[..ONE], whole[ONE..2 * ONE]);
    }
}
