//! The model to a smaller one, and what that costs and gains.

use std::path::Path;

use danlu_eval::Evaluation;
use danlu_model::CausalLm;
use danlu_report::number::bytes;
use danlu_text::Tokenizer;
use serde::{Deserialize, Serialize};

use super::{Made, evaluate, files};
use crate::PipelineError;
use crate::graph::Stage;
use crate::recipe::CompressMethod;
use crate::runner::Context;

/// What the stage tells of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CompressSummary {
    pub bytes_before: u64,
    pub bytes_after: u64,
    /// Of the smaller model on the test split.
    pub evaluation: Evaluation,
    /// One sequence at a time, median of several runs.
    pub decode_tokens_per_second_before: f64,
    pub decode_tokens_per_second_after: f64,
}

pub(super) fn run(context: &mut Context<'_>, work: &Path) -> Result<Made, PipelineError> {
    let model_dir = context.input(Stage::Compress, Stage::Train)?.path.join(files::MODEL);
    let small_dir = work.join(files::INT8_MODEL);
    let report = match context.file.recipe.compress.method {
        CompressMethod::Int8 => danlu_compress::quantize_int8(&model_dir, &small_dir)?,
    };
    let tokenizer = Tokenizer::from_dir(&model_dir)?;
    tokenizer.save(&small_dir)?;
    let dense = danlu_model::load(&model_dir, context.device)?;
    let small = danlu_model::load(&small_dir, context.device)?;
    let (before, after) = decode_speeds(context, &dense, &small, &tokenizer)?;
    context.go_on(Stage::Compress)?;
    let evaluation = evaluate::score(context, &small, &tokenizer)?;
    let summary = CompressSummary {
        bytes_before: report.bytes_before,
        bytes_after: report.bytes_after,
        evaluation,
        decode_tokens_per_second_before: before,
        decode_tokens_per_second_after: after,
    };
    let line = format!(
        "{} -> {}, {:.3} bits per byte, decodes {:.0} -> {:.0} tokens/s",
        bytes(summary.bytes_before),
        bytes(summary.bytes_after),
        summary.evaluation.overall.bits_per_byte,
        before,
        after
    );
    Made::new(&summary, line)
}

/// Medians over alternating runs, so that both sides see the same weather on the machine.
fn decode_speeds(
    context: &Context<'_>,
    dense: &CausalLm,
    small: &CausalLm,
    tokenizer: &Tokenizer,
) -> Result<(f64, f64), PipelineError> {
    const RUNS: usize = 5;
    let count = context.file.recipe.compress.decode_tokens.min(dense.config().max_seq_len.saturating_sub(2)).max(1);
    let prompt = [tokenizer.eos_id()];
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        before.push(danlu_compress::decode_tokens_per_second(dense, &prompt, count)?);
        after.push(danlu_compress::decode_tokens_per_second(small, &prompt, count)?);
    }
    Ok((median(&mut before), median(&mut after)))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
