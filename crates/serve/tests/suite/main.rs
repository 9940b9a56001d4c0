//! The server over real sockets. One binary, so that the dependencies are linked once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod api;
mod batching;
mod browser;
mod errors;
mod feedback;
mod harness;
mod limits;
mod openai_client;
mod sampling;
mod structured;
mod webdriver;
