//! Shared by the tests of this room.

use danlu_data::Document;

pub fn document(text: &str, language: &str, source: &str) -> Document {
    Document {
        id: format!("{:x}", text.len()),
        text: text.into(),
        source: source.into(),
        language: language.into(),
        metadata: Default::default(),
        statistics: Default::default(),
    }
}
