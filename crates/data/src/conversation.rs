//! Conversations in the metadata of a document: what is trained on in the place of its text.
//!
//! The typed turns are the truth, and the text is what they [`render`] to: filters, rules and deduplication look at it. A
//! change of the text is therefore a change of what is said in each turn, after which the text is rendered anew
//! ([`change_turns`]); what cannot be told by turns, such as a cut, leaves a conversation alone. Only a source that is said to
//! hold conversations gives typed turns: a field of such a name in another record gets another one ([`rename_reserved`]).

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::augment::IMAGES_KEY;
use crate::{AUGMENT_KEY, AUGMENTED_FROM_KEY, DataError, Document, Reason};

pub(crate) const MESSAGES: &str = "messages";
pub(crate) const PROMPT: &str = "prompt";
pub(crate) const CHOSEN: &str = "chosen";
pub(crate) const REJECTED: &str = "rejected";
pub(crate) const COMPLETION: &str = "completion";
pub(crate) const LABEL: &str = "label";

/// What the metadata of a conversation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conversation {
    /// `messages`: turns, of which the assistant's are learnt as a rule.
    Messages,
    /// `prompt`, `chosen` and `rejected`.
    Preference,
    /// `prompt`, `completion` and `label`.
    Kto,
}

impl Conversation {
    /// `None` for plain text.
    pub(crate) fn of(document: &Document) -> Option<Self> {
        Self::in_metadata(&document.metadata)
    }

    fn in_metadata(metadata: &Map<String, Value>) -> Option<Self> {
        let turns = |name: &str| metadata.get(name).is_some_and(Value::is_array);
        if metadata.contains_key(MESSAGES) {
            Some(Self::Messages)
        } else if turns(CHOSEN) && turns(REJECTED) {
            Some(Self::Preference)
        } else if turns(PROMPT) && turns(COMPLETION) && metadata.get(LABEL).is_some_and(Value::is_boolean) {
            Some(Self::Kto)
        } else {
            None
        }
    }

    /// Where its turns are.
    fn lists(self) -> &'static [&'static str] {
        match self {
            Self::Messages => &[MESSAGES],
            Self::Preference => &[PROMPT, CHOSEN, REJECTED],
            Self::Kto => &[PROMPT, COMPLETION],
        }
    }

    /// Its name in a recipe.
    fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Preference => "preference",
            Self::Kto => "kto",
        }
    }
}

/// The turns of a document with `messages`; `None` for plain text.
///
/// # Errors
/// [`DataError::Preferences`] for answers that are not all to be learnt.
pub(crate) fn learnable(document: &Document) -> Result<Option<&Value>, DataError> {
    match Conversation::of(document) {
        None => Ok(None),
        Some(Conversation::Messages) => Ok(document.metadata.get(MESSAGES)),
        Some(kind) => Err(DataError::Preferences { name: document.source.clone(), form: kind.name() }),
    }
}

/// The text of typed turns, `role: content` turn by turn with a blank line between them; `None` where there are none.
pub(crate) fn render(metadata: &Map<String, Value>) -> Option<String> {
    let turns = |name: &str| metadata.get(name).and_then(Value::as_array).map(Vec::as_slice);
    Some(match Conversation::in_metadata(metadata)? {
        Conversation::Messages => spoken(turns(MESSAGES)?),
        Conversation::Preference => format!(
            "{}\n\nchosen: {}\n\nrejected: {}",
            spoken(turns(PROMPT).unwrap_or_default()),
            answer(turns(CHOSEN)?),
            answer(turns(REJECTED)?)
        ),
        Conversation::Kto => {
            let desirable = metadata.get(LABEL) == Some(&Value::Bool(true));
            let word = if desirable { "desirable" } else { "undesirable" };
            format!("{}\n\n{word}: {}", spoken(turns(PROMPT)?), answer(turns(COMPLETION)?))
        }
    })
}

fn spoken(turns: &[Value]) -> String {
    let lines: Vec<String> = turns.iter().map(|turn| format!("{}: {}", role(turn), content(turn))).collect();
    lines.join("\n\n")
}

fn answer(turns: &[Value]) -> String {
    match turns {
        [only] => content(only).into_owned(),
        several => spoken(several),
    }
}

fn role(turn: &Value) -> &str {
    turn["role"].as_str().unwrap_or_default()
}

/// What a turn says: a string, or the text of its parts, in which `<image>` stands for a picture.
fn content(turn: &Value) -> Cow<'_, str> {
    match &turn["content"] {
        Value::String(text) => Cow::Borrowed(text.as_str()),
        Value::Array(parts) => {
            Cow::Owned(parts.iter().map(|part| part["text"].as_str().unwrap_or("<image>")).collect())
        }
        _ => Cow::Borrowed(""),
    }
}

/// Changes what is said in every turn, and renders the text anew. `change` is given no blank texts, and gives nothing where
/// it changes nothing. Roles, calls of tools and places of pictures stay.
///
/// # Errors
/// Why the conversation is none any more: a turn says nothing, which `nothing_left` explains, or the two answers have become the
/// same.
pub(crate) fn change_turns(
    document: &mut Document,
    change: &dyn Fn(&str) -> Option<String>,
    nothing_left: &str,
) -> Result<(), Reason> {
    let Some(kind) = Conversation::of(document) else { return Ok(()) };
    let mut spoilt = None;
    for &list in kind.lists() {
        let turns = document.metadata.get_mut(list).and_then(Value::as_array_mut);
        for (index, turn) in turns.into_iter().flatten().enumerate() {
            if change_turn(turn, change) && spoilt.is_none() {
                let detail = format!("{list}, turn {} ({}): {nothing_left}", index + 1, role(turn));
                spoilt = Some(Reason::new("empty_turn", detail));
            }
        }
    }
    if let Some(text) = render(&document.metadata).filter(|text| *text != document.text) {
        document.set_text(text);
    }
    if kind == Conversation::Preference && document.metadata.get(CHOSEN) == document.metadata.get(REJECTED) {
        let same = || Reason::new("same_answers", "the chosen and the rejected answer have become the same");
        spoilt.get_or_insert_with(same);
    }
    spoilt.map_or(Ok(()), Err)
}

/// Whether the turn said something and does not any more.
fn change_turn(turn: &mut Value, change: &dyn Fn(&str) -> Option<String>) -> bool {
    let said = says_something(turn);
    match turn.get_mut("content") {
        Some(Value::String(text)) => change_text(text, change),
        Some(Value::Array(parts)) => {
            for part in parts {
                if let Some(Value::String(text)) = part.get_mut("text") {
                    change_text(text, change);
                }
            }
        }
        _ => {}
    }
    said && !says_something(turn)
}

fn change_text(text: &mut String, change: &dyn Fn(&str) -> Option<String>) {
    if !text.trim().is_empty()
        && let Some(changed) = change(text)
    {
        *text = changed;
    }
}

/// By words, by a call of a tool or by a picture.
fn says_something(turn: &Value) -> bool {
    !content(turn).trim().is_empty() || ["tool_calls", IMAGES_KEY].iter().any(|key| turn.get(*key).is_some())
}

/// The metadata of a record as its source has it, with other names for what has a meaning in the metadata of documents and was
/// not put there by danlu: `messages` becomes `source_messages`. Tables that danlu wrote mean what they say, and do without
/// this.
pub(crate) fn rename_reserved(fields: Map<String, Value>) -> Map<String, Value> {
    let is_copy = fields.get(AUGMENTED_FROM_KEY).and_then(Value::as_str).is_some_and(is_id);
    let reserved = |name: &str, value: &Value| match name {
        MESSAGES => true,
        CHOSEN | REJECTED | COMPLETION => value.is_array(),
        IMAGES_KEY => value.as_array().is_none_or(|images| !images.iter().all(Value::is_string)),
        AUGMENT_KEY | AUGMENTED_FROM_KEY => !is_copy,
        _ => false,
    };
    if !fields.iter().any(|(name, value)| reserved(name, value)) {
        return fields;
    }
    let taken: Vec<String> = fields.keys().cloned().collect();
    let renamed = |(name, value): (String, Value)| {
        if !reserved(&name, &value) {
            return (name, value);
        }
        let mut other = format!("source_{name}");
        while taken.contains(&other) {
            other.insert_str(0, "source_");
        }
        (other, value)
    };
    fields.into_iter().map(renamed).collect()
}

/// Whether the metadata has turns under this name, as far as names tell.
pub(crate) fn is_reserved(name: &str) -> bool {
    [MESSAGES, CHOSEN, REJECTED, COMPLETION].contains(&name)
}

/// Whether this is an id as danlu gives them to documents.
fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(metadata: Value) -> Document {
        let metadata = metadata.as_object().cloned().unwrap_or_default();
        let mut document = Document::new(render(&metadata).unwrap_or("plain".into()), "s");
        document.metadata = metadata;
        document
    }

    fn turn(role: &str, content: impl Into<Value>) -> Value {
        let content: Value = content.into();
        json!({ "role": role, "content": content })
    }

    /// Puts capitals, takes out "gone", and says what became of it.
    fn changed(metadata: Value) -> (Document, Result<(), Reason>) {
        let mut document = document(metadata);
        let change = |text: &str| Some(text.to_uppercase().replace("GONE", "")).filter(|new| new != text);
        let result = change_turns(&mut document, &change, "nothing is left");
        assert_eq!(
            document.text,
            render(&document.metadata).unwrap_or("plain".into()),
            "the text is what the turns say"
        );
        (document, result)
    }

    #[test]
    fn every_turn_is_changed_and_the_text_with_it() {
        let parts = json!([{ "type": "text", "text": "see " }, { "type": "image", "image": "a.png" }]);
        let call = json!({ "role": "assistant", "content": "", "tool_calls": [{ "id": "lower" }] });
        let turns = json!([turn("user", parts), call, turn("tool", "found"), turn("assistant", "yes")]);
        let (document, result) = changed(json!({ "messages": turns, "note": "stays" }));
        assert_eq!(result, Ok(()));
        assert_eq!(document.text, "user: SEE <image>\n\nassistant: \n\ntool: FOUND\n\nassistant: YES");
        assert_eq!(document.id, Document::new(document.text.as_str(), "s").id);
        assert_eq!(document.metadata["messages"][0]["content"][1]["image"], "a.png");
        assert_eq!(document.metadata["messages"][1]["tool_calls"][0]["id"], "lower");
        assert_eq!(document.metadata["note"], "stays");
    }

    #[test]
    fn prompts_answers_and_completions_are_changed() {
        let prompt = json!([turn("user", "q")]);
        let (document, result) = changed(
            json!({ "prompt": prompt, "chosen": [turn("assistant", "good")], "rejected": [turn("assistant", "bad")] }),
        );
        assert_eq!((document.text.as_str(), result), ("user: Q\n\nchosen: GOOD\n\nrejected: BAD", Ok(())));
        assert_eq!(document.metadata["rejected"][0]["content"], "BAD");
        let answers = [turn("assistant", "a"), turn("user", "b"), turn("assistant", "c")];
        let (document, _) = changed(json!({ "prompt": prompt, "completion": answers, "label": false }));
        let text = "user: Q\n\nundesirable: assistant: A\n\nuser: B\n\nassistant: C";
        assert_eq!((document.text.as_str(), &document.metadata["prompt"][0]["content"]), (text, &json!("Q")));
    }

    #[test]
    fn a_turn_that_says_nothing_any_more_spoils_the_conversation() {
        let reason = |metadata: Value| changed(metadata).1.unwrap_err();
        let lost = reason(json!({ "messages": [turn("user", "a"), turn("assistant", "gone ")] }));
        assert_eq!(lost, Reason::new("empty_turn", "messages, turn 2 (assistant): nothing is left"));
        let answers = json!({ "prompt": [turn("user", "q")], "chosen": [turn("assistant", "a")], "rejected": [turn("assistant", "A")] });
        assert_eq!(reason(answers).code, "same_answers");
        // A picture or a call says something without a word.
        let pictured = json!({ "role": "user", "content": "gone", "images": ["a.png"] });
        assert_eq!(changed(json!({ "messages": [pictured, turn("assistant", "a")] })).1, Ok(()));
    }

    #[test]
    fn plain_text_and_malformed_turns_stay_as_they_are() {
        for metadata in [json!({ "prompt": "a", "chosen": "b", "rejected": "c" }), json!({ "messages": 0 }), json!({})]
        {
            let (changed, result) = changed(metadata.clone());
            assert_eq!((changed, result), (document(metadata), Ok(())));
        }
    }

    #[test]
    fn only_messages_are_learnable() {
        let learnt = document(json!({ "messages": [turn("user", "a"), turn("assistant", "b")] }));
        assert_eq!(learnable(&learnt).unwrap(), learnt.metadata.get("messages"));
        assert_eq!(learnable(&document(json!({ "completion": "b" }))).unwrap(), None);
        let answers = json!({ "prompt": [turn("user", "a")], "completion": [turn("assistant", "b")], "label": true });
        let error = learnable(&document(answers)).unwrap_err();
        assert!(matches!(&error, DataError::Preferences { name, form: "kto" } if name == "s"), "{error}");
    }

    #[test]
    fn names_with_a_meaning_are_kept_for_what_danlu_wrote() {
        let check = |fields: Value, expect: Value| {
            let fields = fields.as_object().cloned().unwrap_or_default();
            assert_eq!(Value::Object(rename_reserved(fields)), expect);
        };
        check(json!({ "messages": 0, "id": 1 }), json!({ "source_messages": 0, "id": 1 }));
        check(
            json!({ "messages": 0, "source_messages": 1 }),
            json!({ "source_source_messages": 0, "source_messages": 1 }),
        );
        check(
            json!({ "prompt": [], "chosen": [], "rejected": "words", "completion": [1] }),
            json!({ "prompt": [], "source_chosen": [], "rejected": "words", "source_completion": [1] }),
        );
        check(json!({ "images": 3 }), json!({ "source_images": 3 }));
        check(json!({ "images": ["a.png"] }), json!({ "images": ["a.png"] }));
        let id = Document::new("a", "s").id;
        let copy = json!({ "augment": { "kind": "swap" }, "augmented_from": id });
        check(copy.clone(), copy);
        check(
            json!({ "augment": true, "augmented_from": "row 7" }),
            json!({ "source_augment": true, "source_augmented_from": "row 7" }),
        );
        check(json!({ "augment": true }), json!({ "source_augment": true }));
    }
}
