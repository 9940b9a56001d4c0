//! The report about data: what it takes from the artifacts of a run, and what of it stands on the page.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;

use common::quiet;
use danlu_data::{
    COLLECTED_FILE, CleanConfig, Corpus, DataReport, Snapshot, SnapshotConfig, SourceConfig, SplitConfig, clean,
    collect, data_page,
};
use danlu_store::{Artifact, Manifest, Workspace};
use serde_json::{Value, json};

/// Words that no other document has, so that nothing is a duplicate by chance.
fn english(document: usize, words: usize) -> String {
    (0..words).map(|word| format!("w{document}x{word}")).collect::<Vec<_>>().join(" ")
}

fn chinese(document: usize) -> String {
    const POEM: &str = "春眠不觉晓处处闻啼鸟夜来风雨声花落知多少床前明月光疑是地上霜举头望明月低头思故乡";
    let all: Vec<char> = POEM.chars().collect();
    let mut state = document as u64 + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        all[(state >> 33) as usize % all.len()]
    };
    (0..40 + document % 9).map(|_| next()).collect()
}

/// 40 English documents of 40 to 50 words and 30 Chinese ones; and
/// - one whose white space is repaired, and one in Traditional characters,
/// - five that are too short, and one that is far longer than the others,
/// - one that differs from another in a word.
fn records() -> (Vec<String>, Vec<String>) {
    let mut speeches: Vec<String> = (0..40).map(|number| english(number, 40 + number % 11)).collect();
    speeches.push(format!("{}\u{a0}end  \nlast line", english(40, 45)));
    speeches.extend((0..5).map(|number| format!("tiny {number}")));
    speeches.push(english(41, 900));
    speeches.push(english(9, 49).replace("w9x30", "other"));
    let mut poems: Vec<String> = (0..30).map(chinese).collect();
    poems.push(format!("{}\n國家興亡，匹夫有責。", chinese(36)));
    (speeches, poems)
}

const CLEAN: &str = r#"
min_chars = 20

[[transforms]]
kind = "simplify"

[[outliers]]
statistic = "char_count(text)"
side = "high"
by = "source"

[dedup.near]
threshold = 0.7
"#;

fn write_jsonl(path: &Path, texts: &[String]) {
    let lines: Vec<String> = texts.iter().map(|text| json!({ "text": text }).to_string()).collect();
    std::fs::write(path, lines.join("\n")).unwrap();
}

fn publish(workspace: &Workspace, stage: &str, config: Value, summary: Value) -> Artifact {
    let manifest = Manifest {
        stage: stage.into(),
        key: "k".into(),
        inputs: Default::default(),
        config,
        created: "2001-02-03T04:05:06Z".into(),
        seconds: 0.0,
        danlu_version: "0".into(),
        summary,
        content: String::new(),
    };
    let store = workspace.artifacts();
    let work = store.work_dir(stage, "k").unwrap();
    store.publish(&work, manifest).unwrap()
}

/// Collects and cleans the records, and reports on what is left.
fn report() -> DataReport {
    report_of(CLEAN)
}

fn report_of(cleaning: &str) -> DataReport {
    let dir = tempfile::tempdir().unwrap();
    let workspace = Workspace::open(&dir.path().join("runs")).unwrap();
    let (speeches, poems) = records();
    write_jsonl(&dir.path().join("speeches.jsonl"), &speeches);
    write_jsonl(&dir.path().join("poems.jsonl"), &poems);
    write_jsonl(&dir.path().join("exam.jsonl"), &[english(3, 20), english(4, 20), english(500, 20)]);
    write_jsonl(&dir.path().join("other.jsonl"), &[english(600, 20), "too short".into()]);
    let source = |name: &str, language: &str| SourceConfig {
        name: name.into(),
        path: format!("{name}.jsonl"),
        language: Some(language.into()),
        ..Default::default()
    };
    let sources = [source("speeches", "en"), source("poems", "zh")];
    let work = workspace.artifacts().work_dir("collect", "k").unwrap();
    let summary = collect(&sources, dir.path(), true, &work, &quiet).unwrap();
    let collected = publish(
        &workspace,
        "collect",
        json!({ "sources": sources, "files": {} }),
        serde_json::to_value(summary).unwrap(),
    );
    let config: CleanConfig = toml::from_str(cleaning).unwrap();
    let (config, split) = (config.relative_to(dir.path()), SplitConfig { valid: 0.0, test: 0.0 });
    let work = workspace.artifacts().work_dir("clean", "k").unwrap();
    let funnel = clean(&collected.path.join(COLLECTED_FILE), &config, &split, &work, &quiet).unwrap();
    let cleaned = publish(&workspace, "clean", json!({ "clean": config }), serde_json::to_value(funnel).unwrap());
    let snapshot = Snapshot::of(&Corpus::of_cleaned(&cleaned.path), &SnapshotConfig::default(), &quiet).unwrap();
    DataReport::of_snapshot("r", "danlu data report r", snapshot).with_artifacts(&cleaned, Some(&collected)).unwrap()
}

/// What a reader sees of the page: the text between the tags, one line each.
fn visible(html: &str) -> String {
    let body = html.split_once("<body").map_or(html, |(_, body)| body);
    let words = body.split('>').skip(1).filter_map(|part| part.split('<').next()).map(str::trim);
    words.filter(|words| !words.is_empty()).collect::<Vec<_>>().join("\n")
}

#[test]
fn three_dropped_documents_of_each_reason_are_sampled() {
    let report = report();
    let of = |reason: &str| -> Vec<(&str, &str)> {
        let dropped = report.dropped.iter().filter(|sample| sample.reason == reason);
        dropped.map(|sample| (sample.step.as_str(), sample.document.text.as_str())).collect()
    };
    let short = of("too_short");
    assert_eq!(short.len(), 3, "of five");
    assert!(short.iter().all(|(step, text)| *step == "length" && text.starts_with("tiny ")), "{short:?}");
    let [(step, text)] = of("near_duplicate")[..] else { panic!("{:?}", report.dropped) };
    assert!(step == "duplicates" && text.starts_with("w9x0 "), "{text}");
    let [(step, text)] = of("outlier_char_count")[..] else { panic!("{:?}", report.dropped) };
    assert_eq!((step, text.chars().count()), ("outliers", 400), "long texts are cut");
    assert_eq!(report.dropped.len(), 5);
    let again = self::report();
    assert_eq!(again.dropped, report.dropped, "the draw is that of the seed");
    let page = visible(&data_page(&report));
    for said in ["5 dropped documents, drawn at random", "随机抽取的 5 篇被丢弃文档", "6 characters, fewer than 20"]
    {
        assert!(page.contains(said), "{said}");
    }
}

#[test]
fn hits_of_evaluation_sets_are_counted_by_set_and_shown() {
    assert!(report().contamination.is_none());
    let sets = "[[decontaminate.sets]]\nname = \"exam\"\npath = \"exam.jsonl\"\n\
                [[decontaminate.sets]]\nname = \"other exam\"\npath = \"other.jsonl\"\n";
    let report = report_of(&format!("{CLEAN}\n{sets}"));
    let found = report.contamination.as_ref().unwrap();
    let sets: Vec<(&str, [u64; 3], usize)> = found
        .sets
        .iter()
        .map(|set| (set.name.as_str(), [set.documents, set.items, set.too_short], set.samples.len()))
        .collect();
    assert_eq!(sets, [("exam", [2, 2, 0], 2), ("other exam", [0, 0, 1], 0)]);
    assert_eq!(found.contaminated, 2);
    for sample in &found.sets[0].samples {
        let [shared, after] = &sample.pieces[..] else { panic!("{sample:?}") };
        assert_eq!(shared.text, sample.hit.ngram);
        assert!(after.text.starts_with(' '), "{sample:?}");
    }
    let html = data_page(&report);
    let page = visible(&html);
    for said in
        ["Evaluation sets", "评测集", "exam exam.jsonl:1", "other exam", "100.0% of the item is in the document"]
    {
        assert!(page.contains(said), "{said}");
    }
    assert!(html.contains("<ins>w3x0 w3x1 ") && html.contains("<ins>w4x0 w4x1 "));
    let back: DataReport = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    assert_eq!(back.contamination, report.contamination);
}

#[test]
fn changed_documents_stand_beside_what_was_collected() {
    let report = report();
    let mut diffs: Vec<&[String]> = report.changes.iter().map(|change| change.diff.as_slice()).collect();
    diffs.sort();
    let [simplified, repaired] = diffs[..] else { panic!("{:?}", report.changes) };
    let [before, after, around] = repaired else { panic!("{repaired:?}") };
    // A no-break space, and two spaces at the end of the line.
    assert!(before.starts_with("- w40x0 ") && before.ends_with('…'), "a long line is cut: {before}");
    assert!(after.starts_with("+ w40x0 ") && around == "  last line", "{repaired:?}");
    let [poem, before, after] = simplified else { panic!("{simplified:?}") };
    assert!(poem.starts_with("  "), "{poem}");
    assert_eq!((before.as_str(), after.as_str()), ("- 國家興亡，匹夫有責。", "+ 国家兴亡，匹夫有责。"));
    for change in &report.changes {
        assert_ne!(change.id, change.original_id);
    }
    let page = visible(&data_page(&report));
    for said in ["Changed texts", "文本改动", "- 國家興亡，匹夫有責。", "@@ poems "] {
        assert!(page.contains(said), "{said}");
    }
}

#[test]
fn outliers_are_drawn_with_their_thresholds() {
    let report = report();
    let thresholds = &report.funnel.as_ref().unwrap().outliers;
    let groups: Vec<(&str, u64, u64)> =
        thresholds.iter().map(|one| (one.group.as_str(), one.histogram.above, one.dropped)).collect();
    assert_eq!(groups, [("poems", 0, 0), ("speeches", 1, 1)]);
    let speeches = &thresholds[1];
    assert_eq!(speeches.histogram.counts.iter().sum::<u64>(), speeches.documents);
    // The outlier lies in the outermost bar, not at its own place far to the right.
    assert_eq!(speeches.histogram.counts.last(), Some(&1));
    assert!(speeches.histogram.to < 2.0 * speeches.high.unwrap());
    let html = data_page(&report);
    let page = visible(&html);
    for said in ["Outliers", "离群值", "characters, speeches: 1.5 IQR", "字符数，poems：1.5 倍四分位距"] {
        assert!(page.contains(said), "{said}");
    }
    assert!(page.contains("1 above") && page.contains("1 篇高于"), "{page}");
    assert!(html.contains("class=\"bar strong\"") && html.contains("class=\"limit\""));
    assert!(!html.contains("NaN"));
}

/// The usual three rules, of what is left after cleaning.
#[test]
fn every_statistic_has_the_limits_of_the_usual_rules() {
    let report = report();
    let names: Vec<&str> = report.outliers.iter().map(|one| one.statistic.as_str()).collect();
    let mut asked: Vec<&str> = report.snapshot.config.statistics.iter().map(String::as_str).collect();
    asked.sort_unstable();
    assert_eq!(names, asked);
    let of = report.outliers.iter().find(|one| one.statistic == "char_count").unwrap();
    let all = report.snapshot.distribution("char_count", |_| true);
    for fence in [of.iqr, of.z, of.mad] {
        assert!(fence.low < fence.high && (0.0..0.5).contains(&fence.outside), "{of:?}");
    }
    let (mean, spread) = (all.mean(), all.standard_deviation());
    assert_eq!((of.z.low, of.z.high), (mean - 3.0 * spread, mean + 3.0 * spread));
    let page = visible(&data_page(&report));
    for said in ["Where outliers begin, and how many documents lie beyond", "3 standard deviations", "3.5 MAD"] {
        assert!(page.contains(said), "{said}");
    }
}

#[test]
fn statistics_are_drawn_for_each_source_and_language() {
    let report = report();
    let poems = report.snapshot.distribution("char_count", |group| group.source == "poems");
    // The last poem has 40 characters, a line feed and ten more.
    let last = 40.0 + 1.0 + 10.0;
    let others: f64 = (0..30).map(|number| f64::from(40 + number % 9)).sum();
    assert_eq!((poems.count, poems.min, poems.max, poems.sum()), (31, 40.0, last, others + last));
    let page = visible(&data_page(&report));
    for said in [
        "characters, source poems",
        "characters, source speeches",
        "characters, English",
        "字符数，中文",
        "characters by source and language",
        "字符数：按来源与语言",
    ] {
        assert!(page.contains(said), "{said}");
    }
}

#[test]
fn the_report_is_read_back_from_json() {
    let report = report();
    let back: DataReport = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    assert_eq!(data_page(&back), data_page(&report));
    // A funnel of an earlier version has no histograms: the thresholds stand there, and nothing is drawn.
    let mut old = serde_json::to_value(&report).unwrap();
    for threshold in old["funnel"]["outliers"].as_array_mut().unwrap() {
        threshold.as_object_mut().unwrap().remove("histogram");
    }
    let old: DataReport = serde_json::from_value(old).unwrap();
    assert!(!data_page(&old).contains("characters, speeches: 1.5 IQR"));
}
