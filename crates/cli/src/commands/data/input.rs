//! What `danlu data report` and `watch` look at: a run, files, or a snapshot of earlier.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use danlu_data::{Corpus, Snapshot, SnapshotConfig, WatchConfig};
use danlu_store::{Artifact, Workspace};

use super::{cleaned, licenses};
use crate::Usage;
use crate::args::ReadingArgs;
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
    /// One `.json` file is a snapshot; names of files (patterns too) are files; a run id or a recipe is what it cleaned.
    pub fn of(workspace: &Workspace, given: &[String], reading: &ReadingArgs) -> anyhow::Result<Self> {
        let [first, ..] = given else { return Err(Usage::new("nothing to look at", "name a run or files").into()) };
        let is_path = |name: &String| Path::new(name).exists() || name.contains(['*', '?', '/']) || name.contains('.');
        if given.len() == 1 && first.ends_with(".json") {
            return Ok(Self::Snapshot(first.into()));
        }
        if given.len() == 1 && (first.ends_with(".toml") || !is_path(first)) {
            let clean = cleaned(workspace, first)?;
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

    pub fn title(&self) -> String {
        match self {
            Self::Snapshot(path) => path.display().to_string(),
            Self::Files { title, .. } | Self::Cleaned { title, .. } => title.clone(),
        }
    }
}

/// Reads the documents, or the snapshot.
pub fn snapshot(input: &Input, reading: &ReadingArgs) -> anyhow::Result<Snapshot> {
    let mut config = SnapshotConfig { time_field: reading.time_field.clone(), ..Default::default() };
    if !reading.statistics.is_empty() {
        config.statistics.clone_from(&reading.statistics);
    }
    let corpus = match input {
        Input::Snapshot(path) => return Ok(Snapshot::read(path)?),
        Input::Files { corpus, .. } => corpus.clone(),
        Input::Cleaned { clean, .. } => Corpus::of_cleaned(&clean.path),
    };
    Ok(Snapshot::of(&corpus, &config, &data_progress())?)
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
