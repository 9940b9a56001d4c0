use std::io::BufRead;

use crate::lines::{Line, Lines};
use crate::{At, Fault, FormatError, reading};

/// A message as it lies in an mbox file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MboxMessage {
    /// The line that begins it (`From sender date`), from 1.
    pub line: u64,
    /// Headers and body, free of the file's own quoting; [`super::parse_message`] reads it.
    pub bytes: Vec<u8>,
}

/// Splits an mbox file at the lines `From sender date` that follow an empty line. `>From` within a body loses its mark.
#[derive(Debug)]
pub struct MboxReader<R> {
    lines: Lines<R>,
    max_bytes: usize,
    /// The separator of the next message.
    next: Option<Line>,
    started: bool,
    ended: bool,
}

impl<R: BufRead> MboxReader<R> {
    pub fn new(reader: R, max_bytes: usize) -> Self {
        Self { lines: Lines::new(reader, max_bytes), max_bytes, next: None, started: false, ended: false }
    }

    fn line(&mut self, at: u64) -> Result<Option<Line>, FormatError> {
        self.lines.next().map_err(|error| FormatError::io(At::Line(at), error))
    }

    /// The first separator; anything before it is an error of its own.
    fn start(&mut self) -> Result<(), FormatError> {
        self.started = true;
        let mut garbage = false;
        while let Some(line) = self.line(1)? {
            if is_separator(&line) {
                self.next = Some(line);
                break;
            }
            garbage |= !line.is_blank();
        }
        match garbage {
            true => {
                Err(FormatError::malformed(At::Line(1), "mbox", "it does not begin with a line \"From sender date\""))
            }
            false => Ok(()),
        }
    }

    fn read(&mut self) -> Result<Option<MboxMessage>, FormatError> {
        if !self.started {
            self.start()?;
        }
        let Some(separator) = self.next.take() else { return Ok(None) };
        let mut bytes = Vec::new();
        let mut too_large = false;
        let mut after_blank = false;
        while let Some(line) = self.line(separator.number)? {
            if after_blank && is_separator(&line) {
                self.next = Some(line);
                break;
            }
            after_blank = line.is_blank();
            too_large |= line.cut || bytes.len() + line.bytes.len() > self.max_bytes;
            if !too_large {
                bytes.extend_from_slice(unquoted(&line.bytes));
            }
        }
        if too_large {
            let fault = Fault::TooLarge { limit: self.max_bytes };
            return Err(FormatError::record(At::Line(separator.number), fault));
        }
        Ok(Some(MboxMessage { line: separator.number, bytes }))
    }
}

impl<R: BufRead> Iterator for MboxReader<R> {
    type Item = Result<MboxMessage, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        reading::next(self, |reader| &mut reader.ended, Self::read)
    }
}

/// `From sender date`: a sentence may begin with "From" as well, but it has no year at its end and no time.
fn is_separator(line: &Line) -> bool {
    let content = line.content();
    content.starts_with(b"From ")
        && content.len() < 500
        && content.contains(&b':')
        && content.iter().any(u8::is_ascii_digit)
}

/// A body's line without the mark before "From" (any number of marks loses one).
fn unquoted(line: &[u8]) -> &[u8] {
    let marks = line.iter().take_while(|&&byte| byte == b'>').count();
    if marks > 0 && line[marks..].starts_with(b"From ") { &line[1..] } else { line }
}
