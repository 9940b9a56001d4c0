//! Every operation as a composition of Burn's own: differentiable on any device, and the reference against which the
//! CPU kernels are tested. Nothing here is tuned for the CPU.

mod activation;
mod attention;
mod cross_entropy;
mod dropout;
mod embedding;
mod linear;
mod norm;
mod optimizer;
pub(crate) mod recurrent;
mod residual;
mod rotary;
mod softmax;

pub use activation::{activate, geglu_joined, gelu_erf, gelu_tanh, swiglu, swiglu_joined};
pub use attention::{attention, self_attention};
pub use cross_entropy::linear_cross_entropy;
pub use dropout::dropout;
pub use embedding::embedding;
pub use linear::{fused_linear, linear, rounded, widened};
pub use norm::{layer_norm, rms_norm};
pub use optimizer::{adafactor_update, adamw_update, gradient_terms, lion_update, muon_update, sgd_update};
pub use recurrent::{gru, lstm, rnn};
pub use residual::{add_layer_norm, add_rms_norm};
pub use rotary::rotary;
pub use softmax::{log_softmax, softmax};
