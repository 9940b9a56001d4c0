//! The numbers that a snapshot measures of each document.

use danlu_text::{Analysis, FunctionKind, TextFunction, text_functions};

use super::distribution::Distribution;
use crate::{DataError, Document};

/// What a snapshot measures when nothing else is asked for. The last is there only where a step has counted it.
pub(super) const DEFAULT_STATISTICS: [&str; 9] = [
    "char_count",
    "word_count",
    "mean_word_length",
    "dup_line_ratio",
    "non_alnum_ratio",
    "stopword_ratio",
    "digit_ratio",
    "lang_score",
    "pii_count",
];

/// A statistic by name: taken from the documents where they carry it, else measured where a text function has that name.
pub(super) struct Statistics {
    all: Vec<Statistic>,
}

struct Statistic {
    name: String,
    function: Option<(&'static TextFunction, f64)>,
}

impl Statistics {
    /// # Errors
    /// A name that is given twice, and a function that gives no number.
    pub(super) fn named(names: &[String]) -> Result<Self, DataError> {
        let bad = |message: String| Err(DataError::BadConfig { key: "statistics", message });
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                return bad(format!("{name:?} is given twice"));
            }
            match function(name) {
                Some((TextFunction { kind: FunctionKind::Text(_), .. }, _)) => {
                    return bad(format!("{name} gives text, not a number"));
                }
                Some((TextFunction { kind: FunctionKind::NumberWith { parameter, .. }, .. }, value))
                    if value.is_nan() =>
                {
                    return bad(format!("{name} needs its {parameter}: write {name}_5 for {name}(text, 5)"));
                }
                _ => {}
            }
        }
        let all = names.iter().map(|name| Statistic { name: name.clone(), function: function(name) });
        Ok(Self { all: all.collect() })
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.all.iter().map(|statistic| statistic.name.as_str()).collect()
    }

    /// Those that only documents can carry.
    pub(super) fn carried_only(&self) -> impl Iterator<Item = &str> {
        self.all.iter().filter(|statistic| statistic.function.is_none()).map(|statistic| statistic.name.as_str())
    }

    pub(super) fn empty(&self) -> Vec<Distribution> {
        vec![Distribution::default(); self.all.len()]
    }

    /// The values of a document in the order of the names; NaN for what it has not.
    pub(super) fn of(&self, document: &Document, analysis: &Analysis<'_>) -> impl Iterator<Item = f64> {
        self.all.iter().map(|statistic| {
            carried(document, &statistic.name).unwrap_or_else(|| match statistic.function {
                Some((TextFunction { kind: FunctionKind::Number(call), .. }, _)) => call(analysis),
                Some((TextFunction { kind: FunctionKind::NumberWith { call, .. }, .. }, value)) => {
                    call(analysis, value)
                }
                _ => f64::NAN,
            })
        })
    }
}

/// The function of a name; `dup_ngram_ratio_5` is `dup_ngram_ratio(text, 5)`. NaN stands for a missing parameter.
fn function(name: &str) -> Option<(&'static TextFunction, f64)> {
    let find = |name: &str| text_functions().iter().find(|function| function.name == name);
    if let Some(function) = find(name) {
        return Some((function, f64::NAN));
    }
    let (base, parameter) = name.rsplit_once('_')?;
    let parameter: f64 = parameter.parse().ok()?;
    let function = find(base).filter(|function| matches!(function.kind, FunctionKind::NumberWith { .. }))?;
    Some((function, parameter))
}

/// A statistic that the document carries from an earlier step.
pub(crate) fn carried(document: &Document, name: &str) -> Option<f64> {
    document.statistics.get(name).copied()
}
