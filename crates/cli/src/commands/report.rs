//! `danlu report RUN`.

use anyhow::Context;
use danlu_store::{Workspace, atomic};

use crate::args::{Global, ReportArgs};
use crate::output::line;

/// The folders of a run that hold a model, each with a card.
const MODEL_FOLDERS: [&str; 2] = ["model", "model-int8"];

pub fn report(global: &Global, args: &ReportArgs) -> anyhow::Result<()> {
    let workspace = Workspace::open(&global.runs_dir)?;
    let db = workspace.db()?;
    workspace.mark_interrupted(&db)?;
    let run = db.run(&args.run)?;
    let (page, card) = danlu_pipeline::report_of(&workspace, &db, &run)?;
    let told = || format!("cannot write the report of {}", run.id);
    let dir = workspace.run_dir(&run.id);
    let path = args.out.clone().unwrap_or_else(|| dir.join("report.html"));
    atomic::write_bytes(&path, page.as_bytes()).with_context(told)?;
    line(&path.display().to_string());
    for folder in MODEL_FOLDERS.map(|name| dir.join(name)).iter().filter(|folder| folder.is_dir()) {
        atomic::write_bytes(&folder.join("README.md"), card.as_bytes()).with_context(told)?;
        line(&folder.join("README.md").display().to_string());
    }
    Ok(())
}
