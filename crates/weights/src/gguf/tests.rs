#![allow(clippy::unwrap_used)]
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::{Kind, WeightsError};

/// Written by llama.cpp's own package (tests/golden/make.py).
const SMALL: &[u8] = include_bytes!("../../tests/golden/small.gguf");

/// Where its last tensor ends; padding follows.
const END: usize = 840;

fn open(bytes: &[u8]) -> Result<Gguf, WeightsError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    Gguf::open(&path) // the file stays readable while it is open
}

fn error(bytes: &[u8]) -> String {
    open(bytes).unwrap_err().to_string().split_once(": ").unwrap().1.to_owned()
}

#[test]
fn a_file_of_another_program_is_read() {
    let file = open(SMALL).unwrap();
    let metadata = &file.metadata;
    assert_eq!((file.version, metadata.text("general.architecture")), (3, Some("llama")));
    assert_eq!(metadata.text("a.text"), Some("丹炉"));
    for (name, count) in [("a.u8", 200), ("a.u16", 60_000), ("a.u32", 4_000_000_000), ("a.u64", 1 << 40)] {
        assert_eq!(metadata.count(name), Some(count), "{name}");
    }
    assert_eq!((metadata.count("a.i8"), metadata.get("a.i8")), (None, Some(&Value::I8(-2))));
    assert_eq!((metadata.get("a.i16"), metadata.get("a.i32")), (Some(&Value::I16(-300)), Some(&Value::I32(-5))));
    assert_eq!(metadata.get("a.i64"), Some(&Value::I64(-(1 << 40))));
    assert_eq!((metadata.number("a.f32"), metadata.number("a.f64")), (Some(0.25), Some(0.1)));
    assert_eq!(metadata.flag("a.flag"), Some(true));
    assert_eq!(metadata.texts("a.texts").unwrap(), ["水", "", "fire"]);
    assert_eq!(metadata.ints("a.ints").unwrap(), [1, -2]);
    assert_eq!(metadata.get("a.floats"), Some(&Value::Array(Array::Floats(vec![0.5, -1.5]))));

    let tensors: Vec<_> = file.tensors.iter().map(|t| (t.name.as_str(), t.shape.clone(), t.kind)).collect();
    assert_eq!(
        tensors,
        [
            ("plain.weight", vec![2, 3], Kind::F32),
            ("half.weight", vec![5], Kind::F16),
            ("eight.weight", vec![2, 64], Kind::Q8_0)
        ]
    );
    assert_eq!(file.values(&file.tensors[0]).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(file.values(file.tensor("half.weight").unwrap()).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0]);
    let eight = file.values(&file.tensors[2]).unwrap();
    assert!(eight.iter().enumerate().all(|(i, x)| (x - (i as f32 * 2.0 / 127.0 - 1.0)).abs() < 5e-3), "{eight:?}");
}

fn written(metadata: &Metadata, tensors: &[(String, Vec<u64>, Kind)], values: &[Vec<f32>]) -> Vec<u8> {
    let mut writer = Writer::begin(Vec::new(), Path::new("out.gguf"), metadata, tensors).unwrap();
    for ((name, ..), values) in tensors.iter().zip(values) {
        writer.tensor(name, values).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn what_is_read_and_written_again_is_the_same_to_the_byte() {
    let file = open(SMALL).unwrap();
    let tensors: Vec<_> = file.tensors.iter().map(|t| (t.name.clone(), t.shape.clone(), t.kind)).collect();
    let values: Vec<_> = file.tensors.iter().map(|t| file.values(t).unwrap()).collect();
    let again = written(&file.metadata, &tensors, &values);
    assert_eq!(again.len(), SMALL.len());
    assert!(again == SMALL);
}

#[test]
fn a_writer_holds_what_it_announced() {
    let plan = [("a".to_string(), vec![2, 32], Kind::Q8_0), ("b".to_string(), vec![1], Kind::F32)];
    let begin = || Writer::begin(Vec::new(), Path::new("x"), &Metadata::default(), &plan).unwrap();
    let mut writer = begin();
    assert!(writer.tensor("b", &[1.0]).is_err());
    assert!(writer.tensor("a", &[1.0; 63]).is_err());
    writer.tensor("a", &[1.0; 64]).unwrap();
    assert!(writer.finish().unwrap_err().to_string().contains("b was announced"));
    let plan = [("a".to_string(), vec![2, 31], Kind::Q8_0)];
    let error = Writer::begin(Vec::new(), Path::new("x"), &Metadata::default(), &plan).err().unwrap();
    assert!(error.to_string().contains("rows of 31 cannot be stored as Q8_0"), "{error}");
    let plan = [("a".to_string(), vec![32], Kind::Q5_0)];
    let mut writer = Writer::begin(Vec::new(), Path::new("x"), &Metadata::default(), &plan).unwrap();
    assert!(writer.tensor("a", &[0.0; 32]).unwrap_err().to_string().contains("danlu writes F32"));
}

/// The small file with some bytes in place of those at the first `old` after the header.
fn patched(old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = SMALL.windows(old.len()).position(|window| window == old).unwrap();
    [&SMALL[..at], new, &SMALL[at + old.len()..]].concat()
}

#[test]
fn broken_files_are_named_with_the_place() {
    assert_eq!(error(b""), "not a GGUF file: it does not begin with GGUF");
    assert_eq!(error(b"PK\x03\x04 and more"), "not a GGUF file: it does not begin with GGUF");
    assert_eq!(error(b"GGUF\x01\0\0\0"), "GGUF version 1; danlu reads versions 2 and 3");
    assert_eq!(error(b"GGUF\0\0\0\x03"), "a big-endian GGUF file; danlu reads little-endian ones");
    let claims = [&b"GGUF\x03\0\0\0"[..], &[255; 16]].concat();
    assert!(error(&claims).starts_with("it claims 18446744073709551615 tensors"), "{}", error(&claims));
    assert!(error(&SMALL[..END - 1]).contains("\"eight.weight\" should have 136 bytes"));
    // The second tensor's offset is that of the first.
    let second = [&b"half.weight"[..], &1u32.to_le_bytes(), &5u64.to_le_bytes(), &1u32.to_le_bytes()].concat();
    let moved = patched(&[&second[..], &32u64.to_le_bytes()].concat(), &[&second[..], &0u64.to_le_bytes()].concat());
    assert_eq!(error(&moved), "the tensors \"plain.weight\" and \"half.weight\" overlap");
    let crooked = patched(&[&second[..], &32u64.to_le_bytes()].concat(), &[&second[..], &33u64.to_le_bytes()].concat());
    assert_eq!(error(&crooked), "the tensor \"half.weight\" is at 33, no multiple of 32");
    let far =
        patched(&[&second[..], &32u64.to_le_bytes()].concat(), &[&second[..], &(u64::MAX - 31).to_le_bytes()].concat());
    assert!(error(&far).contains("the file ends before"), "{}", error(&far));
    // Lengths whose product does not fit.
    let first = [&b"plain.weight"[..], &2u32.to_le_bytes(), &3u64.to_le_bytes(), &2u64.to_le_bytes()].concat();
    let huge =
        [&b"plain.weight"[..], &2u32.to_le_bytes(), &(1u64 << 40).to_le_bytes(), &(1u64 << 40).to_le_bytes()].concat();
    assert!(error(&patched(&first, &huge)).contains("cannot be stored as F32"));
    let named = patched(b"half.weight", b"plain.weigh");
    assert!(open(&named).is_ok());
    assert_eq!(error(&patched(b"a.i8", b"a.u8")), "two entries are named \"a.u8\"");
    let iq = [&b"half.weight"[..], &1u32.to_le_bytes(), &5u64.to_le_bytes(), &23u32.to_le_bytes()].concat();
    assert_eq!(
        error(&patched(&second, &iq)),
        "the tensor \"half.weight\" is of the element type IQ4_XS; danlu reads F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, \
         Q5_K, Q6_K, BF16"
    );
}

#[test]
fn every_cut_of_a_file_is_an_error() {
    for length in 0..END {
        assert!(open(&SMALL[..length]).is_err(), "the first {length} bytes");
    }
}

proptest! {
    /// Any change of a byte gives a file that is read or refused, and its tensors with it.
    #[test]
    fn changed_files_are_no_crash(changes in prop::collection::vec((0..SMALL.len(), any::<u8>()), 1..6)) {
        let mut bytes = SMALL.to_vec();
        changes.into_iter().for_each(|(at, byte)| bytes[at] = byte);
        if let Ok(file) = open(&bytes) {
            for tensor in &file.tensors {
                let _ = file.values(tensor);
            }
        }
    }

    #[test]
    fn files_are_read_as_they_were_written(
        rows in 1u64..4, blocks in 1u64..4, kind in prop::sample::select(vec![Kind::F32, Kind::F16, Kind::Bf16, Kind::Q8_0, Kind::Q4_0]),
        names in prop::collection::btree_set("[a-z.]{1,12}", 1..5), text in "\\PC{0,20}",
    ) {
        let mut metadata = Metadata::default();
        metadata.set("general.name", Value::Text("old".into()));
        metadata.set("general.name", Value::Text(text.clone()));
        metadata.set("sizes", Value::Array(Array::Others(vec![Value::U64(rows), Value::U64(blocks)])));
        let shape = vec![rows, 32 * blocks];
        let tensors: Vec<_> = names.iter().map(|name| (name.clone(), shape.clone(), kind)).collect();
        // Multiples of an eighth up to 7 are exact in each of these kinds when the largest of a block sets the step.
        let values: Vec<Vec<f32>> = (0..names.len() as u64)
            .map(|t| (0..rows * 32 * blocks).map(|i| if i % 32 == 0 { -8.0 } else { ((i + t) % 8) as f32 }).collect())
            .collect();
        let file = open(&written(&metadata, &tensors, &values)).unwrap();
        prop_assert_eq!(&file.metadata, &metadata);
        for (tensor, ((name, ..), want)) in file.tensors.iter().zip(tensors.iter().zip(&values)) {
            prop_assert_eq!((&tensor.name, &tensor.shape), (name, &shape));
            let got = file.values(tensor).unwrap();
            let close = got.iter().zip(want).all(|(g, w)| (g - w).abs() <= if kind == Kind::Q8_0 { 0.04 } else { 0.0 });
            prop_assert!(close, "{kind}: {got:?}");
        }
    }
}
