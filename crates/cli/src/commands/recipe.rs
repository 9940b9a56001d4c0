//! `danlu recipe explain`.

use std::path::Path;

use danlu_pipeline::RecipeFile;

use crate::output::{line, table};

pub fn explain(recipe: &Path) -> anyhow::Result<()> {
    let file = RecipeFile::load(recipe)?;
    let rows: Vec<Vec<String>> = danlu_pipeline::explain::explain(&file)
        .into_iter()
        .map(|k| vec![k.key, if k.from_recipe { "recipe" } else { "default" }.into(), k.value])
        .collect();
    line(table(&["key", "from", "value"], &rows).trim_end());
    Ok(())
}
