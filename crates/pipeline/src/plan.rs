//! `danlu plan`: what training will need, before it starts.

use burn::prelude::Device;
use danlu_store::Workspace;
use danlu_train::Plan;
use serde_json::Value;

use crate::PipelineError;
use crate::graph::{Graph, Stage};
use crate::recipe::RecipeFile;

/// Plans the training of a recipe. The vocabulary is that of the recipe's tokenizer when it has been trained already,
/// else the size asked for.
///
/// # Errors
/// Values and sources that cannot be trained with; source files that cannot be read.
pub fn plan(file: &RecipeFile, workspace: &Workspace, device: &Device) -> Result<Plan, PipelineError> {
    file.check_trained()?;
    let graph = Graph::of(file)?;
    let made = workspace.artifacts().find(Stage::Tokenizer.name(), &graph.node(Stage::Tokenizer)?.key)?;
    let trained = made.and_then(|a| a.manifest.summary.get("vocab_size").and_then(Value::as_u64));
    let vocab_size = trained.map_or(file.recipe.tokenizer.vocab_size, |n| n as usize);
    let peak = danlu_train::measured_peak(device, file.recipe.train.precision);
    Ok(danlu_train::plan_for(&file.recipe.train, &file.recipe.model, vocab_size, peak)?)
}
