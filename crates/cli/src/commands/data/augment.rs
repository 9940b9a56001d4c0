//! `danlu data augment`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use danlu_data::{AugmentConfig, Translate};
use danlu_eval::BackTranslator;
use danlu_store::Workspace;

use super::cleaned;
use crate::args::{DataAugmentArgs, Global};
use crate::output::{count, line};
use crate::progress::data_progress;

pub fn augment(global: &Global, args: &DataAugmentArgs) -> anyhow::Result<()> {
    let (config, base) = read_config(&args.config, args.seed)?;
    let input = documents(global, &args.input)?;
    let back = args.back.load(global, &config, base)?;
    let translate = back.as_ref().map(translation);
    let translate = translate.as_ref().map(|translate| translate as &Translate<'_>);
    let summary = danlu_data::augment(&input, &config, base, translate, &args.out, &data_progress())?;
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

/// What copies a file asks for, with another seed where one is given, and the folder that its paths start from.
pub fn read_config(path: &Path, seed: Option<u64>) -> anyhow::Result<(AugmentConfig, &Path)> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut config: AugmentConfig = toml::from_str(&text).with_context(|| path.display().to_string())?;
    config.seed = seed.unwrap_or(config.seed);
    let base = path.parent().filter(|base| !base.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((config, base))
}

/// Back-translation as the data room asks for it.
pub fn translation(back: &BackTranslator) -> impl Fn(&str) -> Result<String, String> + Sync + '_ {
    |text| back.paraphrase(text).map_err(|error| error.to_string())
}

/// The table itself, or the training documents of a run.
fn documents(global: &Global, input: &str) -> anyhow::Result<PathBuf> {
    if input.ends_with(".parquet") {
        return Ok(input.into());
    }
    let workspace = Workspace::open(&global.runs_dir)?;
    Ok(cleaned(&workspace, input)?.path.join(danlu_data::documents_file("train")))
}
