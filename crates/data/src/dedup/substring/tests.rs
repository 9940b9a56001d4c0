#![allow(clippy::unwrap_used, clippy::panic)]

use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;

use danlu_text::{TOKENIZER_FILE, Tokenizer, TokenizerConfig};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::dedup::tests::{Numbers, PLENTY, join, left, quiet, search, texts, units};
use crate::dedup::{Budget, Cut, DedupConfig, DuplicateKind, Duplicates, SubstringConfig, search_within};
use crate::{Document, DocumentWriter};

const ENGLISH: &str = "Fellow citizens of the Senate and of the House of Representatives, in vain may we expect peace with \
    the Indians on our frontiers so long as a lawless set of unprincipled wretches can violate the rights of hospitality.";
const CHINESE: &str =
    "秦川雄帝宅，函谷壯皇居。綺殿千尋起，離宮百雉餘。連甍遙接漢，飛觀迥凌虛。雲日隱層闕，風煙出綺疎。";

/// What the texts of the property test are made of. 春, 眠 and 眼 have first bytes in common.
const BLOCKS: [&str; 7] = ["ab", "abc ", "abd", "春眠", "春眼", "眠", "c"];

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let texts = [ENGLISH, CHINESE, "ab abc abd ab 春眠春眼", ENGLISH, CHINESE, "ab abc abd ab 春眠春眼"];
    Tokenizer::train(texts.iter(), &TokenizerConfig { vocab_size: 300, ..Default::default() }).unwrap()
});

fn config(tokenizer: &Path, min_tokens: usize) -> DedupConfig {
    let tokenizer = Some(tokenizer.into());
    let substring = Some(SubstringConfig { tokenizer, min_tokens, ..Default::default() });
    DedupConfig { exact: false, substring, ..Default::default() }
}

/// A search for repeated spans of [`TOKENIZER`]'s tokens.
fn found(documents: &[Document], min_tokens: usize, part: u64) -> Duplicates {
    let dir = tempfile::tempdir().unwrap();
    TOKENIZER.save(dir.path()).unwrap();
    search(documents, &config(&dir.path().join(TOKENIZER_FILE), min_tokens), part)
}

/// For each token whether a run of at least `min` of them around it begins earlier as well, here or in a text before.
fn marked(row: usize, all: &[Vec<u32>], min: usize) -> Vec<bool> {
    let own = &all[row];
    let mut marked = vec![false; own.len()];
    for at in 0..own.len() {
        for (of, earlier) in all[..=row].iter().enumerate() {
            let starts = if of == row { at } else { earlier.len() };
            for start in 0..starts {
                let len = own[at..].iter().zip(&earlier[start..]).take_while(|(a, b)| a == b).count();
                if len >= min {
                    marked[at..at + len].fill(true);
                }
            }
        }
    }
    marked
}

/// The runs of marked tokens as bytes of the text, with whole characters.
fn runs(text: &str, ids: &[u32], marked: &[bool]) -> Vec<Range<usize>> {
    let mut begins = vec![0];
    ids.iter().for_each(|&id| begins.push(begins[begins.len() - 1] + TOKENIZER.token_bytes(id).len()));
    let (mut runs, mut at) = (Vec::new(), 0);
    for run in marked.chunk_by(|a, b| a == b) {
        let (mut start, mut end) = (at, at + run.len());
        at = end;
        while start < end && !text.is_char_boundary(begins[start]) {
            start += 1;
        }
        while start < end && !text.is_char_boundary(begins[end]) {
            end -= 1;
        }
        if run[0] && start < end {
            runs.push(begins[start]..begins[end]);
        }
    }
    runs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn spans_of_tokens_are_those_of_brute_force(
        blocks in prop::collection::vec(prop::collection::vec(0usize..7, 3..40), 1..5), min in 10usize..14,
    ) {
        let texts: Vec<String> =
            blocks.iter().map(|of_one| of_one.iter().map(|&block| BLOCKS[block]).collect()).collect();
        let ids: Vec<Vec<u32>> = texts.iter().map(|text| TOKENIZER.encode_literal(text).unwrap()).collect();
        let expected: Vec<(u64, Range<usize>)> = (0..texts.len())
            .flat_map(|row| runs(&texts[row], &ids[row], &marked(row, &ids, min)).into_iter().map(move |run| (row as u64, run)))
            .collect();
        let documents: Vec<Document> = texts.iter().map(|text| Document::new(text.as_str(), "s")).collect();
        let found: Vec<(u64, Range<usize>)> =
            found(&documents, min, PLENTY).cuts.into_iter().map(|cut| (cut.row, cut.bytes)).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn spans_of_tokens_are_cut_at_characters_and_stay_once() {
    // 乙 (E4 B9 99) and 丁 (E4 B8 81) begin with the same byte, which must not be cut.
    let documents = texts(&[
        &format!("one\n{ENGLISH}\nmore"),
        &format!("two\n{ENGLISH}\nother"),
        &format!("甲\n{CHINESE}\n乙"),
        &format!("丙\n{CHINESE}\n丁"),
        "Fellow citizens of the Senate",
    ]);
    let found = found(&documents, 30, PLENTY);
    let expected = ["twoother", &documents[2].text, "丙丁", "Fellow citizens of the Senate"];
    assert_eq!(left(&found, &documents)[1..], expected);
    let cut = |row: u64, bytes: Range<usize>| Cut { row, bytes, kind: DuplicateKind::Substring, first: row - 1 };
    assert_eq!(found.cuts, [cut(1, 3..5 + ENGLISH.len()), cut(3, 3..5 + CHINESE.len())]);
    assert_eq!(found.summary.not_spelled, 0);
}

#[test]
fn neither_threads_nor_memory_change_spans_of_tokens() {
    let mut numbers = Numbers(11);
    let lines: Vec<String> = (0..12).map(|line| join(&units(&mut numbers, 20, line % 2 == 0))).collect();
    let documents: Vec<Document> = (0..150)
        .map(|row| {
            let own = join(&units(&mut numbers, 30, row % 3 == 0));
            Document::new(format!("{own}\n{}\n{own}", lines[numbers.next(12) as usize]), "s")
        })
        .collect();
    let run = |threads, part| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| found(&documents, 20, part))
    };
    let (one, two, spilled) = (run(1, PLENTY), run(2, PLENTY), run(2, 20_000));
    let on_disk = [&one, &spilled].map(|found| found.summary.spilled_bytes > 0);
    assert_eq!((one.cuts.len() > 100, on_disk), (true, [false, true]), "{} cuts", one.cuts.len());
    assert_eq!((&one.cuts, &one.cuts), (&two.cuts, &spilled.cuts));
}

#[test]
fn too_many_tokens_for_the_suffix_array_are_an_error_with_the_remedy() {
    let mut numbers = Numbers(4);
    let text = join(&units(&mut numbers, 3000, true));
    let dir = tempfile::tempdir().unwrap();
    TOKENIZER.save(dir.path()).unwrap();
    let path = dir.path().join("documents.parquet");
    let mut writer = DocumentWriter::create(&path).unwrap();
    texts(&[&format!("a{text}"), &format!("b{text}")]).iter().for_each(|document| writer.write(document).unwrap());
    writer.finish().unwrap();
    let config = config(&dir.path().join(TOKENIZER_FILE), 50);
    let budget = Budget { suffix_bytes: 40_000, ..Budget::new(&config, dir.path()) };
    let error = search_within(&path, &config, &budget, &quiet).err().unwrap().to_string();
    for said in ["million tokens share samples", "clean.dedup.memory_mb to 2", "clean.dedup.substring.min_tokens"] {
        assert!(error.contains(said), "{error}");
    }
}

/// Writes a tokenizer, changed, and searches texts by its tokens.
fn found_by(json: &Value, texts: &[Document]) -> Duplicates {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(TOKENIZER_FILE);
    std::fs::write(&path, json.to_string()).unwrap();
    search(texts, &config(&path, 10), PLENTY)
}

#[test]
fn texts_that_tokens_do_not_spell_are_counted_and_left_alone() {
    let mut json: Value = serde_json::from_str(TOKENIZER.json()).unwrap();
    json["normalizer"] = json!({ "type": "Lowercase" });
    let small = ENGLISH.to_lowercase();
    let documents = texts(&[ENGLISH, ENGLISH, &small, &small]);
    let found = found_by(&json, &documents);
    assert_eq!(found.summary.not_spelled, 2);
    assert_eq!(left(&found, &documents)[..3], documents[..3].iter().map(|d| d.text.clone()).collect::<Vec<_>>());
    assert_eq!(left(&found, &documents)[3], "dropped: duplicate_parts");
}

/// SentencePiece puts a space before each text; what is cut is counted without it.
#[test]
fn the_space_that_a_tokenizer_adds_is_no_byte_of_the_text() {
    let metaspace = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false });
    let letters = ["<|endoftext|>".to_owned(), "▁".to_owned()].into_iter().chain(('a'..='z').map(String::from));
    let vocabulary: serde_json::Map<String, Value> = letters.zip(0..).map(|(token, id)| (token, id.into())).collect();
    let end = json!({ "id": 0, "content": "<|endoftext|>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true });
    let model = json!({ "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
        "vocab": vocabulary, "merges": [] });
    let json = json!({ "version": "1.0", "truncation": null, "padding": null, "added_tokens": [end], "normalizer": null,
        "pre_tokenizer": metaspace, "post_processor": null, "decoder": metaspace, "model": model });
    let documents = texts(&["xabcdefghijklmnop q", "abcdefghijklmnop r", "y zabcdefghijklmnop"]);
    let found = found_by(&json, &documents);
    assert_eq!((found.cuts[0].row, found.cuts[0].bytes.clone()), (1, 0..17));
    assert_eq!(left(&found, &documents)[1..], ["r", "y z"]);
}

#[test]
fn what_cannot_be_searched_for_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let said = |substring: SubstringConfig| {
        let config = DedupConfig { substring: Some(substring), ..Default::default() };
        config.check().and_then(|()| config.check_files()).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let tokenizer = Some(dir.path().join("nowhere.json"));
    let usual = SubstringConfig::default;
    assert!(said(SubstringConfig { min_bytes: 31, ..usual() }).contains("min_bytes: must be at least 32"));
    assert!(
        said(SubstringConfig { min_tokens: 60, ..usual() }).contains("there is no clean.dedup.substring.tokenizer")
    );
    let with = |change: SubstringConfig| said(SubstringConfig { tokenizer: tokenizer.clone(), ..change });
    assert!(with(SubstringConfig { min_tokens: 9, ..usual() }).contains("min_tokens: must be at least 10"));
    assert!(
        with(SubstringConfig { min_bytes: 64, ..usual() }).contains("min_bytes: has no meaning beside a tokenizer")
    );
    assert!(with(usual()).contains("nowhere.json"), "{}", with(usual()));
    std::fs::write(dir.path().join("nowhere.json"), "{}").unwrap();
    assert!(with(usual()).contains("nowhere.json"), "{}", with(usual()));
    assert_eq!(serde_json::to_value(usual()).unwrap(), json!({ "min_bytes": 200 }));
}
