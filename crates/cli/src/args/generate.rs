//! `danlu generate`.

use std::path::PathBuf;

use clap::Args;

#[derive(Args, Debug)]
pub struct GenerateArgs {
    /// A model folder.
    pub model: PathBuf,
    /// The text to continue; `-` reads it from standard input.
    #[arg(long)]
    pub prompt: String,
    /// Render the prompt as a user's message with the model's chat template.
    #[arg(long)]
    pub chat: bool,
    /// The most tokens to write.
    #[arg(long, default_value_t = 200)]
    pub max_tokens: usize,
    /// Texts to write: samples side by side, or the best of the beams.
    #[arg(short = 'n', long, default_value_t = 1, value_name = "N")]
    pub samples: usize,
    /// 0 takes the likeliest token each time.
    #[arg(long, default_value_t = 0.8, help_heading = SAMPLING)]
    pub temperature: f32,
    /// Keep only the K likeliest tokens; 0 keeps all.
    #[arg(long, default_value_t = 0, value_name = "K", help_heading = SAMPLING)]
    pub top_k: usize,
    /// Keep the likeliest tokens that together have this probability.
    #[arg(long, default_value_t = 0.95, value_name = "P", help_heading = SAMPLING)]
    pub top_p: f32,
    /// Drop tokens less likely than this share of the likeliest one.
    #[arg(long, default_value_t = 0.0, value_name = "P", help_heading = SAMPLING)]
    pub min_p: f32,
    /// Keep the tokens about as surprising as the whole distribution that together have this probability.
    #[arg(long, default_value_t = 1.0, value_name = "P", help_heading = SAMPLING)]
    pub typical_p: f32,
    /// Seed of the sampler; random when not given. Of several texts each has the next one.
    #[arg(long, help_heading = SAMPLING)]
    pub seed: Option<u64>,
    /// Keep the N likeliest continuations of every length instead of sampling.
    #[arg(long, value_name = "N", conflicts_with = "contrastive", help_heading = SEARCH)]
    pub beams: Option<usize>,
    /// Scores are divided by length to this power: above 0 favours long texts.
    #[arg(long, default_value_t = 1.0, value_name = "X", allow_negative_numbers = true, requires = "beams", help_heading = SEARCH)]
    pub length_penalty: f32,
    /// End with as many texts as beams (true), when better ones are unlikely (false), or impossible (never).
    #[arg(long, default_value = "false", value_parser = ["true", "false", "never"], requires = "beams", help_heading = SEARCH)]
    pub early_stopping: String,
    /// Of the --top-k likeliest tokens (4 if not given) take one unlike what came before; ALPHA from 0 to 1 weighs that, 0.6 is usual.
    #[arg(long, value_name = "ALPHA", help_heading = SEARCH)]
    pub contrastive: Option<f32>,
    /// Above 1 makes tokens that were already used less likely (CTRL).
    #[arg(long, default_value_t = 1.0, value_name = "X", help_heading = RULES)]
    pub repetition_penalty: f32,
    /// Subtracted from the logit of each token already written.
    #[arg(long, default_value_t = 0.0, value_name = "X", allow_negative_numbers = true, help_heading = RULES)]
    pub presence_penalty: f32,
    /// Subtracted from a token's logit each time it is written.
    #[arg(long, default_value_t = 0.0, value_name = "X", allow_negative_numbers = true, help_heading = RULES)]
    pub frequency_penalty: f32,
    /// No run of N tokens comes twice; 0 allows it.
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = RULES)]
    pub no_repeat_ngram_size: usize,
    /// Added to the logit of a token, such as 42=-5; may be given several times.
    #[arg(long, value_name = "ID=BIAS", value_parser = logit_bias, allow_hyphen_values = true, help_heading = RULES)]
    pub logit_bias: Vec<(u32, f32)>,
    /// Do not end before so many tokens.
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = RULES)]
    pub min_tokens: usize,
    /// Stop before this text; may be given several times.
    #[arg(long, help_heading = RULES)]
    pub stop: Vec<String>,
    /// Write JSON that this schema validates.
    #[arg(long, value_name = "FILE", group = "form", help_heading = FORM)]
    pub json_schema: Option<PathBuf>,
    /// Write a text that matches this regular expression as a whole.
    #[arg(long, value_name = "REGEX", group = "form", help_heading = FORM)]
    pub regex: Option<String>,
    /// Write a text of this grammar, in Lark's syntax, from its rule `start`.
    #[arg(long, value_name = "FILE", group = "form", help_heading = FORM)]
    pub grammar: Option<PathBuf>,
    /// End with one JSON line for each text instead of streaming.
    #[arg(long)]
    pub json: bool,
}

const SAMPLING: &str = "Sampling";
const SEARCH: &str = "Search instead of sampling";
const RULES: &str = "What may not come, or rather not";
const FORM: &str = "What the text must be";

fn logit_bias(text: &str) -> Result<(u32, f32), String> {
    let pair = text.split_once('=').and_then(|(id, bias)| Some((id.trim().parse().ok()?, bias.trim().parse().ok()?)));
    pair.filter(|(_, bias): &(u32, f32)| bias.is_finite())
        .ok_or_else(|| "expected a token id and a number, such as 42=-5".to_owned())
}
