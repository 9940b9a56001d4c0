//! The stage graph: which stage stands on which, and the key that says when a result may be used again.
//!
//! `key(stage) = blake3(stage, format version, its config, the keys of its inputs)`. The keys of a whole recipe can
//! be worked out without running anything, so `--dry-run` tells the truth.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use danlu_data::{stated_licenses, without_licenses};
use danlu_store::{Artifact, ArtifactStore, hash};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::recipe::{Recipe, RecipeFile};
use crate::{PipelineError, nearest};

/// One stage of a model's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Collect,
    Clean,
    /// Only where the recipe has an `[augment]`.
    Augment,
    Tokenizer,
    Train,
    Evaluate,
    Compress,
    Report,
}

impl Stage {
    /// All stages in an order in which each comes after its inputs.
    pub const ALL: [Self; 8] = [
        Self::Collect,
        Self::Clean,
        Self::Augment,
        Self::Tokenizer,
        Self::Train,
        Self::Evaluate,
        Self::Compress,
        Self::Report,
    ];

    /// The stages whose results this one reads, as far as the recipe has them; see [`Graph::inputs`].
    fn inputs(self) -> &'static [Self] {
        match self {
            Self::Collect => &[],
            Self::Clean => &[Self::Collect],
            Self::Augment => &[Self::Clean],
            Self::Tokenizer => &[Self::Clean, Self::Augment],
            Self::Train => &[Self::Tokenizer],
            Self::Evaluate | Self::Compress => &[Self::Clean, Self::Tokenizer, Self::Train],
            Self::Report => {
                let [before @ .., _] = &Self::ALL;
                before
            }
        }
    }

    /// Whether a recipe has this stage.
    fn belongs_to(self, recipe: &Recipe) -> bool {
        self != Self::Augment || recipe.augment.is_some()
    }

    /// Raised when a change of code makes earlier results of this stage stale.
    fn format(self) -> u32 {
        match self {
            // 2: documents are Parquet tables. 3: only conversations have `messages`; titles of posts, tables of danlu, bytes that are
            // no UTF-8, hidden files.
            Self::Collect => 3,
            // 2: documents are Parquet tables. 3: cleaning changes what conversations say.
            Self::Clean => 3,
            // 2: shards mark what is learnt.
            Self::Tokenizer => 2,
            _ => 1,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Collect => "collect",
            Self::Clean => "clean",
            Self::Augment => "augment",
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

/// The nodes of a recipe, in the order of [`Stage::ALL`].
#[derive(Clone, Debug)]
pub struct Graph {
    nodes: Vec<Node>,
}

impl Graph {
    /// Works out every key; reads the source files, and what else a section names, to hash them.
    ///
    /// # Errors
    /// A source that names no file, or one that cannot be read.
    pub fn of(file: &RecipeFile) -> Result<Self, PipelineError> {
        let files = Hashes::of(file)?;
        let mut nodes: Vec<Node> = Vec::new();
        for stage in Stage::ALL.into_iter().filter(|stage| stage.belongs_to(&file.recipe)) {
            let inputs: BTreeMap<String, String> = nodes
                .iter()
                .filter(|n| stage.inputs().contains(&n.stage))
                .map(|n| (n.stage.name().to_owned(), n.key.clone()))
                .collect();
            let config = stage_config(stage, file, &files);
            let key = hash::of_json(&json!({
                "stage": stage.name(), "format": stage.format(), "config": config, "inputs": inputs,
            }))
            .to_string();
            nodes.push(Node { stage, config, inputs, key });
        }
        Ok(Self { nodes })
    }

    /// # Errors
    /// [`PipelineError::NotInRecipe`] for a stage that this recipe does without.
    pub fn node(&self, stage: Stage) -> Result<&Node, PipelineError> {
        self.nodes.iter().find(|node| node.stage == stage).ok_or(PipelineError::NotInRecipe { stage })
    }

    pub fn has(&self, stage: Stage) -> bool {
        self.nodes.iter().any(|node| node.stage == stage)
    }

    /// The stages whose results `stage` reads.
    pub fn inputs(&self, stage: Stage) -> impl Iterator<Item = Stage> {
        stage.inputs().iter().copied().filter(|input| self.has(*input))
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }
}

/// The part of the recipe that a stage depends on by itself.
fn stage_config(stage: Stage, file: &RecipeFile, files: &Hashes) -> Value {
    let r = &file.recipe;
    match stage {
        // Not `strict`: where no record is malformed it changes nothing, and where one is, `decide` looks.
        Stage::Collect => json!({ "sources": without_licenses(&r.data.sources), "files": files.sources }),
        Stage::Clean => clean_config(r, files),
        Stage::Augment => json!({ "augment": r.augment, "files": files.augment }),
        Stage::Tokenizer => json!({ "tokenizer": r.tokenizer, "chat": r.chat, "mixture": r.mixture }),
        Stage::Train => json!({ "model": r.model, "train": r.train, "seed": r.seed }),
        Stage::Evaluate => json!({ "evaluate": r.evaluate, "samples": r.samples, "seed": r.seed }),
        Stage::Compress => json!({ "compress": r.compress, "evaluate": r.evaluate }),
        Stage::Report => report_config(file),
    }
}

/// What evaluation sets hold stands there only where the recipe has some.
fn clean_config(r: &Recipe, files: &Hashes) -> Value {
    let mut config = json!({ "clean": without_engine(json!(r.clean)), "split": r.split, "files": files.clean });
    if !files.sets.is_empty() {
        config["sets"] = json!(files.sets);
    }
    config
}

/// Who finds the duplicates, and by which way, changes nothing of what is found.
fn without_engine(mut clean: Value) -> Value {
    if let Some(dedup) = clean.get_mut("dedup").and_then(Value::as_object_mut) {
        dedup.retain(|key, _| key != "engine" && key != "exchange");
    }
    clean
}

/// Licences count here and nowhere else: the report and the model card state them, and nothing else is made of them.
fn report_config(file: &RecipeFile) -> Value {
    let r = &file.recipe;
    let mut config = json!({ "name": r.name, "description": r.description, "version": env!("CARGO_PKG_VERSION") });
    let licenses = stated_licenses(&r.data.sources);
    if !licenses.is_empty() {
        config["licenses"] = json!(licenses);
    }
    config
}

/// What the files that a recipe names hold, by the stage that reads them.
struct Hashes {
    sources: Value,
    clean: Value,
    /// Of the evaluation sets, as of sources.
    sets: Vec<serde_json::Map<String, Value>>,
    augment: Value,
}

impl Hashes {
    fn of(file: &RecipeFile) -> Result<Self, PipelineError> {
        let base = file.base();
        let copies = file.recipe.augment.as_ref().map(|augment| augment.files(base)).transpose()?;
        Ok(Self {
            sources: hash_sources(file)?,
            clean: hash_files(&file.recipe.clean.files(base), base)?,
            sets: file.recipe.clean.set_states(base)?,
            augment: hash_files(&copies.unwrap_or_default(), base)?,
        })
    }
}

/// `{source name: {file: content hash}}`, files relative to the recipe: a moved project stays the same data. What is not
/// a file has what else tells its state.
fn hash_sources(file: &RecipeFile) -> Result<Value, PipelineError> {
    let mut all = serde_json::Map::new();
    for source in &file.recipe.data.sources {
        all.insert(source.name.clone(), danlu_data::source_state(source, file.base())?.into());
    }
    Ok(Value::Object(all))
}

/// `{file: content hash}` of what a stage reads besides the documents, such as models.
fn hash_files(files: &[PathBuf], base: &Path) -> Result<Value, PipelineError> {
    let mut all = serde_json::Map::new();
    for path in files {
        let name = path.strip_prefix(base).unwrap_or(path).display().to_string();
        all.insert(name, hash::of_file(path)?.to_string().into());
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

/// Decides for every stage of the graph, without running anything. With `strict`, a collection that skipped malformed
/// records does not count as a result.
///
/// # Errors
/// An artifact folder that cannot be read; a stage was selected that the recipe does without.
pub fn decide(
    graph: &Graph,
    store: &ArtifactStore,
    selection: Selection,
    strict: bool,
) -> Result<Vec<(Stage, Decision)>, PipelineError> {
    for selected in selection.from.into_iter().chain(selection.only) {
        graph.node(selected)?;
    }
    let mut decided: Vec<(Stage, Decision)> = Vec::new();
    for node in graph.nodes() {
        let found = store.find(node.stage.name(), &node.key)?;
        let found = found.filter(|a| !(strict && node.stage == Stage::Collect && skipped_records(a) > 0));
        let rerun = graph
            .inputs(node.stage)
            .find(|input| decided.iter().any(|(stage, how)| stage == input && matches!(how, Decision::Run { .. })));
        let decision = match (selection.only, rerun) {
            (Some(only), _) if only == node.stage => Decision::Run { why: format!("--only {only}") },
            (Some(_), _) => found.map_or(Decision::Skip, |a| Decision::Reuse { path: a.path }),
            (None, _) if selection.from == Some(node.stage) => Decision::Run { why: format!("--from {}", node.stage) },
            (None, Some(input)) if found.is_some() => Decision::Run { why: format!("{input} runs again") },
            (None, _) => match found {
                Some(artifact) => match newer_input(node, graph, store, &artifact)? {
                    Some(input) => Decision::Run { why: format!("{input} was made again since") },
                    None => Decision::Reuse { path: artifact.path },
                },
                None => Decision::Run { why: why_missing(node, store)? },
            },
        };
        decided.push((node.stage, decision));
    }
    Ok(decided)
}

fn skipped_records(collected: &Artifact) -> u64 {
    collected.manifest.summary["problem_count"].as_u64().unwrap_or(0)
}

/// An input that was made again (by `--only`, or by a `--from` that was stopped) after this result, with other content.
fn newer_input(
    node: &Node,
    graph: &Graph,
    store: &ArtifactStore,
    made: &Artifact,
) -> Result<Option<Stage>, PipelineError> {
    for input in graph.inputs(node.stage) {
        let found = store.find(input.name(), &graph.node(input)?.key)?;
        if found.is_some_and(|i| i.manifest.created > made.manifest.created) {
            return Ok(Some(input));
        }
    }
    Ok(None)
}

/// Explains a missing result by the newest result of the same stage: which keys of its config differ.
fn why_missing(node: &Node, store: &ArtifactStore) -> Result<String, PipelineError> {
    if store.work_in_progress(node.stage.name(), &node.key) {
        return Ok("was stopped before its end; goes on".into());
    }
    let Some(latest) = store.latest(node.stage.name())? else { return Ok("no result yet".into()) };
    let mut changes = Vec::new();
    differences("", &latest.manifest.config, &node.config, &mut changes);
    if changes.is_empty() {
        return Ok("its inputs changed".into());
    }
    let more = changes.len().saturating_sub(3);
    changes.truncate(3);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    Ok(format!("changed: {}{tail}", changes.join(", ")))
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
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (old, new)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{i}]"), old, new, out);
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
    store.find(stage.name(), &graph.node(stage)?.key)?.ok_or(PipelineError::MissingInput { stage: by, missing: stage })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use danlu_store::{Manifest, Workspace};

    use super::*;

    /// A recipe over two files of one name, in a folder of its own.
    fn recipe(dir: &Path, extra: &str) -> RecipeFile {
        for (folder, text) in [("a", "first"), ("b", "second")] {
            std::fs::create_dir_all(dir.join(folder)).unwrap();
            let path = dir.join(folder).join("part.txt");
            if !path.exists() {
                std::fs::write(path, text).unwrap();
            }
        }
        let text = format!("name = \"t\"\n[[data.sources]]\nname = \"s\"\npath = \"*/part.txt\"\n{extra}");
        RecipeFile::parse(&dir.join("t.toml"), text).unwrap()
    }

    fn finish(store: &ArtifactStore, node: &Node, created: &str) {
        let work = store.work_dir(node.stage.name(), &node.key).unwrap();
        let manifest = Manifest {
            stage: node.stage.name().into(),
            key: node.key.clone(),
            inputs: node.inputs.clone(),
            config: node.config.clone(),
            created: created.into(),
            seconds: 1.0,
            danlu_version: "t".into(),
            summary: json!({ "problem_count": 1 }),
            content: String::new(),
        };
        store.replace(&work, manifest).unwrap();
    }

    fn runs(graph: &Graph, store: &ArtifactStore, selection: Selection) -> Vec<String> {
        let decided = decide(graph, store, selection, false).unwrap();
        decided.iter().filter(|(_, d)| matches!(d, Decision::Run { .. })).map(|(s, _)| s.to_string()).collect()
    }

    #[test]
    fn a_key_changes_with_any_file_and_with_its_own_section_only() {
        let dir = tempfile::tempdir().unwrap();
        let before = Graph::of(&recipe(dir.path(), "")).unwrap();
        let other = Graph::of(&recipe(dir.path(), "[train]\nsteps = 7\nwarmup_steps = 1\n")).unwrap();
        assert_eq!(before.node(Stage::Tokenizer).unwrap().key, other.node(Stage::Tokenizer).unwrap().key);
        assert_ne!(before.node(Stage::Train).unwrap().key, other.node(Stage::Train).unwrap().key);
        assert_ne!(before.node(Stage::Report).unwrap().key, other.node(Stage::Report).unwrap().key);
        std::fs::write(dir.path().join("a/part.txt"), "edited").unwrap();
        let edited = Graph::of(&recipe(dir.path(), "")).unwrap();
        assert_ne!(
            before.node(Stage::Collect).unwrap().key,
            edited.node(Stage::Collect).unwrap().key,
            "either file of the same name counts"
        );
    }

    /// A licence is stated in reports and changes no document: with it only the report is made again.
    #[test]
    fn a_license_counts_in_the_key_of_the_report_alone() {
        let dir = tempfile::tempdir().unwrap();
        let with = |extra: &str| Graph::of(&recipe(dir.path(), extra)).unwrap();
        let (before, after, other) = (with(""), with("license = \"CC0-1.0\"\n"), with("license = \"MIT\"\n"));
        for stage in before.nodes().iter().map(|node| node.stage) {
            let keys = [&before, &after, &other].map(|graph| &graph.node(stage).unwrap().key);
            let changed = keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2];
            assert_eq!((changed, keys[0] == keys[1]), (stage == Stage::Report, stage != Stage::Report), "{stage}");
        }
    }

    #[test]
    fn the_content_of_a_tokenizer_counts_where_spans_are_made_of_its_tokens() {
        let dir = tempfile::tempdir().unwrap();
        let with = || Graph::of(&recipe(dir.path(), "[clean.dedup.substring]\ntokenizer = \"t.json\"\n"));
        assert!(with().unwrap_err().to_string().contains("t.json"));
        let key = |content: &str| {
            std::fs::write(dir.path().join("t.json"), content).unwrap();
            with().unwrap().node(Stage::Clean).unwrap().key.clone()
        };
        let (one, two) = (key("one"), key("two"));
        assert!(one != two && one == key("one"));
    }

    /// Evaluation sets are sources: all their paths count, those that are addresses are none in the recipe's folder, and
    /// what danlu does not look at beforehand has its `version`.
    #[test]
    fn the_state_of_evaluation_sets_counts_as_that_of_sources() {
        let dir = tempfile::tempdir().unwrap();
        let key = |set: &str| {
            let extra = format!("[[clean.decontaminate.sets]]\nname = \"exam\"\n{set}\n");
            Graph::of(&recipe(dir.path(), &extra)).map(|graph| graph.node(Stage::Clean).unwrap().key.clone())
        };
        let local = || key("paths = [\"exam/1.jsonl\", \"exam/2.jsonl\"]");
        assert!(local().unwrap_err().to_string().contains("exam/1.jsonl"));
        std::fs::create_dir_all(dir.path().join("exam")).unwrap();
        for name in ["1.jsonl", "2.jsonl"] {
            std::fs::write(dir.path().join("exam").join(name), "{}").unwrap();
        }
        let before = local().unwrap();
        assert_eq!(before, local().unwrap());
        std::fs::write(dir.path().join("exam/2.jsonl"), "{ }").unwrap();
        assert_ne!(before, local().unwrap(), "either file counts");

        let page = "path = \"https://example.invalid/exam.jsonl\"";
        assert_eq!(key(page).unwrap(), key(page).unwrap());
        assert_ne!(key(page).unwrap(), key(&format!("{page}\nversion = \"2\"")).unwrap());
        let missing = key("path = \"sqlite:exam.db\"\nquery = \"SELECT 1\"").unwrap_err();
        assert!(missing.to_string().contains("sqlite:exam.db"), "{missing}");
        std::fs::write(dir.path().join("exam.db"), "one").unwrap();
        let database = || key("path = \"sqlite:exam.db\"\nquery = \"SELECT 1\"").unwrap();
        let before = database();
        std::fs::write(dir.path().join("exam.db"), "two").unwrap();
        assert_ne!(before, database());
    }

    #[test]
    fn decisions_follow_results_selection_and_age() {
        let dir = tempfile::tempdir().unwrap();
        let graph = Graph::of(&recipe(dir.path(), "")).unwrap();
        let store = Workspace::open(&dir.path().join("runs")).unwrap().artifacts();
        let all = Selection::default();
        assert_eq!(runs(&graph, &store, all).len(), 7);
        for node in graph.nodes() {
            finish(&store, node, "2026-01-01T00:00:00Z");
        }
        assert!(runs(&graph, &store, all).is_empty());
        let from = Selection { from: Some(Stage::Evaluate), only: None };
        assert_eq!(runs(&graph, &store, from), ["evaluate", "report"]);
        let only = Selection { from: None, only: Some(Stage::Compress) };
        assert_eq!(runs(&graph, &store, only), ["compress"]);
        finish(&store, graph.node(Stage::Compress).unwrap(), "2026-01-02T00:00:00Z");
        assert_eq!(runs(&graph, &store, all), ["report"], "a result older than its input is made again");
        let strict = decide(&graph, &store, all, true).unwrap();
        assert!(matches!(strict[0].1, Decision::Run { .. }), "strict looks at skipped records");
    }

    #[test]
    fn a_changed_value_is_named_with_old_and_new() {
        let dir = tempfile::tempdir().unwrap();
        let store = Workspace::open(&dir.path().join("runs")).unwrap().artifacts();
        for node in Graph::of(&recipe(dir.path(), "")).unwrap().nodes() {
            finish(&store, node, "2026-01-01T00:00:00Z");
        }
        let changed = Graph::of(&recipe(dir.path(), "[clean]\nmin_chars = 99\n")).unwrap();
        let decided = decide(&changed, &store, Selection::default(), false).unwrap();
        let Decision::Run { why } = &decided[1].1 else { panic!("{decided:?}") };
        assert!(why.contains("clean.min_chars") && why.contains("-> 99"), "{why}");
    }
}
