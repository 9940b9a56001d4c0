//! The engine's loop: admit, read prompts, give every running sequence its next token.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, TryRecvError},
    },
    time::Instant,
};

use danlu_model::{CausalLm, State};

use super::{
    EngineError, Load, Work,
    sequence::{Progress, Sequence},
};
use crate::{language::LanguageModel, metrics::Metrics};

#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Sequences in the batch.
    pub max_batch: usize,
    /// Prompt tokens read between two decode steps.
    pub prefill_chunk: usize,
}

struct Scheduler<'m> {
    model: &'m CausalLm,
    language: &'m LanguageModel,
    metrics: &'m Metrics,
    limits: Limits,
    waiting: VecDeque<Work>,
    /// In the order of admission.
    running: Vec<Sequence<'m>>,
}

/// Runs until `stop` is set, or until the queue's senders are gone and all work is done.
pub(super) fn run(
    model: &CausalLm,
    language: &LanguageModel,
    limits: Limits,
    queue: &Receiver<Vec<Work>>,
    load: &Load,
    stop: &AtomicBool,
    metrics: &Metrics,
) {
    let mut scheduler = Scheduler { model, language, metrics, limits, waiting: VecDeque::new(), running: Vec::new() };
    loop {
        if scheduler.is_idle() {
            match queue.recv() {
                Ok(request) => scheduler.waiting.extend(request),
                Err(_) => return,
            }
        }
        loop {
            match queue.try_recv() {
                Ok(request) => scheduler.waiting.extend(request),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) if scheduler.is_idle() => return,
                Err(TryRecvError::Disconnected) => break,
            }
        }
        if stop.load(Ordering::Acquire) {
            scheduler.give_up();
            return;
        }
        scheduler.drop_ended();
        scheduler.admit();
        scheduler.publish(load);
        scheduler.prefill();
        scheduler.decode();
        scheduler.publish(load);
    }
}

impl Scheduler<'_> {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Rows of the batch that are taken.
    fn rows(&self) -> usize {
        self.running.iter().map(|sequence| sequence.work.rows()).sum()
    }

    fn publish(&self, load: &Load) {
        let cached: usize = self.running.iter().map(Sequence::cached).sum();
        load.cached_tokens.store(cached, Ordering::Relaxed);
        load.running.store(self.rows(), Ordering::Relaxed);
    }

    /// Frees the places of clients that left and of requests whose time is over.
    fn drop_ended(&mut self) {
        let now = Instant::now();
        let metrics = self.metrics;
        let ended = |work: &Work| {
            if work.events.is_closed() {
                metrics.cancelled.add(1);
                return true;
            }
            if work.deadline <= now {
                metrics.timed_out.add(1);
                drop(work.events.send(super::Event::Failed { error: EngineError::Timeout }));
                return true;
            }
            false
        };
        self.waiting.retain(|work| !ended(work));
        self.running.retain(|sequence| !ended(&sequence.work));
    }

    fn admit(&mut self) {
        let mut rows = self.rows();
        while let Some(work) = self.waiting.front() {
            if rows > 0 && rows + work.rows() > self.limits.max_batch {
                return;
            }
            rows += work.rows();
            let Some(work) = self.waiting.pop_front() else { return };
            self.running.push(Sequence::new(work, self.model, self.language, self.metrics));
        }
    }

    /// Reads prompt tokens, first come first served, up to the step's budget. Each sequence is read
    /// on its own: a prompt's numbers must not depend on its neighbours' lengths.
    fn prefill(&mut self) {
        let mut budget = self.limits.prefill_chunk;
        while budget > 0 {
            let Some(at) = self.running.iter().position(Sequence::in_prefill) else { return };
            let sequence = &mut self.running[at];
            let chunk = sequence.next_chunk(self.limits.prefill_chunk);
            budget = budget.saturating_sub(chunk.len());
            let prompt = Arc::clone(&sequence.work.prompt);
            let logits = step(self.model, &[&prompt[chunk.clone()]], &mut [&mut sequence.state]);
            match logits.map(|mut logits| logits.pop().unwrap_or_default()) {
                Ok(logits) => {
                    sequence.after_chunk(&chunk, &logits);
                    if !sequence.in_prefill() {
                        self.begin(at, &logits);
                    }
                }
                Err(message) => {
                    self.metrics.failed.add(1);
                    sequence.fail(EngineError::Model(message));
                    self.running.remove(at);
                }
            }
        }
    }

    /// The prompt of the sequence at `at` is read: it and all others of the same prompt (`n` replies) begin.
    fn begin(&mut self, at: usize, logits: &[f32]) {
        let first = &self.running[at];
        let siblings: Vec<usize> = (0..self.running.len()).filter(|i| self.running[*i].can_adopt(first)).collect();
        for sibling in &siblings {
            let (state, scores) = self.running[at].prompt_read();
            self.running[*sibling].adopt(state, scores);
        }
        let mut beginning: Vec<usize> = siblings.into_iter().chain([at]).collect();
        // From the back, so that removing one does not move those still to come.
        beginning.sort_unstable_by(|a, b| b.cmp(a));
        for index in beginning {
            if matches!(self.running[index].begin(logits.to_vec()), Progress::Ended) {
                self.running.remove(index);
            }
        }
    }

    /// Gives every sequence behind its prompt one more token, all in one step of the model.
    fn decode(&mut self) {
        let mut ready: Vec<&mut Sequence> = self.running.iter_mut().filter(|one| !one.in_prefill()).collect();
        if ready.is_empty() {
            return;
        }
        let widths: Vec<usize> = ready.iter().map(|one| one.width()).collect();
        let (tokens, mut states): (Vec<_>, Vec<_>) = ready.iter_mut().flat_map(|one| one.pending()).unzip();
        let rows = tokens.len();
        self.metrics.decode_batch_size.observe(rows as f64);
        let outcome = step(self.model, &tokens, &mut states);
        let ended: Vec<bool> = match outcome {
            Ok(logits) if logits.len() == rows => {
                let mut logits = logits.into_iter();
                let taken = ready
                    .iter_mut()
                    .zip(widths)
                    .map(|(one, width)| one.after_decode(logits.by_ref().take(width).collect()));
                taken.map(|progress| matches!(progress, Progress::Ended)).collect()
            }
            Ok(_) => fail_all(&ready, "the model gave logits for another number of sequences", self.metrics),
            Err(message) => fail_all(&ready, &message, self.metrics),
        };
        let mut ended = ended.into_iter();
        // `ended` has one entry for each sequence behind its prompt, in order.
        self.running.retain(|one| one.in_prefill() || !ended.next().unwrap_or(false));
    }

    fn give_up(&mut self) {
        for work in self.waiting.drain(..) {
            drop(work.events.send(super::Event::Failed { error: EngineError::Stopped }));
        }
        for sequence in self.running.drain(..) {
            sequence.fail(EngineError::Stopped);
        }
    }
}

fn fail_all(sequences: &[&mut Sequence], message: &str, metrics: &Metrics) -> Vec<bool> {
    metrics.failed.add(sequences.len() as u64);
    for one in sequences {
        one.fail(EngineError::Model(message.to_owned()));
    }
    vec![true; sequences.len()]
}

/// One step of the model. A panic in it costs the sequences of this step, not the server.
fn step(model: &CausalLm, tokens: &[&[u32]], states: &mut [&mut State]) -> Result<Vec<Vec<f32>>, String> {
    match catch_unwind(AssertUnwindSafe(|| model.step(tokens, states))) {
        Ok(Ok(logits)) => Ok(logits),
        Ok(Err(error)) => {
            tracing::error!(%error, "the model failed");
            Err(error.to_string())
        }
        Err(_) => {
            tracing::error!("the model panicked");
            Err("the model failed unexpectedly; see the server's log".into())
        }
    }
}
