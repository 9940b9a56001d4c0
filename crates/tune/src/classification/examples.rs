//! Texts with labels, parted into what is trained on and what is measured on.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use danlu_data::{COLLECTED_FILE, Document, read_documents};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ExamplesConfig;
use crate::TuneError;
use crate::split::fraction;

/// A text and the number of its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    pub text: String,
    pub label: usize,
}

/// Examples by split. A text is in one split alone, whichever source it comes from.
#[derive(Clone, Debug, Default)]
pub struct Examples {
    /// In alphabetical order.
    pub labels: Vec<String>,
    pub train: Vec<Example>,
    pub valid: Vec<Example>,
    pub test: Vec<Example>,
    pub counts: ExampleCounts,
}

/// What became of the texts that were read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExampleCounts {
    pub read: u64,
    /// Without a label.
    pub unlabelled: u64,
    /// Texts that were there before, with the same label.
    pub repeated: u64,
    /// Texts that were there before with another label; the first stands.
    pub contradicting: u64,
    pub train: u64,
    pub valid: u64,
    pub test: u64,
    /// Examples of each label.
    pub labels: BTreeMap<String, u64>,
}

impl Examples {
    /// Reads the collected documents in `folder`.
    ///
    /// # Errors
    /// [`TuneError::NoLabels`], [`TuneError::OneLabel`], [`TuneError::EmptySplit`], and those of the table.
    pub fn read(folder: &Path, config: &ExamplesConfig) -> Result<Self, TuneError> {
        let (mut counts, mut seen) = (ExampleCounts::default(), BTreeMap::<String, String>::new());
        let mut kept: Vec<(f64, String, String)> = Vec::new();
        for document in read_documents(&folder.join(COLLECTED_FILE))? {
            let document = document?;
            counts.read += 1;
            let Some(label) = label_of(&document) else {
                counts.unlabelled += 1;
                continue;
            };
            match seen.get(&document.id) {
                Some(before) if *before == label => counts.repeated += 1,
                Some(_) => counts.contradicting += 1,
                None => {
                    kept.push((fraction(&document.id), document.text, label.clone()));
                    seen.insert(document.id, label);
                }
            }
        }
        let labels: Vec<String> =
            kept.iter().map(|kept| &kept.2).collect::<HashSet<_>>().into_iter().cloned().collect();
        let mut examples = Examples { labels, counts, ..Examples::default() };
        examples.labels.sort_unstable();
        examples.part(kept, config);
        examples.check()
    }

    fn part(&mut self, kept: Vec<(f64, String, String)>, config: &ExamplesConfig) {
        for (place, text, label) in kept {
            *self.counts.labels.entry(label.clone()).or_default() += 1;
            let Ok(label) = self.labels.binary_search(&label) else { continue };
            let split = match place {
                p if p < config.test => &mut self.test,
                p if p < config.test + config.valid => &mut self.valid,
                _ => &mut self.train,
            };
            split.push(Example { text, label });
        }
        let count = |split: &[Example]| split.len() as u64;
        (self.counts.train, self.counts.valid) = (count(&self.train), count(&self.valid));
        self.counts.test = count(&self.test);
    }

    fn check(self) -> Result<Self, TuneError> {
        let examples = self.counts.labels.values().sum();
        match self.labels.as_slice() {
            [] => return Err(TuneError::NoLabels { unlabelled: self.counts.unlabelled }),
            [one] => return Err(TuneError::OneLabel { label: one.clone(), examples }),
            _ => {}
        }
        for (split, held) in [("train", &self.train), ("valid", &self.valid), ("test", &self.test)] {
            if held.is_empty() {
                return Err(TuneError::EmptySplit { split, examples });
            }
        }
        Ok(self)
    }
}

/// A label as it is written: text, a number, or true and false.
fn label_of(document: &Document) -> Option<String> {
    match document.metadata.get("label")? {
        Value::String(label) if !label.trim().is_empty() => Some(label.trim().to_owned()),
        label @ (Value::Number(_) | Value::Bool(_)) => Some(label.to_string()),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use danlu_data::{DocumentWriter, SourceConfig};

    fn read(rows: &[(&str, Value)], share: f64) -> Result<Examples, TuneError> {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = DocumentWriter::create(&folder.path().join(COLLECTED_FILE)).unwrap();
        for (text, label) in rows {
            let mut document = Document::new(*text, "test");
            if !label.is_null() {
                document.metadata.insert("label".into(), label.clone());
            }
            writer.write(&document).unwrap();
        }
        writer.finish().unwrap();
        let sources = vec![SourceConfig::default()];
        Examples::read(folder.path(), &ExamplesConfig { sources, strict: false, valid: share, test: share })
    }

    #[test]
    fn texts_are_parted_once_and_counted() {
        let texts: Vec<String> = (0..300).map(|i| format!("text {i}")).collect();
        let mut rows: Vec<(&str, Value)> = texts
            .iter()
            .enumerate()
            .map(|(i, text)| (text.as_str(), Value::from(if i % 3 == 0 { "neg" } else { "pos" })))
            .collect();
        rows.push((&texts[0], "neg".into()));
        rows.push((&texts[1], "neg".into()));
        rows.push(("unlabelled", Value::Null));
        rows.push(("blank", " ".into()));
        let examples = read(&rows, 0.2).unwrap();
        let counts = &examples.counts;
        assert_eq!((counts.read, counts.unlabelled, counts.repeated, counts.contradicting), (304, 2, 1, 1));
        assert_eq!(counts.labels, BTreeMap::from([("neg".into(), 100), ("pos".into(), 200)]));
        assert_eq!(counts.train + counts.valid + counts.test, 300);
        assert!((40..=80).contains(&counts.test) && (40..=80).contains(&counts.valid), "{counts:?}");
        assert_eq!(examples.labels, ["neg", "pos"]);
        let all: HashSet<&str> =
            [&examples.train, &examples.valid, &examples.test].into_iter().flatten().map(|e| e.text.as_str()).collect();
        assert_eq!(all.len(), 300);
    }

    #[test]
    fn numbers_and_truth_are_labels_too() {
        let texts: Vec<String> = (0..100).map(|i| format!("text {i}")).collect();
        let rows: Vec<(&str, Value)> = texts
            .iter()
            .enumerate()
            .map(|(i, t)| (t.as_str(), if i % 2 == 0 { 1.into() } else { true.into() }))
            .collect();
        assert_eq!(read(&rows, 0.2).unwrap().labels, ["1", "true"]);
    }

    #[test]
    fn what_cannot_be_learnt_from_is_said() {
        let error = |rows: &[(&str, Value)]| read(rows, 0.2).unwrap_err();
        assert!(matches!(error(&[("a", Value::Null)]), TuneError::NoLabels { unlabelled: 1 }));
        assert!(matches!(error(&[("a", "x".into()), ("b", "x".into())]), TuneError::OneLabel { examples: 2, .. }));
        assert!(matches!(error(&[("a", "x".into()), ("b", "y".into())]), TuneError::EmptySplit { .. }));
    }
}
