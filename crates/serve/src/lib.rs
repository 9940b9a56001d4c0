//! Serving a model over HTTP, in the shapes of OpenAI's API, with a page to talk to it.
//!
//! What it owns: the generation engine that serves many requests in one batch, the HTTP API with its
//! limits and guards, the page at `/` (its files lie in `web/`), and the way of replies and feedback
//! into the run database. It uses `model` for logits and sampling, `text` for tokens and chat
//! templates, `store` for the database, and knows nothing of training.
//!
//! How a request goes: `connections` accepts it, `guard` decides whether the caller may, `request`
//! reads and checks it (`structured` what form its replies must have), `generate` hands it to the
//! `engine` and passes its events on in the shapes of `reply`, and `records` stores what was said. The engine has a thread of its own and is the only
//! place where the model runs; it never waits for a client or the disk.
//!
//! What is deliberately absent: TLS and accounts (a reverse proxy's work), and CORS for everyone (see
//! `guard` for the stance against foreign web pages).
//!
//! Begin reading at [`Server::bind`], then `engine/scheduler.rs`.

mod api_error;
mod app;
mod config;
mod connections;
mod engine;
mod error;
mod feedback;
mod generate;
mod guard;
mod language;
mod local;
mod metrics;
mod pages;
mod params;
mod records;
mod reply;
mod request;
mod server;
mod structured;

pub use config::{ApiKey, ServeConfig};
pub use error::ServeError;
pub use language::model_hash;
pub use local::{LocalModel, LocalReply, LocalRequest, Search};
pub use server::{Bound, Server, serve_blocking};
