//! The shapes of the endpoints.

use danlu_serve::ServeConfig;
use serde_json::{Value, json};

use crate::harness::{CONTEXT, TestServer, model_dir, text_of};

#[test]
fn the_model_is_listed() {
    let server = TestServer::start();
    let list = server.get("/v1/models").ok();
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][0]["id"], "tiny");
    assert_eq!(list["data"][0]["max_model_len"], CONTEXT);
    assert_eq!(list["data"][0]["model_hash"], danlu_serve::model_hash(model_dir()).unwrap());
    assert_eq!(server.get("/v1/models/tiny").ok()["id"], "tiny");
    assert_eq!(server.get("/v1/models/other").json()["error"]["code"], "model_not_found");
    assert_eq!(server.get("/health").ok()["status"], "ok");
}

#[test]
fn another_name_can_be_given() {
    let server = TestServer::with(ServeConfig { model_name: Some("house/furnace".into()), ..ServeConfig::default() });
    assert_eq!(server.get("/v1/models/house/furnace").ok()["id"], "house/furnace");
    assert_eq!(server.complete(json!({"model": "house/furnace", "prompt": "a"}))["model"], "house/furnace");
}

#[test]
fn a_completion_has_openai_s_shape() {
    let server = TestServer::start();
    let reply = server.complete(json!({"model": "tiny", "prompt": "Four score", "max_tokens": 8, "ignore_eos": true}));
    assert_eq!(reply["object"], "text_completion");
    assert!(reply["id"].as_str().unwrap().starts_with("cmpl-"));
    assert!(reply["created"].as_u64().unwrap() > 1_700_000_000);
    let choice = &reply["choices"][0];
    assert_eq!(
        (&choice["index"], &choice["logprobs"], &choice["finish_reason"]),
        (&json!(0), &Value::Null, &json!("length"))
    );
    let prompt = reply["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(prompt > 0);
    assert_eq!(reply["usage"], json!({"prompt_tokens": prompt, "completion_tokens": 8, "total_tokens": prompt + 8}));
}

#[test]
fn a_chat_reply_has_openai_s_shape() {
    let server = TestServer::start();
    let messages = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "春"}]}]);
    let reply = server.chat(json!({"messages": messages, "max_completion_tokens": 5, "ignore_eos": true}));
    assert_eq!(reply["object"], "chat.completion");
    assert!(reply["id"].as_str().unwrap().starts_with("chatcmpl-"));
    let message = &reply["choices"][0]["message"];
    assert_eq!((&message["role"], &message["refusal"]), (&json!("assistant"), &Value::Null));
    assert!(message["content"].is_string());
    assert_eq!(reply["usage"]["completion_tokens"], 5);
}

#[test]
fn streams_say_the_same_as_whole_replies() {
    let server = TestServer::start();
    let body = json!({"prompt": "Four score and", "max_tokens": 40, "seed": 11, "temperature": 0.9});
    let whole = server.complete(body.clone());
    let chunks = server.stream("/v1/completions", body).chunks();
    assert_eq!(text_of(&chunks, 0), whole["choices"][0]["text"].as_str().unwrap());
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], whole["choices"][0]["finish_reason"]);
    assert!(chunks.iter().all(|chunk| chunk["object"] == "text_completion" && chunk.get("usage").is_none()));

    let body =
        json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 20, "seed": 3, "ignore_eos": true});
    let whole = server.chat(body.clone());
    let chunks = server.stream("/v1/chat/completions", body).chunks();
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(text_of(&chunks, 0), whole["choices"][0]["message"]["content"].as_str().unwrap());
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"));
    let ids: Vec<&Value> = chunks.iter().map(|chunk| &chunk["id"]).collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
}

#[test]
fn streams_count_usage_when_asked() {
    let server = TestServer::start();
    let options = json!({"include_usage": true});
    let body = json!({"prompt": "Four", "max_tokens": 6, "ignore_eos": true, "stream_options": options});
    let chunks = server.stream("/v1/completions", body).chunks();
    let (last, before) = chunks.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 6);
    assert!(before.iter().all(|chunk| chunk["usage"].is_null() && chunk.as_object().unwrap().contains_key("usage")));
}

#[test]
fn prompts_come_as_text_lists_and_ids() {
    let server = TestServer::start();
    let (_, tokenizer) = crate::harness::load();
    let ids = tokenizer.encode("our fathers").unwrap();
    let ask = |prompt: Value| server.complete(json!({"prompt": prompt, "max_tokens": 6, "temperature": 0}));
    let texts = |reply: Value| -> Vec<String> {
        let choices = reply["choices"].as_array().unwrap().clone();
        choices.iter().map(|choice| choice["text"].as_str().unwrap().to_owned()).collect()
    };
    let alone = texts(ask(json!("our fathers")));
    let other = texts(ask(json!("a new nation")));
    assert_eq!(texts(ask(json!(ids))), alone);
    assert_eq!(texts(ask(json!(["our fathers", "a new nation"]))), [alone[0].clone(), other[0].clone()]);
    assert_eq!(texts(ask(json!([ids, ids]))), [alone[0].clone(), alone[0].clone()]);
    assert_eq!(ask(json!(""))["usage"]["prompt_tokens"], 1, "an empty prompt is a document's beginning");
}

#[test]
fn a_model_without_a_chat_template_gets_plain_turns() {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(model_dir()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = dir.path().join("tokenizer_config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config.as_object_mut().unwrap().remove("chat_template").expect("the tokenizer saves a template");
    std::fs::write(&path, config.to_string()).unwrap();
    let _ = std::fs::remove_file(dir.path().join("chat_template.jinja"));
    let server = TestServer::of(dir.path(), ServeConfig::default());
    assert_eq!(server.get("/v1/models").ok()["data"][0]["chat_template"], false);
    let chat =
        server.chat(json!({"messages": [{"role": "user", "content": " Hi "}], "max_tokens": 12, "temperature": 0}));
    let plain = json!({"prompt": "User: Hi\n\nAssistant:", "max_tokens": 12, "temperature": 0, "stop": "\nUser:"});
    let plain = server.complete(plain);
    assert_eq!(chat["choices"][0]["message"]["content"], plain["choices"][0]["text"]);
    assert_eq!(chat["usage"]["prompt_tokens"], plain["usage"]["prompt_tokens"]);
}

#[test]
fn the_page_is_self_contained_and_guarded() {
    let server = TestServer::start();
    let page = server.get("/");
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    for part in ["/assets/style.css", "/assets/app.js", "/assets/api.js", "/assets/words.js", "/assets/icon.svg"] {
        let asset = server.get(part);
        assert_eq!(asset.status, 200, "{part}");
        let outside = asset.text.replace("http://www.w3.org/2000/svg", "");
        assert!(!outside.contains("http://") && !outside.contains("https://"), "{part} names another server");
        assert!(page.text.contains(part) || part.ends_with("api.js") || part.ends_with("words.js"), "{part}");
    }
}

#[test]
fn metrics_count_what_happened() {
    let server = TestServer::start();
    let reply = server.complete(json!({"prompt": "Four score", "max_tokens": 7, "ignore_eos": true}));
    assert_eq!(server.metric("generation_tokens_total"), 7.0);
    assert_eq!(server.metric("prompt_tokens_total"), reply["usage"]["prompt_tokens"].as_f64().unwrap());
    assert_eq!(server.metric("time_to_first_token_seconds_count"), 1.0);
    assert_eq!(server.metric("inter_token_latency_seconds_count"), 6.0);
    // Counted when the reply has gone.
    server.wait_for("request_success_total", |replies| replies == 1.0);
    server.wait_for("num_requests_running", |running| running == 0.0);
    assert_eq!(server.metric("kv_cache_usage_perc"), 0.0);
}
