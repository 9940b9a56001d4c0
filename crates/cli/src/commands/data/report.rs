//! `danlu data report RUN|FILES`.

use anyhow::Context;
use danlu_data::{ContaminationReport, DataReport, DuplicateReport, Snapshot, drift};
use danlu_store::{Workspace, atomic};

use super::input::{self, Input, snapshot, thresholds};
use crate::args::{DataReportArgs, Global};
use crate::output::{bytes, count, line, note};

pub fn report(global: &Global, args: &DataReportArgs) -> anyhow::Result<()> {
    let workspace = Workspace::open(&global.runs_dir)?;
    let input = Input::of(&workspace, &args.input, &args.reading)?;
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let mut report = DataReport::of_snapshot(input.title(), command, snapshot(&input, &args.reading)?);
    if let Input::Cleaned { clean, collect, licenses, .. } = &input {
        report = report.with_artifacts(clean, collect.as_ref())?.with_licenses(licenses);
    }
    if let Some(against) = &args.against {
        let limits = thresholds(args.thresholds.as_deref())?;
        let given = Input::of(&workspace, std::slice::from_ref(against), &args.reading)?;
        let (accepted, instead) = input::accepted(&given, &input, &report.snapshot, &args.reading)?;
        report.drift = Some(drift(&accepted, instead.as_ref().unwrap_or(&report.snapshot), &limits));
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
        if let Some(duplicates) = report.duplicates.as_ref().filter(|duplicates| !duplicates.largest.is_empty()) {
            line(clusters(duplicates).trim_end());
        }
        if let Some(found) = &report.contamination {
            line(contamination(found).trim_end());
        }
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

/// The largest clusters of duplicates; the page has more of them, and what differs within.
fn clusters(duplicates: &DuplicateReport) -> String {
    const SHOWN: usize = 5;
    let rows: Vec<Vec<String>> = duplicates
        .largest
        .iter()
        .take(SHOWN)
        .map(|cluster| {
            let kept = &cluster.kept;
            let text: String = kept.text.iter().flat_map(|text| text.chars()).take(40).collect();
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            vec![count(cluster.size), kept.source.clone(), kept.id.chars().take(12).collect(), text]
        })
        .collect();
    crate::output::table(&["documents", "source", "kept", "text"], &rows)
}

/// What was found of the evaluation sets; the page shows some of it.
fn contamination(found: &ContaminationReport) -> String {
    let row = |set: &danlu_data::SetReport| {
        vec![set.name.clone(), count(set.documents), count(set.items), count(set.too_short)]
    };
    let rows: Vec<Vec<String>> = found.sets.iter().map(row).collect();
    crate::output::table(&["evaluation set", "documents hit", "items found", "items too short"], &rows)
}
