//! `danlu feedback export`: what users said, as documents for the next training.

use anyhow::Context;
use danlu_store::{FeedbackRow, Workspace};
use serde_json::{Value, json};

use crate::args::{FeedbackExportArgs, Global};
use crate::output::{note, print};

/// Exports what teaches: corrections, and replies that nobody disliked. A disliked reply without a correction is left out
/// unless asked for with `--rating down`, and so is a reply to a prompt that was given as token ids.
pub fn export(global: &Global, args: &FeedbackExportArgs) -> anyhow::Result<()> {
    let workspace = Workspace::open(&global.runs_dir)?;
    let rows = workspace.db()?.feedback_rows()?;
    let mut text = String::new();
    let (mut written, mut disliked, mut no_text) = (0usize, 0usize, 0usize);
    for row in rows.iter().filter(|row| wanted(row, args)) {
        if row.correction.is_none() && row.rating == Some(-1) && args.rating.is_none() {
            disliked += 1;
        } else if let Some(record) = record(row) {
            text.push_str(&serde_json::to_string(&record)?);
            text.push('\n');
            written += 1;
        } else {
            no_text += 1;
        }
    }
    match &args.out {
        Some(path) => {
            danlu_store::atomic::write_bytes(path, text.as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
            let full = path.canonicalize().unwrap_or_else(|_| path.clone());
            note(&format!("{written} records written to {}; in a recipe:", path.display()));
            note(&format!("\n[[data.sources]]\nname = \"feedback\"\npath = {:?}", full.display().to_string()));
        }
        None => print(&text),
    }
    if disliked > 0 {
        note(&format!("{disliked} disliked replies without a correction left out (--rating down writes them)"));
    }
    if no_text > 0 {
        note(&format!("{no_text} left out: their prompts were not text"));
    }
    Ok(())
}

fn wanted(row: &FeedbackRow, args: &FeedbackExportArgs) -> bool {
    let rating = match args.rating.as_deref() {
        Some("up") => row.rating == Some(1),
        Some(_) => row.rating == Some(-1),
        None => true,
    };
    rating && (!args.corrected || row.correction.is_some())
}

/// One line: `text` is what the model should have written (the correction when there is one), after its prompt.
fn record(row: &FeedbackRow) -> Option<serde_json::Value> {
    let prompt = prompt_of(&row.reply.request, &row.reply.id)?;
    let answer = row.correction.as_deref().unwrap_or(&row.reply.reply);
    // A reply with `echo` begins with its prompt.
    let text = if answer.starts_with(&prompt) { answer.to_owned() } else { format!("{prompt}{answer}") };
    Some(json!({
        "text": text,
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
    }))
}

/// The text that the reply continues: the prompt of a completion, the messages of a chat. None where it was token ids.
fn prompt_of(request: &Value, reply_id: &str) -> Option<String> {
    if let Some(messages) = request["messages"].as_array() {
        return Some(messages.iter().map(|m| format!("{}\n", content_text(&m["content"]))).collect());
    }
    match &request["prompt"] {
        Value::String(prompt) => Some(prompt.clone()),
        Value::Null => Some(String::new()),
        Value::Array(prompts) => {
            // Choice k of a request with n replies a prompt belongs to prompt k / n.
            let choice: usize = reply_id.rsplit_once(':').and_then(|(_, k)| k.parse().ok()).unwrap_or(0);
            let n = request["n"].as_u64().unwrap_or(1).max(1) as usize;
            prompts.get(choice / n)?.as_str().map(str::to_owned)
        }
        _ => None,
    }
}

/// The text of a message, whether a string or a list of parts.
fn content_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_of_every_shape_are_found() {
        let of = |request: Value, id: &str| prompt_of(&request, id);
        assert_eq!(of(json!({ "prompt": "a" }), "x").as_deref(), Some("a"));
        assert_eq!(of(json!({ "prompt": ["a", "b"], "n": 2 }), "x:3").as_deref(), Some("b"));
        assert_eq!(of(json!({ "prompt": [1, 2] }), "x"), None);
        let parts = json!([{ "role": "user", "content": [{ "type": "text", "text": "hi" }] }, { "role": "user", "content": "you" }]);
        assert_eq!(of(json!({ "messages": parts }), "x").as_deref(), Some("hi\nyou\n"));
    }
}
