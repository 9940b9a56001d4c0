//! The report of a run: duplicates side by side, and under which licences documents are.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{CHINESE, ENGLISH, quiet, write_documents};
use danlu_data::{
    CleanConfig, ClusterTexts, CopyText, Corpus, DataReport, Document, DuplicateKind, LicenseCard, Mark, Snapshot,
    SnapshotConfig, SplitConfig, StatedBy, clean, data_page,
};
use danlu_store::{Manifest, Workspace, now_rfc3339};

/// The report of documents that are cleaned by a recipe's `[clean]`.
fn report(dir: &Path, documents: &[Document], config: &str) -> DataReport {
    let store = Workspace::open(&dir.join("runs")).unwrap().artifacts();
    let work = store.work_dir("clean", "k").unwrap();
    let config: CleanConfig = toml::from_str(config).unwrap();
    let all_train = SplitConfig { valid: 0.0, test: 0.0 };
    let funnel = clean(&write_documents(dir, documents), &config, &all_train, &work, &quiet).unwrap();
    let manifest = Manifest {
        stage: "clean".into(),
        key: "k".into(),
        inputs: BTreeMap::new(),
        config: serde_json::to_value(&config).unwrap(),
        created: now_rfc3339(),
        seconds: 0.0,
        danlu_version: "t".into(),
        summary: serde_json::to_value(funnel).unwrap(),
        content: String::new(),
    };
    let cleaned = store.publish(&work, manifest).unwrap();
    let snapshot = Snapshot::of(&Corpus::of_cleaned(&cleaned.path), &SnapshotConfig::default(), &quiet).unwrap();
    DataReport::of_snapshot("t", "danlu data report t", snapshot).with_artifacts(&cleaned, None).unwrap()
}

/// Id (its first digits), kind, similarity in percent and what differs of each copy.
fn copies(cluster: &ClusterTexts) -> Vec<(&str, DuplicateKind, u64, Vec<(Mark, &str)>)> {
    let all = cluster.copies.iter().map(|CopyText { copy, pieces }| {
        let differs = pieces.iter().filter(|piece| piece.mark != Mark::Both);
        let differs = differs.map(|piece| (piece.mark, piece.text.as_str())).collect();
        (&copy.id[..8], copy.kind, (copy.similarity * 100.0) as u64, differs)
    });
    all.collect()
}

const NEAR: &str = "[dedup]\n[dedup.near]\nthreshold = 0.5\nrows = 2\nbands = 50\n";

#[test]
fn near_duplicates_are_shown_beside_what_stayed() {
    let dir = tempfile::tempdir().unwrap();
    let texts = [ENGLISH.into(), CHINESE.into(), ENGLISH.replace("lawless", "unruly"), CHINESE.into(), ENGLISH.into()];
    let documents: Vec<Document> = texts.iter().map(|text: &String| Document::new(text.as_str(), "s")).collect();
    let report = report(dir.path(), &documents, NEAR);
    assert!(report.funnel.as_ref().unwrap().duplicates.is_none(), "it is told once");
    let found = report.duplicates.as_ref().unwrap();
    let sizes: Vec<_> = found.counts.clusters.iter().map(|size| (size.size, size.clusters)).collect();
    assert_eq!((sizes, found.largest.len(), found.sampled.len()), (vec![(2, 1), (3, 1)], 2, 0));
    let english = &found.largest[0];
    assert_eq!((english.size, english.kept.text.as_deref(), english.kept.cut), (3, Some(ENGLISH), false));
    let differs = vec![(Mark::First, "lawless"), (Mark::Second, "unruly")];
    let [near, exact] = &copies(english)[..] else { panic!("{english:?}") };
    assert!(near.2 >= 50 && near.2 < 100, "{near:?}");
    assert_eq!((near.0, near.1, &near.3), (&documents[2].id[..8], DuplicateKind::Near, &differs));
    assert_eq!(*exact, (&documents[0].id[..8], DuplicateKind::Exact, 100, Vec::new()));
    let page = data_page(&report);
    for said in
        ["<del>lawless</del><ins>unruly</ins>", "3 documents, ", "3 篇文档", "Clusters by their number", "各大小的簇"]
    {
        assert!(page.contains(said), "{said}");
    }
    let back: DataReport = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    assert_eq!(data_page(&back), page);
}

#[test]
fn texts_that_are_not_there_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let texts = [ENGLISH.to_owned(), ENGLISH.replace("lawless", "unruly")];
    let documents: Vec<Document> = texts.iter().map(|text| Document::new(text.as_str(), "s")).collect();
    let report = report(dir.path(), &documents, &format!("keep_dropped = false\n{NEAR}"));
    let cluster = &report.duplicates.as_ref().unwrap().largest[0];
    assert!(cluster.kept.text.is_some() && cluster.copies.len() == 1 && cluster.copies[0].pieces.is_empty());
    assert!(!data_page(&report).contains("unruly"));
}

#[test]
fn a_document_that_was_cut_afterwards_is_found_by_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let own = "Nothing of this paragraph was ever said before.";
    let both = format!("{ENGLISH}\n\n{own}");
    let documents = [ENGLISH, &both, &both].map(|text| Document::new(text, "s"));
    let report = report(dir.path(), &documents, "[dedup]\n[dedup.paragraphs]\nmin_chars = 20\n");
    let cluster = &report.duplicates.as_ref().unwrap().largest[0];
    assert_eq!((cluster.kept.text.as_deref(), cluster.kept.cut), (Some(own), true));
    assert_eq!(cluster.kept.id, Document::new(own, "s").id);
    let pieces = &cluster.copies[0].pieces;
    assert!(pieces[0].mark == Mark::Second && pieces[0].text.starts_with("Fellow citizens"), "{pieces:?}");
    assert!(data_page(&report).contains("cut afterwards"));
}

#[test]
fn documents_with_the_same_text_are_clusters_too() {
    let dir = tempfile::tempdir().unwrap();
    let documents: Vec<Document> = (0..40)
        .flat_map(|text| {
            (0..=text % 4).map(move |copy| Document::new(format!("{CHINESE} {text}"), format!("source {copy}")))
        })
        .collect();
    let report = report(dir.path(), &documents, "");
    let found = report.duplicates.as_ref().unwrap();
    let sizes: Vec<_> = found.counts.clusters.iter().map(|size| (size.size, size.clusters)).collect();
    assert_eq!((sizes, found.sampling), (vec![(2, 10), (3, 10), (4, 10)], 0));
    assert_eq!((found.largest.len(), found.sampled.len()), (20, 10));
    let largest = &found.largest[0];
    let sources: Vec<&str> = largest.copies.iter().map(|copy| copy.copy.source.as_str()).collect();
    assert_eq!(
        (largest.size, largest.kept.source.as_str(), sources),
        (4, "source 0", vec!["source 1", "source 2", "source 3"])
    );
    assert_eq!(largest.bytes, 3 * largest.kept.text.as_ref().unwrap().len() as u64);
    let one_text = report_of_no_duplicates();
    assert!(one_text.duplicates.is_none() && !data_page(&one_text).contains("A cluster is"));
}

fn report_of_no_duplicates() -> DataReport {
    report(tempfile::tempdir().unwrap().path(), &[Document::new(ENGLISH, "s")], "")
}

#[test]
fn licences_are_counted_by_source_and_the_unknown_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let document = |text: &str, source: &str, license: Option<&str>| {
        let mut document = Document::new(text, source);
        document.metadata.extend(license.map(|license| ("licence".to_owned(), license.into())));
        document
    };
    let own = "The documents of this source say it themselves, but for one.";
    let documents = [
        document(ENGLISH, "speeches", None),
        document(CHINESE, "poems", None),
        document(own, "web", Some("CC-BY-4.0")),
        document(&own.replace("one", "two"), "web", None),
    ];
    let stated = [("poems".to_owned(), "MIT".to_owned())].into();
    let report = report(dir.path(), &documents, "").with_licenses(&stated);
    let told = |card: &LicenseCard| {
        (card.source.clone(), card.license.clone(), card.stated_by, card.count.documents, card.examples.clone())
    };
    let cards: Vec<_> = report.card.licenses.iter().map(told).collect();
    let row = |source: &str, license: &str, by, unknown: &[&Document]| {
        (source.to_owned(), license.to_owned(), by, 1, unknown.iter().map(|one| one.id.clone()).collect::<Vec<_>>())
    };
    let expected = [
        row("poems", "MIT", StatedBy::Recipe, &[]),
        row("speeches", "unknown", StatedBy::Nobody, &[&documents[0]]),
        row("web", "CC-BY-4.0", StatedBy::Documents, &[]),
        row("web", "unknown", StatedBy::Nobody, &[&documents[3]]),
    ];
    assert_eq!(cards, expected);
    let json = serde_json::to_value(&report.card).unwrap();
    assert_eq!((&json["licenses"][0]["license"], &json["licenses"][0]["documents"]), (&"MIT".into(), &1.into()));
    let page = data_page(&report);
    let named = format!("Documents of speeches without a known license: 1 ({})", &documents[0].id[..12]);
    for said in [named.as_str(), "许可不明", "CC-BY-4.0", "the recipe, for documents that name none"] {
        assert!(page.contains(said), "{said}");
    }
}
