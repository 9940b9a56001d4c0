#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use danlu_data::{AUGMENTED_FROM_KEY, Document, Shard, SplitConfig, read_documents};
use danlu_store::{Artifact, Workspace};

use super::*;
use crate::graph::{Decision, Graph, Selection, decide};
use crate::recipe::RecipeFile;
use crate::runner::{RunOptions, run};
use crate::{Silent, select_device};

const MADE: [Stage; 4] = [Stage::Collect, Stage::Clean, Stage::Augment, Stage::Tokenizer];
const STEPS: &str =
    "[augment]\nshare = 0.7\n[[augment.steps]]\nkind = \"rotate\"\n[[augment.steps]]\nkind = \"swap\"\n";

/// A folder with a small text and its workspace.
struct House {
    dir: tempfile::TempDir,
    workspace: Workspace,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let letters: Vec<String> = (0..60)
            .map(|i| format!("Letter {i} is on its way. It was written at the river! Who will read number {i}?"))
            .collect();
        std::fs::write(dir.path().join("letters.txt"), letters.join("\n\n")).unwrap();
        let workspace = Workspace::open(&dir.path().join("runs")).unwrap();
        Self { dir, workspace }
    }

    fn recipe(&self, extra: &str) -> RecipeFile {
        let source = "[[data.sources]]\nname = \"letters\"\npath = \"letters.txt\"\nsplit = \"paragraph\"\n";
        let split = "[split]\nvalid = 0.2\ntest = 0.2\n[tokenizer]\nvocab_size = 300\n";
        let text = format!("name = \"t\"\n{source}{split}{extra}");
        RecipeFile::parse(&self.dir.path().join("t.toml"), text).unwrap()
    }

    fn run(&self, file: &RecipeFile, only: Stage) -> Result<serde_json::Value, PipelineError> {
        let options = RunOptions {
            selection: Selection { from: None, only: Some(only) },
            device: select_device("flex")?,
            share: None,
            stop: &AtomicBool::new(false),
        };
        run(file, &self.workspace, &options, &mut Silent).map(|outcome| outcome.summary)
    }

    /// Runs a recipe as far as its token shards.
    fn make(&self, file: &RecipeFile) -> serde_json::Value {
        let graph = Graph::of(file).unwrap();
        let stages = MADE.into_iter().filter(|stage| graph.has(*stage));
        stages.map(|stage| self.run(file, stage).unwrap()).last().unwrap()
    }

    fn artifact(&self, file: &RecipeFile, stage: Stage) -> Artifact {
        crate::graph::require(&Graph::of(file).unwrap(), &self.workspace.artifacts(), stage, stage).unwrap()
    }

    /// The documents of each split's shard, and its tokens.
    fn shards(&self, file: &RecipeFile) -> BTreeMap<&'static str, (usize, u64)> {
        let folder = self.artifact(file, Stage::Tokenizer).path;
        let of = |split: &'static str| {
            let shard = Shard::open(&folder.join(files::shard(split)), None).unwrap();
            (split, (shard.document_count(), shard.len()))
        };
        SplitConfig::NAMES.into_iter().map(of).collect()
    }
}

fn table(folder: &Path, split: &str) -> Vec<Document> {
    read_documents(&folder.join(files::documents(split))).unwrap().map(Result::unwrap).collect()
}

#[test]
fn training_sees_copies_and_held_out_documents_have_none() {
    let house = House::new();
    let (plain, file) = (house.recipe(""), house.recipe(STEPS));
    house.make(&plain);
    let figures = house.make(&file);
    let (before, after) = (house.shards(&plain), house.shards(&file));
    let summary: AugmentSummary =
        serde_json::from_value(house.artifact(&file, Stage::Augment).manifest.summary).unwrap();
    assert!(summary.copies > 20 && summary.passed["share"] > 0, "{summary:?}");
    assert_eq!(after["train"].0 as u64, before["train"].0 as u64 + summary.copies);
    assert!(after["train"].1 > before["train"].1);
    assert_eq!((after["valid"], after["test"]), (before["valid"], before["test"]));
    let tokenizer = |file| house.artifact(file, Stage::Tokenizer).manifest.summary["hash"].clone();
    assert_eq!(tokenizer(&file), tokenizer(&plain), "copies have no voice in the vocabulary");

    // Every copy is of a document to train on, and no other table lies there.
    let (cleaned, made) = (house.artifact(&file, Stage::Clean).path, house.artifact(&file, Stage::Augment).path);
    let train: Vec<String> = table(&cleaned, "train").into_iter().map(|document| document.id).collect();
    let copies: Vec<Document> = table(&made, "train");
    let copies = copies.iter().filter_map(|copy| copy.metadata.get(AUGMENTED_FROM_KEY)?.as_str());
    assert!(copies.clone().count() as u64 == summary.copies && copies.clone().all(|id| train.iter().any(|t| t == id)));
    let files: Vec<_> = std::fs::read_dir(&made).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files.len(), 2, "the table and the manifest: {files:?}");
    assert_eq!(figures["augment"]["kinds"]["rotate"]["made"], summary.kinds["rotate"].made);
    assert!(figures["augment"]["passed"]["share"].as_u64() > Some(0), "{figures:#}");
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
    let contents = |threads: usize, seed: u64| {
        let house = House::new();
        let file = house.recipe(&STEPS.replace("share = 0.7", &format!("share = 0.7\nseed = {seed}")));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| house.make(&file));
        [Stage::Augment, Stage::Tokenizer].map(|stage| house.artifact(&file, stage).manifest.content)
    };
    let first = contents(1, 7);
    assert_eq!(first, contents(1, 7));
    assert_eq!(first, contents(2, 7));
    assert_ne!(first, contents(2, 8));
}

#[test]
fn a_changed_step_changes_what_follows_and_nothing_before() {
    let house = House::new();
    let graph = |extra: &str| Graph::of(&house.recipe(extra)).unwrap();
    let keys = |extra: &str| -> BTreeMap<Stage, String> {
        graph(extra).nodes().iter().map(|node| (node.stage, node.key.clone())).collect()
    };
    let (plain, one, other) = (keys(""), keys(STEPS), keys(&STEPS.replace("swap", "delete")));
    assert!(plain.len() == 7 && !plain.contains_key(&Stage::Augment), "no section, no stage");
    assert_eq!(graph("").node(Stage::Tokenizer).unwrap().inputs.keys().collect::<Vec<_>>(), ["clean"]);
    for stage in Stage::ALL {
        let before = matches!(stage, Stage::Collect | Stage::Clean);
        assert_eq!(one[&stage] == other[&stage], before, "{stage}");
        assert_eq!(plain.get(&stage) == one.get(&stage), before, "{stage}");
    }
    // What a step reads counts with its content, wherever the file lies.
    let synonyms = "[augment]\n[[augment.steps]]\nkind = \"synonyms\"\ntable = \"t.tsv\"\n";
    std::fs::write(house.dir.path().join("t.tsv"), "river\tstream\n").unwrap();
    let stream = keys(synonyms)[&Stage::Augment].clone();
    std::fs::write(house.dir.path().join("t.tsv"), "river\tbrook\n").unwrap();
    assert_ne!(keys(synonyms)[&Stage::Augment], stream);
    std::fs::remove_file(house.dir.path().join("t.tsv")).unwrap();
    let error = Graph::of(&house.recipe(synonyms)).unwrap_err().to_string();
    assert!(error.starts_with("augment.steps: there is no ") && error.contains("t.tsv"), "{error}");
}

#[test]
fn a_finished_stage_is_used_again_and_a_stopped_one_goes_on() {
    let house = House::new();
    let file = house.recipe(STEPS);
    house.make(&file);
    let graph = Graph::of(&file).unwrap();
    let store = house.workspace.artifacts();
    let decisions = |graph: &Graph| decide(graph, &store, Selection::default(), false).unwrap();
    for (stage, decision) in decisions(&graph) {
        assert_eq!(matches!(decision, Decision::Reuse { .. }), MADE.contains(&stage), "{stage}: {decision:?}");
    }
    let changed = Graph::of(&house.recipe(&STEPS.replace("0.7", "0.8"))).unwrap();
    let Decision::Run { why } = &decisions(&changed)[2].1 else { panic!("augment is not run") };
    assert_eq!(why, "changed: augment.share (0.7 -> 0.8)");

    // What a process leaves that died while it drew, and what comes of it.
    let content = house.artifact(&file, Stage::Augment).manifest.content;
    let key = &graph.node(Stage::Augment).unwrap().key;
    std::fs::remove_dir_all(house.artifact(&file, Stage::Augment).path).unwrap();
    let work = store.work_dir("augment", key).unwrap();
    std::fs::create_dir(work.join("train-images")).unwrap();
    std::fs::write(work.join("train-images/0123-0.png"), "half a picture").unwrap();
    std::fs::write(work.join("train.parquet"), "half a table").unwrap();
    let Decision::Run { why } = &decisions(&graph)[2].1 else { panic!("augment is not run") };
    assert_eq!(why, "was stopped before its end; goes on");
    house.run(&file, Stage::Augment).unwrap();
    assert_eq!(house.artifact(&file, Stage::Augment).manifest.content, content);
}

#[test]
fn a_recipe_without_the_section_has_no_such_stage() {
    let house = House::new();
    let error = house.run(&house.recipe(""), Stage::Augment).unwrap_err();
    assert_eq!(error.to_string(), "the recipe has no stage `augment`");
    assert!(error.hint().unwrap().contains("[augment]"));
}
