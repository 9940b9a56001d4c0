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
mod repeats;
mod tokens;
mod word_list;

pub use analysis::Analysis;
pub use c4::c4_clean;
pub use functions::{FunctionKind, TextFunction, text_functions};
pub use word_list::{WordList, toxicity_list};
