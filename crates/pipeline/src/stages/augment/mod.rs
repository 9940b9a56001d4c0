//! Kept documents of the training split to the same with changed copies among them.
//!
//! The other splits are not touched, and copies are made after the split: no copy of a held-out document is trained on.

mod memory;

use std::path::Path;

use danlu_data::{AugmentConfig, AugmentSummary, Translate};
use danlu_eval::BackTranslator;
use danlu_model::BeamConfig;
use danlu_report::number::grouped;

use self::memory::Memory;
use super::{Made, files, with_progress};
use crate::PipelineError;
use crate::graph::Stage;
use crate::runner::Context;

/// Translations that a stopped process has made lie here until the stage ends.
const TRANSLATIONS: &str = "translations.jsonl";

pub(super) fn run(context: &mut Context<'_>, work: &Path) -> Result<Made, PipelineError> {
    let stage = Stage::Augment;
    let train = context.input(stage, Stage::Clean)?.path.join(files::documents("train"));
    let file = context.file;
    let config = file.recipe.augment.as_ref().ok_or(PipelineError::NotInRecipe { stage })?;
    let out = work.join(files::documents("train"));
    // What a stopped process drew before the documents changed would not be overwritten.
    remove_folder(&danlu_data::images_folder(&out))?;
    let back = translator(context, config)?;
    let memory = back.is_some().then(|| Memory::open(&work.join(TRANSLATIONS))).transpose()?;
    let translate = |text: &str| match (&back, &memory) {
        (Some(back), Some(memory)) => memory.recall(text, || back.paraphrase(text).map_err(|error| error.to_string())),
        _ => Err("there are no translators".to_owned()),
    };
    let translate: Option<&Translate<'_>> = if back.is_some() { Some(&translate) } else { None };
    let summary =
        with_progress(context, |progress| danlu_data::augment(&train, config, file.base(), translate, &out, progress))?;
    memory.map_or(Ok(()), Memory::remove)?;
    let line = describe(&summary);
    Made::new(&summary, line)
}

/// The two models of back-translation, where a step asks for them.
fn translator(context: &Context<'_>, config: &AugmentConfig) -> Result<Option<BackTranslator>, PipelineError> {
    match config.translators(context.file.base()).filter(|_| config.translates()) {
        Some((there, back)) => Ok(Some(BackTranslator::load(&there, &back, BeamConfig::default(), context.device)?)),
        None => Ok(None),
    }
}

fn remove_folder(path: &Path) -> Result<(), PipelineError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(danlu_store::StoreError::io("remove", path, error).into())
        }
        _ => Ok(()),
    }
}

fn describe(summary: &AugmentSummary) -> String {
    let kinds: Vec<String> = summary
        .kinds
        .iter()
        .map(|(kind, count)| {
            let skipped: u64 = count.skipped.values().sum();
            let not = if skipped > 0 { format!(", {} could not be made", grouped(skipped)) } else { String::new() };
            format!("{kind} {}{not}", grouped(count.made))
        })
        .collect();
    format!(
        "{} copies of {} of {} documents to train on ({})",
        grouped(summary.copies),
        grouped(summary.augmented),
        grouped(summary.documents),
        kinds.join("; ")
    )
}

#[cfg(test)]
mod tests;
