//! What `danlu data` is told.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{BackArgs, JsonArgs};

#[derive(Subcommand, Debug)]
pub enum DataCommand {
    /// Print documents of a run (by id or recipe), kept or dropped, with filters.
    Show(DataShowArgs),
    /// Help with cleaning and encoding that a run shares (`danlu run RECIPE --share ADDRESS`)
    ///
    /// Any number of processes on any machines claim parts of the documents at the address, clean or encode them and put the
    /// results back. Start and kill them as you like: what one leaves undone another does, and the result stays the same.
    /// One serves all that a run shares, and ends when the run has nothing more to share.
    Work(DataWorkArgs),
    /// Ask a run's documents in SQL: tables collected, train, valid, test, dropped
    ///
    /// The functions that cleaning rules may use are there, too (`danlu data functions`), with the run's [clean.models]:
    ///
    ///   danlu data sql latest "SELECT source, count(*) AS n FROM train GROUP BY source ORDER BY n DESC"
    ///   danlu data sql latest "SELECT id, dup_line_ratio(text) AS r FROM train ORDER BY r DESC LIMIT 5"
    #[command(verbatim_doc_comment)]
    Sql(DataSqlArgs),
    /// List the functions of a text that rules and SQL may use, each with what it measures
    Functions(JsonArgs),
    /// Print a list of rules that comes with danlu, to read it or to change it (without NAME: their names)
    Preset {
        /// gopher, c4, fineweb or chinese-web.
        name: Option<String>,
    },
    /// Add changed copies of documents: rotated, reversed, with words swapped or replaced, with images
    Augment(DataAugmentArgs),
    /// Train the small models that score a text in rules: perplexity(text), quality(text)
    #[command(subcommand)]
    Train(DataTrainCommand),
    /// What the data looks like: counts, distributions, words, duplicates, what was dropped and changed; as a page
    Report(DataReportArgs),
    /// Compare a new delivery with an accepted one; exit code 1 and the reasons when it has drifted
    ///
    /// Exit codes: 0 when it may be taken, 1 when it has drifted, 2 when that could not be found out, because of what was
    /// asked for or of what could not be read.
    ///
    /// Like is compared with like. Beside files that nobody has cleaned a run stands with its documents as it collected
    /// them; beside another run, with those that it kept. Files are sources of their own names where one of these is known
    /// on the other side, or where --source names them; otherwise the comparison leaves sources out.
    Watch(DataWatchArgs),
    /// Follow a document from its source file to the models that saw it
    Trace(DataTraceArgs),
    /// Remove documents from all tables and token shards, and name the models that saw them
    Forget(DataForgetArgs),
}

#[derive(Args, Debug)]
pub struct DataReportArgs {
    /// A run id, a recipe, files of documents or of text (patterns too), or a snapshot (.json; other JSON is documents).
    #[arg(required = true, value_name = "RUN|FILES")]
    pub input: Vec<String>,
    /// Write the page here.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write the snapshot here, for `watch` and `--against`.
    #[arg(long, value_name = "FILE")]
    pub snapshot: Option<PathBuf>,
    /// Show what moved since this run, file or snapshot.
    #[arg(long, value_name = "RUN|FILE")]
    pub against: Option<String>,
    /// What counts as drift: a TOML file with a table [watch].
    #[arg(long, value_name = "FILE", requires = "against")]
    pub thresholds: Option<PathBuf>,
    #[command(flatten)]
    pub reading: ReadingArgs,
    /// Print the whole report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// How documents are read and measured.
#[derive(Args, Debug)]
pub struct ReadingArgs {
    /// Field that holds the text in records that danlu did not write.
    #[arg(long, default_value = "text")]
    pub text_field: String,
    /// What to call the source of files that danlu did not write (default: the file's name).
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Metadata field that holds the documents' time.
    #[arg(long, value_name = "FIELD")]
    pub time_field: Option<String>,
    /// Measure this instead of the usual statistics; may be given several times. dup_ngram_ratio_5 is
    /// dup_ngram_ratio(text, 5).
    #[arg(long = "statistic", value_name = "NAME")]
    pub statistics: Vec<String>,
}

#[derive(Args, Debug)]
pub struct DataWatchArgs {
    /// The new delivery: a run id, a recipe, files, or a snapshot (.json).
    #[arg(required = true, value_name = "NEW")]
    pub delivery: Vec<String>,
    /// The accepted one: a run id, a recipe, a file, or a snapshot (.json).
    #[arg(long, value_name = "OLD")]
    pub accepted: String,
    /// What counts as drift: a TOML file with a table [watch], such as psi = 0.2, ks = 0.1, volume = 0.5.
    #[arg(long, value_name = "FILE")]
    pub thresholds: Option<PathBuf>,
    #[command(flatten)]
    pub reading: ReadingArgs,
    /// Print all that was compared as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct DataTraceArgs {
    /// A run id (the start of one is enough), or a recipe file.
    pub run: String,
    /// A document's id, or the first 8 digits of it and more.
    pub id: String,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct DataForgetArgs {
    /// A run id (the start of one is enough), or a recipe file. What was made of the same collected documents by other
    /// recipes is written again too.
    pub run: String,
    /// A document to forget; may be given several times. Its first 8 digits and more are enough.
    #[arg(long = "id", value_name = "ID")]
    pub ids: Vec<String>,
    /// Forget all documents for which every condition holds: source=NAME, language=CODE, contains=TEXT,
    /// metadata.KEY=VALUE.
    #[arg(long = "where", value_name = "CONDITION")]
    pub conditions: Vec<String>,
    /// Why; kept with the tombstones in forgotten.jsonl.
    #[arg(long, default_value = "asked for")]
    pub reason: String,
    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Print what was done as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct DataSqlArgs {
    /// A run id (the start of one is enough), or a recipe file.
    pub run: String,
    /// One SELECT.
    pub sql: String,
    /// Write the rows to this Parquet file instead of printing them.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Megabytes of memory for sorting, grouping and joining; what does not fit is spilled to disk.
    #[arg(long, value_name = "MB", default_value_t = 1024)]
    pub memory_mb: usize,
    /// Who runs it: datafusion, in this process, or spark://HOST:15002, which must see the run's folder under the same
    /// path and has no functions of a text.
    #[arg(long, value_name = "ENGINE", default_value = "datafusion")]
    pub engine: String,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct DataAugmentArgs {
    /// A run id or recipe, whose training documents are taken, or a table of documents (.parquet).
    pub input: String,
    /// A TOML file with the keys of [augment] in a recipe: share, copies, choose, only_languages, seed, and [[steps]] with
    /// kind = "rotate", "reverse", "synonyms", ...
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The table to write: the documents, each followed by its copies. A recipe can read it as a source.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Decides which documents are changed and how, in the place of the file's seed.
    #[arg(long)]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub back: BackArgs,
    /// Print what was made as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Subcommand, Debug)]
pub enum DataTrainCommand {
    /// An n-gram model of good text, for perplexity(text).
    Perplexity {
        /// Text to learn from: a file or a pattern.
        #[arg(long)]
        data: String,
        /// Field that holds the text in records.
        #[arg(long, default_value = "text")]
        text_field: String,
        /// The longest n-gram.
        #[arg(long, default_value_t = 5)]
        order: usize,
        /// The model's file; `[clean.models] perplexity = FILE` uses it.
        #[arg(long)]
        out: PathBuf,
    },
    /// A linear classifier of good and other text, for quality(text).
    Quality {
        /// Good text: a file or a pattern.
        #[arg(long)]
        good: String,
        /// Other text.
        #[arg(long)]
        other: String,
        /// Field that holds the text in records.
        #[arg(long, default_value = "text")]
        text_field: String,
        /// The model's file; `[clean.models] quality = FILE` uses it.
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(Args, Debug)]
pub struct DataWorkArgs {
    /// The address that the run shares: a folder, or s3://BUCKET/PREFIX, gs://, az:// with the feature object-store.
    pub address: String,
    /// Leave a run that has shown no sign of life for so long, once nothing is left to do of what it shared; 0 leaves as soon
    /// as that is so, though the run may share more.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub idle: u64,
    /// Where parts lie while they are worked on (default: a new folder for temporary files).
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// End with one JSON line for programs.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct DataShowArgs {
    /// A run id (see `danlu runs`; the start of one is enough), or a recipe file.
    pub run: String,
    /// Only documents of this source.
    #[arg(long)]
    pub source: Option<String>,
    /// Only documents in this language, as an ISO 639-1 code.
    #[arg(long)]
    pub language: Option<String>,
    /// Only dropped documents with this reason; `any` for all dropped ones.
    #[arg(long)]
    pub reason: Option<String>,
    /// Which split to read: train, valid or test.
    #[arg(long, default_value = "train", conflicts_with = "reason")]
    pub split: String,
    /// Show what training sees where the recipe has an [augment]: the documents, each followed by its copies.
    #[arg(long, conflicts_with_all = ["reason", "split"])]
    pub augmented: bool,
    /// Only documents that contain this text.
    #[arg(long)]
    pub contains: Option<String>,
    /// Show each document as the tokens that training reads, with those that have a loss in colour (in brackets where
    /// there is no colour). Of plain text all have one, of conversations the turns that `[chat] learn` names.
    #[arg(long, conflicts_with_all = ["reason", "json"])]
    pub masked: bool,
    /// How many to print.
    #[arg(long, default_value_t = 5)]
    pub limit: usize,
    /// Characters of each text to print; 0 prints all.
    #[arg(long, default_value_t = 400)]
    pub chars: usize,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}
