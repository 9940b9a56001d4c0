use serde_json::{Map, Value};

use super::{Found, Post, PostKind, id};
use crate::{dates, entities};

/// A submission (`title`, `selftext`) or a comment (`body`) as the Pushshift dumps have them.
pub(super) fn parse(line: &str) -> Result<Found, String> {
    let fields: Map<String, Value> = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(|text| entities::decode(text).into_owned());
    let (kind, body) = match (fields.contains_key("title"), text("body")) {
        (true, _) => (PostKind::Post, text("selftext").unwrap_or_default()),
        (false, Some(body)) => (PostKind::Comment, body),
        (false, None) => return Err("it has neither \"title\" nor \"body\"".into()),
    };
    let gone =
        |text: &str| matches!(text.trim(), "[deleted]" | "[removed]" | "[deleted by user]" | "[ Removed by Reddit ]");
    if gone(&body) || text("title").as_deref().is_some_and(gone) {
        return Ok(Found::Deleted);
    }
    let is_self = fields.get("is_self").and_then(Value::as_bool).unwrap_or(false);
    Ok(Found::Post(Box::new(Post {
        kind,
        id: fields.get("id").and_then(id).ok_or("it has no \"id\"")?,
        parent: fields.get("parent_id").and_then(id),
        title: text("title"),
        text: body,
        url: text("url").filter(|_| kind == PostKind::Post && !is_self),
        author: text("author").filter(|author| author != "[deleted]"),
        date: fields.get("created_utc").and_then(seconds).and_then(dates::from_seconds),
        score: fields.get("score").and_then(Value::as_i64),
        topics: text("subreddit").into_iter().collect(),
        ..Post::default()
    })))
}

/// Seconds since 1970, which some years have as strings or with a fraction.
fn seconds(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds as i64)),
        _ => None,
    }
}
