//! What `danlu caption` is told.

use std::path::PathBuf;

use clap::Args;

use super::BeamArgs;

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
    #[command(flatten)]
    pub search: BeamArgs,
    /// Write a JSON line for each caption.
    #[arg(long)]
    pub json: bool,
}
