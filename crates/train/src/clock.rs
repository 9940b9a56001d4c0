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
    tokens: u64,
    in_steps: Duration,
    recent: VecDeque<(u64, Duration)>,
}

impl Clock {
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            steps: 0,
            tokens: 0,
            in_steps: Duration::ZERO,
            recent: VecDeque::with_capacity(WINDOW + 1),
        }
    }

    /// Counts one step.
    pub fn step(&mut self, tokens: u64, took: Duration) {
        self.steps += 1;
        self.tokens += tokens;
        self.in_steps += took;
        self.recent.push_back((tokens, took));
        if self.recent.len() > WINDOW {
            self.recent.pop_front();
        }
    }

    /// Tokens a second over the last steps.
    pub fn recent_speed(&self) -> f64 {
        let tokens: u64 = self.recent.iter().map(|step| step.0).sum();
        rate(tokens, self.recent.iter().map(|step| step.1).sum())
    }

    /// Tokens a second over all steps of the session; validation and checkpoints do not count.
    pub fn session_speed(&self) -> f64 {
        rate(self.tokens, self.in_steps)
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

fn rate(count: u64, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}
