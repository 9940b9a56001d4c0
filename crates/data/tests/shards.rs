//! Shards give back what was written, and say so when they were damaged; batches cover them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{TOKENIZER, documents, quiet, write_documents};
use danlu_data::{
    BatchConfig, Batches, ChatConfig, DataError, Document, Encoder, Packing, Role, Shard, ShardSummary, join_shards,
    split_documents, write_shards,
};
use danlu_text::{CHATML, ChatTemplate};
use proptest::prelude::*;

fn encoder<'a>(template: Option<&'a ChatTemplate>, chat: &'a ChatConfig) -> Encoder<'a> {
    Encoder { tokenizer: &TOKENIZER, template, chat }
}

fn shard_of(dir: &Path, documents: &[Document]) -> PathBuf {
    let out = dir.join("train.tokens");
    write_shards(&write_documents(dir, documents), &encoder(None, &ChatConfig::default()), &out, &quiet).unwrap();
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
    let summary = write_shards(&path, &encoder(None, &ChatConfig::default()), &dir.path().join("s"), &quiet).unwrap();
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
        let batches = Batches::new(shard.clone(), BatchConfig { batch_size, seq_len, seed, shuffle, packing: Packing::Stream }).unwrap();
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
    let config = BatchConfig { batch_size: 4, seq_len: 16, seed: 7, ..Default::default() };
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

/// The rows of one epoch as (inputs, targets, learnt, documents).
type Row = (Vec<u32>, Vec<u32>, Vec<bool>, Vec<u32>);

fn epoch_of(batches: &Batches, seq_len: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for n in 0..batches.batches_per_epoch() {
        let batch = batches.batch(n);
        let all = vec![true; batch.inputs.len()];
        let (learnt, documents) = (batch.learnt.unwrap_or(all), batch.documents.unwrap());
        for at in (0..batch.inputs.len()).step_by(seq_len) {
            let range = at..at + seq_len;
            let cut = |list: &[u32]| list[range.clone()].to_vec();
            rows.push((cut(&batch.inputs), cut(&batch.targets), learnt[range.clone()].to_vec(), cut(&documents)));
        }
    }
    rows.truncate(batches.windows() as usize);
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn best_fit_learns_every_token_once_and_cuts_only_what_is_too_long(
        seq_len in 1usize..200, seed: u64, shuffle: bool, count in 1usize..30, batch_size in 1usize..5,
    ) {
        let shard = open(&documents(count));
        let config = BatchConfig { batch_size, seq_len, seed, shuffle, packing: Packing::BestFit };
        let batches = Batches::new(shard.clone(), config).unwrap();
        let rows = epoch_of(&batches, seq_len);
        let places = rows.len() * seq_len;
        prop_assert!((batches.filled() - shard.len() as f64 / places as f64).abs() < 1e-12);
        let mut learnt: Vec<u32> = Vec::new();
        for (inputs, targets, kept, numbers) in &rows {
            prop_assert!(numbers.is_sorted());
            learnt.extend(targets.iter().zip(kept).filter(|(_, kept)| **kept).map(|(target, _)| *target));
            for at in 1..seq_len {
                // Within a document an input is the target before it.
                prop_assert!(numbers[at] != numbers[at - 1] || inputs[at] == targets[at - 1] || !kept[at]);
            }
        }
        let mut all = shard.tokens().to_vec();
        all.sort_unstable();
        learnt.sort_unstable();
        prop_assert_eq!(learnt, all);
        let whole = shard.documents().filter(|document| document.tokens.len() <= seq_len);
        for document in whole {
            let tokens = shard.tokens().slice(document.tokens.clone()).to_vec();
            let found = rows.iter().any(|(inputs, targets, _, numbers)| {
                (0..=seq_len - tokens.len()).any(|at| {
                    targets[at..at + tokens.len()] == tokens
                        && inputs[at] == shard.eos_id()
                        && numbers[at] == numbers[at + tokens.len() - 1]
                })
            });
            prop_assert!(found, "a document that fits was cut");
        }
    }

    #[test]
    fn windows_with_documents_are_the_stream_numbered(seq_len in 1usize..60, seed: u64, count in 2usize..12) {
        let shard = open(&documents(count));
        let stream = BatchConfig { batch_size: 2, seq_len, seed, shuffle: true, packing: Packing::Stream };
        let plain = Batches::new(shard.clone(), stream).unwrap();
        let numbered = Batches::new(shard.clone(), BatchConfig { packing: Packing::Documents, ..stream }).unwrap();
        for n in 0..plain.batches_per_epoch() {
            let (a, b) = (plain.batch(n), numbered.batch(n));
            prop_assert_eq!((&a.inputs, &a.targets, &a.documents), (&b.inputs, &b.targets, &None));
            let numbers = b.documents.unwrap();
            for (inputs, numbers) in b.inputs.chunks(seq_len).zip(numbers.chunks(seq_len)) {
                for at in 1..seq_len {
                    prop_assert_eq!(numbers[at] - numbers[at - 1], u32::from(inputs[at] == shard.eos_id()));
                }
            }
        }
    }
}

fn conversation(turns: &[(&str, &str)]) -> Document {
    let mut document = Document::new("rendered elsewhere", "chats");
    let messages: Vec<_> =
        turns.iter().map(|(role, content)| serde_json::json!({ "role": role, "content": content })).collect();
    document.metadata.insert("messages".into(), messages.into());
    document.metadata.insert("file".into(), "chats.jsonl".into());
    document.metadata.insert("line".into(), 7.into());
    document
}

/// What a shard of one conversation marks as to be learnt, and all of it.
fn learnt_of(turns: &[(&str, &str)], learn: &[Role]) -> Result<(String, String), DataError> {
    let dir = tempfile::tempdir().unwrap();
    let template = ChatTemplate::new(CHATML.into(), None, None).unwrap();
    let chat = ChatConfig { learn: learn.to_vec() };
    // Plain text before and after, so that marks do not begin at a whole byte.
    let documents = [Document::new("plain text", "s"), conversation(turns), Document::new("諸葛亮", "s")];
    let path = write_documents(dir.path(), &documents);
    let out = dir.path().join("s");
    let summary = write_shards(&path, &encoder(Some(&template), &chat), &out, &quiet)?;
    let shard = Shard::open(&out, None)?;
    assert_eq!((summary.learnt_tokens, summary.round_trip_failures), (shard.learnt_tokens(), 0));
    for index in [0, 2] {
        assert!(shard.document(index).unwrap().tokens.into_iter().all(|token| shard.is_learnt(token)));
    }
    let tokens = shard.document(1).unwrap().tokens;
    let all = shard.tokens().slice(tokens.clone()).to_vec();
    let kept: Vec<u32> = tokens.filter(|&t| shard.is_learnt(t)).filter_map(|t| shard.tokens().get(t)).collect();
    Ok((TOKENIZER.decode(&kept), TOKENIZER.decode(&all)))
}

#[test]
fn of_a_conversation_the_wanted_turns_are_learnt_with_the_marker_that_ends_them() {
    let turns = [
        ("system", "簡潔"),
        ("user", "春眠?"),
        ("assistant", "不覺曉 <|im_end|>"),
        ("user", "a"),
        ("assistant", "b c"),
    ];
    let (learnt, all) = learnt_of(&turns, &[Role::Assistant]).unwrap();
    assert_eq!(learnt, "不覺曉 <|im_end|><|im_end|>b c<|im_end|>");
    assert!(all.starts_with("<|im_start|>system\n簡潔<|im_end|>\n<|im_start|>user\n春眠?"), "{all}");
    let (learnt, _) = learnt_of(&turns, &[Role::User, Role::System]).unwrap();
    let user = |text: &str| format!("<|im_start|>user\n{text}<|im_end|>");
    assert_eq!(learnt, format!("<|im_start|>system\n簡潔<|im_end|>{}{}", user("春眠?"), user("a")));
}

#[test]
fn a_conversation_of_which_nothing_would_be_learnt_is_an_error_with_its_place() {
    let error = learnt_of(&[("user", "hello")], &[Role::Assistant]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("chats.jsonl:7") && text.contains("no message by assistant"), "{text}");
    assert!(error.hint().is_some());
}

/// Plain text alone, then conversations among it, then plain text again: marks begin within a part, or with it, or not at all.
#[test]
fn shards_of_parts_join_to_the_shard_of_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let turns = [("user", "春眠?"), ("assistant", "不覺曉")];
    let mut mixed = documents(20);
    for at in [7, 8, 13] {
        mixed[at] = conversation(&turns);
    }
    let template = ChatTemplate::new(CHATML.into(), None, None).unwrap();
    let chat = ChatConfig::default();
    let encoder = encoder(Some(&template), &chat);
    for (name, documents) in [("plain", documents(20)), ("mixed", mixed), ("none", Vec::new())] {
        let dir = dir.path().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let path = write_documents(&dir, &documents);
        let whole = dir.join("whole");
        let expect = write_shards(&path, &encoder, &whole, &quiet).unwrap();
        for bytes in [1, 500, 1 << 30] {
            let folder = dir.join(bytes.to_string());
            std::fs::create_dir_all(&folder).unwrap();
            let parts: Vec<(PathBuf, ShardSummary)> = split_documents(&path, bytes, &folder)
                .unwrap()
                .iter()
                .map(|part| {
                    let out = part.with_extension("tokens");
                    let summary = write_shards(part, &encoder, &out, &quiet).unwrap();
                    (out, summary)
                })
                .collect();
            assert_eq!(parts.len() > 1, bytes < 1 << 30 && !documents.is_empty());
            let joined = folder.join("joined");
            assert_eq!(join_shards(&parts, &TOKENIZER, &joined, &quiet).unwrap(), expect, "{name} by {bytes}");
            assert!(std::fs::read(&whole).unwrap() == std::fs::read(&joined).unwrap(), "{name} by {bytes}");
        }
    }
}

#[test]
fn a_damaged_part_and_one_of_another_tokenizer_are_not_joined() {
    let dir = tempfile::tempdir().unwrap();
    let path = shard_of(dir.path(), &documents(3));
    let join = |tokenizer: &danlu_text::Tokenizer| {
        let parts = [(path.clone(), ShardSummary::default())];
        join_shards(&parts, tokenizer, &dir.path().join("joined"), &quiet).unwrap_err()
    };
    let config = danlu_text::TokenizerConfig { vocab_size: 299, ..Default::default() };
    let texts = [common::ENGLISH, common::CHINESE, common::ENGLISH, common::CHINESE];
    let other = danlu_text::Tokenizer::train(texts.iter(), &config).unwrap();
    let error = join(&other);
    assert!(matches!(error, DataError::WrongTokenizer { .. }), "{error}");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = join(&TOKENIZER);
    assert!(matches!(error, DataError::BadShard { .. }), "{error}");
    assert!(!dir.path().join("joined").exists());
}

/// Many chat templates end each turn with the end-of-text token.
#[test]
fn a_turn_that_ends_with_the_end_of_text_begins_no_document() {
    let dir = tempfile::tempdir().unwrap();
    let source = "{% for message in messages %}{{ message.content }}<|endoftext|>{% endfor %}";
    let template = ChatTemplate::new(source.into(), None, None).unwrap();
    let turns = [("user", "春眠?"), ("assistant", "不覺曉")];
    let documents = [conversation(&turns), Document::new("plain text", "s"), conversation(&turns)];
    let (path, out) = (write_documents(dir.path(), &documents), dir.path().join("s"));
    write_shards(&path, &encoder(Some(&template), &ChatConfig::default()), &out, &quiet).unwrap();
    let shard = Arc::new(Shard::open(&out, None).unwrap());
    assert_eq!(shard.tokens().iter().filter(|&token| token == shard.eos_id()).count(), 7);
    let seq_len = shard.len() as usize - 1;
    let config = BatchConfig { batch_size: 1, seq_len, seed: 0, shuffle: false, packing: Packing::Documents };
    let numbers = Batches::new(shard.clone(), config).unwrap().batch(0).documents.unwrap();
    let begins: Vec<usize> = (1..seq_len).filter(|&at| numbers[at] != numbers[at - 1]).collect();
    let expect: Vec<usize> = shard.documents().skip(1).map(|document| document.tokens.start - 1).collect();
    assert_eq!(begins, expect);
}
