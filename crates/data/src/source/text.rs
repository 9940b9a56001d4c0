use std::io::{BufRead, Read};
use std::ops::ControlFlow;

use danlu_formats::markdown;
use danlu_formats::records::{JsonLinesReader, JsonRecord};
use serde_json::{Map, Value};

use super::batch::{in_order, watched};
use super::format::Format;
use super::lines::Lines;
use super::{Flow, Problem, Sink, SourceFile, TextSplit};
use crate::Document;

/// Reads a text file: one document, or one for each paragraph or line.
pub(super) fn read(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let reader = file.open_text()?;
    match file.source.split {
        TextSplit::File => whole(file, reader, sink),
        TextSplit::Paragraph => paragraphs(file, reader, sink),
        TextSplit::Line => lines(file, reader, sink),
    }
}

/// Each line that is not blank is a document, as it is.
fn lines(file: &SourceFile<'_>, reader: impl BufRead, sink: &mut Sink<'_>) -> Flow {
    let lines = JsonLinesReader::new(reader, file.max_record_bytes());
    let lines = watched(file, lines, |line| {
        file.mends(&line.bytes);
    });
    in_order(file, lines, |line| line.bytes.len(), |line| of_line(file, line), sink)
}

fn of_line(file: &SourceFile<'_>, line: JsonRecord) -> Result<Document, Problem> {
    let number = Some(line.number);
    match file.utf8(line.bytes) {
        Ok(text) => Ok(file.document(text, number, Map::new())),
        Err((_, message)) => Err(file.problem(number, message)),
    }
}

fn whole(file: &SourceFile<'_>, reader: impl BufRead, sink: &mut Sink<'_>) -> Flow {
    let mut bytes = Vec::new();
    let most = file.max_record_bytes();
    if let Err(error) = reader.take(most as u64 + 1).read_to_end(&mut bytes) {
        return sink(Err(file.problem(None, format!("cannot be read: {error}"))));
    }
    if bytes.len() > most {
        return sink(Err(file.problem(None, file.too_long() + "; set split = \"paragraph\" or \"line\"")));
    }
    sink(match file.utf8(bytes) {
        Ok(mut text) => {
            let mut headings = Headings::of(file);
            if headings.is_markdown {
                text.lines().for_each(|line| headings.pass(line));
            }
            if headings.plain {
                text = markdown::to_text(&text);
            }
            Ok(file.document(text, None, headings.metadata()))
        }
        Err((line, message)) => Err(file.problem(Some(line + 1), message)),
    })
}

/// Goes over the lines of a Markdown text for its title, the first heading of the first level. Other texts have none.
struct Headings {
    is_markdown: bool,
    /// The marks of Markdown are taken out.
    plain: bool,
    /// The present line is code.
    fenced: bool,
    title: Option<String>,
}

impl Headings {
    fn of(file: &SourceFile<'_>) -> Self {
        let is_markdown = file.format == Format::Markdown;
        Self { is_markdown, plain: is_markdown && file.source.plain_markdown, fenced: false, title: None }
    }

    fn pass(&mut self, line: &str) {
        self.fenced ^= line.starts_with("```") || line.starts_with("~~~");
        let title = line.strip_prefix("# ").filter(|_| !self.fenced && self.title.is_none());
        let title = title.map(|title| title.trim().trim_end_matches('#').trim_end());
        self.title = self.title.take().or(title.filter(|title| !title.is_empty()).map(str::to_owned));
    }

    /// The title so far.
    fn metadata(&self) -> Map<String, Value> {
        self.title.iter().map(|title| ("title".to_owned(), title.as_str().into())).collect()
    }
}

fn paragraphs(file: &SourceFile<'_>, reader: impl BufRead, sink: &mut Sink<'_>) -> Flow {
    let most = file.max_record_bytes();
    let mut lines = Lines::new(reader, most);
    let mut headings = Headings::of(file);
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
        // Half a block of code is no Markdown.
        let blank = blank && (at_end || !(headings.plain && headings.fenced));
        if blank && !paragraph.is_empty() {
            let paragraph = std::mem::take(&mut paragraph);
            if emit(file, &headings, paragraph, first, sink)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if at_end {
            return Ok(ControlFlow::Continue(()));
        }
        match text {
            _ if blank => {}
            Some(bytes) if paragraph.len() + bytes.len() < most => {
                if headings.is_markdown {
                    headings.pass(&String::from_utf8_lossy(&bytes));
                }
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

fn emit(file: &SourceFile<'_>, headings: &Headings, paragraph: Vec<u8>, first: u64, sink: &mut Sink<'_>) -> Flow {
    let text = file.utf8(paragraph).map(|text| if headings.plain { markdown::to_text(&text) } else { text });
    if text.as_ref().is_ok_and(|text| headings.plain && text.trim().is_empty()) {
        file.pass_over("paragraphs of marks alone", 1);
        return Ok(ControlFlow::Continue(()));
    }
    sink(match text {
        Ok(text) => Ok(file.document(text, Some(first), headings.metadata())),
        Err((line, message)) => Err(file.problem(Some(first + line), message)),
    })
}
