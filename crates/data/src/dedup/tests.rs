#![allow(clippy::unwrap_used, clippy::panic)]

mod brute_force;

use std::collections::{BTreeSet, HashSet};

use super::*;
use crate::DocumentWriter;
use crate::ngrams::mix;

pub(super) fn quiet(_: crate::Progress<'_>) {}

/// Numbers without pattern, the same in every run.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn next(&mut self, below: u64) -> u64 {
        self.0 += 1;
        mix(self.0) % below
    }
}

/// Texts of made-up words, or of Chinese characters without spaces.
pub(super) fn units(numbers: &mut Numbers, count: usize, chinese: bool) -> Vec<String> {
    let unit = |number: u64| match chinese {
        true => char::from_u32(0x4E00 + number as u32).unwrap().to_string(),
        false => format!("w{number}"),
    };
    (0..count).map(|_| unit(numbers.next(3000))).collect()
}

pub(super) fn join(units: &[String]) -> String {
    let chinese = units.first().is_some_and(|unit| !unit.is_ascii());
    units.join(if chinese { "" } else { " " })
}

/// The n-grams by the words of their definition, for what [`units`] makes.
fn shingles(text: &str) -> HashSet<Vec<String>> {
    let (all, size): (Vec<String>, usize) = match text.is_ascii() {
        true => (text.split(' ').map(str::to_string).collect(), 5),
        false => (text.chars().map(|c| c.to_string()).collect(), 8),
    };
    all.windows(size).map(<[String]>::to_vec).collect()
}

fn jaccard(a: &str, b: &str) -> f64 {
    let (a, b) = (shingles(a), shingles(b));
    a.intersection(&b).count() as f64 / a.union(&b).count().max(1) as f64
}

/// Replaces some of the units by others.
pub(super) fn changed(numbers: &mut Numbers, units: &[String], changes: usize) -> Vec<String> {
    let mut units = units.to_vec();
    for _ in 0..changes {
        let at = numbers.next(units.len() as u64) as usize;
        units[at] = if units[at].is_ascii() { "other".into() } else { "異".into() };
    }
    units
}

fn documents(texts: &[String]) -> Vec<Document> {
    texts.iter().enumerate().map(|(i, text)| Document::new(text.as_str(), ["a", "b"][i % 2])).collect()
}

/// Runs a search in a folder where a killed one has left its files, with parts of memory of `part` bytes, and checks that
/// nothing stays there.
pub(super) fn search(documents: &[Document], config: &DedupConfig, part: u64) -> Duplicates {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("documents.parquet");
    let mut writer = DocumentWriter::create(&path).unwrap();
    documents.iter().for_each(|document| writer.write(document).unwrap());
    writer.finish().unwrap();
    let work = dir.path().join("work");
    std::fs::create_dir(&work).unwrap();
    for name in ["buckets", "exact", "sets", "repeats", "samples", "shared", "signatures"] {
        std::fs::write(work.join(format!("dedup-{name}.tmp")), "left over").unwrap();
    }
    let budget = Budget { part, held_rows: (part / 1000) as usize, ..Budget::new(config, &work) };
    let budget = budget.with_engine(config).unwrap();
    config.check().unwrap();
    let found = search_within(&path, config, &budget, &quiet).unwrap();
    drop(budget);
    assert_eq!(std::fs::read_dir(&work).unwrap().count(), 0);
    found
}

pub(super) const PLENTY: u64 = 64 << 20;

pub(super) fn near(threshold: f64) -> NearConfig {
    // What is missed with these is below 10^-20 at 0.5.
    NearConfig { bands: 128, rows: 2, threshold, ..NearConfig::default() }
}

fn drops(found: &Duplicates) -> Vec<(u64, Option<u64>, DuplicateKind)> {
    found.drops.iter().map(|drop| (drop.row, drop.kept, drop.kind)).collect()
}

/// Families of texts that differ more and more from their first, in both languages.
fn families(seed: u64) -> Vec<String> {
    let mut numbers = Numbers(seed);
    let mut texts = Vec::new();
    for family in 0..12 {
        let first = units(&mut numbers, 60 + 5 * family, family % 2 == 1);
        texts.push(join(&first));
        let mut last = first.clone();
        for step in 0..4 {
            texts.push(join(&changed(&mut numbers, &first, step + 1)));
            last = changed(&mut numbers, &last, 1);
            texts.push(join(&last));
        }
    }
    // Mixed up, so that families lie across each other.
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&i| mix(seed ^ i as u64));
    order.into_iter().map(|i| texts[i].clone()).collect()
}

/// The bar of the defaults: of planted pairs at 0.8 and above 98% are found, and nothing below a half is dropped.
#[test]
fn planted_copies_are_found_and_near_misses_stay() {
    let mut numbers = Numbers(77);
    let (mut texts, mut planted) = (Vec::new(), BTreeSet::new());
    for pair in 0..600 {
        let first = units(&mut numbers, 150, pair % 2 == 0);
        let changes = 1 + pair / 2 % 8;
        let second = changed(&mut numbers, &first, changes);
        let (first, second) = (join(&first), join(&second));
        if (0.8..1.0).contains(&jaccard(&first, &second)) {
            planted.insert(texts.len() as u64 + 1);
        }
        texts.extend([first, second]);
    }
    let config = DedupConfig { near: Some(NearConfig::default()), ..Default::default() };
    let found = search(&documents(&texts), &config, PLENTY);
    let hits = found.drops.iter().filter(|drop| planted.contains(&drop.row)).count();
    assert!(planted.len() > 100 && hits as f64 >= 0.98 * planted.len() as f64, "{hits} of {}", planted.len());
    for drop in &found.drops {
        let truth = jaccard(&texts[drop.row as usize], &texts[drop.kept.unwrap() as usize]);
        assert!(truth >= 0.8 && (truth - drop.similarity).abs() < 1e-9, "{drop:?} has {truth}");
    }
}

#[test]
fn neither_threads_nor_memory_change_the_result() {
    let mut texts = families(5);
    texts.extend(families(5));
    let line =
        "A line that is found again and again, long enough to be cut wherever it is found for a second time. 又一行";
    texts.iter_mut().enumerate().for_each(|(i, text)| *text += &format!("\n{line} {}\n{line}", i % 40));
    let documents = documents(&texts);
    for alternative in [true, false] {
        let config = DedupConfig {
            near: alternative.then_some(NearConfig::default()),
            simhash: (!alternative).then_some(SimHashConfig::default()),
            paragraphs: Some(RepeatConfig { min_chars: 20 }),
            lines: Some(RepeatConfig { min_chars: 20 }),
            substring: Some(SubstringConfig { min_bytes: 50, ..Default::default() }),
            ..Default::default()
        };
        let run = |threads, part| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| search(&documents, &config, part))
        };
        let (one, two, spilled) = (run(1, PLENTY), run(2, PLENTY), run(2, 20_000));
        assert_eq!((one.summary.spilled_bytes, one.summary.clone()), (0, two.summary.clone()));
        assert!(spilled.summary.spilled_bytes > 0 && one.cuts.len() > 20);
        assert!(!alternative || one.drops.len() > 50);
        for other in [two, spilled] {
            assert_eq!((&one.drops, &one.cuts), (&other.drops, &other.cuts));
        }
    }
}

pub(super) fn texts(texts: &[&str]) -> Vec<Document> {
    texts.iter().map(|&text| Document::new(text, "s")).collect()
}

#[test]
fn the_rule_says_which_copy_stays() {
    let mut documents = texts(&["春眠不覺曉", "one", "春眠不覺曉", "春眠不覺曉"]);
    documents[2].metadata.insert("score".into(), 0.5.into());
    documents[3].metadata.insert("score".into(), 0.25.into());
    let run = |keep| drops(&search(&documents, &DedupConfig { keep, ..Default::default() }, PLENTY));
    use DuplicateKind::Exact;
    assert_eq!(run(KeepRule::First), [(2, Some(0), Exact), (3, Some(0), Exact)]);
    assert_eq!(run(KeepRule::Longest), [(2, Some(0), Exact), (3, Some(0), Exact)]);
    assert_eq!(run(KeepRule::Best("score".into())), [(0, Some(2), Exact), (3, Some(2), Exact)]);
}

#[test]
fn a_table_on_disk_gives_the_same_result() {
    let mut documents = documents(&families(8));
    documents.extend(documents.clone());
    for (row, document) in documents.iter_mut().enumerate().filter(|(row, _)| row % 3 > 0) {
        document.metadata.insert("score".into(), (row % 7).into());
    }
    for keep in [KeepRule::First, KeepRule::Longest, KeepRule::Best("score".into())] {
        let config = DedupConfig { keep, near: Some(near(0.6)), ..Default::default() };
        let [held, on_disk] = [PLENTY, 5000].map(|part| search(&documents, &config, part));
        assert!(held.drops.len() > 100 && held.summary.held_bytes > on_disk.summary.held_bytes);
        assert_eq!((held.drops, held.summary.largest), (on_disk.drops, on_disk.summary.largest));
    }
}

#[test]
fn a_copy_of_a_near_duplicate_goes_for_what_that_goes_for() {
    let mut numbers = Numbers(3);
    let first = units(&mut numbers, 100, true);
    let longer = [first.clone(), units(&mut numbers, 3, true)].concat();
    let documents = documents(&[join(&first), join(&first), join(&longer)]);
    let config = DedupConfig { near: Some(near(0.8)), keep: KeepRule::Longest, ..Default::default() };
    let found = search(&documents, &config, PLENTY);
    assert_eq!(drops(&found), [(0, Some(2), DuplicateKind::Near), (1, Some(2), DuplicateKind::Exact)]);
    assert_eq!(found.drops[1].of(), documents[2].id);
    let sizes: Vec<_> = found.summary.clusters.iter().map(|c| (c.size, c.clusters)).collect();
    assert_eq!(sizes, [(3, 1)]);
    let pairs: Vec<_> =
        found.summary.sources.iter().map(|p| (p.source.as_str(), p.kept_source.as_str(), p.documents)).collect();
    assert_eq!(pairs, [("a", "a", 1), ("b", "a", 1)]);
}

#[test]
fn simhash_finds_small_changes() {
    let mut numbers = Numbers(9);
    let mut all = Vec::new();
    for chinese in [true, false] {
        let first = units(&mut numbers, 20_000, chinese);
        all.extend([
            join(&first),
            join(&changed(&mut numbers, &first, 1)),
            join(&units(&mut numbers, 20_000, chinese)),
        ]);
    }
    let config = DedupConfig { simhash: Some(SimHashConfig::default()), ..Default::default() };
    let found = search(&documents(&all), &config, PLENTY);
    use DuplicateKind::Simhash;
    assert_eq!(drops(&found), [(1, Some(0), Simhash), (4, Some(3), Simhash)]);
    assert!(found.drops.iter().all(|drop| drop.similarity >= 61.0 / 64.0));
}

pub(super) fn left(found: &Duplicates, documents: &[Document]) -> Vec<String> {
    (0..)
        .zip(documents)
        .map(|(row, document)| match found.apply(row, document.clone()) {
            Outcome::Keep(document) => document.text,
            Outcome::Drop { reason, .. } => format!("dropped: {}", reason.code),
        })
        .collect()
}

#[test]
fn repeated_paragraphs_and_lines_stay_once() {
    let documents = texts(&[
        "春眠不覺曉，處處聞啼鳥。\nshort\n\nnew",
        "春眠不覺曉，處處聞啼鳥。\nshort\n\n夜來風雨聲，花落知多少。",
        "x\n  夜來風雨聲，花落知多少。\nshort",
        "夜來風雨聲，花落知多少。\n夜來風雨聲，花落知多少。",
        "花落\n春眠不覺曉，處處聞啼鳥。",
    ]);
    let some = Some(RepeatConfig { min_chars: 12 });
    let paragraphs = search(&documents, &DedupConfig { paragraphs: some, ..Default::default() }, PLENTY);
    let expected = ["春眠不覺曉，處處聞啼鳥。\nshort\n\nnew", "夜來風雨聲，花落知多少。"];
    assert_eq!(left(&paragraphs, &documents)[..2], expected);
    assert_eq!(paragraphs.cuts.len(), 1);
    let lines = search(&documents, &DedupConfig { lines: some, ..Default::default() }, PLENTY);
    let expected = [
        "春眠不覺曉，處處聞啼鳥。\nshort\n\nnew",
        "short\n\n夜來風雨聲，花落知多少。",
        "x\nshort",
        "dropped: duplicate_parts",
        "花落",
    ];
    assert_eq!(left(&lines, &documents), expected);
    let counts: Vec<_> = lines.summary.kinds.iter().map(|k| (k.kind, k.count, k.bytes)).collect();
    // 36 bytes a line; with its line break 37, and two spaces before one.
    assert_eq!(counts, [(DuplicateKind::Line, 5, 37 + 39 + 37 + 36 + 36)]);
}

#[test]
fn what_a_dropped_document_has_is_not_an_occurrence() {
    let documents =
        texts(&["the first line of all\nand more", "the first line of all\nand more", "the first line of all\nx"]);
    let config = DedupConfig {
        lines: Some(RepeatConfig { min_chars: 10 }),
        keep: KeepRule::Best("score".into()),
        ..Default::default()
    };
    let mut better = documents.clone();
    better[1].metadata.insert("score".into(), 1.into());
    let found = search(&better, &config, PLENTY);
    let expected = ["dropped: duplicate", "the first line of all\nand more", "x"];
    assert_eq!(left(&found, &better), expected);
}

#[test]
fn repeated_spans_are_cut_at_characters_and_stay_once() {
    let mut numbers = Numbers(4);
    let span = join(&units(&mut numbers, 40, true)); // 120 bytes
    // 一 (E4 B8 80) and 丁 (E4 B8 81) begin with the same two bytes, which must not be cut.
    let documents = texts(&[&format!("前{span}一"), &format!("abc {span}丁 def"), &format!("{}丁", &span[..60])]);
    let config =
        DedupConfig { substring: Some(SubstringConfig { min_bytes: 100, ..Default::default() }), ..Default::default() };
    let found = search(&documents, &config, PLENTY);
    assert_eq!(left(&found, &documents)[1..], ["abc 丁 def".to_string(), format!("{}丁", &span[..60])]);
    assert_eq!(found.cuts, [Cut { row: 1, bytes: 4..124, kind: DuplicateKind::Substring, first: 0 }]);
}

#[test]
fn too_much_for_the_suffix_array_is_an_error_with_the_remedy() {
    let mut numbers = Numbers(4);
    let text = join(&units(&mut numbers, 3000, true));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("documents.parquet");
    let mut writer = DocumentWriter::create(&path).unwrap();
    texts(&[&format!("a{text}"), &format!("b{text}")]).iter().for_each(|document| writer.write(document).unwrap());
    writer.finish().unwrap();
    let config = DedupConfig { substring: Some(SubstringConfig::default()), ..Default::default() };
    let budget = Budget { suffix_bytes: 40_000, ..Budget::new(&config, dir.path()) };
    let error = search_within(&path, &config, &budget, &quiet).err().unwrap().to_string();
    assert!(error.contains("clean.dedup.memory_mb to 2"), "{error}");
}

#[test]
fn earlier_runs_are_known_by_their_signatures() {
    let mut numbers = Numbers(21);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("documents.parquet");
    let run = |documents: &[Document], config: &DedupConfig, work: &str| {
        let mut writer = DocumentWriter::create(&path).unwrap();
        documents.iter().for_each(|document| writer.write(document).unwrap());
        writer.finish().unwrap();
        find_duplicates(&path, config, &dir.path().join(work), &quiet).unwrap()
    };
    let (old, own) = (units(&mut numbers, 200, true), units(&mut numbers, 200, false));
    let first = documents(&[join(&old), join(&own), "—".into(), join(&own)]);
    let save = DedupConfig { near: Some(NearConfig::default()), save_signatures: true, ..Default::default() };
    let saved = run(&first, &save, "one").signatures.unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("one")).unwrap().count(), 1, "only the signatures stay");

    let new = join(&units(&mut numbers, 200, true));
    let second = documents(&[join(&changed(&mut numbers, &old, 1)), new.clone(), join(&own), new, "—".into()]);
    let against = DedupConfig { against: vec![saved], save_signatures: false, ..save.clone() };
    let found = run(&second, &against, "two");
    use DuplicateKind::{Exact, ExactEarlier, NearEarlier};
    let expected = [(0, None, NearEarlier), (2, None, ExactEarlier), (3, Some(1), Exact), (4, None, ExactEarlier)];
    assert_eq!(drops(&found), expected);
    assert_eq!((found.drops[0].of(), found.drops[1].of()), (first[0].id.clone(), first[1].id.clone()));
    assert_eq!(std::fs::read_dir(dir.path().join("two")).unwrap().count(), 0);
}

#[test]
fn settings_out_of_range_are_named() {
    let check = |config: DedupConfig, key: &str| {
        let error = config.check().err().unwrap().to_string();
        assert!(error.contains(key), "{error}");
    };
    let near = |change: fn(&mut NearConfig)| {
        let mut near = NearConfig::default();
        change(&mut near);
        DedupConfig { near: Some(near), ..Default::default() }
    };
    check(near(|near| near.threshold = 0.0), "near.threshold");
    check(near(|near| near.threshold = f64::NAN), "near.threshold");
    check(near(|near| near.bands = 0), "near.bands");
    check(near(|near| near.ngram_chars = 0), "near.ngram_chars");
    check(DedupConfig { memory_mb: 10, ..Default::default() }, "memory_mb");
    check(DedupConfig { simhash: Some(SimHashConfig::default()), ..near(|_| {}) }, "simhash");
    check(DedupConfig { lines: Some(RepeatConfig { min_chars: 0 }), ..Default::default() }, "lines.min_chars");
    check(DedupConfig { save_signatures: true, ..Default::default() }, "save_signatures");
    let read = |text: &str| serde_json::from_str::<DedupConfig>(text);
    assert_eq!(read(r#"{"keep": {"best": "score"}, "near": {}}"#).unwrap().keep, KeepRule::Best("score".into()));
    assert_eq!(read("{}").unwrap(), DedupConfig::default());
    assert!(read(r#"{"nearly": {}}"#).is_err() && read(r#"{"near": {"band": 3}}"#).is_err());
}

/// Exact copies go first, then near ones, then those by SimHash; what each was dropped for may have gone in turn.
#[test]
fn what_a_copy_was_dropped_for_stays() {
    let drop = |row: u64, kind, kept: u64| Duplicate {
        row,
        kind,
        kept: Some(kept),
        similarity: 1.0 - kept as f64 / 10.0,
        kept_id: kept.into(),
    };
    let (exact, near, simhash) = (DuplicateKind::Exact, DuplicateKind::Near, DuplicateKind::Simhash);
    // Rows whose copy stays behind them, as with `keep = "longest"`, and before them.
    for [a, b, c, d] in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1]] {
        let mut drops = vec![drop(a, exact, b), drop(b, near, c), drop(c, simhash, d)];
        drops.sort_unstable_by_key(|duplicate| duplicate.row);
        follow(&mut drops);
        assert!(drops.iter().all(|one| one.kept == Some(d) && one.kept_id == u128::from(d)), "{drops:?}");
    }
}
