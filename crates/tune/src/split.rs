//! Which example is in which split: a matter of its text alone.

/// A place from 0 up to, not including, 1, evenly by the text's hash: 52 of its bits.
pub(crate) fn fraction(id: &str) -> f64 {
    let digits = id.get(..13).unwrap_or("0");
    u64::from_str_radix(digits, 16).unwrap_or(0) as f64 / (1u64 << 52) as f64
}
