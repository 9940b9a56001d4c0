//! SQL over documents: rules that drop them, and queries over their tables, embedded by DataFusion.
//!
//! This room owns what is measured by SQL: the functions of a text as SQL functions ([`Functions`]), rules that are
//! compiled once and judge documents chunk by chunk ([`Rules`]), an engine for queries over Parquet files within a
//! given memory ([`Engine`]), and the choice between it and a cluster ([`QueryEngine`]). The functions themselves are in the room `text`. It knows nothing of recipes or stages.
//!
//! Where to begin reading: `rules/mod.rs`. Everything is deterministic: a rule may only use functions that always give
//! the same answer, and what it finds of a document does not depend on the documents beside it.

mod anywhere;
mod arrays;
mod engine;
mod error;
mod functions;
mod metadata;
mod rules;

pub use anywhere::QueryEngine;
pub use engine::Engine;
pub use error::{Place, SqlError};
pub use functions::{Functions, Scorer};
pub use rules::{COLUMNS, Judged, Row, Rule, Rules, column_name};

/// The columns of a query's result.
pub use datafusion::arrow;
