//! Cleaning in parts gives what cleaning at once gives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use common::{documents, quiet, write_documents};
use danlu_data::{
    CleanConfig, DataError, Document, DocumentWriter, Part, SplitConfig, clean, clean_part, clean_parts,
    documents_file, read_documents, split_documents,
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

/// The parts, each cleaned by itself.
fn parts(dir: &Path, collected: &Path, config: &CleanConfig, bytes: u64) -> Vec<Part> {
    let cut = dir.join("cut");
    std::fs::create_dir_all(&cut).unwrap();
    let paths = split_documents(collected, bytes, &cut).unwrap();
    let parts: Vec<Part> = paths
        .iter()
        .map(|path| {
            let folder = path.with_extension("work");
            std::fs::create_dir_all(&folder).unwrap();
            Part { summary: clean_part(path, &config.of_part(), &folder, &quiet).unwrap(), folder }
        })
        .collect();
    assert_eq!(parts.len(), paths.len());
    parts
}

const SPLIT: SplitConfig = SplitConfig { valid: 0.1, test: 0.1 };

#[test]
fn parts_of_any_size_give_the_files_and_the_funnel_of_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let collected = write_documents(dir.path(), &corpus());
    let whole = dir.path().join("whole");
    std::fs::create_dir_all(&whole).unwrap();
    let expect = clean(&collected, &config(), &SPLIT, &whole, &quiet).unwrap();
    assert!(expect.reasons().len() >= 3, "{:?}", expect.reasons());
    let masked = expect.steps.iter().find(|step| step.step == "transform_mask_pii").unwrap();
    assert_eq!(masked.changed, 40, "one of each conversation's turns");
    for bytes in [1, 3_000, 1 << 30] {
        let out = dir.path().join(format!("parts-{bytes}"));
        std::fs::create_dir_all(&out).unwrap();
        let parts = parts(&out, &collected, &config(), bytes);
        let funnel = clean_parts(&parts, &config(), &SPLIT, &out, &quiet).unwrap();
        assert_eq!(funnel, expect, "parts of {bytes} bytes");
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

/// Texts without pattern, with near and exact copies of earlier ones, some that are far too long, and some without letters.
fn copies() -> Vec<Document> {
    let mut state = 1u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut texts: Vec<String> = Vec::new();
    for row in 0..240usize {
        let length = if row % 60 == 30 { 3000 } else { 100 + next(40) };
        let text: String = (0..length).filter_map(|_| char::from_u32(0x4E00 + next(4000) as u32)).collect();
        texts.push(match row % 8 {
            3 => format!("{}近", texts[row / 2]),
            5 => texts[row / 3].clone(),
            6 if row % 3 == 0 => "— — — — — — —".into(),
            _ => text,
        });
    }
    texts.into_iter().map(|text| Document::new(text, "copies")).collect()
}

fn searching(kind: &str) -> CleanConfig {
    let outliers = "[[outliers]]\nstatistic = \"char_count(text)\"\nmethod = \"mad\"\nfactor = 6.0\n";
    toml::from_str(&format!("max_symbol_ratio = 1.0\n[dedup]\nlines = {{}}\n{kind}\n{outliers}")).unwrap()
}

#[test]
fn what_parts_compute_for_the_search_gives_the_duplicates_of_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let collected = write_documents(dir.path(), &copies());
    for (kind, file) in [("near = {}\nsave_signatures = true", "signatures.danlu"), ("simhash = {}", "train.parquet")] {
        let config = searching(kind);
        let whole = dir.path().join(format!("whole-{file}"));
        std::fs::create_dir_all(&whole).unwrap();
        let expect = clean(&collected, &config, &SPLIT, &whole, &quiet).unwrap();
        let dropped = |step: &str| expect.steps.iter().find(|found| found.step == step).unwrap().dropped.len();
        assert!(dropped("outliers") > 0 && dropped("duplicates") > 0, "{:?}", expect.steps);
        assert!(kind == "simhash = {}" || expect.reasons().contains_key("near_duplicate"), "{:?}", expect.reasons());
        for bytes in [1, 3_000, 1 << 30] {
            let out = dir.path().join(format!("parts-{bytes}-{file}"));
            std::fs::create_dir_all(&out).unwrap();
            let parts = parts(&out, &collected, &config, bytes);
            assert!(parts.iter().all(|part| part.folder.join("sketches.danlu").exists()));
            assert_eq!(clean_parts(&parts, &config, &SPLIT, &out, &quiet).unwrap(), expect, "{bytes} bytes, {kind}");
            for name in ["train.parquet", "valid.parquet", "test.parquet", file] {
                let read = |dir: &Path| std::fs::read(dir.join(name)).unwrap();
                assert!(read(&whole) == read(&out), "{name} in parts of {bytes} bytes, {kind}");
            }
        }
    }
}

/// The search reads what parts have computed, and does not take it for that of other documents.
#[test]
fn what_was_computed_for_other_documents_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let collected = write_documents(dir.path(), &copies());
    let config = searching("near = {}");
    let parts = parts(dir.path(), &collected, &config, 30_000);
    assert!(parts.len() > 1);
    std::fs::copy(parts[1].folder.join("sketches.danlu"), parts[0].folder.join("sketches.danlu")).unwrap();
    let error = clean_parts(&parts, &config, &SPLIT, dir.path(), &quiet).unwrap_err();
    assert!(matches!(error, DataError::BadSignatures { .. }), "{error}");
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
