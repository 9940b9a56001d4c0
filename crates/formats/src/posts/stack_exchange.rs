use super::{Found, Post, PostKind};
use crate::xml::{Piece, Xml, attribute};
use crate::{dates, html};

/// A `<row .../>` of `Posts.xml` or `Comments.xml`; the lines around them hold none.
pub(super) fn parse(line: &str) -> Result<Found, String> {
    let line = line.trim();
    if !line.starts_with("<row") {
        let frames =
            ["<?xml", "<posts", "</posts", "<comments", "</comments"].iter().any(|frame| line.starts_with(frame));
        return if frames { Ok(Found::Other) } else { Err("it is no <row>".into()) };
    }
    let mut xml = Xml::new(line);
    let Piece::Open(row) = xml.next()? else { return Err("it is no <row>".into()) };
    let get = |name: &str| attribute(&row, name).filter(|value| !value.is_empty());
    let id = get("Id").ok_or("it has no Id")?;
    let date = get("CreationDate").as_deref().and_then(dates::iso);
    let score = get("Score").and_then(|score| score.parse().ok());
    let author = get("OwnerUserId").or_else(|| get("UserId")).or_else(|| get("OwnerDisplayName"));
    let post = Post { id, date, score, author, ..Post::default() };
    if let Some(text) = get("Text") {
        return Ok(Found::Post(Box::new(Post { kind: PostKind::Comment, parent: get("PostId"), text, ..post })));
    }
    let kind = match get("PostTypeId").as_deref() {
        Some("1") => PostKind::Post,
        Some("2") => PostKind::Answer,
        Some(_) => return Ok(Found::Other),
        None => return Err("it has neither Text nor PostTypeId".into()),
    };
    Ok(Found::Post(Box::new(Post {
        kind,
        parent: get("ParentId"),
        title: get("Title"),
        text: get("Body").map(|body| html::fragment(&body)).unwrap_or_default(),
        topics: get("Tags").map(|tags| topics(&tags)).unwrap_or_default(),
        ..post
    })))
}

/// `<rust><parsing>`, or `|rust|parsing|` in newer dumps.
fn topics(tags: &str) -> Vec<String> {
    tags.split(['<', '>', '|']).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}
