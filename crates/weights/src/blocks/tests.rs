#![allow(clippy::unwrap_used)]
use proptest::prelude::*;
use serde_json::Value;

use crate::{Kind, decode, encode};

/// Made with llama.cpp's own package by tests/golden/make.py.
fn golden(list: &str) -> Vec<(Kind, Vec<u8>, Vec<f32>)> {
    let all: Value = serde_json::from_str(include_str!("../../tests/golden/blocks.json")).unwrap();
    let read = |entry: &Value| {
        let hex = entry["bytes"].as_str().unwrap();
        let bytes = (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        let values = entry["values"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
        (Kind::from_name(entry["kind"].as_str().unwrap()).unwrap(), bytes, values)
    };
    all[list].as_array().unwrap().iter().map(read).collect()
}

#[test]
fn every_kind_is_read_as_its_authors_read_it() {
    let golden = golden("decoded");
    assert_eq!(golden.len(), Kind::all().count());
    for (kind, bytes, want) in golden {
        let got = decode(kind, &bytes).unwrap();
        assert_eq!(got.len(), want.len(), "{kind}");
        for (i, (g, w)) in got.iter().zip(&want).enumerate() {
            // The order of the two or three roundings is not the same everywhere.
            assert!((g - w).abs() <= 4.0 * f32::EPSILON * w.abs().max(1e-3), "{kind}[{i}]: {g}, want {w}");
        }
    }
}

#[test]
fn what_is_written_is_what_its_authors_write() {
    for (kind, want, values) in golden("encoded") {
        assert_eq!(encode(kind, &values).unwrap(), want, "{kind}");
    }
}

#[test]
fn parts_of_blocks_and_kinds_that_are_only_read_are_refused() {
    assert_eq!(decode(Kind::Q4_0, &[0; 17]), None);
    assert_eq!(encode(Kind::Q8_0, &[0.0; 31]), None);
    assert_eq!(encode(Kind::Q4K, &[0.0; 256]), None);
    assert_eq!(decode(Kind::Q6K, &[]), Some(Vec::new()));
}

proptest! {
    /// No value is farther from what it was than half a step of its block; four bits cut what is beyond seven steps.
    #[test]
    fn values_survive_up_to_their_step(values in prop::collection::vec(-1e3f32..1e3, 32..=32)) {
        let largest = values.iter().fold(0f32, |m, x| m.max(x.abs()));
        for (kind, step) in [(Kind::Q8_0, largest / 127.0), (Kind::Q4_0, largest / 8.0)] {
            let back = decode(kind, &encode(kind, &values).unwrap()).unwrap();
            let bound = if kind == Kind::Q4_0 { step } else { 0.51 * step } + largest * 1e-3;
            for (x, y) in values.iter().zip(&back) {
                prop_assert!((x - y).abs() <= bound, "{kind}: {x} became {y}, a step is {step}");
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_crash(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        for kind in Kind::all() {
            let whole = bytes.len() / kind.block_bytes() * kind.block_bytes();
            prop_assert_eq!(decode(kind, &bytes[..whole]).unwrap().len() * kind.block_bytes(), whole * kind.block_len());
        }
    }
}
