//! A mixture is what was asked for, in the shard that training reads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::{CHINESE, ENGLISH, TOKENIZER, quiet, write_documents};
use danlu_data::{
    BatchConfig, Batches, ChatConfig, CurriculumConfig, Document, Encoder, Mixture, MixtureConfig, Shard, ShardSummary,
    mix_shard, mixture_items, write_shards,
};

/// Poems and speeches of many lengths, with a label.
fn documents(count: usize) -> Vec<Document> {
    (0..count)
        .map(|i| {
            let (text, source) = if i % 4 == 0 { (CHINESE, "poems") } else { (ENGLISH, "speeches") };
            let mut document =
                Document::new(format!("{i} {}", &text[..text.floor_char_boundary(20 + i * 13 % 70)]), source);
            document.metadata.insert("label".into(), format!("l{}", i % 3).into());
            document
        })
        .collect()
}

fn mixed(dir: &Path, documents: &[Document], config: &MixtureConfig) -> (Shard, Shard, ShardSummary) {
    let path = write_documents(dir, documents);
    let natural = dir.join("natural.tokens");
    let encoder = Encoder { tokenizer: &TOKENIZER, template: None, chat: &ChatConfig::default() };
    write_shards(&path, &encoder, &natural, &quiet).unwrap();
    let natural = Shard::open(&natural, None).unwrap();
    let (items, names) = mixture_items(&path, &natural, config).unwrap();
    let mixture = Mixture::plan(&items, &names, config).unwrap();
    let summary = mix_shard(&natural, &mixture, &dir.join("train.tokens")).unwrap();
    let shard = Shard::open(&dir.join("train.tokens"), Some(TOKENIZER.hash())).unwrap();
    (natural, shard, summary)
}

fn texts(shard: &Shard) -> Vec<String> {
    let text = |d: danlu_data::ShardDocument<'_>| {
        TOKENIZER.decode(&shard.tokens().slice(d.tokens.start..d.tokens.end - 1).to_vec())
    };
    shard.documents().map(text).collect()
}

#[test]
fn the_shard_holds_the_shares_that_were_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let weights = BTreeMap::from([("poems".to_owned(), 0.5), ("speeches".to_owned(), 0.5)]);
    let config = MixtureConfig { weights, max_epochs: 2.0, ..Default::default() };
    let all = documents(200);
    let (natural, shard, summary) = mixed(dir.path(), &all, &config);
    let mixture = summary.mixture.as_ref().unwrap();
    assert_eq!((mixture.tokens, mixture.documents), (shard.len(), shard.document_count() as u64));
    for row in &mixture.groups {
        let in_shard: u64 = shard.documents().filter(|d| d.source == row.name).map(|d| d.tokens.len() as u64).sum();
        assert_eq!((row.tokens, summary.by_source[&row.name].tokens), (in_shard, in_shard));
        assert!(row.epochs <= 2.01 && row.available_tokens > 0);
    }
    let wanted = natural.len() / 2;
    let poems = &mixture.groups[0];
    assert_eq!(poems.name, "poems");
    assert!(poems.capped || poems.tokens.abs_diff(wanted) < 60, "{mixture:?}");
    // Texts are those of the documents, the poems twice or about that.
    let shown = texts(&shard);
    assert!(shown.iter().all(|text| all.iter().any(|document| document.text == *text)));
    let first = shown.iter().filter(|text| **text == all[0].text).count();
    assert!((1..=3).contains(&first), "{first}");
}

#[test]
fn a_column_can_make_the_groups() {
    let dir = tempfile::tempdir().unwrap();
    let weights = BTreeMap::from([("l0".to_owned(), 1.0), ("l1".to_owned(), 0.0), ("l2".to_owned(), 1.0)]);
    let config = MixtureConfig { by: "label".into(), weights, tokens: Some(900), ..Default::default() };
    let (_, shard, summary) = mixed(dir.path(), &documents(60), &config);
    let rows = summary.mixture.unwrap().groups;
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["l0", "l1", "l2"]);
    assert_eq!(rows[1].tokens, 0);
    assert!((800..1000).contains(&shard.len()), "{}", shard.len());
    let path = write_documents(dir.path(), &documents(60));
    let natural = Shard::open(&dir.path().join("natural.tokens"), None).unwrap();
    let said = |config: MixtureConfig| mixture_items(&path, &natural, &config).unwrap_err().to_string();
    assert!(said(MixtureConfig { by: "colour".into(), ..Default::default() }).contains("no column \"colour\""));
    let by = |name: &str| Some(CurriculumConfig { order_by: name.into(), ..Default::default() });
    assert!(said(MixtureConfig { curriculum: by("nothing"), ..Default::default() }).contains("nothing"));
    let elsewhere = tempfile::tempdir().unwrap();
    for count in [5, 80] {
        let others = write_documents(elsewhere.path(), &documents(count));
        assert!(mixture_items(&others, &natural, &MixtureConfig::default()).is_err(), "a shard of other documents");
    }
}

#[test]
fn training_keeps_to_the_stages_of_a_curriculum() {
    let dir = tempfile::tempdir().unwrap();
    let curriculum = CurriculumConfig { stages: 3, mixing: 0.0, ..Default::default() };
    let config = MixtureConfig { curriculum: Some(curriculum), ..Default::default() };
    let (_, shard, summary) = mixed(dir.path(), &documents(300), &config);
    assert_eq!((shard.stages().len(), summary.mixture.unwrap().stages), (3, 3));
    let lengths: Vec<usize> = texts(&shard).iter().map(|text| text.chars().count()).collect();
    let mean = |part: &[usize]| part.iter().sum::<usize>() as f64 / part.len() as f64;
    assert!(mean(&lengths[..60]) < mean(&lengths[lengths.len() - 60..]) / 1.5, "{lengths:?}");
}

#[test]
fn batches_stay_within_their_stage() {
    let dir = tempfile::tempdir().unwrap();
    let all: Vec<Document> = (0..300)
        .map(|i| {
            let level = i % 3;
            let mut document = Document::new(format!("{} {i}", ["q", "j", "x"][level].repeat(24)), "s");
            document.metadata.insert("level".into(), level.into());
            document
        })
        .collect();
    let curriculum = CurriculumConfig { order_by: "level".into(), stages: 3, mixing: 0.0, ..Default::default() };
    let (_, shard, _) = mixed(dir.path(), &all, &MixtureConfig { curriculum: Some(curriculum), ..Default::default() });
    let config = BatchConfig { batch_size: 1, seq_len: 64, seed: 5, ..Default::default() };
    let batches = Batches::new(Arc::new(shard), config).unwrap();
    let shown: Vec<String> = (0..2 * batches.windows()).map(|n| TOKENIZER.decode(&batches.batch(n).inputs)).collect();
    let (first, second) = shown.split_at(shown.len() / 2);
    assert_ne!(first, second, "each epoch has an order of its own");
    for epoch in [first, second] {
        let level = |text: &String| ["q", "j", "x"].iter().position(|letter| text.contains(letter)).unwrap();
        let levels: Vec<usize> = epoch.iter().map(level).collect();
        let out_of_order = levels.windows(2).filter(|pair| pair[0] > pair[1]).count();
        // A window that reaches over the border of two stages shows the end of the earlier one.
        assert!(out_of_order <= 2, "{levels:?}");
        let mut sorted = epoch.to_vec();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), epoch.len(), "each window once");
    }
    let numbers: Vec<&str> =
        first.iter().filter(|t| t.contains('q')).filter_map(|t| t.split_whitespace().nth(1)).collect();
    assert!(!numbers.is_sorted(), "windows of a stage are shuffled: {numbers:?}");
}

#[test]
fn any_number_of_threads_writes_the_same_shard() {
    let config = MixtureConfig { temperature: 3.0, ..Default::default() };
    let with = |threads: usize| {
        let dir = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| mixed(dir.path(), &documents(120), &config));
        std::fs::read(dir.path().join("train.tokens")).unwrap()
    };
    assert_eq!(with(1), with(2));
}
