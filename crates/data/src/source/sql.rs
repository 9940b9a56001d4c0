//! Rows of a database as records: SQLite files and PostgreSQL servers.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;

use postgres::RowIter;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::ToSql;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};
use serde_json::{Value, json};

use super::fields::Fields;
use super::tls::Tls;
use super::{Flow, Problem, Sink, SourceFile};
use crate::{DataError, Document};

/// Reads the rows that the source's query gives on a SQLite file, which is opened for reading only.
pub(super) fn sqlite(file: &SourceFile<'_>, path: &Path, sink: &mut Sink<'_>) -> Flow {
    let query = query_of(file)?;
    let bad = |error: rusqlite::Error| bad_query(file, &error.to_string());
    let length = path.metadata().map_err(|e| DataError::io("open", path, e))?.len();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match Connection::open_with_flags(path, flags) {
        Ok(connection) => connection,
        Err(error) => return sink(Err(file.problem(None, format!("cannot be opened as SQLite: {error}")))),
    };
    let mut statement = match connection.prepare(query) {
        Ok(statement) => statement,
        Err(error) if is_damage(&error) => return sink(Err(file.problem(None, format!("broken SQLite: {error}")))),
        Err(error) => return Err(bad(error)),
    };
    if !statement.readonly() {
        return Err(bad_query(file, "it changes the database; a source may only read"));
    }
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    file.check_columns(&columns)?;
    let mut rows = statement.query([]).map_err(bad)?;
    for number in 1.. {
        let record = match rows.next() {
            Ok(Some(row)) => sqlite_row(file, row, &columns, number),
            Ok(None) => break,
            Err(error) => return sink(Err(file.problem(Some(number), format!("broken SQLite: {error}")))),
        };
        if sink(record)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    file.read.fetch_add(length, Ordering::Relaxed);
    Ok(ControlFlow::Continue(()))
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, SystemIoFailure};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase | SystemIoFailure))
}

fn sqlite_row(file: &SourceFile<'_>, row: &Row<'_>, columns: &[String], number: u64) -> Result<Document, Problem> {
    let problem = |message: String| file.problem(Some(number), message);
    let mut fields = Fields::new();
    for (index, name) in columns.iter().enumerate() {
        let value = match row.get_ref(index).map_err(|error| problem(format!("broken SQLite: {error}")))? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(value) => value.into(),
            ValueRef::Real(value) => value.into(),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) if bytes.len() > file.max_record_bytes() => {
                return Err(problem(format!("column {name:?} is {}", file.too_long())));
            }
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => text.into(),
                Err(_) if matches!(row.get_ref(index), Ok(ValueRef::Blob(_))) => json!({ "bytes": bytes.len() }),
                Err(_) if file.mends(bytes) => String::from_utf8_lossy(bytes).into(),
                Err(error) => {
                    let offset = error.valid_up_to();
                    return Err(problem(format!("broken UTF-8 in column {name:?} (offset {offset})")));
                }
            },
        };
        fields.insert(name.clone(), value);
    }
    file.record(fields, Some(number))
}

/// Reads the rows that the source's query gives on a PostgreSQL server, in a transaction that may only read; they are taken
/// one by one as the server finds them, so that neither side holds the result. The server itself makes a JSON object of each row.
pub(super) fn postgres(file: &SourceFile<'_>, url: &str, sink: &mut Sink<'_>) -> Flow {
    let query = query_of(file)?.trim().trim_end_matches(';');
    let remote = |error: &postgres::Error| DataError::Remote { place: file.shown.clone(), message: chain(error) };
    let tls = Tls::of(url);
    let mut config = tls.url.parse::<postgres::Config>().map_err(|error| remote(&error))?;
    let tls = tls.connector().map_err(|message| DataError::Remote { place: file.shown.clone(), message })?;
    if config.get_password().is_none()
        && let Ok(password) = std::env::var("PGPASSWORD")
    {
        config.password(password);
    }
    let mut client = config.connect(tls.clone()).map_err(|error| remote(&error))?;
    let cancel = client.cancel_token();
    let mut transaction = client.build_transaction().read_only(true).start().map_err(|error| remote(&error))?;
    // A row that is too long stays where it is. The extended protocol takes one statement only: a query cannot end this
    // one and begin another.
    let select = format!(
        "SELECT CASE WHEN octet_length(danlu_text) <= {} THEN danlu_text END \
         FROM (SELECT row_to_json(danlu_row)::text AS danlu_text FROM ({query}\n) AS danlu_row OFFSET 0) AS danlu_texts",
        file.max_record_bytes()
    );
    let nothing = std::iter::empty::<&(dyn ToSql + Sync)>();
    let rows = transaction.query_raw(select.as_str(), nothing).map_err(|error| match error.as_db_error() {
        Some(told) => bad_query(file, told.message()),
        None => remote(&error),
    })?;
    let flow = postgres_rows(file, rows, sink);
    if !matches!(flow, Ok(ControlFlow::Continue(()))) {
        // Or the end of the connection would wait for the rows that nobody wants any more.
        let _ = cancel.cancel_query(tls);
    }
    flow
}

/// Takes rows as the server sends them, one by one; those before an error count.
fn postgres_rows(file: &SourceFile<'_>, mut rows: RowIter<'_>, sink: &mut Sink<'_>) -> Flow {
    let mut number = 0;
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(ControlFlow::Continue(())),
            Err(error) => {
                let message = format!("the database gave up after row {number}: {}", chain(&error));
                return sink(Err(file.problem(Some(number + 1), message)));
            }
        };
        number += 1;
        let record = match row.try_get::<_, Option<&str>>(0) {
            Ok(Some(text)) => postgres_row(file, text, number),
            Ok(None) => Err(file.problem(Some(number), file.too_long())),
            Err(error) => Err(file.problem(Some(number), chain(&error))),
        };
        if sink(record)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}

fn postgres_row(file: &SourceFile<'_>, text: &str, number: u64) -> Result<Document, Problem> {
    file.read.fetch_add(text.len() as u64, Ordering::Relaxed);
    let fields = serde_json::from_str::<Fields>(text)
        .map_err(|error| file.problem(Some(number), format!("malformed JSON: {error}")))?;
    file.record(fields, Some(number))
}

/// An error with its causes: the outer one alone says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        message += &format!(": {inner}");
        cause = inner.source();
    }
    message
}

fn query_of<'a>(file: &SourceFile<'a>) -> Result<&'a str, DataError> {
    file.source.query.as_deref().ok_or_else(|| {
        let message = format!("source {:?} is a database and needs a query, such as SELECT", file.source.name);
        DataError::BadConfig { key: "query", message }
    })
}

fn bad_query(file: &SourceFile<'_>, message: &str) -> DataError {
    DataError::BadConfig { key: "query", message: format!("source {:?}: {message}", file.source.name) }
}
