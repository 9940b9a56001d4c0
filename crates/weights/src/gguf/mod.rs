//! GGUF, version 3 (and 2, which differs in nothing that danlu reads): the format of llama.cpp. Specification:
//! `docs/gguf.md` in ggml. Little-endian.
//!
//! ```text
//! "GGUF"  version u32  tensors u64  entries u64
//! entries: name, type u32, value                          what the model is: "llama.block_count" = 30
//! tensors: name, dimensions u32, lengths u64 each, kind u32, offset u64
//! padding to the alignment, then the tensors' data, each at its offset from here
//! ```
//! A name or text is its length in bytes (u64) and UTF-8. ggml counts lengths from the innermost; here shapes are as
//! everywhere else, outermost first.

mod metadata;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use metadata::{Array, Metadata, Value};
pub use read::{Gguf, Tensor};
pub use write::Writer;

const MAGIC: [u8; 4] = *b"GGUF";
const VERSION: u32 = 3;
/// The key of the alignment of tensors, and what it is where it is not said.
const ALIGNMENT_KEY: &str = "general.alignment";
const ALIGNMENT: u64 = 32;
