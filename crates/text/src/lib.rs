//! Text: everything between a string and token ids, and nothing about files of documents or tensors.
//!
//! This room owns the one [`Tokenizer`] of the house (byte-level BPE, stored in the Hugging Face layout), the rendering
//! of conversations into a prompt ([`ChatTemplate`]), Unicode repair ([`normalize`]), language identification
//! ([`detect_language`]) and everything that a cleaning rule may ask of a text ([`text_functions`]). It depends on no other
//! room.
//!
//! Where to begin reading: `tokenizer.rs`. Its two promises, held by property tests, are that `decode(encode(text)) ==
//! text` for every string, and that [`DecodeStream`] never emits half a character.

mod chat;
mod decode;
mod error;
mod language;
mod measure;
mod normalize;
mod segments;
mod tokenizer;

pub use chat::{CHATML, ChatTemplate, Message};
pub use decode::DecodeStream;
pub use error::TextError;
pub use language::{Language, detect_language};
pub use measure::{Analysis, FunctionKind, TextFunction, WordList, c4_clean, text_functions, toxicity_list};
pub use normalize::normalize;
pub use tokenizer::{
    CONFIG_FILE, END_OF_TEXT, IM_END, IM_START, SPECIAL_TOKENS, TOKENIZER_FILE, Tokenizer, TokenizerConfig,
};
