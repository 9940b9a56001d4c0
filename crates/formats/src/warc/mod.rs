//! WARC 1.0 and 1.1 (ISO 28500): pages as a crawler stored them, and the texts extracted from them (WET).
//!
//! ```text
//! WARC/1.0 CRLF  name: value CRLF ...  CRLF  block of Content-Length bytes  CRLF CRLF  next record
//! ```
//!
//! The input is the decompressed file; a `.warc.gz` is many gzip members one after another, all of which the caller's decoder
//! must read. After damage the reader looks for the next line that begins a record.

mod http;

use std::io::BufRead;

use crate::limits::Limits;
use crate::lines::{Line, Lines};
use crate::{At, Fault, FormatError, dates, reading};

pub use http::{HttpHead, parse_response};

/// Bytes of a record's header.
const MAX_HEADER: usize = 64 << 10;

/// What a record is (its `WARC-Type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarcKind {
    /// What a server answered.
    Response,
    /// A resource without HTTP around it.
    Resource,
    /// Another record's content in another form: the text of a WET file.
    Conversion,
}

/// A record with content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarcRecord {
    pub kind: WarcKind,
    /// Where the record begins in the decompressed input.
    pub offset: u64,
    pub id: Option<String>,
    pub url: Option<String>,
    /// ISO 8601.
    pub date: Option<String>,
    /// That of the payload, without parameters: "text/html".
    pub content_type: Option<String>,
    /// The encoding that HTTP declares.
    pub charset: Option<String>,
    /// The HTTP status of a response.
    pub status: Option<u16>,
    /// The languages that WET files name (ISO 639-3, the most frequent first).
    pub languages: Option<String>,
    /// The body, decoded of chunks and compression.
    pub payload: Vec<u8>,
}

/// Reads the records with content; the others (`warcinfo`, `request`, `metadata`, `revisit`, ...) are counted.
#[derive(Debug)]
pub struct WarcReader<R> {
    lines: Lines<R>,
    max_bytes: usize,
    limits: Limits,
    skipped: u64,
    /// A line already read that begins a record.
    pending: Option<Line>,
    ended: bool,
}

/// A record's header.
#[derive(Debug, Default)]
struct Header {
    fields: Vec<(String, String)>,
}

impl Header {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn kind(&self) -> Option<WarcKind> {
        match self.get("WARC-Type")?.to_ascii_lowercase().as_str() {
            "response" => Some(WarcKind::Response),
            "resource" => Some(WarcKind::Resource),
            "conversion" => Some(WarcKind::Conversion),
            _ => None,
        }
    }
}

impl<R: BufRead> WarcReader<R> {
    /// `max_bytes` bounds a record's block, and its body after decompression.
    pub fn new(reader: R, max_bytes: usize) -> Self {
        let limits = Limits { max_total: max_bytes as u64, ..Limits::default() };
        Self { lines: Lines::new(reader, MAX_HEADER), max_bytes, limits, skipped: 0, pending: None, ended: false }
    }

    /// Records of other kinds passed over so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The next record with content; `Ok(None)` at the end.
    fn read(&mut self) -> Result<Option<WarcRecord>, FormatError> {
        loop {
            let Some(offset) = self.find_start()? else { return Ok(None) };
            let header = self.header(offset)?;
            let length = header.get("Content-Length").and_then(|length| length.parse::<u64>().ok());
            let Some(length) = length else {
                return Err(malformed(offset, "a record without a valid Content-Length"));
            };
            let Some(kind) = header.kind() else {
                self.skip(offset, length)?;
                self.skipped += 1;
                continue;
            };
            let block = self.block(offset, length)?;
            return record(kind, offset, &header, block, self.limits).map(Some);
        }
    }

    /// Finds the line that begins a record; lines of anything else before it are one error.
    fn find_start(&mut self) -> Result<Option<u64>, FormatError> {
        let mut garbage = None;
        loop {
            let line = match self.pending.take() {
                Some(line) => Some(line),
                None => self.lines.next().map_err(|error| FormatError::io(At::Offset(self.lines.offset()), error))?,
            };
            match line {
                Some(line) if is_version(&line) => {
                    let Some(from) = garbage else { return Ok(Some(line.offset)) };
                    let skipped = line.offset - from;
                    self.pending = Some(line);
                    return Err(malformed(from, format!("{skipped} bytes that belong to no record were passed over")));
                }
                Some(line) if line.is_blank() => {}
                Some(line) => garbage = garbage.or(Some(line.offset)),
                None => {
                    return match garbage {
                        Some(from) => Err(malformed(from, "no record begins here or later")),
                        None => Ok(None),
                    };
                }
            }
        }
    }

    fn header(&mut self, offset: u64) -> Result<Header, FormatError> {
        let mut header = Header::default();
        let mut bytes = 0;
        loop {
            let line = self.lines.next().map_err(|error| FormatError::io(At::Offset(offset), error))?;
            let Some(line) = line else {
                return Err(FormatError::last(At::Offset(offset), Fault::Truncated("in its header".into())));
            };
            if is_version(&line) {
                self.pending = Some(line);
                return Err(malformed(offset, "the header ends where another record begins"));
            }
            bytes += line.bytes.len();
            if bytes > MAX_HEADER || line.cut {
                return Err(malformed(offset, format!("a header of more than {MAX_HEADER} bytes")));
            }
            let content = String::from_utf8_lossy(line.content()).into_owned();
            if content.is_empty() {
                return Ok(header);
            }
            match (content.split_once(':'), header.fields.last_mut()) {
                _ if content.starts_with([' ', '\t']) => {
                    if let Some((_, value)) = header.fields.last_mut() {
                        value.push(' ');
                        value.push_str(content.trim());
                    }
                }
                (Some((name, value)), _) => header.fields.push((name.trim().into(), value.trim().into())),
                (None, _) => {} // a line that is no field says nothing
            }
        }
    }

    fn skip(&mut self, offset: u64, length: u64) -> Result<(), FormatError> {
        let read = self.lines.take(length, |_| {}).map_err(|error| FormatError::io(At::Offset(offset), error))?;
        if read < length {
            return Err(truncated(offset, read, length));
        }
        Ok(())
    }

    fn block(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, FormatError> {
        if length > self.max_bytes as u64 {
            self.skip(offset, length)?;
            return Err(FormatError::record(At::Offset(offset), Fault::TooLarge { limit: self.max_bytes }));
        }
        let mut block = Vec::new();
        let read = self.lines.take(length, |part| block.extend_from_slice(part));
        let read = read.map_err(|error| FormatError::io(At::Offset(offset), error))?;
        if read < length {
            return Err(truncated(offset, read, length));
        }
        Ok(block)
    }
}

impl<R: BufRead> Iterator for WarcReader<R> {
    type Item = Result<WarcRecord, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        reading::next(self, |reader| &mut reader.ended, Self::read)
    }
}

fn is_version(line: &Line) -> bool {
    let content = line.content();
    content.starts_with(b"WARC/") && content.len() < 16 && content[5..].iter().all(|b| b.is_ascii_digit() || *b == b'.')
}

fn malformed(offset: u64, message: impl Into<String>) -> FormatError {
    FormatError::malformed(At::Offset(offset), "WARC", message)
}

fn truncated(offset: u64, read: u64, length: u64) -> FormatError {
    FormatError::last(At::Offset(offset), Fault::Truncated(format!("{read} of its {length} bytes are there")))
}

fn record(
    kind: WarcKind,
    offset: u64,
    header: &Header,
    block: Vec<u8>,
    limits: Limits,
) -> Result<WarcRecord, FormatError> {
    let field = |name| header.get(name).map(str::to_owned);
    let (content_type, charset) = http::media_type(header.get("Content-Type").unwrap_or(""));
    let mut record = WarcRecord {
        kind,
        offset,
        id: field("WARC-Record-ID").map(|id| id.trim_matches(['<', '>']).into()),
        url: field("WARC-Target-URI").map(|url| url.trim_matches(['<', '>']).into()),
        date: header.get("WARC-Date").and_then(dates::iso),
        content_type,
        charset,
        status: None,
        languages: field("WARC-Identified-Content-Language"),
        payload: block,
    };
    if kind == WarcKind::Response && record.content_type.as_deref() == Some("application/http") {
        let (head, payload) =
            parse_response(&record.payload, limits).map_err(|fault| FormatError::record(At::Offset(offset), fault))?;
        record.status = Some(head.status);
        (record.content_type, record.charset) = http::media_type(head.get("Content-Type").unwrap_or(""));
        record.payload = payload;
    }
    Ok(record)
}
