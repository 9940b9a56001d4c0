use std::fmt;

/// The element types of tensors in GGUF files that danlu reads. A quantised type stores a row in blocks, each with its
/// own scale; the layouts are those of ggml (`ggml-common.h`, `ggml-quants.c` of llama.cpp).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    F32,
    F16,
    Bf16,
    /// 4 bits: `scale * (q - 8)`.
    Q4_0,
    /// 4 bits: `scale * q + minimum`.
    Q4_1,
    /// 5 bits: `scale * (q - 16)`.
    Q5_0,
    /// 5 bits: `scale * q + minimum`.
    Q5_1,
    /// 8 bits: `scale * q`.
    Q8_0,
    /// 4 bits in super-blocks of 8 x 32, whose scales and minima have 6 bits.
    Q4K,
    /// 5 bits, as [`Kind::Q4K`].
    Q5K,
    /// 6 bits in super-blocks of 16 x 16, whose scales have 8 bits.
    Q6K,
}

/// All kinds with the number and the name that ggml gives them.
const KINDS: [(Kind, u32, &str); 11] = [
    (Kind::F32, 0, "F32"),
    (Kind::F16, 1, "F16"),
    (Kind::Q4_0, 2, "Q4_0"),
    (Kind::Q4_1, 3, "Q4_1"),
    (Kind::Q5_0, 6, "Q5_0"),
    (Kind::Q5_1, 7, "Q5_1"),
    (Kind::Q8_0, 8, "Q8_0"),
    (Kind::Q4K, 12, "Q4_K"),
    (Kind::Q5K, 13, "Q5_K"),
    (Kind::Q6K, 14, "Q6_K"),
    (Kind::Bf16, 30, "BF16"),
];

/// Those that ggml knows and danlu does not, for messages.
const OTHERS: [(u32, &str); 19] = [
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (39, "MXFP4"),
];

impl Kind {
    /// Every kind, in the order of ggml's numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.into_iter().map(|(kind, _, _)| kind)
    }

    /// The kind of a number in a GGUF file.
    pub fn from_number(number: u32) -> Option<Self> {
        KINDS.iter().find(|(_, known, _)| *known == number).map(|(kind, _, _)| *kind)
    }

    /// Its number in a GGUF file.
    pub fn number(self) -> u32 {
        KINDS.iter().find(|(kind, _, _)| *kind == self).map_or(u32::MAX, |(_, number, _)| *number)
    }

    /// ggml's name: "Q4_K".
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, _, _)| *kind == self).map_or("", |(_, _, name)| *name)
    }

    /// The kind of a name, whatever its case.
    pub fn from_name(name: &str) -> Option<Self> {
        KINDS.iter().find(|(_, _, known)| known.eq_ignore_ascii_case(name)).map(|(kind, _, _)| *kind)
    }

    /// Elements in a block. A row has a whole number of blocks.
    pub fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes in a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Bytes of so many elements in whole blocks; none when they are not whole, or too many to count.
    pub fn bytes(self, elements: u64) -> Option<u64> {
        let block = self.block_len() as u64;
        if !elements.is_multiple_of(block) {
            return None;
        }
        (elements / block).checked_mul(self.block_bytes() as u64)
    }

    /// What a number that is no [`Kind`] is called.
    pub(crate) fn name_of(number: u32) -> String {
        let name = OTHERS.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
        let known: Vec<&str> = Self::all().map(Self::name).collect();
        let named = match name {
            Some(name) => format!("of the element type {name}"),
            None => format!("of the unknown element type {number}"),
        };
        format!("{named}; danlu reads {}", known.join(", "))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
