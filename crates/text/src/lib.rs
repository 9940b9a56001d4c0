//! Text: everything between a string and token ids, and nothing about files of documents or tensors.
//!
//! This room owns the one [`Tokenizer`] of the house (byte-level BPE, stored in the Hugging Face layout), the rendering
//! of conversations into a prompt ([`ChatTemplate`]), Unicode repair ([`normalize`]) and language identification
//! ([`detect_language`]). It depends on no other room.
//!
//! Where to begin reading: `tokenizer.rs`. Its two promises, held by property tests, are that `decode(encode(text)) ==
//! text` for every string, and that [`DecodeStream`] never emits half a character. Its speed is in `bpe/`, which encodes
//! and learns with exactly the ids of the `tokenizers` crate; what that does not know, the crate itself encodes.

mod bpe;
mod chat;
mod decode;
mod error;
mod fallback;
mod language;
mod normalize;
mod segments;
mod tokenizer;

pub use chat::{CHATML, ChatTemplate, Message};
pub use decode::DecodeStream;
pub use error::TextError;
pub use language::{Language, detect_language};
pub use normalize::normalize;
pub use tokenizer::{
    CONFIG_FILE, END_OF_TEXT, IM_END, IM_START, SPECIAL_TOKENS, TOKENIZER_FILE, Tokenizer, TokenizerConfig,
};
