//! Wrong and hostile requests: a clear answer, and the server stays up.

use danlu_serve::{ServeConfig, ServeError, Server};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::{CONTEXT, TestServer, model_dir};

#[track_caller]
fn check(server: &TestServer, path: &str, body: Value, status: u16, param: Option<&str>) -> Value {
    let reply = server.post(path, &body);
    assert_eq!(reply.status, status, "{body}: {}", reply.text);
    let error = reply.json()["error"].clone();
    assert_eq!(error["param"].as_str(), param, "{body}: {}", reply.text);
    assert!(!error["message"].as_str().unwrap().is_empty() && error["type"].is_string());
    assert!(error.as_object().unwrap().contains_key("code"));
    error
}

#[test]
fn each_bad_parameter_is_named() {
    let server = TestServer::start();
    let path = "/v1/completions";
    let with = |name: &str, value: Value| json!({"prompt": "x", (name): value});
    for (name, value) in [
        ("max_tokens", json!(-1)),
        ("max_tokens", json!(0)),
        ("max_tokens", json!(1e18)),
        ("max_tokens", json!("8")),
        ("max_tokens", json!(u64::MAX)),
        ("n", json!(0)),
        ("n", json!(1_000_000)),
        ("temperature", json!(-0.1)),
        ("temperature", json!(1e300)),
        ("temperature", json!("hot")),
        ("top_p", json!(1.1)),
        ("top_k", json!(-2)),
        ("min_p", json!(2)),
        ("repetition_penalty", json!(0)),
        ("presence_penalty", json!(3)),
        ("frequency_penalty", json!(-3)),
        ("seed", json!(1.5)),
        ("seed", json!("one")),
        ("logprobs", json!(21)),
        ("logprobs", json!(true)),
        ("stop", json!(7)),
        ("stop", json!([""])),
        ("stop", json!(["a", 1])),
        ("stop", json!(vec!["a"; 17])),
        ("stop", json!("a".repeat(2000))),
        ("stream", json!("yes")),
        ("stream_options", json!({"include_usage": true})),
        ("logit_bias", json!({"a": 1})),
        ("logit_bias", json!({"99999": 1})),
        ("logit_bias", json!({"1": 101})),
        ("suffix", json!("end")),
        ("best_of", json!(3)),
        ("echo", json!(1)),
        ("temprature", json!(0.5)),
        ("messages", json!([])),
        ("model", json!(5)),
        ("prompt", json!(7)),
        ("prompt", json!([])),
        ("prompt", json!([[]])),
        ("prompt", json!([1, "a"])),
        ("prompt", json!([-1])),
        ("prompt", json!([99_999_999_999_u64])),
        ("prompt", json!({"text": "x"})),
        ("prompt", json!(vec!["x"; 17])),
    ] {
        check(&server, path, with(name, value), 400, Some(name));
    }
    check(&server, path, json!({}), 400, Some("prompt"));
    let error = check(&server, path, json!({"model": "gpt-9", "prompt": "x"}), 404, Some("model"));
    assert_eq!(error["code"], "model_not_found");
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn bad_chats_are_named() {
    let server = TestServer::start();
    let path = "/v1/chat/completions";
    let hello = json!([{"role": "user", "content": "x"}]);
    let with = |name: &str, value: Value| json!({"messages": hello, (name): value});
    check(&server, path, json!({}), 400, Some("messages"));
    check(&server, path, json!({"messages": []}), 400, Some("messages"));
    check(&server, path, json!({"messages": "hi"}), 400, Some("messages"));
    check(&server, path, json!({"messages": ["hi"]}), 400, Some("messages[0]"));
    let one = |message: Value| json!({"messages": [{"role": "user", "content": "x"}, message]});
    check(&server, path, one(json!({"role": "wizard", "content": "x"})), 400, Some("messages[1].role"));
    check(&server, path, one(json!({"content": "x"})), 400, Some("messages[1].role"));
    check(&server, path, one(json!({"role": "user"})), 400, Some("messages[1].content"));
    let image = json!([{"type": "image_url", "image_url": {"url": "http://x"}}]);
    check(&server, path, one(json!({"role": "user", "content": image})), 400, Some("messages[1].content"));
    check(
        &server,
        path,
        one(json!({"role": "user", "content": "x", "tool_calls": [1]})),
        400,
        Some("messages[1].tool_calls"),
    );
    check(&server, path, with("top_logprobs", json!(2)), 400, Some("top_logprobs"));
    check(&server, path, with("logprobs", json!(2)), 400, Some("logprobs"));
    check(&server, path, with("tools", json!([{"type": "function"}])), 400, Some("tools"));
    check(&server, path, with("response_format", json!({"type": "xml"})), 400, Some("response_format.type"));
    check(&server, path, with("prompt", json!("x")), 400, Some("prompt"));
}

#[test]
fn a_prompt_beyond_the_context_is_told_the_numbers() {
    let server = TestServer::start();
    let ids = vec![65; CONTEXT + 5];
    let error = check(&server, "/v1/completions", json!({"prompt": ids}), 400, Some("prompt"));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("1024") && message.contains("1029"), "{message}");
    assert_eq!(error["code"], "context_length_exceeded");
    check(&server, "/v1/completions", json!({"prompt": ids[..CONTEXT]}), 400, Some("prompt"));
    let content = "0".repeat(CONTEXT * 2);
    let chat = json!({"messages": [{"role": "user", "content": content}]});
    check(&server, "/v1/chat/completions", chat, 400, Some("messages"));
    // As much as there is room for.
    let reply = server.complete(json!({"prompt": ids[..CONTEXT - 3], "max_tokens": 50, "ignore_eos": true}));
    assert_eq!(
        (&reply["usage"]["completion_tokens"], &reply["choices"][0]["finish_reason"]),
        (&json!(3), &json!("length"))
    );
}

#[test]
fn unknown_paths_and_methods_answer_in_openai_s_shape() {
    let server = TestServer::start();
    assert_eq!(server.get("/v2/nothing").status, 404);
    assert!(server.get("/v2/nothing").json()["error"]["message"].is_string());
    let reply = server.get("/v1/completions");
    assert_eq!(reply.status, 405);
    assert!(reply.json()["error"]["message"].as_str().unwrap().contains("GET"));
}

#[test]
fn malformed_http_does_not_hurt() {
    let server = TestServer::start();
    for bytes in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\nConnection: close\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = server.raw(bytes);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{:?}: {answer}", String::from_utf8_lossy(bytes));
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(200_000));
    assert!(!server.raw(long.as_bytes()).starts_with("HTTP/1.1 2"));
    let many: String = (0..5000).map(|i| format!("X-{i}: y\r\n")).collect();
    assert!(!server.raw(format!("GET /health HTTP/1.1\r\n{many}\r\n").as_bytes()).starts_with("HTTP/1.1 2"));
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn random_bodies_never_break_the_server() {
    let server = TestServer::start();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 200, ..ProptestConfig::default() });
    let names = prop::sample::select(vec![
        "prompt",
        "messages",
        "max_tokens",
        "temperature",
        "n",
        "stop",
        "stream",
        "seed",
        "logprobs",
        "logit_bias",
        "model",
        "stream_options",
        "response_format",
        "guided_regex",
        "guided_json",
        "use_beam_search",
        "best_of",
        "min_tokens",
        "typical_p",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("role|content|type|text|[a-z]{1,3}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    let body = prop::collection::hash_map(names, value, 0..5);
    let outcome = runner.run(&body, |fields| {
        let body: serde_json::Map<String, Value> =
            fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        for path in ["/v1/completions", "/v1/chat/completions", "/v1/feedback"] {
            let reply = server.post(path, &Value::Object(body.clone()));
            prop_assert!(matches!(reply.status, 200 | 400 | 404), "{} {}", reply.status, reply.text);
        }
        Ok(())
    });
    outcome.unwrap();
    for bytes in [&b""[..], b"{", b"nul", b"\xff\xfe\xfd", b"[[[[", b"\"\\ud800\""] {
        assert_eq!(server.post_bytes("/v1/completions", bytes).status, 400);
    }
    assert_eq!(server.metric("request_failure_total{model_name=\"tiny\",reason=\"error\"}"), 0.0);
}

#[test]
fn keys_are_asked_for() {
    let server = TestServer::with(ServeConfig { api_keys: vec!["open sesame".into()], ..ServeConfig::default() });
    let reply = server.get("/v1/models");
    assert_eq!((reply.status, reply.json()["error"]["code"].as_str()), (401, Some("invalid_api_key")));
    assert_eq!(reply.headers["www-authenticate"], "Bearer");
    let ask = |key: &str| {
        let head = format!(
            "GET /v1/models HTTP/1.1\r\nHost: any.example\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
        );
        server.raw(head.as_bytes())
    };
    assert!(ask("open sesame").starts_with("HTTP/1.1 200"));
    assert!(ask("open sesam").starts_with("HTTP/1.1 401"));
    assert!(ask("open sesame2").starts_with("HTTP/1.1 401"));
    assert_eq!(server.get("/").status, 200, "the page itself asks for the key");
    assert_eq!(server.get("/health").ok()["api_key_required"], true);
    assert_eq!(server.post("/v1/completions", &json!({"prompt": "x"})).status, 401);
}

#[test]
fn foreign_pages_are_turned_away() {
    let config = ServeConfig { allowed_origins: vec!["https://friend.example".into()], ..ServeConfig::default() };
    let server = TestServer::with(config);
    let ask = |method: &str, head: &str| {
        let text = format!("{method} /v1/models HTTP/1.1\r\nConnection: close\r\n{head}\r\n\r\n");
        server.raw(text.as_bytes()).to_ascii_lowercase()
    };
    let host = format!("Host: {}", server.addr);
    assert!(ask("GET", &host).starts_with("http/1.1 200"));
    assert!(ask("GET", &format!("{host}\r\nOrigin: http://{}", server.addr)).starts_with("http/1.1 200"));
    let foreign = ask("GET", &format!("{host}\r\nOrigin: https://evil.example"));
    assert!(foreign.starts_with("http/1.1 403") && !foreign.contains("access-control-allow-origin"), "{foreign}");
    assert!(ask("GET", &format!("{host}\r\nOrigin: null")).starts_with("http/1.1 403"));
    assert!(ask("GET", "Host: evil.example").starts_with("http/1.1 403"), "a name that was made to point here");
    let friend = ask("GET", &format!("{host}\r\nOrigin: https://friend.example"));
    assert!(
        friend.starts_with("http/1.1 200") && friend.contains("access-control-allow-origin: https://friend.example"),
        "{friend}"
    );
    let preflight =
        ask("OPTIONS", &format!("{host}\r\nOrigin: https://friend.example\r\nAccess-Control-Request-Method: POST"));
    assert!(preflight.starts_with("http/1.1 204") && preflight.contains("access-control-allow-methods"), "{preflight}");
    let preflight =
        ask("OPTIONS", &format!("{host}\r\nOrigin: https://evil.example\r\nAccess-Control-Request-Method: POST"));
    assert!(preflight.starts_with("http/1.1 403"), "{preflight}");
}

fn bind_error(model: &std::path::Path, config: ServeConfig) -> ServeError {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match runtime.block_on(Server::bind(model, config, None)) {
        Ok(_) => panic!("the server started"),
        Err(error) => error,
    }
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = bind_error(model_dir(), ServeConfig { port, ..ServeConfig::default() });
    assert!(error.to_string().contains(&port.to_string()));
    assert!(error.hint().unwrap().contains("--port"));
    let error = bind_error(std::path::Path::new("/nowhere/at/all"), ServeConfig { port: 0, ..ServeConfig::default() });
    assert!(matches!(error, ServeError::Model { .. }) && error.to_string().contains("/nowhere/at/all"));
    let error = bind_error(model_dir(), ServeConfig { max_batch: 0, ..ServeConfig::default() });
    assert!(error.hint().unwrap().contains("max_batch"));
}
