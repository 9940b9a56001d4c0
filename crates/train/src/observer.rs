//! What a run tells its caller while it goes on.

use serde::{Deserialize, Serialize};

/// One healthy step, after its update.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepInfo {
    /// Updates made so far; the first step reports 1.
    pub step: u64,
    pub steps: u64,
    /// Mean loss over the step's tokens, nats.
    pub loss: f64,
    pub learning_rate: f64,
    /// Norm of the whole gradient before clipping.
    pub gradient_norm: f64,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Mean over the last steps of this session.
    pub tokens_per_second: f64,
    /// Model FLOP/s over the machine's measured peak, 0 to 1; none where the peak is unknown.
    pub mfu: Option<f64>,
    /// By the speed of this session, validation and checkpoints included.
    pub seconds_left: f64,
}

/// One validation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationInfo {
    pub step: u64,
    /// Mean loss over the validation tokens, nats.
    pub loss: f64,
    pub tokens: u64,
    /// Whether it is the lowest so far.
    pub best: bool,
    pub seconds: f64,
}

/// Hooks of the caller. All do nothing unless overridden.
pub trait Observer {
    /// The machine's measured peak in FLOP/s and the parameter count, before the first step.
    fn on_start(&mut self, _parameters: u64, _first_step: u64, _peak_flops: Option<f64>) {}
    /// After each healthy step.
    fn on_step(&mut self, _info: &StepInfo) {}
    fn on_validation(&mut self, _info: &ValidationInfo) {}
    /// Something worth a line: resumed, checkpoint damaged, rolled back, stopped early.
    fn on_event(&mut self, _message: &str) {}
    /// Replaces the loss that the watchdog sees for a group of micro-batches. Only for tests of
    /// the watchdog; leave it alone.
    #[doc(hidden)]
    fn tamper_loss(&mut self, _group: u64, loss: f64) -> f64 {
        loss
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
