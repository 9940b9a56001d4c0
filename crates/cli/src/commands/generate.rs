//! `danlu generate MODEL --prompt TEXT`.

use std::io::Read;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use danlu_model::SamplingConfig;
use danlu_serve::{LocalModel, LocalRequest};
use serde_json::json;

use crate::args::{GenerateArgs, Global};
use crate::output::{line, note, print};
use crate::signals::stop_flag;

pub fn generate(global: &Global, args: &GenerateArgs) -> anyhow::Result<()> {
    let device = danlu_pipeline::select_device(&global.device)?;
    let request = LocalRequest {
        prompt: read_prompt(&args.prompt)?,
        chat: args.chat,
        sampling: SamplingConfig {
            temperature: args.temperature,
            top_k: args.top_k,
            top_p: args.top_p,
            min_p: args.min_p,
            typical_p: 1.0,
            repetition_penalty: args.repetition_penalty,
            seed: args.seed.unwrap_or_else(seed_from_clock),
        },
        max_tokens: args.max_tokens,
        stops: args.stop.clone(),
    };
    let model = LocalModel::load(&args.model, &device)?;
    let stop = stop_flag("what is written so far stays");
    let started = Instant::now();
    if !args.json && !args.chat {
        print(&request.prompt);
    }
    let reply = model.complete(&request, |piece| {
        if !args.json {
            print(piece);
        }
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        let mut value = serde_json::to_value(&reply)?;
        value["prompt"] = json!(request.prompt);
        value["seed"] = json!(request.sampling.seed);
        value["seconds"] = json!(seconds);
        line(&value.to_string());
    } else {
        line("");
        let speed = reply.completion_tokens as f64 / seconds.max(1e-9);
        note(&format!("[{} tokens, {speed:.0} tokens/s, seed {}]", reply.completion_tokens, request.sampling.seed));
    }
    Ok(())
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
