//! danlu's tokenizer beside the crate `tokenizers` alone, on documents of a JSONL file (`{"text": ...}`). `bench/run
//! tokenize` runs it:
//!
//! `tokenize_speed encode DOCUMENTS TOKENIZER_JSON MEGABYTES ROUNDS` on one thread, both sides in turn;
//! `tokenize_speed train danlu|crate DOCUMENTS VOCAB_SIZE MEGABYTES OUT_JSON` on all threads of rayon.
//!
//! The last line is one JSON object.
#![allow(clippy::print_stdout)]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Instant;

use danlu_text::{END_OF_TEXT, IM_END, IM_START, Tokenizer, TokenizerConfig};
use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, Tokenizer as Crate};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let figures = match arguments.as_slice() {
        ["encode", documents, tokenizer, megabytes, rounds] => {
            encode(documents, Path::new(tokenizer), megabytes.parse()?, rounds.parse()?)?
        }
        ["train", side, documents, vocab_size, megabytes, out] => {
            train(side, documents, vocab_size.parse()?, megabytes.parse()?, Path::new(out))?
        }
        _ => return Err("usage: see the top of crates/text/examples/tokenize_speed.rs".into()),
    };
    println!("{figures}");
    Ok(())
}

#[derive(Deserialize)]
struct Line {
    text: String,
}

/// The texts of a file until they have so many megabytes; a damaged line is reported and ends them.
fn texts(path: &str, megabytes: f64) -> Result<impl Iterator<Item = String> + Send, Failure> {
    let mut lines = BufReader::with_capacity(1 << 20, File::open(path)?).lines();
    let mut left = megabytes * 1e6;
    Ok(std::iter::from_fn(move || {
        if left <= 0.0 {
            return None;
        }
        match lines.next()?.map_err(Failure::from).and_then(|line| Ok(serde_json::from_str::<Line>(&line)?)) {
            Ok(Line { text }) => {
                left -= text.len() as f64;
                Some(text)
            }
            Err(error) => {
                println!("the documents end at a damaged line: {error}");
                None
            }
        }
    }))
}

struct Group {
    name: &'static str,
    texts: Vec<String>,
    bytes: usize,
    danlu: Vec<f64>,
    peer: Vec<f64>,
}

/// Encodes the documents of each language as a stranger's text, and holds the ids of both sides together.
fn encode(documents: &str, tokenizer: &Path, megabytes: f64, rounds: usize) -> Result<Value, Failure> {
    let danlu = Tokenizer::from_file(tokenizer)?;
    let mut peer: Crate = danlu.json().parse()?;
    peer.set_encode_special_tokens(true);
    let (mut chinese, mut english) = (Vec::new(), Vec::new());
    for text in texts(documents, megabytes)? {
        let wide = text.chars().filter(|c| *c >= '\u{2e80}').count();
        (if wide * 5 > text.chars().count() { &mut chinese } else { &mut english }).push(text);
    }
    let group = |name, texts: Vec<String>| {
        let bytes = texts.iter().map(String::len).sum();
        Group { name, texts, bytes, danlu: Vec::new(), peer: Vec::new() }
    };
    let mut groups = [group("english", english), group("chinese", chinese)];
    let (mut different, mut tokens) = (0, 0);
    for round in 0..rounds {
        for group in &mut groups {
            let start = Instant::now();
            let ours = group.texts.iter().map(|text| danlu.encode_literal(text)).collect::<Result<Vec<_>, _>>()?;
            group.danlu.push(start.elapsed().as_secs_f64());
            let start = Instant::now();
            let theirs =
                group.texts.iter().map(|text| peer.encode_fast(text.as_str(), false)).collect::<Result<Vec<_>, _>>()?;
            group.peer.push(start.elapsed().as_secs_f64());
            if round == 0 {
                tokens += ours.iter().map(Vec::len).sum::<usize>();
                different +=
                    ours.iter().zip(&theirs).filter(|(ours, theirs)| ours.as_slice() != theirs.get_ids()).count();
            }
        }
    }
    let mut figures = serde_json::Map::new();
    for group in &groups {
        let rates = rates(group.bytes, &[&group.danlu], &[&group.peer]);
        figures.insert(group.name.into(), rates);
    }
    let [english, chinese] = &groups;
    let bytes = english.bytes + chinese.bytes;
    let all = rates(bytes, &[&english.danlu, &chinese.danlu], &[&english.peer, &chinese.peer]);
    if let Value::Object(all) = all {
        figures.extend(all);
    }
    figures.insert("identical".into(), json!(different == 0));
    figures.insert("documents".into(), json!(english.texts.len() + chinese.texts.len()));
    figures.insert("different_documents".into(), json!(different));
    figures.insert("tokens".into(), json!(tokens));
    figures.insert("fast".into(), json!(danlu.is_fast()));
    Ok(Value::Object(figures))
}

/// From the medians of the rounds; with several parts, the sums of their medians.
fn rates(bytes: usize, danlu: &[&Vec<f64>], peer: &[&Vec<f64>]) -> Value {
    let rate = |parts: &[&Vec<f64>]| bytes as f64 / 1e6 / parts.iter().map(|seconds| median(seconds)).sum::<f64>();
    let (danlu, peer) = (rate(danlu), rate(peer));
    json!({ "megabytes": bytes as f64 / 1e6, "danlu_mb_per_s": danlu, "peer_mb_per_s": peer, "ratio": danlu / peer })
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn train(side: &str, documents: &str, vocab_size: usize, megabytes: f64, out: &Path) -> Result<Value, Failure> {
    let mut bytes = 0;
    let texts = texts(documents, megabytes)?.inspect(|text| bytes += text.len());
    let start = Instant::now();
    let json = match side {
        "danlu" => {
            let config = TokenizerConfig { vocab_size, ..Default::default() };
            Tokenizer::train(texts, &config)?.json().to_string()
        }
        "crate" => crate_alone(texts, vocab_size)?,
        _ => return Err(format!("{side}: danlu or crate is expected").into()),
    };
    let seconds = start.elapsed().as_secs_f64();
    std::fs::write(out, &json)?;
    let megabytes = bytes as f64 / 1e6;
    Ok(json!({ "seconds": seconds, "megabytes": megabytes, "mb_per_s": megabytes / seconds,
        "peak_rss_bytes": peak_rss_bytes(), "hash": blake3::hash(json.as_bytes()).to_hex().to_string(),
        "threads": rayon::current_num_threads() }))
}

/// What danlu's options mean in the crate.
fn crate_alone(texts: impl Iterator<Item = String> + Send, vocab_size: usize) -> Result<String, Failure> {
    let byte_level = ByteLevel::new(false, true, true);
    let mut tokenizer = Crate::new(BPE::builder().build()?);
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Sequence::new(vec![
        PreTokenizerWrapper::Digits(Digits::new(true)),
        PreTokenizerWrapper::ByteLevel(byte_level),
    ]))));
    tokenizer.with_decoder(Some(byte_level));
    let special = [END_OF_TEXT, IM_START, IM_END].map(|token| AddedToken::from(token, true));
    let trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .min_frequency(TokenizerConfig::default().min_frequency)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(special.to_vec())
        .build();
    tokenizer.train(&mut TrainerWrapper::BpeTrainer(trainer), texts)?;
    tokenizer.to_string(true)
}

/// The largest resident set of this process so far; nothing where the system does not say.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
