//! What danlu asks of the operating system's memory: mapped files, the allocator, and how much is held.
//!
//! This room exists so that every other crate can keep `unsafe_code = "forbid"`: it owns the `unsafe` lines that mapping
//! a file and giving out memory need, and the argument for why each is sound. It knows nothing of what the bytes mean.
//! Begin reading at [`ReadOnlyMap::open`] for files, at [`Column`] for long columns of numbers, at [`keep_pages`] for memory: `allocator` decides where a block comes
//! from, `arena` gives large ones out of one range of addresses, `runs` says which parts of that range are free.

mod allocator;
mod arena;
mod column;
mod keep;
mod mapped;
mod resident;
mod runs;

pub use allocator::Allocator;
pub use column::{Column, Plain};
pub use keep::{KeptPages, keep_pages};
pub use mapped::ReadOnlyMap;
pub use resident::peak_resident_bytes;
