//! The number format of a matrix product's inputs.

/// What the inputs of a matrix product are rounded to. Sums, results and everything outside products stay f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Not rounded.
    #[default]
    F32,
    /// Rounded to bfloat16, to nearest with ties to even.
    Bf16,
}
