//! The two generating endpoints: read the request, hand it to the engine, pass its events on.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json,
    body::Bytes,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event as Message, KeepAlive, Sse},
    },
};
use danlu_store::NewReply;
use futures::stream::{self, Stream};
use serde_json::Value;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::{
    api_error::ApiError,
    app::App,
    engine::{EngineError, Event, Work},
    reply::{Choice, Head, Usage},
    request::{Endpoint, Request, random},
};

/// Comments sent while nothing else is, so that proxies keep the connection and lost clients are noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Answers a request to either endpoint.
pub(crate) async fn generate(app: Arc<App>, endpoint: Endpoint, body: Bytes) -> Result<Response, ApiError> {
    if app.draining.load(Ordering::Acquire) {
        return Err(ApiError::shutting_down());
    }
    // A long prompt takes a while to be cut into tokens; other connections go on meanwhile.
    let parsing = Arc::clone(&app);
    let parse = move || Request::parse(endpoint, &body, &parsing.language, &parsing.config);
    let request = tokio::task::spawn_blocking(parse)
        .await
        .map_err(|_| ApiError::server("The request could not be read; see the server's log."))??;
    let stream = request.stream;
    let mut running = Running::start(app, request)?;
    let replied = (HeaderName::from_static("x-reply-id"), running.head.id.clone());
    if stream {
        let sse = Sse::new(running.into_stream()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
        // Proxies such as nginx would gather the stream otherwise.
        let unbuffered = (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        return Ok(([replied], [unbuffered], sse).into_response());
    }
    while running.choices.iter().any(|choice| choice.finish.is_none()) {
        let event = running.events.recv().await.unwrap_or(Event::Failed { error: EngineError::Stopped });
        running.take(&event)?;
    }
    running.record().await;
    let reply = running.head.reply(&running.choices, running.with_scores(), running.usage());
    Ok(([replied], [(header::CACHE_CONTROL, "no-store".to_owned())], Json(reply)).into_response())
}

/// A request in the engine, with what has come of it so far.
struct Running {
    app: Arc<App>,
    request: Request,
    head: Head,
    arrived: Instant,
    events: UnboundedReceiver<Event>,
    choices: Vec<Choice>,
    recorded: bool,
}

impl Running {
    fn start(app: Arc<App>, request: Request) -> Result<Self, ApiError> {
        let count = request.rows();
        if count > app.engine.capacity() {
            let message = format!("{count} replies are more than the {} this server can take.", app.engine.capacity());
            return Err(ApiError::param("n", message));
        }
        let places = app.engine.reserve(count).map_err(|full| {
            app.metrics.rejected.add(count as u64);
            let message = format!("The server is busy: {} replies are waiting. Try again later.", full.waiting);
            let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
            ApiError { retry_after: Some(1), ..error }.with_code("queue_full")
        })?;
        let arrived = Instant::now();
        let (sender, events) = mpsc::unbounded_channel();
        // Beam search is one sequence to the engine, which takes a row for each beam.
        let (each, rows) = request.beams().map_or((1, 1), |beams| (request.n, beams));
        let mut places = places.into_iter();
        let sequence_of = |index: usize| {
            let (prompt, choice) = (index / request.n, index % request.n);
            Work {
                index,
                prompt: Arc::clone(&request.prompts[prompt]),
                settings: Arc::clone(&request.settings[prompt]),
                seed: request.seed_of(choice),
                arrived,
                deadline: arrived + app.config.request_timeout(),
                events: sender.clone(),
                places: places.by_ref().take(rows).collect(),
            }
        };
        let choices = request.choices();
        app.engine.submit((0..choices).step_by(each).map(sequence_of).collect());
        let prefix = if request.endpoint == Endpoint::Chat { "chatcmpl" } else { "cmpl" };
        let head = Head {
            endpoint: request.endpoint,
            id: format!("{prefix}-{:016x}{:016x}", random(), random()),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            model: app.language.name.clone(),
        };
        Ok(Self { choices: vec![Choice::default(); choices], app, request, head, arrived, events, recorded: false })
    }

    fn with_scores(&self) -> bool {
        self.request.settings.first().is_some_and(|settings| settings.logprobs.is_some())
    }

    fn usage(&self) -> Usage {
        Usage {
            prompt_tokens: self.request.prompts.iter().map(|prompt| prompt.len()).sum(),
            completion_tokens: self.choices.iter().map(|choice| choice.tokens).sum(),
        }
    }

    /// Adds an event to its choice.
    fn take(&mut self, event: &Event) -> Result<(), ApiError> {
        match event {
            Event::Piece { index, piece } => {
                if let Some(choice) = self.choices.get_mut(*index) {
                    choice.text.push_str(&piece.text);
                    choice.scores.extend_from_slice(&piece.scores);
                }
            }
            Event::Finished { index, reason, tokens } => {
                if let Some(choice) = self.choices.get_mut(*index) {
                    choice.finish = Some(*reason);
                    choice.tokens = *tokens;
                }
            }
            Event::Failed { error } => return Err(self.failure(error)),
        }
        Ok(())
    }

    fn failure(&self, error: &EngineError) -> ApiError {
        match error {
            EngineError::Timeout => {
                let message = format!("The reply took longer than {} s.", self.app.config.request_timeout_seconds);
                ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout_error", message).with_code("timeout")
            }
            EngineError::Model(message) => ApiError::server(format!("The model failed: {message}.")),
            EngineError::Guide { param, message } => ApiError::param(*param, format!("`{param}`: {message}.")),
            EngineError::Stopped => ApiError::shutting_down(),
        }
    }

    /// The rows for the run database. The first choice has the reply's own id, the others `id:1`, `id:2`, …
    fn rows(&self) -> Vec<NewReply> {
        let row = |(index, choice): (usize, &Choice)| NewReply {
            id: if index == 0 { self.head.id.clone() } else { format!("{}:{index}", self.head.id) },
            model_hash: self.app.language.hash.clone(),
            endpoint: self.request.endpoint.path().into(),
            request: self.request.raw.clone(),
            reply: choice.text.clone(),
            settings: self.request.settings_json(index / self.request.n, index % self.request.n),
            prompt_tokens: self.request.prompts.get(index / self.request.n).map_or(0, |prompt| prompt.len() as u64),
            completion_tokens: choice.tokens as u64,
            finish_reason: Some(choice.finish.map_or("cancelled", |reason| reason.name()).into()),
            latency_seconds: self.arrived.elapsed().as_secs_f64(),
        };
        self.choices.iter().enumerate().map(row).collect()
    }

    async fn record(&mut self) {
        self.recorded = true;
        if let Some(recorder) = &self.app.recorder {
            recorder.replies(self.rows()).await;
        }
    }

    /// The reply as server-sent events, ending with `[DONE]`; an error in the middle is an event of its own.
    fn into_stream(self) -> impl Stream<Item = Result<Message, Infallible>> + Send + 'static {
        let usage = self.request.include_usage;
        let opening = (0..self.choices.len()).filter_map(|index| self.head.opening_chunk(index, usage));
        let opening: Vec<_> = opening.map(|chunk| Ok(message(&chunk))).collect();
        let rest = stream::unfold(Some(self), |running| async move {
            let mut running = running?;
            let (messages, ended) = running.next_messages().await;
            Some((stream::iter(messages.into_iter().map(Ok)), (!ended).then_some(running)))
        });
        use futures::StreamExt;
        stream::iter(opening).chain(rest.flatten())
    }

    /// Waits for the next event. Returns what to send, and whether it is the last.
    async fn next_messages(&mut self) -> (Vec<Message>, bool) {
        let event = self.events.recv().await.unwrap_or(Event::Failed { error: EngineError::Stopped });
        let usage = self.request.include_usage;
        if let Err(error) = self.take(&event) {
            return (vec![message(&error.body())], true);
        }
        let mut messages = Vec::new();
        match &event {
            Event::Piece { index, piece } => {
                messages.push(message(&self.head.piece_chunk(*index, piece, self.with_scores(), usage)));
            }
            Event::Finished { index, reason, .. } => {
                messages.push(message(&self.head.closing_chunk(*index, *reason, usage)));
            }
            Event::Failed { .. } => {}
        }
        if self.choices.iter().any(|choice| choice.finish.is_none()) {
            return (messages, false);
        }
        // Recorded before the client learns that the reply is whole: its feedback then finds it.
        self.record().await;
        if usage {
            messages.push(message(&self.head.usage_chunk(self.usage())));
        }
        messages.push(Message::default().data("[DONE]"));
        (messages, true)
    }
}

impl Drop for Running {
    /// A client that left, or an error: what there is of the reply is still recorded.
    fn drop(&mut self) {
        if let Some(recorder) = self.app.recorder.as_ref().filter(|_| !self.recorded) {
            recorder.replies_now(self.rows(), &self.app.metrics);
        }
    }
}

fn message(chunk: &Value) -> Message {
    // JSON text has no line breaks of its own, as the event's data must not.
    Message::default().data(chunk.to_string())
}
