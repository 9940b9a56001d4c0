//! Cleaning in parts gives what cleaning at once gives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use common::{documents, quiet, write_documents};
use danlu_data::{
    CleanConfig, Document, DocumentWriter, Funnel, Part, SplitConfig, clean, clean_part, clean_parts, documents_file,
    read_documents, split_documents,
};

/// Documents in two languages with exact duplicates far apart, empty ones, and ones that a rule drops.
fn corpus() -> Vec<Document> {
    let mut all = documents(120);
    for i in 0..40 {
        all.push(all[i].clone());
        all.push(Document::new(" \n", "blanks"));
        all.push(Document::new(format!("one line {i}\n").repeat(5 + i), "speeches"));
        all.push(conversation(i));
    }
    all
}

fn conversation(number: usize) -> Document {
    let asked = format!("Who has the number 1381234{:04}?", number + 1000);
    let mut document = Document::new(format!("user: {asked}\n\nassistant: Nobody."), "chats");
    let turn = |role: &str, content: &str| serde_json::json!({ "role": role, "content": content });
    let messages = [turn("user", &asked), turn("assistant", "Nobody.")];
    document.metadata.insert("messages".into(), messages.to_vec().into());
    document
}

fn config() -> CleanConfig {
    toml::from_str(
        "[[transforms]]\nkind = \"mask_pii\"\nreplacement = \"fake\"\n\
         [[rules]]\nname = \"repeats\"\ndrop_if = \"dup_line_ratio(text) > 0.8\"\n\
         [[outliers]]\nstatistic = \"char_count(text)\"\nmethod = \"mad\"\nfactor = 6.0\n",
    )
    .unwrap()
}

fn in_parts(dir: &Path, collected: &Path, bytes: u64) -> Funnel {
    let cut = dir.join("cut");
    std::fs::create_dir_all(&cut).unwrap();
    let paths = split_documents(collected, bytes, &cut).unwrap();
    let parts: Vec<Part> = paths
        .iter()
        .map(|path| {
            let folder = path.with_extension("work");
            std::fs::create_dir_all(&folder).unwrap();
            Part { summary: clean_part(path, &config(), &folder, &quiet).unwrap(), folder }
        })
        .collect();
    assert_eq!(parts.len(), paths.len());
    clean_parts(&parts, &config(), &SplitConfig { valid: 0.1, test: 0.1 }, dir, &quiet).unwrap()
}

#[test]
fn parts_of_any_size_give_the_files_and_the_funnel_of_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let collected = write_documents(dir.path(), &corpus());
    let whole = dir.path().join("whole");
    std::fs::create_dir_all(&whole).unwrap();
    let expect = clean(&collected, &config(), &SplitConfig { valid: 0.1, test: 0.1 }, &whole, &quiet).unwrap();
    assert!(expect.reasons().len() >= 3, "{:?}", expect.reasons());
    let masked = expect.steps.iter().find(|step| step.step == "transform_mask_pii").unwrap();
    assert_eq!(masked.changed, 40, "one of each conversation's turns");
    for bytes in [1, 3_000, 1 << 30] {
        let out = dir.path().join(format!("parts-{bytes}"));
        std::fs::create_dir_all(&out).unwrap();
        assert_eq!(in_parts(&out, &collected, bytes), expect, "parts of {bytes} bytes");
        for split in SplitConfig::NAMES {
            let read = |dir: &Path| std::fs::read(dir.join(documents_file(split))).unwrap();
            assert!(read(&whole) == read(&out), "{split} in parts of {bytes} bytes");
        }
        let dropped = |dir: &Path| {
            let read = read_documents(&dir.join("dropped.parquet")).unwrap();
            let mut ids: Vec<String> = read.map(|document| document.unwrap().id).collect();
            ids.sort();
            ids
        };
        assert_eq!(dropped(&whole), dropped(&out));
    }
}

#[test]
fn parts_hold_all_documents_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let all = documents(50);
    let collected = dir.path().join("all.parquet");
    let mut writer = DocumentWriter::create(&collected).unwrap();
    all.iter().for_each(|document| writer.write(document).unwrap());
    writer.finish().unwrap();
    let paths = split_documents(&collected, 700, dir.path()).unwrap();
    assert!(paths.len() > 5);
    let back: Vec<Document> = paths.iter().flat_map(|p| read_documents(p).unwrap()).map(Result::unwrap).collect();
    assert_eq!(back, all);
}
