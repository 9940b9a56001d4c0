//! Every operation as a composition of Burn's own: differentiable on any device, and the reference against which the
//! CPU kernels are tested. Nothing here is tuned for the CPU.

mod activation;
mod attention;
mod cross_entropy;
mod embedding;
mod linear;
mod norm;
mod optimizer;
mod recurrent;
mod rotary;

pub use activation::{gelu_erf, gelu_tanh, swiglu};
pub use attention::causal_attention;
pub use cross_entropy::linear_cross_entropy;
pub use embedding::embedding;
pub use linear::{fused_linear, linear, rounded};
pub use norm::{layer_norm, rms_norm};
pub use optimizer::adamw_update;
pub use recurrent::{gru, lstm, rnn};
pub use rotary::rotary;
