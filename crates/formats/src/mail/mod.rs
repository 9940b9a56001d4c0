//! Mail: mbox files (RFC 4155) and MIME messages (RFC 5322, 2045) as text.

mod mbox;
mod quoted;

use mail_parser::{Address, HeaderValue, MessageParser, PartType};

use crate::{At, FormatError, dates, html};

pub use mbox::{MboxMessage, MboxReader};
pub use quoted::strip_quoted;

/// A message's text and whatever names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub subject: Option<String>,
    /// The sender's name and address: `Ada <ada@example.org>`.
    pub from: Option<String>,
    /// ISO 8601.
    pub date: Option<String>,
    pub id: Option<String>,
    /// The message that this one answers.
    pub in_reply_to: Option<String>,
    /// The plain part; of a message without one, the text of its HTML part.
    pub text: String,
    /// Parts that are no text of the message.
    pub attachments: usize,
}

/// Reads a message with its headers.
///
/// # Errors
/// Bytes that are no message.
pub fn parse_message(bytes: &[u8]) -> Result<Message, FormatError> {
    let parsed = MessageParser::default().parse(bytes).filter(|message| !message.headers().is_empty());
    let Some(parsed) = parsed else {
        return Err(FormatError::malformed(At::Whole, "message", "it has no headers"));
    };
    Ok(Message {
        subject: parsed.subject().map(one_line).filter(|subject| !subject.is_empty()),
        from: parsed.from().and_then(sender),
        date: parsed.date().and_then(|date| dates::iso(&date.to_rfc3339())),
        id: parsed.message_id().map(str::to_owned),
        in_reply_to: match parsed.in_reply_to() {
            HeaderValue::Text(id) => Some(id.to_string()),
            HeaderValue::TextList(ids) => ids.first().map(ToString::to_string),
            _ => None,
        },
        text: text(&parsed),
        attachments: parsed.attachment_count(),
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn sender(from: &Address<'_>) -> Option<String> {
    let first = from.first()?;
    let address = first.address().unwrap_or("");
    match first.name() {
        Some(name) if !address.is_empty() => Some(format!("{name} <{address}>")),
        Some(name) => Some(name.to_owned()),
        None => (!address.is_empty()).then(|| address.to_owned()),
    }
}

/// All text bodies one after another: plain ones as they are, HTML rendered.
fn text(message: &mail_parser::Message<'_>) -> String {
    let mut out = String::new();
    for part in message.text_bodies() {
        let body = match &part.body {
            PartType::Text(text) => text.replace("\r\n", "\n"),
            PartType::Html(html) => html::fragment(html),
            _ => continue,
        };
        let body = body.trim_end();
        if !body.trim().is_empty() {
            if !out.is_empty() {
                out.push_str("\n\n");
            }
            out.push_str(body.trim_start_matches('\n'));
        }
    }
    out
}
