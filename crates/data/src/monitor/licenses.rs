//! Under which licences documents are: what they say themselves, and what the recipe says of their source.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::snapshot::OTHERS;
use crate::{Count, Document};

/// The fields of the metadata that name a licence, in either spelling.
const FIELDS: [&str; 2] = ["license", "licence"];
/// Different licences of one source that are counted one by one; further ones share one row.
const MAX_LICENSES: usize = 64;
/// Sources that are counted one by one.
const MAX_SOURCES: usize = 256;
/// Characters of a licence's name.
const NAME: usize = 100;
/// Documents without a licence that are named by their id.
const EXAMPLES: usize = 5;

/// What a licence is called that nobody has stated.
pub const UNKNOWN: &str = "unknown";

/// The documents of one source by the licence that they name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceLicenses {
    pub named: BTreeMap<String, Count>,
    /// Those that name none.
    pub unnamed: Count,
    /// The ids of the first of these.
    pub examples: Vec<String>,
}

/// Documents of one source under one licence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LicenseCard {
    pub source: String,
    /// An SPDX expression or words; `unknown` where neither documents nor recipe say.
    pub license: String,
    pub stated_by: StatedBy,
    #[serde(flatten)]
    pub count: Count,
    /// The ids of some documents of unknown licence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}

/// Who says under which licence documents are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatedBy {
    /// They themselves, in their metadata.
    Documents,
    /// `license` of the source in the recipe, for those of its documents that name none.
    Recipe,
    Nobody,
}

/// Licences by source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Licenses(pub BTreeMap<String, SourceLicenses>);

impl Licenses {
    pub(super) fn add(&mut self, document: &Document) {
        let of_source = self.source(&document.source);
        match license_of(&document.metadata) {
            Some(license) => of_source.license(license).add(document),
            None => {
                of_source.unnamed.add(document);
                of_source.name(&document.id);
            }
        }
    }

    /// Adds the accounts of later documents.
    pub(super) fn merge(&mut self, later: Self) {
        for (source, licenses) in later.0 {
            let all = self.source(&source);
            for (license, count) in licenses.named {
                grow(all.license(license), count);
            }
            grow(&mut all.unnamed, licenses.unnamed);
            licenses.examples.iter().for_each(|id| all.name(id));
        }
    }

    fn source(&mut self, source: &str) -> &mut SourceLicenses {
        let known = self.0.contains_key(source) || self.0.len() < MAX_SOURCES;
        self.0.entry(if known { source } else { OTHERS }.to_owned()).or_default()
    }

    /// With what the recipe states of sources: by source, the licences of most documents first.
    pub(super) fn cards(&self, stated: &BTreeMap<String, String>) -> Vec<LicenseCard> {
        let mut cards = Vec::new();
        for (source, licenses) in &self.0 {
            let card = |license: &str, stated_by, count| {
                let (source, license) = (source.clone(), license.to_owned());
                LicenseCard { source, license, stated_by, count, examples: Vec::new() }
            };
            let mut named: Vec<(&String, &Count)> = licenses.named.iter().collect();
            named.sort_by_key(|(_, count)| std::cmp::Reverse(count.documents));
            cards.extend(named.into_iter().map(|(license, &count)| card(license, StatedBy::Documents, count)));
            match stated.get(source) {
                _ if licenses.unnamed.documents == 0 => {}
                Some(license) => cards.push(card(license, StatedBy::Recipe, licenses.unnamed)),
                None => {
                    let examples = licenses.examples.clone();
                    cards.push(LicenseCard { examples, ..card(UNKNOWN, StatedBy::Nobody, licenses.unnamed) });
                }
            }
        }
        cards
    }
}

impl SourceLicenses {
    fn license(&mut self, license: String) -> &mut Count {
        let known = self.named.contains_key(&license) || self.named.len() < MAX_LICENSES;
        self.named.entry(if known { license } else { OTHERS.into() }).or_default()
    }

    fn name(&mut self, id: &str) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(id.into());
        }
    }
}

fn grow(count: &mut Count, by: Count) {
    count.documents += by.documents;
    count.bytes += by.bytes;
}

/// The licence that a document names: a text, or several.
fn license_of(metadata: &Map<String, Value>) -> Option<String> {
    let text = |value: &Value| value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let named = |value: &Value| match value {
        Value::Array(all) => {
            Some(all.iter().filter_map(text).collect::<Vec<_>>().join(", ")).filter(|all| !all.is_empty())
        }
        value => text(value),
    };
    let license = FIELDS.iter().find_map(|field| metadata.get(*field).and_then(named))?;
    Some(license.chars().take(NAME).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(number: u32, source: &str, field: &str, license: Value) -> Document {
        let mut document = Document::new(format!("text {number}"), source);
        document.metadata.insert(field.into(), license);
        document
    }

    /// (source, licence, who says so, documents, examples) of each card.
    fn told(documents: &[Document], stated: &[(&str, &str)]) -> Vec<(String, String, StatedBy, u64, usize)> {
        let mut all = Licenses::default();
        for some in documents.chunks(3) {
            let mut part = Licenses::default();
            some.iter().for_each(|document| part.add(document));
            all.merge(part);
        }
        let stated = stated.iter().map(|&(source, license)| (source.to_owned(), license.to_owned())).collect();
        let card =
            |card: LicenseCard| (card.source, card.license, card.stated_by, card.count.documents, card.examples.len());
        all.cards(&stated).into_iter().map(card).collect()
    }

    #[test]
    fn documents_speak_for_themselves_and_the_recipe_for_the_others() {
        let documents = [
            document(1, "a", "license", json!("MIT")),
            document(2, "a", "licence", json!(" CC0-1.0 ")),
            document(3, "a", "licence", json!("CC0-1.0")),
            document(4, "a", "license", json!("")),
            document(5, "b", "license", json!(null)),
            document(6, "b", "title", json!("MIT")),
            document(7, "c", "license", json!(["MIT", "Apache-2.0"])),
        ];
        let row = |source: &str, license: &str, by, count, examples| {
            (source.to_owned(), license.to_owned(), by, count, examples)
        };
        let expected = [
            row("a", "CC0-1.0", StatedBy::Documents, 2, 0),
            row("a", "MIT", StatedBy::Documents, 1, 0),
            row("a", "CC-BY-SA-4.0", StatedBy::Recipe, 1, 0),
            row("b", UNKNOWN, StatedBy::Nobody, 2, 2),
            row("c", "MIT, Apache-2.0", StatedBy::Documents, 1, 0),
        ];
        assert_eq!(told(&documents, &[("a", "CC-BY-SA-4.0"), ("c", "of no use")]), expected);
    }

    #[test]
    fn many_licences_take_little_memory() {
        let documents: Vec<Document> = (0..200)
            .map(|number| document(number, "a", "license", json!(format!("{number} {}", "x".repeat(500)))))
            .collect();
        let told = told(&documents, &[]);
        assert_eq!(told.len(), MAX_LICENSES + 1);
        assert_eq!(told[0], ("a".into(), OTHERS.into(), StatedBy::Documents, 200 - MAX_LICENSES as u64, 0));
        assert!(told.iter().all(|row| row.1.chars().count() <= NAME));
    }
}
