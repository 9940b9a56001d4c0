//! What `danlu caption` is told.

use std::path::PathBuf;

use clap::Args;

#[derive(Args, Debug)]
pub struct CaptionArgs {
    /// A model folder with a LLaVA.
    pub model: PathBuf,
    /// Pictures in PNG or JPEG.
    #[arg(value_name = "PICTURE", required = true)]
    pub pictures: Vec<PathBuf>,
    /// What is asked, with <image> where the picture is (default: each prompt that the folder names).
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Captions kept at every step of the search; 1 takes the likeliest token each time.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub beams: usize,
    /// Captions of each picture, best first, up to --beams.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub results: usize,
    /// Above 0 favours long captions, below 0 short ones.
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    pub length_penalty: f32,
    /// Longest caption, in tokens.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub max_new_tokens: usize,
    /// Write a JSON line for each caption.
    #[arg(long)]
    pub json: bool,
}
