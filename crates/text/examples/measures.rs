//! How fast the measures are, on one thread:
//! `cargo run --release -p danlu-text --example measures [FILE.jsonl.zst ...]`
//!
//! Documents are the field `text` of each line, cut to pieces of about 5 KB, the size of a web page; without files, those
//! of `corpora/`. Prints megabytes of UTF-8 a second for the words alone, for all functions that the presets `gopher`,
//! `c4` and `fineweb` ask, and for each function alone; by the time that the thread had a processor, where Linux says it.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::sync::LazyLock;
use std::time::Instant;

use danlu_text::{Analysis, FunctionKind, TextFunction, text_functions};

/// What the three presets ask of a text that no rule drops.
const ENGLISH_RULES: &[(&str, &[f64])] = &[
    ("alpha_ratio", &[]),
    ("bullet_ratio", &[]),
    ("c4_brace_count", &[]),
    ("c4_lorem_ipsum_count", &[]),
    ("c4_sentence_count", &[]),
    ("char_count", &[]),
    ("dup_line_char_ratio", &[]),
    ("dup_line_ratio", &[]),
    ("dup_ngram_ratio", &[5.0, 6.0, 7.0, 8.0, 9.0, 10.0]),
    ("dup_paragraph_char_ratio", &[]),
    ("dup_paragraph_ratio", &[]),
    ("ellipsis_line_ratio", &[]),
    ("ends_with_punct_ratio", &[]),
    ("gopher_stopword_count", &[]),
    ("mean_word_length", &[]),
    ("newline_count", &[]),
    ("short_line_ratio", &[30.0]),
    ("symbol_ratio", &[]),
    ("token_count", &[]),
    ("top_ngram_ratio", &[2.0, 3.0, 4.0]),
    ("word_count", &[]),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        let corpora = concat!(env!("CARGO_MANIFEST_DIR"), "/../../corpora");
        files = ["state-of-the-union", "tang-poems"].map(|name| format!("{corpora}/{name}.jsonl.zst")).to_vec();
    }
    for file in files {
        println!("{file}");
        let pieces = pieces(&file)?;
        // The dictionary of Chinese is loaded once for all.
        black_box(Analysis::new("今天").words());
        report("words", &pieces, |text| _ = black_box(text.words()));
        report("gopher + c4 + fineweb", &pieces, |text| {
            for function in text_functions() {
                if let Some((_, parameters)) = ENGLISH_RULES.iter().find(|(name, _)| *name == function.name) {
                    call(function, text, parameters);
                }
            }
        });
        for function in text_functions() {
            report(function.name, &pieces, |text| call(function, text, &[5.0]));
        }
    }
    Ok(())
}

fn pieces(file: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let mut pieces = Vec::new();
    for line in BufReader::new(zstd::Decoder::new(File::open(file)?)?).lines() {
        let document: serde_json::Value = serde_json::from_str(&line?)?;
        let mut rest = document["text"].as_str().unwrap_or_default();
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(rest.floor_char_boundary(5000));
            pieces.push(piece.to_string());
            rest = left;
        }
    }
    Ok(pieces)
}

fn report(name: &str, pieces: &[String], measure: impl Fn(&Analysis<'_>)) {
    let bytes: usize = pieces.iter().map(String::len).sum();
    let start = seconds();
    pieces.iter().for_each(|piece| measure(&Analysis::new(piece)));
    println!("  {name:28}{:10.1} MB/s", bytes as f64 / 1e6 / (seconds() - start));
}

/// Seconds that this thread has run, or the time.
fn seconds() -> f64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let ran = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = ran.and_then(|ran| ran.split(' ').next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| START.elapsed().as_secs_f64(), |nanoseconds| nanoseconds / 1e9)
}

fn call(function: &TextFunction, text: &Analysis<'_>, parameters: &[f64]) {
    match function.kind {
        FunctionKind::Number(call) => _ = black_box(call(text)),
        FunctionKind::NumberWith { call, .. } => {
            parameters.iter().for_each(|&parameter| _ = black_box(call(text, parameter)))
        }
        FunctionKind::Text(call) => _ = black_box(call(text)),
    }
}
