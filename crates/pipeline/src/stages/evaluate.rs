//! The model and the test split to scores, baselines and samples.

use std::ops::ControlFlow;
use std::path::Path;

use danlu_data::{Document, Shard, read_documents};
use danlu_eval::{Baselines, EvalConfig, Evaluation, Unigram};
use danlu_model::{CausalLm, SamplingConfig};
use danlu_text::Tokenizer;
use serde::{Deserialize, Serialize};

use super::{Made, files};
use crate::PipelineError;
use crate::graph::Stage;
use crate::observer::Progress;
use crate::runner::Context;

/// What the stage tells of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EvaluateSummary {
    pub evaluation: Evaluation,
    pub baselines: Baselines,
    pub samples: Vec<Sample>,
}

/// A text the model wrote.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub prompt: String,
    pub continuation: String,
    pub settings: String,
}

pub(super) fn run(context: &mut Context<'_>, _work: &Path) -> Result<Made, PipelineError> {
    let model_dir = context.input(Stage::Evaluate, Stage::Train)?.path.join(files::MODEL);
    let model = danlu_model::load(&model_dir, context.device)?;
    let tokenizer = Tokenizer::from_dir(&model_dir)?;
    let evaluation = score(context, &model, &tokenizer)?;
    context.go_on(Stage::Evaluate)?;
    let baselines = baselines(context, &tokenizer)?;
    context.go_on(Stage::Evaluate)?;
    let samples = samples(context, &model, &tokenizer)?;
    let line = format!(
        "{:.3} bits per byte on the test split (xz {:.3}, unigram {:.3}), perplexity {:.1}, top-1 {:.1}%",
        evaluation.overall.bits_per_byte,
        baselines.overall.xz_bits_per_byte,
        baselines.overall.unigram_bits_per_byte.unwrap_or(f64::NAN),
        evaluation.overall.perplexity,
        evaluation.overall.top1 * 100.0,
    );
    Made::new(&EvaluateSummary { evaluation, baselines, samples }, line)
}

/// Scores a model on the test split; the compress stage does the same with its own.
pub(super) fn score(
    context: &mut Context<'_>,
    model: &CausalLm,
    tokenizer: &Tokenizer,
) -> Result<Evaluation, PipelineError> {
    let config = &context.file.recipe.evaluate;
    let tests = context.input(Stage::Evaluate, Stage::Clean)?.path.join(files::documents("test"));
    let observer = &mut *context.observer;
    let mut told = 0;
    Ok(danlu_eval::evaluate(model, tokenizer, read_documents(&tests)?, config, &mut |p| {
        if p.tokens_scored >= told + 4096 {
            told = p.tokens_scored;
            observer.progress(&Progress {
                label: "score the test split".into(),
                done: p.tokens_scored,
                total: None,
                unit: "tokens",
            });
        }
    })?)
}

/// xz and unigram over exactly the documents that the model was scored on.
fn baselines(context: &Context<'_>, tokenizer: &Tokenizer) -> Result<Baselines, PipelineError> {
    let config: &EvalConfig = &context.file.recipe.evaluate;
    let tests = context.input(Stage::Evaluate, Stage::Clean)?.path.join(files::documents("test"));
    let documents: Vec<Document> = if config.is_capped() {
        danlu_eval::choose(read_documents(&tests)?, config)?.documents
    } else {
        read_documents(&tests)?.collect::<Result<_, _>>()?
    };
    let tokens = context.input(Stage::Evaluate, Stage::Tokenizer)?.path;
    let train = Shard::open(&tokens.join(files::shard("train")), Some(tokenizer.hash()))?;
    let unigram = Unigram::count(train.tokens().iter(), tokenizer.vocab_size(), tokenizer.eos_id())?;
    Ok(danlu_eval::measure_baselines(&documents, Some((&unigram, tokenizer)))?)
}

fn samples(context: &Context<'_>, model: &CausalLm, tokenizer: &Tokenizer) -> Result<Vec<Sample>, PipelineError> {
    let recipe = &context.file.recipe;
    let config = &recipe.samples;
    let mut samples = Vec::new();
    for prompt in &config.prompts {
        let sampling = SamplingConfig {
            temperature: config.temperature as f32,
            top_p: config.top_p as f32,
            seed: recipe.seed,
            ..SamplingConfig::default()
        };
        // As `danlu generate` cuts it, so that the sample can be had again.
        let ids = tokenizer.encode(prompt)?;
        let written = danlu_model::generate(model, &ids, &sampling, config.max_tokens, &[tokenizer.eos_id()], |_| {
            ControlFlow::Continue(())
        })?;
        samples.push(Sample {
            prompt: prompt.clone(),
            continuation: tokenizer.decode(&written.tokens),
            settings: format!("temperature {}, top-p {}, seed {}", config.temperature, config.top_p, recipe.seed),
        });
    }
    Ok(samples)
}
