//! From a file as it lies somewhere to a stream of its decompressed text.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use danlu_formats::limits::{LimitError, LimitedReader, Limits};

use super::encoding::{self, Encoding};
use super::format::{Compression, Format};
use super::{Bytes, SourceFile};
use crate::DataError;

/// What any compressed file may grow to, whatever its ratio: small files of spaces are no bombs.
pub(super) const FREE_BYTES: u64 = 64 << 20;
const BUFFER_BYTES: usize = 1 << 17;
/// The window of zstd that is taken from any file, in MiB, and that of Reddit's dumps.
const USUAL_WINDOW: u32 = 128;
const LARGEST_WINDOW: u32 = 2048;

impl SourceFile<'_> {
    /// The file's text: decompressed, within the source's limits, in UTF-8.
    pub(super) fn open_text(&self) -> Result<Box<dyn BufRead>, DataError> {
        let encoding = Encoding::named(&self.source.encoding)
            .map_err(|message| DataError::BadConfig { key: "encoding", message })?;
        let utf8 = encoding::as_utf8(self.open_decompressed()?, encoding, &self.damage);
        Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, utf8)))
    }

    /// The file's bytes, decompressed, within the source's limits.
    pub(super) fn open_decompressed(&self) -> Result<Box<dyn Read>, DataError> {
        let consumed = Arc::new(AtomicU64::new(0));
        let (inner, length) = self.open_raw()?;
        let raw = Metered { inner, total: self.read.clone(), own: consumed.clone(), length };
        let raw = BufReader::with_capacity(BUFFER_BYTES, raw);
        let io = |e| DataError::io("open", self.path(), e);
        let plain: Box<dyn Read> = match self.compression {
            Compression::None => return Ok(Box::new(raw)),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(raw)),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(raw).map_err(io)?;
                decoder.window_log_max(20 + self.window_mebibytes().ilog2()).map_err(io)?;
                Box::new(decoder)
            }
            Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(raw)),
        };
        let limits = Limits { free: FREE_BYTES, ..self.limits() };
        let limited = LimitedReader::new(plain, consumed.clone(), limits);
        Ok(Box::new(Located { inner: limited, consumed, produced: 0, window: self.window_mebibytes() }))
    }

    /// How far what is compressed, or packed within a file, may grow.
    pub(super) fn limits(&self) -> Limits {
        let most = self.source.max_decompressed_mebibytes;
        Limits {
            max_ratio: self.source.max_decompressed_ratio as u64,
            max_total: most.map_or(u64::MAX, |mebibytes| mebibytes.saturating_mul(1 << 20)),
            ..Limits::default()
        }
    }

    /// The largest window that a .zst file may have.
    fn window_mebibytes(&self) -> u32 {
        let usual = if self.format == Format::Reddit { LARGEST_WINDOW } else { USUAL_WINDOW };
        self.source.max_window_mebibytes.unwrap_or(usual).max(1)
    }

    /// The file's bytes as they are stored, and how many it has at least.
    fn open_raw(&self) -> Result<(Box<dyn Read>, u64), DataError> {
        match &self.bytes {
            Bytes::File(path) => {
                let file = File::open(path).map_err(|e| DataError::io("open", path, e))?;
                let length = file.metadata().map_or(0, |metadata| metadata.len());
                Ok((Box::new(file), length))
            }
            #[cfg(feature = "object-store")]
            Bytes::Object(object) => Ok((Box::new(object.reader()), object.bytes)),
        }
    }

    /// The file for a reader that must jump about in it; what lies in an object store is copied to a temporary file.
    pub(super) fn open_seekable(&self) -> Result<File, DataError> {
        match &self.bytes {
            Bytes::File(path) => File::open(path).map_err(|e| DataError::io("open", path, e)),
            #[cfg(feature = "object-store")]
            Bytes::Object(object) => {
                let io = |e| DataError::io("copy", self.path(), e);
                let mut file = tempfile::tempfile().map_err(io)?;
                io::copy(&mut object.reader(), &mut file).map_err(io)?;
                Ok(file)
            }
        }
    }
}

/// Counts the bytes read, for the progress of the whole and for the limits of this file, and notices when the file has
/// become shorter: a text would otherwise seem to end there.
struct Metered<R> {
    inner: R,
    total: Arc<AtomicU64>,
    own: Arc<AtomicU64>,
    /// Of the file when it was opened.
    length: u64,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.total.fetch_add(count as u64, Ordering::Relaxed);
        let read = self.own.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
        if count == 0 && !buffer.is_empty() && read < self.length {
            let message =
                format!("it ended after {read} of {} bytes: it became shorter while it was read", self.length);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        Ok(count)
    }
}

/// How zstd refuses a window (`ZSTD_error_frameParameter_windowTooLarge`); its bindings hand on no number.
const WINDOW_TOO_LARGE: &str = "requires too much memory";

/// Says in errors how far the reading had come.
struct Located<R> {
    inner: R,
    consumed: Arc<AtomicU64>,
    produced: u64,
    /// The largest window of zstd, in MiB.
    window: u32,
}

impl<R: Read> Read for Located<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read(buffer);
        match result {
            Ok(count) => {
                self.produced += count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(self.explain(&error)),
        }
    }
}

impl<R> Located<R> {
    fn explain(&self, error: &io::Error) -> io::Error {
        let limit = error.get_ref().and_then(|inner| inner.downcast_ref::<LimitError>());
        let message = match limit {
            Some(limit) => explain_limit(limit),
            None if error.to_string().contains(WINDOW_TOO_LARGE) => format!(
                "it was compressed with a window of more than {} MiB, the source's max_window_mebibytes; raise that \
                 (2048 takes what `zstd --long=31` makes) if there is so much memory",
                self.window
            ),
            None => format!(
                "{error} (at byte {} of the file, after {} decompressed bytes)",
                self.consumed.load(Ordering::Relaxed),
                self.produced
            ),
        };
        io::Error::new(error.kind(), message)
    }
}

/// What is said of a file that grows too far, with the key that allows it.
pub(super) fn explain_limit(limit: &LimitError) -> String {
    match limit {
        LimitError::Ratio { consumed, produced, max_ratio } => format!(
            "{consumed} compressed bytes have become {produced}, more than {max_ratio} times as many, as in a \
             decompression bomb; raise the source's max_decompressed_ratio if that is what it is meant to hold"
        ),
        LimitError::Total { max_total } => {
            format!("it holds more than {} MiB, the source's max_decompressed_mebibytes", max_total >> 20)
        }
    }
}
