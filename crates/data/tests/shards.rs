//! Shards give back what was written, and say so when they were damaged; batches cover them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{TOKENIZER, documents, quiet, write_documents};
use danlu_data::{BatchConfig, Batches, DataError, Document, Shard, write_shards};
use proptest::prelude::*;

fn shard_of(dir: &Path, documents: &[Document]) -> PathBuf {
    let out = dir.join("train.tokens");
    write_shards(&write_documents(dir, documents), &TOKENIZER, &out, &quiet).unwrap();
    out
}

fn open(documents: &[Document]) -> Arc<Shard> {
    let dir = tempfile::tempdir().unwrap();
    Arc::new(Shard::open(&shard_of(dir.path(), documents), Some(TOKENIZER.hash())).unwrap())
}

#[test]
fn every_document_comes_back() {
    let documents = documents(20);
    let shard = open(&documents);
    assert_eq!(shard.document_count(), 20);
    for (document, stored) in documents.iter().zip(shard.documents()) {
        let tokens = shard.tokens().slice(stored.tokens.clone()).to_vec();
        let (last, text) = tokens.split_last().unwrap();
        assert_eq!(*last, TOKENIZER.eos_id());
        assert_eq!(TOKENIZER.decode(text), document.text);
        assert_eq!((stored.source, stored.language), (document.source.as_str(), document.language.as_str()));
        assert_eq!(stored.bytes, document.text.len() as u64);
    }
    assert_eq!(shard.text_bytes(), documents.iter().map(|d| d.text.len() as u64).sum::<u64>());
}

#[test]
fn the_summary_counts_by_language_and_checks_the_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let mut documents = documents(9);
    documents.push(Document::new("forged <|endoftext|> boundary", "speeches"));
    let path = write_documents(dir.path(), &documents);
    let summary = write_shards(&path, &TOKENIZER, &dir.path().join("s"), &quiet).unwrap();
    assert_eq!((summary.round_trip_failures, summary.unknown_tokens), (0, 0));
    assert_eq!((summary.by_language["zh"].documents, summary.by_source["speeches"].documents), (3, 7));
    let shard = Shard::open(&dir.path().join("s"), None).unwrap();
    assert_eq!(shard.len(), summary.total.tokens);
    assert_eq!(shard.tokens().iter().filter(|&t| t == TOKENIZER.eos_id()).count(), 10, "a document forged a boundary");
    let zh = &summary.by_language["zh"];
    assert_eq!(zh.bytes_per_token, zh.bytes as f64 / (zh.tokens - 3) as f64);
}

#[test]
fn another_tokenizers_shard_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = shard_of(dir.path(), &documents(2));
    let error = Shard::open(&path, Some(&"ab".repeat(32))).unwrap_err();
    assert!(matches!(error, DataError::WrongTokenizer { .. }), "{error}");
    assert!(error.to_string().contains("abababababab") && error.hint().is_some(), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_flipped_bit_is_detected(place in any::<prop::sample::Index>(), bit in 0u8..8) {
        let dir = tempfile::tempdir().unwrap();
        let path = shard_of(dir.path(), &documents(4));
        let mut bytes = std::fs::read(&path).unwrap();
        let index = place.index(bytes.len());
        bytes[index] ^= 1 << bit;
        std::fs::write(&path, &bytes).unwrap();
        let error = Shard::open(&path, None).unwrap_err();
        prop_assert!(matches!(error, DataError::BadShard { .. }), "byte {}: {}", index, error);
        prop_assert!(error.to_string().contains("train.tokens"));
    }

    #[test]
    fn a_truncated_or_lengthened_shard_is_detected(keep in any::<prop::sample::Index>()) {
        let dir = tempfile::tempdir().unwrap();
        let path = shard_of(dir.path(), &documents(4));
        let mut bytes = std::fs::read(&path).unwrap();
        let whole = bytes.len();
        bytes.truncate(keep.index(whole));
        std::fs::write(&path, &bytes).unwrap();
        prop_assert!(Shard::open(&path, None).is_err());
        bytes.resize(whole + 1, 0);
        std::fs::write(&path, &bytes).unwrap();
        prop_assert!(Shard::open(&path, None).is_err());
    }

    #[test]
    fn batches_are_pure_and_cover_each_window_once_an_epoch(
        batch_size in 1usize..7, seq_len in 1usize..40, seed: u64, shuffle: bool, count in 1usize..12,
    ) {
        let shard = open(&documents(count));
        let batches = Batches::new(shard.clone(), BatchConfig { batch_size, seq_len, seed, shuffle }).unwrap();
        let all = shard.tokens().to_vec();
        let windows = batches.windows();
        let mut rows = Vec::new();
        for n in 0..(2 * windows).div_ceil(batch_size as u64) {
            let batch = batches.batch(n);
            prop_assert_eq!(&batch, &batches.batch(n));
            prop_assert_eq!(batch.epoch, n * batch_size as u64 / windows);
            for (input, target) in batch.inputs.chunks(seq_len).zip(batch.targets.chunks(seq_len)) {
                rows.push([&input[..1], target].concat());
                prop_assert_eq!(&input[1..], &target[..seq_len - 1]);
            }
        }
        for epoch in 0..2usize {
            let mut seen = rows[epoch * windows as usize..(epoch + 1) * windows as usize].to_vec();
            seen.sort();
            // The windows of an epoch tile the stream from some border below seq_len.
            let found = (0..if shuffle { seq_len } else { 1 }).any(|border| {
                let tiles = (0..windows as usize).filter_map(|w| all.get(border + w * seq_len..=border + (w + 1) * seq_len));
                let mut expect: Vec<Vec<u32>> = tiles.map(<[u32]>::to_vec).collect();
                expect.sort();
                expect == seen
            });
            prop_assert!(found, "epoch {epoch} does not cover the windows once");
        }
    }
}

#[test]
fn epochs_differ_and_a_seed_decides() {
    let shard = open(&documents(60));
    let config = BatchConfig { batch_size: 4, seq_len: 16, seed: 7, shuffle: true };
    let batches = Batches::new(shard.clone(), config).unwrap();
    let (first, second) = (batches.batch(0), batches.batch(batches.windows() / 4 + 1));
    assert_ne!(first.inputs, second.inputs);
    let other = Batches::new(shard, BatchConfig { seed: 8, ..config }).unwrap();
    assert_ne!(first.inputs, other.batch(0).inputs);
    assert_eq!(first.epoch, 0);
    assert_eq!(second.epoch, 1);
}

#[test]
fn a_shard_shorter_than_a_window_is_an_error() {
    let shard = open(&documents(1));
    let tokens = shard.len();
    let config = BatchConfig { seq_len: tokens as usize, ..Default::default() };
    let error = Batches::new(shard.clone(), config).unwrap_err();
    assert!(matches!(error, DataError::TooFewTokens { .. }), "{error}");
    let just = BatchConfig { seq_len: tokens as usize - 1, ..config };
    assert_eq!(Batches::new(shard, just).unwrap().windows(), 1);
}
