//! The danlu side of `bench/run data`: from JSON Lines to token shards, timed stage by stage.
//!
//! ```text
//! data_speed --tokenizer DIR --input FILE --clean FILE --out DIR --memory-mb N --watch FILE
//! ```
//! It calls what the pipeline calls: [`collect`], [`clean`] as the file `--clean` says (keys of a recipe's `[clean]`),
//! [`find_duplicates`], [`write_shards`]. The tokenizer is
//! trained, untimed, where the folder holds none. `--watch` names documents (ids of the input, one a line) of which the
//! texts that reach deduplication are written to `watched.jsonl`, with what became of them. Ends with a line of JSON.

#![allow(clippy::print_stdout)]

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use danlu_data::{
    ChatConfig, CleanConfig, Document, DocumentWriter, Duplicates, Encoder, NearConfig, Outcome, Progress,
    SourceConfig, SplitConfig, clean, collect, find_duplicates, read_documents, train_tokenizer, write_shards,
};
use danlu_text::{TOKENIZER_FILE, Tokenizer, TokenizerConfig};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: danlu_memory::Allocator = danlu_memory::Allocator;

/// Drops that are written with their texts beside those that are watched.
const SAMPLED_DROPS: usize = 2000;

type Failure = Box<dyn Error>;

struct Arguments {
    input: PathBuf,
    tokenizer: PathBuf,
    clean: PathBuf,
    out: PathBuf,
    watch: Option<PathBuf>,
    memory_mb: u64,
}

fn main() -> Result<(), Failure> {
    let arguments = arguments()?;
    let tokenizer = tokenizer(&arguments)?;
    let mut clock = Clock { stages: Vec::new(), last: Instant::now() };
    let out = &arguments.out;
    let collected = collect(&[source(&arguments.input)], Path::new(""), true, &out.join("collected"), &quiet)?;
    clock.lap("collect");
    let split = SplitConfig { valid: 0.0, test: 0.0 };
    let config: CleanConfig = toml::from_str(&std::fs::read_to_string(&arguments.clean)?)?;
    clean(&out.join("collected/documents.parquet"), &config, &split, &out.join("cleaned"), &quiet)?;
    clock.lap("clean");
    let cleaned = out.join("cleaned/train.parquet");
    let dedup = danlu_data::DedupConfig {
        near: Some(NearConfig::default()),
        memory_mb: arguments.memory_mb,
        ..Default::default()
    };
    let found = find_duplicates(&cleaned, &dedup, &out.join("work"), &quiet)?;
    clock.lap("find_duplicates");
    let unique = out.join("unique.parquet");
    write_unique(&cleaned, &found, &unique)?;
    clock.lap("write_unique");
    let shard = out.join("train.shard");
    let encoder = Encoder { tokenizer: &tokenizer, template: None, chat: &ChatConfig::default() };
    let shards = write_shards(&unique, &encoder, &shard, &quiet)?;
    clock.lap("tokenize");
    let peak = danlu_memory::peak_resident_bytes();
    let result = result_hash(&found, &shard)?;
    if let Some(watch) = &arguments.watch {
        write_watched(&cleaned, &found, watch, &out.join("watched.jsonl"))?;
    }
    let seconds: f64 = clock.stages.iter().map(|(_, seconds)| seconds).sum();
    let stages: serde_json::Map<_, _> = clock.stages.iter().map(|(name, s)| ((*name).into(), json!(s))).collect();
    println!(
        "{}",
        json!({
            "side": "danlu",
            "version": env!("CARGO_PKG_VERSION"),
            "threads": rayon::current_num_threads(),
            "bytes": collected.total.bytes,
            "documents": collected.total.documents,
            "entered_dedup": found.summary.documents,
            "dropped": found.drops.len(),
            "tokens": shards.total.tokens,
            "seconds": seconds,
            "stages": stages,
            "peak_rss_bytes": peak,
            "result": result,
            "dedup": found.summary,
        })
    );
    Ok(())
}

fn quiet(_: Progress<'_>) {}

fn arguments() -> Result<Arguments, Failure> {
    let mut given: HashMap<String, String> = HashMap::new();
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
        given.insert(name, value);
    }
    let needed = |name: &str| given.get(name).map(PathBuf::from).ok_or_else(|| format!("{name} is missing"));
    Ok(Arguments {
        input: needed("--input")?,
        tokenizer: needed("--tokenizer")?,
        clean: needed("--clean")?,
        out: needed("--out")?,
        watch: given.get("--watch").map(PathBuf::from),
        memory_mb: given.get("--memory-mb").map_or(Ok(1024), |mb| mb.parse())?,
    })
}

fn source(input: &Path) -> SourceConfig {
    SourceConfig { name: "corpus".into(), path: input.to_string_lossy().into(), ..Default::default() }
}

struct Clock {
    stages: Vec<(&'static str, f64)>,
    last: Instant,
}

impl Clock {
    fn lap(&mut self, stage: &'static str) {
        self.stages.push((stage, self.last.elapsed().as_secs_f64()));
        self.last = Instant::now();
    }
}

/// The tokenizer of the folder, or one trained on a sample of the input.
fn tokenizer(arguments: &Arguments) -> Result<Tokenizer, Failure> {
    if arguments.tokenizer.join(TOKENIZER_FILE).exists() {
        return Ok(Tokenizer::from_dir(&arguments.tokenizer)?);
    }
    let sample = SourceConfig { limit: Some(5000), ..source(&arguments.input) };
    let folder = arguments.out.join("sample");
    collect(&[sample], Path::new(""), true, &folder, &quiet)?;
    let config = TokenizerConfig { vocab_size: 32_000, ..Default::default() };
    let tokenizer = train_tokenizer(&folder.join("documents.parquet"), &config, &quiet)?;
    tokenizer.save(&arguments.tokenizer)?;
    Ok(tokenizer)
}

fn write_unique(cleaned: &Path, found: &Duplicates, out: &Path) -> Result<(), Failure> {
    let mut writer = DocumentWriter::create(out)?;
    for (row, document) in (0..).zip(read_documents(cleaned)?) {
        if let Outcome::Keep(mut document) = found.apply(row, document?) {
            document.statistics.clear(); // the shards have no use for them
            writer.write(&document)?;
        }
    }
    Ok(writer.finish()?)
}

/// What two runs must have in common: which rows went, for which, and every token.
fn result_hash(found: &Duplicates, shard: &Path) -> Result<String, Failure> {
    let mut hasher = blake3::Hasher::new();
    for drop in &found.drops {
        hasher.update(format!("{} {:?} {:?} {}\n", drop.row, drop.kept, drop.kind, drop.similarity).as_bytes());
    }
    std::io::copy(&mut std::fs::File::open(shard)?, &mut hasher)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// The texts of the watched documents and of some dropped ones, each with the document that stays for it.
fn write_watched(cleaned: &Path, found: &Duplicates, watch: &Path, out: &Path) -> Result<(), Failure> {
    let watched: HashSet<String> = std::fs::read_to_string(watch)?.lines().map(str::to_string).collect();
    let (mut texts, mut chosen) = (HashMap::new(), Vec::new());
    let sampled: HashSet<u64> = found.drops.iter().take(SAMPLED_DROPS).map(|drop| drop.row).collect();
    let id = |document: &Document| document.metadata.get("id").and_then(|id| id.as_str()).unwrap_or("").to_string();
    for (row, document) in (0u64..).zip(read_documents(cleaned)?) {
        let document = document?;
        let own = id(&document);
        if watched.contains(&own) || sampled.contains(&row) {
            chosen.push((row, own));
            texts.insert(row, document);
        }
    }
    let kept: HashSet<u64> =
        chosen.iter().filter_map(|(row, _)| found.drop_of(*row)?.kept).filter(|row| !texts.contains_key(row)).collect();
    for (row, document) in (0u64..).zip(read_documents(cleaned)?) {
        if kept.contains(&row) {
            texts.insert(row, document?);
        }
    }
    let mut writer = BufWriter::new(std::fs::File::create(out)?);
    for (row, id_of_row) in chosen {
        let mut line = json!({ "id": id_of_row, "text": texts[&row].text });
        if let Some((drop, kept)) = found.drop_of(row).and_then(|drop| Some((drop, texts.get(&drop.kept?)?))) {
            line["kept"] = id(kept).into();
            line["kept_text"] = kept.text.as_str().into();
            line["similarity"] = drop.similarity.into();
        }
        writeln!(writer, "{line}")?;
    }
    Ok(writer.flush()?)
}
