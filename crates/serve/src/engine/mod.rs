//! The engine: one thread that owns the model and gives every running request its next token in turn.
//!
//! A request is one or several sequences. Each waits in a queue, has its prompt read in chunks
//! (prefill), and then gets one token in every step that all running sequences share (decode), so
//! that requests join and leave the batch at any step (continuous batching, as in Orca, OSDI 2022).
//! The HTTP side talks to it by [`Engine::submit`] and by channels of [`Event`]s; a receiver that
//! is dropped frees its sequence's place at the next step.

mod assemble;
mod scheduler;
mod sequence;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc as threads,
    },
    thread::JoinHandle,
    time::Instant,
};

use danlu_model::{BeamConfig, CausalLm, LogitsRules, SamplingConfig};
use tokio::sync::mpsc;

pub(crate) use assemble::{Assembler, Piece, TokenScore};

use crate::{ServeConfig, ServeError, language::LanguageModel, metrics::Metrics, structured::Guide};

/// What all sequences of one request share.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub sampling: SamplingConfig,
    /// Tokens to generate at most; may be 0 where the prompt is echoed.
    pub max_tokens: usize,
    pub stops: Vec<String>,
    /// Number of likeliest tokens to report beside each token's own probability; `None`: no scores.
    pub logprobs: Option<usize>,
    /// Show the prompt (and its scores, if asked for) before the reply.
    pub echo: bool,
    /// Go on beyond the end-of-text token.
    pub ignore_eos: bool,
    /// Biases, penalties and bans.
    pub rules: LogitsRules,
    /// The form that the reply must have.
    pub guide: Option<Guide>,
    /// Beam search in place of sampling.
    pub beams: Option<BeamConfig>,
}

/// One sequence to be continued; or one whose best continuations are to be found by beam search.
pub(crate) struct Work {
    /// Its number in the request. Of beam search the first result has it, the others those that follow.
    pub index: usize,
    pub prompt: Arc<[u32]>,
    pub settings: Arc<Settings>,
    pub seed: u64,
    pub arrived: Instant,
    pub deadline: Instant,
    pub events: mpsc::UnboundedSender<Event>,
    /// Held for their `Drop`: given back with the work.
    pub places: Vec<Place>,
}

impl Work {
    /// Rows of the batch that it may take.
    pub fn rows(&self) -> usize {
        self.places.len()
    }
}

/// What the engine says of a sequence, named by its index in the request.
#[derive(Debug)]
pub(crate) enum Event {
    Piece { index: usize, piece: Piece },
    Finished { index: usize, reason: FinishReason, tokens: usize },
    Failed { error: EngineError },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FinishReason {
    /// End of text, or a stop string.
    Stop,
    /// As many tokens as asked for, or as the context holds.
    Length,
}

impl FinishReason {
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EngineError {
    /// The request's time is over.
    Timeout,
    /// The model failed; the message is for the log and the client.
    Model(String),
    /// The form that this parameter asked for could not be held.
    Guide { param: &'static str, message: String },
    /// The server ended before the reply did.
    Stopped,
}

/// How much the engine has to do, read by `/metrics` and by admission.
#[derive(Default)]
pub(crate) struct Load {
    /// Sequences accepted and not yet ended: running and waiting.
    accepted: AtomicUsize,
    /// Sequences that hold a place in the batch.
    pub running: AtomicUsize,
    /// Tokens in the caches of running sequences.
    pub cached_tokens: AtomicUsize,
}

impl Load {
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    pub fn waiting(&self) -> usize {
        self.accepted.load(Ordering::Relaxed).saturating_sub(self.running())
    }

    pub fn cached_tokens(&self) -> usize {
        self.cached_tokens.load(Ordering::Relaxed)
    }
}

/// The right to have one sequence in the engine; dropping it gives the place back.
pub(crate) struct Place(Arc<Load>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.accepted.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The queue has no room for the request.
#[derive(Debug)]
pub(crate) struct QueueFull {
    pub waiting: usize,
}

/// The handle by which the HTTP side uses the engine.
pub(crate) struct Engine {
    /// A request's sequences travel together, so that the engine sees all that share a prompt before it reads it.
    requests: threads::Sender<Vec<Work>>,
    pub load: Arc<Load>,
    stop: Arc<AtomicBool>,
    /// Running and waiting sequences together.
    capacity: usize,
}

impl Engine {
    /// Starts the thread. It ends after [`Engine::stop`], or when the handle is dropped and all work is done.
    pub fn start(
        model: CausalLm,
        language: Arc<LanguageModel>,
        config: &ServeConfig,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, JoinHandle<()>), ServeError> {
        let (requests, queue) = threads::channel();
        let load = Arc::new(Load::default());
        let stop = Arc::new(AtomicBool::new(false));
        let limits = scheduler::Limits { max_batch: config.max_batch, prefill_chunk: config.prefill_chunk };
        let (thread_load, thread_stop) = (Arc::clone(&load), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("danlu-engine".into())
            .spawn(move || scheduler::run(&model, &language, limits, &queue, &thread_load, &thread_stop, &metrics))
            .map_err(|cause| ServeError::Start { what: "the engine's thread", cause })?;
        let capacity = config.max_batch.saturating_add(config.max_queue);
        Ok((Self { requests, load, stop, capacity }, thread))
    }

    /// Sequences that one request can ever have in the engine.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Takes `count` places at once, or none.
    pub fn reserve(&self, count: usize) -> Result<Vec<Place>, QueueFull> {
        let fits = |accepted: usize| accepted.checked_add(count).filter(|sum| *sum <= self.capacity);
        match self.load.accepted.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits) {
            Ok(_) => Ok((0..count).map(|_| Place(Arc::clone(&self.load))).collect()),
            Err(_) => Err(QueueFull { waiting: self.load.waiting() }),
        }
    }

    /// Hands over all sequences of a request. If the thread has ended, their channel closes, which its receiver notices.
    pub fn submit(&self, request: Vec<Work>) {
        drop(self.requests.send(request));
    }

    /// Makes the thread give up what still runs at its next step.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }
}
