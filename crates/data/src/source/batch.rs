//! From the records of a file to documents, in order.

use std::ops::ControlFlow;

use danlu_formats::FormatError;

use super::{Flow, Problem, Sink, SourceFile};
use crate::Document;

/// Hands the document of each record, or the problem with it, to `sink`.
pub(super) fn in_order<R>(
    file: &SourceFile<'_>,
    records: impl Iterator<Item = Result<R, FormatError>>,
    make: impl Fn(R) -> Result<Document, Problem>,
    sink: &mut Sink<'_>,
) -> Flow {
    for record in records {
        let made = record.map_err(|error| file.format_problem(&error)).and_then(&make);
        if sink(made)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}
