//! The stage graph: which stage stands on which, and the key that says when a result may be used again.
//!
//! `key(stage) = blake3(stage, format version, its config, the keys of its inputs)`. The keys of a whole recipe can
//! be worked out without running anything, so `--dry-run` tells the truth.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use danlu_store::{Artifact, ArtifactStore, hash};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::recipe::RecipeFile;
use crate::{PipelineError, nearest};

/// One stage of a model's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Collect,
    Clean,
    Tokenizer,
    Train,
    Evaluate,
    Compress,
    Report,
}

impl Stage {
    /// All stages in an order in which each comes after its inputs.
    pub const ALL: [Self; 7] =
        [Self::Collect, Self::Clean, Self::Tokenizer, Self::Train, Self::Evaluate, Self::Compress, Self::Report];

    /// The stages whose results this one reads.
    pub fn inputs(self) -> &'static [Self] {
        match self {
            Self::Collect => &[],
            Self::Clean => &[Self::Collect],
            Self::Tokenizer => &[Self::Clean],
            Self::Train => &[Self::Tokenizer],
            Self::Evaluate | Self::Compress => &[Self::Clean, Self::Tokenizer, Self::Train],
            Self::Report => &[Self::Collect, Self::Clean, Self::Tokenizer, Self::Train, Self::Evaluate, Self::Compress],
        }
    }

    /// Raised when a change of code makes earlier results of this stage stale.
    fn format(self) -> u32 {
        1
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Collect => "collect",
            Self::Clean => "clean",
            Self::Tokenizer => "tokenizer",
            Self::Train => "train",
            Self::Evaluate => "evaluate",
            Self::Compress => "compress",
            Self::Report => "report",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|s| s.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name);
            match nearest(name, known.into_iter()) {
                Some(near) => format!("no stage `{name}`; did you mean `{near}`?"),
                None => format!("no stage `{name}`; the stages are {}", known.join(", ")),
            }
        })
    }
}

/// A stage of a given recipe: its config, its inputs' keys and its own key.
#[derive(Clone, Debug)]
pub struct Node {
    pub stage: Stage,
    pub config: Value,
    pub inputs: BTreeMap<String, String>,
    pub key: String,
}

/// All nodes of a recipe, in the order of [`Stage::ALL`].
#[derive(Clone, Debug)]
pub struct Graph {
    nodes: Vec<Node>,
}

impl Graph {
    /// Works out every key; reads the source files to hash them.
    ///
    /// # Errors
    /// A source that names no file, or one that cannot be read.
    pub fn of(file: &RecipeFile) -> Result<Self, PipelineError> {
        let sources = hash_sources(file)?;
        let mut nodes: Vec<Node> = Vec::new();
        for stage in Stage::ALL {
            let inputs: BTreeMap<String, String> = nodes
                .iter()
                .filter(|n| stage.inputs().contains(&n.stage))
                .map(|n| (n.stage.name().to_owned(), n.key.clone()))
                .collect();
            let config = stage_config(stage, file, &sources);
            let key = hash::of_json(&json!({
                "stage": stage.name(), "format": stage.format(), "config": config, "inputs": inputs,
            }))
            .to_string();
            nodes.push(Node { stage, config, inputs, key });
        }
        Ok(Self { nodes })
    }

    pub fn node(&self, stage: Stage) -> &Node {
        &self.nodes[stage as usize]
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Names the run: the same recipe on the same data is the same run.
    pub fn run_id(&self, name: &str) -> String {
        format!("{name}-{}", &self.node(Stage::Report).key[..8])
    }
}

/// The part of the recipe that a stage depends on by itself.
fn stage_config(stage: Stage, file: &RecipeFile, sources: &Value) -> Value {
    let r = &file.recipe;
    match stage {
        Stage::Collect => json!({ "data": r.data, "files": sources }),
        Stage::Clean => json!({ "clean": r.clean, "split": r.split }),
        Stage::Tokenizer => json!({ "tokenizer": r.tokenizer }),
        Stage::Train => json!({ "model": r.model, "train": r.train, "seed": r.seed }),
        Stage::Evaluate => json!({ "evaluate": r.evaluate, "samples": r.samples, "seed": r.seed }),
        Stage::Compress => json!({ "compress": r.compress, "evaluate": r.evaluate }),
        Stage::Report => json!({ "name": r.name, "description": r.description, "version": env!("CARGO_PKG_VERSION") }),
    }
}

/// `{source name: {file name: content hash}}`; a moved folder with the same files stays the same data.
fn hash_sources(file: &RecipeFile) -> Result<Value, PipelineError> {
    let mut all = serde_json::Map::new();
    for source in &file.recipe.data.sources {
        let mut files = serde_json::Map::new();
        for path in danlu_data::source_files(source, file.base())? {
            let name =
                path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
            files.insert(name, hash::of_file(&path)?.to_string().into());
        }
        all.insert(source.name.clone(), files.into());
    }
    Ok(Value::Object(all))
}

/// What the user asked to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection {
    /// Run this stage and what depends on it even if nothing changed.
    pub from: Option<Stage>,
    /// Run this stage alone.
    pub only: Option<Stage>,
}

/// What will happen to a stage, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum Decision {
    /// The result is there.
    Reuse { path: PathBuf },
    /// The stage runs.
    Run { why: String },
    /// Left out by `--only`.
    Skip,
}

/// Decides for every stage of the graph, without running anything.
///
/// # Errors
/// An artifact folder that cannot be read.
pub fn decide(
    graph: &Graph,
    store: &ArtifactStore,
    selection: Selection,
) -> Result<Vec<(Stage, Decision)>, PipelineError> {
    let mut decided: Vec<(Stage, Decision)> = Vec::new();
    for node in graph.nodes() {
        let runs = |s: &Stage| decided.iter().any(|(d, how)| d == s && matches!(how, Decision::Run { .. }));
        let found = store.find(node.stage.name(), &node.key)?;
        let decision = match selection.only {
            Some(only) if only != node.stage => match found {
                Some(artifact) => Decision::Reuse { path: artifact.path },
                None => Decision::Skip,
            },
            Some(only) => Decision::Run { why: format!("--only {only}") },
            None if selection.from == Some(node.stage) => Decision::Run { why: format!("--from {}", node.stage) },
            None => match node.stage.inputs().iter().find(|s| runs(s)) {
                Some(input) if selection.from.is_some() || found.is_none() => {
                    Decision::Run { why: why_missing(node, store)?.unwrap_or_else(|| format!("{input} runs again")) }
                }
                _ => match found {
                    Some(artifact) => Decision::Reuse { path: artifact.path },
                    None => Decision::Run { why: why_missing(node, store)?.unwrap_or_else(|| "no result yet".into()) },
                },
            },
        };
        decided.push((node.stage, decision));
    }
    Ok(decided)
}

/// Explains a missing result by the newest result of the same stage: which keys of its config differ.
fn why_missing(node: &Node, store: &ArtifactStore) -> Result<Option<String>, PipelineError> {
    if store.work_in_progress(node.stage.name(), &node.key) {
        return Ok(Some("was stopped before its end; goes on".into()));
    }
    let Some(latest) = store.latest(node.stage.name())? else { return Ok(None) };
    let mut changes = Vec::new();
    differences("", &latest.manifest.config, &node.config, &mut changes);
    Ok((!changes.is_empty()).then(|| {
        let more = changes.len().saturating_sub(3);
        changes.truncate(3);
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("changed: {}{tail}", changes.join(", "))
    }))
}

/// Collects `path (old -> new)` for every leaf that differs.
fn differences(path: &str, old: &Value, new: &Value, out: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                differences(&below, a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null), out);
            }
        }
        _ if old != new => out.push(format!("{path} ({} -> {})", brief(old), brief(new))),
        _ => {}
    }
}

fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(24) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}

/// The artifact of a stage, or the error that says how to make it.
pub fn require(graph: &Graph, store: &ArtifactStore, by: Stage, stage: Stage) -> Result<Artifact, PipelineError> {
    store.find(stage.name(), &graph.node(stage).key)?.ok_or(PipelineError::MissingInput { stage: by, missing: stage })
}
