//! Ctrl-C: the first one asks for a clean stop, the second one ends the program at once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);
static INSTALLED: OnceLock<()> = OnceLock::new();

/// The flag that Ctrl-C (or SIGTERM) sets; `what` says what will be finished first.
pub fn stop_flag(what: &'static str) -> &'static AtomicBool {
    INSTALLED.get_or_init(|| {
        let handler = move || {
            if STOP.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            crate::output::note(&format!("\nstopping: {what} (Ctrl-C again stops at once)"));
        };
        if let Err(error) = ctrlc::set_handler(handler) {
            tracing::warn!("Ctrl-C will stop without saving: {error}");
        }
    });
    &STOP
}
