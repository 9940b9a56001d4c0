//! `danlu generate MODEL --prompt TEXT`.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use danlu_model::{BeamConfig, ContrastiveConfig, EarlyStopping, LogitsRules, SamplingConfig};
use danlu_serve::{LocalModel, LocalReply, LocalRequest, Search};
use danlu_text::Grammar;
use serde_json::json;

use crate::args::{GenerateArgs, Global};
use crate::output::{line, note, print};
use crate::signals::stop_flag;

pub fn generate(global: &Global, args: &GenerateArgs) -> anyhow::Result<()> {
    let device = danlu_pipeline::select_device(&global.device)?;
    let seed = args.seed.unwrap_or_else(seed_from_clock);
    let request = request_of(args, seed)?;
    let model = LocalModel::load(&args.model, &device)?;
    let stop = stop_flag("what is written so far stays");
    let started = Instant::now();
    // Several texts would run into each other.
    let streams = !args.json && request.samples == 1;
    if streams && !args.chat {
        print(&request.prompt);
    }
    let replies = model.complete(&request, |_, piece| {
        if streams {
            print(piece);
        }
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let seconds = started.elapsed().as_secs_f64();
    for (index, reply) in replies.iter().enumerate() {
        if args.json {
            line(&as_json(reply, index, &request, seed, seconds)?);
        } else if !streams {
            let score = reply.score.map_or(String::new(), |score| format!(", score {score:.4}"));
            note(&format!("[{} of {}{score}]", index + 1, replies.len()));
            line(&if args.chat { reply.text.clone() } else { format!("{}{}", request.prompt, reply.text) });
        }
    }
    if streams {
        line("");
    }
    if !args.json {
        let tokens: usize = replies.iter().map(|reply| reply.completion_tokens).sum();
        note(&format!("[{tokens} tokens, {:.0} tokens/s, seed {seed}]", tokens as f64 / seconds.max(1e-9)));
    }
    Ok(())
}

fn as_json(
    reply: &LocalReply,
    index: usize,
    request: &LocalRequest,
    seed: u64,
    seconds: f64,
) -> anyhow::Result<String> {
    let mut value = serde_json::to_value(reply)?;
    value["prompt"] = json!(request.prompt);
    value["seed"] = json!(seed);
    value["seconds"] = json!(seconds);
    if request.samples > 1 {
        value["index"] = json!(index);
    }
    Ok(value.to_string())
}

fn request_of(args: &GenerateArgs, seed: u64) -> anyhow::Result<LocalRequest> {
    anyhow::ensure!(args.samples > 0, "--samples is 0: expected at least 1");
    if let (Some(_), 2..) = (args.contrastive, args.samples) {
        anyhow::bail!("--samples is {}, but contrastive search finds one text", args.samples);
    }
    Ok(LocalRequest {
        prompt: read_prompt(&args.prompt)?,
        chat: args.chat,
        search: search_of(args, seed),
        rules: LogitsRules {
            logit_bias: args.logit_bias.clone(),
            presence_penalty: args.presence_penalty,
            frequency_penalty: args.frequency_penalty,
            no_repeat_ngram_size: args.no_repeat_ngram_size,
            min_tokens: args.min_tokens,
        },
        grammar: grammar_of(args)?,
        max_tokens: args.max_tokens,
        stops: args.stop.clone(),
        samples: args.samples,
    })
}

fn search_of(args: &GenerateArgs, seed: u64) -> Search {
    let repetition_penalty = args.repetition_penalty;
    if let Some(beams) = args.beams {
        let early_stopping = match args.early_stopping.as_str() {
            "true" => EarlyStopping::True,
            "never" => EarlyStopping::Never,
            _ => EarlyStopping::False,
        };
        let length_penalty = args.length_penalty;
        let config = BeamConfig { beams, length_penalty, early_stopping, repetition_penalty, ..BeamConfig::default() };
        return Search::Beams(config);
    }
    if let Some(penalty_alpha) = args.contrastive {
        let usual = ContrastiveConfig::default();
        let top_k = if args.top_k == 0 { usual.top_k } else { args.top_k };
        return Search::Contrastive(ContrastiveConfig { top_k, penalty_alpha, repetition_penalty, ..usual });
    }
    Search::Sample(SamplingConfig {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        typical_p: args.typical_p,
        repetition_penalty,
        seed,
    })
}

fn grammar_of(args: &GenerateArgs) -> anyhow::Result<Option<Grammar>> {
    let read = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    if let Some(path) = &args.json_schema {
        let schema = serde_json::from_str(&read(path)?);
        return Ok(Some(Grammar::JsonSchema(schema.with_context(|| format!("{} is not valid JSON", path.display()))?)));
    }
    if let Some(path) = &args.grammar {
        return Ok(Some(Grammar::Lark(read(path)?)));
    }
    Ok(args.regex.clone().map(Grammar::Regex))
}

fn read_prompt(prompt: &str) -> anyhow::Result<String> {
    if prompt != "-" {
        return Ok(prompt.to_owned());
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("cannot read the prompt from standard input")?;
    Ok(text)
}

/// A new seed each time; it is printed, so that a text can be had again.
fn seed_from_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::from(d.subsec_nanos()))
}
