//! Training: from token shards to a model folder.
//!
//! What it owns: the settings of a run ([`TrainConfig`]), the learning-rate [`schedule`], the
//! optimiser over a whole model ([`optimizer`]), what regularises it ([`regularize`]), the watchdog ([`watchdog`]), checkpoints
//! ([`checkpoint`]), the loop that joins them ([`run()`]) and the estimate before it ([`plan()`]). What is trained is a
//! [`Task`]: a model with its examples and its loss; the first is language modelling ([`train`]).
//!
//! It uses `data` for batches, `model` for the network, `ops` for arithmetic and `store` for files
//! and metrics. It prints nothing and knows no command line: what happens goes to an
//! [`Observer`] and to the metrics.
//!
//! Three promises hold it together:
//! - The data of a step is a pure function of the step and of the list of skipped groups
//!   ([`order`]). Everything else a step depends on lies in the checkpoint. So a run killed at any
//!   instant and started again ends with the weights of an uninterrupted one, to the bit, on the
//!   CPU with the same number of threads.
//! - A step of `accumulate` micro-batches has the loss and the gradient of one large batch: sums
//!   over tokens are added, and divided once.
//! - Nothing that failed goes into the weights: loss and gradient are judged before the update.
//!
//! Begin reading at [`run()`] in `run.rs` and [`Task`], then `checkpoint.rs`.

pub mod checkpoint;
mod clock;
mod config;
mod error;
mod exact;
mod export;
mod language;
pub mod memory;
mod observer;
pub mod optimizer;
pub mod order;
mod plan;
pub mod regularize;
mod run;
pub mod schedule;
mod state;
pub mod step;
mod task;
pub mod tensors;
pub mod watchdog;

pub use config::{OptimizerKind, ScheduleKind, TrainConfig};
pub use error::TrainError;
pub use export::copy_tokenizer;
pub use language::{Job, train};
pub use memory::MemoryPlan;
pub use observer::{Observer, Silent, StepInfo, ValidationInfo};
pub use plan::{ASSUMED_MFU, Basis, Plan, Rates, measured_peak, plan, plan_for};
pub use regularize::{AverageConfig, AverageKind, NoiseConfig, ParameterGroup};
pub use run::{Ending, Run, TrainOutcome, run};
pub use schedule::{Plateau, PlateauConfig};
pub use state::{Best, Finish, Identity, TrainState};
pub use task::{LossSum, Task};
