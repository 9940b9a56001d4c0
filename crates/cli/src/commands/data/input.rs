//! What `danlu data report` and `watch` look at: a run, files, or a snapshot of earlier; and what they compare it with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use danlu_data::{CollectSummary, Corpus, FUNNEL_FILE, Funnel, Snapshot, SnapshotConfig, WatchConfig};
use danlu_store::{Artifact, Workspace};

use super::{licenses, looked_at};
use crate::Usage;
use crate::args::ReadingArgs;
use crate::output::note;
use crate::progress::data_progress;

pub enum Input {
    Snapshot(PathBuf),
    Files {
        title: String,
        corpus: Corpus,
    },
    /// With the licences that the recipe states of its sources.
    Cleaned {
        title: String,
        clean: Artifact,
        collect: Option<Artifact>,
        licenses: BTreeMap<String, String>,
    },
}

impl Input {
    /// One `.json` file is a snapshot if it looks like one; names of files (patterns too) are files; a run id or a recipe is what it cleaned.
    pub fn of(workspace: &Workspace, given: &[String], reading: &ReadingArgs) -> anyhow::Result<Self> {
        let [first, ..] = given else { return Err(Usage::new("nothing to look at", "name a run or files").into()) };
        let is_path = |name: &String| Path::new(name).exists() || name.contains(['*', '?', '/']) || name.contains('.');
        let is_json = given.len() == 1 && first.ends_with(".json") && !first.contains(['*', '?']);
        if is_json && Snapshot::is_in(Path::new(first))? {
            return Ok(Self::Snapshot(first.into()));
        }
        if given.len() == 1 && (first.ends_with(".toml") || !is_path(first)) {
            let clean = looked_at(workspace, first)?;
            let key = clean.manifest.inputs.get("collect");
            let collect = key.map(|key| workspace.artifacts().find("collect", key)).transpose()?.flatten();
            let licenses = licenses(workspace, first)?;
            return Ok(Self::Cleaned { title: first.clone(), clean, collect, licenses });
        }
        let mut files = Vec::new();
        for name in given {
            let source = danlu_data::SourceConfig { name: name.clone(), path: name.clone(), ..Default::default() };
            files.extend(danlu_data::source_files(&source, Path::new(""))?);
        }
        let mut corpus = Corpus::of(files);
        corpus.text_field.clone_from(&reading.text_field);
        corpus.source.clone_from(&reading.source);
        Ok(Self::Files { title: given.join(" "), corpus })
    }

    /// What a run collected.
    fn collected(&self) -> Option<&Artifact> {
        if let Self::Cleaned { collect, .. } = self { collect.as_ref() } else { None }
    }

    pub fn title(&self) -> String {
        match self {
            Self::Snapshot(path) => path.display().to_string(),
            Self::Files { title, .. } | Self::Cleaned { title, .. } => title.clone(),
        }
    }
}

/// Reads the documents, or the snapshot.
pub fn snapshot(input: &Input, reading: &ReadingArgs) -> anyhow::Result<Snapshot> {
    match input {
        Input::Snapshot(path) => Ok(Snapshot::read(path)?),
        Input::Files { corpus, .. } => measure(corpus, reading),
        Input::Cleaned { clean, collect: Some(collect), .. } if nothing_kept(clean)? => {
            uncleaned(input, collect, reading)
        }
        Input::Cleaned { clean, collect, .. } => {
            measure(&counted(Corpus::of_cleaned(&clean.path), collect.as_ref())?, reading)
        }
    }
}

/// Whether cleaning failed because it dropped everything.
fn nothing_kept(clean: &Artifact) -> anyhow::Result<bool> {
    let funnel: Funnel = serde_json::from_slice(&std::fs::read(clean.path.join(FUNNEL_FILE))?)?;
    Ok(funnel.kept.documents == 0)
}

/// With what collecting counted, where it is known.
fn counted(corpus: Corpus, collect: Option<&Artifact>) -> anyhow::Result<Corpus> {
    let Some(collect) = collect else { return Ok(corpus) };
    let summary: CollectSummary = serde_json::from_value(collect.manifest.summary.clone())?;
    Ok(corpus.with_collected(&summary))
}

fn measure(corpus: &Corpus, reading: &ReadingArgs) -> anyhow::Result<Snapshot> {
    let mut config = SnapshotConfig { time_field: reading.time_field.clone(), ..Default::default() };
    if !reading.statistics.is_empty() {
        config.statistics.clone_from(&reading.statistics);
    }
    Ok(Snapshot::of(corpus, &config, &data_progress())?)
}

/// Like with like: what `given` was, to compare a delivery with, and what the delivery is in the place of `own`, where that
/// has to be looked at otherwise. Beside text that nobody has cleaned a run stands with its documents as it collected them.
pub fn accepted(
    given: &Input,
    delivery: &Input,
    own: &Snapshot,
    reading: &ReadingArgs,
) -> anyhow::Result<(Snapshot, Option<Snapshot>)> {
    let accepted = match given.collected().filter(|_| own.raw) {
        Some(collect) => uncleaned(given, collect, reading)?,
        None => snapshot(given, reading)?,
    };
    let instead = match delivery.collected().filter(|_| accepted.raw && !own.raw) {
        Some(collect) => Some(uncleaned(delivery, collect, reading)?),
        None => None,
    };
    if accepted.raw != instead.as_ref().unwrap_or(own).raw {
        note(
            "one side is text that nobody has cleaned, the other is cleaned; name the run in the place of its snapshot",
        );
    }
    Ok((accepted, instead))
}

fn uncleaned(run: &Input, collect: &Artifact, reading: &ReadingArgs) -> anyhow::Result<Snapshot> {
    note(&format!("of {}: the documents as they were collected, before cleaning", run.title()));
    measure(&counted(Corpus::of_collected(&collect.path), Some(collect))?, reading)
}

pub fn thresholds(file: Option<&Path>) -> anyhow::Result<WatchConfig> {
    match file {
        // A thresholds file that makes no sense is a request that makes none.
        Some(file) => WatchConfig::load(file).map_err(|error| {
            let hint = error.hint().unwrap_or_else(|| "see `danlu data watch --help`".into());
            Usage::new(error.to_string(), hint).into()
        }),
        None => Ok(WatchConfig::default()),
    }
}
