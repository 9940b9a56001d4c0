//! Which examples a micro-batch holds: a pure function of its number.

use danlu_data::Permutation;

/// So many batches' examples are put together by length, so that little is padding.
const POOL: usize = 16;

/// Batches of examples, every example once an epoch, in another order each time.
#[derive(Clone, Debug)]
pub struct Order {
    /// Of each example, tokens.
    lengths: Vec<u32>,
    batch_size: usize,
    seed: u64,
}

impl Order {
    /// * `lengths`: tokens of each example
    pub fn new(lengths: Vec<u32>, batch_size: usize, seed: u64) -> Self {
        Self { lengths, batch_size: batch_size.max(1), seed }
    }

    /// Batches in which all examples are seen once.
    pub fn batches_per_epoch(&self) -> u64 {
        self.lengths.len().div_ceil(self.batch_size) as u64
    }

    /// The epoch of batch `index`, and its examples by number.
    pub fn batch(&self, index: u64) -> (u64, Vec<usize>) {
        let (count, batches) = (self.lengths.len(), self.batches_per_epoch());
        if count == 0 {
            return (0, Vec::new());
        }
        let (epoch, place) = (index / batches, index % batches);
        let seed = self.seed.wrapping_add(epoch.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let examples = Permutation::new(count as u64, seed);
        let at = Permutation::new(batches, !seed).apply(place) as usize;
        let pool = at / POOL * POOL * self.batch_size;
        let end = (pool + POOL * self.batch_size).min(count);
        let mut held: Vec<usize> = (pool..end).map(|place| examples.apply(place as u64) as usize).collect();
        held.sort_by_key(|example| (self.lengths[*example], *example));
        let first = at % POOL * self.batch_size;
        let last = (first + self.batch_size).min(held.len());
        (epoch, held[first..last].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_once_an_epoch_in_another_order_each_time() {
        for count in [1usize, 7, 64, 1000] {
            let order = Order::new((0..count).map(|i| (i * 7 % 13) as u32).collect(), 8, 3);
            let batches = order.batches_per_epoch();
            let epoch = |n: u64| -> Vec<usize> {
                (0..batches)
                    .flat_map(|at| {
                        let (epoch, examples) = order.batch(n * batches + at);
                        assert!(epoch == n && !examples.is_empty() && examples.len() <= 8);
                        examples
                    })
                    .collect()
            };
            let (first, second) = (epoch(0), epoch(1));
            for seen in [&first, &second] {
                let mut sorted = seen.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..count).collect::<Vec<_>>());
            }
            assert!(count < 8 || first != second);
            assert_eq!(first, epoch(0));
        }
    }

    #[test]
    fn a_batch_is_of_like_lengths() {
        let lengths: Vec<u32> = (0..4096u32).map(|i| i * 2_654_435_761 % 120).collect();
        let order = Order::new(lengths.clone(), 32, 1);
        let (mut read, mut padded) = (0, 0);
        for at in 0..order.batches_per_epoch() {
            let of: Vec<u32> = order.batch(at).1.into_iter().map(|example| lengths[example]).collect();
            read += of.iter().sum::<u32>();
            padded += of.iter().max().unwrap_or(&0) * of.len() as u32;
        }
        assert!(f64::from(read) > 0.9 * f64::from(padded), "{read} of {padded}");
    }

    #[test]
    fn no_examples_make_no_batches() {
        let order = Order::new(Vec::new(), 4, 1);
        assert_eq!((order.batches_per_epoch(), order.batch(5)), (0, (0, Vec::new())));
    }
}
