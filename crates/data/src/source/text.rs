use std::io::{BufRead, Read};
use std::ops::ControlFlow;

use serde_json::Map;

use super::lines::{Lines, too_long};
use super::{Flow, MAX_DOCUMENT_BYTES, Sink, SourceFile, TextSplit, utf8};
use crate::storage::open_decompressed;

/// Reads a .txt file: one document, or one for each paragraph.
pub(super) fn read(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let (reader, _) = open_decompressed(file.path, file.read.clone())?;
    match file.source.split {
        TextSplit::File => whole(file, reader, sink),
        TextSplit::Paragraph => paragraphs(file, reader, sink),
    }
}

fn whole(file: &SourceFile<'_>, reader: impl BufRead, sink: &mut Sink<'_>) -> Flow {
    let mut bytes = Vec::new();
    if let Err(error) = reader.take(MAX_DOCUMENT_BYTES as u64 + 1).read_to_end(&mut bytes) {
        return sink(Err(file.problem(None, format!("cannot be read: {error}"))));
    }
    if bytes.len() > MAX_DOCUMENT_BYTES {
        return sink(Err(file.problem(None, too_long() + "; set split = \"paragraph\"")));
    }
    sink(match utf8(bytes) {
        Ok(text) => Ok(file.document(text, None, Map::new())),
        Err((line, message)) => Err(file.problem(Some(line + 1), message)),
    })
}

fn paragraphs(file: &SourceFile<'_>, reader: impl BufRead, sink: &mut Sink<'_>) -> Flow {
    let mut lines = Lines::new(reader);
    let mut paragraph = Vec::new();
    let mut first = 1;
    loop {
        let line = match lines.next() {
            Ok(line) => line,
            Err((line, error)) => return sink(Err(file.problem(Some(line), format!("cannot be read: {error}")))),
        };
        let at_end = line.is_none();
        let number = line.as_ref().map_or(0, |line| line.number);
        let text = line.map_or(Some(Vec::new()), |line| line.bytes);
        let blank = text.as_ref().is_some_and(|bytes| bytes.iter().all(u8::is_ascii_whitespace));
        if blank && !paragraph.is_empty() && emit(file, std::mem::take(&mut paragraph), first, sink)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if at_end {
            return Ok(ControlFlow::Continue(()));
        }
        match text {
            _ if blank => {}
            Some(bytes) if paragraph.len() + bytes.len() < MAX_DOCUMENT_BYTES => {
                if paragraph.is_empty() {
                    first = number;
                } else {
                    paragraph.push(b'\n');
                }
                paragraph.extend_from_slice(&bytes);
            }
            _ => {
                paragraph.clear();
                if sink(Err(file.problem(Some(number), too_long())))?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }
}

fn emit(file: &SourceFile<'_>, paragraph: Vec<u8>, first: u64, sink: &mut Sink<'_>) -> Flow {
    sink(match utf8(paragraph) {
        Ok(text) => Ok(file.document(text, Some(first), Map::new())),
        Err((line, message)) => Err(file.problem(Some(first + line), message)),
    })
}
