//! Everything of danlu that lies on disk or in a database.
//!
//! What it owns:
//! - [`atomic`]: files and folders that appear whole or not at all;
//! - [`hash`]: the content hashes that name artifacts;
//! - [`Workspace`]: the `runs/` folder, and [`ArtifactStore`], the content-addressed results of stages inside it;
//! - [`RunDb`]: one SQLite file with runs, stages, metrics, served replies and the feedback on them;
//! - [`MetricsWriter`]: metrics from a training loop to the database and to TensorBoard ([`tensorboard`]), without ever
//!   making the loop wait;
//! - [`environment`]: what machine this is, for reports.
//!
//! It holds no domain logic: it does not know what a tokenizer or a model is, only stages, keys, files and rows. It uses
//! no other crate of the project. The formats are drawn in `docs/formats.md`.
//!
//! Begin reading at [`Workspace`], then [`ArtifactStore::publish`].

mod artifact;
pub mod atomic;
mod database;
mod environment;
mod error;
pub mod hash;
mod lock;
mod metrics_writer;
pub mod tensorboard;
mod time;
mod workspace;

pub use artifact::{Artifact, ArtifactStore, MANIFEST_FILE, Manifest};
pub use database::{
    Feedback, FeedbackRow, NewFeedback, NewReply, Reply, Run, RunDb, RunState, StageRecord, StageState,
};
pub use environment::environment;
pub use error::StoreError;
pub use hash::ContentHash;
pub use lock::Lock;
pub use metrics_writer::MetricsWriter;
pub use time::now_rfc3339;
pub use workspace::{DATABASE_FILE, Workspace};
