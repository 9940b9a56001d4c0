#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;

use danlu_store::{Artifact, Manifest, StageRecord, StageState, Workspace};
use danlu_text::{Tokenizer, TokenizerConfig};
use serde_json::{Value, json};

use super::forget::carry_out;
use super::*;
use crate::files::{document_files, read_rows};
use crate::{
    COLLECTED_FILE, CleanConfig, DataError, FUNNEL_FILE, Funnel, Progress, Shard, SourceConfig, SplitConfig, clean,
    collect_without, train_tokenizer, write_shards,
};

mod derived;

fn quiet(_: Progress<'_>) {}

/// A workspace with two sources collected, cleaned, cut into tokens, and a model of them.
struct House {
    dir: tempfile::TempDir,
    workspace: Workspace,
}

const SECRET: &str = "My name is Anna Example and I live in a small house by the river";

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut lines = String::new();
        for i in 0..60 {
            let text =
                if i == 7 { format!("{SECRET}\\u0000") } else { format!("Document number {i} says something else") };
            lines += &format!("{{\"text\": \"{text}\", \"author\": \"a{}\"}}\n", i % 5);
        }
        std::fs::write(dir.path().join("letters.jsonl"), lines).unwrap();
        let poems: Vec<String> = (0..20).map(|i| format!("床前明月光，疑是地上霜。第{i}首")).collect();
        std::fs::write(dir.path().join("poems.txt"), poems.join("\n\n")).unwrap();
        let workspace = Workspace::open(&dir.path().join("runs")).unwrap();
        let house = Self { dir, workspace };
        house.collect();
        house.clean();
        house.tokenize();
        house.publish("train", "m1", &[("tokenizer", "t1")], json!({}), |work| {
            std::fs::create_dir_all(work.join("model")).unwrap();
            std::fs::write(work.join("model/model.safetensors"), "weights").unwrap();
        });
        house.publish("report", "r1", &[("train", "m1"), ("clean", "k1")], json!({}), |work| {
            std::fs::write(work.join("report.html"), "page").unwrap();
        });
        let db = house.workspace.db().unwrap();
        let run = db.begin_run("letters", "").unwrap();
        let record = StageRecord {
            stage: "train".into(),
            key: "m1".into(),
            state: StageState::Done,
            seconds: 1.0,
            reason: String::new(),
            started: "2026-01-01T00:00:00Z".into(),
        };
        db.record_stage(&run, &record).unwrap();
        house
    }

    fn publish(&self, stage: &str, key: &str, inputs: &[(&str, &str)], summary: Value, fill: impl FnOnce(&Path)) {
        fill(&self.workspace.artifacts().work_dir(stage, key).unwrap());
        self.finish((stage, key), inputs, json!({}), summary);
    }

    fn finish(&self, (stage, key): (&str, &str), inputs: &[(&str, &str)], config: Value, summary: Value) {
        let store = self.workspace.artifacts();
        let work = store.work_dir(stage, key).unwrap();
        let inputs: BTreeMap<String, String> =
            inputs.iter().map(|(stage, key)| ((*stage).to_owned(), (*key).to_owned())).collect();
        let manifest = Manifest {
            stage: stage.into(),
            key: key.into(),
            inputs,
            config,
            created: "2026-01-01T00:00:00.000000Z".into(),
            seconds: 1.0,
            danlu_version: "t".into(),
            summary,
            content: String::new(),
        };
        store.replace(&work, manifest).unwrap();
    }

    fn collect(&self) -> crate::CollectSummary {
        let source = |name: &str, path: &str, split| SourceConfig {
            name: name.into(),
            path: path.into(),
            split,
            ..Default::default()
        };
        let sources = [
            source("letters", "letters.jsonl", crate::TextSplit::File),
            source("poems", "poems.txt", crate::TextSplit::Paragraph),
        ];
        let forgotten = Tombstones::read(self.workspace.root()).unwrap();
        let store = self.workspace.artifacts();
        let work = store.work_dir("collect", "c1").unwrap();
        let summary = collect_without(&sources, self.dir.path(), true, &forgotten, &work, &quiet).unwrap();
        self.publish("collect", "c1", &[], serde_json::to_value(&summary).unwrap(), |_| {});
        summary
    }

    fn clean(&self) -> Funnel {
        let store = self.workspace.artifacts();
        let collected = store.find("collect", "c1").unwrap().unwrap().path.join(COLLECTED_FILE);
        let work = store.work_dir("clean", "k1").unwrap();
        let split = SplitConfig { valid: 0.1, test: 0.1 };
        let config = CleanConfig { min_chars: 20, ..Default::default() };
        let funnel = clean(&collected, &config, &split, &work, &quiet).unwrap();
        self.publish("clean", "k1", &[("collect", "c1")], serde_json::to_value(&funnel).unwrap(), |_| {});
        funnel
    }

    fn tokenize(&self) {
        let store = self.workspace.artifacts();
        let cleaned = self.cleaned().path;
        let work = store.work_dir("tokenizer", "t1").unwrap();
        let train = document_files(&cleaned).into_iter().find(|(split, _)| *split == "train").unwrap().1;
        let config = TokenizerConfig { vocab_size: 280, ..Default::default() };
        let tokenizer = train_tokenizer(&train, &config, &quiet).unwrap();
        tokenizer.save(&work.join("tokenizer")).unwrap();
        let encoder = crate::Encoder { tokenizer: &tokenizer, template: None, chat: &crate::ChatConfig::default() };
        let mut shards = serde_json::Map::new();
        for (split, path) in document_files(&cleaned).into_iter().filter(|(split, _)| *split != "dropped") {
            let summary = write_shards(&path, &encoder, &work.join(format!("{split}.tokens")), &quiet).unwrap();
            shards.insert(split.into(), serde_json::to_value(summary).unwrap());
        }
        self.publish(
            "tokenizer",
            "t1",
            &[("clean", "k1")],
            json!({ "hash": tokenizer.hash(), "shards": shards }),
            |_| {},
        );
    }

    fn cleaned(&self) -> Artifact {
        self.workspace.artifacts().find("clean", "k1").unwrap().unwrap()
    }

    fn artifact(&self, stage: &str, key: &str) -> Artifact {
        self.workspace.artifacts().find(stage, key).unwrap().unwrap()
    }

    /// All bytes of all tables and shards, decoded: whether a text is anywhere.
    fn holds(&self, text: &str) -> bool {
        let tables = ["collect", "clean"].map(|stage| if stage == "collect" { "c1" } else { "k1" });
        let mut found = false;
        for (stage, key) in ["collect", "clean"].into_iter().zip(tables) {
            for (_, path) in document_files(&self.artifact(stage, key).path) {
                read_rows(&path, &mut |row| {
                    found |= row.document.text.contains(text);
                    Ok(())
                })
                .unwrap();
            }
        }
        let tokens = self.artifact("tokenizer", "t1").path;
        let tokenizer = Tokenizer::from_dir(&tokens.join("tokenizer")).unwrap();
        for split in SplitConfig::NAMES {
            let shard = Shard::open(&tokens.join(format!("{split}.tokens")), Some(tokenizer.hash())).unwrap();
            found |= tokenizer.decode(&shard.tokens().to_vec()).contains(text);
        }
        found
    }

    fn id_of(&self, text: &str) -> String {
        let mut id = String::new();
        for (_, path) in document_files(&self.cleaned().path) {
            read_rows(&path, &mut |row| {
                if row.document.text.contains(text) {
                    id = row.document.id;
                }
                Ok(())
            })
            .unwrap();
        }
        assert!(!id.is_empty(), "{text}");
        id
    }

    fn forget(&self, ids: &[&str], conditions: &[&str]) -> Result<Forgotten, DataError> {
        forget(&self.workspace, &self.cleaned(), &selection(ids, conditions), "asked for", &quiet)
    }
}

fn selection(ids: &[&str], conditions: &[&str]) -> Selection {
    Selection {
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        conditions: conditions.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

#[test]
fn a_document_is_followed_from_its_file_to_the_model() {
    let house = House::new();
    let traced = trace(&house.workspace, &house.cleaned(), &house.id_of(SECRET)[..10]).unwrap();
    let [one] = &traced[..] else { panic!("{traced:?}") };
    assert_eq!(one.place.as_ref().unwrap().to_string(), "letters.jsonl:8");
    assert_eq!(one.source, "letters");
    let TraceFate::Kept { split } = &one.fate else { panic!("{one:?}") };
    assert_eq!(one.artifacts.iter().map(|artifact| artifact.stage.as_str()).collect::<Vec<_>>(), ["collect", "clean"]);
    assert!(one.passed.iter().any(|step| step == "length"));
    assert_ne!(one.collected_id.as_ref(), Some(&one.id), "repair took a control character away");
    // The original's id leads to the same document.
    let original = trace(&house.workspace, &house.cleaned(), one.collected_id.as_ref().unwrap()).unwrap();
    assert_eq!((original[0].id.as_str(), original.len()), (one.id.as_str(), 1));
    let [place] = &one.shards[..] else { panic!("{one:?}") };
    let tokens = house.artifact("tokenizer", "t1").path;
    let tokenizer = Tokenizer::from_dir(&tokens.join("tokenizer")).unwrap();
    let shard = Shard::open(&tokens.join(format!("{split}.tokens")), None).unwrap();
    assert_eq!(tokenizer.decode(&shard.tokens().slice(place.tokens.start..place.tokens.end - 1).to_vec()), SECRET);
    assert_eq!((one.models[0].artifact.key.as_str(), one.models[0].runs.len()), ("m1", 1));
    assert!(one.models[0].splits.contains(split));

    let missing = trace(&house.workspace, &house.cleaned(), "0123456789abcdef").unwrap_err();
    assert!(matches!(missing, DataError::NoSuchDocument { .. }) && missing.hint().is_some());
    assert!(trace(&house.workspace, &house.cleaned(), "0").is_err());
}

#[test]
fn a_document_that_came_by_a_table_of_danlu_is_traced_to_where_it_was_read_first() {
    let house = House::new();
    let table = house.cleaned().path.join(crate::documents_file("train"));
    std::fs::copy(&table, house.dir.path().join("more.parquet")).unwrap();
    let store = house.workspace.artifacts();
    let work = store.work_dir("collect", "c2").unwrap();
    let source = SourceConfig { name: "more".into(), path: "more.parquet".into(), ..Default::default() };
    collect_without(&[source], house.dir.path(), true, &Tombstones::default(), &work, &quiet).unwrap();
    house.publish("collect", "c2", &[], json!({}), |_| {});
    let collected = house.artifact("collect", "c2").path.join(COLLECTED_FILE);
    let work = store.work_dir("clean", "k2").unwrap();
    let config = CleanConfig { min_chars: 20, ..Default::default() };
    let funnel = clean(&collected, &config, &SplitConfig { valid: 0.0, test: 0.0 }, &work, &quiet).unwrap();
    house.publish("clean", "k2", &[("collect", "c2")], serde_json::to_value(&funnel).unwrap(), |_| {});

    let again = house.artifact("clean", "k2");
    let mut documents = crate::read_documents(&again.path.join(crate::documents_file("train"))).unwrap();
    let id = documents.next().unwrap().unwrap().id;
    let traced = |cleaned: &Artifact| trace(&house.workspace, cleaned, &id).unwrap().remove(0);
    let (first, second) = (traced(&house.cleaned()), traced(&again));
    assert_eq!((first.origin, second.source.as_str()), (None, "more"));
    assert_eq!(second.place.unwrap().file, "more.parquet");
    assert!(first.place.is_some() && second.origin == first.place, "{:?}", second.origin);
}

#[test]
fn a_dropped_document_says_where_it_ended() {
    let house = House::new();
    let id = house.id_of("第3首");
    let traced = trace(&house.workspace, &house.cleaned(), &id).unwrap();
    let TraceFate::Dropped { step, reason, .. } = &traced[0].fate else { panic!("{traced:?}") };
    assert_eq!((step.as_str(), reason.as_str()), ("length", "too_short"));
    assert!(!traced[0].passed.contains(step) && traced[0].models.is_empty());
    assert_eq!(traced[0].place.as_ref().unwrap().to_string(), "poems.txt:7");
}

#[test]
fn a_forgotten_document_is_nowhere_and_stays_away() {
    let house = House::new();
    let before: Funnel = serde_json::from_value(house.cleaned().manifest.summary).unwrap();
    assert!(house.holds("Anna Example"));
    let id = house.id_of(SECRET);
    let told = house.forget(&[&id], &[]).unwrap();
    assert!(!house.holds("Anna Example") && house.holds("Document number 8"));
    assert_eq!(told.documents.len(), 2, "the text as collected and as cleaned: {:?}", told.documents);
    assert_eq!(told.files.iter().map(|file| file.documents).sum::<u64>(), 3, "{:?}", told.files);
    assert!(told.files.iter().all(|file| file.missing == 0));
    assert_eq!(told.models.iter().map(|model| model.artifact.key.as_str()).collect::<Vec<_>>(), ["m1"]);
    assert_eq!(told.derived.iter().map(|one| one.stage.as_str()).collect::<Vec<_>>(), ["report"]);

    // Artifacts are whole, older ones are seen to be stale, and the accounts add up.
    for (stage, key) in [("collect", "c1"), ("clean", "k1"), ("tokenizer", "t1")] {
        let artifact = house.artifact(stage, key);
        artifact.verify().unwrap();
        assert_eq!(artifact.manifest.created == told.time, stage == "tokenizer", "{stage}");
        assert!(artifact.manifest.summary["forgets"].is_array());
        if stage == "collect" {
            serde_json::from_value::<crate::CollectSummary>(artifact.manifest.summary).unwrap(); // as others read it
        }
    }
    let bytes = std::fs::read(house.cleaned().path.join(FUNNEL_FILE)).unwrap();
    let funnel: Funnel = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(funnel, serde_json::from_value(house.cleaned().manifest.summary).unwrap());
    assert_eq!(funnel.kept.documents, before.kept.documents - 1);
    assert_eq!(funnel.reasons()["forgotten"].documents, 1);
    let dropped: u64 = funnel.reasons().values().map(|count| count.documents).sum();
    assert_eq!(funnel.collected.documents, funnel.kept.documents + dropped);
    let summary = house.artifact("tokenizer", "t1").manifest.summary;
    let shards: Vec<crate::ShardSummary> = SplitConfig::NAMES
        .iter()
        .map(|split| serde_json::from_value(summary["shards"][split].clone()).unwrap())
        .collect();
    assert_eq!(shards.iter().map(|shard| shard.total.documents).sum::<u64>(), funnel.kept.documents);

    // It is not collected again, and says why.
    let collected = house.collect();
    assert_eq!(
        (collected.forgotten, collected.sources["letters"].forgotten, collected.sources["poems"].forgotten),
        (1, 1, 0)
    );
    house.clean();
    house.tokenize();
    assert!(!house.holds("Anna Example"));
    let traced = trace(&house.workspace, &house.cleaned(), &id).unwrap();
    let TraceFate::Forgotten { reason, models, .. } = &traced[0].fate else { panic!("{traced:?}") };
    assert_eq!((reason.as_str(), models.as_slice()), ("asked for", &["m1".to_owned()][..]));
}

#[test]
fn documents_are_chosen_by_what_they_say_and_where_they_are_from() {
    let house = House::new();
    let told = house.forget(&[], &["source=letters", "metadata.author=a3"]).unwrap();
    // 12 letters; of each one table and one shard beside the collected ones.
    assert_eq!(told.files.iter().map(|file| file.documents).sum::<u64>(), 36);
    let left = house.forget(&[], &["metadata.author=a3"]).unwrap_err();
    assert!(left.to_string().contains("no document meets"), "{left}");
    let dropped = house.forget(&[], &["contains=明月"]).unwrap();
    assert!(dropped.models.is_empty(), "no model saw documents that were dropped");
    assert!(!house.holds("明月"));
    assert!(house.forget(&["0123456789abcdef"], &[]).is_err() && house.forget(&[], &[]).is_err());
}

#[test]
fn a_killed_forgetting_goes_on() {
    for stop_at in 0..3 {
        let house = House::new();
        let id = house.id_of(SECRET);
        let plan = plan_forget(&house.workspace, &house.cleaned(), &selection(&[&id], &[]), "asked for").unwrap();
        assert!(house.holds("Anna Example"), "a plan changes nothing");
        assert_eq!(plan.artifacts.len(), 3);
        let killed = carry_out(&house.workspace, &plan, &mut |done, _| match done == stop_at {
            true => Err(DataError::io("write", Path::new("x"), std::io::Error::other("killed"))),
            false => Ok(()),
        });
        assert!(killed.is_err() && house.holds("Anna Example"));
        // What a process that died while it wrote an artifact leaves behind.
        let work = house.workspace.artifacts().work_dir("tokenizer", "t1").unwrap();
        std::fs::write(work.join("train.tokens"), SECRET).unwrap();
        assert!(Tombstones::read(house.workspace.root()).unwrap().contains(&id), "from now on it cannot be collected");

        let told = pending_forget(&house.workspace, &quiet).unwrap().unwrap();
        assert!(!house.holds("Anna Example"));
        assert_eq!(told.files.iter().map(|file| file.documents).sum::<u64>(), 3, "{:?}", told.files);
        assert_eq!(pending_forget(&house.workspace, &quiet).unwrap(), None);
        let text = std::fs::read_to_string(house.workspace.root().join(TOMBSTONES_FILE)).unwrap();
        assert_eq!(text.lines().count(), 2, "each tombstone once");
        assert!(!text.contains("Anna"));
    }
}

#[test]
fn places_that_records_claim_for_themselves_are_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = ("the same place is claimed here", "and here, by quite another text");
    let lines =
        [first, second].map(|text| format!("{{\"text\": \"{text}\", \"file\": \"main.rs\", \"line\": 1}}\n")).concat();
    std::fs::write(dir.path().join("code.jsonl"), lines).unwrap();
    let source = SourceConfig { name: "code".into(), path: "code.jsonl".into(), ..Default::default() };
    collect_without(&[source], dir.path(), true, &Tombstones::default(), dir.path(), &quiet).unwrap();
    let path = dir.path().join(COLLECTED_FILE);
    let table = select::Table { artifact: 0, split: "collected", path, collected: true };
    let selected = select::Selected::find(&[table], &selection(&[], &["contains=quite another"])).unwrap();
    assert_eq!(selected.ids.len(), 1);
}
