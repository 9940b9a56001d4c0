//! Conversations, mixtures and changed copies: what was made of a document goes with it, and the rest stays as it was.

use super::*;
use crate::{
    AUGMENTED_FROM_KEY, AugmentConfig, AugmentSummary, Augmentation, ChatConfig, ChatFormat, CurriculumConfig,
    Document, Encoder, Mixture, MixtureConfig, RotateUnit, ShardSummary, augment, documents_file, mix_shard,
    mixture_items, read_documents,
};
use danlu_text::ChatTemplate;

const LETTER: &str = "Bob Example wrote this letter. It is about the river! Will anybody read it?";

/// How the tokens of a house are made.
#[derive(Default)]
struct Making {
    augment: Option<AugmentConfig>,
    mixture: Option<MixtureConfig>,
}

impl Making {
    /// Collects 30 conversations and 30 letters, with one secret in each kind, cleans them, cuts them into tokens, and
    /// trains a model on them.
    fn house(&self) -> House {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(&dir.path().join("runs")).unwrap();
        let house = House { dir, workspace };
        let turn = |role: &str, content: String| json!({ "role": role, "content": content });
        let talk = |i: usize| {
            let asked = if i == 7 { SECRET.to_owned() } else { format!("What comes after the number {i}?") };
            let turns = [turn("user", asked), turn("assistant", format!("It is the number {}.", i + 1))];
            json!({ "messages": turns }).to_string()
        };
        let letter = |i: usize| {
            let text = format!("Letter {i} is on its way. It was sent at the river! Who will read number {i}?");
            json!({ "text": if i == 5 { LETTER.to_owned() } else { text } }).to_string()
        };
        std::fs::write(house.dir.path().join("talks.jsonl"), (0..30).map(talk).collect::<Vec<_>>().join("\n")).unwrap();
        std::fs::write(house.dir.path().join("letters.jsonl"), (0..30).map(letter).collect::<Vec<_>>().join("\n"))
            .unwrap();
        house.collect_talks();
        house.clean_talks();
        self.copy(&house);
        self.tokenize(&house);
        house.publish("train", "m1", &[("tokenizer", "t1")], json!({}), |work| {
            std::fs::write(work.join("model.safetensors"), "weights").unwrap();
        });
        house
    }

    fn copy(&self, house: &House) {
        let Some(config) = &self.augment else { return };
        let work = house.workspace.artifacts().work_dir("augment", "a1").unwrap();
        let train = documents_file("train");
        let input = house.cleaned().path.join(&train);
        let summary = augment(&input, config, Path::new("."), None, &work.join(&train), &quiet).unwrap();
        // As if texts had been drawn.
        std::fs::create_dir(work.join("train-images")).unwrap();
        for id in [house.id_of("Bob Example"), house.id_of("Letter 3 ")] {
            std::fs::write(work.join("train-images").join(format!("{id}-0.png")), "a picture of it").unwrap();
        }
        house.finish(("augment", "a1"), &[("clean", "k1")], json!({}), serde_json::to_value(summary).unwrap());
    }

    fn tokenize(&self, house: &House) {
        let work = house.workspace.artifacts().work_dir("tokenizer", "t1").unwrap();
        let cleaned = house.cleaned().path.join(documents_file("train"));
        let config = TokenizerConfig { vocab_size: 290, ..Default::default() };
        train_tokenizer(&cleaned, &config, &quiet).unwrap().save(&work.join("tokenizer")).unwrap();
        let (train, inputs) = match self.augment {
            Some(_) => (house.artifact("augment", "a1").path, &[("clean", "k1"), ("augment", "a1")][..]),
            None => (house.cleaned().path, &[("clean", "k1")][..]),
        };
        let train = train.join(documents_file("train"));
        let mut summary = shard_of(&work, &train, &work.join("train.tokens"));
        if let Some(mixture) = &self.mixture {
            let natural = Shard::open(&work.join("train.tokens"), None).unwrap();
            let (items, names) = mixture_items(&train, &natural, mixture).unwrap();
            let plan = Mixture::plan(&items, &names, mixture).unwrap();
            summary = mix_shard(&natural, &plan, &work.join("train.tokens")).unwrap();
        }
        let config = json!({ "chat": ChatConfig::default(), "mixture": self.mixture });
        house.finish(("tokenizer", "t1"), inputs, config, json!({ "shards": { "train": summary } }));
    }
}

/// Cuts a table into tokens by the tokenizer of an artifact.
fn shard_of(artifact: &Path, table: &Path, out: &Path) -> ShardSummary {
    let tokenizer = Tokenizer::from_dir(&artifact.join("tokenizer")).unwrap();
    let template = ChatTemplate::from_dir(&artifact.join("tokenizer")).unwrap();
    let chat = ChatConfig::default();
    let encoder = Encoder { tokenizer: &tokenizer, template: template.as_ref(), chat: &chat };
    write_shards(table, &encoder, out, &quiet).unwrap()
}

impl House {
    fn collect_talks(&self) -> crate::CollectSummary {
        let source = |name: &str, chat| SourceConfig {
            name: name.into(),
            path: format!("{name}.jsonl"),
            chat,
            ..Default::default()
        };
        let sources = [source("talks", Some(ChatFormat::Messages)), source("letters", None)];
        let work = self.workspace.artifacts().work_dir("collect", "c1").unwrap();
        let forgotten = Tombstones::read(self.workspace.root()).unwrap();
        let summary = collect_without(&sources, self.dir.path(), true, &forgotten, &work, &quiet).unwrap();
        self.finish(("collect", "c1"), &[], json!({}), serde_json::to_value(&summary).unwrap());
        summary
    }

    fn clean_talks(&self) {
        let collected = self.artifact("collect", "c1").path.join(COLLECTED_FILE);
        let work = self.workspace.artifacts().work_dir("clean", "k1").unwrap();
        let all_train = SplitConfig { valid: 0.0, test: 0.0 };
        let funnel = clean(&collected, &CleanConfig::default(), &all_train, &work, &quiet).unwrap();
        self.finish(("clean", "k1"), &[("collect", "c1")], json!({}), serde_json::to_value(funnel).unwrap());
    }

    fn shard(&self) -> Shard {
        Shard::open(&self.artifact("tokenizer", "t1").path.join("train.tokens"), None).unwrap()
    }

    /// What the tokens of each document of the shard say.
    fn told(&self) -> Vec<String> {
        let tokenizer = Tokenizer::from_dir(&self.artifact("tokenizer", "t1").path.join("tokenizer")).unwrap();
        let shard = self.shard();
        shard.documents().map(|row| tokenizer.decode(&shard.tokens().slice(row.tokens).to_vec())).collect()
    }

    fn rows(&self, stage: &str, key: &str) -> Vec<Document> {
        let table = self.artifact(stage, key).path.join(documents_file("train"));
        read_documents(&table).unwrap().map(Result::unwrap).collect()
    }

    fn shard_summary(&self) -> ShardSummary {
        let summary = self.artifact("tokenizer", "t1").manifest.summary;
        serde_json::from_value(summary["shards"]["train"].clone()).unwrap()
    }
}

fn mentions(texts: &[String], what: &str) -> usize {
    texts.iter().filter(|text| text.contains(what)).count()
}

#[test]
fn a_forgotten_conversation_leaves_the_others_with_their_marks() {
    let house = Making::default().house();
    let shard = house.shard();
    assert!(shard.has_learnt() && shard.learnt_tokens() < shard.len());
    let id = house.id_of("Anna Example");
    let traced = trace(&house.workspace, &house.cleaned(), &id).unwrap();
    let [place] = &traced[0].shards[..] else { panic!("{traced:?}") };
    assert!(house.told()[place.document].contains("Anna Example"), "a conversation is traced into its shard");

    for (id, what) in [(id, "Anna Example"), (house.id_of("Bob Example"), "Bob Example")] {
        let told = house.forget(&[&id], &[]).unwrap();
        // Collected, cleaned, in the shard.
        assert_eq!(told.files.iter().map(|file| file.documents).sum::<u64>(), 3, "{:?}", told.files);
        assert!(told.files.iter().all(|file| file.missing == 0), "{:?}", told.files);
        assert_eq!(told.models.iter().map(|model| model.artifact.key.as_str()).collect::<Vec<_>>(), ["m1"]);
        assert_eq!(mentions(&house.told(), what), 0);

        // To the byte what the documents that are left would have become.
        let artifact = house.artifact("tokenizer", "t1");
        artifact.verify().unwrap();
        let anew = house.dir.path().join("anew.tokens");
        let table = house.cleaned().path.join(documents_file("train"));
        let summary = shard_of(&artifact.path, &table, &anew);
        assert!(std::fs::read(artifact.path.join("train.tokens")).unwrap() == std::fs::read(&anew).unwrap(), "{what}");
        // Through JSON, as a manifest is: of an f64 it may miss the last bit.
        let summary: ShardSummary = serde_json::from_str(&serde_json::to_string(&summary).unwrap()).unwrap();
        assert_eq!(house.shard_summary(), summary, "{what}");
    }
    assert_eq!((house.told().len(), house.collect_talks().forgotten), (58, 2));
}

#[test]
fn a_mixture_loses_every_showing_and_keeps_its_stages() {
    let mixture = MixtureConfig {
        weights: [("talks".to_owned(), 3.0), ("letters".to_owned(), 1.0)].into(),
        tokens: Some(20_000),
        curriculum: Some(CurriculumConfig { stages: 3, ..Default::default() }),
        ..Default::default()
    };
    let house = Making { mixture: Some(mixture), ..Default::default() }.house();
    let before = house.told();
    assert!(mentions(&before, "Anna Example") >= 2, "{before:?}");
    let places = |shard: &Shard| -> Vec<usize> {
        let begins: Vec<usize> = shard.documents().map(|row| row.tokens.start).collect();
        shard.stages().iter().map(|&stage| begins.partition_point(|&begin| begin < stage as usize)).collect()
    };
    let stages = places(&house.shard());
    let told = house.forget(&[&house.id_of("Anna Example")], &[]).unwrap();
    assert!(told.files.iter().all(|file| file.missing == 0), "{:?}", told.files);
    let expect: Vec<String> = before.iter().filter(|text| !text.contains("Anna Example")).cloned().collect();
    assert_eq!(house.told(), expect);
    let shown_before = |place: &usize| place - mentions(&before[..*place], "Anna Example");
    assert_eq!(places(&house.shard()), stages.iter().map(shown_before).collect::<Vec<_>>());

    let (shard, summary) = (house.shard(), house.shard_summary());
    assert_eq!((summary.learnt_tokens, summary.total.tokens), (shard.learnt_tokens(), shard.len()));
    let mixture = summary.mixture.unwrap();
    assert_eq!((mixture.documents, mixture.tokens), (shard.document_count() as u64, shard.len()));
    for row in &mixture.groups {
        let of_group = shard.documents().filter(|document| document.source == row.name);
        assert_eq!(row.documents, of_group.count() as u64, "{}", row.name);
    }
}

fn copied() -> House {
    let steps = vec![
        Augmentation::Rotate { unit: RotateUnit::Sentence },
        Augmentation::Swap { rate: 0.2 },
        Augmentation::Delete { rate: 0.2 },
    ];
    Making { augment: Some(AugmentConfig { steps, ..Default::default() }), ..Default::default() }.house()
}

#[test]
fn copies_are_forgotten_with_their_original() {
    let house = copied();
    let id = house.id_of("Bob Example");
    let copies: Vec<Document> = house.rows("augment", "a1");
    let copies: Vec<&Document> =
        copies.iter().filter(|row| row.metadata.get(AUGMENTED_FROM_KEY).is_some_and(|from| *from == id)).collect();
    assert!(copies.len() >= 2, "{copies:?}");
    let (rows, shown) = (house.rows("augment", "a1").len(), house.told().len());
    let summary = |house: &House| -> AugmentSummary {
        serde_json::from_value(house.artifact("augment", "a1").manifest.summary).unwrap()
    };
    let before = summary(&house);
    let unfinished = house.workspace.artifacts().work_dir("augment", "a2").unwrap();
    std::fs::write(unfinished.join("translations.jsonl"), LETTER).unwrap();

    let told = house.forget(&[&id], &[]).unwrap();
    assert!(!unfinished.exists(), "what a stopped process left may hold the text");
    let gone = 1 + copies.len();
    assert_eq!((house.rows("augment", "a1").len(), house.told().len()), (rows - gone, shown - gone));
    assert_eq!(mentions(&house.told(), "Bob"), 0);
    assert!(told.files.iter().all(|file| file.missing == 0), "{:?}", told.files);
    assert_eq!(told.models.iter().map(|model| model.artifact.key.as_str()).collect::<Vec<_>>(), ["m1"]);
    let tombstones = Tombstones::read(house.workspace.root()).unwrap();
    assert!(copies.iter().all(|copy| tombstones.contains(&copy.id)));

    // The accounts and the pictures.
    let after = summary(&house);
    assert_eq!(
        (after.documents, after.augmented, after.copies),
        (before.documents - 1, before.augmented - 1, before.copies - copies.len() as u64)
    );
    let made = |summary: &AugmentSummary| summary.kinds.values().map(|count| count.made).sum::<u64>();
    assert_eq!((made(&after), made(&before)), (after.copies, before.copies));
    let pictures = std::fs::read_dir(house.artifact("augment", "a1").path.join("train-images")).unwrap();
    let pictures: Vec<_> = pictures.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(pictures, [format!("{}-0.png", house.id_of("Letter 3 "))]);

    // To the byte what copying the documents that are left would have given.
    let anew = house.dir.path().join(documents_file("anew"));
    let steps = vec![
        Augmentation::Rotate { unit: RotateUnit::Sentence },
        Augmentation::Swap { rate: 0.2 },
        Augmentation::Delete { rate: 0.2 },
    ];
    let config = AugmentConfig { steps, ..Default::default() };
    let train = documents_file("train");
    augment(&house.cleaned().path.join(&train), &config, Path::new("."), None, &anew, &quiet).unwrap();
    let left = std::fs::read(house.artifact("augment", "a1").path.join(&train)).unwrap();
    assert!(left == std::fs::read(&anew).unwrap());
}

#[test]
fn a_copy_is_traced_to_its_original_and_forgotten_with_it() {
    let house = copied();
    let original = house.id_of("Bob Example");
    let rows = house.rows("augment", "a1");
    let copy = rows.iter().find(|row| row.metadata.get(AUGMENTED_FROM_KEY).is_some_and(|from| *from == original));
    let copy = copy.unwrap();
    let traced = trace(&house.workspace, &house.cleaned(), &copy.id[..12]).unwrap();
    let [one] = &traced[..] else { panic!("{traced:?}") };
    assert_eq!((&one.id, one.copy.as_ref(), one.models.len()), (&original, Some(&copy.id), 1));
    let stages: Vec<&str> = one.artifacts.iter().map(|artifact| artifact.stage.as_str()).collect();
    assert_eq!(stages, ["collect", "clean", "augment"]);
    let [place] = &one.shards[..] else { panic!("{one:?}") };
    assert!(house.told()[place.document].starts_with(&copy.text));

    house.forget(&[&copy.id], &[]).unwrap();
    assert_eq!((mentions(&house.told(), "Bob"), house.collect_talks().forgotten), (0, 1));
    assert!(Tombstones::read(house.workspace.root()).unwrap().contains(&original));
}

#[test]
fn copies_in_a_source_stay_away_with_their_original() {
    let house = copied();
    let table = house.dir.path().join("more.parquet");
    std::fs::copy(house.artifact("augment", "a1").path.join(documents_file("train")), &table).unwrap();
    let id = house.id_of("Bob Example");
    let line = json!({ "text": "a copy of other origin, long enough", "augmented_from": id }).to_string();
    std::fs::write(house.dir.path().join("lines.jsonl"), line + "\n{\"text\": \"something else\"}\n").unwrap();
    let mine = |row: &&Document| row.id == id || row.metadata.get(AUGMENTED_FROM_KEY).is_some_and(|from| *from == id);
    let expect = house.rows("augment", "a1").iter().filter(mine).count() as u64 + 1;
    house.forget(&[&id], &[]).unwrap();

    // Only the original's tombstone: the copies' ids may be of another seed.
    let path = house.workspace.root().join(TOMBSTONES_FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(&format!("\"id\":\"{id}\""))).collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    let tombstones = Tombstones::read(house.workspace.root()).unwrap();
    assert_eq!(tombstones.len(), 1);
    let source = |name: &str, path: &str| SourceConfig { name: name.into(), path: path.into(), ..Default::default() };
    let sources = [source("more", "more.parquet"), source("lines", "lines.jsonl")];
    let out = house.dir.path().join("out");
    let summary = collect_without(&sources, house.dir.path(), true, &tombstones, &out, &quiet).unwrap();
    assert_eq!(summary.forgotten, expect);
}
