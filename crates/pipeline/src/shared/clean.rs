//! The first pass of cleaning, and what the search for duplicates computes of each text, part by part.

use std::path::Path;

use danlu_data::{CleanConfig, Funnel, Part, PartSummary, ProgressFn, SplitConfig};
use danlu_report::number::grouped;
use serde_json::Value;

use super::{Settings, Sharing, clear, json};
use crate::PipelineError;

/// Cleans `collected` as [`danlu_data::clean`] does, with whoever else works at the shared address.
pub(crate) fn clean(
    collected: &Path,
    config: &CleanConfig,
    split: &SplitConfig,
    sharing: &Sharing<'_>,
) -> Result<Funnel, PipelineError> {
    sharing.begin()?;
    let mut of_part = config.of_part();
    let models = [
        ("perplexity", &mut of_part.models.perplexity),
        ("quality", &mut of_part.models.quality),
        ("toxicity", &mut of_part.models.toxicity),
    ];
    let mut files = Vec::new();
    for (name, path) in models {
        if let Some(path) = path {
            let here = std::mem::replace(path, Path::new(super::SHARED).join(name));
            files.push((name.to_owned(), here));
        }
    }
    let parts = sharing.cut(collected, "part")?;
    let done = sharing.carry_out::<PartSummary>(Settings::Clean(Box::new(of_part)), files, parts)?;
    let parts: Vec<Part> = done.into_iter().map(|(folder, summary)| Part { folder, summary }).collect();
    let funnel = danlu_data::clean_parts(&parts, config, split, sharing.work, sharing.progress)?;
    clear(sharing.work)?;
    Ok(funnel)
}

/// Cleans one part, and says what is left of it.
pub(super) fn part(
    config: &CleanConfig,
    documents: &Path,
    out: &Path,
    progress: &ProgressFn<'_>,
) -> Result<(Value, String), PipelineError> {
    let summary = danlu_data::clean_part(documents, config, out, progress)?;
    let kept = summary.steps.last().map_or(summary.collected, |step| step.kept);
    let left = format!("{} of {} documents kept", grouped(kept.documents), grouped(summary.collected.documents));
    Ok((json(&summary)?, left))
}
