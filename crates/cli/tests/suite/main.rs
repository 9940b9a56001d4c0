//! The binary as its users drive it: whole lives of a very small model on real text, killed, filled, misled.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod ablate;
mod bad_input;
mod bench;
mod chats;
mod convert;
mod data;
mod disk_full;
mod encoder;
mod floors;
mod harness;
mod kill;
mod life;
mod loop_closes;
mod recipes;
mod share;
mod snapshots;
mod threads;
mod tune;
