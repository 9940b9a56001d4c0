//! Files of weights that other programs write and read: GGUF version 3 and the forms in which its tensors lie, safetensors,
//! the checkpoints of PyTorch, and CTranslate2.
//!
//! The room knows tensors by name, shape and element type, and nothing of models: what a name means is said by the floor
//! above. It reads untrusted files: every length, offset and shape is checked against the file before anything is
//! allocated by it, no code of a file is run, and what is wrong is said with the place.
//!
//! Begin with [`gguf::Gguf`] for reading, [`gguf::Writer`] for writing, and [`Kind`] for the element types; with
//! [`tensors_of`] for a folder of safetensors or PyTorch files.

mod blocks;
pub mod ctranslate2;
mod error;
mod folder;
pub mod gguf;
mod kind;
pub mod pytorch;
pub mod safetensors;
mod stored;

pub use blocks::{decode, encode};
pub use error::WeightsError;
pub use folder::{PYTORCH, PYTORCH_INDEX, SAFETENSORS, SAFETENSORS_INDEX, read_index, tensors_of};
pub use kind::Kind;
pub use stored::Stored;
