//! Records of fields: JSON Lines, JSON, comma- and tab-separated values, split into records. The readers only find where
//! a record ends; what it says is taken apart afterwards, by whoever has it and on any thread.

mod csv;
mod json;
mod lines;

use serde_json::Value;

pub use csv::{CsvReader, CsvRow, Separator};
pub use json::JsonReader;
pub use lines::JsonLinesReader;

/// A record of JSON as it lies in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonRecord {
    /// Its place among the records (JSON) or its line (JSON Lines), from 1.
    pub number: u64,
    /// The line on which it begins, from 1.
    pub line: u64,
    pub bytes: Vec<u8>,
}

impl JsonRecord {
    /// What the record says.
    ///
    /// # Errors
    /// How many lines after the record's first, and what is wrong there.
    pub fn value(&self) -> Result<Value, (u64, String)> {
        let text = std::str::from_utf8(&self.bytes).map_err(|error| {
            let at = error.valid_up_to();
            (newlines(&self.bytes[..at]), format!("broken UTF-8 (byte 0x{:02X} at offset {at})", self.bytes[at]))
        })?;
        let lines_before = |error: &serde_json::Error| (error.line() as u64).saturating_sub(1);
        serde_json::from_str(text).map_err(|error| (lines_before(&error), format!("malformed JSON: {error}")))
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
