use std::ops::ControlFlow;

use serde_json::{Map, Value};

use super::lines::{Line, Lines, too_long};
use super::{Flow, Problem, Sink, SourceFile, utf8};
use crate::Document;
use crate::storage::open_decompressed;

/// Reads JSON Lines: an object a line, whose other fields become metadata. Blank lines are skipped.
pub(super) fn read(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let (reader, _) = open_decompressed(file.path, file.read.clone())?;
    let mut lines = Lines::new(reader);
    loop {
        let line = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(ControlFlow::Continue(())),
            Err((line, error)) => return sink(Err(file.problem(Some(line), format!("cannot be read: {error}")))),
        };
        if line.bytes.as_ref().is_some_and(|bytes| bytes.iter().all(u8::is_ascii_whitespace)) {
            continue;
        }
        if sink(parse(file, line))?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}

fn parse(file: &SourceFile<'_>, line: Line) -> Result<Document, Problem> {
    let number = Some(line.number);
    let problem = |message: String| file.problem(number, message);
    let text = utf8(line.bytes.ok_or_else(|| problem(too_long()))?).map_err(|(_, message)| problem(message))?;
    let mut fields: Map<String, Value> =
        serde_json::from_str(&text).map_err(|error| problem(format!("malformed JSON: {error}")))?;
    let field = &file.source.text_field;
    match fields.shift_remove(field) {
        Some(Value::String(text)) => Ok(file.document(text, number, fields)),
        Some(_) => Err(problem(format!("field {field:?} is not a string"))),
        None => {
            let names: Vec<&str> = fields.keys().take(12).map(String::as_str).collect();
            Err(problem(format!("there is no field {field:?}; the fields are {}", names.join(", "))))
        }
    }
}
