//! Posts and comments: the dumps of Reddit (one JSON object a line), Hacker News (the items of its API) and Stack
//! Exchange (one XML element a line).

mod hacker_news;
mod reddit;
mod stack_exchange;

use std::io::BufRead;

use crate::lines::Lines;
use crate::{At, FormatError, reading};

/// What kind of post it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PostKind {
    /// A submission, a story, a question.
    #[default]
    Post,
    /// An answer to a question.
    Answer,
    Comment,
}

/// A post or comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Post {
    pub kind: PostKind,
    pub id: String,
    /// What it answers or comments on.
    pub parent: Option<String>,
    pub title: Option<String>,
    /// As its author wrote it; markup in HTML is rendered, Markdown stays.
    pub text: String,
    /// The page it points to.
    pub url: Option<String>,
    pub author: Option<String>,
    /// ISO 8601.
    pub date: Option<String>,
    pub score: Option<i64>,
    /// The subreddit, or the tags.
    pub topics: Vec<String>,
    /// Direct replies.
    pub replies: Vec<String>,
    /// The line of the dump, from 1.
    pub line: u64,
}

/// Which dump it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostFormat {
    /// Submissions (with `title`, `selftext`) and comments (with `body`).
    Reddit,
    /// Items of the API, one a line.
    HackerNews,
    /// `Posts.xml` or `Comments.xml`.
    StackExchange,
}

/// Records without a text of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PostsSkipped {
    /// Deleted by their author or removed by a moderator.
    pub deleted: u64,
    /// Other kinds: tag descriptions, polls' options, jobs.
    pub other: u64,
    /// Neither a title nor a text.
    pub empty: u64,
}

/// What a line holds.
enum Found {
    Post(Box<Post>),
    Deleted,
    Other,
}

/// Reads a dump line by line.
#[derive(Debug)]
pub struct PostReader<R> {
    lines: Lines<R>,
    format: PostFormat,
    skipped: PostsSkipped,
    ended: bool,
}

impl<R: BufRead> PostReader<R> {
    pub fn new(reader: R, format: PostFormat, max_bytes: usize) -> Self {
        Self { lines: Lines::new(reader, max_bytes), format, skipped: PostsSkipped::default(), ended: false }
    }

    /// Records passed over so far, by reason.
    pub fn skipped(&self) -> PostsSkipped {
        self.skipped
    }

    fn read(&mut self) -> Result<Option<Post>, FormatError> {
        while let Some(line) = self.lines.next_record()? {
            let text = String::from_utf8_lossy(line.content());
            let text = text.trim_start_matches('\u{FEFF}');
            let (name, found) = match self.format {
                PostFormat::Reddit => ("Reddit record", reddit::parse(text)),
                PostFormat::HackerNews => ("Hacker News item", hacker_news::parse(text)),
                PostFormat::StackExchange => ("Stack Exchange row", stack_exchange::parse(text)),
            };
            match found.map_err(|message| FormatError::malformed(At::Line(line.number), name, message))? {
                Found::Post(mut post) if has_text(&post) => {
                    post.line = line.number;
                    return Ok(Some(*post));
                }
                Found::Post(_) => self.skipped.empty += 1,
                Found::Deleted => self.skipped.deleted += 1,
                Found::Other => self.skipped.other += 1,
            }
        }
        Ok(None)
    }
}

impl<R: BufRead> Iterator for PostReader<R> {
    type Item = Result<Post, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        reading::next(self, |reader| &mut reader.ended, Self::read)
    }
}

fn has_text(post: &Post) -> bool {
    !post.text.trim().is_empty() || post.title.as_ref().is_some_and(|title| !title.trim().is_empty())
}

/// A number or a string as a string: dumps of different years write ids differently.
fn id(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) if !text.is_empty() => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
