use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Place;
use crate::augment::original_of;
use crate::files::{Row, read_rows};
use crate::{DataError, Document};

/// Shorter beginnings of ids are refused: they fit too much by chance.
const LEAST_ID_DIGITS: usize = 8;

/// Which documents are meant: those of the ids, or, without ids, those that meet all conditions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// Whole ids or their first 8 digits and more.
    pub ids: Vec<String>,
    pub conditions: Vec<Condition>,
}

/// One thing that must be true of a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    Source(String),
    Language(String),
    /// The text contains this, upper and lower case alike.
    Contains(String),
    /// A field of the metadata has this value; numbers and truth values as JSON writes them.
    Metadata(String, String),
}

impl FromStr for Condition {
    type Err = String;

    /// `source=NAME`, `language=CODE`, `contains=TEXT` or `metadata.KEY=VALUE`.
    fn from_str(text: &str) -> Result<Self, String> {
        let known = "known: source=NAME, language=CODE, contains=TEXT, metadata.KEY=VALUE";
        let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} has no `=`; {known}"))?;
        if value.is_empty() {
            return Err(format!("{text:?} has nothing after `=`"));
        }
        let value = value.to_owned();
        match key.trim() {
            "source" => Ok(Self::Source(value)),
            "language" => Ok(Self::Language(value)),
            "contains" => Ok(Self::Contains(value)),
            key => match key.strip_prefix("metadata.") {
                Some(field) if !field.is_empty() => Ok(Self::Metadata(field.into(), value)),
                _ => Err(format!("{key:?} is not known; {known}")),
            },
        }
    }
}

impl Condition {
    fn holds(&self, document: &Document) -> bool {
        match self {
            Self::Source(name) => document.source == *name,
            Self::Language(code) => document.language == *code,
            Self::Contains(text) => document.text.to_lowercase().contains(&text.to_lowercase()),
            Self::Metadata(key, value) => match document.metadata.get(key) {
                Some(Value::String(text)) => text == value,
                Some(other) => other.to_string() == *value,
                None => false,
            },
        }
    }
}

impl Selection {
    /// # Errors
    /// Nothing selected, or both ways at once; ids that are none.
    pub(super) fn check(&self) -> Result<(), DataError> {
        let bad = |message: String| Err(DataError::BadConfig { key: "selection", message });
        match (self.ids.is_empty(), self.conditions.is_empty()) {
            (true, true) => return bad("give ids or a condition".into()),
            (false, false) => return bad("give ids or conditions, not both".into()),
            _ => {}
        }
        let is_id = |id: &str| {
            (LEAST_ID_DIGITS..=32).contains(&id.len()) && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        match self.ids.iter().find(|id| !is_id(id)) {
            Some(id) => bad(format!("{id:?} is no id: {LEAST_ID_DIGITS} to 32 hexadecimal digits")),
            None => Ok(()),
        }
    }

    fn holds(&self, document: &Document) -> bool {
        match self.ids.is_empty() {
            true => self.conditions.iter().all(|condition| condition.holds(document)),
            false => self.ids.iter().any(|id| document.id.starts_with(id.as_str())),
        }
    }

    /// Of the ids that were given, those that fit no document or several.
    fn check_found(&self, found: &BTreeSet<String>) -> Result<(), DataError> {
        for id in &self.ids {
            let fits: Vec<&str> = found.iter().map(String::as_str).filter(|one| one.starts_with(id.as_str())).collect();
            match fits[..] {
                [] => {
                    let place = "this run".into();
                    return Err(DataError::NoSuchDocument { id: id.clone(), place });
                }
                [_] => {}
                _ => {
                    let message = format!("{id:?} fits several documents: {}", fits.join(", "));
                    return Err(DataError::BadConfig { key: "selection", message });
                }
            }
        }
        Ok(())
    }
}

/// A table in which documents may lie.
pub(super) struct Table {
    /// Index of its artifact, to the caller.
    pub(super) artifact: usize,
    pub(super) split: &'static str,
    pub(super) path: PathBuf,
    /// Whether its documents are as they were read.
    pub(super) collected: bool,
}

/// What a selection comes to: every id that a selected document has or had, or that a changed copy of it has, with the
/// places it was read from.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Selected {
    pub(super) ids: BTreeMap<String, Option<Place>>,
}

impl Selected {
    /// Finds the documents, and then, as long as something is added, what has their id, was read at their place, or is a
    /// changed copy of them or their original.
    pub(super) fn find(tables: &[Table], selection: &Selection) -> Result<Self, DataError> {
        selection.check()?;
        let (mut selected, mut places) = (Self::default(), BTreeSet::new());
        for table in tables {
            read_rows(&table.path, &mut |Row { document, .. }| {
                if selection.holds(&document) {
                    selected.add(document, &mut places);
                }
                Ok(())
            })?;
        }
        selection.check_found(&selected.ids.keys().cloned().collect())?;
        while selected.grow(tables, &mut places)? {}
        Ok(selected)
    }

    /// Adds a document; true when it is new.
    fn add(&mut self, document: Document, places: &mut BTreeSet<Place>) -> bool {
        let original = original_of(&document);
        let new_original =
            original.is_some_and(|id| !self.ids.contains_key(&id) && self.ids.insert(id, None).is_none());
        let place = Place::of(&document);
        let new_place = place.clone().is_some_and(|place| places.insert(place));
        let new_id = !self.ids.contains_key(&document.id);
        let known = self.ids.entry(document.id).or_default();
        *known = known.take().or(place);
        new_id || new_place || new_original
    }

    fn grow(&mut self, tables: &[Table], places: &mut BTreeSet<Place>) -> Result<bool, DataError> {
        let ambiguous = ambiguous(tables, places)?;
        let mut grown = false;
        for table in tables {
            read_rows(&table.path, &mut |Row { document, .. }| {
                let of_place = Place::of(&document).is_some_and(|p| places.contains(&p) && !ambiguous.contains(&p));
                let is_copy = original_of(&document).is_some_and(|id| self.ids.contains_key(&id));
                if of_place || is_copy || self.ids.contains_key(&document.id) {
                    grown |= self.add(document, places);
                }
                Ok(())
            })?;
        }
        Ok(grown)
    }
}

/// Places that several collected documents name: records may have fields `file` and `line` of their own, which say nothing
/// of where a record was read.
fn ambiguous(tables: &[Table], places: &BTreeSet<Place>) -> Result<BTreeSet<Place>, DataError> {
    let (mut once, mut more) = (BTreeSet::new(), BTreeSet::new());
    for table in tables.iter().filter(|table| table.collected) {
        read_rows(&table.path, &mut |Row { document, .. }| {
            if let Some(place) = Place::of(&document).filter(|place| places.contains(place))
                && !once.insert(place.clone())
            {
                more.insert(place);
            }
            Ok(())
        })?;
        once.clear();
    }
    Ok(more)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn conditions_read_as_they_are_written() {
        let check = |text: &str, expect: Condition| assert_eq!(text.parse(), Ok(expect));
        check("source=诗", Condition::Source("诗".into()));
        check("contains=a=b", Condition::Contains("a=b".into()));
        check("metadata.author=李白", Condition::Metadata("author".into(), "李白".into()));
        for bad in ["source", "source=", "sauce=x", "metadata.=x"] {
            assert!(bad.parse::<Condition>().is_err(), "{bad}");
        }
    }

    #[test]
    fn all_conditions_must_hold() {
        let mut document = Document::new("Spring 春", "s");
        document.metadata.insert("year".into(), 1998.into());
        let holds = |conditions: &[&str]| {
            let conditions = conditions.iter().map(|text| text.parse().unwrap()).collect();
            Selection { ids: vec![], conditions }.holds(&document)
        };
        assert!(holds(&["source=s", "contains=SPRING", "metadata.year=1998"]));
        assert!(!holds(&["source=s", "contains=春天"]) && !holds(&["metadata.month=1"]) && !holds(&["language=zh"]));
        let said = |ids: &[&str]| {
            let ids = ids.iter().map(|id| (*id).to_owned()).collect();
            Selection { ids, conditions: vec![] }.check().unwrap_err().to_string()
        };
        assert!(
            said(&[]).contains("give ids")
                && said(&["abc"]).contains("\"abc\"")
                && said(&["ABCDEF01"]).contains("no id")
        );
    }
}
