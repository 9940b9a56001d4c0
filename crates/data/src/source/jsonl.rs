use danlu_formats::records::{JsonLinesReader, JsonRecord};
use serde_json::Value;

use super::batch::{in_order, watched};
use super::{Flow, Problem, Sink, SourceFile};
use crate::Document;

/// Reads JSON Lines: an object a line, whose other fields become metadata. Blank lines are skipped.
pub(super) fn read(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let lines = JsonLinesReader::new(file.open_text()?, file.max_record_bytes());
    let lines = watched(file, lines, |line| {
        file.mends(&line.bytes);
    });
    in_order(file, lines, |line| line.bytes.len(), |line| parse(file, &line), sink)
}

fn parse(file: &SourceFile<'_>, line: &JsonRecord) -> Result<Document, Problem> {
    let number = Some(line.number);
    match file.json(line) {
        Ok(Value::Object(fields)) => file.record(fields, number),
        Ok(_) => Err(file.problem(number, "malformed JSON: the line is not an object")),
        Err((_, message)) => Err(file.problem(number, message)),
    }
}
