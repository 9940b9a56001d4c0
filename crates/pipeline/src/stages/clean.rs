//! Documents to kept ones in three splits, and dropped ones with their reasons.

use std::path::Path;

use danlu_data::Funnel;
use danlu_report::number::{bytes, grouped};

use super::{Made, with_progress};
use crate::PipelineError;
use crate::graph::Stage;
use crate::runner::Context;
use crate::shared::{self, Sharing};

pub(super) fn run(context: &mut Context<'_>, work: &Path) -> Result<Made, PipelineError> {
    let collected = context.input(Stage::Clean, Stage::Collect)?.path.join(danlu_data::COLLECTED_FILE);
    let split = context.file.recipe.split;
    let config = context.file.recipe.clean.relative_to(context.file.base());
    let (share, stop) = (context.share, context.stop);
    let funnel = with_progress(context, |progress| -> Result<Funnel, PipelineError> {
        let Some(share) = share else {
            shared::clear(work)?;
            return Ok(danlu_data::clean(&collected, &config, &split, work, progress)?);
        };
        let sharing = Sharing { share, stage: Stage::Clean, work, stop, progress };
        shared::clean(&collected, &config, &split, &sharing)
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
