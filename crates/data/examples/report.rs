//! A page about the corpora of this repository, to look at while working on it:
//! `cargo run --release -p danlu-data --example report -- /tmp/page.html`. Drift is that of the kept documents
//! against the collected ones.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::time::Instant;

use danlu_data::{
    COLLECTED_FILE, CleanConfig, Corpus, DataError, DataReport, Dedup, DedupConfig, NearConfig, Progress, Snapshot,
    SnapshotConfig, SourceConfig, SplitConfig, WatchConfig, clean, collect, data_page, drift, stated_licenses,
};
use danlu_store::{Artifact, Manifest, Workspace, now_rfc3339};
use serde_json::{Value, json};

fn main() -> Result<(), DataError> {
    let out = std::env::args().nth(1).unwrap_or_else(|| "page.html".to_owned());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dir = std::env::temp_dir().join(format!("danlu-report-{}", std::process::id()));
    let workspace = Workspace::open(&dir)?;
    let source = |name: &str, license: Option<&str>| SourceConfig {
        name: name.into(),
        path: format!("corpora/{name}.jsonl.zst"),
        license: license.map(Into::into),
        ..Default::default()
    };
    let sources = [source("state-of-the-union", Some("CC0-1.0")), source("tang-poems", None)];
    let quiet = |_: Progress<'_>| {};

    let work = workspace.artifacts().work_dir("collect", "c")?;
    let collected = collect(&sources, &root, false, &work, &quiet)?;
    let config = json!({ "sources": sources, "files": {} });
    let collected = publish(&workspace, "collect", "c", config, serde_json::to_value(collected).unwrap_or_default())?;
    let work = workspace.artifacts().work_dir("clean", "k")?;
    let near = NearConfig { threshold: 0.6, ..Default::default() };
    let dedup = Dedup::Search(Box::new(DedupConfig { near: Some(near), ..Default::default() }));
    let (config, split) = (CleanConfig { min_chars: 30, dedup, ..Default::default() }, SplitConfig::default());
    let funnel = clean(&collected.path.join(COLLECTED_FILE), &config, &split, &work, &quiet)?;
    let config = json!({ "clean": config, "split": split });
    let cleaned = publish(&workspace, "clean", "k", config, serde_json::to_value(funnel).unwrap_or_default())?;

    let start = Instant::now();
    let snapshot = Snapshot::of(&Corpus::of_cleaned(&cleaned.path), &SnapshotConfig::default(), &quiet)?;
    let seconds = start.elapsed().as_secs_f64();
    let megabytes = snapshot.total.bytes as f64 / 1e6;
    println!("{megabytes:.1} MB in {seconds:.2} s: {:.1} MB/s", megabytes / seconds);
    let accepted =
        Snapshot::of(&Corpus::of(vec![collected.path.join(COLLECTED_FILE)]), &SnapshotConfig::default(), &quiet)?;
    let mut report = DataReport::of_snapshot("corpora", "cargo run -p danlu-data --example report", snapshot)
        .with_artifacts(&cleaned, Some(&collected))?
        .with_licenses(&stated_licenses(&sources));
    report.drift = Some(drift(&accepted, &report.snapshot, &WatchConfig::default()));
    std::fs::write(&out, data_page(&report)).map_err(|source| DataError::Io {
        action: "write",
        path: out.into(),
        source,
    })?;
    std::fs::remove_dir_all(&dir).map_err(|source| DataError::Io { action: "remove", path: dir, source })
}

fn publish(
    workspace: &Workspace,
    stage: &str,
    key: &str,
    config: Value,
    summary: Value,
) -> Result<Artifact, DataError> {
    let store = workspace.artifacts();
    let manifest = Manifest {
        stage: stage.into(),
        key: key.into(),
        inputs: Default::default(),
        config,
        created: now_rfc3339(),
        seconds: 0.0,
        danlu_version: env!("CARGO_PKG_VERSION").into(),
        summary,
        content: String::new(),
    };
    Ok(store.publish(&store.work_dir(stage, key)?, manifest)?)
}
