//! Each search against its definition, applied to every pair or every part of small sets.

use std::collections::{BTreeMap, HashSet};

use super::*;
use crate::ngrams::Ngrams;

/// Duplicates by comparing all pairs: components of pairs that are alike, then in each the first that no kept one is like.
fn by_all_pairs(count: usize, like: impl Fn(usize, usize) -> Option<f64>) -> Vec<(u64, u64, f64)> {
    let mut component: Vec<usize> = (0..count).collect();
    for a in 0..count {
        for b in 0..a {
            if like(a, b).is_some() {
                let (from, to) = (component[a], component[b]);
                component.iter_mut().filter(|c| **c == from).for_each(|c| *c = to);
            }
        }
    }
    let (mut kept, mut dropped): (Vec<usize>, Vec<(u64, u64, f64)>) = (Vec::new(), Vec::new());
    for row in 0..count {
        let near =
            kept.iter().find_map(|&k| (component[k] == component[row]).then(|| like(k, row)).flatten().map(|s| (k, s)));
        match near {
            Some((k, similarity)) => dropped.push((row as u64, k as u64, similarity)),
            None => kept.push(row),
        }
    }
    dropped
}

fn found(found: &Duplicates) -> Vec<(u64, u64, f64)> {
    found.drops.iter().map(|d| (d.row, d.kept.unwrap(), d.similarity)).collect()
}

#[test]
fn near_duplicates_are_those_of_comparing_all_pairs() {
    for (seed, threshold) in [(1, 0.5), (1000, 0.6), (2000, 0.8)] {
        let texts = families(seed);
        let config = DedupConfig { exact: false, near: Some(near(threshold)), ..Default::default() };
        let like =
            |a: usize, b: usize| Some(jaccard(&texts[a], &texts[b])).filter(|&similarity| similarity >= threshold);
        let expected = by_all_pairs(texts.len(), like);
        assert!(expected.len() > 15, "the test has little to find: {expected:?}");
        assert_eq!(found(&search(&documents(&texts), &config, PLENTY)), expected, "at {threshold}");
    }
}

/// The hash by its definition: each bit is that of more than half of the n-grams.
fn majority(text: &str, config: &SimHashConfig) -> Vec<bool> {
    let (mut ngrams, mut hashes) = (Ngrams::default(), Vec::new());
    ngrams.read(text);
    ngrams.fingerprints(config.ngram(), &mut hashes);
    let set = |bit: u32| hashes.iter().filter(|&&hash| hash & (1 << bit) != 0).count();
    (0..64).map(|bit| set(bit) > hashes.len() / 2).collect()
}

#[test]
fn simhash_finds_all_pairs_within_the_distance() {
    // The longer a text, the fewer bits a changed word turns.
    for (distance, length) in [(1, 8000), (3, 3000), (8, 250)] {
        let config = SimHashConfig { distance, ..SimHashConfig::default() };
        let mut numbers = Numbers(u64::from(distance));
        let mut texts = Vec::new();
        for family in 0..10 {
            let first = units(&mut numbers, length, family % 2 == 1);
            texts.push(join(&first));
            texts.extend((0..6).map(|step| join(&changed(&mut numbers, &first, step / 2))));
        }
        let hashes: Vec<Vec<bool>> = texts.iter().map(|text| majority(text, &config)).collect();
        let like = |a: usize, b: usize| {
            let different = hashes[a].iter().zip(&hashes[b]).filter(|(a, b)| a != b).count();
            (different <= distance as usize).then(|| 1.0 - different as f64 / 64.0)
        };
        let expected = by_all_pairs(texts.len(), like);
        let inexact = expected.iter().filter(|(.., similarity)| *similarity < 1.0).count();
        assert!(inexact > 5 && expected.len() < texts.len() - 10, "the test has little to tell apart: {expected:?}");
        let search_for = DedupConfig { exact: false, simhash: Some(config), ..Default::default() };
        assert_eq!(found(&search(&documents(&texts), &search_for, PLENTY)), expected, "at {distance}");
    }
}

#[test]
fn of_equal_texts_the_best_stays() {
    let mut numbers = Numbers(11);
    let texts: Vec<String> = (0..200).map(|_| format!("春眠 {}", numbers.next(60))).collect();
    let mut documents = documents(&texts);
    let scores: Vec<u64> = texts.iter().map(|_| numbers.next(4)).collect();
    for (document, &score) in documents.iter_mut().zip(&scores) {
        document.metadata.insert("score".into(), score.into());
    }
    for (keep, best) in [(KeepRule::First, false), (KeepRule::Longest, false), (KeepRule::Best("score".into()), true)] {
        let mut expected = Vec::new();
        for row in 0..texts.len() {
            let copies = (0..texts.len()).filter(|&other| texts[other] == texts[row]);
            // Of the copies with the highest score the first.
            let kept = copies.min_by_key(|&copy| (if best { u64::MAX - scores[copy] } else { 0 }, copy)).unwrap();
            if kept != row {
                expected.push((row as u64, kept as u64, 1.0));
            }
        }
        assert!(expected.len() > 100);
        let config = DedupConfig { keep, ..Default::default() };
        assert_eq!(found(&search(&documents, &config, PLENTY)), expected);
    }
}

/// Texts of lines and blank lines out of few, so that they repeat within a document and among documents.
fn patchworks(seed: u64) -> Vec<String> {
    const LINES: [&str; 9] = [
        "春眠不覺曉，處處聞啼鳥。",
        "  夜來風雨聲，花落知多少。",
        "夜來風雨聲，花落知多少。",
        "The cat sat on the mat.",
        "The cat sat on the mat. ",
        "short",
        "短",
        "",
        " ",
    ];
    let mut numbers = Numbers(seed);
    let mut text = || {
        let lines: Vec<&str> = (0..numbers.next(9)).map(|_| LINES[numbers.next(LINES.len() as u64) as usize]).collect();
        // Something of its own, so that no two documents are equal.
        format!("{}\n{}", numbers.next(1 << 40), lines.join("\n"))
    };
    (0..500).map(|_| text()).collect()
}

/// What is left of the texts when every part that occurred before goes, where it is long enough.
fn without_repeats(texts: &[String], min_chars: usize, parts: impl Fn(&str) -> Vec<&str>) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut left = Vec::new();
    for text in texts {
        let all = parts(text);
        assert_eq!(all.concat(), *text, "parts make up the text");
        let stays = |part: &&str| part.trim().chars().count() < min_chars || seen.insert(part.trim().to_owned());
        let kept: Vec<&str> = all.iter().copied().filter(stays).collect();
        let whole = kept.len() == all.len();
        left.push(if whole { text.clone() } else { kept.concat().trim_end().to_owned() });
    }
    left
}

fn lines_of(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// A paragraph begins where a line follows a blank one, and takes the blank lines after it along.
fn paragraphs_of(text: &str) -> Vec<&str> {
    let lines = lines_of(text);
    let mut starts = vec![0];
    let mut at = 0;
    for pair in lines.windows(2) {
        at += pair[0].len();
        if pair[0].trim().is_empty() && !pair[1].trim().is_empty() {
            starts.push(at);
        }
    }
    starts.push(text.len());
    starts.windows(2).map(|ends| &text[ends[0]..ends[1]]).collect()
}

#[test]
fn repeated_lines_and_paragraphs_are_those_seen_before() {
    for (seed, min_chars) in [(1, 12), (2, 5), (3, 1)] {
        let texts = patchworks(seed);
        let documents = documents(&texts);
        let some = Some(RepeatConfig { min_chars });
        let lines = search(&documents, &DedupConfig { lines: some, ..Default::default() }, PLENTY);
        assert!(lines.cuts.len() > 100, "the test has little to find: {}", lines.cuts.len());
        assert_eq!(left(&lines, &documents), without_repeats(&texts, min_chars, lines_of), "lines of {min_chars}");
        let paragraphs = search(&documents, &DedupConfig { paragraphs: some, ..Default::default() }, PLENTY);
        assert!(paragraphs.cuts.len() > 20, "the test has little to find: {}", paragraphs.cuts.len());
        let expected = without_repeats(&texts, min_chars, paragraphs_of);
        assert_eq!(left(&paragraphs, &documents), expected, "paragraphs of {min_chars}");
    }
}

/// The share of each item's n-grams that a text has, by the words of the definition.
fn shares(text: &[String], items: &[Vec<String>], size: usize) -> BTreeMap<usize, f64> {
    let ngrams = |units: &[String]| units.windows(size).map(<[String]>::to_vec).collect::<HashSet<_>>();
    let of_text = ngrams(text);
    let share = |(number, item): (usize, &Vec<String>)| {
        let of_item = ngrams(item);
        let common = of_item.intersection(&of_text).count();
        (common > 0).then(|| (number, common as f64 / of_item.len() as f64))
    };
    items.iter().enumerate().filter_map(share).collect()
}

#[test]
fn contamination_is_every_ngram_in_common() {
    for (chinese, size, min_share) in [(false, 4, 0.0), (true, 4, 0.0), (false, 3, 0.25), (true, 3, 0.25)] {
        let mut numbers = Numbers(40 + size as u64);
        // Few different units, so that n-grams meet by chance.
        let mut text = |count: usize| -> Vec<String> {
            let all = units(&mut Numbers(0), 8, chinese);
            (0..count).map(|_| all[numbers.next(8) as usize].clone()).collect()
        };
        let items: Vec<Vec<String>> = (0..12).map(|_| text(size + 6)).collect();
        let texts: Vec<Vec<String>> = (0..60).map(|_| text(40)).collect();
        let dir = tempfile::tempdir().unwrap();
        let lines = items.iter().map(|item| serde_json::json!({ "text": join(item) }).to_string());
        std::fs::write(dir.path().join("exam.jsonl"), lines.collect::<Vec<_>>().join("\n")).unwrap();
        let set = crate::SourceConfig { name: "exam".into(), path: "exam.jsonl".into(), ..Default::default() };
        let (ngram_words, ngram_chars) = (size as u32, size as u32);
        let config =
            crate::DecontaminateConfig { sets: vec![set], ngram_words, ngram_chars, min_share, ..Default::default() };
        let decontaminator = crate::Decontaminator::read(&config, dir.path()).unwrap();
        let mut hit = 0;
        for text in &texts {
            let hits = decontaminator.hits(&Document::new(join(text), "s"));
            let found: Vec<(String, f64)> = hits.into_iter().map(|hit| (hit.item, hit.share)).collect();
            let expected: Vec<(String, f64)> = shares(text, &items, size)
                .into_iter()
                .filter(|(_, share)| *share >= min_share)
                .map(|(number, share)| (format!("exam exam.jsonl:{}", number + 1), share))
                .collect();
            assert_eq!(found, expected);
            hit += usize::from(!found.is_empty());
        }
        assert!((5..60).contains(&hit), "{hit} of 60 are hit: the test has little to tell apart");
    }
}
