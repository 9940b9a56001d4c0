//! Files of weights that other programs write and read: GGUF version 3, and the forms in which its tensors lie.
//!
//! The room knows tensors by name, shape and element type, and nothing of models: what a name means is said by the floor
//! above. It reads untrusted files: every length, offset and shape is checked against the file before anything is
//! allocated by it, and what is wrong is said with the place.
//!
//! Begin with [`gguf::Gguf`] for reading, [`gguf::Writer`] for writing, and [`Kind`] for the element types.

mod blocks;
mod error;
pub mod gguf;
mod kind;

pub use blocks::{decode, encode};
pub use error::WeightsError;
pub use kind::Kind;
