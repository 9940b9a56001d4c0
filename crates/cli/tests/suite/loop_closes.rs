//! The loop closes: a served reply, what its user said, and the next run that reads it as a source.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::harness::Place;

/// A server that ends with the test.
struct Served {
    child: Child,
    url: String,
}

impl Served {
    fn start(place: &Place, model: &str) -> Self {
        let mut child = place.command(&["serve", model, "--port", "0"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = loop {
            let line = lines.next().expect("the server ended before it was ready").unwrap();
            if let Some(at) = line.find("http://") {
                break line[at..].split_whitespace().next().unwrap().to_owned();
            }
        };
        // Keep reading, so that the server never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let text =
            ureq::post(format!("{}{path}", self.url)).send_json(body).unwrap().body_mut().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn feedback_becomes_a_source() {
    let place = Place::new();
    let model = place.json(&["run", "tiny.toml", "--json"])["model_dir"].as_str().unwrap().to_owned();
    let server = Served::start(&place, &model);
    let reply = server.post("/v1/completions", &json!({ "prompt": "The people", "max_tokens": 5, "temperature": 0 }));
    let local = place.json(&[
        "generate",
        &model,
        "--prompt",
        "The people",
        "--max-tokens",
        "5",
        "--temperature",
        "0",
        "--json",
    ]);
    assert_eq!(reply["choices"][0]["text"], local["text"], "served and local text are the same");
    let correction = " of the United States elect their President every four years.";
    server.post("/v1/feedback", &json!({ "reply_id": reply["id"], "rating": -1, "correction": correction }));
    drop(server);

    place.ok(&["feedback", "export", "--out", "feedback.jsonl"]);
    let line: Value =
        serde_json::from_str(std::fs::read_to_string(place.path("feedback.jsonl")).unwrap().trim()).unwrap();
    assert_eq!(line["text"], format!("The people{correction}"));
    assert_eq!(line["rating"], -1);
    assert_eq!(place.ok(&["feedback", "export", "--rating", "up"]), "");
    assert!(line["model_hash"].as_str().unwrap().len() >= 12);

    place.write_recipe(|text| {
        let source = "[[data.sources]]\nname = \"feedback\"\npath = \"feedback.jsonl\"\n\n[clean]";
        text.replacen("[clean]", source, 1)
    });
    place.ok(&["run", "tiny.toml", "--only", "collect"]);
    place.ok(&["run", "tiny.toml", "--only", "clean"]);
    let shown = place.ok(&["data", "show", "tiny.toml", "--source", "feedback", "--split", "train"])
        + &place.ok(&["data", "show", "tiny.toml", "--source", "feedback", "--split", "valid"])
        + &place.ok(&["data", "show", "tiny.toml", "--source", "feedback", "--split", "test"]);
    assert!(shown.contains("elect their President"), "{shown}");
}
