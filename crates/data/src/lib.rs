//! Data: from files that somebody has to batches that a model trains on.
//!
//! ```text
//! sources --collect--> documents --clean--> train / valid / test / dropped(reason) --write_shards--> shards --> batches
//! ```
//!
//! This room owns the one record type ([`Document`]), the readers of source files ([`SourceConfig`], [`collect`]), the
//! cleaning steps and their accounts ([`clean`], [`Funnel`]), the token shard format ([`Shard`]) and the order in which
//! training sees the tokens ([`Batches`]). It never sees a model. Corpora are streamed, never held: what grows with the
//! number of documents is 16 bytes each for exact deduplication and 24 bytes each for a shard's table.
//!
//! Where to begin reading: `document.rs`, then `collect.rs`, `clean/mod.rs`, `shard/mod.rs`, `batches.rs`: the order in
//! which the data flows. Nothing is dropped silently: every document that does not reach a shard has a counted reason.

mod aside;
mod batches;
mod clean;
mod collect;
mod document;
mod error;
mod journal;
mod permutation;
mod progress;
mod shard;
mod show;
mod source;
mod storage;
mod tokenizer;

pub use batches::{Batch, BatchConfig, Batches};
pub use clean::{
    CleanConfig, Count, DROPPED_FILE, DropRow, DroppedDocument, FUNNEL_FILE, Funnel, FunnelShare, Outcome, Reason,
    SplitConfig, SplitRow, Step, StepFunnel, clean, standard_steps,
};
pub use collect::{COLLECTED_FILE, CollectSummary, SourceSummary, collect};
pub use danlu_formats::html::HtmlOptions;
pub use danlu_formats::wikitext::WikiOptions;
pub use document::Document;
pub use error::DataError;
pub use permutation::Permutation;
pub use progress::{Progress, ProgressFn};
pub use shard::{Shard, ShardCount, ShardDocument, ShardSummary, TokenSlice, write_shards};
pub use show::{ShowFilter, Shown, show};
pub use source::{
    ChatFormat, Format, HttpConfig, KeptFields, Problem, SourceConfig, TextSplit, read_source, source_state,
};
pub use storage::{DocumentReader, DocumentWriter, read_documents};
pub use tokenizer::train_tokenizer;
