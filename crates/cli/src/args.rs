//! The command line: parsed here, resolved and carried out in `commands`.

mod back;
mod beams;
mod caption;
mod data;
mod generate;
mod texts;
mod transcribe;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use danlu_bench::{Precision, Recompute, Workload};
use danlu_pipeline::Stage;

pub use back::BackArgs;
pub use beams::BeamArgs;
pub use caption::CaptionArgs;
pub use data::{
    DataAugmentArgs, DataCommand, DataForgetArgs, DataReportArgs, DataShowArgs, DataSqlArgs, DataTraceArgs,
    DataTrainCommand, DataWatchArgs, DataWorkArgs, ReadingArgs,
};
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
    /// Share cleaning and encoding with other processes at ADDRESS: a folder that all see, or s3://, gs://, az:// with the feature
    /// object-store. Each of them runs `danlu data work ADDRESS`; the result is the same.
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
    /// A GGUF file, quantised or not, or a folder with checkpoints of PyTorch (pytorch_model.bin) or a tokenizer other than
    /// tokenizer.json: SentencePiece, tiktoken, vocab.json and merges.txt, vocab.txt, Marian's two .spm.
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
    /// Score changed copies of the text beside it: a TOML file as `danlu data augment` reads it, each of whose steps makes
    /// copies of its own.
    #[arg(long, value_name = "FILE", conflicts_with = "lengths")]
    pub augment: Option<PathBuf>,
    /// Decides how copies are changed, in the place of the file's seed.
    #[arg(long, requires = "augment")]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub back: BackArgs,
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
    /// A run id (the start of one is enough), or a recipe, of which the newest run is shown.
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
