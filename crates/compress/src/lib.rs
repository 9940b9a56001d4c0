//! Smaller models: from a finished folder to a smaller folder.
//!
//! The room owns the ways of making a trained model smaller and what that costs and gains. It may touch `model`; it
//! knows nothing of training and text. Today there is one way, int8 weights ([`quantize_int8`]); the smaller model is
//! an ordinary folder that [`danlu_model::load`] reads, since the form of a weight is a property of the layer.
//!
//! Begin reading at [`quantize_int8`].

mod error;
mod int8;
mod speed;

pub use error::CompressError;
pub use int8::{Int8Report, quantize_int8};
pub use speed::decode_tokens_per_second;
