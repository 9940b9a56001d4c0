//! What danlu asks of the operating system's memory: mapped files, the allocator, and how much is held.
//!
//! This room exists so that every other crate can keep `unsafe_code = "forbid"`: it owns the two `unsafe` lines that
//! mapping a file and setting an option of the allocator need, and the argument for why each is sound. It knows nothing
//! of what the bytes mean. Begin reading at [`ReadOnlyMap::open`].

mod allocator;
mod mapped;
mod resident;

pub use allocator::{Allocator, keep_pages};
pub use mapped::ReadOnlyMap;
pub use resident::peak_resident_bytes;
