//! How fast each transform works on one thread: `cargo run --release -p danlu-text --example transform_speed -- FILE...`.
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use danlu_text::{Transform, find_pii, sentences};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let kinds = [
        "mojibake",
        "nfc",
        "nfkc",
        "width",
        "simplify",
        "traditional",
        "whitespace",
        "boilerplate_lines",
        "urls",
        "markup",
        "mask_pii",
        "remove_stopwords",
        "remove_punctuation",
        "c4_lines",
        "dedup_lines",
        "lowercase",
        "limit_repeats",
    ];
    for path in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&path)?;
        println!("{path}: {:.1} MB", text.len() as f64 / 1e6);
        for kind in kinds {
            let transform: Transform = serde_json::from_value(serde_json::json!({ "kind": kind }))?;
            transform.apply(&text[..text.floor_char_boundary(1000)]); // dictionaries are loaded
            report(kind, &text, |text| transform.apply(text).len());
        }
        report("sentences", &text, |text| sentences(text).len());
        report("find_pii", &text, |text| find_pii(text).len());
    }
    Ok(())
}

/// The best of at least three times, until a second has passed.
fn report(name: &str, text: &str, work: impl Fn(&str) -> usize) {
    let begin = Instant::now();
    let (mut best, mut result, mut rounds) = (Duration::MAX, 0, 0);
    while rounds < 3 && begin.elapsed() < Duration::from_secs(4) || begin.elapsed() < Duration::from_millis(300) {
        let start = Instant::now();
        result = work(text);
        best = best.min(start.elapsed());
        rounds += 1;
    }
    println!("  {name:20} {:8.1} MB/s  ({result})", text.len() as f64 / 1e6 / best.as_secs_f64());
}
