//! `danlu data augment`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use danlu_data::AugmentConfig;
use danlu_store::Workspace;

use super::cleaned;
use crate::args::{DataAugmentArgs, Global};
use crate::output::{count, line};
use crate::progress::data_progress;

pub fn augment(global: &Global, args: &DataAugmentArgs) -> anyhow::Result<()> {
    let text =
        std::fs::read_to_string(&args.config).with_context(|| format!("cannot read {}", args.config.display()))?;
    let config: AugmentConfig = toml::from_str(&text).with_context(|| args.config.display().to_string())?;
    let base = args.config.parent().filter(|base| !base.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let input = documents(global, &args.input)?;
    let summary = danlu_data::augment(&input, &config, args.seed, base, None, &args.out, &data_progress())?;
    if args.json {
        line(&serde_json::to_string(&summary)?);
        return Ok(());
    }
    line(&format!(
        "{} documents, {} of them with copies; {} copies in {}",
        count(summary.documents),
        count(summary.augmented),
        count(summary.copies),
        args.out.display()
    ));
    for (kind, made) in &summary.kinds {
        let skipped: Vec<String> = made.skipped.iter().map(|(why, n)| format!("{why} {}", count(*n))).collect();
        let skipped = if skipped.is_empty() { String::new() } else { format!(", skipped: {}", skipped.join(", ")) };
        line(&format!(
            "  {kind:<14} {} copies, {:.0}% changed{skipped}",
            count(made.made),
            made.mean_edit_ratio * 100.0
        ));
    }
    Ok(())
}

/// The table itself, or the training documents of a run.
fn documents(global: &Global, input: &str) -> anyhow::Result<PathBuf> {
    if input.ends_with(".parquet") {
        return Ok(input.into());
    }
    let workspace = Workspace::open(&global.runs_dir)?;
    Ok(cleaned(&workspace, input)?.path.join(danlu_data::documents_file("train")))
}
