//! safetensors files and indexes that lie.
#![allow(clippy::unwrap_used)]

use danlu_weights::safetensors::{Planned, open, write};
use danlu_weights::{Stored, WeightsError};
use proptest::prelude::*;

fn file(table: &str, data: &[u8]) -> Vec<u8> {
    [&(table.len() as u64).to_le_bytes()[..], table.as_bytes(), data].concat()
}

fn opened(bytes: &[u8]) -> Result<Vec<Stored>, WeightsError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let tensors = open(&path)?;
    tensors.iter().try_for_each(|tensor| tensor.bytes().map(|_| ()))?;
    Ok(tensors)
}

fn entry(name: &str, shape: &str, begin: u64, end: u64) -> String {
    format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
}

#[test]
fn what_is_wrong_is_named() {
    let said =
        |entries: &[String]| opened(&file(&format!("{{{}}}", entries.join(",")), &[0; 16])).unwrap_err().to_string();
    let tensors = opened(&file(&format!("{{{}}}", entry("a", "[2,2]", 0, 16)), &[0; 16])).unwrap();
    assert_eq!((tensors[0].name.as_str(), tensors[0].shape.as_slice(), tensors[0].len()), ("a", &[2, 2][..], 16));
    let whole = said(&[entry("a", "[8]", 0, 32)]);
    assert!(whole.contains("\"a\" ends at byte 32") && whole.ends_with("it is not whole"), "{whole}");
    assert!(said(&[entry("a", "[2]", 0, 16)]).contains("\"a\" of [2] F32 cannot lie at 0 to 16"));
    assert!(said(&[entry("a", "[1]", 8, 4)]).contains("cannot lie at 8 to 4"));
    assert!(said(&[entry("a", "[-1]", 0, 4)]).contains("\"a\""));
    assert!(said(&[entry("a", "[4294967296,4294967296,16]", 0, 0)]).contains("cannot lie"));
    assert!(said(&[entry("a", "[2]", 0, 8), entry("b", "[2]", 4, 12)]).contains("\"a\" and \"b\" overlap"));
    assert!(said(&[entry("a", "[1]", u64::MAX - 4, u64::MAX)]).ends_with("it is not whole"));
    assert!(said(&["\"a\":3".into()]).contains("its table"));
    let error = |bytes: &[u8]| opened(bytes).unwrap_err();
    assert!(error(b"short").to_string().contains("fewer than 8 bytes"));
    assert!(error(&file("nonsense", b"")).to_string().contains("its table"));
    let cut = &file("{}", b"")[..9];
    assert_eq!(error(cut).hint().as_deref(), Some("fetch the file again"));
    assert!(error(&[&u64::MAX.to_le_bytes()[..], b"{}"].concat()).to_string().contains("not a safetensors file"));
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let planned = |name: &str, bytes: u64| Planned { name: name.into(), shape: vec![bytes], dtype: "U8".into(), bytes };
    let plan = [planned("b", 3), planned("a", 5)];
    write::<WeightsError>(&path, &plan, |i| Ok(vec![i as u8 + 1; plan[i].bytes as usize])).unwrap();
    let tensors = open(&path).unwrap();
    assert_eq!((tensors[0].name.as_str(), tensors[0].bytes().unwrap()), ("b", vec![1; 3]));
    assert_eq!(tensors[1].bytes().unwrap(), vec![2; 5]);
    let short = write::<WeightsError>(&path, &plan, |_| Ok(vec![0; 3])).unwrap_err();
    assert!(short.to_string().contains("3 bytes for a, not 5"));
}

proptest! {
    #[test]
    fn no_table_does_harm(table in "[{}\\[\\]\",:a0-9A-Z_]{0,80}", shape in prop::collection::vec(any::<u64>(), 0..4), ends: (u64, u64)) {
        let _ = opened(&file(&table, &[0; 16]));
        let _ = opened(&file(&format!("{{{}}}", entry("a", &format!("{shape:?}"), ends.0, ends.1)), &[0; 16]));
    }
}
