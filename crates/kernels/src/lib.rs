//! CPU arithmetic on plain slices.
//!
//! This room owns the inner loops of training and inference: matrix products, attention, normalisation,
//! activations, cross-entropy, CTC, optimiser updates and int8 weights. It knows nothing of Burn, of models or of
//! files, and with `memory` it is the only crate that may say `unsafe`.
//!
//! How a kernel is built:
//! * The loop is plain Rust over fixed-width lanes, written once as an `#[inline(always)]` body and compiled three
//!   times by `multiversion!` ([`cpu`]): AVX-512, AVX2 with FMA, and portable. The choice is made at run time, so one
//!   binary serves all machines; `DANLU_CPU=avx512|avx2|portable` forces a lower path.
//! * Work is cut by the *shape* of the problem, never by the number of threads, and partial sums are added in a fixed
//!   order. A result therefore does not depend on scheduling or on how many threads there are.
//! * Beside each kernel stands a plain scalar reference, and a property test holds the two together over odd shapes.
//!
//! Matrices are row-major. Functions panic on slices whose lengths contradict the stated shape: that is a bug in the
//! caller (`ops` checks shapes first), never a property of the user's input.
//!
//! Begin reading at [`cpu`], then [`int8`] for a complete small kernel.

// A kernel takes its slices, sizes and strides side by side, and names its lanes by index: both read best so here.
#![allow(clippy::too_many_arguments, clippy::needless_range_loop)]

#[macro_use]
pub mod cpu;
#[macro_use]
mod vector;
pub mod activation;
pub mod attention;
pub mod cached;
pub mod cross_entropy;
pub mod ctc;
pub mod dropout;
pub mod elementwise;
pub mod embedding;
pub mod gemm;
pub mod int8;
pub mod linear;
mod math;
pub mod norm;
pub mod optimizer;
mod precision;
mod probe;
pub mod random;
pub mod recurrent;
pub mod rotary;
pub mod softmax;
#[cfg(test)]
mod testing;
mod values;

pub use cached::{CachedAttention, CachedSequence, attend_cached};
pub use cpu::Level;
pub use int8::Int8Weight;
pub use precision::Precision;
pub use probe::peak_gflops;
pub use values::{ValueVec, Values, ValuesMut};
