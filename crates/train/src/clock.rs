//! Speed of a session: tokens a second, MFU, time left.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Steps over which the reported speed is averaged.
const WINDOW: usize = 20;

/// Measures one session, from its first step on.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    steps: u64,
    recent: VecDeque<(u64, Duration)>,
}

impl Clock {
    pub fn start() -> Self {
        Self { started: Instant::now(), steps: 0, recent: VecDeque::with_capacity(WINDOW + 1) }
    }

    /// Counts one step.
    pub fn step(&mut self, tokens: u64, took: Duration) {
        self.steps += 1;
        self.recent.push_back((tokens, took));
        if self.recent.len() > WINDOW {
            self.recent.pop_front();
        }
    }

    /// Tokens a second over the last steps.
    pub fn recent_speed(&self) -> f64 {
        let tokens: u64 = self.recent.iter().map(|step| step.0).sum();
        let seconds = self.recent.iter().map(|step| step.1).sum::<Duration>().as_secs_f64();
        if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 }
    }

    /// Wall time since the session began.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Seconds that `steps` more steps will take, as the session has gone so far, everything
    /// included.
    pub fn seconds_for(&self, steps: u64) -> f64 {
        self.seconds() / self.steps.max(1) as f64 * steps as f64
    }
}
