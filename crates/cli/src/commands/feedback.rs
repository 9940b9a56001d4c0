//! `danlu feedback export`: what users said, as documents for the next training.

use anyhow::Context;
use danlu_store::{FeedbackRow, Workspace};
use serde_json::json;

use crate::args::{FeedbackExportArgs, Global};
use crate::output::{note, print};

pub fn export(global: &Global, args: &FeedbackExportArgs) -> anyhow::Result<()> {
    let workspace = Workspace::open(&global.runs_dir)?;
    let rows = workspace.db()?.feedback_rows()?;
    let wanted = |row: &&FeedbackRow| {
        let rating = match args.rating.as_deref() {
            Some("up") => row.rating == Some(1),
            Some(_) => row.rating == Some(-1),
            None => true,
        };
        rating && (!args.corrected || row.correction.is_some())
    };
    let mut text = String::new();
    let mut n = 0usize;
    for row in rows.iter().filter(wanted) {
        text.push_str(&serde_json::to_string(&record(row))?);
        text.push('\n');
        n += 1;
    }
    match &args.out {
        Some(path) => {
            danlu_store::atomic::write_with(path, |out| out.write_all(text.as_bytes()))
                .with_context(|| format!("cannot write {}", path.display()))?;
            note(&format!("{n} records written to {}", path.display()));
            note(&format!(
                "read them in a recipe with: [[data.sources]] name = \"feedback\" path = \"{}\"",
                path.display()
            ));
        }
        None => print(&text),
    }
    Ok(())
}

/// One line: `text` is what the model should have written (the correction when there is one), after its prompt.
fn record(row: &FeedbackRow) -> serde_json::Value {
    let prompt = prompt_of(&row.reply.request);
    let answer = row.correction.as_deref().unwrap_or(&row.reply.reply);
    json!({
        "text": format!("{prompt}{answer}"),
        "prompt": prompt,
        "reply": row.reply.reply,
        "correction": row.correction,
        "rating": row.rating,
        "comment": row.comment,
        "reply_id": row.reply.id,
        "endpoint": row.reply.endpoint,
        "model_hash": row.reply.model_hash,
        "settings": row.reply.settings,
        "request": row.reply.request,
        "time": row.time,
    })
}

/// The text that the reply continues: the prompt of a completion, the messages of a chat.
fn prompt_of(request: &serde_json::Value) -> String {
    if let Some(prompt) = request["prompt"].as_str() {
        return prompt.to_owned();
    }
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    messages.iter().filter_map(|m| m["content"].as_str()).map(|content| format!("{content}\n")).collect()
}
