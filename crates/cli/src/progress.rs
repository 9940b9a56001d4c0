//! Draws a run as it goes: bars on a terminal, plain lines elsewhere.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use danlu_pipeline::{Decision, Observer, Progress, Stage};
use danlu_train::{Plan, StepInfo, ValidationInfo};
use indicatif::{ProgressBar, ProgressStyle};

use crate::output::{count, duration, fancy, note};

/// Plain lines come at most this often.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// The observer of `danlu run`.
pub struct Screen {
    bar: Option<ProgressBar>,
    last_plain: Option<Instant>,
    last_label: String,
}

impl Screen {
    pub fn new() -> Self {
        Self { bar: None, last_plain: None, last_label: String::new() }
    }

    /// A line that stays, above the bar.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note(text)),
            None => note(text),
        }
    }

    fn plain_is_due(&mut self) -> bool {
        let due = self.last_plain.is_none_or(|t| t.elapsed() >= PLAIN_EVERY);
        if due {
            self.last_plain = Some(Instant::now());
        }
        due
    }

    fn draw(&mut self, label: &str, done: u64, total: Option<u64>, text: &str) {
        if !fancy() {
            let finished = total == Some(done);
            if self.plain_is_due() || finished {
                note(&format!("  {text}"));
            }
            return;
        }
        if self.bar.is_none() || self.last_label != label {
            self.clear();
            self.last_label = label.to_owned();
            let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
            let template = if total.is_some() { "  {bar:28} {percent:>3}%  {msg}" } else { "  {spinner} {msg}" };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("━━─"));
            }
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            if let Some(total) = total {
                bar.set_length(total);
            }
            bar.set_position(done);
            bar.set_message(text.to_owned());
        }
    }

    /// Takes the bar away.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.last_plain = None;
        self.last_label.clear();
    }
}

/// `step 120/600  loss 5.123  lr 8.0e-4  |g| 0.93  4,321 tok/s  MFU 31%  2m10s left`
pub fn step_line(s: &StepInfo) -> String {
    let mfu = s.mfu.map_or(String::new(), |m| format!("  MFU {:.0}%", m * 100.0));
    format!(
        "step {}/{}  loss {:.3}  lr {:.1e}  |g| {:.2}  {} tok/s{mfu}  {} left",
        s.step,
        s.steps,
        s.loss,
        s.learning_rate,
        s.gradient_norm,
        count(s.tokens_per_second.round() as u64),
        duration(s.seconds_left),
    )
}

impl Observer for Screen {
    fn decided(&mut self, run: &str, decisions: &[(Stage, Decision)]) {
        let runs = decisions.iter().filter(|(_, d)| matches!(d, Decision::Run { .. })).count();
        self.say(&format!("run {run}: {runs} of {} stages to run", decisions.len()));
    }

    fn stage_started(&mut self, stage: Stage, why: &str) {
        self.clear();
        self.say(&format!("{stage:<10} starts  ({why})"));
    }

    fn stage_reused(&mut self, stage: Stage) {
        self.say(&format!("{stage:<10} unchanged"));
    }

    fn progress(&mut self, p: &Progress) {
        let text = match p.total {
            Some(total) => format!("{}  {}/{} {}", p.label, count(p.done), count(total), p.unit),
            None => format!("{}  {} {}", p.label, count(p.done), p.unit),
        };
        self.draw(&p.label.clone(), p.done, p.total, &text);
    }

    fn message(&mut self, stage: Stage, text: &str) {
        self.say(&format!("{stage:<10} {text}"));
    }

    fn train_planned(&mut self, plan: &Plan) {
        self.say(&crate::commands::plan::plan_table(plan));
    }

    fn train_step(&mut self, s: &StepInfo) {
        self.draw("train", s.step, Some(s.steps), &step_line(s));
    }

    fn validated(&mut self, v: &ValidationInfo) {
        let best = if v.best { "  (best so far)" } else { "" };
        self.say(&format!("  step {}  validation loss {:.4}{best}", v.step, v.loss));
    }

    fn stage_finished(&mut self, stage: Stage, seconds: f64, result: &str) {
        self.clear();
        self.say(&format!("{stage:<10} done in {}: {result}", duration(seconds)));
    }
}

/// Draws the progress of data work that belongs to no run; the bar goes when the work ends.
pub fn data_progress() -> impl Fn(danlu_data::Progress<'_>) + Sync {
    let screen = Mutex::new(Bar(Screen::new()));
    move |p: danlu_data::Progress<'_>| {
        // A poisoned lock means that drawing panicked; the work itself is sound.
        let mut screen = screen.lock().unwrap_or_else(PoisonError::into_inner);
        let progress = Progress { label: p.label.to_owned(), done: p.done, total: p.total, unit: p.unit };
        screen.0.progress(&progress);
    }
}

/// Clears what was drawn when it is dropped.
struct Bar(Screen);

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.clear();
    }
}
