/// Numbers drawn by lot that depend only on what it was made from.
pub(super) struct Random(blake3::OutputReader);

impl Random {
    /// For one copy of one document.
    pub(super) fn new(seed: u64, id: &str, copy: u64, what: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"danlu augment");
        hasher.update(&seed.to_le_bytes());
        hasher.update(&copy.to_le_bytes());
        hasher.update(&(id.len() as u64).to_le_bytes());
        hasher.update(id.as_bytes());
        hasher.update(what.as_bytes());
        Self(hasher.finalize_xof())
    }

    pub(super) fn next(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Evenly in 0..`bound`; 0 when that is empty. (The bias of the product is below 2^-40 for what fits in memory.)
    pub(super) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// Evenly in [0, 1).
    pub(super) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }
}
