//! The rules of every preset against documents of `presets/`: one that passes, and for each rule one that it drops.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{quiet, write_documents};
use danlu_data::{
    CleanConfig, Dedup, Document, RuleConfig, ShowFilter, SplitConfig, clean, preset_names, preset_text, show,
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Goldens {
    documents: Vec<Golden>,
}

/// A document, and which rules hold of it, in the order of the preset.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    holds: Vec<String>,
    text: String,
}

#[derive(Deserialize)]
struct Preset {
    rules: Vec<RuleConfig>,
}

fn goldens(preset: &str) -> Vec<Golden> {
    let path = format!("{}/tests/presets/{preset}.toml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut goldens = toml::from_str::<Goldens>(&text).unwrap_or_else(|e| panic!("{path}: {e}")).documents;
    if preset == "gopher" {
        goldens.push(Golden { holds: vec!["gopher_too_long".into()], text: hundred_thousand_words() });
    }
    goldens
}

/// One more than 100,000, no two the same but for "the" and "of", ten a line.
fn hundred_thousand_words() -> String {
    let lines = (0..10_000).map(|line| {
        let words: Vec<String> = (0..10).map(|word| format!("w{:05}", line * 10 + word)).collect();
        words.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n") + " the of"
}

fn rules(preset: &str) -> Vec<String> {
    let preset: Preset = toml::from_str(preset_text(preset).unwrap()).unwrap();
    preset.rules.into_iter().map(|rule| rule.name).collect()
}

/// The preset and nothing else that could drop a document.
fn config(preset: &str) -> CleanConfig {
    CleanConfig {
        min_chars: 0,
        max_symbol_ratio: 1.0,
        max_repeated_line_ratio: 1.0,
        dedup: Dedup::Exact(false),
        preset: vec![preset.into()],
        ..CleanConfig::default()
    }
}

/// With all of its rules but one switched off.
fn only(preset: &str, wanted: &str) -> CleanConfig {
    let off = |name: String| RuleConfig { name, drop_if: String::new() };
    let others = rules(preset).into_iter().filter(|name| name != wanted).map(off).collect();
    CleanConfig { rules: others, ..config(preset) }
}

/// Why documents are dropped, by their number.
fn reasons(dir: &Path, goldens: &[Golden], config: &CleanConfig) -> BTreeMap<usize, String> {
    // The source says which document it is, whatever repair makes of the text.
    let documents: Vec<Document> =
        goldens.iter().enumerate().map(|(number, golden)| Document::new(&golden.text, number.to_string())).collect();
    let out = dir.join("clean");
    clean(&write_documents(dir, &documents), config, &SplitConfig { valid: 0.0, test: 0.0 }, &out, &quiet).unwrap();
    let dropped = show(&out, &ShowFilter { split: Some("dropped".into()), ..ShowFilter::default() }).unwrap();
    dropped.into_iter().map(|shown| (shown.document.source.parse().unwrap(), shown.reason.unwrap())).collect()
}

#[test]
fn a_document_is_dropped_by_the_first_rule_that_holds() {
    let dir = tempfile::tempdir().unwrap();
    for preset in preset_names() {
        let goldens = goldens(preset);
        let expect: BTreeMap<usize, String> = goldens
            .iter()
            .enumerate()
            .filter_map(|(number, golden)| Some((number, golden.holds.first()?.clone())))
            .collect();
        assert_eq!(reasons(dir.path(), &goldens, &config(preset)), expect, "{preset}");
    }
}

#[test]
fn no_other_rules_hold_than_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for preset in preset_names() {
        let goldens = goldens(preset);
        for rule in rules(preset) {
            let found: Vec<usize> = reasons(dir.path(), &goldens, &only(preset, &rule)).into_keys().collect();
            let named = goldens.iter().enumerate().filter(|(_, golden)| golden.holds.contains(&rule));
            assert_eq!(found, named.map(|(number, _)| number).collect::<Vec<_>>(), "{preset}: {rule}");
        }
    }
}

#[test]
fn every_rule_is_some_documents_reason() {
    for preset in preset_names() {
        let goldens = goldens(preset);
        assert!(goldens.iter().any(|golden| golden.holds.is_empty()), "{preset} has no document that passes");
        let reasons: Vec<&String> = goldens.iter().filter_map(|golden| golden.holds.first()).collect();
        for rule in rules(preset) {
            assert!(reasons.contains(&&rule), "{preset}: no document for {rule}");
        }
        for named in goldens.iter().flat_map(|golden| &golden.holds) {
            assert!(rules(preset).contains(named), "{preset} has no rule {named}");
        }
    }
}
