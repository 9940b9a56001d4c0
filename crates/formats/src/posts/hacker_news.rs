use serde_json::{Map, Value};

use super::{Found, Post, PostKind, id};
use crate::{dates, html};

/// An item of the API (`type` is "story", "comment", "poll", "job" or "pollopt").
pub(super) fn parse(line: &str) -> Result<Found, String> {
    let fields: Map<String, Value> = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let flag =
        |name: &str| fields.get(name).is_some_and(|value| value.as_bool() == Some(true) || value.as_i64() == Some(1));
    if flag("deleted") || flag("dead") {
        return Ok(Found::Deleted);
    }
    let kind = match text("type") {
        Some("story" | "poll") => PostKind::Post,
        Some("comment") => PostKind::Comment,
        Some(_) => return Ok(Found::Other),
        None => return Err("it has no \"type\"".into()),
    };
    Ok(Found::Post(Box::new(Post {
        kind,
        id: fields.get("id").and_then(id).ok_or("it has no \"id\"")?,
        parent: fields.get("parent").and_then(id),
        title: text("title").map(html::fragment),
        text: text("text").map(html::fragment).unwrap_or_default(),
        url: text("url").map(str::to_owned),
        author: text("by").map(str::to_owned),
        date: fields.get("time").and_then(Value::as_i64).and_then(dates::from_seconds),
        score: fields.get("score").and_then(Value::as_i64),
        replies: fields.get("kids").and_then(Value::as_array).into_iter().flatten().filter_map(id).collect(),
        ..Post::default()
    })))
}
