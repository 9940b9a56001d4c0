//! `danlu data trace RUN ID` and `danlu data forget RUN`.

use danlu_data::{ForgetPlan, Forgotten, ModelRef, Selection, Trace, TraceFate};
use danlu_store::Workspace;

use super::cleaned;
use crate::Usage;
use crate::args::{DataForgetArgs, DataTraceArgs, Global};
use crate::output::{count, line, note};
use crate::progress::data_progress;

pub fn trace(global: &Global, args: &DataTraceArgs) -> anyhow::Result<()> {
    let workspace = Workspace::open(&global.runs_dir)?;
    let found = danlu_data::trace(&workspace, &cleaned(&workspace, &args.run)?, &args.id)?;
    for one in &found {
        if args.json {
            line(&serde_json::to_string(one)?);
        } else {
            render(one);
        }
    }
    Ok(())
}

fn render(one: &Trace) {
    let place = one.place.as_ref().map_or("an unknown place".into(), ToString::to_string);
    line(&format!("--- {}  {}  {}", one.id, one.source, one.language));
    line(&format!("read from   {place}"));
    if let Some(origin) = &one.origin {
        line(&format!("before that {origin}, of the source {}", origin.source));
    }
    if let Some(id) = one.collected_id.as_ref().filter(|id| **id != one.id) {
        line(&format!("collected   as {id}; cleaning changed its text"));
    }
    if let Some(copy) = &one.copy {
        line(&format!("copy        {copy}, made of it; what follows the cleaned documents is the copy's"));
    }
    for artifact in &one.artifacts {
        line(&format!("artifact    {}", artifact.path.display()));
    }
    if !one.passed.is_empty() {
        line(&format!("passed      {}", one.passed.join(", ")));
    }
    line(&match &one.fate {
        TraceFate::Kept { split } => format!("kept        in {split}"),
        TraceFate::Dropped { step, reason, detail } => format!("dropped     by {step}: {reason} ({detail})"),
        TraceFate::Gone => "dropped     and not kept (clean.keep_dropped = false)".into(),
        TraceFate::Forgotten { time, reason, models } => {
            format!("forgotten   {time}: {reason}; {} models had seen it", models.len())
        }
    });
    for shard in &one.shards {
        let (path, tokens) = (shard.path.display(), &shard.tokens);
        line(&format!("tokens      {path}: document {}, tokens {} to {}", shard.document, tokens.start, tokens.end));
    }
    models(&one.models);
}

fn models(models: &[ModelRef]) {
    for model in models {
        let splits: Vec<&str> = model.splits.iter().map(String::as_str).collect();
        let runs = if model.runs.is_empty() { "no run".into() } else { model.runs.join(", ") };
        line(&format!("model       {} (of {}; saw it in {})", model.artifact.path.display(), runs, splits.join(", ")));
    }
}

pub fn forget(global: &Global, args: &DataForgetArgs) -> anyhow::Result<()> {
    let workspace = Workspace::open(&global.runs_dir)?;
    if let Some(earlier) = danlu_data::pending_forget(&workspace, &data_progress())? {
        note(&format!("finished what was begun at {}: {} documents", earlier.time, earlier.documents.len()));
    }
    let conditions = args.conditions.iter().map(|text| text.parse()).collect::<Result<_, String>>();
    let conditions = conditions.map_err(|message| Usage::new(message, "for example --where source=letters"))?;
    let selection = Selection { ids: args.ids.clone(), conditions };
    if selection.ids.is_empty() == selection.conditions.is_empty() {
        let message = "say which documents: --id or --where, not both";
        return Err(Usage::new(message, "`danlu data show RUN --json` prints ids").into());
    }
    let clean = cleaned(&workspace, &args.run)?;
    if args.dry_run {
        let plan = danlu_data::plan_forget(&workspace, &clean, &selection, &args.reason)?;
        return planned(&plan, args.json);
    }
    let told = danlu_data::forget(&workspace, &clean, &selection, &args.reason, &data_progress())?;
    if args.json {
        line(&serde_json::to_string(&told)?);
    } else {
        done(&told);
    }
    Ok(())
}

fn planned(plan: &ForgetPlan, json: bool) -> anyhow::Result<()> {
    if json {
        line(&serde_json::to_string(plan)?);
        return Ok(());
    }
    line(&format!("would forget {} texts (before and after cleaning, and copies)", count(plan.documents.len() as u64)));
    for one in &plan.artifacts {
        let tables = one.tables.iter().map(|(table, n)| format!("{table} {n}"));
        let shards = one.shards.iter().filter(|(_, sought)| sought.documents > 0);
        let shards = shards.map(|(split, sought)| format!("{split}.tokens {}", sought.documents));
        let held: Vec<String> = tables.chain(shards).collect();
        line(&format!("rewrites    {} ({})", one.artifact.path.display(), held.join(", ")));
    }
    models(&plan.models);
    Ok(())
}

fn done(told: &Forgotten) {
    line(&format!("forgot {} texts (before and after cleaning, and copies)", count(told.documents.len() as u64)));
    for file in told.files.iter().filter(|file| file.documents + file.missing > 0) {
        let tokens = file.tokens.map_or(String::new(), |tokens| format!(", {} tokens", count(tokens)));
        line(&format!("removed     {} documents{tokens} from {}", count(file.documents), file.path.display()));
        if file.missing > 0 {
            note(&format!(
                "warning: {} documents were not found in {}: its tokens do not spell their text; run the recipe with --from tokenizer",
                file.missing,
                file.path.display()
            ));
        }
    }
    models(&told.models);
    if !told.models.is_empty() {
        note("these models have seen the documents; the next `danlu run` of their recipe trains them again without");
    }
    for one in &told.derived {
        line(&format!("made of it  {} (the next `danlu run` makes it again)", one.path.display()));
    }
}
