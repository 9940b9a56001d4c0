//! `danlu report RUN`.

use anyhow::Context;
use danlu_store::Workspace;

use crate::args::{Global, ReportArgs};
use crate::output::line;

pub fn report(global: &Global, args: &ReportArgs) -> anyhow::Result<()> {
    let workspace = Workspace::open(&global.runs_dir)?;
    let db = workspace.db()?;
    let run = db.run(&args.run)?;
    let page = danlu_pipeline::report_page(&workspace, &db, &run)?;
    let path = args.out.clone().unwrap_or_else(|| workspace.run_dir(&run.id).join("report.html"));
    danlu_store::atomic::write_bytes(&path, page.as_bytes())
        .with_context(|| format!("cannot write the report of {}", run.id))?;
    line(&path.display().to_string());
    Ok(())
}
