//! `danlu run RECIPE`.

use danlu_pipeline::{Decision, Graph, PipelineError, RecipeFile, RunOptions, RunOutcome, Selection, Share, Stage};
use danlu_store::Workspace;
use serde_json::{Value, json};

use crate::Usage;
use crate::args::{Global, RunArgs};
use crate::output::{duration, line, note, table};
use crate::progress::Screen;
use crate::signals::stop_flag;

pub fn run(global: &Global, args: &RunArgs) -> anyhow::Result<()> {
    let mut file = RecipeFile::load(&args.recipe)?;
    file.recipe.data.strict |= args.strict;
    let selection = Selection { from: args.from, only: args.only };
    let workspace = Workspace::open(&global.runs_dir)?;
    if args.dry_run {
        return dry_run(&file, &workspace, selection, args.json);
    }
    let options = RunOptions {
        selection,
        device: danlu_pipeline::select_device(&global.device)?,
        share: args.share.as_deref().map(|address| share(address, args)).transpose()?,
        stop: stop_flag("training saves a checkpoint, another stage ends first"),
    };
    let outcome = danlu_pipeline::run(&file, &workspace, &options, &mut Screen::new())?;
    farewell(&outcome);
    if args.json {
        line(&serde_json::to_string(&outcome.summary)?);
    }
    Ok(())
}

fn share<'a>(address: &'a str, args: &RunArgs) -> Result<Share<'a>, Usage> {
    let positive = |name: &str, value: f64| match value.is_finite() && value > 0.0 {
        true => Ok(value),
        false => Err(Usage::new(format!("{name} {value} must be above 0"), "leave it out for the usual value")),
    };
    let part_bytes = (positive("--part-mb", args.part_mb)? * 1e6) as u64;
    Ok(Share { address, part_bytes, lease_seconds: positive("--lease", args.lease)? })
}

fn dry_run(file: &RecipeFile, workspace: &Workspace, selection: Selection, as_json: bool) -> anyhow::Result<()> {
    let graph = Graph::of(file)?;
    let decisions = danlu_pipeline::graph::decide(&graph, &workspace.artifacts(), selection, file.recipe.data.strict)?;
    file.check_stages(&decisions)?;
    if as_json {
        let stages: Vec<Value> = decisions
            .iter()
            .map(|(stage, decision)| {
                let key = &graph.node(*stage)?.key;
                Ok(json!({ "stage": stage, "key": key, "decision": decision }))
            })
            .collect::<Result<_, PipelineError>>()?;
        line(&json!({ "stages": stages }).to_string());
        return Ok(());
    }
    let rows: Vec<Vec<String>> = decisions.iter().map(|(stage, decision)| row(*stage, decision)).collect();
    line(table(&["stage", "what", "why"], &rows).trim_end());
    Ok(())
}

fn row(stage: Stage, decision: &Decision) -> Vec<String> {
    let (what, why) = match decision {
        Decision::Reuse { path } => ("reuse", path.display().to_string()),
        Decision::Run { why } => ("run", why.clone()),
        Decision::Skip => ("skip", "left out by --only".into()),
    };
    vec![stage.to_string(), what.into(), why]
}

/// Where everything is, and what to type next.
fn farewell(outcome: &RunOutcome) {
    let s = &outcome.summary;
    let text = |path: &str| s.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let figure = |path: &str| s.pointer(path).and_then(Value::as_f64);
    if let (Some(model), Some(xz)) = (figure("/test/bits_per_byte"), figure("/test/xz_bits_per_byte")) {
        let unigram = figure("/test/unigram_bits_per_byte").map_or(String::new(), |u| format!(", unigram {u:.3}"));
        note(&format!("test bits per byte: {model:.3} (xz -9e {xz:.3}{unigram})"));
    }
    if let Some(seconds) = s["seconds"].as_object() {
        let total: f64 = seconds.values().filter_map(Value::as_f64).sum();
        note(&format!("the stages took {} when they were made", duration(total)));
    }
    let Some(model) = text("/model_dir") else {
        note("done; run without --only to make the report");
        return;
    };
    note(&format!("\nmodel   {model}"));
    if let Some(int8) = text("/int8/model_dir") {
        note(&format!("int8    {int8}"));
    }
    if let Some(report) = text("/report") {
        note(&format!("report  {report}"));
    }
    note("\ntalk to it:");
    note(&format!("  danlu generate {model} --prompt \"My fellow citizens,\""));
    note(&format!("  danlu serve {model}        then open http://127.0.0.1:8080"));
}
