use std::ops::ControlFlow;

use super::fields::Fields;
use super::lines::{Line, Lines, too_long};
use super::{Flow, Problem, Sink, SourceFile, utf8};
use crate::Document;

/// Reads JSON Lines: an object a line, whose other fields become metadata. Blank lines are skipped.
pub(super) fn read(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let mut lines = Lines::new(file.open_text()?);
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
    let fields: Fields = serde_json::from_str(&text).map_err(|error| problem(format!("malformed JSON: {error}")))?;
    file.record(fields, number)
}
