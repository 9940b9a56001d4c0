//! `danlu runs`, `danlu runs RUN RUN` and `danlu show RUN`.

use std::path::Path;

use danlu_pipeline::{Recipe, RecipeFile, parse_toml};
use danlu_store::{Run, RunDb, StageRecord, Workspace};
use serde_json::{Value, json};

use crate::Usage;
use crate::args::{Global, RunsArgs, ShowArgs};
use crate::output::{bytes, count, duration, line, note, table};

pub fn list(global: &Global, as_json: bool) -> anyhow::Result<()> {
    let workspace = Workspace::open(&global.runs_dir)?;
    let db = workspace.db()?;
    workspace.mark_interrupted(&db)?;
    let runs = db.runs()?;
    if as_json {
        line(&serde_json::to_string(&runs)?);
        return Ok(());
    }
    if runs.is_empty() {
        line("no runs yet; `danlu run recipes/quickstart.toml` makes the first");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|r| {
            vec![
                r.id.clone(),
                r.state.as_str().into(),
                r.started.replace('T', " ").chars().take(16).collect(),
                figure(r, "/test/bits_per_byte").map_or("-".into(), |x| format!("{x:.3}")),
                figure(r, "/test/xz_bits_per_byte").map_or("-".into(), |x| format!("{x:.3}")),
            ]
        })
        .collect();
    line(table(&["run", "state", "started (UTC)", "bits/byte", "xz"], &rows).trim_end());
    Ok(())
}

/// Some runs side by side, best score first.
pub fn compare(global: &Global, args: &RunsArgs) -> anyhow::Result<()> {
    let workspace = Workspace::open(&global.runs_dir)?;
    let db = workspace.db()?;
    let mut runs = args.runs.iter().map(|id| db.run(id)).collect::<Result<Vec<_>, _>>()?;
    let score = |run: &Run| figure(run, "/test/bits_per_byte").unwrap_or(f64::INFINITY);
    runs.sort_by(|a, b| score(a).total_cmp(&score(b)));
    if args.json {
        let summaries: Vec<&Value> = runs.iter().map(|run| &run.summary).collect();
        line(&serde_json::to_string(&summaries)?);
        return Ok(());
    }
    let columns = ["run", "architecture", "parameters", "steps", "bits/byte", "xz", "tokens/s", "peak memory"];
    line(table(&columns, &runs.iter().map(compared).collect::<Vec<_>>()).trim_end());
    Ok(())
}

fn compared(run: &Run) -> Vec<String> {
    let or_dash = |path: &str, show: &dyn Fn(f64) -> String| figure(run, path).map_or("-".into(), show);
    let whole = |x: f64| count(x.max(0.0).round() as u64);
    let bits = |x: f64| format!("{x:.3}");
    let architecture = run.summary.pointer("/train/architecture").and_then(Value::as_str);
    vec![
        run.id.clone(),
        architecture.unwrap_or("-").into(),
        or_dash("/train/parameters", &whole),
        or_dash("/train/steps", &whole),
        or_dash("/test/bits_per_byte", &bits),
        or_dash("/test/xz_bits_per_byte", &bits),
        or_dash("/train/tokens_per_second", &whole),
        or_dash("/train/peak_memory", &|x| bytes(x as u64)),
    ]
}

fn figure(run: &Run, path: &str) -> Option<f64> {
    run.summary.pointer(path).and_then(Value::as_f64)
}

pub fn show(global: &Global, args: &ShowArgs) -> anyhow::Result<()> {
    let workspace = Workspace::open(&global.runs_dir)?;
    let db = workspace.db()?;
    workspace.mark_interrupted(&db)?;
    let run = run_of(&db, &args.run)?;
    let stages = db.stages(&run.id)?;
    if args.json {
        let mut value = serde_json::to_value(&run)?;
        value["stages"] = serde_json::to_value(&stages)?;
        value["run_dir"] = json!(workspace.run_dir(&run.id));
        line(&serde_json::to_string(&value)?);
        return Ok(());
    }
    render(&run, &stages);
    line(&format!("files: {}", workspace.run_dir(&run.id).display()));
    Ok(())
}

/// A run by its id, or the newest of a recipe.
fn run_of(db: &RunDb, named: &str) -> anyhow::Result<Run> {
    if !named.ends_with(".toml") {
        return Ok(db.run(named)?);
    }
    let path = Path::new(named);
    let recipe = RecipeFile::load(path)?.recipe;
    let Some(run) = db.runs()?.into_iter().find(|run| run.name == recipe.name) else {
        let hint = format!("`danlu run {named}` makes the first");
        return Err(Usage::new(format!("there is no run of {named} yet"), hint).into());
    };
    if !parse_toml::<Recipe>(path, &run.recipe).is_ok_and(|then| then == recipe) {
        note(&format!("{named} has changed since this run"));
    }
    Ok(run)
}

fn render(run: &Run, stages: &[StageRecord]) {
    line(&format!("run {} ({}), started {}", run.id, run.state.as_str(), run.started));
    let rows: Vec<Vec<String>> = stages
        .iter()
        .map(|s| {
            let key = s.key.chars().take(12).collect();
            vec![s.stage.clone(), s.state.as_str().into(), duration(s.seconds), key, s.reason.clone()]
        })
        .collect();
    line(table(&["stage", "state", "time", "key", "why"], &rows).trim_end());
    if let Value::Object(summary) = &run.summary {
        let mut figures = Vec::new();
        leaves("", &Value::Object(summary.clone()), &mut figures);
        line(table(&["figure", "value"], &figures).trim_end());
    }
}

fn leaves(path: &str, value: &Value, out: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                leaves(&if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, value, out);
            }
        }
        Value::Number(n) if n.is_f64() => out.push(vec![path.into(), format!("{:.4}", n.as_f64().unwrap_or(0.0))]),
        Value::String(s) => out.push(vec![path.into(), s.clone()]),
        other => out.push(vec![path.into(), other.to_string()]),
    }
}
