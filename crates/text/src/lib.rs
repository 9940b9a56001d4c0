//! Text: everything between a string and token ids, and nothing about files of documents or tensors.
//!
//! This room owns the one [`Tokenizer`] of the house (byte-level BPE, stored in the Hugging Face layout), the rendering
//! of conversations into a prompt ([`ChatTemplate`]), Unicode repair ([`normalize`]), the changes of a text that a recipe
//! can ask for ([`Transform`]), what is cut and found in texts ([`sentences`], [`find_pii`]), language identification
//! ([`detect_language`]), the masks of tokens that a schema or grammar allows ([`GrammarCompiler`]) and everything that a cleaning rule may ask of a text ([`text_functions`]). It depends on no other
//! room.
//!
//! Where to begin reading: `tokenizer.rs`. Its two promises, held by property tests, are that `decode(encode(text)) ==
//! text` for every string, and that [`DecodeStream`] never emits half a character. Its speed is in `bpe/`, which encodes
//! and learns with exactly the ids of the `tokenizers` crate; what that does not know, the crate itself encodes.
//! Encoders have a tokenizer of another type, [`EncoderTokenizer`], which goes one way.

mod bpe;
mod characters;
mod charsmap;
mod chat;
mod classifier;
mod decode;
mod encoder_tokenizer;
mod error;
mod fallback;
mod grammar;
mod language;
mod measure;
mod model_file;
mod ngram;
mod normalize;
mod pii;
mod segments;
mod sentence;
mod seq2seq_tokenizer;
mod tokenizer;
mod transform;
mod wordpiece;

pub use characters::is_cjk;
pub use charsmap::check_charsmap;
pub use chat::{CHATML, ChatTemplate, Message, chat_template};
pub use classifier::{ClassifierConfig, Example, LinearClassifier};
pub use decode::DecodeStream;
pub use encoder_tokenizer::{EncodedText, EncoderTokenizer, TARGET_TOKENIZER_FILE, wordpiece_json};
pub use error::TextError;
pub use grammar::{Grammar, GrammarCompiler, GrammarState};
pub use language::{Language, detect_language, language_codes, language_names};
pub use measure::{
    Analysis, FunctionKind, TextFunction, WordList, c4_clean, is_stopword, text_functions, toxicity_list,
};
pub use ngram::{NgramConfig, NgramModel};
pub use normalize::normalize;
pub use pii::{Pii, PiiKind, find_pii};
pub use sentence::sentences;
pub use tokenizer::{
    CONFIG_FILE, END_OF_TEXT, IM_END, IM_START, SPECIAL_TOKENS, TOKENIZER_FILE, Tokenizer, TokenizerConfig,
};
pub use transform::{
    BOILERPLATE, BoilerplatePattern, Pattern, PiiReplacement, PunctuationWidth, TraditionalRegion, Transform,
};
pub use wordpiece::WordPieceConfig;
