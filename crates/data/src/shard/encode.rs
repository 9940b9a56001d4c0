//! A document's tokens, and which of them are to be learnt.

use std::ops::Range;

use danlu_text::{ChatTemplate, Message, Tokenizer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::conversation::learnable;
use crate::{DataError, Document};

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// `[chat]`: how documents with `messages` become tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChatConfig {
    /// Whose turns a model learns to write. All tokens are read, but only these have a loss.
    pub learn: Vec<Role>,
}

impl Default for ChatConfig {
    fn default() -> Self {
        Self { learn: vec![Role::Assistant] }
    }
}

/// What turns documents into tokens.
#[derive(Clone, Copy, Debug)]
pub struct Encoder<'a> {
    pub tokenizer: &'a Tokenizer,
    /// For documents with `messages`; they are refused without it.
    pub template: Option<&'a ChatTemplate>,
    pub chat: &'a ChatConfig,
}

/// Which tokens of a document have a loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LossMask {
    /// All: plain text.
    All,
    /// Those that are `true`, one for each token.
    Some(Vec<bool>),
}

/// The tokens of one document, the end-of-text token last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    pub tokens: Vec<u32>,
    pub mask: LossMask,
    /// Whether the tokens, decoded, are the text to the byte.
    pub exact: bool,
    /// Tokens that stand for text the vocabulary cannot spell.
    pub unknown: u64,
}

/// A character that no text holds after cleaning; see [`Tokenizer::mark_special`].
const MARK: char = '\u{FFFF}';

impl Encoder<'_> {
    /// # Errors
    /// [`DataError::BadConversation`] for messages that cannot be rendered, and for ones of which nothing would be
    /// learnt; [`DataError::Preferences`] for answers that are not all to be learnt.
    pub fn encode(&self, document: &Document) -> Result<Encoded, DataError> {
        match learnable(document)? {
            Some(messages) => self.conversation(document, messages),
            None => self.text(&document.text),
        }
    }

    fn text(&self, text: &str) -> Result<Encoded, DataError> {
        let tokens = self.tokenizer.encode_literal(text)?;
        Ok(self.finish(tokens, text, LossMask::All))
    }

    fn finish(&self, mut tokens: Vec<u32>, text: &str, mask: LossMask) -> Encoded {
        let exact = self.tokenizer.spells(&tokens, text);
        let unknown = self.tokenizer.unknown_id();
        let unknown = unknown.map_or(0, |id| tokens.iter().filter(|&&token| token == id).count() as u64);
        tokens.push(self.tokenizer.eos_id());
        Encoded { tokens, mask, exact, unknown }
    }

    /// A conversation as the model's chat template has it. What people wrote is literal: it cannot forge a marker.
    fn conversation(&self, document: &Document, messages: &Value) -> Result<Encoded, DataError> {
        let bad = |message: String| DataError::BadConversation { document: describe(document), message };
        let mut messages: Vec<Message> =
            serde_json::from_value(messages.clone()).map_err(|e| bad(format!("its messages are malformed: {e}")))?;
        let template = self.template.ok_or_else(|| bad("the tokenizer has no chat template".into()))?;
        if self.tokenizer.adds_space() {
            let what =
                "the tokenizer puts a space before each piece of text, so what is learnt cannot be told by place";
            return Err(bad(what.into()));
        }
        for message in &mut messages {
            message.content = self.tokenizer.mark_special(&message.content.replace(MARK, ""), MARK);
        }
        let whole = template.render(&messages, false)?;
        let learnt = self.learnt(template, &messages, &whole).map_err(|e| match e {
            Failure::Template(error) => DataError::from(error),
            Failure::NotAPrefix(turn) => bad(format!(
                "the chat template renders its first {turn} messages differently when others follow, so turns cannot be told apart"
            )),
        })?;
        let (mut tokens, mut mask, mut at) = (Vec::new(), Vec::new(), 0);
        for piece in whole.split(MARK) {
            for token in self.tokenizer.encode(piece)? {
                mask.push(learnt.iter().any(|range| range.contains(&at)));
                at += self.tokenizer.token_bytes(token).len();
                tokens.push(token);
            }
        }
        if !mask.contains(&true) {
            let roles: Vec<&str> = self.chat.learn.iter().map(|role| role.name()).collect();
            return Err(bad(format!("nothing of it would be learnt: no message by {}", roles.join(" or "))));
        }
        mask.push(false); // the end-of-text token: a conversation ends with its last turn's own marker
        Ok(self.finish(tokens, &whole.replace(MARK, ""), LossMask::Some(mask)))
    }

    /// The bytes of `whole`, marks not counted, that are to be learnt: the turns of the wanted roles, from where a reply
    /// would begin to the marker that ends it.
    fn learnt(&self, template: &ChatTemplate, messages: &[Message], whole: &str) -> Result<Vec<Range<usize>>, Failure> {
        let unmarked = |text: &str| text.len() - text.matches(MARK).count() * MARK.len_utf8();
        let mut ranges = Vec::new();
        for (turn, message) in messages.iter().enumerate() {
            if !self.chat.learn.iter().any(|role| role.name() == message.role) {
                continue;
            }
            let replies = message.role == Role::Assistant.name();
            let before = template.render(&messages[..turn], replies).map_err(Failure::Template)?;
            let after = template.render(&messages[..=turn], false).map_err(Failure::Template)?;
            if !whole.starts_with(&after) || !after.starts_with(&before) {
                return Err(Failure::NotAPrefix(turn + 1));
            }
            ranges.push(unmarked(&before)..unmarked(after.trim_end()));
        }
        Ok(ranges)
    }
}

enum Failure {
    Template(danlu_text::TextError),
    NotAPrefix(usize),
}

/// The document's id and where it was read.
fn describe(document: &Document) -> String {
    let field = |name: &str| match document.metadata.get(name) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let place = match (field("file"), field("line")) {
        (Some(file), Some(line)) => format!(" ({file}:{line})"),
        (Some(file), None) => format!(" ({file})"),
        _ => String::new(),
    };
    format!("{}{place}", document.id)
}
