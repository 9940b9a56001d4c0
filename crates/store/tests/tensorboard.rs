//! Event files of a run that was stopped, resumed from an older checkpoint and rolled back once, read by a small reader
//! with TensorBoard's rules. With `DANLU_EVENTS_DIR` set, the folder and what should be read from it stay there for
//! `scripts/check_tensorboard.py`, which asks TensorBoard itself.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use danlu_store::{MetricsWriter, RunDb};

type Curves = BTreeMap<String, Vec<(u64, f32)>>;

fn value(step: u64, attempt: u64) -> f64 {
    8.0 / (step as f64).sqrt() + attempt as f64 / 1000.0
}

/// Writes the events of three stretches of one training; what a reader should see in the end comes back.
fn write(db: &Path, log: &Path) -> Curves {
    let stretches: [(u64, &[std::ops::RangeInclusive<u64>]); 3] = [
        // Killed after step 40, of which a checkpoint at 30 is left.
        (1, &[1..=40]),
        // From 31 on; a spike at 60 rolls back to 50.
        (2, &[31..=60, 51..=70]),
        // Nothing lost.
        (3, &[71..=80]),
    ];
    let mut latest = BTreeMap::new();
    for (attempt, ranges) in stretches {
        let writer = MetricsWriter::start(db, "key", Some(log)).unwrap();
        for step in ranges.iter().cloned().flatten() {
            let values = [("train/loss", value(step, attempt)), ("train/lr", 1.0 / 3.0)];
            writer.log(step, &values);
            latest.insert(step, values);
            if step % 10 == 0 {
                writer.log(step, &[("validation/loss", -value(step, attempt))]);
            }
        }
        writer.finish().unwrap();
    }
    let mut curves = Curves::new();
    for (step, values) in latest {
        for (name, value) in values {
            curves.entry(name.to_owned()).or_default().push((step, value as f32));
            if name == "train/loss" && step % 10 == 0 {
                curves.entry("validation/loss".to_owned()).or_default().push((step, -value as f32));
            }
        }
    }
    curves
}

/// Reads a varint from the front of `bytes`.
fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

/// The fields of a message as (number, bytes); a varint's value as its little-endian bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let data = match key & 7 {
            0 => varint(&mut bytes).to_le_bytes().to_vec(),
            wire => {
                let length = match wire {
                    1 => 8,
                    2 => varint(&mut bytes) as usize,
                    5 => 4,
                    other => panic!("wire type {other}"),
                };
                let data = bytes[..length].to_vec();
                bytes = &bytes[length..];
                data
            }
        };
        fields.push((key >> 3, data));
    }
    fields
}

fn read(log: &Path) -> Curves {
    let mut files: Vec<_> = fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut curves = Curves::new();
    for file in files {
        let bytes = fs::read(file).unwrap();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let event = fields(&rest[12..12 + length]);
            rest = &rest[16 + length..];
            let step = event
                .iter()
                .find(|field| field.0 == 2)
                .map_or(0, |field| u64::from_le_bytes(field.1[..].try_into().unwrap()));
            for (number, data) in event {
                match number {
                    5 => {
                        let summary = fields(&fields(&data)[0].1);
                        let tag = String::from_utf8(summary[0].1.clone()).unwrap();
                        let value = f32::from_le_bytes(summary[1].1[..].try_into().unwrap());
                        curves.entry(tag).or_default().push((step, value));
                    }
                    // A session begins: what lay at its step or later no longer counts.
                    7 => curves.values_mut().for_each(|points| points.retain(|point| point.0 < step)),
                    _ => {}
                }
            }
        }
    }
    curves
}

#[test]
fn a_resumed_and_rolled_back_run_reads_as_one_curve() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = std::env::var_os("DANLU_EVENTS_DIR").map_or(temporary.path().to_owned(), Into::into);
    let (db, log) = (temporary.path().join("danlu.db"), dir.join("log"));
    let expected = write(&db, &log);
    fs::write(dir.join("expected.json"), serde_json::to_string(&expected).unwrap()).unwrap();
    assert_eq!(expected["train/loss"].len(), 80);
    assert_eq!(read(&log), expected);

    // The database says the same.
    let db = RunDb::open(&db).unwrap();
    for (name, points) in &expected {
        let stored: Vec<_> = db.metrics("key", name).unwrap().into_iter().map(|(step, v)| (step, v as f32)).collect();
        assert_eq!(&stored, points);
    }
}
