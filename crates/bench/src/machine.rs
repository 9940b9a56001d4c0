//! What a figure was measured on.

use crate::{BenchError, Precision};
use burn::prelude::*;
use danlu_kernels::Level;
use serde::Serialize;

/// The circumstances that stand beside every figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// `danlu`: tells this side's figures from a peer's.
    pub side: &'static str,
    pub version: &'static str,
    /// Threads for arithmetic.
    pub threads: usize,
    /// Instruction set in use: `avx512`, `avx2` or `portable`.
    pub cpu: &'static str,
}

impl Machine {
    /// This process as it runs now.
    pub fn here() -> Self {
        Machine {
            side: "danlu",
            version: env!("CARGO_PKG_VERSION"),
            threads: rayon::current_num_threads(),
            cpu: Level::best().name(),
        }
    }
}

pub use danlu_memory::peak_resident_bytes as peak_rss_bytes;

/// The CPU's arithmetic peak for products of the given precision, measured now: 10^9 operations per second.
pub(crate) fn peak_gflops(precision: Precision) -> f64 {
    danlu_ops::peak_gflops(precision)
}

/// Waits until everything asked of `device` is done.
pub(crate) fn wait(device: &Device) -> Result<(), BenchError> {
    device.sync().map_err(|error| BenchError::Device { reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_takes_in_what_was_used() {
        let held = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(super::peak_rss_bytes().is_some_and(|bytes| bytes >= held.len() as u64));
    }
}
