//! What of evaluation sets was found in documents, set by set, and what some of it looks like.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use danlu_store::Artifact;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::compare::{Mark, Piece};
use super::report::read_json;
use crate::files::{Row, document_files, read_rows};
use crate::permutation::mix;
use crate::{CONTAMINATION_FILE, Contamination, ContaminationHit, DataError};

/// Hits of each set that are shown, in different documents.
const SHOWN: usize = 3;
/// Characters of a document before and after what it shares.
const AROUND: usize = 160;

/// What a run found of its evaluation sets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContaminationReport {
    /// Documents that were looked at.
    pub documents: u64,
    /// Those with a piece of some set.
    pub contaminated: u64,
    pub sets: Vec<SetReport>,
}

/// What was found of one set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SetReport {
    pub name: String,
    /// Documents with a piece of it.
    pub documents: u64,
    /// Items of it that are in some document.
    pub items: u64,
    /// Items too short to be looked for.
    pub too_short: u64,
    /// Drawn evenly from the documents.
    pub samples: Vec<HitSample>,
}

/// An item in a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HitSample {
    #[serde(flatten)]
    pub hit: ContaminationHit,
    /// What both have, with what the document has around it, if its text is still there.
    pub pieces: Vec<Piece>,
}

impl ContaminationReport {
    /// Of an artifact of cleaning; none where no evaluation sets were asked for.
    pub(super) fn of(clean: &Artifact, seed: u64) -> Result<Option<Self>, DataError> {
        let path = clean.path.join(CONTAMINATION_FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let found: Contamination = read_json(&path)?;
        let names = names(&clean.manifest.config);
        let all = names.iter().chain(found.too_short.keys());
        let mut by_set: BTreeMap<&str, Vec<&ContaminationHit>> = all.map(|name| (name.as_str(), Vec::new())).collect();
        for hit in &found.hits {
            by_set.entry(set_of(&hit.item, &names)).or_default().push(hit);
        }
        let drawn: BTreeMap<&str, Vec<&ContaminationHit>> =
            by_set.iter().map(|(name, hits)| (*name, drawn(hits, seed))).collect();
        let texts = texts(&clean.path, drawn.values().flatten().map(|hit| hit.document.as_str()))?;
        let set = |(name, hits): (&str, &Vec<&ContaminationHit>)| SetReport {
            name: name.into(),
            documents: count(hits.iter().map(|hit| hit.document.as_str())),
            items: count(hits.iter().map(|hit| hit.item.as_str())),
            too_short: found.too_short.get(name).copied().unwrap_or(0),
            samples: drawn[name].iter().map(|hit| sample(hit, &texts)).collect(),
        };
        let sets = by_set.iter().map(|(name, hits)| set((*name, hits))).collect();
        Ok(Some(Self { documents: found.documents, contaminated: found.contaminated, sets }))
    }
}

/// The names of the evaluation sets in the settings of cleaning.
fn names(config: &Value) -> Vec<String> {
    let sets = config["clean"]["decontaminate"]["sets"].as_array();
    sets.into_iter().flatten().filter_map(|set| Some(set["name"].as_str()?.to_owned())).collect()
}

/// The set that an item is of: items are called "SET FILE:LINE".
fn set_of<'a>(item: &'a str, names: &[String]) -> &'a str {
    let is_of = |name: &&String| item.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with(' '));
    match names.iter().filter(is_of).map(String::len).max() {
        Some(length) => &item[..length],
        None => item.split(' ').next().unwrap_or(item),
    }
}

fn count<'a>(all: impl Iterator<Item = &'a str>) -> u64 {
    all.collect::<BTreeSet<&str>>().len() as u64
}

/// Some hits, in different documents.
fn drawn<'a>(hits: &[&'a ContaminationHit], seed: u64) -> Vec<&'a ContaminationHit> {
    let mut all: BTreeMap<(u64, &str), &'a ContaminationHit> = BTreeMap::new();
    for &hit in hits {
        let number = u128::from_str_radix(&hit.document, 16).unwrap_or(0);
        all.entry((mix(seed ^ mix(number as u64)), hit.document.as_str())).or_insert(hit);
    }
    all.into_values().take(SHOWN).collect()
}

/// The texts of some documents, as far as they were kept.
fn texts<'a>(dir: &Path, ids: impl Iterator<Item = &'a str>) -> Result<HashMap<String, String>, DataError> {
    let wanted: BTreeSet<&str> = ids.collect();
    let mut texts = HashMap::new();
    if wanted.is_empty() {
        return Ok(texts);
    }
    for (_, path) in document_files(dir) {
        read_rows(&path, &mut |Row { document, .. }| {
            if wanted.contains(document.id.as_str()) {
                texts.insert(document.id, document.text);
            }
            Ok(())
        })?;
    }
    Ok(texts)
}

fn sample(hit: &ContaminationHit, texts: &HashMap<String, String>) -> HitSample {
    let text = texts.get(&hit.document).map_or("", String::as_str);
    HitSample { hit: hit.clone(), pieces: pieces(&hit.ngram, text) }
}

/// What is shared, between the ends of what is around it.
fn pieces(shared: &str, text: &str) -> Vec<Piece> {
    let (before, after) = text.split_once(shared).unwrap_or_default();
    let start = before.char_indices().rev().take(AROUND).last().map_or(before.len(), |(at, _)| at);
    let end = after.char_indices().nth(AROUND).map_or(after.len(), |(at, _)| at);
    let dots = |more: bool| if more { "…" } else { "" };
    let pieces = [
        (Mark::First, format!("{}{}", dots(start > 0), &before[start..])),
        (Mark::Both, shared.to_owned()),
        (Mark::First, format!("{}{}", &after[..end], dots(end < after.len()))),
    ];
    pieces.into_iter().filter(|(_, text)| !text.is_empty()).map(|(mark, text)| Piece { mark, text }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_names_its_set() {
        let names = ["gsm8k", "gsm8k hard"].map(str::to_owned);
        assert_eq!(set_of("gsm8k test.jsonl:1", &names), "gsm8k");
        assert_eq!(set_of("gsm8k hard test.jsonl:1", &names), "gsm8k hard");
        assert_eq!(set_of("mmlu test.jsonl:1", &names), "mmlu", "of settings that are not known");
    }

    #[test]
    fn what_is_shared_stands_in_its_surroundings() {
        let told = |shared: &str, text: &str| -> Vec<String> {
            let mark = |piece: Piece| if piece.mark == Mark::Both { format!("[{}]", piece.text) } else { piece.text };
            pieces(shared, text).into_iter().map(mark).collect()
        };
        assert_eq!(told("明月", "床前明月光"), ["床前", "[明月]", "光"]);
        assert_eq!(told("明月", ""), ["[明月]"]);
        assert_eq!(told("明月", "明月"), ["[明月]"]);
        let long = format!("{0}明月{0}", "春".repeat(AROUND + 1));
        let around = "春".repeat(AROUND);
        assert_eq!(told("明月", &long), [format!("…{around}"), "[明月]".into(), format!("{around}…")]);
    }
}
