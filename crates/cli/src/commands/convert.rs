//! `danlu import`, `danlu export`, `danlu inspect`: models of other programs.

use std::cell::RefCell;
use std::path::Path;

use danlu_convert::{Exported, Inspection, Precision};
use danlu_eval::{Agreement, Tolerance};
use danlu_model::{
    EncoderConfig, EncoderDecoderConfig, HeadConfig, MemoryNeeds, Problem, SentenceConfig, VisionLanguageConfig,
};
use danlu_weights::Kind;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::Usage;
use crate::args::{ExportArgs, Global, ImportArgs, InspectArgs};
use crate::output::{bytes, count, fancy, line, table};

/// A bar of tensors, on a terminal.
fn bar() -> impl Fn(usize, usize) {
    let bar: RefCell<Option<ProgressBar>> = RefCell::new(None);
    move |done, all| {
        if !fancy() {
            return;
        }
        let mut bar = bar.borrow_mut();
        let bar = bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(all as u64);
            let style = ProgressStyle::with_template("  {bar:28} {percent:>3}%  {pos} of {len} tensors, {eta} left");
            style.into_iter().for_each(|style| bar.set_style(style.progress_chars("━━─")));
            bar
        });
        bar.set_position(done as u64);
        if done == all {
            bar.finish_and_clear();
        }
    }
}

pub fn import(args: &ImportArgs) -> anyhow::Result<()> {
    let precision = args.precision.as_deref().and_then(Precision::from_name);
    if danlu_convert::is_folder_of_transformers(&args.file) {
        danlu_model::describe(&args.file)?; // what danlu cannot load is not copied
    }
    let done = danlu_convert::import(&args.file, &args.out, precision, &bar())?;
    let kinds: Vec<String> = done.kinds.iter().map(|(kind, tensors)| format!("{tensors} {kind}")).collect();
    if args.json {
        line(&serde_json::to_string(&json!({
            "architecture": done.architecture, "parameters": done.parameters, "vocabulary": done.vocabulary,
            "chat_template": done.chat_template, "out": args.out, "precision": args.precision,
            "tensors": done.kinds.iter().map(|(kind, n)| (kind.clone(), json!(n))).collect::<serde_json::Map<_, _>>(),
        }))?);
        return Ok(());
    }
    line(&format!(
        "{}: {} with {} parameters (tensors: {}), {}, {}",
        args.out.display(),
        done.architecture,
        count(done.parameters),
        kinds.join(", "),
        match done.vocabulary {
            0 => "no tokenizer that danlu knows".to_owned(),
            tokens => format!("{} tokens", count(tokens as u64)),
        },
        if done.chat_template { "with a chat template" } else { "without a chat template" },
    ));
    if !args.file.is_dir() || done.architecture.ends_with("CausalLM") || done.architecture.ends_with("LMHeadModel") {
        let chat = if done.chat_template { " --chat" } else { "" };
        line(&format!("try it: danlu generate {}{chat} --prompt \"...\"", args.out.display()));
    }
    Ok(())
}

pub fn export(global: &Global, args: &ExportArgs) -> anyhow::Result<()> {
    let gguf = args.format == "gguf";
    let kind = args.kind.as_deref().and_then(Kind::from_name); // clap knows the names
    let precision = args.kind.as_deref().and_then(Precision::from_name);
    if !gguf && kind.is_some() && precision.is_none() {
        let hint = "use --format gguf, or `danlu run` with [compress] for int8 that transformers loads";
        return Err(Usage::new("a folder for transformers has f32, f16 or bf16", hint).into());
    }
    let done = match gguf {
        true => danlu_convert::export(&args.model, &args.out, kind.unwrap_or(Kind::F16), &bar())?,
        false => {
            danlu_model::describe(&args.model)?;
            danlu_convert::export_folder(&args.model, &args.out, precision, &bar())?
        }
    };
    let kind = if gguf { Some(kind.unwrap_or(Kind::F16)) } else { kind };
    let verified = args.verify.then(|| verify(global, args, kind)).transpose()?;
    let fault = verified.as_ref().and_then(|(agreement, tolerance)| agreement.fault(tolerance));
    if args.json {
        let mut said = json!({
            "architecture": done.architecture, "parameters": done.parameters, "bytes": done.bytes, "out": args.out,
            "kind": kind.map(Kind::name), "left_f16": done.left_f16,
        });
        if let Some((agreement, tolerance)) = &verified {
            said["verified"] = json!(agreement);
            said["verified"]["tolerance"] = json!(tolerance);
            said["verified"]["holds"] = json!(fault.is_none());
        }
        line(&serde_json::to_string(&said)?);
    } else {
        say_exported(args, &done, kind);
        if let Some((agreement, tolerance)) = &verified {
            say_verified(agreement, tolerance);
        }
    }
    match fault {
        Some(fault) => Err(Disagreement { out: args.out.clone(), fault }.into()),
        None => Ok(()),
    }
}

fn say_exported(args: &ExportArgs, done: &Exported, kind: Option<Kind>) {
    let (parameters, size) = (count(done.parameters), bytes(done.bytes));
    let form = kind.map(|kind| format!(" as {kind}")).unwrap_or_default();
    line(&format!("{}: {} with {parameters} parameters{form}, {size}", args.out.display(), done.architecture));
    if let Some(kind) = kind.filter(|_| !done.left_f16.is_empty()) {
        line(&format!(
            "left F16, because their rows are not whole blocks of {}: {}",
            kind.block_len(),
            done.left_f16.join(", ")
        ));
    }
}

/// The exported model is not the original within what its element type explains.
#[derive(Debug)]
pub struct Disagreement {
    out: std::path::PathBuf,
    fault: String,
}

impl Disagreement {
    pub fn hint(&self) -> Option<String> {
        Some("it was written all the same; try an element type with more bits (--kind)".into())
    }
}

impl std::fmt::Display for Disagreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is not the model it was made of: {}", self.out.display(), self.fault)
    }
}

impl std::error::Error for Disagreement {}

/// Reads back what was exported, a GGUF file by way of a folder beside it, and compares.
fn verify(global: &Global, args: &ExportArgs, kind: Option<Kind>) -> anyhow::Result<(Agreement, Tolerance)> {
    let device = danlu_pipeline::select_device(&global.device)?;
    let tolerance = kind.map_or(Tolerance::EXACT, Tolerance::of);
    if args.format == "hf" {
        return Ok((danlu_eval::compare_folders(&args.model, &args.out, &device)?, tolerance));
    }
    let beside = args.out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let work = tempfile::Builder::new().prefix(".danlu-verify-").tempdir_in(beside)?;
    let folder = work.path().join("model");
    danlu_convert::import(&args.out, &folder, None, &bar())?;
    Ok((danlu_eval::compare_folders(&args.model, &folder, &device)?, tolerance))
}

fn say_verified(agreement: &Agreement, tolerance: &Tolerance) {
    let Agreement { prompts, positions, other_ids, max_logit_error, max_relative_error, top1, kl } = agreement;
    let row = |name: &str, found: String, bound: String| vec![name.to_owned(), found, bound];
    let rows = [
        row("prompts with other token ids", other_ids.to_string(), "0".into()),
        row("largest logit error", format!("{max_logit_error:.3e}"), String::new()),
        row(
            "in standard deviations",
            format!("{max_relative_error:.3e}"),
            format!("{:e}", tolerance.max_relative_error),
        ),
        row("top-1 agreement", format!("{:.2}%", 100.0 * top1), String::new()),
        row("KL divergence, nats", format!("{kl:.3e}"), format!("{:e}", tolerance.kl)),
    ];
    line(&format!("read back and run on {prompts} prompts, {positions} positions:"));
    line(table(&["figure", "found", "allowed"], &rows).trim_end());
}

pub fn inspect(args: &InspectArgs) -> anyhow::Result<()> {
    let seen = danlu_convert::inspect(&args.path)?;
    let memory = memory(&args.path, &seen);
    // What is told beyond settings and tensors, where one of danlu's models fits them.
    let folder = Some(&args.path).filter(|path| path.is_dir());
    let encoder = folder.and_then(|path| danlu_model::describe_encoder(path).ok().flatten());
    let pair = folder.and_then(|path| danlu_model::describe_encoder_decoder(path).ok().flatten());
    let sees = folder.and_then(|path| danlu_model::describe_vision_language(path).ok().flatten());
    let sentence = danlu_model::SentenceConfig::load(&args.path).ok().flatten();
    if args.json {
        let mut json = as_json(&seen);
        json["memory"] = json!(memory);
        if let Some((config, _)) = &encoder {
            json["encoder"] = json!(config);
            json["sentence"] = json!(sentence);
        }
        if let Some((config, _)) = &pair {
            json["encoder_decoder"] = json!(config.resolved());
        }
        if let Some((config, _)) = &sees {
            json["vision_language"] = json!(config.resolved());
        }
        line(&serde_json::to_string(&json)?);
        return Ok(());
    }
    line(&format!("{}: {}", args.path.display(), seen.form));
    if let Some(architecture) = &seen.architecture {
        line(&format!("architecture: {architecture}"));
    }
    if let Some((config, _)) = &encoder {
        line(&of_encoder(config, sentence));
    }
    if let Some((config, _)) = &pair {
        line(&of_encoder_decoder(config));
    }
    if let Some((config, _)) = &sees {
        line(&of_vision_language(config));
    }
    line(&format!(
        "parameters: {} in {} tensors, {}",
        count(seen.parameters()),
        seen.tensors.len(),
        bytes(seen.bytes())
    ));
    if let Some(memory) = &memory {
        line(&of_memory(memory, args.path.is_dir()));
    }
    let kinds = seen.kinds().into_iter().map(|(kind, tensors, size)| vec![kind, count(tensors as u64), bytes(size)]);
    line(table(&["element type", "tensors", "bytes"], &kinds.collect::<Vec<_>>()).trim_end());
    if let Some(tokenizer) = &seen.tokenizer {
        line(&format!("tokenizer: {tokenizer}, {} tokens", count(seen.vocabulary.unwrap_or_default() as u64)));
    }
    let settings: Vec<Vec<String>> =
        seen.settings.iter().map(|(name, value)| vec![name.clone(), short(value)]).collect();
    if !settings.is_empty() {
        line(&format!("\n{}", table(&["setting", "value"], &settings).trim_end()));
    }
    if args.tensors {
        let shape = |shape: &[u64]| shape.iter().map(u64::to_string).collect::<Vec<_>>().join(" x ");
        let rows = seen.tensors.iter().map(|t| vec![t.name.clone(), shape(&t.shape), t.kind.clone(), bytes(t.bytes)]);
        line(&format!("\n{}", table(&["tensor", "shape", "type", "bytes"], &rows.collect::<Vec<_>>()).trim_end()));
    }
    if let Some(template) = &seen.chat_template {
        line(&format!("\nchat template:\n{}", template.trim_end()));
    }
    Ok(())
}

/// What a model takes once danlu has loaded it, if danlu has such a model.
fn memory(path: &Path, seen: &Inspection) -> Option<MemoryNeeds> {
    let described = match (&seen.config, path.is_dir()) {
        (Some(_), true) => danlu_model::describe(path),
        (Some(config), false) => danlu_model::describe_language(path, config.as_object()?),
        (None, _) => return None,
    };
    let tensors = seen.tensors.iter();
    let elements = |shape: &[u64]| shape.iter().fold(1, |product: u64, n| product.saturating_mul(*n));
    Some(described.ok()?.memory(tensors.map(|t| (t.name.as_str(), t.kind.as_str(), elements(&t.shape)))))
}

fn of_memory(needs: &MemoryNeeds, loaded: bool) -> String {
    let form = if needs.int8 { "int8 and f32" } else { "f32" };
    let when = if loaded { "" } else { " after import" };
    let mut text = format!("in memory{when}: {} of weights in {form}", bytes(needs.weights));
    if let Some(sequence) = &needs.sequence {
        text.push_str("; for each sequence ");
        let tokens = sequence.max_tokens.map(|most| {
            let all = format!("{} at {} tokens", bytes(sequence.most()), count(most as u64));
            format!("{} a token, {all}", bytes(sequence.per_token))
        });
        match (sequence.fixed, tokens) {
            (0, Some(tokens)) => text.push_str(&tokens),
            (fixed, None) => text.push_str(&format!("{}, however long", bytes(fixed))),
            (fixed, Some(tokens)) => text.push_str(&format!("{} for what it reads, {tokens}", bytes(fixed))),
        }
    }
    text
}

/// Both parts of a model that sees.
fn of_vision_language(config: &VisionLanguageConfig) -> String {
    let (vision, text) = (&config.vision, &config.text);
    format!(
        "vision: {} layers of {}, {} heads, pictures of {} pixels a side in patches of {}, {} places in the text\n\
         language model: {} layers of {}, {} heads, context {} tokens",
        vision.layers,
        vision.hidden_size,
        vision.heads,
        vision.image_size,
        vision.patch_size,
        config.places(),
        text.layers,
        text.hidden_size,
        text.heads,
        text.max_seq_len
    )
}

/// Shape and head of an encoder-decoder.
fn of_encoder_decoder(config: &EncoderDecoderConfig) -> String {
    let head = if config.tied() { "the embedding" } else { "its own" };
    let source = match config.sound() {
        None => format!("sources of {} tokens", config.max_seq_len),
        Some((bands, places)) => format!("sound of {} frames in {bands} bands", 2 * places),
    };
    format!(
        "encoder-decoder: {} and {} layers of {}, {} heads, {source}, targets of {} tokens\nhead: {head}",
        config.encoder_layers, config.decoder_layers, config.hidden_size, config.heads, config.max_seq_len
    )
}

/// Shape, head and pooling of an encoder.
fn of_encoder(config: &EncoderConfig, sentence: Option<SentenceConfig>) -> String {
    let layers = match config.architecture.cell() {
        None => format!("{} layers of {}, {} heads", config.layers, config.hidden_size, config.heads),
        Some(_) => format!("{} layers of {}, in both directions", config.layers, config.hidden_size),
    };
    let mut text = format!("encoder: {layers}, context {} tokens", config.max_seq_len);
    let head = match &config.head {
        HeadConfig::None | HeadConfig::Pooler => None,
        HeadConfig::MaskedLm => Some("masked language model"),
        HeadConfig::SequenceClassification { problem: Problem::SingleLabel, .. } => Some("sequence classification"),
        HeadConfig::SequenceClassification { problem: Problem::MultiLabel, .. } => {
            Some("sequence classification with several labels")
        }
        HeadConfig::SequenceClassification { problem: Problem::Regression, .. } => Some("regression"),
        HeadConfig::TokenClassification { .. } => Some("token classification"),
        HeadConfig::Ctc { .. } => Some("labels without an alignment (CTC)"),
    };
    text.extend(head.map(|head| format!("\nhead: {head}")));
    if !config.head.labels().is_empty() {
        text.push_str(&format!("\nlabels: {}", short(&config.head.labels().join(", "))));
    }
    if let Some(SentenceConfig { pooling, normalize, max_seq_len }) = sentence {
        let length = if normalize { ", to length 1" } else { "" };
        let cut = max_seq_len.map(|n| format!(", of texts up to {n} tokens")).unwrap_or_default();
        text.push_str(&format!("\nembeddings: {}{length}{cut}", pooling.name()));
    }
    text
}

/// One line, cut at a length that leaves the table readable.
fn short(value: &str) -> String {
    const LONGEST: usize = 80;
    let one: String = value.split_whitespace().collect::<Vec<_>>().join(" ");
    match one.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &one[..cut]),
        None => one,
    }
}

fn as_json(seen: &Inspection) -> serde_json::Value {
    let tensors = seen.tensors.iter();
    json!({
        "form": seen.form,
        "architecture": seen.architecture,
        "parameters": seen.parameters(),
        "bytes": seen.bytes(),
        "tokenizer": seen.tokenizer,
        "vocabulary": seen.vocabulary,
        "chat_template": seen.chat_template,
        "settings": seen.settings.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<serde_json::Map<_, _>>(),
        "tensors": tensors.map(|t| json!({"name": t.name, "shape": t.shape, "type": t.kind, "bytes": t.bytes})).collect::<Vec<_>>(),
    })
}
