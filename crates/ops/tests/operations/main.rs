//! The operations on the device under test: the CPU, or with the cargo feature `wgpu` the first wgpu device. One test
//! binary, because the second device's crates take a while to link.
#![allow(clippy::unwrap_used)]

mod agreement;
mod attention;
mod common;
mod kept;
mod losses;
mod losses_golden;
mod optimizers_golden;
mod recurrent;
