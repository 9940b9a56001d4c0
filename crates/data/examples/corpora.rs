//! Runs the data stages on the corpora of the repository and prints what each took and gave:
//! `cargo run --release -p danlu-data --example corpora -- [vocab_size] [out folder]`
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use danlu_data::{
    ChatConfig, CleanConfig, DataError, Encoder, Progress, Shard, SourceConfig, SplitConfig, clean, collect,
    train_tokenizer, write_shards,
};
use danlu_text::TokenizerConfig;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let vocab_size = arguments.next().and_then(|size| size.parse().ok()).unwrap_or(4096);
    let out = arguments.next().map_or_else(|| std::env::temp_dir().join("danlu-corpora"), PathBuf::from);
    if let Err(error) = run(vocab_size, &out) {
        println!("error: {error}\nhint: {}", error.hint().unwrap_or_default());
        std::process::exit(1);
    }
}

fn run(vocab_size: usize, out: &Path) -> Result<(), DataError> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpora");
    let source =
        |name: &str| SourceConfig { name: name.into(), path: format!("{name}.jsonl.zst"), ..Default::default() };
    let sources = [source("state-of-the-union"), source("tang-poems")];
    let quiet = |_: Progress<'_>| {};

    let start = Instant::now();
    let summary = collect(&sources, &corpora, false, out, &quiet)?;
    println!("collect    {:6.2} s  {:?}", start.elapsed().as_secs_f64(), summary.total);

    let start = Instant::now();
    let collected = out.join(danlu_data::COLLECTED_FILE);
    let funnel = clean(&collected, &CleanConfig::default(), &SplitConfig::default(), out, &quiet)?;
    println!("clean      {:6.2} s  kept {:?}", start.elapsed().as_secs_f64(), funnel.kept);
    for (reason, count) in funnel.reasons() {
        println!("             dropped {reason}: {count:?}");
    }
    for row in &funnel.splits {
        println!("             {} {} {}: {:?}", row.split, row.source, row.language, row.count);
    }

    let start = Instant::now();
    let config = TokenizerConfig { vocab_size, ..Default::default() };
    let tokenizer = train_tokenizer(&out.join("train.parquet"), &config, &quiet)?;
    println!("tokenizer  {:6.2} s  vocab_size {}", start.elapsed().as_secs_f64(), tokenizer.vocab_size());
    tokenizer.save(&out.join("tokenizer"))?;

    let encoder = Encoder { tokenizer: &tokenizer, template: None, chat: &ChatConfig::default() };
    for split in SplitConfig::NAMES {
        let start = Instant::now();
        let shard = out.join(format!("{split}.tokens"));
        let summary = write_shards(&out.join(format!("{split}.parquet")), &encoder, &shard, &quiet)?;
        println!("{split:<10} {:6.2} s  {:?}", start.elapsed().as_secs_f64(), summary.total);
        for (language, count) in &summary.by_language {
            println!("             {language}: {} tokens, {:.3} bytes per token", count.tokens, count.bytes_per_token);
        }
        println!(
            "             unknown {}, round trip failures {}",
            summary.unknown_tokens, summary.round_trip_failures
        );
        let start = Instant::now();
        let shard = Shard::open(&shard, Some(tokenizer.hash()))?;
        println!("             opened and verified {} tokens in {:.3} s", shard.len(), start.elapsed().as_secs_f64());
    }
    Ok(())
}
