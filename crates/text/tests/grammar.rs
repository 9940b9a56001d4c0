//! Constrained texts: whatever is chosen among the allowed tokens fulfils the grammar, and hostile grammars are refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use danlu_text::{Grammar, GrammarCompiler, GrammarState, TextError, Tokenizer, TokenizerConfig};
use serde_json::{Value, json};
use std::sync::LazyLock;

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let text =
        r#"{"name": "李白", "age": 61, "lines": ["床前明月光", "疑是地上霜"]} true false null a new nation 123.5e-1"#;
    Tokenizer::train([text; 8].into_iter(), &TokenizerConfig { vocab_size: 320, ..Default::default() }).unwrap()
});
static COMPILER: LazyLock<GrammarCompiler> = LazyLock::new(|| GrammarCompiler::new(&TOKENIZER, &[0, 2]).unwrap());

/// Random choices that need no crate.
struct Choices(u64);

impl Choices {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % count
    }
}

fn allowed(state: &mut GrammarState) -> Vec<u32> {
    let mut scores = vec![0.0; TOKENIZER.vocab_size() + 7];
    state.mask(&mut scores).unwrap();
    assert!(scores[TOKENIZER.vocab_size()..].iter().all(|score| *score == f32::NEG_INFINITY), "ids of no token");
    (0..scores.len() as u32).filter(|id| scores[*id as usize].is_finite()).collect()
}

/// A random walk through what is allowed, to the end or to `most` tokens.
fn walk(mut state: GrammarState, seed: u64, most: usize) -> Option<String> {
    let mut choices = Choices(seed);
    let mut ids = Vec::new();
    while ids.len() < most {
        if state.is_complete() {
            return Some(TOKENIZER.decode(&ids));
        }
        let allowed = allowed(&mut state);
        assert!(!allowed.is_empty(), "no way on from {:?}", TOKENIZER.decode(&ids));
        let id = allowed[choices.below(allowed.len())];
        if [0, 2].contains(&id) {
            assert!(state.may_end());
            return Some(TOKENIZER.decode(&ids));
        }
        assert!(!TOKENIZER.is_special(id));
        state.commit(id).unwrap();
        ids.push(id);
    }
    None
}

fn check(grammar: Grammar, holds: impl Fn(&str) -> bool) {
    let begin = COMPILER.compile(&grammar).unwrap();
    let texts: Vec<String> = (0..40).filter_map(|seed| walk(begin.clone(), seed, 600)).collect();
    assert!(texts.len() >= 20, "{grammar:?}: only {} of 40 walks came to an end", texts.len());
    for text in &texts {
        assert!(holds(text), "{grammar:?} gave {text:?}");
    }
}

fn person() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 6},
            "age": {"type": "integer", "minimum": 0, "maximum": 130},
            "kind": {"enum": ["poet", "诗人"]},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "minItems": 1, "maxItems": 3},
        },
        "required": ["name", "age", "kind", "lines"],
        "additionalProperties": false,
        "$defs": {"line": {"type": "string", "maxLength": 5}},
    })
}

fn is_person(text: &str) -> bool {
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(text) else { return false };
    let short = |value: &Value, most: usize| value.as_str().is_some_and(|text| text.chars().count() <= most);
    let lines = fields["lines"].as_array();
    fields.len() == 4
        && short(&fields["name"], 6)
        && fields["age"].as_i64().is_some_and(|age| (0..=130).contains(&age))
        && ["poet", "诗人"].iter().any(|kind| fields["kind"] == *kind)
        && lines.is_some_and(|lines| (1..=3).contains(&lines.len()) && lines.iter().all(|line| short(line, 5)))
}

#[test]
fn json_fulfils_its_schema() {
    check(Grammar::JsonSchema(person()), is_person);
    check(Grammar::JsonSchema(json!({"type": "boolean"})), |text| ["true", "false"].contains(&text));
}

#[test]
fn a_regular_expression_matches_the_whole_text() {
    let pattern = r"(床前|疑是){1,3}[0-9]{2,4}(\.[a-c]+)?";
    let whole = regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
    check(Grammar::Regex(pattern.into()), |text| whole.is_match(text));
}

#[test]
fn a_grammar_is_context_free() {
    let source = "start: sum\nsum: term (\"+\" term)*\nterm: NUMBER | \"(\" sum \")\"\nNUMBER: /[0-9]{1,3}/\n";
    let balanced = |text: &str| {
        let mut depth = 0i32;
        let closes = text.chars().all(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth >= 0
        });
        closes && depth == 0 && !text.is_empty() && text.chars().all(|c| "0123456789+()".contains(c))
    };
    check(Grammar::Lark(source.into()), balanced);
}

#[test]
fn a_text_that_is_whole_ends_and_a_clone_goes_its_own_way() {
    let mut state = COMPILER.compile(&Grammar::Regex("ab|ac".into())).unwrap();
    let id = |text: &str| (0..320).find(|id| TOKENIZER.token_bytes(*id) == text.as_bytes()).unwrap();
    state.commit(id("a")).unwrap();
    let mut other = state.clone();
    assert!(!state.is_complete() && !state.may_end());
    state.commit(id("b")).unwrap();
    assert!(state.is_complete() && state.may_end());
    assert_eq!(allowed(&mut state), [0, 2], "every end token, and nothing else");
    other.commit(id("c")).unwrap();
    assert!(other.is_complete());
    let error = COMPILER.compile(&Grammar::Regex("ab".into())).unwrap().commit(id("b")).unwrap_err();
    assert!(matches!(error, TextError::Grammar { .. }), "{error}");
}

#[test]
fn special_tokens_are_not_the_text_that_spells_them() {
    let begin = COMPILER.compile(&Grammar::Regex(r"<\|im_start\|>".into())).unwrap();
    assert_eq!(walk(begin, 3, 50).as_deref(), Some("<|im_start|>"), "letter by letter, as `walk` checks");
}

/// Refused with words, or compiled within bounds; never a panic, a hang or an overflow of the stack.
#[test]
fn hostile_grammars_are_refused_or_bounded() {
    let deep = |open: &str, middle: &str, close: &str, times: usize| {
        format!("{}{middle}{}", open.repeat(times), close.repeat(times))
    };
    let nested = (0..120).fold(json!({"type": "string"}), |inner, _| json!({"type": "array", "items": inner}));
    let wide: Vec<Value> = (0..2000).map(|i| json!({"const": format!("value {i}")})).collect();
    let refused = [
        Grammar::Regex("(".into()),
        Grammar::Regex("a(?=b)".into()),
        Grammar::Regex(deep("(", "a", ")", 20_000)),
        Grammar::Regex("a".repeat(Grammar::MOST_BYTES + 1)),
        Grammar::Lark("".into()),
        Grammar::Lark("start: other".into()),
        Grammar::Lark("start: start".into()),
        Grammar::Lark(format!("start: {}", deep("(", "\"a\"", ")", 20_000))),
        Grammar::Lark("start: /(/".into()),
        Grammar::JsonSchema(json!(false)),
        Grammar::JsonSchema(json!({"type": "strin"})),
        Grammar::JsonSchema(json!({"type": "string", "pattern": "("})),
        Grammar::JsonSchema(json!({"type": "string", "minLength": 5, "maxLength": 2})),
        Grammar::JsonSchema(json!({"$ref": "#"})),
        Grammar::JsonSchema(json!({"$ref": "#/$defs/none"})),
        Grammar::JsonSchema(json!({"$ref": "https://example.org/schema.json"})),
        Grammar::JsonSchema(json!({"type": "object", "x-guidance": {"unknown": 1}})),
        Grammar::JsonSchema(json!({"not": {"type": "string"}, "type": "object"})),
    ];
    let bounded = [
        Grammar::JsonSchema(
            json!({"type": "object", "x-guidance": {"whitespace_pattern": "((a{1,999}){1,999}){1,999}"}}),
        ),
        Grammar::Regex("((a{1,1000}){1,1000}){1,1000}".into()),
        Grammar::JsonSchema(
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        ),
        Grammar::JsonSchema(json!({"type": "array", "items": {"type": "string"}, "minItems": 1_000_000_000})),
        Grammar::JsonSchema(json!({"type": "string", "maxLength": 1_000_000_000_u64})),
        Grammar::JsonSchema(nested),
        Grammar::JsonSchema(json!({"anyOf": wide})),
        Grammar::Regex("(a|b|ab|ba|aab)*c{1,5000}".into()),
        Grammar::Regex("(.*a){40}".into()),
        Grammar::Regex(r"\p{L}{1,3000}".into()),
        Grammar::Lark("start: start \"a\" | \"a\"".into()),
        Grammar::Lark(format!("start: {}", "\"a\"? ".repeat(3000))),
    ];
    for grammar in &refused {
        let message = COMPILER.compile(grammar).map(|_| ()).unwrap_err().to_string();
        let readable = !message.contains("backtrace") && !message.contains("Bias") && message.len() < 1000;
        assert!(readable, "{message}");
    }
    for grammar in &bounded {
        let Ok(mut state) = COMPILER.compile(grammar) else { continue };
        let mut scores = vec![0.0; TOKENIZER.vocab_size()];
        for _ in 0..50 {
            scores.fill(0.0);
            if state.is_complete() || state.mask(&mut scores).is_err() {
                break;
            }
            let Some(id) = (3..scores.len()).find(|id| scores[*id].is_finite()) else { break };
            if state.commit(id as u32).is_err() {
                break;
            }
        }
    }
}
