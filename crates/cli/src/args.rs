//! The command line: parsed here, resolved and carried out in `commands`.

mod caption;
mod generate;
mod texts;
mod transcribe;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use danlu_bench::{Precision, Recompute, Workload};
use danlu_pipeline::Stage;

pub use caption::CaptionArgs;
pub use generate::GenerateArgs;
pub use texts::{ClassifyArgs, EmbedArgs, TextsArgs, TranslateArgs};
pub use transcribe::{TranscribeArgs, TranscriptForm};

/// danlu (丹炉): one program for the whole life of a language model.
///
/// Raw text in; a trained, evaluated, compressed and served model out. One recipe describes it all:
///
///   danlu run recipes/quickstart.toml      run the whole life (again: only what changed)
///   danlu generate runs/RUN/model --prompt "..."
///   danlu serve runs/RUN/model             a page and an OpenAI-compatible API
#[derive(Parser, Debug)]
#[command(name = "danlu", version, max_term_width = 110, verbatim_doc_comment, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command knows.
#[derive(Args, Debug, Clone)]
pub struct Global {
    /// Folder that holds runs, artifacts and the run database.
    #[arg(long, global = true, default_value = "runs", value_name = "DIR", env = "DANLU_RUNS_DIR")]
    pub runs_dir: PathBuf,
    /// Threads for arithmetic (default: all cores). Results are the same to the bit for the same N.
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// Where tensors live: flex (CPU); cuda, wgpu, vulkan, metal when built with that cargo feature.
    #[arg(long, global = true, default_value = "flex", value_name = "NAME")]
    pub device: String,
    /// Print more about what is going on (twice: debug messages).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a recipe: collect, clean, tokenizer, train, evaluate, compress, report.
    Run(RunArgs),
    /// Say what a recipe will need (parameters, memory, time) without running it.
    Plan(PlanArgs),
    /// Make a model for one task from a task's recipe: examples, vocabulary, training, scores.
    ///
    /// Labels (`task = "classification"`): an encoder learns the language from the texts alone (masked language
    /// modelling), then the labels. Pairs (`task = "translation"`): an encoder-decoder learns to translate. Each is
    /// measured on examples that it has not seen, beside a bag of words or a copy of the source. What is finished is kept: run the same command again
    /// after a change, or after it was stopped, and only what is missing is done.
    Tune(TuneArgs),
    /// Run variants of a recipe over several seeds and compare their means and deviations.
    Ablate(AblateArgs),
    /// Look at the documents of a run.
    #[command(subcommand)]
    Data(DataCommand),
    /// Continue a prompt with a model, streaming
    ///
    /// By sampling, unless something else is asked for:
    ///
    ///   danlu generate MODEL --prompt "The people" --temperature 0 --stop "。"
    ///   danlu generate MODEL --prompt "春眠" -n 3 --typical-p 0.9 --no-repeat-ngram-size 4
    ///   danlu generate MODEL --prompt "The people" --beams 5 -n 3 --length-penalty 0.8
    ///   danlu generate MODEL --prompt "The people" --contrastive 0.6 --top-k 5
    ///
    /// A text can be held to a form, whatever the model would rather write; it is cut only where
    /// --max-tokens ends it:
    ///
    ///   danlu generate MODEL --chat --prompt "Li Bai, as JSON" --json-schema poet.schema.json
    ///   danlu generate MODEL --prompt "Born in " --regex "[0-9]{3,4} (AD|BC)"
    ///   danlu generate MODEL --prompt "1+1=" --grammar sums.lark
    #[command(verbatim_doc_comment)]
    Generate(GenerateArgs),
    /// Serve a model: OpenAI-compatible API and a page to talk to it.
    Serve(ServeArgs),
    /// Score a model on text: loss, perplexity, bits per byte, top-1 and top-5 accuracy.
    Eval(EvalArgs),
    /// Turn texts into vectors with an encoder: BERT, RoBERTa, DistilBERT
    ///
    /// A folder of sentence-transformers says its own pooling and length; others are pooled by the mean:
    ///
    ///   danlu embed all-MiniLM-L6-v2 --data questions.jsonl --out vectors.npy
    ///   danlu embed all-MiniLM-L6-v2 --text "a query" --text "another"
    ///
    /// Vectors are in the order of the texts. `.jsonl` has a line {"index", "text", "embedding"} for
    /// each, `.npy` a matrix (texts, dimensions) of float32, which numpy.load reads. Texts that are
    /// too long are cut, counted and marked.
    #[command(verbatim_doc_comment)]
    Embed(EmbedArgs),
    /// Label texts with a classifier; where the true labels are known, say how good it is
    ///
    ///   danlu classify reviews-model --text "房间很干净"
    ///   danlu classify reviews-model --data test.jsonl --out guesses.jsonl
    ///   danlu classify reviews-model --data test.jsonl --label-field label
    ///
    /// Without --out the guesses are printed, a JSON line each with the label and the probability of
    /// every label. With --label-field follow accuracy, precision, recall, F1 (of each class, micro,
    /// macro) and the confusion matrix.
    #[command(verbatim_doc_comment)]
    Classify(ClassifyArgs),
    /// Translate texts with an encoder-decoder; where there are references, say how good it is
    ///
    ///   danlu translate en-zh-model --text "Choose File - Open."
    ///   danlu translate en-zh-model --data test.jsonl --text-field en --out said.jsonl
    ///   danlu translate en-zh-model --data test.jsonl --text-field en \\
    ///     --target-field zh --target-language zh
    ///
    /// By beam search. Without --out the translations are printed, a JSON line each. With
    /// --target-field follow BLEU, chrF and chrF++ as sacreBLEU has them, beside those of copying the
    /// source. What is in the folder need not be a translator: a summariser's summaries come out the
    /// same way.
    #[command(verbatim_doc_comment)]
    Translate(TranslateArgs),
    /// Say what is in pictures, by a language model that sees
    ///
    ///   danlu caption emoji-captions cat.png dog.png
    ///   danlu caption llava-1.5 cat.jpg --prompt "USER: <image>\nWhat is this? ASSISTANT:"
    ///
    /// PNG and JPEG; by beam search. A model that danlu has tuned names its prompts, one for each language;
    /// of others say what to ask.
    #[command(verbatim_doc_comment)]
    Caption(CaptionArgs),
    /// Write down what is said in sound files, by Whisper; where there are references, say how many words are wrong
    ///
    ///   danlu transcribe whisper-tiny talk.mp3
    ///   danlu transcribe whisper-tiny talk.mp3 --form srt --out talk.srt
    ///   danlu transcribe whisper-tiny --data clips.jsonl --sound-field audio --target-field text
    ///
    /// WAV, MP3, FLAC, Ogg Vorbis and MP4 with AAC, of any length and rate; by beam search, in windows of 30
    /// seconds that begin where the last whole segment ended. Silent windows are left out. With
    /// --target-field follow the error rates of words and characters, as jiwer has them, without regard to
    /// case and punctuation.
    #[command(verbatim_doc_comment)]
    Transcribe(TranscribeArgs),
    /// Take over a model of another program, as a folder in the layout of Hugging Face
    ///
    /// A GGUF file; a folder with PyTorch checkpoints, or with a SentencePiece or tiktoken tokenizer; a
    /// Whisper of CTranslate2. The new folder is what every other command takes:
    ///
    ///   danlu import SmolLM2-135M-Instruct.Q4_1.gguf --out smollm2
    ///   danlu generate smollm2 --prompt "The capital of France is"
    ///   danlu import faster-whisper-tiny.en --out whisper
    #[command(verbatim_doc_comment)]
    Import(ImportArgs),
    /// Write a model for other programs: a GGUF file for llama.cpp and what is built on it, or a folder for transformers
    Export(ExportArgs),
    /// Show what a model file or folder holds: settings, tensors, memory, tokenizer, template
    Inspect(InspectArgs),
    /// What users said about served replies.
    #[command(subcommand)]
    Feedback(FeedbackCommand),
    /// List the runs of this folder.
    Runs(RunsArgs),
    /// Show one run: stages, figures, where its files are.
    Show(ShowArgs),
    /// Write the report page of a run again and say where it is.
    Report(ReportArgs),
    /// Measure danlu's speed on this machine
    ///
    /// Alone it takes a short look at everything, in under a minute. A word more measures that:
    ///
    ///   danlu bench                                     peak, products, attention, decoding, training
    ///   danlu bench train --model M --precision bf16    speed, memory and share of the peak
    ///   danlu bench gemm --model L                      products of L's linear layers, in three layouts
    ///   danlu --threads 1 bench decode                  generation with one thread
    ///
    /// Models: S and M are GPT-2-shaped (17 and 162 million parameters), L is Llama-shaped with a
    /// context of 1024, LSTM and GRU are recurrent; XS only tries the tools out. `bench/run` in the
    /// source tree puts PyTorch beside danlu.
    #[command(verbatim_doc_comment)]
    Bench(BenchArgs),
    /// Explain a recipe: every key with its value and where it comes from.
    #[command(subcommand)]
    Recipe(RecipeCommand),
}

#[derive(Args, Debug)]
pub struct RunArgs {
    /// The recipe, a TOML file.
    pub recipe: PathBuf,
    /// Run STAGE and everything that depends on it again, even if nothing changed.
    #[arg(long, value_name = "STAGE")]
    pub from: Option<Stage>,
    /// Run STAGE alone; its inputs must be there.
    #[arg(long, value_name = "STAGE", conflicts_with = "from")]
    pub only: Option<Stage>,
    /// Say what would run and why, and run nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Stop at the first malformed record instead of counting and skipping it.
    #[arg(long)]
    pub strict: bool,
    /// Share cleaning with other processes at ADDRESS: a folder that all see, or s3://, gs://, az:// with the feature object-store.
    /// Each of them runs `danlu data work ADDRESS`; the result is the same.
    #[arg(long, value_name = "ADDRESS")]
    pub share: Option<String>,
    /// Megabytes of text in one shared part.
    #[arg(long, value_name = "MB", default_value_t = 64.0, requires = "share")]
    pub part_mb: f64,
    /// Seconds without a sign of life after which a worker's part goes to another.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, requires = "share")]
    pub lease: f64,
    /// End with one JSON line for programs.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct ImportArgs {
    /// A GGUF file, quantised or not, or a folder with checkpoints of PyTorch (pytorch_model.bin), a SentencePiece or a
    /// tiktoken tokenizer.
    pub file: PathBuf,
    /// The folder to make; it must not be there yet.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Element type of the weights: f32 keeps what any file says to the bit, f16 and bf16 take half the space. When not
    /// given: f32 of a GGUF file, what they have of a folder.
    #[arg(long, value_name = "TYPE", value_parser = ["f32", "f16", "bf16"])]
    pub precision: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct ExportArgs {
    /// A model's folder.
    pub model: PathBuf,
    /// The file to write, one that is there being replaced; or the folder to make, which must not be there yet.
    #[arg(long, value_name = "PATH")]
    pub out: PathBuf,
    /// The form to write: a GGUF file, or a folder that transformers loads.
    #[arg(long, default_value = "gguf", value_parser = ["gguf", "hf"])]
    pub format: String,
    /// Element type of the weights. GGUF: f16 when not given, of the matrices alone. hf: f32, f16 or bf16, else as they are.
    #[arg(long, value_name = "TYPE", value_parser = ["f32", "f16", "bf16", "q8_0", "q4_0"])]
    pub kind: Option<String>,
    /// Read back what was written and run both on prompts: logit error, top-1 agreement, KL. Exit code 1 if they differ by
    /// more than the element type explains.
    #[arg(long)]
    pub verify: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct InspectArgs {
    /// A file of GGUF, safetensors or PyTorch, or a model's folder.
    pub path: PathBuf,
    /// List every tensor.
    #[arg(long)]
    pub tensors: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct AblateArgs {
    /// The ablation, a TOML file: a base recipe, seeds, and variants by the keys that differ.
    pub file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct PlanArgs {
    /// The recipe, a TOML file.
    pub recipe: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct TuneArgs {
    /// The task's recipe, a TOML file such as recipes/sentiment.toml.
    pub recipe: PathBuf,
    /// Print one JSON line with the scores at the end.
    #[arg(long)]
    pub json: bool,
}

#[derive(Subcommand, Debug)]
pub enum DataCommand {
    /// Print documents of a run (by id or recipe), kept or dropped, with filters.
    Show(DataShowArgs),
    /// Help with cleaning that a run shares (`danlu run RECIPE --share ADDRESS`)
    ///
    /// Any number of processes on any machines claim parts of the documents at the address, clean them and put the
    /// results back. Start and kill them as you like: what one leaves undone another does, and the result stays the same.
    Work(DataWorkArgs),
    /// Ask a run's documents in SQL: tables collected, train, valid, test, dropped
    ///
    /// The functions that cleaning rules may use are there, too (`danlu data functions`):
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
    Watch(DataWatchArgs),
    /// Follow a document from its source file to the models that saw it
    Trace(DataTraceArgs),
    /// Remove documents from all tables and token shards, and name the models that saw them
    Forget(DataForgetArgs),
}

#[derive(Args, Debug)]
pub struct DataReportArgs {
    /// A run id, a recipe, files of documents or of text (patterns too), or a snapshot (.json).
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
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct DataAugmentArgs {
    /// A run id or recipe, whose training documents are taken, or a table of documents (.parquet).
    pub input: String,
    /// A TOML file: share, copies, choose, only_languages, and [[steps]] with kind = "rotate", "reverse", "synonyms", ...
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The table to write: the documents, each followed by its copies. A recipe can read it as a source.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Decides which documents are changed and how.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
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

#[derive(Args, Debug)]
pub struct ServeArgs {
    /// A model folder.
    pub model: PathBuf,
    /// Address to listen on. Anything but loopback should have API keys.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// File with one API key a line; requests must carry one of them as a Bearer token.
    #[arg(long, value_name = "FILE")]
    pub api_keys: Option<PathBuf>,
    /// Sequences decoded together.
    #[arg(long)]
    pub max_batch: Option<usize>,
    /// Requests that may wait; more are answered 429.
    #[arg(long)]
    pub max_queue: Option<usize>,
    /// The most tokens one request may ask for.
    #[arg(long)]
    pub max_tokens: Option<usize>,
    /// Seconds after which an unfinished request is ended.
    #[arg(long)]
    pub timeout: Option<u64>,
}

#[derive(Args, Debug)]
pub struct EvalArgs {
    /// A model folder.
    pub model: PathBuf,
    /// Text to score: .txt, .jsonl(.gz, .zst), .parquet or .csv, or a glob.
    #[arg(long)]
    pub data: String,
    /// Field that holds the text in records.
    #[arg(long, default_value = "text")]
    pub text_field: String,
    /// Score once, twice and four times the model's context, by each way in which its positions can go on.
    #[arg(long)]
    pub lengths: bool,
    #[arg(long)]
    pub json: bool,
}

#[derive(Subcommand, Debug)]
pub enum FeedbackCommand {
    /// Write feedback with its replies as JSONL that the data stage reads as a source.
    Export(FeedbackExportArgs),
}

#[derive(Args, Debug)]
pub struct FeedbackExportArgs {
    /// The file to write; standard output when not given.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Only feedback with this rating: up or down.
    #[arg(long, value_parser = ["up", "down"])]
    pub rating: Option<String>,
    /// Only feedback that carries a correction.
    #[arg(long)]
    pub corrected: bool,
}

#[derive(Args, Debug)]
pub struct JsonArgs {
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct RunsArgs {
    /// Run ids, or the starts of some: their models side by side, with scores, speed and memory.
    pub runs: Vec<String>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct ShowArgs {
    /// A run id; the start of one is enough.
    pub run: String,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct ReportArgs {
    /// A run id; the start of one is enough.
    pub run: String,
    /// Write the page here instead of into the run's folder.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub part: Option<BenchPart>,
    #[command(flatten)]
    pub options: BenchOptions,
}

#[derive(Subcommand, Debug)]
pub enum BenchPart {
    /// Training steps: forward, backward, gradient clipping, AdamW, on random tokens.
    Train(BenchTrainArgs),
    /// Matrix products of the linear layers (default: those of S, M and L).
    Gemm,
    /// Causal attention, forward, and forward with backward (default: of S, M and L).
    Attention,
    /// One token at a time with cached keys and values, for 1 and for 8 sequences.
    Decode,
}

#[derive(Args, Debug)]
pub struct BenchTrainArgs {
    /// What to compute again instead of keeping: none, or block (every layer).
    #[arg(long, default_value = "none", value_parser = recompute)]
    pub recompute: Recompute,
}

#[derive(Args, Debug)]
pub struct BenchOptions {
    /// XS, S, M, L, LSTM or GRU (default: S).
    #[arg(long, global = true)]
    pub model: Option<Workload>,
    /// f32, or bf16: inputs of matrix products and activations between them; all else f32 (default: both; for `train` f32).
    #[arg(long, global = true, value_parser = precision)]
    pub precision: Option<Precision>,
    /// Measure for so long after the warm-up (default: 8 for training steps, 0.2 for a single operation).
    #[arg(long, global = true, value_name = "N")]
    pub seconds: Option<f64>,
    /// Measure exactly N runs instead.
    #[arg(long, global = true, value_name = "N", conflicts_with = "seconds")]
    pub steps: Option<usize>,
    /// End with one JSON line for programs, and print nothing else.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand, Debug)]
pub enum RecipeCommand {
    /// Print every key of a recipe with its value and origin (recipe or default).
    Explain {
        /// The recipe, a TOML file.
        recipe: PathBuf,
    },
}

fn precision(text: &str) -> Result<Precision, String> {
    Precision::named(text).ok_or_else(|| "known: f32, bf16".into())
}

fn recompute(text: &str) -> Result<Recompute, String> {
    match text {
        "none" => Ok(Recompute::None),
        "block" => Ok(Recompute::Block),
        _ => Err("known: none, block".into()),
    }
}
