//! Snapshots tell what is there; two of the same corpus agree, and what moved is named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};

use common::{CHINESE, ENGLISH, quiet, write_documents};
use danlu_data::{
    Corpus, DataError, DataReport, Distribution, Document, Snapshot, SnapshotConfig, StatisticLimits, WatchConfig,
    data_page, drift,
};

/// `count` documents in two languages, of lengths that vary with `seed`.
fn documents(count: usize, seed: usize) -> Vec<Document> {
    (0..count)
        .map(|i| {
            let (text, source, language) =
                if i % 3 == 0 { (CHINESE, "poems", "zh") } else { (ENGLISH, "speeches", "en") };
            let repeats = 1 + (i * 7 + seed) % 5;
            let mut document = Document::new(format!("{}\n{i} {seed}", [text; 5][..repeats].join("\n")), source);
            document.language = language.into();
            document.metadata.insert("year".into(), (1990 + i % 20).into());
            document
        })
        .collect()
}

fn snapshot_of(dir: &Path, documents: &[Document], config: &SnapshotConfig) -> Snapshot {
    Snapshot::of(&Corpus::of(vec![write_documents(dir, documents)]), config, &quiet).unwrap()
}

fn snapshot(documents: &[Document]) -> Snapshot {
    snapshot_of(tempfile::tempdir().unwrap().path(), documents, &SnapshotConfig::default())
}

#[test]
fn a_snapshot_counts_what_is_there() {
    let mut all = documents(300, 0);
    all.push(all[0].clone());
    let snapshot = snapshot(&all);
    assert_eq!(snapshot.total.documents, 301);
    assert_eq!(snapshot.total.bytes, all.iter().map(|d| d.text.len() as u64).sum::<u64>());
    assert_eq!(snapshot.by_source()["poems"].documents, 101);
    assert_eq!(snapshot.by_language()["en"].documents, 200);
    assert_eq!((snapshot.repeats.documents, snapshot.repeats.distinct, snapshot.repeats.sampling), (301, 300, 0));
    assert_eq!(
        (snapshot.time.first.as_str(), snapshot.time.last.as_str(), snapshot.time.documents),
        ("1990", "2009", 301)
    );
    assert_eq!(snapshot.time.by_year["1990"], 16);
    let chars = snapshot.distribution("char_count", |group| group.source == "poems");
    let lengths: Vec<usize> = all.iter().filter(|d| d.source == "poems").map(|d| d.text.chars().count()).collect();
    assert_eq!((chars.count, chars.min), (101, *lengths.iter().min().unwrap() as f64));
    assert_eq!(chars.sum(), lengths.iter().sum::<usize>() as f64);
    // Every document has "of the" at least twice; Chinese is cut into words.
    let words = &snapshot.vocabularies["en"].words;
    assert_eq!(words.top[0].0, "of");
    assert_eq!(words.error, 0);
    let chinese = &snapshot.vocabularies["zh"].words;
    assert!(chinese.top.iter().any(|(word, _)| word.chars().count() == 2), "{:?}", &chinese.top[..10]);
    assert!(snapshot.vocabularies["en"].ngrams.top.iter().any(|(ngram, _)| ngram == "of the senate"));
    assert_eq!(snapshot.samples.len(), 12);
    assert!(snapshot.samples.iter().all(|sample| all.iter().any(|document| document.id == sample.id)));
}

#[test]
fn any_number_of_threads_gives_the_same_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let all = documents(500, 3);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| snapshot_of(dir.path(), &all, &SnapshotConfig::default()))
    };
    let (one, three) = (with(1), with(3));
    assert_eq!(serde_json::to_string(&one).unwrap(), serde_json::to_string(&three).unwrap());
}

#[test]
fn a_snapshot_is_read_back_and_another_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (path, made) = (dir.path().join("s.json"), snapshot(&documents(30, 0)));
    made.write(&path).unwrap();
    assert_eq!(Snapshot::read(&path).unwrap(), made);
    assert!(Snapshot::is_in(&path).unwrap());
    for documents in ["[{\"text\": \"a\"}]", "{\"text\": \"a\"}", "", "[]"] {
        let path = dir.path().join("documents.json");
        std::fs::write(&path, documents).unwrap();
        assert!(!Snapshot::is_in(&path).unwrap(), "{documents}");
    }
    assert!(Snapshot::is_in(&dir.path().join("nowhere.json")).is_err());
    for (text, said) in [("{}", "no version"), (r#"{"version": 99}"#, "version 99"), ("[", "EOF")] {
        std::fs::write(&path, text).unwrap();
        let error = Snapshot::read(&path).unwrap_err();
        assert!(matches!(error, DataError::BadSnapshot { .. }) && error.to_string().contains(said), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn source_files_of_others_can_be_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let jsonl = dir.path().join("delivery.jsonl");
    std::fs::write(
        &jsonl,
        format!("{{\"text\": \"{ENGLISH}\", \"date\": \"2024-05-06\"}}\n{{broken\n{{\"text\": \"{CHINESE}\"}}\n"),
    )
    .unwrap();
    let found = Snapshot::of(&Corpus::of(vec![jsonl]), &SnapshotConfig::default(), &quiet).unwrap();
    assert_eq!((found.total.documents, found.problems), (2, 1));
    assert_eq!(found.by_source()["delivery"].documents, 2);
    assert_eq!(found.by_language().into_keys().collect::<Vec<_>>(), ["en", "zh"]);
    assert_eq!(found.time.first, "2024-05-06");
    let missing = Snapshot::of(&Corpus::of(vec![PathBuf::from("nowhere.jsonl")]), &SnapshotConfig::default(), &quiet);
    assert!(missing.is_err());
}

#[test]
fn statistics_are_chosen_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let with = |names: &[&str]| SnapshotConfig {
        statistics: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    };
    let of = |names: &[&str]| {
        let corpus = Corpus::of(vec![write_documents(dir.path(), &documents(20, 0))]);
        Snapshot::of(&corpus, &with(names), &quiet)
    };
    let found = of(&["line_count", "dup_ngram_ratio_5"]).unwrap();
    assert_eq!(found.groups[0].statistics.len(), 2);
    assert!(found.distribution("dup_ngram_ratio_5", |_| true).max > 0.3);
    for (names, said) in [
        (&["lang"][..], "gives text"),
        (&["dup_ngram_ratio"][..], "dup_ngram_ratio_5"),
        (&["char_count", "char_count"][..], "twice"),
        (&["no_such_thing"][..], "no_such_thing"),
    ] {
        let error = of(names).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn the_same_kind_of_data_raises_no_alarm() {
    let found = drift(&snapshot(&documents(600, 0)), &snapshot(&documents(500, 1)), &WatchConfig::default());
    assert!(found.violations.is_empty(), "{:?}", found.violations);
    assert!(found.statistics.len() >= 5 * 8, "{}", found.statistics.len());
    assert!(found.source_psi < 0.01 && found.vocabularies.len() <= 2);
}

/// The reasons of a drift from 600 usual documents to `delivered`.
fn reasons(delivered: &[Document], config: &WatchConfig) -> Vec<(String, String)> {
    let found = drift(&snapshot(&documents(600, 0)), &snapshot(delivered), config);
    found.violations.into_iter().map(|violation| (violation.threshold, violation.reason)).collect()
}

#[test]
fn what_moved_is_named() {
    let config = WatchConfig { min_words: 100, ..Default::default() };
    let check = |delivered: &[Document], threshold: &str, said: &str| {
        let reasons = reasons(delivered, &config);
        let found = reasons.iter().any(|(of, reason)| of == threshold && reason.contains(said));
        assert!(found, "{threshold}, {said}: {reasons:?}");
    };
    check(&documents(200, 0), "volume", "200 documents instead of 600: 67% fewer");
    let mut renamed = documents(600, 1);
    renamed.iter_mut().filter(|d| d.source == "poems").for_each(|d| d.source = "诗".into());
    check(&renamed, "allow_new", "source 诗 is new, with 200 documents");
    check(&renamed, "allow_vanished", "source poems has vanished; it had 200 documents");
    let english: Vec<Document> = documents(1200, 1).into_iter().filter(|d| d.language == "en").take(580).collect();
    check(&english, "allow_vanished", "language zh");
    let mut skewed = documents(1800, 1);
    let mut kept = 0;
    skewed.retain(|d| {
        d.source == "speeches" || {
            kept += 1;
            kept <= 30
        }
    });
    skewed.truncate(620);
    check(&skewed, "share_psi", "the shares of the sources moved");
    let mut longer = documents(600, 1);
    longer.iter_mut().for_each(|d| d.set_text(format!("{0}\n{0}\n{0}", d.text)));
    check(&longer, "psi", "char_count of all moved: PSI");
    check(&longer, "ks", "char_count of language zh moved: KS distance");
    let mut other_words = documents(600, 1);
    other_words
        .iter_mut()
        .for_each(|d| d.set_text(d.text.replace("the", "das").replace("of", "von").replace("in", "im")));
    check(&other_words, "vocabulary", "the words of language en moved");
    let repeated: Vec<Document> = documents(300, 1).into_iter().flat_map(|d| [d.clone(), d]).collect();
    check(&repeated, "repeats", "from 0.0% to 50.0%");
}

#[test]
fn thresholds_can_be_changed() {
    let mut longer = documents(600, 1);
    longer.iter_mut().for_each(|d| d.set_text(format!("{0} {0}", d.text)));
    let usual = reasons(&longer, &WatchConfig::default());
    assert!(usual.iter().any(|(threshold, _)| threshold == "psi"), "{usual:?}");
    let ignored = |names: &[&str]| {
        let ignore = StatisticLimits { ignore: true, ..Default::default() };
        WatchConfig {
            volume: 2.0,
            statistics: names.iter().map(|name| ((*name).to_owned(), ignore)).collect(),
            ..Default::default()
        }
    };
    let left = reasons(&longer, &ignored(&["char_count", "word_count", "dup_line_ratio"]));
    assert!(left.iter().all(|(_, reason)| !reason.contains("char_count")), "{left:?}");
}

/// The generator of scripts/drift_golden.py.
fn powers(count: usize, seed: u64, shift: i32, spread: u64) -> Distribution {
    let mut state = seed;
    let mut all = Distribution::default();
    for _ in 0..count {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        all.add(1.05f64.powi(shift + ((state >> 33) % spread) as i32));
    }
    all
}

#[test]
fn distances_are_those_of_scipy() {
    // Printed by scripts/drift_golden.py.
    let accepted = powers(1000, 1, 0, 40);
    for (delivered, ks, psi) in [
        (powers(700, 2, 0, 40), 0.030_142_857_142_857, 0.012_536_450_391_977),
        (powers(700, 3, 4, 40), 0.124_857_142_857_143, 0.824_048_771_826_086),
        (powers(500, 4, 0, 60), 0.308_000_000_000_000, 0.525_164_433_490_103),
    ] {
        assert!((accepted.ks(&delivered) - ks).abs() < 1e-12, "{} {ks}", accepted.ks(&delivered));
        assert!((accepted.psi(&delivered).0 - psi).abs() < 1e-12, "{:?} {psi}", accepted.psi(&delivered));
    }
    let words = |counts: &[u64]| danlu_data::TopWords {
        n: 1,
        total: counts.iter().sum(),
        distinct: counts.len() as u64,
        error: 0,
        top: counts.iter().zip('a'..).map(|(&count, word)| (word.to_string(), count)).collect(),
    };
    let found = words(&[50, 30, 15, 5, 0]).divergence(&words(&[40, 30, 10, 0, 20]));
    assert!((found - 0.132_646_948_765_966).abs() < 1e-12, "{found}");
}

#[test]
fn the_page_says_it_in_both_languages() {
    let (accepted, delivered) = (snapshot(&documents(600, 0)), snapshot(&documents(200, 0)));
    let moved = drift(&accepted, &delivered, &WatchConfig::default());
    let mut report = DataReport::of_snapshot("delivery <7>", "danlu data report x", delivered);
    report.drift = Some(moved);
    let html = data_page(&report);
    for said in
        ["67% fewer", "文档数减少了 67%", "delivery &lt;7&gt;", "重复文本", "Chinese", "中文", "danlu data report x"]
    {
        assert!(html.contains(said), "{said}");
    }
    assert!(!html.contains("NaN") && !html.contains("<7>"));
    let back: DataReport = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    assert_eq!(data_page(&back), html);
}
