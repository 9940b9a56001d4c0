//! Conversations to prompts, by the Jinja template that a model folder carries.
//!
//! Templates are rendered as transformers renders them (`render_jinja_template`): what it has beside Jinja's own is here, the
//! methods of Python's strings in `python.rs`, `tojson` in `json.rs`.

mod json;
mod python;

use std::path::Path;
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::fmt::strtime;
use minijinja::value::Value as Jinja;
use minijinja::{Environment, Error, ErrorKind};
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tokenizer::CONFIG_FILE;
use crate::{TextError, Tokenizer};

/// The ChatML template that a tokenizer trained here carries.
pub const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// The file in a model folder that holds the chat template; as in transformers it goes before what tokenizer_config.json has.
const TEMPLATE_FILE: &str = "chat_template.jinja";

/// What rendering one prompt may cost: an instruction is 1, and so are 64 bytes of text made. Ten thousand messages of 600 bytes are
/// within it.
const FUEL: u64 = 8_000_000;

/// What an assistant thought before it spoke; templates read the first, or the second, whatever it was called.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// The marks around what an assistant wrote. minijinja has no tags of others' making; a `with` without variables renders what
/// is in it and keeps its variables to itself, as this block does.
static GENERATION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").ok());

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// "system", "user" or "assistant".
    pub role: String,
    pub content: String,
}

impl Message {
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// A compiled chat template, with the special tokens it may mention.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: Option<String>,
    eos: Option<String>,
}

impl ChatTemplate {
    /// The template of a model folder: the file `chat_template.jinja`, or `chat_template` of its `tokenizer_config.json`
    /// where there is no such file. `Ok(None)` when the folder has neither.
    pub fn from_dir(dir: &Path) -> Result<Option<Self>, TextError> {
        let config = config_of(dir)?;
        let Some(source) = source_of(dir, &config)? else { return Ok(None) };
        let token = |key: &str| {
            let value = config.get(key)?;
            Some(value.as_str().or_else(|| value.get("content")?.as_str())?.to_string())
        };
        Self::new(source, token("bos_token"), token("eos_token")).map(Some)
    }

    /// Compiles a template in the dialect of Hugging Face: blocks trimmed, Python's string methods, `raise_exception`,
    /// `strftime_now` (by the clock of UTC), `tojson` as `json.dumps`, `break` and `continue`, and `generation` blocks, which
    /// render as what is in them.
    pub fn new(source: String, bos: Option<String>, eos: Option<String>) -> Result<Self, TextError> {
        let bad = |e: Error| TextError::ChatTemplate { message: format!("{e:#}") };
        let mut environment = Environment::new();
        let syntax = minijinja::syntax::SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(bad)?);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(python::method);
        environment.add_filter("tojson", json::tojson);
        environment.add_function("strftime_now", |format: String| written(Timestamp::now(), &format));
        environment.add_function("raise_exception", |message: String| -> Result<Jinja, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        let source = match &*GENERATION {
            Some(marks) => marks.replace_all(&source, "{%$1 ${2}with $3%}").into_owned(),
            None => source,
        };
        environment.add_template_owned("chat", source).map_err(bad)?;
        Ok(Self { environment, bos, eos })
    }

    /// This template at a time that stands still, for prompts that come out the same every day.
    ///
    /// * `seconds`: since 1970-01-01 00:00 UTC; what no calendar has leaves the clock as it is
    #[must_use]
    pub fn at_time(mut self, seconds: i64) -> Self {
        if let Ok(time) = Timestamp::from_second(seconds) {
            self.environment.add_function("strftime_now", move |format: String| written(time, &format));
        }
        self
    }

    /// The prompt of a conversation; with `add_generation_prompt` it ends where the assistant's reply begins.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, TextError> {
        let messages = messages
            .iter()
            .map(|message| minijinja::context! { role => message.role.as_str(), content => message.content.as_str() });
        self.rendered(messages.collect(), Jinja::from(()), add_generation_prompt)
    }

    /// The tokens of a conversation up to where the assistant's reply begins. Special tokens written in a message are ordinary
    /// text: what somebody says cannot end their turn.
    ///
    /// # Errors
    /// [`TextError::ChatTemplate`], and those of the tokenizer.
    pub fn encode(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Vec<u32>, TextError> {
        // A noncharacter that nobody wrote marks where a forged token is broken in two.
        let mark = ('\u{fdd0}'..='\u{fdef}')
            .find(|c| !messages.iter().any(|message| message.content.contains(*c)))
            .ok_or_else(|| TextError::ChatTemplate { message: "the messages hold too many noncharacters".into() })?;
        let safe = |m: &Message| Message::new(m.role.clone(), tokenizer.mark_special(&m.content, mark));
        let safe: Vec<Message> = messages.iter().map(safe).collect();
        tokenizer.encode_marked(&self.render(&safe, true)?, mark)
    }

    /// As [`render`](Self::render), of messages that hold more than a text (calls of tools, parts, reasoning), with the tools
    /// that there are.
    ///
    /// * `messages`: objects; a field that is null is left out, as transformers leaves it out
    /// * `tools`: descriptions as JSON schemas; none of them is `none` to the template
    ///
    /// # Errors
    /// [`TextError::ChatTemplate`]
    pub fn render_values(
        &self,
        messages: &[Value],
        tools: &[Value],
        add_generation_prompt: bool,
    ) -> Result<String, TextError> {
        let message = |message: &Value| match message {
            Value::Object(fields) => {
                let there = |key: &&str| fields.get(*key).is_some_and(|value| !value.is_null());
                let thought = REASONING.iter().find(|key| there(*key)).map(|key| &fields[*key]);
                let named = |name| thought.map(|thought| (name, json::to_jinja(thought)));
                let own = fields.iter().filter(|(_, value)| !value.is_null());
                let own = own.map(|(key, value)| (key.as_str(), json::to_jinja(value)));
                let thinking = named("thinking").filter(|_| !there(&"thinking"));
                Jinja::from_object(json::Fields::new(thinking.into_iter().chain(own).chain(named(REASONING[0]))))
            }
            other => json::to_jinja(other),
        };
        let tools = match tools {
            [] => Jinja::from(()),
            tools => tools.iter().map(json::to_jinja).collect(),
        };
        self.rendered(messages.iter().map(message).collect(), tools, add_generation_prompt)
    }

    fn rendered(&self, messages: Jinja, tools: Jinja, add_generation_prompt: bool) -> Result<String, TextError> {
        let context = minijinja::context! {
            messages => messages, add_generation_prompt => add_generation_prompt,
            // What is not there is none and not undefined, as transformers has it.
            tools => tools, documents => Jinja::from(()),
            bos_token => optional(&self.bos), eos_token => optional(&self.eos),
        };
        self.environment.get_template("chat").and_then(|template| template.render(context)).map_err(|e| {
            match e.kind() {
                ErrorKind::OutOfFuel => {
                    let message =
                        format!("it does not end within {FUEL} instructions or {} MB of text", FUEL * 64 / 1_000_000);
                    TextError::ChatTemplate { message }
                }
                _ => TextError::ChatTemplate { message: format!("{e:#}") },
            }
        })
    }
}

/// A time by a format of `strftime`, in UTC.
fn written(time: Timestamp, format: &str) -> Result<String, Error> {
    strtime::format(format, time)
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {error}")))
}

/// The source of a folder's chat template, as [`ChatTemplate::from_dir`] finds it.
///
/// # Errors
/// [`TextError::Io`]; [`TextError::BadTokenizer`] if tokenizer_config.json is no JSON.
pub fn chat_template(dir: &Path) -> Result<Option<String>, TextError> {
    source_of(dir, &config_of(dir)?)
}

/// tokenizer_config.json; null where there is none.
fn config_of(dir: &Path) -> Result<Value, TextError> {
    match read(dir, CONFIG_FILE)? {
        Some(text) => serde_json::from_str(&text)
            .map_err(|e| TextError::BadTokenizer { path: dir.join(CONFIG_FILE), message: e.to_string() }),
        None => Ok(Value::Null),
    }
}

fn source_of(dir: &Path, config: &Value) -> Result<Option<String>, TextError> {
    Ok(read(dir, TEMPLATE_FILE)?.or_else(|| template_of(config)))
}

fn read(dir: &Path, name: &str) -> Result<Option<String>, TextError> {
    match std::fs::read_to_string(dir.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TextError::Io { action: "read", path: dir.join(name), source }),
    }
}

/// A token that the model does not have is undefined, which renders as nothing (`none` would render as a word).
fn optional(token: &Option<String>) -> Jinja {
    token.as_deref().map_or(Jinja::UNDEFINED, Jinja::from)
}

/// The template, which may also be a list of named ones; then the one named "default".
fn template_of(config: &Value) -> Option<String> {
    match config.get("chat_template")? {
        Value::String(source) => Some(source.clone()),
        Value::Array(named) => {
            let default = named.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))?;
            Some(default.get("template")?.as_str()?.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn check(template: &str, expect: &str) {
        let messages = [Message::new("system", "Be brief. "), Message::new("user", "你好")];
        let template = ChatTemplate::new(template.into(), Some("<s>".into()), Some("</s>".into())).unwrap();
        assert_eq!(template.render(&messages, true).unwrap(), expect);
    }

    #[test]
    fn chatml() {
        check(
            CHATML,
            "<|im_start|>system\nBe brief. <|im_end|>\n<|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n",
        );
    }

    #[test]
    fn python_methods_and_trimmed_blocks() {
        check(
            "{% for m in messages %}\n  {% if m['role'] == 'user' %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}",
            "你好\n",
        );
        check(
            "{{ bos_token }}{{ messages[0].content.strip() }}|{{ messages[0]['role'].upper() }}",
            "<s>Be brief.|SYSTEM",
        );
        check("{% if messages[0].content.startswith('Be') %}{{ 'a,b'.split(',')[1] }}{% endif %}", "b");
        check("{{ messages[0].get('name', 'none') }}", "none");
    }

    #[test]
    fn errors_carry_the_templates_message() {
        let template = ChatTemplate::new("{{ raise_exception('roles must alternate') }}".into(), None, None).unwrap();
        let error = template.render(&[], false).unwrap_err();
        assert!(error.to_string().contains("roles must alternate"), "{error}");
        assert!(ChatTemplate::new("{% if %}".into(), None, None).is_err());
    }

    #[test]
    fn templates_that_run_or_grow_without_end_are_stopped() {
        let loops = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}";
        let doubles = format!("{{% set x = 'ab' %}}{}", "{% set x = x ~ x %}".repeat(60));
        let replaces = format!("{{% set x = 'abcdefgh' * 100000 %}}{}", "{% set x = x.replace('', x) %}".repeat(2));
        let recurses = "{% macro again(n) %}{{ again(n + 1) }}{{ again(n + 1) }}{% endmacro %}{{ again(0) }}";
        for template in [loops, &doubles, &replaces, recurses] {
            let template = ChatTemplate::new(template.to_owned(), None, None).unwrap();
            let said = template.render(&[], true).unwrap_err().to_string();
            assert!(said.contains("it does not end within 8000000") || said.contains("recursion"), "{said}");
        }
        // What must not be stopped: a long conversation with long messages.
        let template = ChatTemplate::new(CHATML.into(), None, None).unwrap();
        let long: Vec<Message> = (0..10_000).map(|_| Message::new("user", "春眠不觉晓".repeat(40))).collect();
        assert_eq!(template.render(&long, true).unwrap().matches("<|im_end|>").count(), 10_000);
    }
}
