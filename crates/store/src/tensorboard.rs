//! TensorBoard event files: TFRecord framing around hand-encoded protocol buffers.
//!
//! Only what scalars need of `tensorflow/core/util/event.proto` and `summary.proto`:
//!
//! ```text
//! record  = length u64 LE · masked crc32c(length) u32 LE · event · masked crc32c(event) u32 LE
//! Event   { 1: wall_time double, 2: step int64, 3: file_version string | 5: summary | 7: session_log }
//! Summary { 1: Value { 1: tag string, 2: simple_value float } }    SessionLog { 1: status = 1 START }
//! ```
//!
//! TensorBoard drops, on reading, events at or after the step of a later SessionLog START: so a resumed run says where it
//! goes on ([`EventWriter::purge`]), and its curves do not double back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::error::At;
use crate::time::unix_seconds;

const FILE_PREFIX: &str = "events.out.tfevents.";

/// Writes one event file.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    out: BufWriter<File>,
    resumes: bool,
}

impl EventWriter {
    /// Opens a new event file in `dir`. TensorBoard reads a folder's files in order of their names, so the new name sorts
    /// after all that are there.
    pub fn create(dir: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).at("create the folder", dir)?;
        let (newest, count) = existing(dir)?;
        let seconds = newest.max(unix_seconds() as u64);
        for number in count..count + 1000 {
            let path = dir.join(format!("{FILE_PREFIX}{seconds:010}.danlu.{number:06}"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let mut writer = Self { path, out: BufWriter::new(file), resumes: count > 0 };
                    writer.event(0, unix_seconds(), |event| bytes_field(event, 3, b"brain.Event:2"))?;
                    writer.flush()?;
                    return Ok(writer);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StoreError::io("create", &path, error)),
            }
        }
        Err(StoreError::Invalid { what: "TensorBoard folder", reason: format!("{} is overfull", dir.display()) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True when the folder already had event files: the first thing to write is then [`EventWriter::purge`].
    pub fn resumes(&self) -> bool {
        self.resumes
    }

    /// One value of the curve `tag` (such as `train/loss`); `wall_time` in seconds since the Unix epoch. TensorBoard keeps
    /// single precision.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64, wall_time: f64) -> Result<(), StoreError> {
        let mut summary_value = Vec::with_capacity(tag.len() + 8);
        bytes_field(&mut summary_value, 1, tag.as_bytes());
        key(&mut summary_value, 2, WIRE_FIXED32);
        summary_value.extend((value as f32).to_le_bytes());
        let mut summary = Vec::with_capacity(summary_value.len() + 4);
        bytes_field(&mut summary, 1, &summary_value);
        self.event(step, wall_time, |event| bytes_field(event, 5, &summary))
    }

    /// Tells TensorBoard that events at `step` and later, written before this one, no longer count.
    pub fn purge(&mut self, step: u64, wall_time: f64) -> Result<(), StoreError> {
        self.event(step, wall_time, |event| bytes_field(event, 7, &[0x08, 0x01]))
    }

    /// Hands what was written to the operating system.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.out.flush().at("write", &self.path)
    }

    fn event(&mut self, step: u64, wall_time: f64, what: impl FnOnce(&mut Vec<u8>)) -> Result<(), StoreError> {
        let mut event = Vec::with_capacity(64);
        key(&mut event, 1, WIRE_FIXED64);
        event.extend(wall_time.to_le_bytes());
        if step > 0 {
            key(&mut event, 2, WIRE_VARINT);
            varint(&mut event, step);
        }
        what(&mut event);
        self.out.write_all(&record(&event)).at("write", &self.path)
    }
}

/// The greatest time in the names of the folder's event files, and how many there are.
fn existing(dir: &Path) -> Result<(u64, usize), StoreError> {
    let (mut newest, mut count) = (0, 0);
    for entry in fs::read_dir(dir).at("list", dir)? {
        let name = entry.at("list", dir)?.file_name();
        if let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(FILE_PREFIX)) {
            let seconds = rest.split('.').next().and_then(|digits| digits.parse().ok());
            newest = newest.max(seconds.unwrap_or(0));
            count += 1;
        }
    }
    Ok((newest, count))
}

/// A TFRecord of `data`.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked_crc(data).to_le_bytes());
    record
}

/// The checksum of TFRecord: a crc32c rotated and shifted, so that the crc of data that holds crcs stays sound.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

const WIRE_VARINT: u64 = 0;
const WIRE_FIXED64: u64 = 1;
const WIRE_BYTES: u64 = 2;
const WIRE_FIXED32: u64 = 5;

fn key(out: &mut Vec<u8>, field: u64, wire: u64) {
    varint(out, field << 3 | wire);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes_field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    key(out, field, WIRE_BYTES);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn crc32c_is_castagnoli_and_masked() {
        // RFC 3720, appendix B.4: 32 bytes of zeroes.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked_crc(&[0; 32]), 0x8a91_36aau32.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    #[test]
    fn a_record_is_framed_as_tensorboard_frames_it() {
        // The checksums come from tensorboard 2.21.0: `pywrap_tensorflow.masked_crc32c` of the length and of the data.
        let expected = b"\x05\0\0\0\0\0\0\0\xea\xb2\x04\x3edanlu\x1d\xcc\x0c\xa8";
        assert_eq!(record(b"danlu"), expected);
    }

    #[test]
    fn varints_as_the_protocol_buffer_guide_shows() {
        for (value, bytes) in [(0, &[0u8][..]), (1, &[1]), (150, &[0x96, 0x01]), (300, &[0xac, 0x02])] {
            let mut out = Vec::new();
            varint(&mut out, value);
            assert_eq!(out, bytes);
        }
    }

    /// Splits a file into events, checking both checksums of each record.
    fn events(path: &Path) -> Vec<Vec<u8>> {
        let bytes = fs::read(path).unwrap();
        let (mut rest, mut events) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], masked_crc(&rest[..8]).to_le_bytes());
            let data = &rest[12..12 + length];
            assert_eq!(rest[12 + length..16 + length], masked_crc(data).to_le_bytes());
            events.push(data.to_vec());
            rest = &rest[16 + length..];
        }
        events
    }

    #[test]
    fn the_file_is_whole_records() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(dir.path()).unwrap();
        assert!(!writer.resumes());
        writer.scalar("train/loss", 300, 2.5, 1.0).unwrap();
        writer.purge(7, 1.0).unwrap();
        writer.flush().unwrap();
        let events = events(writer.path());
        assert!(events[0].ends_with(b"\x1a\x0dbrain.Event:2"));
        let one = 1.0f64.to_le_bytes();
        let mut scalar = vec![0x09];
        scalar.extend(one);
        scalar.extend(b"\x10\xac\x02\x2a\x13\x0a\x11\x0a\x0atrain/loss\x15");
        scalar.extend(2.5f32.to_le_bytes());
        assert_eq!(events[1], scalar);
        assert_eq!(events[2][9..], [0x10, 7, 0x3a, 2, 0x08, 1]);
        assert_eq!(events.len(), 3);
    }

    #[test]
    fn later_files_sort_later_even_within_a_second_or_after_the_clock_went_back() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("events.out.tfevents.9999999999.host.1"), b"").unwrap();
        let names: Vec<_> = (0..12)
            .map(|_| {
                let writer = EventWriter::create(dir.path()).unwrap();
                assert!(writer.resumes());
                writer.path().file_name().unwrap().to_owned()
            })
            .collect();
        assert!(names.is_sorted());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 13);
    }
}
