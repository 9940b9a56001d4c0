//! From the records of a file to documents: records are read by one thread, made into documents by all, and handed on in
//! the order in which they were read.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use danlu_formats::FormatError;
use rayon::prelude::*;

use super::{Flow, Problem, Sink, SourceFile};
use crate::Document;

/// So many records are made into documents side by side ...
const RECORDS: usize = 1024;
/// ... or fewer, when they have so many bytes together. A single record may have more.
const BYTES: usize = 16 << 20;

/// The same records. Those that were handed on before are not made into documents again, but looked at: so the file is named
/// for what is wrong with them as if it had been read at once.
pub(super) fn watched<R>(
    file: &SourceFile<'_>,
    records: impl Iterator<Item = Result<R, FormatError>>,
    look: impl Fn(&R),
) -> impl Iterator<Item = Result<R, FormatError>> {
    let mut before = file.bounds.skip.load(Ordering::Relaxed);
    records.inspect(move |record| {
        if before > 0 {
            before -= 1;
            record.iter().for_each(&look);
        }
    })
}

/// Hands the document of each record, or the problem with it, to `sink`.
///
/// What is done does not depend on the number of threads; nor are more records read than the source's limit still has
/// room for.
///
/// * `weigh`: the bytes of a record
/// * `make`: the document of a record, on any thread
pub(super) fn in_order<R: Send>(
    file: &SourceFile<'_>,
    mut records: impl Iterator<Item = Result<R, FormatError>>,
    weigh: impl Fn(&R) -> usize,
    make: impl Fn(R) -> Result<Document, Problem> + Sync,
    sink: &mut Sink<'_>,
) -> Flow {
    let document = |record: Result<R, FormatError>| record.map_err(|e| file.format_problem(&e)).and_then(&make);
    records.by_ref().take(file.bounds.take_skip()).for_each(drop);
    loop {
        let most = RECORDS.min(file.bounds.left());
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < most && bytes < BYTES {
            let Some(record) = records.next() else { break };
            bytes += record.as_ref().map_or(0, &weigh);
            batch.push(record);
        }
        if batch.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let made: Vec<Result<Document, Problem>> = batch.into_par_iter().map(&document).collect();
        for record in made {
            if sink(record)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
}
