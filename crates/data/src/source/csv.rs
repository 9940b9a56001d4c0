use std::cell::Cell;
use std::ops::ControlFlow;
use std::rc::Rc;

use serde_json::Value;

use super::fields::Fields;
use super::json::Bounded;
use super::{Flow, Problem, Sink, SourceFile};
use crate::Document;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Separator {
    Comma,
    Tab,
}

/// Reads CSV with a header line (RFC 4180), or tab-separated values, which know no quotes: each row is a record.
pub(super) fn read(file: &SourceFile<'_>, separator: Separator, sink: &mut Sink<'_>) -> Flow {
    let since_record = Rc::new(Cell::new(0));
    let reader = Bounded { inner: file.open_text()?, since_record: since_record.clone() };
    let mut builder = csv::ReaderBuilder::new();
    if separator == Separator::Tab {
        builder.delimiter(b'\t').quoting(false);
    }
    let mut reader = builder.from_reader(reader);
    let header: Vec<String> = match reader.byte_headers() {
        Ok(header) => header.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
        Err(error) => return sink(Err(file.problem(Some(1), describe(&error)))),
    };
    file.check_columns(&header)?;
    let mut record = csv::ByteRecord::new();
    loop {
        let parsed = match reader.read_byte_record(&mut record) {
            Ok(false) => return Ok(ControlFlow::Continue(())),
            Ok(true) => {
                since_record.set(0);
                parse(file, &record, &header)
            }
            Err(error) => {
                let line = error.position().map_or(reader.position().line(), csv::Position::line);
                let broken_file = matches!(error.kind(), csv::ErrorKind::Io(_));
                let flow = sink(Err(file.problem(Some(line), describe(&error))))?;
                if broken_file {
                    return Ok(flow); // nothing more can be read, and asking again gives the same error for ever
                }
                if flow.is_break() {
                    return Ok(flow);
                }
                continue;
            }
        };
        if sink(parsed)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}

fn describe(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("the record has {len} columns, the header {expected_len}")
        }
        csv::ErrorKind::Io(error) => format!("cannot be read: {error}"),
        _ => format!("malformed CSV: {error}"),
    }
}

fn parse(file: &SourceFile<'_>, record: &csv::ByteRecord, header: &[String]) -> Result<Document, Problem> {
    let line = record.position().map(csv::Position::line);
    let mut fields = Fields::new();
    for (name, field) in header.iter().zip(record) {
        let value = std::str::from_utf8(field).map_err(|error| {
            file.problem(line, format!("broken UTF-8 in column {name:?} (offset {})", error.valid_up_to()))
        })?;
        fields.insert(name.clone(), Value::from(value));
    }
    file.record(fields, line)
}
