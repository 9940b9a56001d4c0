//! `danlu eval MODEL --data PATH`.

use std::path::Path;

use danlu_data::{SourceConfig, Translate};
use danlu_eval::{Changes, EvalConfig, Progress, Scores};
use serde::Serialize;

use crate::args::{EvalArgs, Global};
use crate::commands::data::augment::{read_config, translation};
use crate::output::{count, fancy, line, note, table};

pub fn eval(global: &Global, args: &EvalArgs) -> anyhow::Result<()> {
    let device = danlu_pipeline::select_device(&global.device)?;
    let source = SourceConfig {
        name: "data".into(),
        path: args.data.clone(),
        text_field: args.text_field.clone(),
        ..SourceConfig::default()
    };
    let config = EvalConfig::default();
    if args.lengths {
        return lengths(global, args, &source);
    }
    if let Some(config) = &args.augment {
        return robustness(global, args, &source, config);
    }
    let evaluation = danlu_eval::evaluate_source(&args.model, &source, Path::new("."), &device, &config, &mut scored)?;
    if told_as_json(args, &evaluation)? {
        return Ok(());
    }
    let mut rows = vec![row("all", &evaluation.overall)];
    rows.extend(evaluation.by_language.iter().map(|(name, scores)| row(name, scores)));
    let header = ["text", "documents", "bytes", "tokens", "loss", "perplexity", "bits/byte", "top-1", "top-5"];
    line(table(&header, &rows).trim_end());
    Ok(())
}

fn lengths(global: &Global, args: &EvalArgs, source: &SourceConfig) -> anyhow::Result<()> {
    let device = danlu_pipeline::select_device(&global.device)?;
    let config = EvalConfig::default();
    let report = danlu_eval::length_report(&args.model, source, Path::new("."), &device, &config, &mut scored)?;
    if told_as_json(args, &report)? {
        return Ok(());
    }
    let rows: Vec<Vec<String>> = report
        .iter()
        .map(|line| {
            let figures = row(line.positions, &line.scores);
            [vec![count(line.seq_len as u64)], figures].concat()
        })
        .collect();
    let header =
        ["context", "positions", "documents", "bytes", "tokens", "loss", "perplexity", "bits/byte", "top-1", "top-5"];
    line(table(&header, &rows).trim_end());
    Ok(())
}

/// What each change of the text costs.
fn robustness(global: &Global, args: &EvalArgs, source: &SourceConfig, config: &Path) -> anyhow::Result<()> {
    let device = danlu_pipeline::select_device(&global.device)?;
    let (config, base) = read_config(config, args.seed)?;
    let back = args.back.load(global, &config, base)?;
    let translate = back.as_ref().map(translation);
    let translate = translate.as_ref().map(|translate| translate as &Translate<'_>);
    let changes = Changes { config: &config, base, translate };
    let here = (source, Path::new("."));
    let scoring = EvalConfig::default();
    let report = danlu_eval::robustness_report(&args.model, here, &changes, &device, &scoring, &mut scored)?;
    if told_as_json(args, &report)? {
        return Ok(());
    }
    let bits = |x: Option<f64>| x.map_or("-".into(), |x| format!("{x:.4}"));
    let rows: Vec<Vec<String>> = report
        .iter()
        .map(|step| {
            vec![
                step.label(),
                count(step.copies),
                count(step.skipped.values().sum()),
                format!("{:.0}%", step.mean_edit_ratio * 100.0),
                bits(step.original.as_ref().map(|scores| scores.bits_per_byte)),
                bits(step.changed.as_ref().map(|scores| scores.bits_per_byte)),
                step.cost().map_or("-".into(), |cost| format!("{cost:+.4}")),
            ]
        })
        .collect();
    let header = ["change", "copies", "skipped", "changed", "bits/byte before", "after", "cost"];
    line(table(&header, &rows).trim_end());
    Ok(())
}

/// Shows progress on a terminal.
fn scored(progress: &Progress) {
    use std::io::Write;
    if fancy() {
        let _ = write!(std::io::stderr().lock(), "\r  scored {} tokens", count(progress.tokens_scored));
    }
}

/// Ends the line of progress and, with `--json`, tells what was found as that; whether it did.
fn told_as_json(args: &EvalArgs, found: &impl Serialize) -> anyhow::Result<bool> {
    if fancy() {
        note("");
    }
    if args.json {
        line(&serde_json::to_string(found)?);
    }
    Ok(args.json)
}

fn row(name: &str, s: &Scores) -> Vec<String> {
    vec![
        name.into(),
        count(s.documents),
        count(s.bytes),
        count(s.tokens),
        format!("{:.4}", s.loss),
        format!("{:.2}", s.perplexity),
        format!("{:.4}", s.bits_per_byte),
        format!("{:.1}%", s.top1 * 100.0),
        format!("{:.1}%", s.top5 * 100.0),
    ]
}
