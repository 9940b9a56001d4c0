//! Chat templates: what transformers renders (scripts/golden_chat.py), and what is beyond it.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use danlu_text::{ChatTemplate, Message, TextError};
use serde_json::{Value, json};

fn record() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chat.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(source.into(), Some("<s>".into()), Some("</s>".into())).unwrap().at_time(1_770_000_123)
}

fn rendered(source: &str) -> Result<String, TextError> {
    template(source).render_values(&[json!({"role": "user", "content": "你好"})], &[], true)
}

#[test]
fn prompts_are_those_of_transformers() {
    let record = record();
    let cases = record["cases"].as_array().unwrap();
    assert!(cases.len() >= 28 && cases.iter().filter(|case| case["error"].is_string()).count() >= 2);
    for case in cases {
        let of = |list: &str, name: &str| &record[list][case[name].as_str().unwrap()];
        let (source, conversation) =
            (of("templates", "template").as_str().unwrap(), of("conversations", "conversation"));
        let [messages, tools] = ["messages", "tools"].map(|key| conversation[key].as_array().unwrap());
        let prompt = case["add_generation_prompt"] == true;
        let found = template(source).render_values(messages, tools, prompt);
        let what = format!("{} of {}", case["template"], case["conversation"]);
        match case["text"].as_str() {
            Some(text) => assert_eq!(found.map_err(|error| format!("{what}: {error}")).unwrap(), text, "{what}"),
            None => assert!(found.is_err(), "{what}"),
        }
        // What has only texts is the same either way.
        let texts: Option<Vec<Message>> = messages
            .iter()
            .map(|message| {
                let only = message.as_object()?.len() == 2;
                Some(Message::new(message["role"].as_str()?, message["content"].as_str().filter(|_| only)?))
            })
            .collect();
        if let (Some(texts), [], Some(text)) = (texts, tools.as_slice(), case["text"].as_str()) {
            assert_eq!(template(source).render(&texts, prompt).unwrap(), text, "{what}");
        }
    }
}

#[test]
fn the_clock_is_asked_unless_it_stands_still() {
    let source = "{{ strftime_now('%s') }}";
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let before = now();
    let told: u64 = ChatTemplate::new(source.into(), None, None).unwrap().render(&[], false).unwrap().parse().unwrap();
    assert!((before..=now()).contains(&told), "{told}");
    assert_eq!(rendered(source).unwrap(), "1770000123");
    assert_eq!(rendered("{{ strftime_now('%-d %B, %H Uhr') }}").unwrap(), "2 February, 02 Uhr");
    let said = rendered("{{ strftime_now('%Ö') }}").unwrap_err().to_string();
    assert!(said.contains("strftime_now"), "{said}");
}

#[test]
fn what_is_null_is_left_out_and_what_is_missing_is_none() {
    let source =
        "{{ messages[0].content is defined }} {{ tools is none }} {{ documents is none }} {{ tools is defined }}";
    let message = json!({"role": "assistant", "content": null, "reasoning": "because"});
    assert_eq!(template(source).render_values(&[message.clone()], &[], false).unwrap(), "False True True True");
    let source = "{{ messages[0].reasoning_content }} {{ messages[0].thinking }}";
    assert_eq!(template(source).render_values(&[message], &[], false).unwrap(), "because because");
    let one = [json!({"name": "f"})];
    assert_eq!(template("{{ tools | length }}").render_values(&[], &one, false).unwrap(), "1");
}

#[test]
fn values_that_no_json_has_and_templates_that_are_wrong_are_errors() {
    for (source, expect) in [
        ("{{ missing | tojson }}", "undefined is not JSON serializable"),
        ("{{ 1 | tojson(indent='x', odd=1) }}", "odd"),
        ("{{ 1 | tojson(indent=[1]) }}", "indent"),
        ("{{ 1 | tojson(separators=1) }}", "separators"),
        ("{{ 'a'.split('') }}", "empty separator"),
        ("{{ ','.join([1]) }}", "join: number is no string"),
        ("{{ 'a'.nothing() }}", "nothing"),
    ] {
        let said = rendered(source).unwrap_err().to_string();
        assert!(said.contains(expect), "{source}: {said}");
    }
    assert!(ChatTemplate::new("{% generation %}x".into(), None, None).is_err());
    assert!(ChatTemplate::new("{% break %}".into(), None, None).is_err());
}

#[test]
fn json_without_end_is_stopped_before_it_fills_the_memory() {
    // Each level holds the one below twice: 2^40 numbers.
    let doubles = format!("{{% set x = [1] %}}{}{{{{ x | tojson }}}}", "{% set x = [x, x] %}".repeat(40));
    let said = rendered(&doubles).unwrap_err().to_string();
    assert!(said.contains("it does not end within"), "{said}");
    let deep = format!("{{% set x = 1 %}}{}{{{{ x | tojson }}}}", "{% set x = [x] %}".repeat(200));
    assert!(rendered(&deep).unwrap_err().to_string().contains("nested too deep"));
}
