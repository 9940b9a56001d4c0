//! Texts with their translations, parted into what is trained on and what is measured on.

use std::collections::HashSet;
use std::path::Path;

use danlu_data::{COLLECTED_FILE, read_documents};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::PairsConfig;
use crate::TuneError;
use crate::split::fraction;

/// A text and its translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub source: String,
    pub target: String,
}

/// Pairs by split. A source text is in one split alone.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    pub train: Vec<Pair>,
    pub valid: Vec<Pair>,
    pub test: Vec<Pair>,
    pub counts: PairCounts,
}

/// What became of the texts that were read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairCounts {
    pub read: u64,
    /// Without a translation.
    pub untranslated: u64,
    /// Source texts that were there before; the first translation stands.
    pub repeated: u64,
    pub train: u64,
    pub valid: u64,
    pub test: u64,
}

impl Pairs {
    /// Reads the collected documents in `folder`.
    ///
    /// # Errors
    /// [`TuneError::NoTranslations`], [`TuneError::EmptySplit`], and those of the table.
    pub fn read(folder: &Path, config: &PairsConfig) -> Result<Self, TuneError> {
        let (mut pairs, mut seen) = (Pairs::default(), HashSet::new());
        for document in read_documents(&folder.join(COLLECTED_FILE))? {
            let document = document?;
            pairs.counts.read += 1;
            let Some(target) = translation(document.metadata.get(&config.target_field)) else {
                pairs.counts.untranslated += 1;
                continue;
            };
            let place = fraction(&document.id);
            if !seen.insert(document.id) {
                pairs.counts.repeated += 1;
                continue;
            }
            let split = match place {
                p if p < config.test => &mut pairs.test,
                p if p < config.test + config.valid => &mut pairs.valid,
                _ => &mut pairs.train,
            };
            split.push(Pair { source: document.text, target });
        }
        pairs.check(config)
    }

    fn check(mut self, config: &PairsConfig) -> Result<Self, TuneError> {
        let all = [("train", &self.train), ("valid", &self.valid), ("test", &self.test)];
        let examples = all.iter().map(|(_, held)| held.len() as u64).sum();
        if examples == 0 {
            return Err(TuneError::NoTranslations { read: self.counts.read, field: config.target_field.clone() });
        }
        if let Some((split, _)) = all.into_iter().find(|(_, held)| held.is_empty()) {
            return Err(TuneError::EmptySplit { split, examples });
        }
        let count = |split: &[Pair]| split.len() as u64;
        (self.counts.train, self.counts.valid) = (count(&self.train), count(&self.valid));
        self.counts.test = count(&self.test);
        Ok(self)
    }
}

fn translation(field: Option<&Value>) -> Option<String> {
    field.and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use danlu_data::{Document, DocumentWriter};

    fn read(rows: &[(&str, Value)]) -> Result<Pairs, TuneError> {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = DocumentWriter::create(&folder.path().join(COLLECTED_FILE)).unwrap();
        for (text, target) in rows {
            let mut document = Document::new(*text, "test");
            document.metadata.insert("zh".into(), target.clone());
            writer.write(&document).unwrap();
        }
        writer.finish().unwrap();
        let config = PairsConfig { target_field: "zh".into(), valid: 0.2, test: 0.2, ..PairsConfig::default() };
        Pairs::read(folder.path(), &config)
    }

    #[test]
    fn sources_are_parted_once_and_counted() {
        let sources: Vec<String> = (0..200).map(|i| format!("text {i}")).collect();
        let mut rows: Vec<(&str, Value)> = sources.iter().map(|text| (text.as_str(), "文 ".into())).collect();
        rows.extend([(sources[0].as_str(), "另一文".into()), ("no", Value::Null), ("blank", " ".into())]);
        let pairs = read(&rows).unwrap();
        let counts = &pairs.counts;
        assert_eq!((counts.read, counts.untranslated, counts.repeated), (203, 2, 1));
        assert_eq!(counts.train + counts.valid + counts.test, 200);
        assert!((20..=60).contains(&counts.test) && (20..=60).contains(&counts.valid), "{counts:?}");
        let of = |split: &[Pair]| split.iter().map(|pair| pair.source.clone()).collect::<HashSet<_>>();
        assert!(of(&pairs.train).is_disjoint(&of(&pairs.test)) && of(&pairs.valid).is_disjoint(&of(&pairs.test)));
        assert!(pairs.train.iter().all(|pair| pair.target == "文"));
    }

    #[test]
    fn what_cannot_be_learnt_from_is_said() {
        let none = read(&[("a", Value::Null)]).unwrap_err();
        assert!(matches!(&none, TuneError::NoTranslations { read: 1, field } if field == "zh"));
        assert!(matches!(read(&[("a", "一".into())]).unwrap_err(), TuneError::EmptySplit { .. }));
    }
}
