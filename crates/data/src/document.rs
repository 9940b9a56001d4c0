use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One text and where it is from: the only record that flows through the data stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The content hash: BLAKE3 of `text`, first 32 hex digits. Always that of the present text.
    pub id: String,
    pub text: String,
    /// The name of the source in the recipe.
    pub source: String,
    /// ISO 639-1 code, "und" when unknown, empty before identification.
    #[serde(default)]
    pub language: String,
    /// The record's other fields, and `file` and `line`, where it was read.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// What was measured of the text, by the name of its column (`dup_ngram_ratio_5`); see [`clean`](crate::clean).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub statistics: BTreeMap<String, f64>,
}

impl Document {
    pub fn new(text: impl Into<String>, source: impl Into<String>) -> Self {
        let text = text.into();
        let id = content_id(text.as_bytes());
        let (language, metadata, statistics) = (String::new(), Map::new(), BTreeMap::new());
        Self { id, text, source: source.into(), language, metadata, statistics }
    }

    /// Replaces the text, and the id with it. What was measured of the old text is forgotten.
    pub fn set_text(&mut self, text: String) {
        self.id = content_id(text.as_bytes());
        self.text = text;
        self.statistics.clear();
    }

    /// The id as a number: evenly distributed, so it also decides splits and samples.
    pub(crate) fn id_number(&self) -> u128 {
        u128::from_str_radix(&self.id, 16).unwrap_or_else(|_| hash_number(self.text.as_bytes()))
    }
}

/// The id of a document with this text, in UTF-8.
pub(crate) fn content_id(text: &[u8]) -> String {
    format!("{:032x}", hash_number(text))
}

fn hash_number(text: &[u8]) -> u128 {
    let hash = blake3::hash(text);
    hash.as_bytes().iter().take(16).fold(0, |number, &byte| number << 8 | u128::from(byte))
}

/// Maps a number evenly to [0, 1), by its upper 53 bits.
pub(crate) fn fraction(number: u128) -> f64 {
    (number >> 75) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::Document;

    #[test]
    fn the_id_is_the_hash_of_the_text() {
        let mut document = Document::new("abc", "s");
        assert_eq!(document.id, &blake3::hash(b"abc").to_hex()[..32]);
        document.set_text("abd".into());
        assert_eq!(document.id, &blake3::hash(b"abd").to_hex()[..32]);
        assert_eq!(format!("{:032x}", document.id_number()), document.id);
    }
}
