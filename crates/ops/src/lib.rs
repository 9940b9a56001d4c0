//! Differentiable tensor functions: what the layers of `model` and the loop of `train` are made of.
//!
//! The room owns the operations that are worth a kernel of their own: linear layers, normalisation, rotary positions,
//! attention, recurrent layers, activations, the linear layer fused with cross-entropy, the embedding, the optimisers'
//! updates and the other [`losses`]. Each is a plain function on Burn's `Tensor`, one file for each concept. On the CPU
//! (Burn's `flex` device) in f32 it runs `danlu-kernels`, forward and backward (`flex`); on any other device or element
//! type it is composed of Burn's own operations ([`composed`]), which differentiate and fuse there. Callers never ask
//! which.
//!
//! It may touch `kernels` and Burn, and knows nothing of models, files or text.
//!
//! Shapes are the caller's promise, as in Burn: a mismatch panics with the sizes. Models check theirs when they are
//! built or loaded, so user input cannot bring one about.
//!
//! Begin reading at [`linear`], then [`composed`] for what each function means and `flex` for how the CPU's kernels
//! come under Burn.

mod activation;
mod attention;
pub mod composed;
mod cross_entropy;
mod dropout;
mod embedding;
mod flex;
mod int8;
mod linear;
pub mod losses;
mod norm;
mod optimizer;
mod recurrent;
mod residual;
mod rotary;
mod softmax;

pub use activation::{Activation, activate, gelu_erf, gelu_tanh, relu_squared, silu, swiglu, swiglu_joined};
pub use attention::{AttentionMask, AttentionOptions, AttentionSegments, KeyPadding, attention, self_attention};
pub use cross_entropy::{CrossEntropy, IGNORED, Soft, SoftTargets, linear_cross_entropy};
pub use dropout::{add_dropout, dropout};
pub use embedding::embedding;
pub use int8::linear_int8;
pub use linear::{Before, FusedLinear, fused_linear, linear};
pub use norm::{layer_norm, rms_norm};
pub use optimizer::{
    adafactor_update, adamw_update, average_update, gradient_terms, lion_update, muon_update, sgd_update, sum_squares,
};
pub use recurrent::{
    Int8RecurrentWeights, Nonlinearity, RecurrentOptions, RecurrentWeights, gru, lstm, recurrent_int8, rnn,
};
pub use residual::{add, add_in_place, add_layer_norm, add_rms_norm};
pub use rotary::rotary;
pub use softmax::{log_softmax, softmax};

pub use danlu_kernels::attention::Joined as JoinedHeads;
pub use danlu_kernels::cached::{CachedAttention, CachedSequence, attend_cached};
pub use danlu_kernels::cross_entropy::{chunk_rows, packs_weight};
pub use danlu_kernels::int8::Int8Weight;
pub use danlu_kernels::optimizer::{Adafactor, AdamW, GradientTerms, Lion, Muon, Sgd};
pub use danlu_kernels::random::DropoutMask;
pub use danlu_kernels::recurrent::Cell;
pub use danlu_kernels::{Precision, peak_gflops};
