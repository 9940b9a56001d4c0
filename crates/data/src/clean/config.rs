use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use danlu_text::Transform;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::outliers::OutlierConfig;
use super::rules;
use crate::conversation::is_reserved;
use crate::{DataError, DecontaminateConfig, DedupConfig, Document, source_state};

/// What to keep, and what to change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CleanConfig {
    /// Shorter documents are dropped (in characters, after repair).
    pub min_chars: usize,
    /// Longer ones too.
    pub max_chars: usize,
    /// The largest share of characters, white space aside, that are neither letters nor digits.
    pub max_symbol_ratio: f64,
    /// The largest share of characters in lines that repeat an earlier line of the document.
    pub max_repeated_line_ratio: f64,
    /// Keep these languages only (ISO 639-1, "und" for unknown); all when empty.
    pub languages: Vec<String>,
    /// `true` keeps only the first of documents with the same repaired text, across all sources; a table finds near
    /// duplicates, repeated parts and documents of earlier runs too.
    pub dedup: Dedup,
    /// Keep dropped documents, with their reasons, for `danlu data show`.
    pub keep_dropped: bool,
    /// Lists of rules that come with danlu: "gopher", "c4", "fineweb", "chinese-web"; `"gopher:en"` asks
    /// documents in English only. See [`preset_text`](super::preset_text).
    pub preset: Vec<String>,
    /// Which statistics are measured and kept with the documents.
    pub statistics: StatisticsKept,
    /// Files for `perplexity(text)`, `quality(text)` and `toxicity_words(text)`, relative to the recipe.
    pub models: ModelsConfig,
    /// What becomes of documents in which a field is missing: `language`, or a field of the metadata.
    pub missing: BTreeMap<String, Missing>,
    /// Changes of the text, one after another: `kind = "simplify"`.
    pub transforms: Vec<Transform>,
    /// Conditions in SQL, asked in this order after those of the presets.
    pub rules: Vec<RuleConfig>,
    /// Documents far from the others in some statistic.
    pub outliers: Vec<OutlierConfig>,
    /// Evaluation sets that must not be in the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decontaminate: Option<DecontaminateConfig>,
}

impl Default for CleanConfig {
    fn default() -> Self {
        Self {
            min_chars: 10,
            max_chars: 5_000_000,
            max_symbol_ratio: 0.3,
            max_repeated_line_ratio: 0.3,
            languages: Vec::new(),
            dedup: Dedup::default(),
            keep_dropped: true,
            preset: Vec::new(),
            statistics: StatisticsKept::default(),
            models: ModelsConfig::default(),
            missing: BTreeMap::new(),
            transforms: Vec::new(),
            rules: Vec::new(),
            outliers: Vec::new(),
            decontaminate: None,
        }
    }
}

/// A rule: documents for which the condition is true are dropped, with its name as the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// The reason that is counted. A rule of a preset with the same name is replaced.
    pub name: String,
    /// SQL over `text`, `source`, `language`, `id`, `metadata` and the functions of a text, such as
    /// `dup_line_ratio(text) > 0.3`. NULL keeps the document. Empty switches the preset's rule off.
    pub drop_if: String,
}

/// Which duplicates go: `dedup = true`, `dedup = false`, or `[clean.dedup]` with the keys of [`DedupConfig`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Dedup {
    /// Exact ones in the first pass, in up to 1 GiB of memory, and by sorting what is more; or none.
    Exact(bool),
    /// By a search over all documents, which takes passes of its own.
    Search(Box<DedupConfig>),
}

impl Default for Dedup {
    fn default() -> Self {
        Self::Exact(true)
    }
}

impl Dedup {
    pub(super) fn search(&self) -> Option<&DedupConfig> {
        if let Self::Search(config) = self { Some(config) } else { None }
    }
}

/// Not derived: of an untagged enum serde would not say which key of the table is wrong.
impl<'de> Deserialize<'de> for Dedup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Dedup;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("true, false or a table")
            }

            fn visit_bool<E>(self, exact: bool) -> Result<Dedup, E> {
                Ok(Dedup::Exact(exact))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Dedup, A::Error> {
                let config = DedupConfig::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Dedup::Search(Box::new(config)))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// Which statistics are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatisticsKept {
    /// Those that decide: a document that a rule drops is not measured for the rules after it.
    #[default]
    Needed,
    /// All that any rule names, of all documents, the dropped ones too.
    All,
}

/// Files that functions of a text need: models that score it, and a list of words to count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelsConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<PathBuf>,
    /// Words and phrases that `toxicity_words(text)` counts in the place of those that ship, one a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toxicity: Option<PathBuf>,
}

/// What becomes of a document in which a field is missing, null or blank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// Found out from the text; for `language`, where it is the default.
    Infer,
    /// The document is dropped.
    Drop,
    /// The field gets this value.
    Fill(Value),
}

impl CleanConfig {
    /// Checks all that can be checked without a document: numbers, fields, and every rule, which is compiled.
    pub fn check(&self) -> Result<(), DataError> {
        for (key, value) in [
            ("clean.max_symbol_ratio", self.max_symbol_ratio),
            ("clean.max_repeated_line_ratio", self.max_repeated_line_ratio),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(DataError::BadConfig { key, message: format!("must lie between 0 and 1, and is {value}") });
            }
        }
        self.missing.iter().try_for_each(|(field, policy)| check_missing(field, policy))?;
        self.outliers.iter().try_for_each(OutlierConfig::check)?;
        self.dedup.search().map_or(Ok(()), DedupConfig::check)?;
        self.decontaminate.as_ref().map_or(Ok(()), DecontaminateConfig::check)?;
        rules::check(self)
    }

    /// With the paths of files taken from `base`, the recipe's folder.
    #[must_use]
    pub fn relative_to(&self, base: &Path) -> Self {
        let mut config = self.clone();
        config.paths_mut().for_each(|path| *path = base.join(&*path));
        if let Dedup::Search(dedup) = &mut config.dedup
            && let Some(exchange) = dedup.exchange.as_mut().filter(|exchange| !exchange.contains("://"))
        {
            *exchange = base.join(&*exchange).to_string_lossy().into();
        }
        if let Some(decontaminate) = &mut config.decontaminate {
            // Not the sets' paths themselves: what reads sources knows which of them are addresses.
            decontaminate.base = base.join(&decontaminate.base);
        }
        config
    }

    /// What the work on a part depends on: of a search for duplicates, what it computes of a text by itself. Exact duplicates
    /// and evaluation sets are looked for in the end.
    pub fn of_part(&self) -> Self {
        let search = self.dedup.search().and_then(DedupConfig::of_sketches);
        let dedup = search.map_or(Dedup::Exact(false), |config| Dedup::Search(Box::new(config)));
        Self { dedup, decontaminate: None, ..self.clone() }
    }

    /// The files that the result depends on besides the documents and the evaluation sets, relative paths taken from `base`.
    pub fn files(&self, base: &Path) -> Vec<PathBuf> {
        self.relative_to(base).paths_mut().map(|path| path.clone()).collect()
    }

    /// The state of each evaluation set, in their order, as [`source_state`] tells it of a source.
    ///
    /// # Errors
    /// Sets without files, and remote ones that cannot be listed.
    pub fn set_states(&self, base: &Path) -> Result<Vec<Map<String, Value>>, DataError> {
        let Some(decontaminate) = &self.decontaminate else { return Ok(Vec::new()) };
        let base = base.join(&decontaminate.base);
        decontaminate.sets.iter().map(|set| source_state(set, &base)).collect()
    }

    fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let search = match &mut self.dedup {
            Dedup::Search(config) => Some(config.paths_mut()),
            Dedup::Exact(_) => None,
        };
        let models = &mut self.models;
        let files = models.perplexity.iter_mut().chain(&mut models.quality).chain(&mut models.toxicity);
        files.chain(search.into_iter().flatten())
    }
}

fn check_missing(field: &str, policy: &Missing) -> Result<(), DataError> {
    let bad = |message: String| Err(DataError::BadConfig { key: "clean.missing", message });
    match (field, policy) {
        ("text" | "source" | "id", _) => bad(format!("{field} is never missing")),
        ("language", Missing::Fill(Value::String(_))) => Ok(()),
        ("language", Missing::Fill(value)) => {
            bad(format!("language is filled with a code such as \"en\", not {value}"))
        }
        (_, Missing::Fill(_)) if is_reserved(field) => {
            bad(format!("{field} is what a conversation says, which nothing can be put in the place of"))
        }
        ("language", _) | (_, Missing::Drop | Missing::Fill(_)) => Ok(()),
        (_, Missing::Infer) => {
            bad(format!("{field} cannot be inferred, only language can; use \"drop\" or {{ fill = … }}"))
        }
    }
}

/// How much of the documents to hold out. Which ones is decided by their hash alone, so that a document stays in its
/// split when others are added.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitConfig {
    /// Share of documents for validation during training.
    pub valid: f64,
    /// Share of documents for the final test.
    pub test: f64,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self { valid: 0.02, test: 0.02 }
    }
}

impl SplitConfig {
    /// The names of the splits, which are also those of their files: `train.parquet`.
    pub const NAMES: [&'static str; 3] = ["train", "valid", "test"];

    pub(crate) fn check(&self) -> Result<(), DataError> {
        let share = 0.0..1.0;
        if share.contains(&self.valid) && share.contains(&self.test) && share.contains(&(self.valid + self.test)) {
            return Ok(());
        }
        let message = format!("valid {} and test {} must be at least 0 and together below 1", self.valid, self.test);
        Err(DataError::BadConfig { key: "data.split", message })
    }

    /// Which splits are to have documents.
    pub(super) fn wanted(&self) -> [bool; 3] {
        [true, self.valid > 0.0, self.test > 0.0]
    }

    /// The split of a document, as an index into [`NAMES`](Self::NAMES).
    pub(crate) fn of(&self, document: &Document) -> usize {
        self.of_place(Self::place(document))
    }

    /// Where a document lies between 0 and 1, by its hash.
    pub(super) fn place(document: &Document) -> f64 {
        crate::document::fraction(document.id_number())
    }

    /// These shares, raised as far as it takes for documents at `places` to fill all splits that are wanted; none where
    /// there are too few documents.
    pub(super) fn raised_for(&self, mut places: Vec<f64>) -> Option<Self> {
        places.sort_by(f64::total_cmp);
        // In as few digits as will do.
        [100.0, 1000.0, 10_000.0].into_iter().find_map(|steps| self.raised_in_steps(&places, steps))
    }

    /// As [`raised_for`](Self::raised_for), of places in order, in steps of one `steps`-th.
    fn raised_in_steps(&self, places: &[f64], steps: f64) -> Option<Self> {
        let above = |place: f64| ((place * steps).floor() + 1.0) / steps;
        let mut raised = *self;
        let first = *places.first()?;
        if self.test > 0.0 && first >= self.test {
            raised.test = above(first);
        }
        let next = *places.iter().find(|place| **place >= raised.test)?;
        if self.valid > 0.0 && next >= raised.test + self.valid {
            raised.valid = ((above(next) - raised.test) * steps - 1e-6).ceil() / steps;
        }
        let mut filled = [false; 3];
        places.iter().for_each(|&place| filled[raised.of_place(place)] = true);
        let works = raised.wanted().into_iter().zip(filled).all(|(wanted, filled)| filled || !wanted);
        (works && raised.check().is_ok()).then_some(raised)
    }

    fn of_place(&self, place: f64) -> usize {
        if place < self.test {
            2
        } else if place < self.test + self.valid {
            1
        } else {
            0
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_raised_until_every_split_has_a_document() {
        let raised = |valid: f64, test: f64, places: &[f64]| {
            SplitConfig { valid, test }.raised_for(places.to_vec()).map(|split| (split.valid, split.test))
        };
        assert_eq!(raised(0.02, 0.02, &[0.5, 0.031, 0.074]), Some((0.04, 0.04)));
        assert_eq!(raised(0.02, 0.02, &[0.01, 0.5, 0.3]), Some((0.29, 0.02)), "the test split has what it needs");
        assert_eq!(raised(0.0, 0.02, &[0.5, 0.3]), Some((0.0, 0.31)), "what is not wanted stays away");
        assert_eq!(raised(0.0, 0.02, &[0.50012, 0.5002]), Some((0.0, 0.5002)), "in as many digits as it takes");
        for too_few in [&[0.1, 0.2][..], &[0.5], &[], &[0.3, 0.3, 0.3]] {
            assert_eq!(raised(0.02, 0.02, too_few), None, "{too_few:?}");
        }
        for seed in 1..50u64 {
            let places: Vec<f64> =
                (1..=12u64).map(|i| (i * i * seed * 2_654_435 % 999_983) as f64 / 999_983.0).collect();
            let split = SplitConfig { valid: 0.02, test: 0.02 }.raised_for(places.clone()).unwrap();
            assert!(
                (0..3).all(|wanted| places.iter().any(|&place| split.of_place(place) == wanted)),
                "{seed} {split:?}"
            );
        }
    }
}
