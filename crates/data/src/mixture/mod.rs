//! Mixtures: how much of each source training sees, how often, and in which order.
//!
//! ```text
//! documents --write_shards--> natural shard --mix_shard--> mixed shard --> batches
//! ```
//!
//! A mixture is realised when the training shard is written: documents are repeated and ordered there, so that the batch at
//! step n stays a pure function of (shard, n). [`Mixture::plan`] is arithmetic alone; [`mix_shard`] copies tokens.

mod config;
mod plan;
mod write;

pub use config::{CurriculumConfig, MixtureConfig};
pub use plan::{Mixture, MixtureItem, MixtureRow, MixtureSummary};
pub use write::{mix_shard, mixture_items};
