//! Conversations: the forms in which they are published, brought into one.
//!
//! A conversation's text is a plain rendering for filters and deduplication to look at; what it is trained on are the
//! typed turns in the metadata: `messages`, or `prompt`, `chosen` and `rejected`, or `prompt`, `completion` and `label`,
//! each but the label a list of `{"role": ..., "content": ...}` with the roles system, user, assistant and tool.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::{Fields, field_names};
use crate::Role;
use crate::conversation::render;

/// The form of a source's conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatFormat {
    /// Told from the names of each record's fields.
    Auto,
    /// `instruction`, `input` and `output`; also `system` and `history`.
    Alpaca,
    /// `conversations`: a list of `{"from": ..., "value": ...}`.
    ShareGpt,
    /// `messages`: a list of `{"role": ..., "content": ...}`, as the OpenAI API has them.
    Messages,
    /// `chosen` and `rejected` after a `prompt`, or with what they have in common as the prompt.
    Preference,
    /// `prompt`, `completion` and whether it is desirable: `label`.
    Kto,
}

/// The text of a record, and its typed parts for the metadata.
pub(super) struct Text {
    pub(super) text: String,
    pub(super) typed: Fields,
}

impl Text {
    /// Typed turns, and what they render to.
    fn of<const N: usize>(typed: [(&str, Value); N]) -> Self {
        let typed: Fields = typed.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { text: render(&typed).unwrap_or_default(), typed }
    }
}

/// Takes a conversation out of a record's fields.
///
/// # Errors
/// What is wrong with it.
pub(super) fn take(format: ChatFormat, fields: &mut Fields) -> Result<Text, String> {
    let format = if format == ChatFormat::Auto { detect(fields)? } else { format };
    match format {
        ChatFormat::Alpaca => messages(alpaca(fields)?),
        ChatFormat::ShareGpt => {
            let mut turns = Vec::new();
            if let Some(system) = optional(fields, "system")? {
                turns.push(Turn::new(Role::System, system));
            }
            turns.extend(turns_of(required(fields, "conversations")?, "conversations")?);
            messages(turns)
        }
        ChatFormat::Messages => messages(turns_of(required(fields, "messages")?, "messages")?),
        ChatFormat::Preference => preference(fields),
        ChatFormat::Kto => kto(fields),
        ChatFormat::Auto => Err("the form of the conversation is not known".into()),
    }
}

fn detect(fields: &Fields) -> Result<ChatFormat, String> {
    let has = |names: &[&str]| names.iter().all(|name| fields.contains_key(*name));
    let known: [(&[&str], ChatFormat); 5] = [
        (&["chosen", "rejected"], ChatFormat::Preference),
        (&["prompt", "completion", "label"], ChatFormat::Kto),
        (&["messages"], ChatFormat::Messages),
        (&["conversations"], ChatFormat::ShareGpt),
        (&["instruction", "output"], ChatFormat::Alpaca),
    ];
    let found = known.iter().find(|(names, _)| has(names)).map(|(_, format)| *format);
    found.ok_or_else(|| format!("no known form of conversation has the fields {}", field_names(fields)))
}

/// A role by the names that the published sets have for it.
fn role_named(name: &str) -> Option<Role> {
    Some(match name {
        "system" | "developer" => Role::System,
        "user" | "human" | "prompter" => Role::User,
        "assistant" | "gpt" | "bot" | "chatgpt" | "bard" | "model" => Role::Assistant,
        "tool" | "function" | "function_response" | "observation" | "ipython" => Role::Tool,
        _ => return None,
    })
}

#[derive(Clone, Debug, PartialEq)]
struct Turn {
    role: Role,
    content: String,
    /// What a turn may have besides, kept as it is: `name`, `tool_calls`, `tool_call_id`, `weight`, `images`.
    more: Fields,
}

impl Turn {
    fn new(role: Role, content: String) -> Self {
        Self { role, content, more: Map::new() }
    }

    fn json(&self) -> Value {
        let mut turn = Map::from_iter([
            ("role".to_owned(), self.role.name().into()),
            ("content".to_owned(), self.content.as_str().into()),
        ]);
        turn.extend(self.more.clone());
        turn.into()
    }
}

fn json_of(turns: &[Turn]) -> Value {
    turns.iter().map(Turn::json).collect()
}

fn messages(turns: Vec<Turn>) -> Result<Text, String> {
    check_order(&turns)?;
    match turns.last() {
        Some(Turn { role: Role::Assistant, .. }) => {}
        _ if turns.iter().all(|turn| turn.role != Role::Assistant) => return Err("there is no assistant turn".into()),
        last => {
            let role = last.map_or("nobody", |turn| turn.role.name());
            return Err(format!("the last turn is the {role}'s, not the assistant's"));
        }
    }
    Ok(Text::of([("messages", json_of(&turns))]))
}

/// Who may speak after whom: the system first if at all, then the user, and from there the assistant and the user in
/// turns, with tools answering the assistant.
fn check_order(turns: &[Turn]) -> Result<(), String> {
    let mut before = None;
    for (index, turn) in turns.iter().enumerate() {
        use Role::{Assistant, System, Tool, User};
        let allowed = matches!(
            (before, turn.role),
            (None, System | User)
                | (Some(System), User)
                | (Some(User), Assistant)
                | (Some(Assistant), User | Tool)
                | (Some(Tool), Tool | Assistant)
        );
        if !allowed {
            let after = before.map_or("at the beginning".into(), |role: Role| format!("after the {}'s", role.name()));
            return Err(format!("wrong order: turn {} is the {}'s, {after}", index + 1, turn.role.name()));
        }
        let answers_otherwise = turn.more.contains_key("tool_calls") || turn.more.contains_key("images");
        if turn.content.trim().is_empty() && !answers_otherwise {
            return Err(format!("turn {} ({}) is empty", index + 1, turn.role.name()));
        }
        before = Some(turn.role);
    }
    Ok(())
}

fn alpaca(fields: &mut Fields) -> Result<Vec<Turn>, String> {
    let mut turns = Vec::new();
    if let Some(system) = optional(fields, "system")? {
        turns.push(Turn::new(Role::System, system));
    }
    // Pairs of what was asked and answered before, as LLaMA-Factory has them.
    match fields.shift_remove("history") {
        None | Some(Value::Null) => {}
        Some(Value::Array(pairs)) => {
            for pair in pairs {
                match pair.as_array().map(Vec::as_slice) {
                    Some([Value::String(asked), Value::String(answered)]) => {
                        turns.push(Turn::new(Role::User, asked.clone()));
                        turns.push(Turn::new(Role::Assistant, answered.clone()));
                    }
                    _ => return Err("field \"history\" is not a list of pairs of strings".into()),
                }
            }
        }
        Some(_) => return Err("field \"history\" is not a list of pairs of strings".into()),
    }
    let mut asked = string(required(fields, "instruction")?, "instruction")?;
    if let Some(input) = optional(fields, "input")? {
        asked = if asked.trim().is_empty() { input } else { format!("{asked}\n\n{input}") };
    }
    turns.push(Turn::new(Role::User, asked));
    turns.push(Turn::new(Role::Assistant, string(required(fields, "output")?, "output")?));
    Ok(turns)
}

fn preference(fields: &mut Fields) -> Result<Text, String> {
    let mut chosen = answer_of(required(fields, "chosen")?, "chosen")?;
    let mut rejected = answer_of(required(fields, "rejected")?, "rejected")?;
    let mut prompt = match fields.shift_remove("prompt") {
        None | Some(Value::Null) => Vec::new(),
        Some(value) => prompt_of(value, "prompt")?,
    };
    // Whole conversations on both sides: the prompt is what they have in common, up to the last answer.
    let whole = |answer: &[Turn]| answer.len() > 1 || answer.first().is_some_and(|turn| turn.role != Role::Assistant);
    if whole(&chosen) || whole(&rejected) {
        let common = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b).count();
        let common = common.min(chosen.len().saturating_sub(1)).min(rejected.len().saturating_sub(1));
        let shared: Vec<Turn> = chosen.drain(..common).collect();
        rejected.drain(..common);
        if !prompt.is_empty() && !shared.is_empty() && !shared.ends_with(&prompt) && !prompt.ends_with(&shared) {
            return Err("the prompt is not what the chosen and the rejected conversation begin with".into());
        }
        if shared.len() > prompt.len() {
            prompt = shared;
        }
    }
    check_prompt(&prompt)?;
    for (name, answer) in [("chosen", &chosen), ("rejected", &rejected)] {
        check_answer(&prompt, answer).map_err(|message| format!("{name}: {message}"))?;
    }
    if chosen == rejected {
        return Err("the chosen and the rejected answer are the same".into());
    }
    Ok(Text::of([("prompt", json_of(&prompt)), ("chosen", json_of(&chosen)), ("rejected", json_of(&rejected))]))
}

fn kto(fields: &mut Fields) -> Result<Text, String> {
    let prompt = prompt_of(required(fields, "prompt")?, "prompt")?;
    let completion = answer_of(required(fields, "completion")?, "completion")?;
    let label = match required(fields, "label")? {
        Value::Bool(label) => label,
        Value::Number(number) if number.as_u64().is_some_and(|n| n < 2) => number.as_u64() == Some(1),
        other => return Err(format!("field \"label\" is {other}, neither true nor false")),
    };
    check_prompt(&prompt)?;
    check_answer(&prompt, &completion).map_err(|message| format!("completion: {message}"))?;
    Ok(Text::of([("prompt", json_of(&prompt)), ("completion", json_of(&completion)), ("label", label.into())]))
}

fn check_prompt(prompt: &[Turn]) -> Result<(), String> {
    check_order(prompt)?;
    match prompt.last() {
        Some(Turn { role: Role::User | Role::Tool, .. }) => Ok(()),
        Some(turn) => Err(format!("the prompt ends with the {}'s turn, not the user's", turn.role.name())),
        None => Err("there is no prompt".into()),
    }
}

fn check_answer(prompt: &[Turn], answer: &[Turn]) -> Result<(), String> {
    match answer.last() {
        None => return Err("there is no assistant turn".into()),
        Some(turn) if turn.role != Role::Assistant => {
            return Err(format!("the last turn is the {}'s, not the assistant's", turn.role.name()));
        }
        Some(_) => {}
    }
    let whole: Vec<Turn> = prompt.iter().chain(answer).cloned().collect();
    check_order(&whole)
}

/// A prompt: what the user said, or turns.
fn prompt_of(value: Value, field: &str) -> Result<Vec<Turn>, String> {
    match value {
        Value::String(text) => Ok(vec![Turn::new(Role::User, text)]),
        turns => turns_of(turns, field),
    }
}

/// An answer: what the assistant said, or turns.
fn answer_of(value: Value, field: &str) -> Result<Vec<Turn>, String> {
    match value {
        Value::String(text) => Ok(vec![Turn::new(Role::Assistant, text)]),
        one @ Value::Object(_) => turns_of(Value::Array(vec![one]), field),
        turns => turns_of(turns, field),
    }
}

fn turns_of(value: Value, field: &str) -> Result<Vec<Turn>, String> {
    let Value::Array(turns) = value else { return Err(format!("field {field:?} is not a list of turns")) };
    turns
        .into_iter()
        .enumerate()
        .map(|(index, turn)| turn_of(turn).map_err(|m| format!("turn {} {m}", index + 1)))
        .collect()
}

/// One turn, with its role as `role` or `from` and its content as `content` or `value`.
fn turn_of(turn: Value) -> Result<Turn, String> {
    let Value::Object(mut turn) = turn else { return Err("is not an object".into()) };
    let name = match turn.shift_remove("role").or_else(|| turn.shift_remove("from")) {
        Some(Value::String(name)) => name,
        _ => return Err("has no role".into()),
    };
    let role = role_named(&name.to_ascii_lowercase())
        .ok_or_else(|| format!("has the unknown role {name:?}; the roles are system, user, assistant and tool"))?;
    let content = turn.shift_remove("content").or_else(|| turn.shift_remove("value"));
    // Tables have a column for everything, mostly null.
    let mut more: Fields = turn.into_iter().filter(|(_, value)| !value.is_null()).collect();
    let content = match content {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => parts_of(parts, &mut more)?,
        None | Some(Value::Null) => String::new(),
        Some(_) => return Err("has a content that is neither a string nor a list of parts".into()),
    };
    Ok(Turn { role, content, more })
}

/// The text of a content in parts; its images, each where `<image>` stands in the text, go into `more`.
fn parts_of(parts: Vec<Value>, more: &mut Fields) -> Result<String, String> {
    let mut text = String::new();
    let mut images = Vec::new();
    for part in parts {
        let image = |key: &str| part[key]["url"].as_str().or(part[key].as_str()).or(part["path"].as_str());
        match part["type"].as_str() {
            Some("text" | "input_text" | "output_text") => text += part["text"].as_str().unwrap_or_default(),
            Some(kind @ ("image_url" | "image" | "input_image")) => {
                let key = if kind == "image" { "image" } else { "image_url" };
                match image(key) {
                    Some(place) => images.push(place.into()),
                    None if kind == "image" => {} // which one it is, a field of images tells
                    None => return Err("has an image without a URL".into()),
                }
                text += "<image>";
            }
            Some(kind) => return Err(format!("has a part of the unknown type {kind:?}")),
            None => return Err("has a part without a type".into()),
        }
    }
    if !images.is_empty() {
        more.insert("images".into(), Value::Array(images));
    }
    Ok(text)
}

fn required(fields: &mut Fields, name: &str) -> Result<Value, String> {
    match fields.shift_remove(name) {
        None => Err(format!("there is no field {name:?}; the fields are {}", field_names(fields))),
        Some(Value::Null) => Err(format!("field {name:?} is null")),
        Some(value) => Ok(value),
    }
}

/// A string field that may be missing, null or empty.
fn optional(fields: &mut Fields, name: &str) -> Result<Option<String>, String> {
    match fields.shift_remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => string(value, name).map(|text| Some(text).filter(|text| !text.trim().is_empty())),
    }
}

fn string(value: Value, field: &str) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(format!("field {field:?} is not a string")),
    }
}
