//! The number format of a matrix product's inputs.

/// What the inputs of a matrix product are rounded to, or what values are kept in. Sums are f32 either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Not rounded.
    #[default]
    F32,
    /// Rounded to bfloat16, to nearest with ties to even.
    Bf16,
}

impl Precision {
    /// Both, by name.
    pub const NAMES: [(&'static str, Precision); 2] = [("f32", Precision::F32), ("bf16", Precision::Bf16)];

    /// Bytes of a stored value.
    pub fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::Bf16 => 2,
        }
    }

    /// `"f32"` or `"bf16"`.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        }
    }

    /// The precision of this name.
    pub fn named(name: &str) -> Option<Precision> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, precision)| *precision)
    }
}
