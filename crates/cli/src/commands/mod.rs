//! One file a command: resolve the arguments, make one library call, render the answer.

pub mod ablate;
pub mod bench;
pub mod caption;
pub mod convert;
pub mod data;
pub mod encoder;
pub mod eval;
pub mod feedback;
pub mod generate;
pub mod plan;
pub mod recipe;
pub mod report;
pub mod run;
pub mod runs;
pub mod serve;
mod texts;
pub mod transcribe;
pub mod translate;
pub mod tune;
pub mod work;
