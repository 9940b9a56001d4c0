//! Measures of a text: what a cleaning rule may ask (`dup_line_ratio(text) > 0.3`).
//!
//! [`Analysis`] finds words, lines and repetitions of one text once, when first asked for; [`text_functions`] is the table of
//! all functions with their help. Definitions follow the filters of Gopher (Rae et al. 2021, arXiv 2112.11446, A.1), C4
//! (Raffel et al. 2020, arXiv 1910.10683) and FineWeb (Penedo et al. 2024, arXiv 2406.17557) as the program datatrove
//! computes them, so that a rule drops the same English documents; where ours differ, the help says so.
//!
//! Where to begin reading: `functions.rs` is the table, `tokens.rs` says what a word is, `repeats.rs` how repetition is found
//! in time that hardly depends on the number of rules.

mod analysis;
mod c4;
mod characters;
mod functions;
mod lines;
mod numbers;
mod repeats;
mod tokens;
mod word_list;

pub use analysis::Analysis;
pub use c4::c4_clean;
pub use functions::{FunctionKind, TextFunction, text_functions};
pub(crate) use tokens::is_han;
pub use word_list::{WordList, toxicity_list};

pub(crate) use numbers::spread;
pub(crate) use tokens::{TokenKind, units};
/// Whether a word, as [`Analysis::words`] cuts it, is a function word of English or Chinese, whatever its case.
pub fn is_stopword(word: &str) -> bool {
    word_list::english_stopwords().contains(word) || word_list::chinese_stopwords().contains(word)
}
