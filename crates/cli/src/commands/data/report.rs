//! `danlu data report RUN|FILES`.

use anyhow::Context;
use danlu_data::{DataReport, Snapshot, drift};
use danlu_store::{Workspace, atomic};

use super::input::{Input, snapshot, thresholds};
use crate::args::{DataReportArgs, Global};
use crate::output::{bytes, count, line, note};

pub fn report(global: &Global, args: &DataReportArgs) -> anyhow::Result<()> {
    let workspace = Workspace::open(&global.runs_dir)?;
    let input = Input::of(&workspace, &args.input, &args.reading)?;
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let mut report = DataReport::of_snapshot(input.title(), command, snapshot(&input, &args.reading)?);
    if let Input::Cleaned { clean, collect, .. } = &input {
        report = report.with_artifacts(clean, collect.as_ref())?;
    }
    if let Some(against) = &args.against {
        let accepted = snapshot(&Input::of(&workspace, std::slice::from_ref(against), &args.reading)?, &args.reading)?;
        report.drift = Some(drift(&accepted, &report.snapshot, &thresholds(args.thresholds.as_deref())?));
    }
    if let Some(path) = &args.snapshot {
        report.snapshot.write(path)?;
    }
    if let Some(path) = &args.out {
        let page = danlu_data::data_page(&report);
        atomic::write_bytes(path, page.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
        note(&format!("the page: {}", path.display()));
    }
    if args.json {
        line(&serde_json::to_string(&report)?);
    } else {
        render(&report.snapshot);
    }
    Ok(())
}

fn render(snapshot: &Snapshot) {
    let row = |name: &str, of: &danlu_data::Count| vec![name.to_owned(), count(of.documents), bytes(of.bytes)];
    let mut rows = vec![row("all", &snapshot.total)];
    rows.extend(snapshot.by_source().iter().map(|(name, of)| row(&format!("source {name}"), of)));
    rows.extend(snapshot.by_language().iter().map(|(code, of)| row(&format!("language {code}"), of)));
    line(crate::output::table(&["documents of", "documents", "text"], &rows).trim_end());
    let figure = |value: f64| danlu_report::number::significant(value, 3);
    let statistics = snapshot.config.statistics.iter().filter_map(|name| {
        let of = snapshot.distribution(name, |_| true);
        (of.count > 0).then(|| {
            let mut row = vec![name.clone(), figure(of.mean())];
            row.extend([0.1, 0.5, 0.9].map(|q| figure(of.quantile(q))));
            row
        })
    });
    line(
        crate::output::table(&["statistic", "mean", "10%", "median", "90%"], &statistics.collect::<Vec<_>>())
            .trim_end(),
    );
}
