//! Conversations from a source to what is trained on, and what is told of those that cannot be.

use serde_json::{Value, json};

use crate::harness::Place;

const CLEANED: &str = r#"
[[data.sources]]
name = "chats"
path = "chats.jsonl"
chat = "CHAT"

[clean]
min_chars = 16

[[clean.transforms]]
kind = "mask_pii"

[[clean.transforms]]
kind = "simplify"
"#;

/// A place with the tiny recipe and a source of records, one for each number below 40.
fn place(chat: &str, record: impl Fn(usize) -> Value) -> Place {
    let place = Place::new();
    let lines: Vec<String> = (0..40).map(|number| record(number).to_string()).collect();
    std::fs::write(place.path("chats.jsonl"), lines.join("\n")).unwrap();
    place.write_recipe(|text| text.replace("[clean]\nmin_chars = 16\n", &CLEANED.replace("CHAT", chat)));
    place
}

fn stages(place: &Place, stages: &[&str]) {
    for stage in stages {
        place.ok(&["run", "tiny.toml", "--only", stage]);
    }
}

fn preference(number: usize) -> Value {
    json!({
        "prompt": format!("第{number}個電話是 13812345678 嗎"), "chosen": format!("對，是第{number}個"),
        "rejected": format!("壞答案 {number}"),
    })
}

#[test]
fn what_is_masked_and_simplified_is_masked_and_simplified_in_what_is_trained_on() {
    let place = place("messages", |number| {
        let turn = |role: &str, content: String| json!({ "role": role, "content": content });
        let asked = turn("user", format!("第{number}個電話是 13812345678 嗎"));
        json!({ "messages": [asked, turn("assistant", format!("對，{number} 號的電話是 13812345678 。"))] })
    });
    stages(&place, &["collect", "clean", "tokenizer"]);
    let shown = place.ok(&["data", "show", "tiny.toml", "--source", "chats", "--masked", "--limit", "100"]);
    assert!(shown.contains("<PHONE>") && shown.contains("号的电话是"), "{shown}");
    assert!(!shown.contains("13812345678") && !shown.contains('電'), "{shown}");
}

#[test]
fn preferences_are_refused_before_anything_is_read() {
    let place = place("preference", preference);
    for args in [&["run", "tiny.toml", "--dry-run"][..], &["run", "tiny.toml"], &["plan", "tiny.toml"]] {
        let told = place.fails(1, args);
        assert!(told.contains("source \"chats\" has answers to choose between (chat = \"preference\")"), "{told}");
        assert!(told.contains("hint: danlu does not train on preferences yet"), "{told}");
    }
    assert_eq!(place.json(&["runs", "--json"]), json!([]), "nothing was begun");
    // To clean them is no mistake, and reaches all of their parts.
    stages(&place, &["collect", "clean"]);
    let show = ["data", "show", "tiny.toml", "--source", "chats", "--json", "--limit", "1000"];
    let shown = place.ok(&show);
    let rows: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rows.len() > 30, "the training split of 40: {}", rows.len());
    for row in rows {
        assert_eq!(row["metadata"]["chosen"][0]["content"].as_str().unwrap().chars().next(), Some('对'));
        assert!(row["metadata"]["rejected"][0]["content"].as_str().unwrap().starts_with("坏答案"));
        assert!(row["metadata"]["prompt"][0]["content"].as_str().unwrap().contains("<PHONE>"));
    }
}

#[test]
fn preferences_that_are_found_by_themselves_are_refused_before_a_tokenizer_is_trained() {
    let place = place("auto", preference);
    stages(&place, &["collect", "clean"]);
    let told = place.fails(1, &["run", "tiny.toml", "--only", "tokenizer"]);
    assert!(told.contains("source \"chats\" has answers to choose between (chat = \"preference\")"), "{told}");
    assert!(told.contains("hint: danlu does not train on preferences yet"), "{told}");
}
