//! Pictures as Pillow reads them, made once by scripts/golden_vision.py, and files that are none.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;

use danlu_formats::picture::{Picture, PictureLimits};
use danlu_formats::{Fault, FormatError};
use proptest::prelude::*;
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pictures")
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

fn decode(bytes: &[u8]) -> Result<Picture, FormatError> {
    Picture::decode(bytes, PictureLimits::default())
}

#[test]
fn every_kind_of_pixel_is_read_as_pillow_reads_it() {
    let record: Value = serde_json::from_slice(&file("record.json")).unwrap();
    let pictures = record["pictures"].as_object().unwrap();
    assert_eq!(pictures.len(), 8);
    for (name, want) in pictures {
        let found = decode(&file(name)).unwrap();
        let side = |key: &str| want[key].as_u64().unwrap() as usize;
        assert_eq!((found.height, found.width), (side("height"), side("width")), "{name}");
        let rgb: Vec<i64> = want["rgb"].as_array().unwrap().iter().map(|x| x.as_i64().unwrap()).collect();
        assert_eq!(found.rgb.len(), rgb.len(), "{name}");
        let off: Vec<i64> = found.rgb.iter().zip(rgb).map(|(a, b)| (i64::from(*a) - b).abs()).collect();
        let (worst, mean) = (off.iter().max().unwrap(), off.iter().sum::<i64>() as f64 / off.len() as f64);
        // Decoders of JPEG round and widen colours each in its own way.
        let most = if name.ends_with(".jpg") { (4, 0.75) } else { (0, 0.0) };
        assert!(*worst <= most.0 && mean <= most.1, "{name}: {worst}, on average {mean}");
    }
}

#[test]
fn limits_hold_before_anything_is_unpacked() {
    // The header of a picture of 100000 x 100000 pixels, and nothing else.
    let mut bomb = file("rgb.png");
    bomb[16..24].copy_from_slice(&[0, 1, 0x86, 0xA0, 0, 1, 0x86, 0xA0]);
    let crc = crc32(&bomb[12..29]).to_be_bytes();
    bomb[29..33].copy_from_slice(&crc);
    let error = decode(&bomb).unwrap_err();
    assert!(error.to_string().contains("100000 x 100000 pixels (at most 16384 on a side"), "{error}");
    let narrow = PictureLimits { max_pixels: 62, ..PictureLimits::default() };
    let error = Picture::decode(&file("rgb.png"), narrow).unwrap_err();
    assert!(error.to_string().contains("9 x 7 pixels"), "{error}");
    let short = PictureLimits { max_bytes: 50, ..PictureLimits::default() };
    let error = Picture::decode(&file("rgb.png"), short).unwrap_err();
    assert!(matches!(error.fault, Fault::TooLarge { limit: 50 }), "{error}");
}

/// PNG's checksum, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 };
        }
    }
    !crc
}

#[test]
fn what_is_no_picture_is_said() {
    let error = decode(b"no picture").unwrap_err();
    assert_eq!(error.to_string(), "malformed picture: neither PNG nor JPEG");
    let error = decode(b"").unwrap_err();
    assert!(error.to_string().contains("neither PNG nor JPEG"), "{error}");
    let error = decode(b"GIF89a\x01\x00\x01\x00").unwrap_err();
    assert!(error.to_string().contains("PNG and JPEG are read"), "{error}");
    let whole = file("rgba.png");
    let error = decode(&whole[..whole.len() / 2]).unwrap_err();
    assert!(matches!(error.fault, Fault::Malformed { format: "PNG", .. }), "{error}");
}

proptest! {
    #[test]
    fn broken_files_do_not_panic(name in 0usize..3, at in 0usize..400, byte: u8, cut in 0usize..400) {
        let mut bytes = file(["rgba.png", "palette.png", "smooth.jpg"][name]);
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = decode(&bytes);
        bytes.truncate(cut);
        let _ = decode(&bytes);
    }
}
