//! `danlu data sql`, and what may be used in it: `danlu data functions`, `danlu data preset`.

use std::path::Path;

use danlu_data::ModelsConfig;
use danlu_sql::{Functions, QueryEngine};
use danlu_store::Workspace;
use danlu_text::{FunctionKind, text_functions};
use serde_json::{Value, json};

use super::{looked_at, recipe_of};
use crate::Usage;
use crate::args::{DataSqlArgs, Global};
use crate::output::{count, line, note, print, table};

pub fn sql(global: &Global, args: &DataSqlArgs) -> anyhow::Result<()> {
    let workspace = Workspace::open(&global.runs_dir)?;
    let clean = looked_at(&workspace, &args.run)?;
    let spill = tempfile::tempdir()?;
    let memory = args.memory_mb.saturating_mul(1 << 20);
    let threads = rayon::current_num_threads();
    let engine = QueryEngine::open_with(&args.engine, memory, spill.path(), threads, &functions_of(&workspace, args)?)?;
    let register = |name: &str, path: &Path| {
        engine.register_parquet(name, &std::path::absolute(path)?.to_string_lossy()).map_err(anyhow::Error::from)
    };
    for name in ["train", "valid", "test", "dropped"] {
        let path = clean.path.join(danlu_data::documents_file(name));
        if path.exists() {
            register(name, &path)?;
        }
    }
    if let Some(key) = clean.manifest.inputs.get("collect")
        && let Some(collect) = workspace.artifacts().find("collect", key)?
    {
        register("collected", &collect.path.join(danlu_data::COLLECTED_FILE))?;
    }
    if let Some(out) = &args.out {
        note(&format!("{} rows in {}", count(engine.write_parquet(&args.sql, out)?), out.display()));
        return Ok(());
    }
    let rows = engine.rows(&args.sql)?;
    if args.json {
        rows.iter().for_each(|row| line(&row.to_string()));
        return Ok(());
    }
    let mut columns: Vec<&String> = Vec::new();
    for key in rows.iter().filter_map(Value::as_object).flat_map(|row| row.keys()) {
        if !columns.contains(&key) {
            columns.push(key); // NULL is left out of a row
        }
    }
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|column| cell(row.get(column.as_str()))).collect()).collect();
    let heads: Vec<&str> = columns.iter().map(|column| column.as_str()).collect();
    print(&table(&heads, &cells));
    Ok(())
}

/// The functions that the run's rules may call. One whose file is gone is told of, and missed only by who asks for it.
fn functions_of(workspace: &Workspace, args: &DataSqlArgs) -> anyhow::Result<Functions> {
    let (recipe, base) = recipe_of(workspace, &args.run)?;
    let models = recipe.clean.relative_to(&base).models;
    if models == ModelsConfig::default() || args.engine.contains("://") {
        return Ok(Functions::default());
    }
    Ok(danlu_data::sql_functions(&models).unwrap_or_else(|error| {
        note(&format!("without the files of [clean.models]: {error}; name the recipe in the place of the run"));
        Functions::default()
    }))
}

/// One value, on one line and not longer than a screen likes.
fn cell(value: Option<&Value>) -> String {
    const WIDEST: usize = 60;
    let text = match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.replace('\n', " "),
        Some(other) => other.to_string(),
    };
    match text.char_indices().nth(WIDEST) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}

pub fn functions(as_json: bool) -> anyhow::Result<()> {
    for function in text_functions() {
        let call = match function.kind {
            FunctionKind::NumberWith { parameter, .. } => format!("{}(text, {parameter})", function.name),
            FunctionKind::Number(_) | FunctionKind::Text(_) => format!("{}(text)", function.name),
        };
        if as_json {
            line(&json!({ "name": function.name, "call": call, "help": function.help }).to_string());
        } else {
            line(&format!("{call}\n    {}", function.help));
        }
    }
    if !as_json {
        line(
            "perplexity(text), quality(text)\n    Of models in [clean.models], in `danlu data sql` those of the run; `danlu data train` makes them.",
        );
    }
    Ok(())
}

pub fn preset(name: Option<&str>) -> anyhow::Result<()> {
    let known: Vec<&str> = danlu_data::preset_names().collect();
    match name {
        None => line(&known.join("\n")),
        Some(name) if known.contains(&name) => print(danlu_data::preset_text(name)?),
        Some(name) => {
            let message = format!("there is no preset {name:?}");
            return Err(Usage::new(message, format!("known: {}", known.join(", "))).into());
        }
    }
    Ok(())
}
