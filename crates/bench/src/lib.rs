//! How fast danlu is on this machine: fixed workloads, measured the same way every time.
//!
//! The room owns the workloads ([`Workload`]: model, batch, sequence length, vocabulary), what is measured of each
//! ([`train`], [`gemm`], [`attention`], [`decode`], and [`overview`] for a short look at all of them) and how times
//! become figures ([`Spread`]). It may use `model`, `train` and `ops`; a training step here is the training loop's own,
//! not a copy of it. It prints nothing: every figure is a field of a serializable struct, and the same structs are the
//! JSON that `bench/run` reads to put PyTorch beside danlu.
//!
//! Three rules keep the figures honest:
//! * Rates are of the median over all timed steps; the spread stands beside it.
//! * Warm-up steps are not timed, and nothing else is left out of a step: ids are copied to the device inside it.
//! * The machine's peak is measured in the same process, right before.
//!
//! Begin reading at [`Workload`], then [`train`].

mod attention;
mod decode;
mod error;
mod gemm;
mod machine;
mod overview;
mod timing;
mod train;
mod workload;

pub use danlu_model::{Precision, Recompute};

pub use attention::{AttentionCase, AttentionFigures, Pass, attention};
pub use decode::{DecodeCase, DecodeFigures, DecodeSettings, decode};
pub use error::BenchError;
pub use gemm::{GemmFigures, Product, ProductFigures, gemm, gemm_shape};
pub use machine::{Machine, peak_rss_bytes};
pub use overview::{Overview, Peak, overview};
pub use timing::{Budget, Spread};
pub use train::{TrainFigures, TrainSettings, train};
pub use workload::Workload;
