//! Sources to documents.

use std::path::Path;

use danlu_report::number::{bytes, grouped};

use super::{Made, with_progress};
use crate::PipelineError;
use crate::runner::Context;

pub(super) fn run(context: &mut Context<'_>, work: &Path) -> Result<Made, PipelineError> {
    let file = context.file;
    let data = &file.recipe.data;
    let forgotten = danlu_data::Tombstones::read(context.workspace.root())?;
    let summary = with_progress(context, |progress| {
        danlu_data::collect_without(&data.sources, file.base(), data.strict, &forgotten, work, progress)
    })?;
    let skipped = match summary.problem_count {
        0 => String::new(),
        n => format!(", {n} records could not be read and were skipped (--strict stops at them)"),
    };
    let left_out = match summary.forgotten {
        0 => String::new(),
        n => format!(", {n} forgotten ones left out"),
    };
    let line = format!(
        "{} documents, {} from {} sources{skipped}{left_out}",
        grouped(summary.total.documents),
        bytes(summary.total.bytes),
        summary.sources.len()
    );
    Made::new(&summary, line)
}
