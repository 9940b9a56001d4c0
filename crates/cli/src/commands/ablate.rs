//! `danlu ablate FILE`.

use anyhow::Context;
use danlu_pipeline::ablation::{self, AblationFile};
use danlu_pipeline::{RunOptions, Selection};
use danlu_store::{Workspace, atomic};
use serde_json::json;

use crate::args::{AblateArgs, Global};
use crate::output::{line, note};
use crate::progress::Screen;
use crate::signals::stop_flag;

pub fn ablate(global: &Global, args: &AblateArgs) -> anyhow::Result<()> {
    let file = AblationFile::load(&args.file)?;
    let workspace = Workspace::open(&global.runs_dir)?;
    let options = RunOptions {
        selection: Selection { from: None, only: None },
        device: danlu_pipeline::select_device(&global.device)?,
        share: None,
        stop: stop_flag("training saves a checkpoint, another stage ends first"),
    };
    let results = ablation::ablate(&file, &workspace, &options, &mut Screen::new())?;
    let table = ablation::markdown(&results);
    let folder = global.runs_dir.join("ablations");
    let path = folder.join(format!("{}.md", file.ablation.name));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    atomic::write_bytes(&path, table.as_bytes())?;
    note(&format!("table   {}", path.display()));
    match args.json {
        true => line(&json!({ "table": path, "variants": results }).to_string()),
        false => line(table.trim_end()),
    }
    Ok(())
}
