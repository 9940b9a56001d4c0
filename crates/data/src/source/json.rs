use danlu_formats::records::{JsonReader, JsonRecord};
use serde_json::Value;

use super::batch::{in_order, watched};
use super::{Flow, Problem, Sink, SourceFile};
use crate::Document;

/// Reads a JSON file: an array of objects, each of which becomes a document, or objects and such arrays one after the
/// other. Where it is no longer told what is a record, the file ends.
pub(super) fn read(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let records = JsonReader::new(file.open_text()?, file.max_record_bytes());
    let records = watched(file, records, |record| {
        file.mends(&record.bytes);
    });
    in_order(file, records, |record| record.bytes.len(), |record| parse(file, &record), sink)
}

/// A document is known by its place among the records; what is malformed is found by its line.
fn parse(file: &SourceFile<'_>, record: &JsonRecord) -> Result<Document, Problem> {
    let number = Some(record.number);
    match file.json(record) {
        Ok(Value::Object(fields)) => file.record(fields, number),
        Ok(_) => Err(file.problem(number, "the element is not an object")),
        Err((lines, message)) => {
            // The parser counts lines and columns from the beginning of the record.
            let message = message.split(" at line ").next().unwrap_or_default();
            Err(file.problem(Some(record.line + lines), format!("{message} (in record {})", record.number)))
        }
    }
}
