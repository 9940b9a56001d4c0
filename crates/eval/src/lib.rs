//! Evaluation: what a model's guesses about real text cost, beside baselines.
//!
//! This room owns the scoring protocol and its figures; it may touch the model,
//! the tokenizer and documents, and it writes nothing. Begin reading at
//! [`evaluate`], then `score` (the loop) and `windows` (who sees what).
//!
//! # The protocol
//!
//! - A document is encoded without special tokens and scored from its beginning
//!   with one leading `<|endoftext|>` as context, so every byte of the text is
//!   paid for, the first token's too. The closing `<|endoftext|>` is not scored:
//!   `tokens` and `bytes` count the text alone. (The rolling likelihood of
//!   EleutherAI's lm-evaluation-harness makes the same choice.)
//! - A document longer than the context is cut into windows that overlap
//!   (`windows`); each token is scored exactly once, in the first window that
//!   reaches it, with at least `seq_len - stride` tokens before it.
//! - Documents never share a window, so no document is context for another, and
//!   neither their order nor the batch size changes a figure.
//! - Costs are `-ln softmax` of the f32 logits, summed in f64 in token order.
//!
//! [`Scores`] says how the figures follow from the sums. Bits per byte is the
//! one to compare between models: loss and perplexity depend on the tokenizer.
//!
//! # The baselines
//!
//! [`measure_baselines`] gives, for the same documents and bytes, what `xz -9e`
//! needs for all of them as one stream (it learns within the stream, the model
//! learned before it), and a token [`Unigram`] of the training text. A model
//! that does not beat them has learned no context.

//!
//! # Two forms of one model
//!
//! [`compare_folders`] says how far an exported model is from the one it was made of: logits, likeliest tokens, KL.
//!
//! # Encoders
//!
//! [`EncoderRun`] says what an encoder makes of texts: embeddings and predictions, in the texts' order.
//! [`score_classes`] and [`score_labels`] say what predictions are worth.
//!
//! # Translations
//!
//! [`Translator`] says what an encoder-decoder makes of texts, [`Transcriber`] what Whisper hears in sounds.
//! [`Captioner`] says what a model that sees makes of pictures.
//! [`score_translations`]: BLEU and chrF as sacreBLEU has them; [`score_transcripts`]: error rates of words and characters.

mod agreement;
mod back_translation;
mod baselines;
mod captioner;
mod choose;
mod classification;
mod config;
mod encoder;
mod error;
mod evaluate;
mod lengths;
mod ranking;
mod robustness;
mod score;
mod scores;
#[cfg(test)]
mod testing;
mod told;
mod transcriber;
mod transcription;
mod translation;
mod translator;
mod windows;

pub use agreement::{Agreement, PROMPTS, Tolerance, compare_folders};
pub use back_translation::BackTranslator;
pub use baselines::{Baseline, Baselines, Unigram, XzSize, measure_baselines, xz_size};
pub use captioner::{CAPTION_PROMPTS_FILE, CaptionPrompt, Captioner, IMAGE_PLACEHOLDER, caption_rows, read_pixels};
pub use choose::{Chosen, Coverage, choose};
pub use classification::{ClassScores, ClassificationScores, Quality, score_classes, score_labels};
pub use config::{EvalConfig, WindowSize};
pub use encoder::{EncoderRun, EncoderRunConfig, Prediction, Rows};
pub use error::EvalError;
pub use evaluate::{Evaluation, Progress, evaluate, evaluate_path, evaluate_source};
pub use lengths::{LENGTH_FACTORS, LengthScores, length_report};
pub use ranking::{RankingScores, score_rankings};
pub use robustness::{Changes, RobustnessScores, robustness_report};
pub use scores::{Scores, Tally, bits_per_byte, token_cost};
pub use transcriber::{TranscribeOptions, Transcriber, Transcript, TranscriptSegment};
pub use transcription::{TranscriptScores, TranscriptUnit, plain_transcript, score_transcripts};
pub use translation::{Bleu, BleuTokenizer, TranslationScores, score_translations};
pub use translator::{Hypothesis, Translated, Translator};
pub use windows::{Window, windows};
