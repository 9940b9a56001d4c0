//! What `danlu transcribe` is told.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Args, Debug)]
pub struct TranscribeArgs {
    /// A model folder with Whisper.
    pub model: PathBuf,
    /// Sound files.
    #[arg(value_name = "FILE", required_unless_present = "data")]
    pub files: Vec<PathBuf>,
    /// Records that name sound files: .jsonl(.gz, .zst), .parquet or .csv.
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    pub data: Option<PathBuf>,
    /// Field with the path of a sound file, from the folder of --data.
    #[arg(long, value_name = "NAME", default_value = "audio")]
    pub sound_field: String,
    /// Field with what is really said.
    #[arg(long, value_name = "NAME", requires = "data")]
    pub target_field: Option<String>,
    /// Code of the language that is spoken, such as en or zh (default: it is heard).
    #[arg(long, value_name = "CODE")]
    pub language: Option<String>,
    /// Write English, whatever is spoken.
    #[arg(long)]
    pub translate: bool,
    /// Texts kept at every step of the search; 1 takes the likeliest token each time.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub beams: usize,
    /// Do not ask the model when each segment is said.
    #[arg(long)]
    pub no_timestamps: bool,
    /// How transcripts are written.
    #[arg(long, value_enum, default_value_t = TranscriptForm::Lines)]
    pub form: TranscriptForm,
    /// The longest sound, in hours; what comes later is left out.
    #[arg(long, value_name = "HOURS", default_value_t = 24.0)]
    pub max_hours: f64,
    /// Write the transcripts here instead of printing them.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// End with one JSON line for programs.
    #[arg(long)]
    pub json: bool,
}

/// How transcripts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TranscriptForm {
    /// A line for each segment, with its times.
    Lines,
    /// The words alone.
    Text,
    /// SubRip subtitles.
    Srt,
    /// WebVTT subtitles.
    Vtt,
    /// A JSON line for each file.
    Jsonl,
}
