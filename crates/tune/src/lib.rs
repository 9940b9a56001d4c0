//! Tuning: models that are made for one task.
//!
//! The room owns recipes of tasks and what they do. Each kind of task has a folder with its recipe, its examples, its meeting
//! with the training loop, its stages (`run`) and its scores beside baselines:
//!
//! * [`classification`]: texts with labels, learnt by an encoder that has read them first;
//! * [`translation`]: texts with their translations, learnt by an encoder-decoder;
//! * [`captions`]: pictures with captions, learnt by a language model that sees.
//!
//! It uses `data` for examples, `train` for the loop, `model` for the networks and `eval` for scores; it holds no command
//! line and prints nothing. Every stage is an artifact as in `pipeline`: it is skipped when nothing that it depends on has
//! changed, and a killed one goes on where it stopped.
//!
//! Begin reading at [`classification::run`], then `stages.rs`.

pub mod captions;
pub mod classification;
mod error;
mod order;
mod recipe;
mod split;
mod stages;
pub mod translation;

pub use error::TuneError;
pub use order::Order;
pub use stages::{TaskKind, TuneOptions, TuneStage, Watch};
