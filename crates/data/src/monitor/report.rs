//! Everything that a page about data may say, gathered from artifacts.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use danlu_store::{Artifact, Manifest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::contamination::ContaminationReport;
use super::drift::Drift;
use super::duplicates::DuplicateReport;
use super::licenses::LicenseCard;
use super::snapshot::{SampledDocument, Snapshot};
use crate::files::{Row, document_files, read_rows};
use crate::permutation::mix;
use crate::provenance::Place;
use crate::{DataError, Document, FUNNEL_FILE, Funnel};

/// Samples of each reason for which documents were dropped.
const DROPS_EACH: usize = 3;
/// Changed documents that are shown.
const CHANGES: usize = 8;
/// Documents whose originals are looked for, about.
const LOOKED_AT: u64 = 2000;
/// Longer texts are not compared: what changed in them would not be seen on a page.
const COMPARED_BYTES: usize = 20_000;
/// Characters of a sample.
const EXCERPT: usize = 400;

/// Everything that [`data_page`](super::data_page) may show. What is not known is empty and left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataReport {
    /// The run or the files.
    pub title: String,
    pub card: DataCard,
    pub funnel: Option<Funnel>,
    /// Some documents of each reason for which they were dropped.
    pub dropped: Vec<DroppedSample>,
    /// Some kept documents that cleaning changed.
    pub changes: Vec<Change>,
    pub snapshot: Snapshot,
    pub outliers: Vec<Outliers>,
    /// What the search for duplicates found; taken out of the funnel.
    pub duplicates: Option<DuplicateReport>,
    /// What of evaluation sets was found.
    #[serde(default)]
    pub contamination: Option<ContaminationReport>,
    pub drift: Option<Drift>,
}

/// Where data is from and what was done to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DataCard {
    pub sources: Vec<SourceCard>,
    /// The licences of the kept documents, by source.
    pub licenses: Vec<LicenseCard>,
    /// The resolved settings of cleaning.
    pub filters: Value,
    /// Stage -> key of the artifacts that the documents are in.
    pub artifacts: BTreeMap<String, String>,
    /// When the documents were collected, RFC 3339.
    pub collected: Option<String>,
    /// The command that printed the report.
    pub command: String,
    pub danlu_version: String,
}

/// A source as the recipe names it, with what was read of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceCard {
    pub name: String,
    pub path: String,
    /// As the recipe says; unknown where it does not.
    pub license: Option<String>,
    pub files: u64,
    pub documents: u64,
    pub bytes: u64,
    pub problems: u64,
    /// Content hashes of the source's files.
    pub hashes: BTreeMap<String, String>,
}

/// A dropped document with the reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DroppedSample {
    pub step: String,
    pub reason: String,
    pub detail: String,
    #[serde(flatten)]
    pub document: SampledDocument,
}

/// What cleaning changed in a document, as lines of a diff.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub id: String,
    pub original_id: String,
    pub source: String,
    pub language: String,
    /// Lines that begin with `- ` (before), `+ ` (after) or two spaces (around them).
    pub diff: Vec<String>,
}

/// Where a statistic's outliers begin, by three rules, and what share of documents lies beyond.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outliers {
    pub statistic: String,
    /// Below Q1 - 1.5 IQR or above Q3 + 1.5 IQR (Tukey 1977).
    pub iqr: Fence,
    /// More than three standard deviations from the mean.
    pub z: Fence,
    /// More than 3.5 / 0.6745 median absolute deviations from the median (Iglewicz and Hoaglin 1993).
    pub mad: Fence,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fence {
    pub low: f64,
    pub high: f64,
    /// Share of documents beyond.
    pub outside: f64,
}

impl DataReport {
    /// A report of a snapshot alone.
    pub fn of_snapshot(title: impl Into<String>, command: impl Into<String>, snapshot: Snapshot) -> Self {
        let licenses = snapshot.licenses.cards(&BTreeMap::new());
        let card = DataCard { command: command.into(), danlu_version: version(), licenses, ..Default::default() };
        Self {
            title: title.into(),
            card,
            funnel: None,
            dropped: Vec::new(),
            changes: Vec::new(),
            outliers: outliers(&snapshot),
            snapshot,
            duplicates: None,
            contamination: None,
            drift: None,
        }
    }

    /// Adds what the artifacts of cleaning and collecting know of the documents.
    ///
    /// # Errors
    /// Files of the artifacts that cannot be read.
    pub fn with_artifacts(mut self, clean: &Artifact, collect: Option<&Artifact>) -> Result<Self, DataError> {
        let mut funnel: Funnel = read_json(&clean.path.join(FUNNEL_FILE))?;
        self.duplicates = DuplicateReport::of(&clean.path, &mut funnel)?;
        self.funnel = Some(funnel);
        self.dropped = dropped(&clean.path, self.snapshot.config.seed)?;
        self.contamination = ContaminationReport::of(clean, self.snapshot.config.seed)?;
        self.card.filters = clean.manifest.config.clone();
        self.card.artifacts.insert(clean.manifest.stage.clone(), clean.manifest.key.clone());
        if let Some(collect) = collect {
            self.card.artifacts.insert(collect.manifest.stage.clone(), collect.manifest.key.clone());
            self.card.collected = Some(collect.manifest.created.clone());
            self.card.sources = sources(&collect.manifest);
            self.changes = changes(&clean.path, &collect.path, self.snapshot.total.documents)?;
        }
        Ok(self)
    }

    /// Adds the licences that the recipe states of its sources ([`stated_licenses`](crate::stated_licenses)); artifacts do
    /// not hold them.
    #[must_use]
    pub fn with_licenses(mut self, stated: &BTreeMap<String, String>) -> Self {
        self.card.licenses = self.snapshot.licenses.cards(stated);
        for source in &mut self.card.sources {
            source.license = stated.get(&source.name).cloned();
        }
        self
    }
}

fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

pub(super) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, DataError> {
    let bytes = std::fs::read(path).map_err(|e| DataError::io("read", path, e))?;
    serde_json::from_slice(&bytes).map_err(|e| DataError::io("read", path, e.into()))
}

/// The sources of a collect artifact: its config names them, its summary counts them.
fn sources(manifest: &Manifest) -> Vec<SourceCard> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let card = |source: &Value| {
        let name = text(&source["name"]);
        let counts = &manifest.summary["sources"][&name];
        let count = |key: &str| counts[key].as_u64().unwrap_or(0);
        let files = manifest.config["files"][&name].as_object();
        SourceCard {
            path: text(&source["path"]),
            files: count("files"),
            documents: count("documents"),
            bytes: count("bytes"),
            problems: count("problems"),
            hashes: files.into_iter().flatten().map(|(file, hash)| (file.clone(), text(hash))).collect(),
            license: None,
            name,
        }
    };
    manifest.config["sources"].as_array().map_or_else(Vec::new, |all| all.iter().map(card).collect())
}

/// A few documents of each reason, drawn evenly.
fn dropped(dir: &Path, seed: u64) -> Result<Vec<DroppedSample>, DataError> {
    let mut drawn: BTreeMap<(String, String), BTreeMap<(u64, u64), DroppedSample>> = BTreeMap::new();
    for (_, path) in document_files(dir).into_iter().filter(|(name, _)| *name == "dropped") {
        let mut number = 0;
        read_rows(&path, &mut |Row { document, fate }| {
            number += 1;
            let Some(fate) = fate else { return Ok(()) };
            let of_reason = drawn.entry((fate.step.clone(), fate.reason.clone())).or_default();
            let draw = (mix(seed ^ mix(document.id_number() as u64) ^ mix(number)), number);
            if of_reason.len() < DROPS_EACH || of_reason.last_key_value().is_some_and(|(&last, _)| draw < last) {
                let (step, reason, detail) = (fate.step, fate.reason, fate.detail);
                of_reason.insert(draw, DroppedSample { step, reason, detail, document: sampled(&document) });
            }
            if of_reason.len() > DROPS_EACH {
                of_reason.pop_last();
            }
            Ok(())
        })?;
    }
    Ok(drawn.into_values().flat_map(BTreeMap::into_values).collect())
}

fn sampled(document: &Document) -> SampledDocument {
    let (id, source, language) = (document.id.clone(), document.source.clone(), document.language.clone());
    let end = document.text.char_indices().nth(EXCERPT).map_or(document.text.len(), |(end, _)| end);
    SampledDocument { id, source, language, text: document.text[..end].into() }
}

/// Kept documents beside their originals, found by the place they were read from. Looks at an even share of the places.
fn changes(clean: &Path, collect: &Path, kept: u64) -> Result<Vec<Change>, DataError> {
    let looked_at = |place: &Place| place.number() % kept.max(1) < LOOKED_AT.max(1);
    let mut found: HashMap<Place, Option<Document>> = HashMap::new();
    for (_, path) in document_files(clean).into_iter().filter(|(name, _)| *name != "dropped") {
        read_rows(&path, &mut |Row { document, .. }| {
            if let Some(place) = Place::of(&document).filter(looked_at)
                && document.text.len() <= COMPARED_BYTES
            {
                // Two documents of one place: it cannot be told which one was the original.
                found.entry(place).and_modify(|known| *known = None).or_insert(Some(document));
            }
            Ok(())
        })?;
    }
    let mut changes: BTreeMap<u64, Change> = BTreeMap::new();
    for (_, path) in document_files(collect) {
        read_rows(&path, &mut |Row { document: original, .. }| {
            let Some(place) = Place::of(&original).filter(looked_at) else { return Ok(()) };
            let Some(Some(document)) = found.get(&place) else { return Ok(()) };
            if document.id != original.id && original.text.len() <= COMPARED_BYTES {
                let draw = mix(place.number());
                if changes.len() < CHANGES || changes.last_key_value().is_some_and(|(&last, _)| draw < last) {
                    changes.insert(draw, change(&original, document));
                }
                if changes.len() > CHANGES {
                    changes.pop_last();
                }
            }
            Ok(())
        })?;
    }
    Ok(changes.into_values().collect())
}

fn change(original: &Document, document: &Document) -> Change {
    Change {
        id: document.id.clone(),
        original_id: original.id.clone(),
        source: document.source.clone(),
        language: document.language.clone(),
        diff: diff(&original.text, &document.text),
    }
}

/// The lines that differ, with one line around them, and characters that cannot be seen made visible.
fn diff(before: &str, after: &str) -> Vec<String> {
    /// Lines of a diff that are shown.
    const LINES: usize = 24;
    let diff = similar::TextDiff::from_lines(before, after);
    let mut lines = Vec::new();
    for group in diff.grouped_ops(1) {
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                similar::ChangeTag::Delete => "- ",
                similar::ChangeTag::Insert => "+ ",
                similar::ChangeTag::Equal => "  ",
            };
            lines.push(format!("{sign}{}", visible(change.value())));
        }
    }
    let more = lines.len().saturating_sub(LINES);
    lines.truncate(LINES);
    if more > 0 {
        lines.push(format!("  … {more}"));
    }
    lines
}

/// White space other than single spaces, and control characters, as escapes; long lines cut.
fn visible(line: &str) -> String {
    /// Characters of a line.
    const WIDTH: usize = 160;
    let line = line.strip_suffix('\n').unwrap_or(line);
    let mut out = String::new();
    for (number, c) in line.chars().enumerate() {
        if number == WIDTH {
            out.push('…');
            break;
        }
        let plain =
            c == ' ' || !(c.is_whitespace() || c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}'));
        match c {
            _ if plain => out.push(c),
            _ => out.extend(c.escape_default()),
        }
    }
    let solid = out.trim_end_matches(' ').len();
    let trailing = out.len() - solid;
    out.truncate(solid);
    out.push_str(&"·".repeat(trailing));
    out
}

fn outliers(snapshot: &Snapshot) -> Vec<Outliers> {
    let names: std::collections::BTreeSet<&String> = snapshot.groups.iter().flat_map(|g| g.statistics.keys()).collect();
    let of = |&statistic: &&String| {
        let all = snapshot.distribution(statistic, |_| true);
        let (q1, median, q3) = (all.quantile(0.25), all.quantile(0.5), all.quantile(0.75));
        let (mean, spread, mad) = (all.mean(), all.standard_deviation(), all.median_deviation());
        let fence = |low: f64, high: f64| Fence { low, high, outside: all.share_outside(low, high) };
        Outliers {
            statistic: statistic.clone(),
            iqr: fence(q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)),
            z: fence(mean - 3.0 * spread, mean + 3.0 * spread),
            mad: fence(median - 3.5 / 0.6745 * mad, median + 3.5 / 0.6745 * mad),
        }
    };
    names.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_shows_what_cannot_be_seen() {
        let before = "same\n床前明月光  \nold\u{a0}line\nsame\nsame\nsame";
        let after = "same\n床前明月光\nold line\nsame\nsame\nsame";
        let expect = ["  same", "- 床前明月光··", "- old\\u{a0}line", "+ 床前明月光", "+ old line", "  same"];
        assert_eq!(diff(before, after), expect);
        assert!(diff("a", "a").is_empty());
    }
}
