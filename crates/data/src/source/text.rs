use std::io::{BufRead, Read};
use std::ops::ControlFlow;

use serde_json::Map;

use super::format::Format;
use super::lines::Lines;
use super::{Flow, Sink, SourceFile, TextSplit};

/// Reads a text file: one document, or one for each paragraph.
pub(super) fn read(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let reader = file.open_text()?;
    match file.source.split {
        TextSplit::File => whole(file, reader, sink),
        TextSplit::Paragraph => paragraphs(file, reader, sink),
    }
}

fn whole(file: &SourceFile<'_>, reader: impl BufRead, sink: &mut Sink<'_>) -> Flow {
    let mut bytes = Vec::new();
    let most = file.max_record_bytes();
    if let Err(error) = reader.take(most as u64 + 1).read_to_end(&mut bytes) {
        return sink(Err(file.problem(None, format!("cannot be read: {error}"))));
    }
    if bytes.len() > most {
        return sink(Err(file.problem(None, file.too_long() + "; set split = \"paragraph\"")));
    }
    sink(match file.utf8(bytes) {
        Ok(mut text) => {
            let markdown = file.format == Format::Markdown;
            let title = if markdown { heading(&text).map(str::to_owned) } else { None };
            if markdown && file.source.plain_markdown {
                text = danlu_formats::markdown::to_text(&text);
            }
            let metadata = title.map(|title| ("title".to_owned(), title.into()));
            Ok(file.document(text, None, metadata.into_iter().collect()))
        }
        Err((line, message)) => Err(file.problem(Some(line + 1), message)),
    })
}

/// The first heading of the first level in a Markdown text.
fn heading(text: &str) -> Option<&str> {
    let mut fenced = false;
    text.lines().find_map(|line| {
        fenced ^= line.starts_with("```") || line.starts_with("~~~");
        let title = line.strip_prefix("# ").filter(|_| !fenced)?;
        Some(title.trim().trim_end_matches('#').trim_end()).filter(|title| !title.is_empty())
    })
}

fn paragraphs(file: &SourceFile<'_>, reader: impl BufRead, sink: &mut Sink<'_>) -> Flow {
    let most = file.max_record_bytes();
    let mut lines = Lines::new(reader, most);
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
            Some(bytes) if paragraph.len() + bytes.len() < most => {
                if paragraph.is_empty() {
                    first = number;
                } else {
                    paragraph.push(b'\n');
                }
                paragraph.extend_from_slice(&bytes);
            }
            _ => {
                paragraph.clear();
                if sink(Err(file.problem(Some(number), file.too_long())))?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }
}

fn emit(file: &SourceFile<'_>, paragraph: Vec<u8>, first: u64, sink: &mut Sink<'_>) -> Flow {
    sink(match file.utf8(paragraph) {
        Ok(text) => Ok(file.document(text, Some(first), Map::new())),
        Err((line, message)) => Err(file.problem(Some(first + line), message)),
    })
}
