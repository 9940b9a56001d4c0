//! Replies and feedback reach the run database.

use danlu_serve::{ServeConfig, Server, model_hash};
use danlu_store::RunDb;
use serde_json::json;

use crate::harness::{TestServer, model_dir};

#[test]
fn feedback_is_stored_with_its_reply() {
    let server = TestServer::start();
    let messages = json!([{"role": "user", "content": "春眠"}]);
    let request = json!({"messages": messages, "max_tokens": 6, "temperature": 0.5, "seed": 9, "ignore_eos": true});
    let reply = server.chat(request.clone());
    let id = reply["id"].as_str().unwrap();
    server.post("/v1/feedback", &json!({"reply_id": id, "rating": "up"})).ok();
    server.post("/v1/feedback", &json!({"reply_id": id, "correction": "不觉晓", "comment": "a poem"})).ok();
    let row = RunDb::open(&server.db).unwrap().feedback_rows().unwrap().pop().unwrap();
    assert_eq!(
        (row.rating, row.correction.as_deref(), row.comment.as_deref()),
        (Some(1), Some("不觉晓"), Some("a poem"))
    );
    assert_eq!(row.reply.id, id);
    assert_eq!(row.reply.request, request);
    assert_eq!(row.reply.reply, reply["choices"][0]["message"]["content"].as_str().unwrap());
    assert_eq!(row.reply.endpoint, "/v1/chat/completions");
    assert_eq!(row.reply.model_hash, model_hash(model_dir()).unwrap());
    assert_eq!((&row.reply.settings["temperature"], &row.reply.settings["seed"]), (&json!(0.5), &json!(9)));
    assert_eq!((row.reply.completion_tokens, row.reply.finish_reason.as_deref()), (6, Some("length")));
    assert_eq!(server.metric("feedback_total{model_name=\"tiny\",kind=\"up\"}"), 1.0);
    assert_eq!(server.metric("feedback_total{model_name=\"tiny\",kind=\"correction\"}"), 1.0);
}

#[test]
fn every_choice_can_be_judged() {
    let server = TestServer::start();
    let reply = server.complete(json!({"prompt": "x", "n": 3, "max_tokens": 4}));
    let id = reply["id"].as_str().unwrap();
    server.post("/v1/feedback", &json!({"reply_id": id, "choice": 2, "rating": -1})).ok();
    let db = RunDb::open(&server.db).unwrap();
    let row = db.feedback_rows().unwrap().pop().unwrap();
    assert_eq!(row.reply.reply, reply["choices"][2]["text"].as_str().unwrap());
    assert_eq!(row.rating, Some(-1));
    assert_eq!(db.reply(id).unwrap().reply, reply["choices"][0]["text"].as_str().unwrap());
    assert_eq!(server.post("/v1/feedback", &json!({"reply_id": id, "choice": 3, "rating": 1})).status, 404);
}

#[test]
fn streamed_replies_are_stored_before_they_end() {
    let server = TestServer::start();
    for _ in 0..20 {
        let chunks = server.stream("/v1/completions", json!({"prompt": "x", "max_tokens": 3})).chunks();
        let id = chunks[0]["id"].as_str().unwrap();
        assert_eq!(server.post("/v1/feedback", &json!({"reply_id": id, "rating": 1})).status, 200);
    }
}

#[test]
fn feedback_without_a_reply_or_a_database_is_refused() {
    let server = TestServer::start();
    let reply = server.post("/v1/feedback", &json!({"reply_id": "cmpl-none", "rating": 1}));
    assert_eq!((reply.status, reply.json()["error"]["param"].as_str()), (404, Some("reply_id")));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let config = ServeConfig { port: 0, ..ServeConfig::default() };
        let bound = Server::bind(model_dir(), config, None).await.unwrap();
        let url = format!("http://{}/v1/feedback", bound.addr);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(bound.run(async { drop(stopped.await) }));
        let ask = tokio::task::spawn_blocking(move || {
            let body = json!({"reply_id": "x", "rating": 1}).to_string();
            let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
            agent.post(&url).send(body).unwrap().status().as_u16()
        });
        assert_eq!(ask.await.unwrap(), 501);
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
    });
}
