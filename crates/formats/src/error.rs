use std::fmt;
use std::io;

use crate::limits::LimitError;

/// A record, or the whole input, that could not be read: where, what, and whether reading can go on.
#[derive(Debug, thiserror::Error)]
#[error("{at}{fault}")]
pub struct FormatError {
    pub at: At,
    pub fault: Fault,
    /// Nothing can be read after this error; otherwise the reader goes on with the next record.
    pub ends_reading: bool,
}

/// Where in the input a record lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// The input as a whole.
    Whole,
    /// Line from 1.
    Line(u64),
    /// Its place among the records, from 1.
    Record(u64),
    /// Bytes from the beginning of the (decompressed) input.
    Offset(u64),
    /// The name of a file within an archive.
    Entry(String),
}

impl fmt::Display for At {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Line(line) => write!(formatter, "line {line}: "),
            Self::Record(number) => write!(formatter, "record {number}: "),
            Self::Offset(offset) => write!(formatter, "offset {offset}: "),
            Self::Entry(name) => write!(formatter, "{name:?}: "),
        }
    }
}

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("cannot be read: {0}")]
    Io(io::Error),
    #[error(transparent)]
    Limit(LimitError),
    #[error("a record longer than {limit} bytes; raise max_bytes to read it")]
    TooLarge { limit: usize },
    #[error("the input ends within a record: {0}")]
    Truncated(String),
    #[error("malformed {format}: {message}")]
    Malformed { format: &'static str, message: String },
    #[error("{0} is not supported")]
    Unsupported(String),
}

impl FormatError {
    pub(crate) fn record(at: At, fault: Fault) -> Self {
        Self { at, fault, ends_reading: false }
    }

    pub(crate) fn last(at: At, fault: Fault) -> Self {
        Self { at, fault, ends_reading: true }
    }

    pub(crate) fn malformed(at: At, format: &'static str, message: impl Into<String>) -> Self {
        Self::record(at, Fault::Malformed { format, message: message.into() })
    }

    /// An error of the reader below: nothing can be read after it.
    pub(crate) fn io(at: At, error: io::Error) -> Self {
        Self::last(at, Fault::from(error))
    }

    /// The line of the record, where the format has lines.
    pub fn line(&self) -> Option<u64> {
        match self.at {
            At::Line(line) => Some(line),
            _ => None,
        }
    }
}

impl From<io::Error> for Fault {
    /// Finds the limit that a [`crate::limits::LimitedReader`] somewhere below has hit.
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<LimitError>()) {
            Some(limit) => Self::Limit(*limit),
            None => Self::Io(error),
        }
    }
}
