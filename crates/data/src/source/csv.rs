use danlu_formats::records::{CsvReader, CsvRow, Separator};
use serde_json::Value;

use super::batch::{in_order, watched};
use super::fields::Fields;
use super::{Flow, Problem, Sink, SourceFile};
use crate::Document;

/// What stands between the fields of a source's CSV.
pub(super) fn separator(file: &SourceFile<'_>) -> Separator {
    let byte = file.source.delimiter.and_then(|delimiter| u8::try_from(delimiter).ok());
    byte.map_or(Separator::Comma, Separator::Byte)
}

/// Reads CSV with a header line, or tab-separated values: each row is a record.
pub(super) fn read(file: &SourceFile<'_>, separator: Separator, sink: &mut Sink<'_>) -> Flow {
    let mut rows = CsvReader::new(file.open_text()?, separator, file.max_record_bytes());
    let header: Vec<String> = match rows.next() {
        Some(Ok(row)) => row.fields().map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
        Some(Err(error)) => return sink(Err(file.format_problem(&error))),
        None => Vec::new(),
    };
    file.check_columns(&header)?;
    let rows = watched(file, rows, |row| {
        for field in row.fields() {
            file.mends(field);
        }
    });
    in_order(file, rows, CsvRow::len, |row| parse(file, &row, &header), sink)
}

fn parse(file: &SourceFile<'_>, row: &CsvRow, header: &[String]) -> Result<Document, Problem> {
    let line = Some(row.line);
    if row.columns() != header.len() {
        let message = format!("the record has {} columns, the header {}", row.columns(), header.len());
        return Err(file.problem(line, message));
    }
    let mut fields = Fields::new();
    for (name, field) in header.iter().zip(row.fields()) {
        let value = match std::str::from_utf8(field) {
            Ok(value) => Value::from(value),
            Err(_) if file.mends(field) => String::from_utf8_lossy(field).into(),
            Err(error) => {
                let offset = error.valid_up_to();
                return Err(file.problem(line, format!("broken UTF-8 in column {name:?} (offset {offset})")));
            }
        };
        fields.insert(name.clone(), value);
    }
    file.record(fields, line)
}
