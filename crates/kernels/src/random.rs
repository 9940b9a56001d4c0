//! Random numbers without a state: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
//!
//! A number is a pure function of a key and a counter. Forward and backward passes, any number of threads and a resumed
//! run draw the same mask by asking for the same counters, so masks are recomputed and never stored.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Four random words for one counter under one key.
#[inline(always)]
pub fn philox(key: u64, counter: [u32; 4]) -> [u32; 4] {
    let mut k = [key as u32, (key >> 32) as u32];
    let mut c = counter;
    for _ in 0..10 {
        let (p0, p1) = (u64::from(MULTIPLIERS[0]) * u64::from(c[0]), u64::from(MULTIPLIERS[1]) * u64::from(c[2]));
        c = [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32];
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    c
}

/// Which elements of one tensor a dropout keeps: a function of `(key, stream, row, column)` alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropoutMask {
    /// The run's seed, mixed with whatever else distinguishes one use from another.
    pub key: u64,
    /// Distinguishes masks under one key, such as the site in the model.
    pub stream: u32,
    /// Probability of zeroing an element, in 0.0..1.0.
    pub probability: f32,
}

impl DropoutMask {
    /// The factor of kept elements, `1 / (1 - probability)`.
    pub fn scale(&self) -> f32 {
        1.0 / (1.0 - self.probability)
    }

    /// Words below this drop their element.
    pub(crate) fn threshold(&self) -> u32 {
        (f64::from(self.probability) * 4_294_967_296.0) as u32
    }

    /// The factors (0 or [`Self::scale`]) of elements `4 * block..4 * block + 4` of row `row`.
    #[inline(always)]
    pub fn block(&self, row: u64, block: u32) -> [f32; 4] {
        let words = philox(self.key, [block, row as u32, (row >> 32) as u32, self.stream]);
        let (threshold, scale) = (self.threshold(), self.scale());
        words.map(|word| if word < threshold { 0.0 } else { scale })
    }
}

/// Elements of one round of [`wide_factors`].
pub(crate) const WIDE: usize = 4 * BLOCKS;
/// Blocks side by side: one per 64-bit lane of an AVX-512 register.
const BLOCKS: usize = 8;

/// What [`wide_factors`] needs of a mask and a row, computed once per row.
#[derive(Clone, Copy)]
pub(crate) struct WideMask {
    /// The key of each round, low and high word.
    keys: [[u64; 2]; 10],
    row: [u64; 2],
    stream: u64,
    threshold: u32,
    scale: f32,
}

impl WideMask {
    #[inline(always)]
    pub(crate) fn new(mask: &DropoutMask, row: u64) -> Self {
        let mut k = [mask.key as u32, (mask.key >> 32) as u32];
        let mut keys = [[0; 2]; 10];
        for key in &mut keys {
            *key = k.map(u64::from);
            k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
        }
        let row = [row & LOW, row >> 32];
        WideMask { keys, row, stream: u64::from(mask.stream), threshold: mask.threshold(), scale: mask.scale() }
    }
}

const LOW: u64 = 0xFFFF_FFFF;

/// The factors of elements `4 * first_block..4 * first_block + WIDE` of the row: [`DropoutMask::block`] of as many
/// blocks at once. Words are kept in 64-bit lanes, whose product is one instruction on every vector unit.
#[inline(always)]
pub(crate) fn wide_factors(mask: &WideMask, first_block: u32) -> [f32; WIDE] {
    let mut c = [[0u64; BLOCKS]; 4];
    for l in 0..BLOCKS {
        c[0][l] = u64::from(first_block.wrapping_add(l as u32));
        c[1][l] = mask.row[0];
        c[2][l] = mask.row[1];
        c[3][l] = mask.stream;
    }
    for key in mask.keys {
        let mut next = [[0u64; BLOCKS]; 4];
        for l in 0..BLOCKS {
            let (p0, p1) = (u64::from(MULTIPLIERS[0]) * c[0][l], u64::from(MULTIPLIERS[1]) * c[2][l]);
            next[0][l] = (p1 >> 32) ^ c[1][l] ^ key[0];
            next[1][l] = p1 & LOW;
            next[2][l] = (p0 >> 32) ^ c[3][l] ^ key[1];
            next[3][l] = p0 & LOW;
        }
        c = next;
    }
    let mut factors = [0f32; WIDE];
    for l in 0..BLOCKS {
        for word in 0..4 {
            factors[4 * l + word] = if (c[word][l] as u32) < mask.threshold { 0.0 } else { mask.scale };
        }
    }
    factors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Level;

    multiversion! {
        fn wide(mask: &DropoutMask, row: u64, first_block: u32) -> [f32; WIDE] = wide_body;
    }

    #[inline(always)]
    fn wide_body<const FMA: bool>(mask: &DropoutMask, row: u64, first_block: u32) -> [f32; WIDE] {
        wide_factors(&WideMask::new(mask, row), first_block)
    }

    #[test]
    fn many_blocks_at_once_are_the_blocks_one_by_one() {
        let mask = DropoutMask { key: 0x299f_31d0_a409_3822, stream: 0xdead_beef, probability: 0.3 };
        for row in [0, 7, u64::from(u32::MAX), 1 << 32, u64::MAX - 1] {
            for first in [0, 1, 1000, u32::MAX - 3] {
                let want: Vec<f32> = (0..8).flat_map(|b| mask.block(row, first.wrapping_add(b))).collect();
                for level in Level::available() {
                    assert_eq!(wide(level, &mask, row, first).to_vec(), want, "{} row {row}", level.name());
                }
            }
        }
    }

    /// Known answers of the authors' library, Random123 (`kat_vectors`).
    #[test]
    fn known_answers() {
        assert_eq!(philox(0, [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox(u64::MAX, [u32::MAX; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let key = 0x299f_31d0_a409_3822;
        let counter = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(philox(key, counter), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn share_of_zeros_and_mean_are_as_asked() {
        for probability in [0.1f32, 0.5, 0.9] {
            let mask = DropoutMask { key: 7, stream: 3, probability };
            let values: Vec<f32> = (0..100u64).flat_map(|row| (0..250).flat_map(move |b| mask.block(row, b))).collect();
            let zeros = values.iter().filter(|x| **x == 0.0).count() as f64 / values.len() as f64;
            let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len() as f64;
            assert!((zeros - f64::from(probability)).abs() < 0.01, "{zeros} zeros for {probability}");
            assert!((mean - 1.0).abs() < 0.05, "mean {mean}");
        }
    }
}
