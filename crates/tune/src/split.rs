//! Which example is in which split: a matter of its text alone; and what a split holds, by a hash.

use danlu_store::hash;
use serde_json::{Value, json};

/// A place from 0 up to, not including, 1, evenly by the text's hash: 52 of its bits.
pub(crate) fn fraction(id: &str) -> f64 {
    let digits = id.get(..13).unwrap_or("0");
    u64::from_str_radix(digits, 16).unwrap_or(0) as f64 / (1u64 << 52) as f64
}

/// Number and hash of a split's examples, which come as the sequences of ids of each, one after another. Lengths count, too,
/// so that no two splits of the same ids are one.
pub(crate) fn fingerprint<'a>(examples: usize, sequences: impl Iterator<Item = &'a [u32]>) -> Value {
    let words = sequences.flat_map(|ids| std::iter::once(ids.len() as u32).chain(ids.iter().copied()));
    let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    json!([examples, hash::of_bytes(&bytes)])
}
