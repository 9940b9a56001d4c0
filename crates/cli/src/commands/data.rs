//! `danlu data show RUN`, and what the other data commands share.

mod input;
pub mod provenance;
pub mod report;
pub mod watch;

use std::path::Path;

use danlu_data::{ShowFilter, Shown};
use danlu_pipeline::{Graph, RecipeFile, Stage};
use danlu_store::{Artifact, Workspace};

use crate::Usage;
use crate::args::{DataShowArgs, Global};
use crate::output::{count, line, note};

pub fn show(global: &Global, args: &DataShowArgs) -> anyhow::Result<()> {
    let workspace = Workspace::open(&global.runs_dir)?;
    let folder = cleaned(&workspace, &args.run)?.path;
    let dropped = args.reason.is_some();
    let filter = ShowFilter {
        split: Some(if dropped { "dropped".into() } else { args.split.clone() }),
        source: args.source.clone(),
        language: args.language.clone(),
        reason: args.reason.clone().filter(|r| r != "any"),
        id: None,
        contains: args.contains.clone(),
        limit: Some(args.limit),
    };
    let found = danlu_data::show(&folder, &filter)?;
    if found.is_empty() {
        note("no document matches; leave a filter out, or look at the funnel in the report");
    }
    for shown in &found {
        if args.json {
            line(&serde_json::to_string(shown)?);
        } else {
            render(shown, args.chars);
        }
    }
    Ok(())
}

/// What the clean stage left for a run or a recipe.
fn cleaned(workspace: &Workspace, run: &str) -> anyhow::Result<Artifact> {
    let store = workspace.artifacts();
    let key = if run.ends_with(".toml") {
        Graph::of(&RecipeFile::load(Path::new(run))?)?.node(Stage::Clean).key.clone()
    } else {
        let db = workspace.db()?;
        let run = db.run(run)?;
        let stages = db.stages(&run.id)?;
        stages.into_iter().find(|s| s.stage == Stage::Clean.name()).map(|s| s.key).unwrap_or_default()
    };
    let found = if key.is_empty() { None } else { store.find(Stage::Clean.name(), &key)? };
    let hint = "`danlu run RECIPE --only collect`, then `--only clean`, makes them";
    found.ok_or_else(|| Usage::new(format!("{run}: its documents have not been cleaned yet"), hint).into())
}

fn render(shown: &Shown, chars: usize) {
    let d = &shown.document;
    let why = match (&shown.step, &shown.reason) {
        (Some(step), Some(reason)) => {
            format!("  dropped by {step}: {reason} ({})", shown.detail.as_deref().unwrap_or_default())
        }
        _ => String::new(),
    };
    line(&format!(
        "--- {}  {}  {}  {}  {} bytes{why}",
        d.id,
        d.source,
        d.language,
        shown.split,
        count(d.text.len() as u64)
    ));
    match d.text.char_indices().nth(chars) {
        Some((cut, _)) if chars > 0 => line(&format!("{} ...", &d.text[..cut])),
        _ => line(&d.text),
    }
    line("");
}
