//! What a text may be, token by token: JSON schemas, regular expressions and Lark grammars, by the crate `llguidance`.
//!
//! A grammar speaks of bytes and knows nothing of how the tokenizer cuts them: wherever a token's bytes can go on from
//! what there is, it is allowed. Grammars come from strangers, so that the size of their source, of what it is compiled
//! to and of what each step may cost are bounded, and going beyond is an error.

use std::sync::Arc;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::{TextError, Tokenizer};

/// Space between the parts of JSON where a schema does not say otherwise: enough to indent, too little to get lost in.
const JSON_SPACE: &str = r"[\x20\x0A\x0D\x09]{1,20}";
/// Compiling goes deep into what is nested.
const COMPILER_STACK: usize = 64 << 20;

/// A description of texts.
#[derive(Clone, Debug, PartialEq)]
pub enum Grammar {
    /// JSON that a schema validates (draft 2020-12 as far as `llguidance` has it; what it does not know is refused).
    JsonSchema(Value),
    /// A regular expression that the whole text matches, in the syntax of the crate `regex`, without look-around.
    Regex(String),
    /// A context-free grammar in `llguidance`'s dialect of Lark, from its rule `start`.
    Lark(String),
}

impl Grammar {
    /// Most bytes of a grammar's source.
    pub const MOST_BYTES: usize = 64 << 10;

    /// Any JSON object.
    pub fn json_object() -> Self {
        Self::JsonSchema(json!({"type": "object"}))
    }

    /// One of some texts.
    pub fn one_of(texts: &[String]) -> Self {
        Self::Regex(texts.iter().map(|text| regex::escape(text)).collect::<Vec<_>>().join("|"))
    }

    fn bytes(&self) -> usize {
        match self {
            Self::JsonSchema(schema) => schema.to_string().len(),
            Self::Regex(source) | Self::Lark(source) => source.len(),
        }
    }

    fn parsed(&self) -> TopLevelGrammar {
        match self {
            Self::JsonSchema(schema) => TopLevelGrammar::from_json_schema(with_space(schema)),
            Self::Regex(source) => TopLevelGrammar::from_regex(source),
            Self::Lark(source) => TopLevelGrammar::from_lark(source.clone()),
        }
    }
}

fn with_space(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(fields) = &mut schema {
        fields.entry("x-guidance").or_insert_with(|| json!({"whitespace_pattern": JSON_SPACE}));
    }
    schema
}

/// Compiles grammars for one tokenizer.
pub struct GrammarCompiler {
    factory: ParserFactory,
    end_tokens: Vec<u32>,
}

impl std::fmt::Debug for GrammarCompiler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("GrammarCompiler").field("end_tokens", &self.end_tokens).finish_non_exhaustive()
    }
}

impl GrammarCompiler {
    /// Reads the bytes of all tokens, which takes a while for a large vocabulary. Any of `end_tokens` may end a text; ids
    /// outside the vocabulary are left out, and the tokenizer's own end-of-text token is always one.
    ///
    /// # Errors
    /// [`TextError::Grammar`] for a vocabulary that `llguidance` does not take.
    pub fn new(tokenizer: &Tokenizer, end_tokens: &[u32]) -> Result<Self, TextError> {
        let size = tokenizer.vocab_size() as u32;
        let mut end_tokens: Vec<u32> = end_tokens.iter().copied().filter(|id| *id < size).collect();
        end_tokens.push(tokenizer.eos_id());
        end_tokens.sort_unstable();
        end_tokens.dedup();
        let word = |id: u32| {
            let bytes = tokenizer.token_bytes(id);
            // A mark that is no UTF-8 keeps special tokens apart from the text that spells them.
            let mark = tokenizer.is_special(id).then_some(TokTrie::SPECIAL_TOKEN_MARKER);
            mark.into_iter().chain(bytes.iter().copied()).collect::<Vec<u8>>()
        };
        let words: Vec<Vec<u8>> = (0..size).map(word).collect();
        let trie = TokTrie::from(&TokRxInfo::new(size, tokenizer.eos_id()), &words).with_eos_tokens(&end_tokens);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&env).map_err(|error| bad(&error.to_string()))?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits {
            // A kilobyte or two each.
            max_lexer_states: 30_000,
            max_grammar_size: 100_000,
            verbose_errors: false,
            ..ParserLimits::default()
        };
        Ok(Self { factory, end_tokens })
    }

    /// Where a text begins that the grammar is to describe.
    ///
    /// # Errors
    /// [`TextError::Grammar`] says what is wrong with the grammar, or that it is too large.
    pub fn compile(&self, grammar: &Grammar) -> Result<GrammarState, TextError> {
        let (bytes, most) = (grammar.bytes(), Grammar::MOST_BYTES);
        if bytes > most {
            return Err(bad(&format!("it has {bytes} bytes, but at most {most} are allowed")));
        }
        let compile = || {
            let parser = self.factory.create_parser(grammar.parsed());
            let mut matcher = Matcher::new(parser);
            // A lexer too large shows itself only when it is asked.
            let first = matcher.compute_mask_or_eos();
            match (matcher.get_error(), first) {
                (Some(message), _) => Err(bad(&message)),
                (None, Err(error)) => Err(bad(&error.to_string())),
                (None, Ok(mask)) if mask.is_zero() => Err(bad("no text fulfils it")),
                (None, Ok(_)) => Ok(matcher),
            }
        };
        let matcher = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("danlu-grammar".into()).stack_size(COMPILER_STACK);
            let running = thread.spawn_scoped(scope, compile).map_err(|error| bad(&error.to_string()))?;
            running.join().unwrap_or_else(|_| Err(bad("compiling it failed")))
        })?;
        Ok(GrammarState { matcher, end_tokens: self.end_tokens.clone().into() })
    }
}

/// A place within a text that a grammar describes. A clone goes its own way from there.
#[derive(Clone)]
pub struct GrammarState {
    matcher: Matcher,
    end_tokens: Arc<[u32]>,
}

impl std::fmt::Debug for GrammarState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("GrammarState").field("complete", &self.is_complete()).finish_non_exhaustive()
    }
}

impl GrammarState {
    /// Sets the scores of the tokens that may not come next to minus infinity, those outside the vocabulary too. End tokens
    /// are allowed where the text may end.
    ///
    /// # Errors
    /// [`TextError::Grammar`] when the step costs more than is allowed.
    pub fn mask(&mut self, scores: &mut [f32]) -> Result<(), TextError> {
        let mask = self.matcher.compute_mask_or_eos().map_err(|error| bad(&error.to_string()))?;
        let known = mask.len().min(scores.len());
        mask.iter_unset_entries(|id| {
            if let Some(score) = scores.get_mut(id) {
                *score = f32::NEG_INFINITY;
            }
        });
        scores[known..].fill(f32::NEG_INFINITY);
        Ok(())
    }

    /// Goes on by a token; an end token changes nothing.
    ///
    /// # Errors
    /// [`TextError::Grammar`] for a token that may not come here.
    pub fn commit(&mut self, token: u32) -> Result<(), TextError> {
        if self.end_tokens.contains(&token) {
            return Ok(());
        }
        self.matcher.consume_token(token).map_err(|error| bad(&error.to_string()))
    }

    /// Whether the text is whole and cannot go on.
    pub fn is_complete(&self) -> bool {
        self.matcher.is_stopped()
    }

    /// Whether the text may end here.
    pub fn may_end(&mut self) -> bool {
        self.is_complete() || self.matcher.is_accepting().unwrap_or(false)
    }
}

/// The crate's message without its own wrapping.
fn bad(message: &str) -> TextError {
    let message = message.split("\n<").next().unwrap_or_default().trim();
    let message = message.replace(" without 'referencing' feature", "");
    let message = match message.as_str() {
        "" => "it cannot be used",
        // What it calls a grammar that allows no first byte.
        "NoExtensionBias" => "no text fulfils it",
        message => message,
    };
    TextError::Grammar { message: message.chars().take(500).collect() }
}
