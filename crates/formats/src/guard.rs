//! Steps over parsers of other makers, whose panics become errors.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a step over a parser. What it was given must not be used again after an error.
pub(crate) fn guarded<T>(step: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(step)).map_err(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        format!("the parser gave up: {}", message.unwrap_or("no reason given"))
    })
}
