/// A pseudo-random permutation of `0..size` in constant memory: any element is computed alone, in constant time.
///
/// A Feistel network over the smallest even number of bits that holds `size`, walked until the value falls inside
/// (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). Not for cryptography.
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    size: u64,
    half_bits: u32,
    keys: [u64; Self::ROUNDS],
}

impl Permutation {
    const ROUNDS: usize = 6;

    /// `size` must be at least 1 to have elements to permute.
    pub fn new(size: u64, seed: u64) -> Self {
        let bits = 64 - size.saturating_sub(1).leading_zeros();
        let mut keys = [0; Self::ROUNDS];
        for (round, key) in keys.iter_mut().enumerate() {
            *key = mix(seed ^ mix(round as u64 + 1));
        }
        Self { size, half_bits: bits.div_ceil(2).max(1), keys }
    }

    /// Where `index` goes; `index` is taken modulo the size.
    pub fn apply(&self, index: u64) -> u64 {
        let mut value = index % self.size.max(1);
        // The network permutes 0..4^half_bits, which is at most 4 times the size: a few steps on average.
        loop {
            value = self.encrypt(value);
            if value < self.size.max(1) {
                return value;
            }
        }
    }

    fn encrypt(&self, value: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half_bits | right
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): a well-mixing bijection of 64 bits.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::Permutation;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_a_bijection(size in 1u64..3000, seed: u64) {
            let permutation = Permutation::new(size, seed);
            let mut seen = vec![false; size as usize];
            for index in 0..size {
                let to = permutation.apply(index);
                prop_assert!(to < size && !seen[to as usize]);
                seen[to as usize] = true;
            }
        }

        #[test]
        fn stays_inside_any_size(size in 1u64.., index: u64, seed: u64) {
            prop_assert!(Permutation::new(size, seed).apply(index) < size);
        }
    }

    #[test]
    fn mixes() {
        let (one, other) = (Permutation::new(1000, 1), Permutation::new(1000, 2));
        let same = (0..1000).filter(|&i| one.apply(i) == other.apply(i)).count();
        let neighbours = (1..1000).filter(|&i| one.apply(i) == one.apply(i - 1) + 1).count();
        let fixed = (0..1000).filter(|&i| one.apply(i) == i).count();
        assert!(same < 10 && neighbours < 10 && fixed < 10, "{same} {neighbours} {fixed}"); // about 1 each by chance
    }
}
