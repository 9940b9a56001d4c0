//! The routes, and what their handlers share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::{
    ServeConfig,
    api_error::ApiError,
    engine::Engine,
    feedback, generate, guard,
    language::LanguageModel,
    metrics::{Gauges, Metrics},
    pages,
    records::Recorder,
    request::Endpoint,
};

/// What all handlers share.
pub(crate) struct App {
    pub language: Arc<LanguageModel>,
    pub engine: Engine,
    pub metrics: Arc<Metrics>,
    /// `None` without a run database.
    pub recorder: Option<Recorder>,
    pub config: ServeConfig,
    /// Digests of the accepted API keys; empty where none is asked for.
    pub keys: Vec<blake3::Hash>,
    /// Set at shutdown: running replies go on, new ones are refused.
    pub draining: AtomicBool,
    /// When the server started.
    pub started: SystemTime,
}

/// All routes, with the guards around them.
pub(crate) fn router(app: Arc<App>) -> Router {
    let api = Router::new()
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model))
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/feedback", post(feedback::receive))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&app), guard::require_key));
    Router::new()
        .merge(api)
        .merge(pages::routes())
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .fallback(async |request: Request| {
            ApiError::not_found(format!("There is nothing at {} {}.", request.method(), short_path(&request)))
        })
        .method_not_allowed_fallback(async |request: Request| {
            let message = format!("{} does not allow {}.", short_path(&request), request.method());
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard::check_caller))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard::finish_response))
        .with_state(app)
}

fn short_path(request: &Request) -> String {
    crate::api_error::shorten(request.uri().path())
}

async fn completions(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let body = read_body(request, &app.config).await?;
    generate::generate(app, Endpoint::Completion, body).await
}

async fn chat_completions(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let body = read_body(request, &app.config).await?;
    generate::generate(app, Endpoint::Chat, body).await
}

fn describe(app: &App) -> Value {
    let created = app.started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    json!({
        "id": app.language.name,
        "object": "model",
        "created": created,
        "owned_by": "danlu",
        "max_model_len": app.language.context,
        "chat_template": app.language.has_chat_template(),
        "model_hash": app.language.hash,
    })
}

async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({"object": "list", "data": [describe(&app)]}))
}

async fn model(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    if name == app.language.name {
        return Ok(Json(describe(&app)));
    }
    Err(ApiError::unknown_model(&name, &app.language.name))
}

/// What the page needs to know before it has a key, and a sign of life for balancers.
async fn health(State(app): State<Arc<App>>) -> Response {
    let draining = app.draining.load(Ordering::Acquire);
    let status = if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let body = json!({
        "status": if draining { "shutting_down" } else { "ok" },
        "version": env!("CARGO_PKG_VERSION"),
        "api_key_required": !app.keys.is_empty(),
        "feedback": app.recorder.is_some(),
        "max_tokens": app.config.max_tokens,
    });
    (status, Json(body)).into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let load = &app.engine.load;
    let room = app.language.context.saturating_mul(app.config.max_batch).max(1);
    let gauges = Gauges {
        running: load.running(),
        waiting: load.waiting(),
        cache_usage: load.cached_tokens() as f64 / room as f64,
    };
    let page = app.metrics.render(&app.language.name, &gauges);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}

/// Reads a body within the configured size and time.
pub(crate) async fn read_body(request: Request, config: &ServeConfig) -> Result<Bytes, ApiError> {
    let limit = config.max_body_bytes;
    let (head, body) = request.into_parts();
    let too_large = || {
        let message = format!("The request body is larger than {limit} bytes.");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message).with_code("body_too_large")
    };
    let announced = announced_length(&head.headers);
    // A client that waits for leave to send (as curl does) is told at once.
    if announced.is_some_and(|length| length > limit as u64) && head.headers.contains_key(header::EXPECT) {
        return Err(too_large());
    }
    let collect = collect_body(body, limit);
    let time = Duration::from_secs_f64(config.body_timeout_seconds);
    match tokio::time::timeout(time, collect).await {
        Ok(Ok(Some(body))) => Ok(body),
        Ok(Ok(None)) => Err(too_large()),
        Ok(Err(error)) => Err(ApiError::bad_request(format!("The request body could not be read: {error}."))),
        Err(_) => {
            let message = format!("The request body did not arrive within {} s.", config.body_timeout_seconds);
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout_error", message))
        }
    }
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Gathers a body; `None` if it is larger than the limit. Some of what is too much is read and
/// thrown away: a connection closed on a client that still sends would lose it the answer.
async fn collect_body(body: Body, limit: usize) -> Result<Option<Bytes>, axum::Error> {
    const PATIENCE: usize = 16 << 20;
    let mut parts = body.into_data_stream();
    let (mut gathered, mut seen) = (Vec::new(), 0_usize);
    while let Some(part) = parts.next().await {
        let part = part?;
        seen = seen.saturating_add(part.len());
        if seen <= limit {
            gathered.extend_from_slice(&part);
        } else if seen > limit.saturating_add(PATIENCE) {
            break;
        } else {
            gathered = Vec::new();
        }
    }
    Ok((seen <= limit).then(|| gathered.into()))
}
