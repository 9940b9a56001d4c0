//! `danlu plan RECIPE`: parameters, memory by class and time, before anything runs.

use danlu_pipeline::RecipeFile;
use danlu_store::Workspace;
use danlu_train::{Basis, Plan};

use crate::args::{Global, PlanArgs};
use crate::output::{bytes, count, duration, line, table};

pub fn plan(global: &Global, args: &PlanArgs) -> anyhow::Result<()> {
    let file = RecipeFile::load(&args.recipe)?;
    let workspace = Workspace::open(&global.runs_dir)?;
    let device = danlu_pipeline::select_device(&global.device)?;
    let plan = danlu_pipeline::plan::plan(&file, &workspace, &device)?;
    if args.json {
        line(&serde_json::to_string(&plan)?);
    } else {
        line(plan_table(&plan).trim_end());
    }
    Ok(())
}

/// The table that `danlu plan` prints and that stands at the start of training.
pub fn plan_table(plan: &Plan) -> String {
    let mut rows = vec![
        vec!["parameters".into(), count(plan.parameters)],
        vec!["tokens per step".into(), count(plan.tokens_per_step)],
        vec!["tokens in all".into(), count(plan.tokens)],
        vec!["FLOP per token".into(), format!("{:.1} M", plan.flops_per_token / 1e6)],
    ];
    if let Some(rates) = &plan.learning_rate {
        let name = serde_json::to_value(rates.schedule).unwrap_or_default();
        let (first, highest, at, last) = (rates.first, rates.highest, rates.highest_at, rates.last);
        let text = format!("{first:.1e}, {highest:.1e} at step {at}, {last:.1e} at the end");
        rows.push(vec![format!("learning rate, {}", name.as_str().unwrap_or("by a schedule")), text]);
    }
    for (class, size) in plan.memory.classes() {
        rows.push(vec![format!("memory: {class}"), bytes(size)]);
    }
    rows.push(vec!["memory: together".into(), bytes(plan.memory_total)]);
    let basis = match plan.basis {
        Basis::PeakTimesAssumedMfu { peak_flops, assumed_mfu } => {
            format!("at {:.0}% of the {:.0} GFLOP/s measured now", assumed_mfu * 100.0, peak_flops / 1e9)
        }
        Basis::MeasuredSpeed => "at the speed measured before".into(),
    };
    rows.push(vec!["estimated time".into(), duration(plan.estimated_seconds)]);
    format!("{}estimate: {basis}", table(&["plan", ""], &rows))
}
