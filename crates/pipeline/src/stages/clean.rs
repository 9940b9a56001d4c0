//! Documents to kept ones in three splits, and dropped ones with their reasons.

use std::path::Path;

use danlu_report::number::{bytes, grouped};

use super::{Made, with_progress};
use crate::graph::Stage;
use crate::runner::Context;
use crate::{PipelineError, shared};

pub(super) fn run(context: &mut Context<'_>, work: &Path) -> Result<Made, PipelineError> {
    let collected = context.input(Stage::Clean, Stage::Collect)?.path.join(danlu_data::COLLECTED_FILE);
    let split = context.file.recipe.split;
    let config = context.file.recipe.clean.relative_to(context.file.base());
    let (share, stop) = (context.share, context.stop);
    let funnel = with_progress(context, |progress| match share {
        None => danlu_data::clean(&collected, &config, &split, work, progress).map_err(PipelineError::from),
        Some(share) => shared::clean(&collected, &config, &split, share, work, stop, progress),
    })?;
    let dropped = funnel.collected.documents - funnel.kept.documents;
    let reasons: Vec<String> =
        funnel.reasons().iter().map(|(reason, count)| format!("{reason} {}", grouped(count.documents))).collect();
    let why = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let line = format!(
        "{} kept ({}), {} dropped{why}",
        grouped(funnel.kept.documents),
        bytes(funnel.kept.bytes),
        grouped(dropped)
    );
    Made::new(&funnel, line)
}
