//! Limits on what a few compressed bytes may become.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far a compressed input may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Decompressed bytes for each compressed one, beyond the first `free` bytes.
    pub max_ratio: u64,
    /// Decompressed bytes in all.
    pub max_total: u64,
    /// Bytes that any input may decompress to, whatever its ratio: small files of spaces are no bombs.
    pub free: u64,
}

impl Default for Limits {
    /// 200 times its size (text reaches 5 to 30) beyond 16 MiB, and no bound on the total.
    fn default() -> Self {
        Self { max_ratio: 200, max_total: u64::MAX, free: 16 << 20 }
    }
}

/// What a decompressed input has exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error(
        "{consumed} compressed bytes have become {produced}, more than {max_ratio} times as many: \
         it looks like a decompression bomb; raise max_ratio if the data is meant to be so"
    )]
    Ratio { consumed: u64, produced: u64, max_ratio: u64 },
    #[error("more than {max_total} decompressed bytes; raise max_total to read them")]
    Total { max_total: u64 },
}

impl Limits {
    /// Whether `consumed` compressed bytes may have become `produced`.
    pub fn check(&self, consumed: u64, produced: u64) -> Result<(), LimitError> {
        if produced > self.max_total {
            return Err(LimitError::Total { max_total: self.max_total });
        }
        if produced > consumed.saturating_mul(self.max_ratio).saturating_add(self.free) {
            return Err(LimitError::Ratio { consumed, produced, max_ratio: self.max_ratio });
        }
        Ok(())
    }
}

/// Counts the bytes read through it: what lies below a decompressor.
#[derive(Debug)]
pub struct CountedReader<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R> CountedReader<R> {
    pub fn new(inner: R, count: Arc<AtomicU64>) -> Self {
        Self { inner, count }
    }
}

impl<R: Read> Read for CountedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// What lies above a decompressor: fails with a [`LimitError`] as soon as it has given more than `limits` allow for the
/// compressed bytes that `consumed` counts.
#[derive(Debug)]
pub struct LimitedReader<R> {
    inner: R,
    consumed: Arc<AtomicU64>,
    produced: u64,
    limits: Limits,
}

impl<R> LimitedReader<R> {
    pub fn new(inner: R, consumed: Arc<AtomicU64>, limits: Limits) -> Self {
        Self { inner, consumed, produced: 0, limits }
    }
}

impl<R: Read> Read for LimitedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.produced += read as u64;
        self.limits.check(self.consumed.load(Ordering::Relaxed), self.produced).map_err(io::Error::other)?;
        Ok(read)
    }
}

/// All of a decompressor's output, if it stays within `limits` for `consumed` bytes of input.
pub(crate) fn read_limited(inner: impl Read, consumed: u64, limits: Limits) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    LimitedReader::new(inner, Arc::new(AtomicU64::new(consumed)), limits).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read, Write};
    use std::sync::Arc;

    use flate2::Compression;
    use flate2::read::GzDecoder;
    use flate2::write::GzEncoder;

    use super::{CountedReader, LimitError, LimitedReader, Limits};
    use crate::Fault;

    fn read(content: &[u8], limits: Limits) -> std::io::Result<usize> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        let compressed = encoder.finish().unwrap();
        let count = Arc::default();
        let decoder = GzDecoder::new(CountedReader::new(&compressed[..], Arc::clone(&count)));
        LimitedReader::new(decoder, count, limits).read_to_end(&mut Vec::new())
    }

    #[test]
    fn a_bomb_is_refused_and_text_is_not() {
        let limits = Limits { max_ratio: 100, max_total: u64::MAX, free: 1 << 16 };
        let error = Fault::from(read(&vec![b' '; 4 << 20], limits).unwrap_err());
        assert!(matches!(error, Fault::Limit(LimitError::Ratio { max_ratio: 100, .. })), "{error}");
        assert!(error.to_string().contains("raise max_ratio"));
        let text: String = (0..100_000).map(|n| format!("{n} ")).collect();
        assert_eq!(read(text.as_bytes(), limits).unwrap(), text.len());
        assert_eq!(read(&[b' '; 1 << 16], limits).unwrap(), 1 << 16);
    }

    #[test]
    fn the_total_is_bounded() {
        let limits = Limits { max_total: 1000, ..Limits::default() };
        let error = Fault::from(read(&[b'x'; 1001], limits).unwrap_err());
        assert!(matches!(error, Fault::Limit(LimitError::Total { max_total: 1000 })), "{error}");
        assert_eq!(read(&[b'x'; 1000], limits).unwrap(), 1000);
    }
}
