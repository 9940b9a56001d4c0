//! Models from and for other programs: GGUF files, folders with the checkpoints of PyTorch, and Whisper as CTranslate2
//! has it, to folders in the layout of
//! Hugging Face, which is danlu's own, and back.
//!
//! The room owns what names and settings mean on both sides: `names.rs` the tensors, `settings.rs` the model's shape,
//! `tokenizer` the tokenizers (GGUF, SentencePiece, tiktoken, vocabularies of BERT, GPT-2 and Marian). It moves files and
//! computes nothing but changes of layout; it knows neither Burn nor danlu's models, so that what it writes is held to the
//! formats and not to danlu.
//!
//! Begin with [`import`], [`export`], [`export_folder`] and [`inspect`].

mod copy;
mod ctranslate2;
mod error;
mod export;
mod folder;
mod import;
mod inspect;
mod names;
mod settings;
pub mod tokenizer;

pub use copy::export_folder;
pub use error::ConvertError;
pub use export::{Exported, export};
pub use import::{Imported, Precision, import, is_folder_of_transformers};
pub use inspect::{Inspection, Listed, inspect};
