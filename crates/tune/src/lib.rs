//! Tuning: models that are made for one task.
//!
//! The room owns recipes of tasks ([`TuneRecipe`]) and what they do ([`tune()`]): examples are collected and parted, a
//! vocabulary is learnt, an encoder learns the language from texts without labels (masked language modelling), then the
//! task from labels, and what came of it is measured beside a bag of words. It uses `data` for examples, `train` for the
//! loop, `model` for the network and `eval` for scores; it holds no command line and prints nothing.
//!
//! Every stage is an artifact as in `pipeline`: it is skipped when nothing that it depends on has changed, and a killed
//! one goes on where it stopped.
//!
//! Begin reading at [`TuneRecipe`], then `stages.rs`; `task.rs` is where an encoder meets the training loop.

mod error;
mod evaluate;
mod examples;
mod order;
mod recipe;
mod stages;
mod task;

pub use error::TuneError;
pub use evaluate::{Baseline, TuneScores};
pub use examples::{Example, ExampleCounts, Examples};
pub use order::Order;
pub use recipe::{ExamplesConfig, PretrainConfig, TuneRecipe};
pub use stages::{TuneOptions, TuneOutcome, TuneStage, Watch, tune};
pub use task::{EncoderTask, Goal, Start};
