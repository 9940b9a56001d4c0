//! The Markdown card that lies in the model folder as `README.md`, with the YAML
//! header of Hugging Face's model cards
//! (<https://huggingface.co/docs/hub/model-cards>).

use std::fmt::Write as _;

use danlu_eval::{Baseline, Scores};
use danlu_report::markdown_table;

use super::format::{change, key, share};
use super::summary::findings;
use super::{DataFacts, EvaluationFacts, RunReport, SourceFacts};
use danlu_report::number::{bytes, compact, duration, grouped, percent, significant};

/// The card. English, with the verdict in Chinese as well: the header's language
/// list is the model's, not the card's.
pub fn model_card(report: &RunReport) -> String {
    let name = title(report);
    let mut card = header(report, &name);
    let _ = writeln!(card, "# {name}\n");
    card.push_str(&opening(report));
    for section in [
        verdict(report),
        intended_use(),
        how_to_use(report),
        data(report),
        model(report),
        training(report),
        results(report),
        compression(report),
        limitations(report),
        provenance(report),
    ] {
        card.push_str(&section);
    }
    card
}

fn title(report: &RunReport) -> String {
    if report.run.name.is_empty() { "danlu model".into() } else { report.run.name.clone() }
}

/// A string as YAML takes it: JSON's quoting is a subset.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn header(report: &RunReport, name: &str) -> String {
    let mut yaml = String::from("---\n");
    let languages: Vec<String> = report
        .data
        .iter()
        .flat_map(|data| data.funnel.by_language())
        .filter(|(code, of)| of.kept.documents > 0 && code != "und")
        .map(|(code, _)| code)
        .collect();
    if !languages.is_empty() {
        yaml.push_str("language:\n");
        for code in languages {
            let _ = writeln!(yaml, "- {}", quoted(&code));
        }
    }
    // The hub's identifiers are SPDX's in lower case.
    let license = report.run.license.as_deref().unwrap_or("unknown").to_lowercase();
    let _ = writeln!(yaml, "license: {}", quoted(&license));
    yaml.push_str("library_name: transformers\npipeline_tag: text-generation\ntags:\n- danlu\n- causal-lm\n");
    if let Some(model) = &report.model {
        let _ = writeln!(yaml, "- {}", quoted(&model.architecture));
    }
    if let Some(evaluation) = &report.evaluation {
        yaml.push_str(&model_index(evaluation, name));
    }
    yaml.push_str("---\n\n");
    yaml
}

fn model_index(evaluation: &EvaluationFacts, name: &str) -> String {
    let scores = &evaluation.scores.overall;
    let mut yaml = format!(
        "model-index:\n- name: {}\n  results:\n  - task:\n      type: text-generation\n    dataset:\n      name: \"own test split\"\n      type: \"own-test-split\"\n    metrics:\n",
        quoted(name)
    );
    for (kind, value) in
        [("bits_per_byte", scores.bits_per_byte), ("perplexity", scores.perplexity), ("accuracy", scores.top1)]
    {
        let _ = writeln!(yaml, "    - type: {kind}\n      value: {}", significant(value, 6));
    }
    yaml
}

fn opening(report: &RunReport) -> String {
    let mut text = String::from("A small language model");
    if let Some(model) = &report.model {
        let _ = write!(
            text,
            " ({} parameters, {} architecture, context of {} tokens)",
            compact(model.parameters as f64),
            model.architecture,
            model.context
        );
    }
    let _ = writeln!(text, ", trained from scratch with danlu {}.\n", report.run.danlu_version);
    text
}

fn verdict(report: &RunReport) -> String {
    let findings = findings(report);
    let mut text = String::from("## In plain words\n\n");
    for finding in &findings {
        let _ = writeln!(text, "- {}", finding.text.en);
    }
    text.push_str("\n### 用中文说\n\n");
    for finding in &findings {
        let _ = writeln!(text, "- {}", finding.text.zh);
    }
    text.push('\n');
    text
}

fn intended_use() -> String {
    "## Intended use\n\nTo study the whole life of a language model on one machine, and as a base to train further. \
     It continues text in the manner of its corpus. It is not an assistant, it follows no instructions, and nothing it \
     writes is to be taken for fact.\n\n"
        .into()
}

fn how_to_use(report: &RunReport) -> String {
    let dir = report.run.model_dir.as_deref().unwrap_or("MODEL_FOLDER");
    let prompt = report.samples.first().map_or("Once", |sample| sample.prompt.as_str());
    let shell = shell_quoted(prompt);
    format!(
        "## How to use\n\nWith danlu:\n\n```sh\ndanlu generate {dir} --prompt {shell} --temperature 0.8 --top-p 0.95\ndanlu serve {dir}\n```\n\n\
         With transformers:\n\n```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
         tokenizer = AutoTokenizer.from_pretrained({0})\nmodel = AutoModelForCausalLM.from_pretrained({0})\n\
         inputs = tokenizer(tokenizer.eos_token + {1}, return_tensors=\"pt\")\n\
         print(tokenizer.decode(model.generate(**inputs, max_new_tokens=64, do_sample=True, top_p=0.95)[0]))\n```\n\n\
         A document begins after `<|endoftext|>`: put it before a prompt that opens a text.\n\n",
        quoted(dir),
        quoted(prompt),
    )
}

/// In single quotes for a POSIX shell.
fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn data(report: &RunReport) -> String {
    let Some(data) = &report.data else { return String::new() };
    let mut text = String::from("## Data\n\n");
    let by_source = data.funnel.by_source();
    let row = |source: &SourceFacts| {
        let of = by_source.get(&source.name).cloned().unwrap_or_default();
        vec![
            source.name.clone(),
            source.license.clone().unwrap_or_else(|| "unknown".into()),
            grouped(of.collected.documents),
            grouped(of.kept.documents),
            bytes(of.kept.bytes),
        ]
    };
    let rows: Vec<Vec<String>> = data.sources.iter().map(row).collect();
    let headers = ["source", "license", "documents read", "kept", "size kept"];
    text.push_str(&markdown_table(&headers, &rows));
    text.push('\n');
    text.push_str(&languages(data));
    text.push_str(&splits(data));
    text
}

fn languages(data: &DataFacts) -> String {
    let total = data.funnel.kept.bytes;
    let parts: Vec<String> = data
        .funnel
        .by_language()
        .iter()
        .filter(|(_, of)| of.kept.documents > 0)
        .map(|(code, of)| format!("{code} {}", share(of.kept.bytes, total)))
        .collect();
    format!("Languages by bytes kept: {}.\n\n", parts.join(", "))
}

fn splits(data: &DataFacts) -> String {
    let part = |name: &str| {
        let of = data.funnel.split(name);
        format!("{name} {} documents ({})", grouped(of.documents), bytes(of.bytes))
    };
    let parts = ["train", "valid", "test"].map(part).join(", ");
    format!("Split by a hash of each document's text: {parts}.\n\n")
}

fn model(report: &RunReport) -> String {
    let Some(model) = &report.model else { return String::new() };
    let mut rows = vec![
        vec!["parameters".into(), grouped(model.parameters)],
        vec!["of them embeddings".into(), grouped(model.embedding_parameters)],
        vec!["vocabulary".into(), grouped(model.vocab_size as u64)],
    ];
    rows.extend(model.config.iter().map(|(key, value)| vec![key.clone(), plain(value)]));
    format!("## Model\n\n{}\n", markdown_table(&["", "value"], &rows))
}

/// A JSON value without the quotes of a string.
pub(super) fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => "–".into(),
        other => other.to_string(),
    }
}

fn training(report: &RunReport) -> String {
    let Some(training) = &report.training else { return String::new() };
    let rows = [
        ("steps", format!("{} of {}", grouped(training.steps), grouped(training.steps_planned))),
        ("tokens seen", format!("{} ({} epochs)", grouped(training.tokens_seen), significant(training.epochs, 3))),
        (
            "best validation loss",
            format!("{} nats/token at step {}", significant(training.best_valid_loss, 4), training.best_step),
        ),
        ("wall time", duration(training.seconds)),
        (
            "speed",
            format!(
                "{} tokens/s on {} ({} threads)",
                compact(training.tokens_per_second),
                training.device,
                training.threads
            ),
        ),
        ("seed", report.run.seed.to_string()),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    format!("## Training\n\n{}\n", markdown_table(&["", "value"], &rows))
}

fn results(report: &RunReport) -> String {
    let Some(evaluation) = &report.evaluation else { return String::new() };
    let scores = &evaluation.scores;
    let baselines = evaluation.baselines.as_ref();
    let mut rows = vec![result_row("all", &scores.overall, baselines.map(|b| &b.overall))];
    for (name, scores) in &scores.by_language {
        rows.push(result_row(&format!("language {name}"), scores, baselines.and_then(|b| b.by_language.get(name))));
    }
    for (name, scores) in &scores.by_source {
        rows.push(result_row(&format!("source {name}"), scores, baselines.and_then(|b| b.by_source.get(name))));
    }
    let headers = [
        "test split",
        "bits/byte",
        "xz -9e",
        "unigram",
        "perplexity",
        "loss (nats/token)",
        "top-1",
        "top-5",
        "tokens",
        "bytes",
    ];
    format!(
        "## Results\n\n{}\nEach document is scored from its beginning after `<|endoftext|>`, in windows of {} tokens with stride {}; \
         every token of the text once, the closing boundary not. Lower bits per byte is better; perplexity depends on the tokenizer.\n\n",
        markdown_table(&headers, &rows),
        scores.window.seq_len,
        scores.window.stride,
    )
}

fn result_row(name: &str, scores: &Scores, baseline: Option<&Baseline>) -> Vec<String> {
    let figure = |value: Option<f64>| value.map_or_else(|| "–".into(), |x| significant(x, 4));
    vec![
        name.to_owned(),
        significant(scores.bits_per_byte, 4),
        figure(baseline.map(|b| b.xz_bits_per_byte)),
        figure(baseline.and_then(|b| b.unigram_bits_per_byte)),
        significant(scores.perplexity, 4),
        significant(scores.loss, 4),
        percent(scores.top1),
        percent(scores.top5),
        grouped(scores.tokens),
        grouped(scores.bytes),
    ]
}

fn compression(report: &RunReport) -> String {
    let Some(c) = &report.compression else { return String::new() };
    let rows = [
        ("size", bytes(c.bytes_before), bytes(c.bytes_after), change(c.bytes_before as f64, c.bytes_after as f64)),
        (
            "bits per byte",
            significant(c.bits_per_byte_before, 5),
            significant(c.bits_per_byte_after, 5),
            change(c.bits_per_byte_before, c.bits_per_byte_after),
        ),
        (
            "decode tokens/s",
            compact(c.decode_tokens_per_second_before),
            compact(c.decode_tokens_per_second_after),
            change(c.decode_tokens_per_second_before, c.decode_tokens_per_second_after),
        ),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(a, b, c, d)| vec![a.to_owned(), b, c, d]).collect();
    format!("## Compressed form\n\n{}.\n\n{}\n", c.method, markdown_table(&["", "before", "after", "change"], &rows))
}

fn limitations(report: &RunReport) -> String {
    let mut text = String::from("## Limitations\n\n");
    if let Some(data) = &report.data {
        let kept = bytes(data.funnel.kept.bytes);
        let _ = writeln!(
            text,
            "- It has read {kept} of text and nothing else: it knows no world beyond it, and its facts are invented."
        );
    }
    text.push_str(
        "- It repeats the views, the gaps and the language of its sources and their time; nothing was filtered for harm.\n\
         - The test split comes from the same sources as the training text: the figures say nothing about other text.\n\
         - With a small corpus it may repeat passages of its training text word for word.\n\n",
    );
    text
}

fn provenance(report: &RunReport) -> String {
    let mut text = String::from("## Provenance\n\n");
    let run = &report.run;
    let _ = writeln!(text, "Run `{}`, started {}, danlu {}.\n", run.id, run.started, run.danlu_version);
    let rows: Vec<Vec<String>> = report
        .stages
        .iter()
        .map(|stage| vec![stage.stage.clone(), format!("`{}`", key(&stage.key)), duration(stage.seconds)])
        .collect();
    if !rows.is_empty() {
        text.push_str(&markdown_table(&["stage", "artifact", "time"], &rows));
        text.push('\n');
    }
    if !report.commands.is_empty() {
        text.push_str("Commands that print these figures:\n\n```sh\n");
        for command in &report.commands {
            let _ = writeln!(text, "{}  # {}", command.command, command.prints_en);
        }
        text.push_str("```\n");
    }
    text
}
