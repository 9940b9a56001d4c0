//! What a run tells its caller while it works; the command line draws it.

use danlu_train::{Plan, StepInfo, ValidationInfo};

use crate::graph::{Decision, Stage};

/// How far a stage has come.
#[derive(Clone, Debug)]
pub struct Progress {
    /// What is being done, in two or three words.
    pub label: String,
    pub done: u64,
    /// Unknown for streams.
    pub total: Option<u64>,
    /// What is counted: `documents`, `tokens`, ...
    pub unit: &'static str,
}

/// Hooks; all do nothing unless overridden.
pub trait Observer: Send {
    /// Before anything runs.
    fn decided(&mut self, _run: &str, _decisions: &[(Stage, Decision)]) {}
    fn stage_started(&mut self, _stage: Stage, _why: &str) {}
    fn stage_reused(&mut self, _stage: Stage) {}
    fn progress(&mut self, _progress: &Progress) {}
    /// A line worth keeping: a resume, a rollback, a warning.
    fn message(&mut self, _stage: Stage, _text: &str) {}
    /// The start-up table of training.
    fn train_planned(&mut self, _plan: &Plan) {}
    fn train_step(&mut self, _step: &StepInfo) {}
    fn validated(&mut self, _validation: &ValidationInfo) {}
    /// With the stage's wall time and its result in one line.
    fn stage_finished(&mut self, _stage: Stage, _seconds: f64, _result: &str) {}
}

/// Says nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
