//! Too much, too slow, too many: each is bounded, and the server stays up.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use danlu_serve::ServeConfig;
use danlu_store::RunDb;
use serde_json::{Value, json};

use crate::harness::TestServer;

/// A reply long enough to still run while the test looks at it.
fn long() -> Value {
    json!({"prompt": "x", "max_tokens": 1000, "ignore_eos": true, "temperature": 0})
}

#[test]
fn oversized_bodies_get_413() {
    let server = TestServer::with(ServeConfig { max_body_bytes: 2000, ..ServeConfig::default() });
    let reply = server.post("/v1/completions", &json!({"prompt": "x".repeat(3000)}));
    assert_eq!((reply.status, reply.json()["error"]["code"].as_str()), (413, Some("body_too_large")));
    // Larger than what the server reads on, and without a length.
    let mut stream = server.connect();
    stream
        .write_all(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    let sent = (0..1000).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    assert!(sent < 1000, "the server took 64 MB");
    assert_eq!(server.post("/v1/completions", &json!({"prompt": "x", "max_tokens": 1})).status, 200);
}

#[test]
fn a_waiting_client_is_refused_before_it_sends() {
    let server = TestServer::with(ServeConfig { max_body_bytes: 100, ..ServeConfig::default() });
    let head =
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\nExpect: 100-continue\r\n\r\n";
    assert!(server.raw(head.as_bytes()).starts_with("HTTP/1.1 413"));
}

#[test]
fn a_full_queue_gets_429() {
    let server = TestServer::with(ServeConfig { max_batch: 1, max_queue: 1, ..ServeConfig::default() });
    let mut running = server.stream("/v1/completions", long());
    running.next().unwrap();
    let waiting = server.stream("/v1/completions", long());
    server.wait_for("num_requests_waiting", |waiting| waiting == 1.0);
    let refused = server.post("/v1/completions", &long());
    assert_eq!((refused.status, refused.json()["error"]["type"].as_str()), (429, Some("rate_limit_error")));
    assert_eq!(refused.headers["retry-after"], "1");
    drop(running);
    // The place that became free lets the waiting one run to its end.
    assert_eq!(waiting.chunks().last().unwrap()["choices"][0]["finish_reason"], "length");
    assert_eq!(server.post("/v1/completions", &json!({"prompt": "x", "n": 3})).status, 400, "never fits");
}

#[test]
fn a_client_that_leaves_frees_its_place() {
    let server = TestServer::with(ServeConfig { max_batch: 1, ..ServeConfig::default() });
    let mut events = server.stream("/v1/completions", long());
    let first: Value = serde_json::from_str(&events.next().unwrap()).unwrap();
    drop(events);
    server.wait_for("request_failure_total{model_name=\"tiny\",reason=\"cancelled\"}", |count| count == 1.0);
    server.wait_for("num_requests_running", |running| running == 0.0);
    assert!(server.metric("generation_tokens_total") < 1000.0, "it went on for nobody");
    server.wait_for("replies_recorded_total", |count| count == 1.0);
    let row = RunDb::open(&server.db).unwrap().reply(first["id"].as_str().unwrap()).unwrap();
    assert_eq!(row.finish_reason.as_deref(), Some("cancelled"));
    // The same for one that waits for a whole reply.
    let mut stream = server.connect();
    let body = long().to_string();
    write!(stream, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    server.wait_for("num_requests_running", |running| running == 1.0);
    drop(stream);
    server.wait_for("request_failure_total{model_name=\"tiny\",reason=\"cancelled\"}", |count| count == 2.0);
}

#[test]
fn requests_have_a_time() {
    let server = TestServer::with(ServeConfig { request_timeout_seconds: 0.02, ..ServeConfig::default() });
    let body = json!({"prompt": "x ".repeat(400), "max_tokens": 600, "ignore_eos": true});
    let reply = server.post("/v1/completions", &body);
    assert_eq!((reply.status, reply.json()["error"]["code"].as_str()), (504, Some("timeout")));
    let events: Vec<String> = server.stream("/v1/completions", body).collect();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "timeout");
    server.wait_for("num_requests_running", |running| running == 0.0);
}

#[test]
fn slow_clients_are_cut_off() {
    let config = ServeConfig { header_timeout_seconds: 0.3, body_timeout_seconds: 0.3, ..ServeConfig::default() };
    let server = TestServer::with(config);
    let slow_head = server.raw(b"GET /health HTTP/1.1\r\nHost: loc");
    assert!(slow_head.is_empty() || slow_head.starts_with("HTTP/1.1 408"), "{slow_head}");
    let slow_body = server.raw(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{");
    assert!(slow_body.starts_with("HTTP/1.1 408"), "{slow_body}");
    // An idle connection that was used before is closed as well; `raw` returns when it is.
    let idle = server.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(idle.starts_with("HTTP/1.1 200"), "{idle}");
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let server = TestServer::with(ServeConfig { write_timeout_seconds: 0.3, ..ServeConfig::default() });
    let mut stream = server.connect();
    // Requests without end, whose answers are never read: the socket's buffers fill.
    let request = b"GET /assets/app.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    let end = Instant::now() + Duration::from_secs(20);
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    while stream.write_all(&request).is_ok() {
        assert!(Instant::now() < end, "the server still answers");
    }
    server.wait_for("http_connections{", |open| open <= 1.0);
}

#[test]
fn a_thousand_idle_connections_do_not_matter() {
    let server = TestServer::with(ServeConfig { max_connections: 100, ..ServeConfig::default() });
    let mut running = server.stream("/v1/completions", long());
    running.next().unwrap();
    let idle: Vec<_> = (0..1000).map(|_| server.connect()).collect();
    assert_eq!(server.post("/v1/completions", &json!({"prompt": "x", "max_tokens": 1})).status, 200);
    assert!(server.metric("http_connections{") <= 100.0);
    server.wait_for("http_connections_evicted_total", |count| count >= 900.0);
    // The busy connection was none of them.
    let rest = running.chunks();
    assert_eq!(rest.last().unwrap()["choices"][0]["finish_reason"], "length");
    drop(idle);
}

#[test]
fn clients_that_never_finish_their_requests_give_way() {
    let server = TestServer::with(ServeConfig { max_connections: 20, ..ServeConfig::default() });
    let head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{";
    let slow: Vec<_> = (0..60)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(head).unwrap();
            stream
        })
        .collect();
    assert_eq!(server.post("/v1/completions", &json!({"prompt": "x", "max_tokens": 1})).status, 200);
    server.wait_for("http_connections_evicted_total", |count| count >= 41.0);
    drop(slow);
}

#[test]
fn shutdown_finishes_running_replies() {
    let server = TestServer::with(ServeConfig { max_batch: 2, ..ServeConfig::default() });
    let mut streams: Vec<_> = (0..3).map(|_| server.stream("/v1/completions", long())).collect();
    streams[0].next().unwrap();
    let mut idle = server.connect();
    let mut kept = server.connect();
    kept.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    server.stop();
    // Idle connections are closed at once; running and queued replies go to their ends.
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    kept.read_to_end(&mut rest).unwrap();
    for (i, stream) in streams.into_iter().enumerate() {
        let chunks = stream.chunks();
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "length", "stream {i}");
    }
    let addr = server.addr;
    server.join().unwrap();
    assert!(std::net::TcpStream::connect(addr).is_err(), "nobody listens any more");
}

#[test]
fn shutdown_waits_only_so_long() {
    let server = TestServer::with(ServeConfig { shutdown_timeout_seconds: 0.05, ..ServeConfig::default() });
    let body = json!({"prompt": "x", "n": 16, "max_tokens": 1000, "ignore_eos": true});
    let mut stream = server.stream("/v1/completions", body);
    stream.next().unwrap();
    server.join().unwrap();
    assert_ne!(stream.last().as_deref(), Some("[DONE]"));
}

#[test]
fn a_closed_pipeline_of_requests_is_answered_in_order() {
    let server = TestServer::start();
    let one = "GET /v1/models/tiny HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let last = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = server.raw(format!("{one}{one}{last}").as_bytes());
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 3);
    assert!(answer.ends_with('}') && answer.rfind("max_model_len") < answer.rfind("api_key_required"));
}
