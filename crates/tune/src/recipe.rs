//! What all tasks' recipes have in common.

use danlu_data::SourceConfig;

use crate::{TaskKind, TuneError};

pub(crate) fn default_seed() -> u64 {
    42
}

pub(crate) fn default_valid() -> f64 {
    0.05
}

pub(crate) fn default_test() -> f64 {
    0.1
}

/// * `task`: what the recipe says, and what is read
pub(crate) fn check_common(task: (TaskKind, TaskKind), name: &str, sources: &[SourceConfig]) -> Result<(), TuneError> {
    let legal = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    if task.0 != task.1 {
        return Err(bad("task", format!("{:?}", task.0).to_lowercase(), format!("{:?}", task.1).to_lowercase()));
    }
    if name.is_empty() || !name.chars().all(legal) {
        return Err(bad("name", format!("{name:?}"), "letters, digits, - and _"));
    }
    if sources.is_empty() {
        return Err(bad("data.sources", "empty", "at least one source"));
    }
    Ok(())
}

/// Parts of the examples that are not trained on.
pub(crate) fn check_shares(valid: f64, test: f64) -> Result<(), TuneError> {
    for (key, share) in [("data.valid", valid), ("data.test", test)] {
        if !(share > 0.0 && share < 0.5) {
            return Err(bad(key, share.to_string(), "above 0 and below 0.5"));
        }
    }
    Ok(())
}

pub(crate) fn bad(key: &'static str, value: impl Into<String>, need: impl Into<String>) -> TuneError {
    TuneError::Config { key, value: value.into(), need: need.into() }
}
