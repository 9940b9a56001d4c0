//! Work shared among processes on any machines, through nothing but an object store.
//!
//! A [`Job`] is a list of tasks under one address (a folder, or `s3://`, `gs://`, `az://`). Any number of workers claim
//! tasks one by one; a claim that shows no sign of life for the length of a lease is taken over; a task's results are
//! committed once, by whoever comes first. Tasks must be idempotent: the same input gives the same output, so it does not
//! matter who wins, and a worker may be killed at any instant.
//!
//! All of it stands on one operation, which folders and all stores have: create an object unless it exists.
//!
//! ```text
//! job.json                          the tasks and what they share; never changed
//! claims/TASK/000000                who works on it; written again as a sign of life. A taker-over creates the next number
//! results/TASK/WORKER-000000/FILE   what a worker made; counts only when named by
//! done/TASK.json                    which results count, with their hashes; created once
//! failures/TASK/WORKER-000000.json  why a task failed
//! ```
//!
//! A run with several jobs puts each below the address under a name of its own, and shows in `run.json` at the address
//! whether more may come ([`Presence`]): a sign of life like that of a claim.
//!
//! Clocks are never compared between machines: a worker takes over what *it* has seen unchanged for a whole lease.
//!
//! This room knows nothing of data or models. Begin reading at `job.rs`, then `worker.rs`.

mod bucket;
mod claim;
mod error;
mod job;
mod presence;
mod worker;

pub use bucket::Bucket;
pub use error::WorkError;
pub use job::{DoneFile, DoneTask, Job, JobSpec, JobStatus, TaskSpec};
pub use presence::{Presence, RunWatch};
pub use worker::{Output, WorkOptions, WorkSummary, work};
