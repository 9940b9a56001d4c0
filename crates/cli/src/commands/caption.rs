//! `danlu caption MODEL PICTURE...`.

use std::ops::ControlFlow;
use std::path::Path;

use danlu_eval::{CaptionPrompt, Captioner, Hypothesis};
use serde_json::json;

use crate::Usage;
use crate::args::{CaptionArgs, Global};
use crate::output::line;

pub fn caption(global: &Global, args: &CaptionArgs) -> anyhow::Result<()> {
    let beams = args.search.config()?;
    let device = danlu_pipeline::select_device(&global.device)?;
    let captioner = Captioner::load(&args.model, &device)?;
    let prompts = match &args.prompt {
        Some(prompt) => vec![CaptionPrompt { language: String::new(), prompt: prompt.clone() }],
        None => captioner.prompts().to_vec(),
    };
    if prompts.is_empty() {
        let message = format!("{} does not say what to ask it", args.model.display());
        return Err(Usage::new(message, "give --prompt, such as \"USER: <image>\\nWhat is this? ASSISTANT:\"").into());
    }
    for path in &args.pictures {
        let pixels = [captioner.read(path)?];
        for prompt in &prompts {
            let go_on = &mut |_: usize| ControlFlow::Continue(());
            let said = captioner.caption(&pixels, &prompt.prompt, &beams, go_on)?.unwrap_or_default();
            for caption in said.iter().flatten() {
                tell(args, path, prompt, caption);
            }
        }
    }
    Ok(())
}

fn tell(args: &CaptionArgs, path: &Path, prompt: &CaptionPrompt, caption: &Hypothesis) {
    if !args.json {
        let name = if args.pictures.len() > 1 { format!("{}: ", path.display()) } else { String::new() };
        return line(&format!("{name}{}", caption.text));
    }
    let mut record = json!({
        "picture": path, "prompt": prompt.prompt, "caption": caption.text, "score": caption.score,
        "finish": caption.finish,
    });
    if !prompt.language.is_empty() {
        record["language"] = json!(prompt.language);
    }
    line(&record.to_string());
}
