//! The artifacts of data are the same to the byte, however many threads make them.

use serde_json::{Value, json};

use crate::harness::Place;

const SOURCE: &str = r#"
[[data.sources]]
name = "chats"
path = "chats.jsonl"
chat = "messages"

[clean]
min_chars = 16

[[clean.transforms]]
kind = "simplify"

[[clean.transforms]]
kind = "mask_pii"
replacement = "fake"

[clean.dedup]
lines = { min_chars = 30 }

[clean.dedup.near]
threshold = 0.7

[[clean.decontaminate.sets]]
name = "exam"
path = "exam.jsonl"
"#;

const ITEM: &str = "Natalia sold clips to forty eight of her friends in April and then she sold half as many in May";

/// Conversations without pattern, one with an item of the exam, and one that is nearly another.
fn chats() -> String {
    let words = |chat: usize| (0..40).map(|word| format!("w{chat}x{word}")).collect::<Vec<_>>().join(" ");
    let mut answers: Vec<String> = (0..30).map(words).collect();
    answers.push(format!("{ITEM}. {}", words(30)));
    answers.push(words(3).replace("w3x20", "other"));
    answers.push(format!("Ask zs@qq.com. {}", words(31)));
    let chat = |answer: String| {
        let turn = |role: &str, content: String| json!({ "role": role, "content": content });
        let asked = format!("Say {}", answer.split(' ').next().unwrap_or_default());
        json!({ "messages": [turn("user", asked), turn("assistant", answer)] }).to_string()
    };
    answers.into_iter().map(chat).collect::<Vec<_>>().join("\n")
}

/// A place with the tiny recipe and conversations, cleaned in all ways and cut into tokens on so many threads.
pub fn made(threads: &str) -> Place {
    let place = Place::new();
    std::fs::write(place.path("chats.jsonl"), chats()).unwrap();
    std::fs::write(place.path("exam.jsonl"), json!({ "text": ITEM }).to_string()).unwrap();
    place.write_recipe(|text| text.replace("[clean]\nmin_chars = 16\n", SOURCE));
    for stage in ["collect", "clean", "tokenizer"] {
        place.ok(&["--threads", threads, "run", "tiny.toml", "--only", stage]);
    }
    place
}

#[test]
fn artifacts_of_data_are_the_same_on_any_number_of_threads_and_again() {
    let one = made("1");
    let funnel: Vec<u8> = one.artifact_files().into_iter().find(|(path, _)| path.ends_with("funnel.json")).unwrap().1;
    let funnel: Value = serde_json::from_slice(&funnel).unwrap();
    let steps = funnel["steps"].as_array().unwrap();
    let step = |name: &str| steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("no {name}"));
    assert!(step("transform_simplify")["changed"].as_u64() > Some(100), "{funnel:#}");
    assert!(step("transform_mask_pii")["changed"].as_u64() > Some(0), "{funnel:#}");
    let dropped = |name: &str, reason: &str| {
        step(name)["dropped"].as_array().unwrap().iter().any(|row| row["reason"] == reason && row["source"] == "chats")
    };
    assert!(dropped("duplicates", "near_duplicate") && dropped("decontaminate", "contaminated"), "{funnel:#}");
    let expected = one.artifact_files();
    assert!(expected.len() > 10, "{:?}", expected.keys());
    for threads in ["2", "2"] {
        let found = made(threads).artifact_files();
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (path, content) in &found {
            assert!(*content == expected[path], "{} differs with {threads} threads", path.display());
        }
    }
}
