//! Documents on disk between the stages: one Parquet table a file, which any tool that reads Parquet can look into.
//!
//! The columns are in `schema.rs` and, for readers of the files, in docs/formats.md. A table says what it is and which
//! version of the format it has in its file metadata; another file, or a newer one, is refused with that reason.

mod read;
mod schema;
mod write;

pub use read::{DocumentReader, read_documents};
pub(crate) use read::{guarded, read_statistics};
pub use schema::TABLE_VERSION;
pub(crate) use schema::{Fate, is_documents};
pub use write::DocumentWriter;
pub(crate) use write::failed as write_failed;

/// The file of a split's documents, such as `train.parquet`.
pub fn documents_file(split: &str) -> String {
    format!("{split}.parquet")
}

#[cfg(test)]
mod tests;
