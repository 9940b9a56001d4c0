//! Elements as they lie in a file, to f32 and back.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use half::f16;

pub use decode::decode;
pub use encode::encode;

/// The half-precision number at the start of a block's field.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}
