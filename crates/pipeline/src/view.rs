//! The run's own folder: report, models and recipe under names that people can type.

use std::fs;
use std::path::Path;

use danlu_data::{AugmentSummary, MixtureRow, MixtureSummary};
use danlu_store::{StoreError, atomic};
use serde_json::{Value, json};

use crate::PipelineError;
use crate::graph::Stage;
use crate::runner::Context;
use crate::stages::{CompressSummary, EvaluateSummary, TokenizerSummary, TrainSummary, files, summary_of};

/// Where the recipe lay, in a run's own folder.
pub const RECIPE_PATH_FILE: &str = "recipe.path";

/// Lays out `runs/RUN` from the finished artifacts and returns the run's figures.
pub(crate) fn publish(context: &Context<'_>) -> Result<Value, PipelineError> {
    let run = context.run;
    let dir = context.workspace.run_dir(run);
    let summary = summary(context, run, &dir)?;
    if let Some(report) = context.store.find(Stage::Report.name(), &context.graph.node(Stage::Report)?.key)? {
        for name in [files::MODEL, files::INT8_MODEL] {
            link_folder(&report.path.join(name), &dir.join(name))?;
        }
        atomic::link_or_copy(&report.path.join(files::REPORT), &dir.join(files::REPORT))?;
    }
    let resolved = toml::to_string(&context.file.recipe).unwrap_or_else(|_| context.file.text.clone());
    atomic::write_bytes(&dir.join("recipe.toml"), context.file.text.as_bytes())?;
    atomic::write_bytes(&dir.join("recipe.resolved.toml"), resolved.as_bytes())?;
    // For what is asked of the run later and needs a file that the recipe names.
    let path = std::path::absolute(&context.file.path).unwrap_or_else(|_| context.file.path.clone());
    atomic::write_bytes(&dir.join(RECIPE_PATH_FILE), path.to_string_lossy().as_bytes())?;
    atomic::write_bytes(&dir.join("summary.json"), format!("{summary:#}\n").as_bytes())?;
    if summary.get("report").is_some() {
        point_latest(context.workspace.root(), run);
    }
    Ok(summary)
}

/// The figures of `danlu run --json`: those of the stages that are there.
fn summary(context: &Context<'_>, run: &str, dir: &Path) -> Result<Value, PipelineError> {
    let mut seconds = serde_json::Map::new();
    for node in context.graph.nodes() {
        if let Some(artifact) = context.store.find(node.stage.name(), &node.key)? {
            seconds.insert(node.stage.name().into(), artifact.manifest.seconds.into());
        }
    }
    let has = |stage: Stage| seconds.contains_key(stage.name());
    let mut out = json!({ "run": run, "run_dir": dir, "seconds": &seconds });
    if has(Stage::Augment) {
        let made: AugmentSummary = summary_of(context, Stage::Augment)?;
        out["augment"] = json!(made);
    }
    if has(Stage::Tokenizer) {
        let made: TokenizerSummary = summary_of(context, Stage::Tokenizer)?;
        if let Some(mixture) = made.shards.get("train").and_then(|train| train.mixture.as_ref()) {
            out["mixture"] = mixture_figures(mixture);
        }
    }
    if has(Stage::Train) {
        let train: TrainSummary = summary_of(context, Stage::Train)?;
        out["train"] = json!({
            "tokens_per_second": train.tokens_per_second, "mfu": train.mfu, "steps": train.steps,
            "parameters": train.parameters, "best_valid_loss": train.best_valid_loss,
            "architecture": context.file.recipe.model.architecture, "peak_memory": train.peak_memory,
        });
    }
    if has(Stage::Evaluate) {
        let made: EvaluateSummary = summary_of(context, Stage::Evaluate)?;
        let scores = &made.evaluation.overall;
        out["test"] = json!({
            "bits_per_byte": scores.bits_per_byte, "xz_bits_per_byte": made.baselines.overall.xz_bits_per_byte,
            "unigram_bits_per_byte": made.baselines.overall.unigram_bits_per_byte, "loss": scores.loss,
            "perplexity": scores.perplexity, "top1": scores.top1, "top5": scores.top5,
        });
    }
    if has(Stage::Compress) {
        let made: CompressSummary = summary_of(context, Stage::Compress)?;
        out["int8"] = json!({
            "bits_per_byte": made.evaluation.overall.bits_per_byte, "bytes": made.bytes_after,
            "bytes_before": made.bytes_before,
            "decode_tokens_per_second": made.decode_tokens_per_second_after,
            "decode_tokens_per_second_before": made.decode_tokens_per_second_before,
            "model_dir": dir.join(files::INT8_MODEL),
        });
    }
    if has(Stage::Report) {
        out["model_dir"] = json!(dir.join(files::MODEL));
        out["report"] = json!(dir.join(files::REPORT));
    }
    Ok(out)
}

/// Of each group its documents, tokens and epochs, with repeats.
fn mixture_figures(mixture: &MixtureSummary) -> Value {
    let of = |row: &MixtureRow| {
        let figures = json!({ "documents": row.documents, "tokens": row.tokens, "epochs": row.epochs });
        (row.name.clone(), figures)
    };
    Value::Object(mixture.groups.iter().map(of).collect())
}

/// Makes `to` a folder with the files of `from` (one level: a model folder has no folders).
pub(crate) fn link_folder(from: &Path, to: &Path) -> Result<(), PipelineError> {
    let told = |source| StoreError::io("list", from, source);
    for entry in fs::read_dir(from).map_err(told)? {
        let path = entry.map_err(told)?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            atomic::link_or_copy(&path, &to.join(name))?;
        }
    }
    Ok(())
}

/// `runs/latest` points at the newest finished run. A convenience: where links are not to be had, it is left out.
fn point_latest(root: &Path, run: &str) {
    #[cfg(unix)]
    {
        let aside = root.join(format!(".latest-{}", std::process::id()));
        let made = std::os::unix::fs::symlink(run, &aside).and_then(|()| fs::rename(&aside, root.join("latest")));
        if let Err(error) = made {
            tracing::warn!("runs/latest could not be set: {error}");
        }
    }
    #[cfg(not(unix))]
    let _ = (root, run);
}
